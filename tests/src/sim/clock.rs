//! Time in which the device lives.

use traces::{Clock, VirtualClock};

use super::Device;

/// Virtual time for the driver and whoever uses it: while they wait, the device
/// runs, event by event. Clones share the time.
#[derive(Clone, Debug)]
pub struct SimClock {
    clock: VirtualClock,
    device: Device,
}

impl SimClock {
    pub(crate) const fn new(clock: VirtualClock, device: Device) -> Self {
        Self { clock, device }
    }

    /// Moves time on by `ns` nanoseconds.
    pub fn advance(&self, ns: u64) {
        self.wait_until(self.now_ns().saturating_add(ns));
    }
}

impl Clock for SimClock {
    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn wait_until(&self, deadline_ns: u64) {
        self.device.run();
        while let Some(due_ns) = self.device.due_ns().filter(|due_ns| *due_ns < deadline_ns) {
            self.clock.wait_until(due_ns);
            self.device.run();
        }
        self.clock.wait_until(deadline_ns);
        self.device.run();
    }
}
