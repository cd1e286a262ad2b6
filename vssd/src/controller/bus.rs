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
            .is_pending(&device.memory, &device.doorbells, device.registers.intms)
    }

    /// The controller memory buffer, for a front to hand to its client.
    pub fn cmb(&self) -> Option<CmbFile<'_>> {
        let (fd, bytes) = self.device.cmb.file()?;
        Some(CmbFile { fd, bytes })
    }
}

#[cfg(test)]
mod tests {
    use nvme::{DoorbellKind, NvmOpcode, Registers, Status, offset};

    use crate::host::{Host, io};
    use crate::media::Ram;

    #[test]
    fn without_leave_it_touches_no_memory_and_loses_nothing() {
        let (mut host, mut pair) = Host::ready(Ram::new(1 << 20).unwrap());
        let page = host.pages(1);
        host.write(page, &[7; 4096]);
        host.raised.take();
        host.controller.set_bus_master(false);
        let cid = host.put(&mut pair, io(NvmOpcode::WRITE, 0, 8, page, 0));
        host.ring(&pair);
        for _ in 0..10 {
            assert_eq!(host.controller.poll(64), 0);
        }
        assert!(host.peek(&pair).is_none() && host.raised.take().is_empty());
        host.controller.set_bus_master(true);
        host.settle();
        let cqe = host.reap(&mut pair).unwrap();
        assert_eq!((cqe.cid(), cqe.status()), (cid, Status::SUCCESS));
        assert_eq!(host.raised.take(), [1]);
    }

    #[test]
    fn the_pin_has_a_reason_while_there_are_entries() {
        let (mut host, mut pair) = Host::ready(Ram::new(1 << 20).unwrap());
        assert!(!host.controller.interrupt_pending());
        host.put(&mut pair, io(NvmOpcode::FLUSH, 0, 1, 0, 0));
        host.put(&mut pair, io(NvmOpcode::FLUSH, 0, 1, 0, 0));
        host.ring(&pair);
        host.settle();
        assert!(host.controller.interrupt_pending());
        // Its vector is 1.
        host.controller.write32(offset::INTMS, 0b10);
        assert!(!host.controller.interrupt_pending());
        host.controller.write32(offset::INTMC, 0b10);
        host.doorbell(pair.id, DoorbellKind::CompletionHead, 1);
        assert!(host.controller.interrupt_pending());
        host.doorbell(pair.id, DoorbellKind::CompletionHead, 2);
        assert!(!host.controller.interrupt_pending());
    }
}
