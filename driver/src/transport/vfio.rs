//! A real drive, over VFIO: the IOMMU stays on, no memory has to be huge, and a
//! user who owns the drive's node needs no privileges.
//!
//! The drive must have been given to `vfio-pci`, see [`crate::pci::System::bind`].
//! The kernel resets it when it is opened, and again when it is closed, however
//! the process ends.

mod attach;
mod bar;
mod function;
mod ioctl;
mod iommu;
mod notice;

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use nvme::Registers;

use self::attach::attach;
use self::bar::Bar;
use self::function::Function;
use self::iommu::Iommu;
use self::notice::Notices;
use super::memory::DmaArena;
use super::{Doorbells, Fault, Link, Transport};
use crate::pci::PciAddress;
use crate::pci::config::{self, PciConfig};
use crate::{DmaBuffer, DriverError};

/// What is pinned at once: a user's limit may be a few MiB in all.
const REGION_BYTES_MIN: usize = 2 << 20;

/// By which of the kernel's interfaces to open a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interface {
    /// iommufd where kernel and permissions have it, else the group.
    #[default]
    Any,
    /// `/dev/vfio/GROUP` and a container.
    Group,
    /// `/dev/vfio/devices/vfioN` and `/dev/iommu`.
    Iommufd,
}

/// A PCI function that this process drives.
#[derive(Debug)]
pub struct Vfio {
    // Fields are dropped in this order: the device is closed, and reset by
    // that, before its memory goes.
    bar: Arc<Bar>,
    doorbells: Doorbells,
    notices: Arc<Notices>,
    function: Function,
    iommu: Iommu,
    arena: DmaArena,
    /// The offset of the power management capability.
    power: Option<u16>,
}

impl Vfio {
    /// Opens the drive at `address`.
    ///
    /// # Errors
    ///
    /// [`DriverError::Pci`] where the system does not let it be opened, and
    /// [`DriverError::Transport`] where VFIO fails otherwise; each names what
    /// is missing.
    pub fn open(address: PciAddress) -> Result<Self, DriverError> {
        Self::open_by(address, Interface::Any)
    }

    /// As [`Vfio::open`], by one of the kernel's interfaces.
    ///
    /// # Errors
    ///
    /// Those of [`Vfio::open`].
    pub fn open_by(address: PciAddress, interface: Interface) -> Result<Self, DriverError> {
        let attached = attach(address, interface)?;
        let function = Function::open(address, Arc::clone(&attached.device))?;
        let notices = Notices::subscribe(&attached.device)
            .map_err(|errno| function.failed("asking to be told of its end", errno))?;
        let ranges = attached
            .iommu
            .ranges()
            .map_err(|errno| function.failed("asking for the addresses that it may use", errno))?;
        let bar = Bar::open(&function.name, &attached.device, function.bar0()?)?;
        let bar = Arc::new(bar);
        let mut vfio = Self {
            doorbells: bar.doorbells(),
            bar,
            notices: Arc::new(notices),
            function,
            iommu: attached.iommu,
            arena: DmaArena::within(ranges, REGION_BYTES_MIN),
            power: None,
        };
        let mut config = PciConfig::of(&mut vfio);
        let power = config.capability(config::CAPABILITY_POWER)?;
        config.switch_on()?;
        vfio.power = power;
        Ok(vfio)
    }

    /// Which of the kernel's interfaces it was opened by.
    #[must_use]
    pub const fn interface(&self) -> Interface {
        match self.iommu {
            Iommu::Type1 { .. } => Interface::Group,
            Iommu::Iommufd { .. } => Interface::Iommufd,
        }
    }

    /// Resets the bus that the function is on, and so the function as by its
    /// power button (`PCI Express Base 5.0 §6.6.1`).
    ///
    /// # Errors
    ///
    /// [`DriverError::Pci`] where others are on the bus,
    /// [`DriverError::Transport`] where there is no such reset.
    pub fn hot_reset(&mut self) -> Result<(), DriverError> {
        self.function.hot_reset(&self.iommu)?;
        PciConfig::of(self).switch_on()
    }

    /// Whether the function would answer for its memory after a write to its
    /// configuration space.
    fn answers_after(&self, offset: u16, from: &[u8]) -> Result<bool, DriverError> {
        let after = |at: u16| -> Result<u8, DriverError> {
            let written = at.checked_sub(offset).map(usize::from);
            if let Some(byte) = written.and_then(|index| from.get(index)) {
                return Ok(*byte);
            }
            let mut byte = [0];
            self.function.config_read(at, &mut byte)?;
            Ok(byte[0])
        };
        let command = after(config::COMMAND)?;
        let power = match self.power {
            None => 0,
            Some(power) => after(power.saturating_add(config::POWER_CONTROL))?,
        };
        Ok(config::decodes_memory(command) && config::is_powered(power))
    }
}

impl Registers for Vfio {
    fn read32(&mut self, offset: u32) -> u32 {
        self.bar.read32(offset)
    }

    fn write32(&mut self, offset: u32, value: u32) {
        self.bar.write32(offset, value);
    }
}

impl Transport for Vfio {
    fn name(&self) -> &str {
        &self.function.name
    }

    fn allocate_dma(&mut self, bytes: usize) -> Result<DmaBuffer, DriverError> {
        let name = &self.function.name;
        self.arena
            .allocate(bytes, |region| self.iommu.map(name, region))
    }

    fn doorbells(&self) -> Doorbells {
        self.doorbells.clone()
    }

    fn reset(&mut self) -> Result<(), DriverError> {
        self.function.reset(&self.iommu)?;
        PciConfig::of(self).switch_on()
    }

    fn interrupts(&self) -> u16 {
        self.function.vectors()
    }

    fn set_interrupt(
        &mut self,
        vector: u16,
        eventfd: Option<BorrowedFd<'_>>,
    ) -> Result<(), DriverError> {
        self.function.set_interrupt(vector, eventfd)
    }

    fn config_read(&mut self, offset: u16, to: &mut [u8]) -> Result<(), DriverError> {
        self.function.config_read(offset, to)
    }

    fn config_write(&mut self, offset: u16, from: &[u8]) -> Result<(), DriverError> {
        const OPERATION: &str = "mapping its registers";
        let answers = self.answers_after(offset, from)?;
        if !answers {
            let parked = self.bar.park(true);
            parked.map_err(|errno| self.function.failed(OPERATION, errno))?;
        }
        self.function.config_write(offset, from)?;
        // What the function made of it counts.
        if answers && self.answers_after(0, &[])? {
            let parked = self.bar.park(false);
            parked.map_err(|errno| self.function.failed(OPERATION, errno))?;
        }
        Ok(())
    }

    fn fault(&self) -> Option<Fault> {
        self.notices.fault()
    }

    fn link(&self) -> Option<Arc<dyn Link>> {
        Some(Arc::<Notices>::clone(&self.notices))
    }
}
