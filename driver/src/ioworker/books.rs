//! What is counted while the work goes on: nothing here allocates then.

use std::collections::BTreeMap;
use std::time::Duration;

use nvme::Status;

use super::options::{IoworkerOptions, Op};
use super::plan::{Io, Plan};
use super::report::{Column, LoggedCommand, Series, Tally};
use super::verify::Verdict;
use super::{IoworkerReport, live::Live};
use crate::{Completed, DriverError};

/// Different error statuses that are told apart; a device has a few dozen.
const STATUSES_MAX: usize = 256;

/// Tallies, series, log.
#[derive(Debug)]
pub(super) struct Books {
    /// A tally for each kind of command that there is.
    tallies: Vec<(Op, Tally)>,
    /// For each kind, where its tally stands.
    places: [usize; Op::ALL.len()],
    statuses: Vec<(Status, u64)>,
    series: Series,
    log: Vec<LoggedCommand>,
    log_max: usize,
    log_next: usize,
    commands: u64,
    /// Of reads and writes.
    bytes: u64,
    block_bytes: u64,
    /// Commands that failed as they had to.
    expected_errors: u64,
}

impl Books {
    pub(super) fn new(
        plan: &Plan,
        options: &IoworkerOptions,
        block_bytes: u32,
    ) -> Result<Self, DriverError> {
        let mut places = [0; Op::ALL.len()];
        let mut tallies = Vec::with_capacity(plan.used.len());
        for op in &plan.used {
            if let Some(place) = places.get_mut(*op as usize) {
                *place = tallies.len();
            }
            tallies.push((*op, Tally::new()?));
        }
        let log_max = usize::from(options.cmdlog);
        Ok(Self {
            tallies,
            places,
            statuses: Vec::with_capacity(STATUSES_MAX),
            series: Series::new(options.time)?,
            log: Vec::with_capacity(log_max),
            log_max,
            log_next: 0,
            commands: 0,
            bytes: 0,
            block_bytes: u64::from(block_bytes),
            expected_errors: 0,
        })
    }

    #[inline]
    pub(super) fn add(&mut self, io: Io, done: &Completed, start_ns: u64) {
        let named = match io.op {
            Op::Flush => 0,
            _ => u64::from(io.blocks.count()) * self.block_bytes,
        };
        let place = self.places.get(io.op as usize).copied().unwrap_or(0);
        if let Some((_, tally)) = self.tallies.get_mut(place) {
            tally.add(done, named);
        }
        let (column, moved) = match io.op {
            Op::Read => (Column::Reads, named),
            Op::Write => (Column::Writes, named),
            _ => (Column::Others, 0),
        };
        let moved = if done.status.is_success() { moved } else { 0 };
        self.series.add(start_ns, done, column, moved);
        self.commands += 1;
        self.bytes += moved;
        if !done.status.is_success() {
            self.failed(done.status);
        }
        if self.log_max > 0 {
            self.log(io, done, start_ns);
        }
    }

    /// What was added last is not to be counted as its status says.
    #[cold]
    pub(super) fn correct(&mut self, io: Io, verdict: Verdict) {
        let place = self.places.get(io.op as usize).copied().unwrap_or(0);
        let Some((_, tally)) = self.tallies.get_mut(place) else {
            return;
        };
        match verdict {
            Verdict::AsItSays => {}
            Verdict::RightlyFailed => {
                tally.errors -= 1;
                self.expected_errors += 1;
            }
            Verdict::Wrong => tally.errors += 1,
        }
    }

    fn log(&mut self, io: Io, done: &Completed, start_ns: u64) {
        let logged = LoggedCommand {
            op: io.op,
            lba: io.lba,
            blocks: io.blocks.count(),
            submit_ns: done.submit_ns.saturating_sub(start_ns),
            latency_ns: done.latency_ns(),
            status: done.status,
        };
        match self.log.get_mut(self.log_next) {
            Some(place) => *place = logged,
            None => self.log.push(logged),
        }
        self.log_next += 1;
        if self.log_next == self.log_max {
            self.log_next = 0;
        }
    }

    #[cold]
    fn failed(&mut self, status: Status) {
        let known = self.statuses.iter_mut().find(|(known, _)| *known == status);
        if let Some((_, count)) = known {
            *count += 1;
        } else if self.statuses.len() < STATUSES_MAX {
            self.statuses.push((status, 1));
        } else if let Some((_, count)) = self.statuses.last_mut() {
            // A device that makes statuses up: all the rest are the last.
            *count += 1;
        }
    }

    pub(super) fn show(&self, live: &Live) {
        live.show(self.commands, self.bytes);
    }

    pub(super) fn finish(mut self, elapsed: Duration) -> IoworkerReport {
        let mut others: BTreeMap<Op, Tally> = self.tallies.into_iter().collect();
        let mut take = |op| others.remove(&op).unwrap_or_else(Tally::none);
        let (reads, writes) = (take(Op::Read), take(Op::Write));
        if self.log.len() == self.log_max {
            self.log.rotate_left(self.log_next);
        }
        IoworkerReport {
            reads,
            writes,
            others,
            statuses: self.statuses.into_iter().collect(),
            seconds: self.series.finish(),
            last_commands: self.log,
            elapsed,
            cpu: None,
            expected_errors: self.expected_errors,
            verified_blocks: 0,
            skipped_blocks: 0,
            mismatched_blocks: 0,
            mismatches: Vec::new(),
        }
    }
}
