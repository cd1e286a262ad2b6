//! The controller: what a front and a worker drive.

use std::os::fd::BorrowedFd;

use nvme::Registers;
use traces::{Clock, Tap};

use crate::media::MediaInfo;
use crate::{
    ControllerConfig, DmaTable, Doorbells, Error, Interrupts, MapError, Media, Protection,
};

/// One NVMe function with one namespace on `M`, observed by `T`, in the time of
/// `C`.
pub struct Controller<M, T, C> {
    config: ControllerConfig,
    memory: DmaTable,
    doorbells: Doorbells,
    interrupts: Box<dyn Interrupts + Send>,
    media: M,
    info: MediaInfo,
    tap: T,
    clock: C,
}

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// A controller as it is after power-on: disabled, with no guest memory and
    /// nobody listening to its interrupts.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::MediaSize`] where `config` is not legal
    /// or does not fit `media`; [`Error::Doorbells`] where the system gives no
    /// memory.
    pub fn new(config: ControllerConfig, media: M, tap: T, clock: C) -> Result<Self, Error> {
        config.check()?;
        let info = media.info();
        if info.bytes == 0 || info.bytes % u64::from(config.block_bytes) != 0 {
            return Err(Error::MediaSize {
                media: media.name().to_owned(),
                bytes: info.bytes,
                block_bytes: config.block_bytes,
            });
        }
        Ok(Self {
            config,
            memory: DmaTable::new(),
            doorbells: Doorbells::new().map_err(|source| Error::Doorbells { source })?,
            interrupts: Box::new(()),
            media,
            info,
            tap,
            clock,
        })
    }

    /// Does what there is to do, at most about `budget` commands and
    /// completions, and returns how many there were: 0 says that the guest
    /// wants nothing just now. Queues take turns. Every interrupt that is due
    /// is raised before it returns.
    pub fn poll(&mut self, _budget: u32) -> u32 {
        0
    }

    /// Whether nothing is in flight: no command was fetched that is not
    /// completed (parked Asynchronous Event Requests do not count), and no
    /// shutdown is going on. A doorbell may have been rung since the last poll
    /// even so.
    pub fn idle(&self) -> bool {
        self.media.pending() == 0
    }

    /// Maps guest memory; see [`DmaTable::map`]. Live queues go on.
    ///
    /// # Errors
    ///
    /// [`MapError`], and nothing is changed then.
    pub fn dma_map(
        &mut self,
        iova: u64,
        len: u64,
        fd: BorrowedFd<'_>,
        file_offset: u64,
        protection: Protection,
    ) -> Result<(), MapError> {
        self.memory.map(iova, len, fd, file_offset, protection)
    }

    /// Unmaps guest memory, once no transfer in flight holds it; see
    /// [`DmaTable::unmap`]. Returns how many bytes were unmapped. Queues in
    /// that memory stand still until it is mapped again.
    pub fn dma_unmap(&mut self, iova: u64, len: u64) -> u64 {
        self.memory.unmap(iova, len)
    }

    /// Unmaps all guest memory, once no transfer in flight holds it.
    pub fn dma_unmap_all(&mut self) {
        self.memory.clear();
    }

    /// Guest memory, as it is mapped.
    pub const fn memory(&self) -> &DmaTable {
        &self.memory
    }

    /// The doorbell page, for a front to hand to its client.
    pub const fn doorbells(&self) -> &Doorbells {
        &self.doorbells
    }

    /// Where interrupts go from now on; `Box::new(())` for nowhere.
    pub fn set_interrupts(&mut self, interrupts: Box<dyn Interrupts + Send>) {
        self.interrupts = interrupts;
    }

    /// Whether a pin-based interrupt would be asserted now: a completion queue
    /// with interrupts enabled, whose vector is not masked by INTMS, has entries
    /// that the guest has not consumed (`NVMe over PCIe 1.1 §3.5.1`). A front
    /// with INTx asks after each poll and each write to a register.
    pub fn interrupt_asserted(&self) -> bool {
        false
    }

    /// A guest attached. The drive is as after power-on.
    pub fn connected(&mut self) {}

    /// The guest went away: commands in flight are abandoned, queues and guest
    /// memory are gone, registers have their reset values, and nobody listens
    /// to interrupts.
    pub fn disconnected(&mut self) {}

    /// The PCI function was reset: commands in flight are abandoned, queues are
    /// gone, and registers have their reset values. Guest memory stays mapped.
    pub fn function_reset(&mut self) {}

    /// What the controller was made to be.
    pub const fn config(&self) -> &ControllerConfig {
        &self.config
    }

    /// The medium.
    pub const fn media(&self) -> &M {
        &self.media
    }

    /// The medium, to ask it things.
    pub const fn media_mut(&mut self) -> &mut M {
        &mut self.media
    }

    /// The observer.
    pub const fn tap(&self) -> &T {
        &self.tap
    }

    /// The observer, to stop a recording, for one.
    pub const fn tap_mut(&mut self) -> &mut T {
        &mut self.tap
    }

    /// The clock.
    pub const fn clock(&self) -> &C {
        &self.clock
    }

    /// Ends the controller: commands in flight are abandoned, and the medium,
    /// the observer and the clock are handed back.
    pub fn into_parts(mut self) -> (M, T, C) {
        self.disconnected();
        (self.media, self.tap, self.clock)
    }
}

/// The controller's properties and doorbells, at their offsets in BAR0. What is
/// not a property reads as 0 and swallows writes.
impl<M: Media, T: Tap, C: Clock> Registers for Controller<M, T, C> {
    fn read32(&mut self, _offset: u32) -> u32 {
        0
    }

    fn write32(&mut self, offset: u32, value: u32) {
        if let Some(doorbell) = offset.checked_sub(nvme::DOORBELL_BASE) {
            self.doorbells.store(doorbell, value);
        }
    }
}

impl<M: Media, T, C> std::fmt::Debug for Controller<M, T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("media", &self.media.name())
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}
