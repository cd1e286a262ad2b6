//! A part of a trace.

use std::ops::RangeInclusive;

use nvme::{NamespaceId, NvmOpcode, QueueId};

use super::Edit;
use crate::{BlockInfo, CommandRecord, Reader, Record, Records};

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
    /// Touching one of these blocks, or others than the trace tells, as Copy
    /// does ([`crate::Touched::may_be_anywhere`]). Commands without blocks are
    /// left out.
    pub lba: Option<RangeInclusive<u64>>,
    /// Of one of these queues; of any where there are none.
    pub queues: Vec<QueueId>,
    /// One of these I/O commands; any where there are none.
    pub opcodes: Vec<NvmOpcode>,
    /// Of one of these namespaces; of any where there are none.
    pub namespaces: Vec<NamespaceId>,
    /// Without admin commands.
    pub io_only: bool,
    /// Commands kept so far of which the trace does not tell whether they touch
    /// one of the blocks asked for.
    pub unsure: u64,
    /// How many commands met the conditions so far.
    admitted: u64,
    over: bool,
}

impl Cut {
    /// The records of `reader` that may be kept, and others: blocks without any
    /// are not read.
    #[must_use]
    pub fn records<'a>(&self, reader: &'a Reader) -> Records<'a> {
        let spans_tell = spans_tell(reader);
        reader.records_of(|block| self.wants(block, spans_tell))
    }

    /// Whether something in the block may be kept. Its span of LBAs counts where
    /// `spans_tell`.
    fn wants(&self, block: &BlockInfo, spans_tell: bool) -> bool {
        let late_enough = self
            .from_ns
            .is_none_or(|from| block.max_submit_ns() >= from);
        let early_enough = self.to_ns.is_none_or(|to| block.min_submit_ns() < to);
        let touches = self.lba.as_ref().is_none_or(|wanted| {
            // Ranges of Dataset Management are not in the span.
            !spans_tell
                || block.has_ranges()
                || block
                    .lba_span()
                    .is_some_and(|(low, high)| low <= *wanted.end() && high >= *wanted.start())
        });
        // Events and gaps touch nothing, and stay.
        late_enough && early_enough && (touches || block.marks() > 0)
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
            && self.lba.as_ref().is_none_or(|wanted| {
                let touched = command.touched(ranges);
                touched.meets(wanted) || touched.may_be_anywhere()
            })
    }
}

/// Whether the trace has no command whose blocks are not in the span of LBAs of
/// its block.
fn spans_tell(reader: &Reader) -> bool {
    let totals = reader.totals();
    let counts = totals.opcodes.iter().map(|it| it.commands);
    counts.fold(0, u64::saturating_add) == totals.commands
        && totals
            .opcodes
            .iter()
            .all(|it| CommandRecord::is_in_span(it.admin, it.opcode))
}

impl Edit for Cut {
    fn edit(&mut self, record: Record, out: &mut Vec<Record>) {
        match &record {
            Record::Command {
                command, ranges, ..
            } => {
                if !self.admits(command, ranges) {
                    return;
                }
                self.admitted += 1;
                if self.admitted <= self.skip {
                    return;
                }
                let kept = self.admitted - self.skip;
                let unsure = self
                    .lba
                    .as_ref()
                    .is_some_and(|wanted| !command.touched(ranges).meets(wanted));
                self.unsure += u64::from(unsure && self.first != Some(0));
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
