//! The PCI function itself: configuration space, interrupts, resets.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::{Errno, pread, pwrite};

use super::ioctl::{self, Irq, RegionIndex, RegionPlace};
use super::iommu::Iommu;
use crate::DriverError;
use crate::pci::{PciAddress, PciError, System};

/// A function that was opened.
#[derive(Debug)]
pub(super) struct Function {
    address: PciAddress,
    /// The address as a text.
    pub(super) name: String,
    pub(super) device: Arc<OwnedFd>,
    config: RegionPlace,
    /// Whether it can be reset without its neighbours.
    resets_alone: bool,
    vectors: u16,
    /// The event of each vector that is switched on.
    events: Vec<Option<OwnedFd>>,
}

impl Function {
    /// Looks at what was opened.
    pub(super) fn open(address: PciAddress, device: Arc<OwnedFd>) -> Result<Self, DriverError> {
        const OPERATION: &str = "asking what device it is";
        let name = address.to_string();
        let failed = |errno: Errno| DriverError::transport(&name, OPERATION, errno);
        let (is_pci, resets_alone) = ioctl::device_info(device.as_fd()).map_err(failed)?;
        if !is_pci {
            return Err(DriverError::transport(&name, OPERATION, "it is not on PCI"));
        }
        let config = ioctl::region(device.as_fd(), RegionIndex::Config).map_err(failed)?;
        let vectors = ioctl::irq_count(device.as_fd(), Irq::MsiX).map_err(failed)?;
        Ok(Self {
            address,
            name,
            device,
            config,
            resets_alone,
            vectors: u16::try_from(vectors).unwrap_or(u16::MAX),
            events: Vec::new(),
        })
    }

    pub(super) fn failed(&self, operation: &'static str, errno: Errno) -> DriverError {
        DriverError::transport(&self.name, operation, errno)
    }

    pub(super) const fn vectors(&self) -> u16 {
        self.vectors
    }

    /// Where BAR0 is.
    pub(super) fn bar0(&self) -> Result<RegionPlace, DriverError> {
        ioctl::region(self.device.as_fd(), RegionIndex::Bar0)
            .map_err(|errno| self.failed("asking for its registers", errno))
    }

    pub(super) fn config_read(&self, offset: u16, to: &mut [u8]) -> Result<(), DriverError> {
        const OPERATION: &str = "reading its configuration space";
        let at = self.config_place(OPERATION, offset, to.len())?;
        let read = pread(&*self.device, &mut *to, at);
        match read.map_err(|errno| self.failed(OPERATION, errno))? {
            bytes if bytes == to.len() => Ok(()),
            _ => Err(self.failed(OPERATION, Errno::IO)),
        }
    }

    pub(super) fn config_write(&self, offset: u16, from: &[u8]) -> Result<(), DriverError> {
        const OPERATION: &str = "writing its configuration space";
        let at = self.config_place(OPERATION, offset, from.len())?;
        let written = pwrite(&*self.device, from, at);
        match written.map_err(|errno| self.failed(OPERATION, errno))? {
            bytes if bytes == from.len() => Ok(()),
            _ => Err(self.failed(OPERATION, Errno::IO)),
        }
    }

    fn config_place(
        &self,
        operation: &'static str,
        offset: u16,
        bytes: usize,
    ) -> Result<u64, DriverError> {
        let end = usize::from(offset).saturating_add(bytes);
        if end as u64 > self.config.size {
            return Err(DriverError::transport(
                &self.name,
                operation,
                format!(
                    "{bytes} bytes at {offset:#x} are not in its {} bytes",
                    self.config.size
                ),
            ));
        }
        Ok(self.config.offset + u64::from(offset))
    }

    /// Has a vector signal `event`, or nobody.
    ///
    /// Kernels before 6.5 take no vector more once MSI-X is on: it is switched
    /// off and on again with one more, and what came in between is lost, which
    /// a driver that polls does not miss.
    pub(super) fn set_interrupt(
        &mut self,
        vector: u16,
        event: Option<BorrowedFd<'_>>,
    ) -> Result<(), DriverError> {
        const OPERATION: &str = "setting an interrupt";
        if vector >= self.vectors {
            return Err(DriverError::transport(
                &self.name,
                OPERATION,
                format!("there is no vector {vector}: it has {}", self.vectors),
            ));
        }
        let own = event.map(|event| event.try_clone_to_owned()).transpose();
        let own = own.map_err(|error| DriverError::transport(&self.name, OPERATION, error))?;
        let index = usize::from(vector);
        let known = index < self.events.len();
        let is_on = !self.events.is_empty();
        if !known {
            self.events.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.events.get_mut(index) {
            *slot = own;
        }
        let device = self.device.as_fd();
        let set = if known {
            ioctl::set_irqs(device, Irq::MsiX, u32::from(vector), &[event])
        } else {
            let events: Vec<_> = self
                .events
                .iter()
                .map(|event| event.as_ref().map(AsFd::as_fd))
                .collect();
            let off = if is_on {
                ioctl::set_irqs(device, Irq::MsiX, 0, &[])
            } else {
                Ok(())
            };
            off.and_then(|()| ioctl::set_irqs(device, Irq::MsiX, 0, &events))
        };
        set.map_err(|errno| self.failed(OPERATION, errno))
    }

    /// Resets the function: alone where it can be, else with its bus where
    /// nobody else is on it.
    pub(super) fn reset(&self, iommu: &Iommu) -> Result<(), DriverError> {
        if self.resets_alone {
            return ioctl::reset(self.device.as_fd())
                .map_err(|errno| self.failed("resetting it", errno));
        }
        self.hot_reset(iommu)
    }

    /// Resets the bus that the function is on.
    pub(super) fn hot_reset(&self, iommu: &Iommu) -> Result<(), DriverError> {
        const OPERATION: &str = "resetting its bus";
        let device = self.device.as_fd();
        let group = match iommu {
            Iommu::Iommufd { .. } => None,
            Iommu::Type1 { group, .. } => {
                self.owns_bus()?;
                Some(group.as_fd())
            }
        };
        ioctl::hot_reset(device, group).map_err(|errno| match errno {
            Errno::NODEV | Errno::NOTTY => DriverError::transport(
                &self.name,
                OPERATION,
                "the slot has no such reset, or the drive did not come back from it: \
                 `dmesg` may say more",
            ),
            errno => self.failed(OPERATION, errno),
        })
    }

    /// Whether all that a reset of the bus resets is in the function's group.
    fn owns_bus(&self) -> Result<(), DriverError> {
        const OPERATION: &str = "resetting its bus";
        let drive = System::default().drive(self.address)?;
        let dependents = ioctl::hot_reset_dependents(self.device.as_fd())
            .map_err(|errno| self.failed(OPERATION, errno))?;
        let strangers: Vec<String> = dependents
            .iter()
            .filter(|other| Some(other.group) != drive.group)
            .map(|other| {
                let (domain, bus, devfn) = other.place;
                format!("{domain:04x}:{bus:02x}:{:02x}.{}", devfn >> 3, devfn & 7)
            })
            .collect();
        if strangers.is_empty() {
            return Ok(());
        }
        Err(PciError::SharedBus {
            address: self.address,
            others: strangers.join(", "),
        }
        .into())
    }
}
