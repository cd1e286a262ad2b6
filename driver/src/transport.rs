//! The path to a device: its registers, its doorbells, memory that it can
//! reach.
//!
//! This is the seam between the driver and the ways to a device. [`vfio`] maps
//! BAR0 for registers and doorbells, and gives DMA memory an IOVA in the IOMMU;
//! [`vfio_user`] does the same by messages; a simulation implements it over a
//! device model in the same process, with the building blocks of [`memory`] and
//! [`Doorbells`]. A `Box` of any of them is one, too: [`AnyTransport`].

mod doorbell;
pub mod memory;
pub mod vfio;
pub mod vfio_user;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

pub use doorbell::{DoorbellRegister, Doorbells, TrappedDoorbells};

use crate::{DmaBuffer, DriverError};

/// Why a device is gone, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(Arc<str>);

impl Fault {
    /// The fault that `why` describes: a clause, without a full stop.
    #[must_use]
    pub fn new(why: &str) -> Self {
        Self(Arc::from(why))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells from any thread whether the device is still there. It may cost a
/// system call: ask every few milliseconds, not for each command.
pub trait Link: Send + Sync {
    /// Why the device is gone; none while it is there.
    fn fault(&self) -> Option<Fault>;
}

/// The path to a device.
///
/// [`nvme::Registers`] has no errors: once the device is gone, reads return
/// all ones, writes are swallowed, and [`Transport::fault`] tells why.
pub trait Transport: nvme::Registers {
    /// What to call the device in messages: `vfio-user:/tmp/vssd.sock`,
    /// `0000:3b:00.0`.
    fn name(&self) -> &str;

    /// Zeroed memory of at least `bytes` bytes, aligned to the page size,
    /// contiguous for the device.
    ///
    /// # Errors
    ///
    /// [`DriverError::Memory`] where there is none, [`DriverError::Transport`] where the
    /// device cannot be given access to it.
    fn allocate_dma(&mut self, bytes: usize) -> Result<DmaBuffer, DriverError>;

    /// The doorbells: queue pairs ring theirs from any thread without going
    /// through the transport.
    fn doorbells(&self) -> Doorbells;

    /// Resets the PCI function (`NVMe over PCIe 1.1 §3.2`): stronger than a
    /// controller reset, for a controller that does not answer.
    ///
    /// # Errors
    ///
    /// [`DriverError::Transport`] where the device has no such reset or is gone.
    fn reset(&mut self) -> Result<(), DriverError>;

    /// How many MSI-X vectors the device has. A polling driver needs none.
    fn interrupts(&self) -> u16 {
        0
    }

    /// Has MSI-X vector `vector` signal `eventfd`; with none, detaches it.
    ///
    /// # Errors
    ///
    /// [`DriverError::Transport`] where there is no such vector.
    fn set_interrupt(
        &mut self,
        vector: u16,
        eventfd: Option<BorrowedFd<'_>>,
    ) -> Result<(), DriverError> {
        let _ = eventfd;
        Err(DriverError::transport(
            self.name(),
            "setting an interrupt",
            format!("vector {vector} does not exist here: poll instead"),
        ))
    }

    /// Reads `to.len()` bytes at `offset` of the function's PCI configuration
    /// space; see [`crate::pci::PciConfig`].
    ///
    /// # Errors
    ///
    /// [`DriverError::Transport`] where there is none, or it ends before that.
    fn config_read(&mut self, offset: u16, to: &mut [u8]) -> Result<(), DriverError> {
        let _ = (offset, to);
        Err(no_config(self.name()))
    }

    /// Writes `from` at `offset` of the function's PCI configuration space.
    ///
    /// # Errors
    ///
    /// [`DriverError::Transport`] where there is none, or it ends before that.
    fn config_write(&mut self, offset: u16, from: &[u8]) -> Result<(), DriverError> {
        let _ = (offset, from);
        Err(no_config(self.name()))
    }

    /// Why the device is gone; none while it is there.
    fn fault(&self) -> Option<Fault>;

    /// [`Transport::fault`] for the threads that own queue pairs; none where
    /// the device cannot go away.
    fn link(&self) -> Option<Arc<dyn Link>> {
        None
    }

    /// Called again and again while the driver waits. A simulation runs its
    /// device here; a real device needs nothing but the processor.
    fn relax(&mut self) {
        std::thread::yield_now();
    }
}

fn no_config(name: &str) -> DriverError {
    DriverError::transport(
        name,
        "looking at its PCI configuration space",
        "it has none",
    )
}

/// A transport of a kind that is known only when the program runs.
pub type AnyTransport = Box<dyn Transport + Send>;

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn allocate_dma(&mut self, bytes: usize) -> Result<DmaBuffer, DriverError> {
        (**self).allocate_dma(bytes)
    }

    fn doorbells(&self) -> Doorbells {
        (**self).doorbells()
    }

    fn reset(&mut self) -> Result<(), DriverError> {
        (**self).reset()
    }

    fn interrupts(&self) -> u16 {
        (**self).interrupts()
    }

    fn set_interrupt(
        &mut self,
        vector: u16,
        eventfd: Option<BorrowedFd<'_>>,
    ) -> Result<(), DriverError> {
        (**self).set_interrupt(vector, eventfd)
    }

    fn config_read(&mut self, offset: u16, to: &mut [u8]) -> Result<(), DriverError> {
        (**self).config_read(offset, to)
    }

    fn config_write(&mut self, offset: u16, from: &[u8]) -> Result<(), DriverError> {
        (**self).config_write(offset, from)
    }

    fn fault(&self) -> Option<Fault> {
        (**self).fault()
    }

    fn link(&self) -> Option<Arc<dyn Link>> {
        (**self).link()
    }

    fn relax(&mut self) {
        (**self).relax();
    }
}
