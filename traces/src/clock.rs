//! Time is a parameter.

mod counter;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// A source of time that never goes back.
///
/// Every part of the project that needs the time takes one of these, so that a
/// whole device and its driver can run in virtual time from one seed.
pub trait Clock {
    /// Nanoseconds since the clock's origin.
    fn now_ns(&self) -> u64;

    /// Returns at `deadline_ns` or just after it; at once where it has passed.
    /// In virtual time, this is what moves time on.
    fn wait_until(&self, deadline_ns: u64);
}

/// The machine's monotonic clock; its origin is its creation.
///
/// Copies share the origin, so their times can be compared. Between readings of the
/// system's clock, every 100 us, the processor's counter tells the time where it
/// runs at one rate (x86-64): to some nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin_ns: u64,
}

/// Closer than this to a deadline, waiting is polling: the kernel's timer slack
/// alone is 50 us.
const SPIN_NS: u64 = 100_000;

impl MonotonicClock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin_ns: counter::now_ns(),
        }
    }
}

impl Clock for MonotonicClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        // Another thread's reading may have been some nanoseconds ahead.
        counter::now_ns().saturating_sub(self.origin_ns)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the real clock")]
    fn wait_until(&self, deadline_ns: u64) {
        loop {
            let left_ns = deadline_ns.saturating_sub(self.now_ns());
            if left_ns == 0 {
                return;
            }
            if left_ns > SPIN_NS {
                std::thread::sleep(Duration::from_nanos(left_ns - SPIN_NS));
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

/// Time that stands still until somebody waits: the clock of simulations.
///
/// Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock {
    now_ns: Rc<Cell<u64>>,
}

impl VirtualClock {
    /// A clock at 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves time on by `ns` nanoseconds.
    pub fn advance(&self, ns: u64) {
        self.now_ns.set(self.now_ns.get().saturating_add(ns));
    }
}

impl Clock for VirtualClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn wait_until(&self, deadline_ns: u64) {
        self.now_ns.set(self.now_ns.get().max(deadline_ns));
    }
}
