//! Opening a device by VFIO, and saying what is missing where that fails.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::iommu::Iommu;
use super::{Interface, ioctl};
use crate::DriverError;
use crate::pci::{Drive, PciAddress, PciError, System};

const VFIO_PCI: &str = "vfio-pci";
const CONTAINER: &str = "/dev/vfio/vfio";
const IOMMUFD: &str = "/dev/iommu";

/// A device that was opened, and its IOMMU.
pub(super) struct Attached {
    pub(super) device: Arc<OwnedFd>,
    pub(super) iommu: Iommu,
}

/// Opens the device at `address` by `interface`.
pub(super) fn attach(address: PciAddress, interface: Interface) -> Result<Attached, DriverError> {
    let system = System::default();
    let drive = system.drive(address)?;
    if drive.driver.as_deref() != Some(VFIO_PCI) {
        return Err(PciError::NotBound {
            address,
            driver: drive.driver,
        }
        .into());
    }
    let attempt = Attempt {
        system: &system,
        drive: &drive,
    };
    let own = system.device_node(address);
    let attached = match (interface, &own) {
        (Interface::Group, _) | (Interface::Any, None) => attempt.by_group()?,
        (Interface::Iommufd, None) => return Err(PciError::NoIommufd.into()),
        (Interface::Iommufd, Some(node)) => attempt.by_iommufd(node)?,
        // A kernel with both: whichever one may use.
        (Interface::Any, Some(node)) => match attempt.by_iommufd(node) {
            Ok(attached) => attached,
            Err(error) => match attempt.by_group() {
                Err(_) if !attempt.has_group_node() => return Err(error),
                attached => attached?,
            },
        },
    };
    Ok(attached)
}

struct Attempt<'a> {
    system: &'a System,
    drive: &'a Drive,
}

impl Attempt<'_> {
    fn name(&self) -> String {
        self.drive.address.to_string()
    }

    fn has_group_node(&self) -> bool {
        let node = |group| Path::new("/dev/vfio").join(format!("{group}"));
        self.drive.group.is_some_and(|group| node(group).exists())
    }

    fn failed(&self, operation: &'static str, errno: Errno) -> DriverError {
        DriverError::transport(&self.name(), operation, errno)
    }

    /// By its group, in a container of its own.
    fn by_group(&self) -> Result<Attached, DriverError> {
        const JOINING: &str = "putting its group into a container";
        let address = self.drive.address;
        let number = self.drive.group.ok_or(PciError::NoIommuGroup(address))?;
        let container = self.open(CONTAINER.as_ref())?;
        let is_type1 = ioctl::is_type1(container.as_fd());
        if !is_type1.map_err(|errno| self.failed("asking for its IOMMU", errno))? {
            return Err(PciError::NoDriver {
                driver: "vfio_iommu_type1",
            }
            .into());
        }
        let group = self.open(format!("/dev/vfio/{number}").as_ref())?;
        let is_viable = ioctl::is_viable(group.as_fd());
        if !is_viable.map_err(|errno| self.failed("looking at its group", errno))? {
            return Err(PciError::SharedGroup {
                address,
                group: number,
                others: self.drive.neighbours.clone(),
            }
            .into());
        }
        ioctl::set_container(group.as_fd(), container.as_fd())
            .map_err(|errno| self.failed(JOINING, errno))?;
        ioctl::set_type1(container.as_fd()).map_err(|errno| match errno {
            Errno::PERM => PciError::UnsafeInterrupts(address).into(),
            errno => self.failed(JOINING, errno),
        })?;
        let text = CString::new(self.name()).unwrap_or_default();
        let device = ioctl::device(group.as_fd(), &text)
            .map_err(|errno| self.failed("opening it", errno))?;
        Ok(Attached {
            device: Arc::new(device),
            iommu: Iommu::Type1 { container, group },
        })
    }

    /// By a node of its own, in an address space of iommufd.
    fn by_iommufd(&self, node: &Path) -> Result<Attached, DriverError> {
        let iommufd = self.open(IOMMUFD.as_ref())?;
        let device = self.open(node)?;
        ioctl::bind(device.as_fd(), iommufd.as_fd()).map_err(|errno| match errno {
            Errno::BUSY | Errno::INVAL => self.busy(node),
            Errno::PERM => PciError::UnsafeInterrupts(self.drive.address).into(),
            errno => self.failed("binding it to iommufd", errno),
        })?;
        let ioas = ioctl::ioas(iommufd.as_fd())
            .map_err(|errno| self.failed("making an address space", errno))?;
        ioctl::attach(device.as_fd(), ioas)
            .map_err(|errno| self.failed("giving it an address space", errno))?;
        Ok(Attached {
            device: Arc::new(device),
            iommu: Iommu::Iommufd { iommufd, ioas },
        })
    }

    fn open(&self, node: &Path) -> Result<OwnedFd, DriverError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::open(node, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT | Errno::NODEV => PciError::NoNode(node.to_owned()).into(),
            Errno::ACCESS | Errno::PERM => PciError::NodeForbidden(node.to_owned()).into(),
            Errno::BUSY => self.busy(node),
            errno => self.failed("opening it", errno),
        })
    }

    /// Somebody has the node, most likely.
    fn busy(&self, node: &Path) -> DriverError {
        let address = self.drive.address;
        match self.system.user_space_drivers(self.drive) {
            Ok(uses) if !uses.is_empty() => PciError::InUse { address, uses }.into(),
            _ => PciError::NodeBusy(PathBuf::from(node)).into(),
        }
    }
}
