//! `vssd device list`: the machine's NVMe controllers, from sysfs, and the
//! sockets that virtual SSDs listen on.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use driver::pci::System;
use serde::Serialize;

use super::size;

#[derive(Debug, Serialize)]
struct Listed {
    /// As other commands take it.
    device: String,
    /// `vfio-user`, or the kernel driver that holds the device.
    driver: String,
    model: String,
    /// Of all namespaces; none where the kernel does not have the device.
    bytes: Option<u64>,
    /// The IOMMU group of a drive on PCI; none where the IOMMU is off.
    iommu_group: Option<u32>,
    /// What uses the drive, and what to do about it.
    uses: Vec<String>,
}

/// Lists devices on standard output.
pub(super) fn run(json: bool) -> Result<()> {
    let mut devices = drives(&System::default())?;
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
        "{:<width$}  {:<12} {:>5} {:>10}  MODEL",
        "DEVICE", "DRIVER", "GROUP", "SIZE"
    );
    for listed in devices {
        let bytes = listed.bytes.map_or("-".into(), size);
        let group = listed.iommu_group.map_or("-".into(), |id| id.to_string());
        println!(
            "{:<width$}  {:<12} {group:>5} {bytes:>10}  {}",
            listed.device, listed.driver, listed.model
        );
        for used in listed.uses {
            println!("{:<width$}    {used}", "");
        }
    }
    Ok(())
}

/// NVMe controllers on PCI; none where there is no PCI.
fn drives(system: &System) -> Result<Vec<Listed>> {
    let drives = system.drives()?.into_iter().map(|drive| Listed {
        device: drive.address.to_string(),
        driver: drive.driver.unwrap_or_else(|| "none".into()),
        model: drive.model,
        bytes: drive.controller.is_some().then(|| {
            let sizes = drive.namespaces.iter().map(|device| device.bytes);
            sizes.fold(0, u64::saturating_add)
        }),
        iommu_group: drive.group,
        uses: drive.uses.iter().map(ToString::to_string).collect(),
    });
    Ok(drives.collect())
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
                iommu_group: None,
                uses: Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_are_told_from_other_functions() {
        let root = tempfile::tempdir().unwrap();
        let pci = root.path().join("sys/bus/pci/devices");
        let drive = pci.join("0000:01:00.0");
        let other = pci.join("0000:02:00.0");
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::write(root.path().join("proc/self/mountinfo"), "").unwrap();
        fs::write(root.path().join("proc/swaps"), "").unwrap();
        fs::create_dir_all(drive.join("nvme/nvme0/nvme0n1")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(drive.join("class"), "0x010802\n").unwrap();
        fs::write(other.join("class"), "0x020000\n").unwrap();
        fs::write(drive.join("nvme/nvme0/model"), "A drive  \n").unwrap();
        fs::write(drive.join("nvme/nvme0/nvme0n1/size"), "2048\n").unwrap();
        let found = drives(&System::at(root.path())).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].device, "0000:01:00.0");
        assert_eq!(found[0].model, "A drive");
        assert_eq!(found[0].driver, "none");
        assert_eq!(found[0].iommu_group, None);
    }
}
