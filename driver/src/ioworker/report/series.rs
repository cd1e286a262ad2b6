//! Second by second.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::histogram;
use crate::{Completed, DriverError};

/// A day; what comes after stands in its last second.
const SECONDS_MAX: usize = 24 * 3600;
const SECOND_NS: u64 = 1_000_000_000;

/// What completed in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Second {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Other commands.
    pub others: u64,
    /// Bytes of reads and writes that succeeded.
    pub bytes: u64,
    /// Latencies of all commands, summed, nanoseconds.
    pub latency_ns_sum: u64,
    /// The 99th percentile of the latencies, nanoseconds.
    pub latency_ns_p99: u64,
    /// The longest latency, nanoseconds.
    pub latency_ns_max: u64,
}

impl Second {
    /// Commands of all kinds.
    #[must_use]
    pub const fn commands(&self) -> u64 {
        self.reads + self.writes + self.others
    }

    /// The mean latency, nanoseconds; 0 where nothing completed.
    #[must_use]
    pub const fn latency_ns_mean(&self) -> u64 {
        match self.latency_ns_sum.checked_div(self.commands()) {
            Some(mean) => mean,
            None => 0,
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.others += other.others;
        self.bytes += other.bytes;
        self.latency_ns_sum += other.latency_ns_sum;
        self.latency_ns_p99 = self.latency_ns_p99.max(other.latency_ns_p99);
        self.latency_ns_max = self.latency_ns_max.max(other.latency_ns_max);
    }
}

/// Which column of a second a command counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Reads,
    Writes,
    Others,
}

/// The seconds so far. All memory is there from the start.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    seconds: Vec<Second>,
    seconds_max: usize,
    now: Second,
    /// Latencies of this second.
    latency_ns: Histogram<u64>,
    end_ns: u64,
}

impl Series {
    /// For work that takes so long; none where nobody knows.
    pub(crate) fn new(time: Option<Duration>) -> Result<Self, DriverError> {
        let expected = time.map_or(SECONDS_MAX, |time| {
            usize::try_from(time.as_secs())
                .unwrap_or(usize::MAX)
                .saturating_add(64)
        });
        let seconds_max = expected.min(SECONDS_MAX);
        Ok(Self {
            seconds: Vec::with_capacity(seconds_max),
            seconds_max,
            now: Second::default(),
            latency_ns: histogram()?,
            end_ns: SECOND_NS,
        })
    }

    /// A command completed; `bytes` of it count. The time is the start's.
    #[inline]
    pub(crate) fn add(&mut self, start_ns: u64, done: &Completed, column: Column, bytes: u64) {
        let at_ns = done.complete_ns.saturating_sub(start_ns);
        while at_ns >= self.end_ns && self.seconds.len() + 1 < self.seconds_max {
            self.roll();
        }
        match column {
            Column::Reads => self.now.reads += 1,
            Column::Writes => self.now.writes += 1,
            Column::Others => self.now.others += 1,
        }
        self.now.bytes += bytes;
        let latency_ns = done.latency_ns();
        self.now.latency_ns_sum += latency_ns;
        self.now.latency_ns_max = self.now.latency_ns_max.max(latency_ns);
        self.latency_ns.saturating_record(latency_ns);
    }

    fn roll(&mut self) {
        if self.now != Second::default() {
            self.now.latency_ns_p99 = self.latency_ns.value_at_quantile(0.99);
            self.latency_ns.reset();
        }
        self.seconds.push(self.now);
        self.now = Second::default();
        self.end_ns += SECOND_NS;
    }

    /// All of them, with the one that is not over.
    pub(crate) fn finish(mut self) -> Vec<Second> {
        if self.now != Second::default() {
            self.roll();
        }
        self.seconds
    }
}
