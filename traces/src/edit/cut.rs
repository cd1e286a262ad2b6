//! A part of a trace.

use std::ops::RangeInclusive;

use nvme::{NamespaceId, NvmOpcode, QueueId};

use super::Edit;
use crate::{BlockInfo, CommandRecord, Record};

/// Which records are kept: those that meet every condition. The defaults keep
/// all.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Cut {
    /// Submitted, or happened, at this time of the trace's clock or later, ns.
    pub from_ns: Option<u64>,
    /// Before this time of the trace's clock, ns.
    pub to_ns: Option<u64>,
    /// So many commands that meet the other conditions are left out first.
    pub skip: u64,
    /// At most so many commands.
    pub first: Option<u64>,
    /// Touching one of these blocks. Commands without blocks are left out.
    pub lba: Option<RangeInclusive<u64>>,
    /// Of one of these queues; of any where there are none.
    pub queues: Vec<QueueId>,
    /// One of these I/O commands; any where there are none.
    pub opcodes: Vec<NvmOpcode>,
    /// Of one of these namespaces; of any where there are none.
    pub namespaces: Vec<NamespaceId>,
    /// Without admin commands.
    pub io_only: bool,
    /// How many commands met the conditions so far.
    admitted: u64,
    over: bool,
}

impl Cut {
    /// Whether something in the block may be kept: what cannot is not read.
    #[must_use]
    pub fn wants(&self, block: &BlockInfo) -> bool {
        let late_enough = self
            .from_ns
            .is_none_or(|from| block.max_submit_ns() >= from);
        let early_enough = self.to_ns.is_none_or(|to| block.min_submit_ns() < to);
        let touches = self.lba.as_ref().is_none_or(|wanted| {
            // Ranges of Dataset Management are not in the span.
            block.has_ranges()
                || block
                    .lba_span()
                    .is_some_and(|(low, high)| low <= *wanted.end() && high >= *wanted.start())
        });
        late_enough && early_enough && touches
    }

    fn in_time(&self, at_ns: u64) -> bool {
        self.from_ns.is_none_or(|from| at_ns >= from) && self.to_ns.is_none_or(|to| at_ns < to)
    }

    fn admits(&self, command: &CommandRecord, ranges: &[nvme::DsmRange]) -> bool {
        let any = |empty: bool, found: bool| empty || found;
        self.in_time(command.submit_ns)
            && any(self.queues.is_empty(), self.queues.contains(&command.queue))
            && any(
                self.namespaces.is_empty(),
                self.namespaces.contains(&command.nsid),
            )
            && any(
                self.opcodes.is_empty(),
                command
                    .nvm_opcode()
                    .is_some_and(|opcode| self.opcodes.contains(&opcode)),
            )
            && !(self.io_only && command.is_admin())
            && self
                .lba
                .as_ref()
                .is_none_or(|wanted| touches(wanted, command, ranges))
    }
}

fn touches(
    wanted: &RangeInclusive<u64>,
    command: &CommandRecord,
    ranges: &[nvme::DsmRange],
) -> bool {
    let overlaps = |first: u64, blocks: u32| {
        let Some(more) = blocks.checked_sub(1) else {
            return false;
        };
        first <= *wanted.end() && first.saturating_add(more.into()) >= *wanted.start()
    };
    command
        .lba_range()
        .is_some_and(|(lba, blocks)| overlaps(lba.0, blocks))
        || ranges
            .iter()
            .any(|range| overlaps(range.lba().0, range.blocks.get()))
}

impl Edit for Cut {
    fn edit(&mut self, record: Record, out: &mut Vec<Record>) {
        match &record {
            Record::Command { command, ranges } => {
                if !self.admits(command, ranges) {
                    return;
                }
                self.admitted += 1;
                if self.admitted <= self.skip {
                    return;
                }
                let kept = self.admitted - self.skip;
                if self.first.is_some_and(|first| kept >= first) {
                    self.over = true;
                    if self.first == Some(0) {
                        return;
                    }
                }
            }
            Record::Event(event) if !self.in_time(event.at_ns) => return,
            Record::Gap(gap) if !self.in_time(gap.at_ns) => return,
            // What happened among the commands that are skipped goes with them.
            Record::Event(_) | Record::Gap(_) => {
                if self.first == Some(0) || self.admitted < self.skip {
                    return;
                }
            }
        }
        out.push(record);
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
