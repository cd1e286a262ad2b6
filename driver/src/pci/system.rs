//! The machine's NVMe drives, as sysfs shows them.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{PciAddress, PciError, Use};

/// PCI class 01h mass storage, 08h non-volatile memory, whatever the interface.
const NVME_CLASS: &str = "0x0108";

/// The machine, or a made tree that looks like it.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
}

/// An NVMe drive on PCI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// Where it is.
    pub address: PciAddress,
    /// The kernel driver that has it.
    pub driver: Option<String>,
    /// Its IOMMU group; none where the IOMMU is off.
    pub group: Option<u32>,
    /// The other functions of the group.
    pub neighbours: Vec<Neighbour>,
    /// `nvme0`, where the kernel's nvme driver has it.
    pub controller: Option<String>,
    /// Its model; empty where nvme does not have it.
    pub model: String,
    /// Its serial number, likewise.
    pub serial: String,
    /// Its firmware revision, likewise.
    pub firmware: String,
    /// Its namespaces' block devices.
    pub namespaces: Vec<BlockDevice>,
    /// All that uses it.
    pub uses: Vec<Use>,
}

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// `nvme0n1`.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The names of its partitions.
    pub partitions: Vec<String>,
}

/// Another function of an IOMMU group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Where it is.
    pub address: PciAddress,
    /// The kernel driver that has it.
    pub driver: Option<String>,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = self.driver.as_deref().unwrap_or("no driver");
        write!(f, "{} ({driver})", self.address)
    }
}

impl Default for System {
    fn default() -> Self {
        Self::at("/")
    }
}

impl System {
    /// The system whose `sys`, `proc` and `dev` are below `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// A path of the system.
    pub(super) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }

    /// The sysfs directory of a function.
    pub(super) fn function(&self, address: PciAddress) -> PathBuf {
        self.path(format!("sys/bus/pci/devices/{address}"))
    }

    /// All NVMe drives, by address.
    ///
    /// # Errors
    ///
    /// Where sysfs or procfs cannot be read.
    pub fn drives(&self) -> Result<Vec<Drive>, PciError> {
        let mut addresses: Vec<PciAddress> = names(&self.path("sys/bus/pci/devices"))?
            .iter()
            .filter_map(|name| name.parse().ok())
            .filter(|address| self.class(*address).starts_with(NVME_CLASS))
            .collect();
        addresses.sort();
        addresses
            .into_iter()
            .map(|address| self.drive(address))
            .collect()
    }

    /// The drive at `address`.
    ///
    /// # Errors
    ///
    /// Where there is none, or sysfs or procfs cannot be read.
    pub fn drive(&self, address: PciAddress) -> Result<Drive, PciError> {
        let at = self.function(address);
        if !at.exists() {
            return Err(PciError::NoSuchDevice(address));
        }
        let class = self.class(address);
        if !class.starts_with(NVME_CLASS) {
            return Err(PciError::NotNvme { address, class });
        }
        let group = link_name(&at.join("iommu_group")).and_then(|name| name.parse().ok());
        let controller = names(&at.join("nvme"))?.into_iter().next();
        let about = |what: &str| {
            controller.as_ref().map_or(String::new(), |name| {
                text(&at.join("nvme").join(name).join(what))
            })
        };
        let paths = match &controller {
            Some(name) => namespace_paths(&at.join("nvme").join(name))?,
            None => Vec::new(),
        };
        Ok(Drive {
            address,
            driver: link_name(&at.join("driver")),
            group,
            neighbours: self.neighbours(address)?,
            model: about("model"),
            serial: about("serial"),
            firmware: about("firmware_rev"),
            namespaces: paths
                .iter()
                .map(|path| self.block_device(&head(path)))
                .collect::<Result<_, _>>()?,
            uses: self.uses(&paths)?,
            controller,
        })
    }

    fn class(&self, address: PciAddress) -> String {
        text(&self.function(address).join("class"))
    }

    fn neighbours(&self, address: PciAddress) -> Result<Vec<Neighbour>, PciError> {
        let group = self.function(address).join("iommu_group/devices");
        Ok(names(&group)?
            .iter()
            .filter_map(|name| name.parse().ok())
            .filter(|other| *other != address)
            .map(|other| Neighbour {
                address: other,
                driver: link_name(&self.function(other).join("driver")),
            })
            .collect())
    }

    fn block_device(&self, name: &str) -> Result<BlockDevice, PciError> {
        let at = self.path("sys/block").join(name);
        // The unit of `size` in sysfs is 512 bytes whatever the format.
        let sectors: u64 = text(&at.join("size")).parse().unwrap_or(0);
        Ok(BlockDevice {
            name: name.to_owned(),
            bytes: sectors.saturating_mul(512),
            partitions: self.partitions(name)?,
        })
    }

    /// The partitions of a disk.
    pub(super) fn partitions(&self, disk: &str) -> Result<Vec<String>, PciError> {
        let at = self.path("sys/block").join(disk);
        Ok(names(&at)?
            .into_iter()
            .filter(|name| at.join(name).join("partition").exists())
            .collect())
    }
}

/// A controller's namespaces: `nvme0n1`, or `nvme0c1n1` where that is one path
/// of several to `nvme0n1`.
fn namespace_paths(controller: &Path) -> Result<Vec<String>, PciError> {
    Ok(names(controller)?
        .into_iter()
        .filter(|name| is_namespace(name) && controller.join(name).join("size").exists())
        .collect())
}

fn is_namespace(name: &str) -> bool {
    name.strip_prefix("nvme").is_some_and(|rest| {
        rest.contains('n')
            && rest
                .bytes()
                .all(|b| b.is_ascii_digit() || b == b'n' || b == b'c')
    })
}

/// The block device that a path leads to: `nvme0n1` for `nvme0c1n1`.
pub(super) fn head(path: &str) -> String {
    let parts = path
        .strip_prefix("nvme")
        .and_then(|rest| Some((rest.split_once('c')?.0, rest.split_once('n')?.1)));
    parts.map_or(path.to_owned(), |(subsystem, namespace)| {
        if path.contains('c') {
            format!("nvme{subsystem}n{namespace}")
        } else {
            path.to_owned()
        }
    })
}

/// What is in a directory, in order; nothing where it does not exist.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, PciError> {
    let failed = |source| PciError::File {
        operation: "read",
        path: directory.to_owned(),
        source,
    };
    let found = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(failed)?,
    };
    let mut names = found
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed)?;
    names.sort();
    Ok(names)
}

/// A one-line file; empty where it cannot be read.
pub(super) fn text(path: &Path) -> String {
    fs::read_to_string(path).map_or(String::new(), |text| text.trim().to_owned())
}

/// The last part of what a link names.
pub(super) fn link_name(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}
