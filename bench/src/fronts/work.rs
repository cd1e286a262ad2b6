//! What a client is to do, whatever the front.

use std::fmt;
use std::time::Duration;

/// Random requests, as many at a time as there is room for, for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Whether it writes; it reads otherwise.
    pub(crate) writes: bool,
    /// Size of a request, bytes.
    pub(crate) bytes: usize,
    /// Queues, of one client on one core.
    pub(crate) queues: u16,
    /// Requests in flight on each queue.
    pub(crate) depth: u16,
    /// For how long.
    pub(crate) time: Duration,
}

impl Work {
    /// For how long, nanoseconds.
    pub(crate) fn time_ns(self) -> u64 {
        u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long a request takes on average at this rate, microseconds: what is
    /// in flight is constant.
    pub(crate) fn mean_us(self, iops: f64) -> f64 {
        f64::from(self.queues) * f64::from(self.depth) * 1e6 / iops
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.writes { "write" } else { "read" };
        write!(f, "{} KiB {what}", self.bytes / 1024)?;
        if self.queues > 1 {
            write!(f, ", {} queues", self.queues)?;
        }
        Ok(())
    }
}
