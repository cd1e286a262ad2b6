//! What came of the work.

mod json;
mod series;

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use nvme::{Lba, Status};

use super::options::Op;
use super::verify::Verified;
use crate::verify::Mismatch;
use crate::{Completed, DriverError};

pub use self::json::{LatencySummary, MismatchSummary, ReportSummary, TallySummary};
pub use self::series::Second;
pub(super) use self::series::{Column, Series};

/// Latencies are kept up to this, with three digits.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// What came of one kind of command.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Commands that completed, with or without an error.
    pub commands: u64,
    /// Bytes that they moved or named, where they succeeded.
    pub bytes: u64,
    /// Commands that completed with an error status, though none was expected,
    /// or with wrong data.
    pub errors: u64,
    /// Latencies of the commands, nanoseconds; above a minute they count as a
    /// minute.
    pub latency_ns: Histogram<u64>,
}

/// A command that was issued and completed.
#[derive(Clone, Copy, Debug)]
pub struct LoggedCommand {
    /// Which.
    pub op: Op,
    /// Its first block.
    pub lba: Lba,
    /// How many blocks.
    pub blocks: u32,
    /// When it was submitted, nanoseconds from the start.
    pub submit_ns: u64,
    /// How long it took, nanoseconds.
    pub latency_ns: u64,
    /// How it ended.
    pub status: Status,
}

/// What came of the work.
#[derive(Clone, Debug)]
pub struct IoworkerReport {
    /// Reads.
    pub reads: Tally,
    /// Writes.
    pub writes: Tally,
    /// The other commands that were asked for.
    pub others: BTreeMap<Op, Tally>,
    /// How many commands ended with each error status.
    pub statuses: BTreeMap<Status, u64>,
    /// Second by second; after a day, all that is left.
    pub seconds: Vec<Second>,
    /// The last commands, the oldest first.
    pub last_commands: Vec<LoggedCommand>,
    /// From the first submission to the last completion.
    pub elapsed: Duration,
    /// What the thread used of a processor; none where the work was stepped,
    /// whose thread does other things as well.
    pub cpu: Option<Duration>,
    /// Blocks that were looked at and right.
    pub verified_blocks: u64,
    /// Blocks that were read, but of which nothing was certain: nobody wrote
    /// them, or a command in flight changed them.
    pub skipped_blocks: u64,
    /// Blocks that were looked at and wrong.
    pub mismatched_blocks: u64,
    /// The first of those, some for each worker.
    pub mismatches: Vec<Mismatch>,
    /// Reads that failed as they had to: a block was uncorrectable. They are
    /// among the statuses, but not among the errors.
    pub expected_errors: u64,
}

impl IoworkerReport {
    /// Commands of all kinds.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.tallies().map(|tally| tally.commands).sum()
    }

    /// Commands a second, of all kinds.
    #[must_use]
    pub fn iops(&self) -> f64 {
        self.per_second(self.commands())
    }

    /// Bytes a second, of reads and writes.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        self.per_second(self.reads.bytes + self.writes.bytes)
    }

    /// Commands that completed with an error status, though none was expected,
    /// or with wrong data; of all kinds.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.tallies().map(|tally| tally.errors).sum()
    }

    /// Latencies of all kinds of commands, nanoseconds.
    #[must_use]
    pub fn latency_ns(&self) -> Histogram<u64> {
        let mut all = self.reads.latency_ns.clone();
        for tally in self.tallies().skip(1) {
            // All have the same bounds.
            let _ = all.add(&tally.latency_ns);
        }
        all
    }

    /// Takes in the report of another worker that worked at the same time.
    /// Sums are exact; the 99th percentile of a second is the higher one.
    pub fn merge(&mut self, other: &Self) {
        self.reads.merge(&other.reads);
        self.writes.merge(&other.writes);
        for (op, tally) in &other.others {
            match self.others.get_mut(op) {
                Some(mine) => mine.merge(tally),
                None => {
                    self.others.insert(*op, tally.clone());
                }
            }
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_insert(0) += count;
        }
        let seconds = self.seconds.len().max(other.seconds.len());
        self.seconds.resize(seconds, Second::default());
        for (mine, second) in self.seconds.iter_mut().zip(&other.seconds) {
            mine.merge(second);
        }
        self.last_commands.extend(&other.last_commands);
        self.elapsed = self.elapsed.max(other.elapsed);
        if let (Some(mine), Some(cpu)) = (&mut self.cpu, other.cpu) {
            *mine += cpu;
        }
        self.verified_blocks += other.verified_blocks;
        self.skipped_blocks += other.skipped_blocks;
        self.mismatched_blocks += other.mismatched_blocks;
        self.mismatches.extend_from_slice(&other.mismatches);
        self.expected_errors += other.expected_errors;
    }

    pub(super) fn take_verified(&mut self, verified: Verified) {
        self.verified_blocks = verified.right;
        self.skipped_blocks = verified.skipped;
        self.mismatched_blocks = verified.wrong;
        self.mismatches = verified.mismatches;
    }

    /// What there is to say, as plain figures.
    #[must_use]
    pub fn summary(&self) -> ReportSummary {
        ReportSummary::of(self)
    }

    fn tallies(&self) -> impl Iterator<Item = &Tally> {
        [&self.reads, &self.writes]
            .into_iter()
            .chain(self.others.values())
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

/// A histogram of latencies, all of whose memory is there from the start.
fn histogram() -> Result<Histogram<u64>, DriverError> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).map_err(|error| DriverError::Invalid {
        what: error.to_string(),
    })
}

impl Tally {
    pub(super) fn new() -> Result<Self, DriverError> {
        Ok(Self {
            commands: 0,
            bytes: 0,
            errors: 0,
            latency_ns: histogram()?,
        })
    }

    /// Of a kind of command that there was none of.
    pub(super) fn none() -> Self {
        Self::new().unwrap_or_else(|_| unreachable!("the bounds are in order"))
    }

    #[inline]
    pub(super) fn add(&mut self, done: &Completed, bytes: u64) {
        self.commands += 1;
        if done.status.is_success() {
            self.bytes += bytes;
        } else {
            self.errors += 1;
        }
        self.latency_ns.saturating_record(done.latency_ns());
    }

    fn merge(&mut self, other: &Self) {
        self.commands += other.commands;
        self.bytes += other.bytes;
        self.errors += other.errors;
        // All have the same bounds.
        let _ = self.latency_ns.add(&other.latency_ns);
    }
}
