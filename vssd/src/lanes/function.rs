//! Lanes as a front and a worker see them: a controller.

use std::os::fd::BorrowedFd;

use nvme::{DOORBELL_BASE, Registers};
use traces::{Branch, Clock};

use super::{Lanes, State};
use crate::front::{CmbFile, DoorbellFile, Function};
use crate::media::Parallel;
use crate::{BlockDevice, DmaTable, Interrupts, MapError, PciIdentity, Protection, Rings};

impl<M, T, C> Registers for Lanes<M, T, C>
where
    M: Parallel + Send + 'static,
    T: Branch + Send + 'static,
    C: Clock + Clone + Send + 'static,
{
    fn read32(&mut self, offset: u32) -> u32 {
        self.controller.read32(offset)
    }

    fn write32(&mut self, offset: u32, value: u32) {
        // Doorbells are where lanes see them.
        if offset < DOORBELL_BASE {
            self.gather();
        }
        self.controller.write32(offset, value);
    }

    fn read64(&mut self, offset: u32) -> u64 {
        self.controller.read64(offset)
    }

    fn write64(&mut self, offset: u32, value: u64) {
        if offset < DOORBELL_BASE {
            self.gather();
        }
        self.controller.write64(offset, value);
    }
}

/// As the controller. What concerns queues has all of them home first.
impl<M, T, C> Function for Lanes<M, T, C>
where
    M: Parallel + Send + 'static,
    T: Branch + Send + 'static,
    C: Clock + Clone + Send + 'static,
{
    #[inline]
    fn poll(&mut self, budget: u32) -> u32 {
        if matches!(self.state, State::Out { .. }) && self.are_wanted() {
            self.gather();
        }
        let done = self.controller.poll(budget);
        self.attend(done);
        done
    }

    fn idle(&self) -> bool {
        self.controller.idle()
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        self.controller.next_deadline_ns()
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.controller.wake()
    }

    fn now_ns(&self) -> u64 {
        self.controller.clock().now_ns()
    }

    fn dma_map(
        &mut self,
        iova: u64,
        len: u64,
        fd: BorrowedFd<'_>,
        file_offset: u64,
        protection: Protection,
    ) -> Result<(), MapError> {
        self.gather();
        self.controller
            .dma_map(iova, len, fd, file_offset, protection)
    }

    fn dma_unmap(&mut self, iova: u64, len: u64) -> u64 {
        self.gather();
        self.controller.dma_unmap(iova, len)
    }

    fn dma_unmap_all(&mut self) {
        self.gather();
        self.controller.dma_unmap_all();
    }

    fn doorbells(&self) -> DoorbellFile<'_> {
        Function::doorbells(&self.controller)
    }

    fn cmb(&self) -> Option<CmbFile<'_>> {
        self.controller.cmb()
    }

    fn set_bus_master(&mut self, enabled: bool) {
        self.gather();
        self.controller.set_bus_master(enabled);
    }

    fn interrupt_pending(&mut self) -> bool {
        self.gather();
        self.controller.interrupt_pending()
    }

    fn set_interrupts(&mut self, interrupts: Box<dyn Interrupts + Send>) {
        self.gather();
        self.controller.set_interrupts(interrupts);
    }

    fn connected(&mut self) {
        self.home().connected();
    }

    fn disconnected(&mut self) {
        self.home().disconnected();
    }

    fn function_reset(&mut self) {
        self.gather();
        self.controller.function_reset();
    }

    fn identity(&self) -> PciIdentity {
        Function::identity(&self.controller)
    }

    fn serial_number(&self) -> u64 {
        Function::serial_number(&self.controller)
    }

    fn vectors(&self) -> u16 {
        Function::vectors(&self.controller)
    }

    fn rings(&mut self) -> (&mut Rings, &DmaTable) {
        self.gather();
        self.controller.rings()
    }

    /// Of those that this thread serves: lanes look all the time.
    fn listen(&mut self) -> bool {
        self.controller.listen()
    }

    fn look(&mut self) {
        self.controller.look();
    }

    fn block_device(&self) -> Option<BlockDevice> {
        self.controller.block_device()
    }

    fn set_write_cache(&mut self, enabled: bool) {
        self.gather();
        self.controller.set_write_cache(enabled);
    }
}
