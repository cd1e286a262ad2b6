//! What must be known of a trace before the first mark can be drawn.

use crate::{CommandRecord, Record};

use super::coverage::Coverage;
use super::operation::Operation;

/// How many commands of one operation there were, and how large they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commands.
    pub commands: u64,
    /// The blocks that they addressed; saturates.
    pub blocks: u64,
}

/// What must be known of a trace before the first mark can be drawn: the ends
/// of its axes, and its counts. Filled by a first pass over the records; its
/// size does not depend on their number.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    pub(super) coverage: Coverage,
    time_ns: Option<(u64, u64)>,
    latency_ns: Option<(u64, u64)>,
    tallies: [Tally; Operation::COUNT],
    admin: u64,
    failed: u64,
    incomplete: u64,
    unplaced: u64,
    events: u64,
    lost: u64,
}

impl Bounds {
    /// The bounds of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bounds of `records`.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut bounds = Self::new();
        for record in records {
            bounds.observe(record);
        }
        bounds
    }

    /// Takes `record` in.
    pub fn observe(&mut self, record: &Record) {
        match record {
            Record::Command {
                command, ranges, ..
            } => {
                self.reach(command.submit_ns);
                let Some(operation) = Operation::of(command) else {
                    self.admin += 1;
                    return;
                };
                let mut blocks = 0_u64;
                let mut placed = false;
                for (start, length) in command.touched(ranges).extents() {
                    self.coverage.touch(start.0, length);
                    blocks = blocks.saturating_add(length);
                    placed = true;
                }
                self.unplaced += u64::from(!placed);
                if let Some(tally) = self.tallies.get_mut(operation.index()) {
                    tally.commands += 1;
                    tally.blocks = tally.blocks.saturating_add(blocks);
                }
                self.observe_end(command);
            }
            Record::Event(event) => {
                self.reach(event.at_ns);
                self.events += 1;
            }
            Record::Gap(gap) => {
                self.reach(gap.at_ns);
                self.events += 1;
                self.lost = self.lost.saturating_add(gap.lost);
            }
        }
    }

    fn observe_end(&mut self, command: &CommandRecord) {
        let Some(completion) = command.completion else {
            self.incomplete += 1;
            return;
        };
        self.failed += u64::from(!completion.status.is_success());
        self.reach(completion.complete_ns);
        if let Some(latency) = command.latency_ns() {
            self.latency_ns = Some(match self.latency_ns {
                None => (latency, latency),
                Some((least, most)) => (least.min(latency), most.max(latency)),
            });
        }
    }

    fn reach(&mut self, at_ns: u64) {
        self.time_ns = Some(match self.time_ns {
            None => (at_ns, at_ns),
            Some((from, to)) => (from.min(at_ns), to.max(at_ns)),
        });
    }

    /// The counts of one operation.
    #[must_use]
    pub fn tally(&self, operation: Operation) -> Tally {
        self.tallies
            .get(operation.index())
            .copied()
            .unwrap_or_default()
    }

    /// How many I/O commands there were.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.commands).sum()
    }

    /// How many admin commands there were.
    #[must_use]
    pub const fn admin(&self) -> u64 {
        self.admin
    }

    /// How many I/O commands ended with an error.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.failed
    }

    /// How many I/O commands never ended.
    #[must_use]
    pub const fn incomplete(&self) -> u64 {
        self.incomplete
    }

    /// How many I/O commands have no address: flushes, and those whose ranges
    /// the trace lacks.
    pub(super) const fn unplaced(&self) -> u64 {
        self.unplaced
    }

    /// How many controller events and gaps there were.
    pub(super) const fn events(&self) -> u64 {
        self.events
    }

    /// How many commands were lost, as the gaps tell.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// The first instant, nanoseconds of the trace's clock; 0 for nothing.
    #[must_use]
    pub fn start_ns(&self) -> u64 {
        self.time_ns.map_or(0, |(from, _)| from)
    }

    /// From the first instant to the last (a submission, the completion of an
    /// I/O command, an event), nanoseconds.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.time_ns.map_or(0, |(from, to)| to - from)
    }

    /// The least and the largest latency, nanoseconds; none where nothing
    /// completed.
    #[must_use]
    pub const fn latency_ns(&self) -> Option<(u64, u64)> {
        self.latency_ns
    }

    /// Whether there is nothing to draw.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.time_ns.is_none()
    }
}
