//! What came of the work.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{Completed, DriverError};

/// Latencies are kept up to this, with three digits.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// What came of one kind of command.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Commands that completed, with or without an error.
    pub commands: u64,
    /// Bytes that they moved, where they succeeded.
    pub bytes: u64,
    /// Commands that completed with an error status.
    pub errors: u64,
    /// Latencies of the commands, nanoseconds; above a minute they count as a
    /// minute.
    pub latency_ns: Histogram<u64>,
}

/// What came of the work.
#[derive(Clone, Debug)]
pub struct IoworkerReport {
    /// Reads.
    pub reads: Tally,
    /// Writes.
    pub writes: Tally,
    /// From the first submission to the last completion.
    pub elapsed: Duration,
    /// Blocks that were looked at and right.
    pub verified_blocks: u64,
}

impl IoworkerReport {
    /// Commands a second, of both kinds.
    #[must_use]
    pub fn iops(&self) -> f64 {
        self.per_second(self.reads.commands + self.writes.commands)
    }

    /// Bytes a second, of both kinds.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        self.per_second(self.reads.bytes + self.writes.bytes)
    }

    /// Commands that completed with an error status, of both kinds.
    #[must_use]
    pub const fn errors(&self) -> u64 {
        self.reads.errors + self.writes.errors
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    }
}

impl Tally {
    pub(super) fn new() -> Result<Self, DriverError> {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3);
        Ok(Self {
            commands: 0,
            bytes: 0,
            errors: 0,
            latency_ns: latency_ns.map_err(|error| DriverError::Invalid {
                what: error.to_string(),
            })?,
        })
    }

    pub(super) fn add(&mut self, done: &Completed, bytes: u32) {
        self.commands += 1;
        if done.status.is_success() {
            self.bytes += u64::from(bytes);
        } else {
            self.errors += 1;
        }
        self.latency_ns.saturating_record(done.latency_ns());
    }
}
