//! What the bus has of a controller: its memory, and leave to access the host's.

use traces::{Clock, Tap};

use super::Controller;
use crate::Media;
use crate::front::CmbFile;

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Lets the controller access memory, as it may at first, or not: then it
    /// fetches nothing and posts nothing, and what it has begun waits. What the
    /// medium still holds of guest memory is finished before that.
    pub fn set_bus_master(&mut self, enabled: bool) {
        if self.device.memory.is_reachable() == enabled {
            return;
        }
        if !enabled {
            self.let_go();
            self.device.raise_interrupts();
        }
        self.device.memory.set_reachable(enabled);
    }

    /// Whether the controller has a reason to assert an interrupt pin: a
    /// completion queue with interrupts enabled has entries that the host has
    /// not consumed, and INTMS does not mask it (`NVMe over PCIe 1.1 §3.5`).
    pub fn interrupt_pending(&mut self) -> bool {
        let device = &mut self.device;
        device
            .queues
            .is_pending(&device.doorbells, device.registers.intms)
    }

    /// The controller memory buffer, for a front to hand to its client.
    pub fn cmb(&self) -> Option<CmbFile<'_>> {
        let (fd, bytes) = self.device.cmb.file()?;
        Some(CmbFile { fd, bytes })
    }
}
