//! Time is a parameter.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

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
/// Copies share the origin, so their times can be compared.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin: Instant,
}

/// Closer than this to a deadline, waiting is polling: the kernel's timer slack
/// alone is 50 us.
const SPIN_NS: u64 = 100_000;

impl MonotonicClock {
    /// A clock whose origin is now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the real clock")]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Clock for MonotonicClock {
    #[expect(clippy::disallowed_methods, reason = "this is the real clock")]
    fn now_ns(&self) -> u64 {
        let elapsed = Instant::now().duration_since(self.origin);
        elapsed
            .as_secs()
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::from(elapsed.subsec_nanos()))
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
