//! `vssd device list`: the machine's NVMe controllers, from sysfs, and the
//! sockets that virtual SSDs listen on.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::size;

/// PCI class code of an NVMe I/O controller: 01h mass storage, 08h non-volatile
/// memory, 02h NVM Express.
const NVME_CLASS: &str = "0x010802";

const SYS_PCI: &str = "/sys/bus/pci/devices";

#[derive(Debug, Serialize)]
struct Listed {
    /// As other commands take it.
    device: String,
    /// `vfio-user`, or the kernel driver that holds the device.
    driver: String,
    model: String,
    bytes: Option<u64>,
}

/// Lists devices on standard output.
pub(super) fn run(json: bool) -> Result<()> {
    let mut devices = drives(Path::new(SYS_PCI));
    devices.extend(sockets());
    if json {
        println!("{}", serde_json::to_string_pretty(&devices)?);
        return Ok(());
    }
    if devices.is_empty() {
        println!("no NVMe drive here, and no virtual SSD listens: start one with `vssd serve`");
        return Ok(());
    }
    let width = devices
        .iter()
        .map(|listed| listed.device.len())
        .max()
        .unwrap_or(0);
    println!(
        "{:<width$}  {:<12} {:>10}  MODEL",
        "DEVICE", "DRIVER", "SIZE"
    );
    for listed in devices {
        let bytes = listed.bytes.map_or("-".into(), size);
        println!(
            "{:<width$}  {:<12} {bytes:>10}  {}",
            listed.device, listed.driver, listed.model
        );
    }
    Ok(())
}

/// NVMe controllers on PCI.
fn drives(pci: &Path) -> Vec<Listed> {
    let mut drives: Vec<Listed> = entries(pci)
        .into_iter()
        .filter(|path| text(&path.join("class")) == NVME_CLASS)
        .map(|path| {
            let driver = fs::read_link(path.join("driver"))
                .ok()
                .and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()));
            let controller = entries(&path.join("nvme")).into_iter().next();
            Listed {
                device: name(&path),
                driver: driver.unwrap_or_else(|| "none".into()),
                model: controller
                    .as_ref()
                    .map_or(String::new(), |at| text(&at.join("model"))),
                bytes: controller.as_deref().map(namespace_bytes),
            }
        })
        .collect();
    drives.sort_by(|a, b| a.device.cmp(&b.device));
    drives
}

/// The size of all namespaces of a controller that the kernel drives.
fn namespace_bytes(controller: &Path) -> u64 {
    entries(controller)
        .iter()
        .filter_map(|path| text(&path.join("size")).parse::<u64>().ok())
        // The unit of `size` in sysfs is 512 bytes whatever the format.
        .map(|sectors| sectors.saturating_mul(512))
        .sum()
}

/// Sockets that a `vssd` process has bound: those in /proc/net/unix that exist
/// and that such a process holds open.
fn sockets() -> Vec<Listed> {
    let ours = inodes_of_vssd();
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let mut seen = BTreeSet::new();
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(6);
            let inode = words.next()?;
            let path = PathBuf::from(words.next()?);
            let listens = fs::metadata(&path).is_ok_and(|found| found.file_type().is_socket());
            (listens && ours.contains(inode) && seen.insert(path.clone())).then(|| Listed {
                device: format!("vfio-user:{}", path.display()),
                driver: "vfio-user".into(),
                model: "vssd virtual NVMe SSD".into(),
                bytes: None,
            })
        })
        .collect()
}

/// The socket inodes that processes named `vssd` hold, as far as we may look.
fn inodes_of_vssd() -> BTreeSet<String> {
    entries(Path::new("/proc"))
        .into_iter()
        .filter(|process| text(&process.join("comm")) == "vssd")
        .flat_map(|process| entries(&process.join("fd")))
        .filter_map(|descriptor| {
            let target = fs::read_link(descriptor).ok()?;
            let inode = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect()
}

/// The entries of a directory; none where it cannot be read.
fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .map(|found| found.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default()
}

/// A one-line file of sysfs or procfs; empty where it cannot be read.
fn text(path: &Path) -> String {
    fs::read_to_string(path).map_or(String::new(), |text| text.trim().to_owned())
}

fn name(path: &Path) -> String {
    path.file_name()
        .map_or(String::new(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_are_told_from_other_functions() {
        let pci = tempfile::tempdir().unwrap();
        let drive = pci.path().join("0000:01:00.0");
        let other = pci.path().join("0000:02:00.0");
        fs::create_dir_all(drive.join("nvme/nvme0/nvme0n1")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(drive.join("class"), "0x010802\n").unwrap();
        fs::write(other.join("class"), "0x020000\n").unwrap();
        fs::write(drive.join("nvme/nvme0/model"), "A drive  \n").unwrap();
        fs::write(drive.join("nvme/nvme0/nvme0n1/size"), "2048\n").unwrap();
        let found = drives(pci.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].device, "0000:01:00.0");
        assert_eq!(found[0].model, "A drive");
        assert_eq!(found[0].bytes, Some(1 << 20));
        assert_eq!(found[0].driver, "none");
    }
}
