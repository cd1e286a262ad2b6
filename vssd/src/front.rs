//! How a guest attaches.
//!
//! ```text
//!   guest <--- socket ---> front::vfio_user, --> Function (the controller)
//!                          front::vhost_user
//!                              ^                      ^
//!                              |        worker        |
//!                              +--- service   poll ---+
//! ```
//!
//! A front turns what a guest does to a PCI function into calls of
//! [`Function`], and what the function wants of the guest into what the guest
//! understands. The worker takes turns between the two.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

mod event;
mod listener;
pub mod vfio_user;
pub mod vhost_user;

pub(crate) use event::Event;
#[cfg(test)]
pub(crate) use listener::Listener;
pub use listener::{BindError, Options, ServeError};

use std::os::fd::BorrowedFd;

use nvme::Registers;
use traces::{Clock, Tap};

use crate::{
    BlockDevice, Controller, DOORBELLS_BYTES, DmaTable, Interrupts, MapError, Media, PciIdentity,
    Protection, Rings,
};

/// The doorbells as a file.
#[derive(Clone, Copy, Debug)]
pub struct DoorbellFile<'a> {
    /// The file.
    pub fd: BorrowedFd<'a>,
    /// Where the doorbells start in it, bytes.
    pub offset: u64,
    /// Their size, bytes; a whole number of pages.
    pub bytes: u64,
}

/// The controller memory buffer as a file, from its start.
#[derive(Clone, Copy, Debug)]
pub struct CmbFile<'a> {
    /// The file.
    pub fd: BorrowedFd<'a>,
    /// Its size, bytes; a power of two, and whole pages.
    pub bytes: u64,
}

/// What a front and a worker need of a controller. [`Controller`] is one, over
/// any medium; the methods are those of the same names.
pub trait Function: Registers {
    /// Does what there is to do; see [`Controller::poll`].
    fn poll(&mut self, budget: u32) -> u32;
    /// Whether nothing is in flight; see [`Controller::idle`].
    fn idle(&self) -> bool;
    /// When it has to be polled at the latest; see
    /// [`Controller::next_deadline_ns`].
    fn next_deadline_ns(&self) -> Option<u64>;
    /// What becomes readable when the medium has done something that is in
    /// flight; see [`Controller::wake`].
    fn wake(&self) -> Option<BorrowedFd<'_>>;
    /// The time of the controller's clock, nanoseconds.
    fn now_ns(&self) -> u64;
    /// Maps guest memory.
    ///
    /// # Errors
    ///
    /// [`MapError`], and nothing is changed then.
    fn dma_map(
        &mut self,
        iova: u64,
        len: u64,
        fd: BorrowedFd<'_>,
        file_offset: u64,
        protection: Protection,
    ) -> Result<(), MapError>;
    /// Unmaps guest memory; how many bytes were mapped there.
    fn dma_unmap(&mut self, iova: u64, len: u64) -> u64;
    /// Unmaps all guest memory.
    fn dma_unmap_all(&mut self);
    /// The doorbells, for a client to map.
    fn doorbells(&self) -> DoorbellFile<'_>;
    /// The controller memory buffer, for a client to map; none where there is
    /// none.
    fn cmb(&self) -> Option<CmbFile<'_>>;
    /// Lets the function access guest memory, which it may at first, or not;
    /// see [`Controller::set_bus_master`].
    fn set_bus_master(&mut self, enabled: bool);
    /// Whether the function has a reason to assert an interrupt pin; see
    /// [`Controller::interrupt_pending`].
    fn interrupt_pending(&mut self) -> bool;
    /// Where interrupts go from now on.
    fn set_interrupts(&mut self, interrupts: Box<dyn Interrupts + Send>);
    /// A guest attached.
    fn connected(&mut self);
    /// The guest went away.
    fn disconnected(&mut self);
    /// The PCI function was reset.
    fn function_reset(&mut self);
    /// The PCI identity.
    fn identity(&self) -> PciIdentity;
    /// The device serial number, an EUI-64.
    fn serial_number(&self) -> u64;
    /// The number of interrupt vectors, at least 1.
    fn vectors(&self) -> u16;
    /// The virtqueues, and the guest memory that they are in.
    fn rings(&mut self) -> (&mut Rings, &DmaTable);
    /// Has the guest notify of requests in virtqueues from now on. Whether there
    /// is one already.
    fn listen(&mut self) -> bool {
        let (rings, memory) = self.rings();
        rings.listen(memory)
    }
    /// Looks for requests without being notified from now on.
    fn look(&mut self) {
        let (rings, memory) = self.rings();
        rings.look(memory);
    }
    /// What a virtio guest is told of the drive; see
    /// [`Controller::block_device`].
    fn block_device(&self) -> Option<BlockDevice>;
    /// Has writes wait for a flush, or not; see
    /// [`Controller::set_write_cache`].
    fn set_write_cache(&mut self, enabled: bool);
    /// Somebody used [`StopHandle::nudge`](crate::worker::StopHandle::nudge):
    /// there may be something to do between two commands. A controller has
    /// nothing, who wraps one may.
    fn nudged(&mut self) {}
    /// Who is at the socket from now on, for a person to read; none where it is
    /// nobody.
    fn met(&mut self, _client: Option<&str>) {}
}

impl<M: Media, T: Tap, C: Clock> Function for Controller<M, T, C> {
    fn poll(&mut self, budget: u32) -> u32 {
        Self::poll(self, budget)
    }

    fn idle(&self) -> bool {
        Self::idle(self)
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        Self::next_deadline_ns(self)
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        Self::wake(self)
    }

    fn now_ns(&self) -> u64 {
        self.clock().now_ns()
    }

    fn dma_map(
        &mut self,
        iova: u64,
        len: u64,
        fd: BorrowedFd<'_>,
        file_offset: u64,
        protection: Protection,
    ) -> Result<(), MapError> {
        Self::dma_map(self, iova, len, fd, file_offset, protection)
    }

    fn dma_unmap(&mut self, iova: u64, len: u64) -> u64 {
        Self::dma_unmap(self, iova, len)
    }

    fn dma_unmap_all(&mut self) {
        Self::dma_unmap_all(self);
    }

    fn doorbells(&self) -> DoorbellFile<'_> {
        let doorbells = Self::doorbells(self);
        DoorbellFile {
            fd: doorbells.fd(),
            offset: doorbells.file_offset(),
            bytes: u64::from(DOORBELLS_BYTES),
        }
    }

    fn cmb(&self) -> Option<CmbFile<'_>> {
        Self::cmb(self)
    }

    fn set_bus_master(&mut self, enabled: bool) {
        Self::set_bus_master(self, enabled);
    }

    fn interrupt_pending(&mut self) -> bool {
        Self::interrupt_pending(self)
    }

    fn set_interrupts(&mut self, interrupts: Box<dyn Interrupts + Send>) {
        Self::set_interrupts(self, interrupts);
    }

    fn connected(&mut self) {
        Self::connected(self);
    }

    fn disconnected(&mut self) {
        Self::disconnected(self);
    }

    fn function_reset(&mut self) {
        Self::function_reset(self);
    }

    fn identity(&self) -> PciIdentity {
        self.config().pci
    }

    fn serial_number(&self) -> u64 {
        let [a, b, c] = self.config().pci.oui;
        let [d, e, f, g, h, ..] = self.config().uuid();
        u64::from_be_bytes([c, b, a, d, e, f, g, h])
    }

    fn vectors(&self) -> u16 {
        self.config().vectors()
    }

    fn rings(&mut self) -> (&mut Rings, &DmaTable) {
        (&mut self.device.queues.rings, &self.device.memory)
    }

    fn block_device(&self) -> Option<BlockDevice> {
        Self::block_device(self)
    }

    fn set_write_cache(&mut self, enabled: bool) {
        Self::set_write_cache(self, enabled);
    }
}
