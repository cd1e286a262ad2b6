//! What stands between the device and memory.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::ioctl;
use crate::DriverError;
use crate::transport::memory::{IovaRange, Region};

/// The IOMMU of the device, by either of the kernel's interfaces.
#[derive(Debug)]
pub(super) enum Iommu {
    /// A container with the device's group in it.
    Type1 {
        /// `/dev/vfio/vfio`.
        container: OwnedFd,
        /// `/dev/vfio/GROUP`.
        group: OwnedFd,
    },
    /// An address space of iommufd.
    Iommufd {
        /// `/dev/iommu`.
        iommufd: OwnedFd,
        /// The address space.
        ioas: u32,
    },
}

impl Iommu {
    /// The addresses that the device may use.
    pub(super) fn ranges(&self) -> rustix::io::Result<Vec<IovaRange>> {
        let mut ranges = match self {
            Self::Type1 { container, .. } => ioctl::type1_ranges(container.as_fd())?,
            Self::Iommufd { iommufd, ioas } => ioctl::ioas_ranges(iommufd.as_fd(), *ioas)?,
        };
        // Old kernels do not tell, and refuse at the map what cannot be.
        if ranges.is_empty() {
            ranges.push(IovaRange::ALL);
        }
        Ok(ranges)
    }

    /// Shows a region to the device.
    pub(super) fn map(&self, name: &str, region: &Region) -> Result<(), DriverError> {
        let mapped = match self {
            Self::Type1 { container, .. } => ioctl::type1_map(container.as_fd(), region),
            Self::Iommufd { iommufd, ioas } => ioctl::ioas_map(iommufd.as_fd(), *ioas, region),
        };
        mapped.map_err(|errno| {
            let why = refusal(errno, region.len());
            DriverError::transport(name, "giving it access to memory", why)
        })
    }
}

/// What it means that the kernel does not map memory, and what helps.
fn refusal(errno: Errno, bytes: usize) -> String {
    match errno {
        Errno::NOMEM => {
            let limit = getrlimit(Resource::Memlock).current;
            let limit = limit.map_or("no limit".into(), |limit| format!("{} KiB", limit >> 10));
            format!(
                "the kernel does not pin {} KiB more of memory (this process may have \
                 {limit}): raise it with `ulimit -l`, or in /etc/security/limits.conf \
                 (memlock), or use fewer queues",
                bytes >> 10
            )
        }
        Errno::NOSPC => "the kernel has no room for one more map: raise \
             dma_entry_limit of vfio_iommu_type1, or use fewer queues"
            .into(),
        errno => errno.to_string(),
    }
}
