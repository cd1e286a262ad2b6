//! Which commands of a trace are replayed.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use nvme::{NamespaceId, QueueId};
use traces::{CommandRecord, Record};

/// Which commands of a trace are replayed: those that pass everything that is
/// asked for here. The default keeps all.
///
/// What is left out counts as if it had never been in the trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// I/O commands with one of these opcodes; admin commands are left out then.
    pub opcodes: Option<BTreeSet<u8>>,
    /// Submitted so long after the trace's start, or later.
    pub from: Option<Duration>,
    /// Submitted before so long after the trace's start.
    pub to: Option<Duration>,
    /// Touching one of these recorded blocks. Commands without an address,
    /// such as Flush, pass.
    pub lbas: Option<RangeInclusive<u64>>,
    /// From one of these recorded queues.
    pub queues: Option<BTreeSet<QueueId>>,
    /// Of one of these recorded namespaces. Commands to all pass.
    pub namespaces: Option<BTreeSet<NamespaceId>>,
}

impl Filter {
    /// Whether it leaves nothing out.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `record` passes, in a trace that starts at `start_ns` of its
    /// clock. Events and gaps pass where their time does.
    #[must_use]
    pub fn keeps(&self, record: &Record, start_ns: u64) -> bool {
        match record {
            Record::Command {
                command, ranges, ..
            } => {
                self.keeps_time(command.submit_ns, start_ns)
                    && self.keeps_kind(command)
                    && self.keeps_address(command, ranges)
            }
            Record::Event(event) => self.keeps_time(event.at_ns, start_ns),
            Record::Gap(gap) => self.keeps_time(gap.at_ns, start_ns),
        }
    }

    /// The times that pass in a trace from `start_ns` to `end_ns`.
    pub(crate) fn window_ns(&self, start_ns: u64, end_ns: u64) -> (u64, u64) {
        let at = |after: Duration| {
            let after_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
            start_ns.saturating_add(after_ns)
        };
        let from_ns = self.from.map_or(start_ns, at);
        (from_ns, self.to.map_or(end_ns, |to| at(to).min(end_ns)))
    }

    fn keeps_time(&self, at_ns: u64, start_ns: u64) -> bool {
        let (from_ns, _) = self.window_ns(start_ns, u64::MAX);
        let is_late = || {
            let since_ns = at_ns.saturating_sub(start_ns);
            self.to
                .is_some_and(|to| u128::from(since_ns) >= to.as_nanos())
        };
        (self.from.is_none() || at_ns >= from_ns) && !is_late()
    }

    fn keeps_kind(&self, command: &CommandRecord) -> bool {
        let opcodes = self.opcodes.as_ref();
        let queues = self.queues.as_ref();
        let namespaces = self.namespaces.as_ref();
        opcodes.is_none_or(|it| !command.is_admin() && it.contains(&command.opcode))
            && queues.is_none_or(|it| it.contains(&command.queue))
            && (command.nsid == nvme::NSID_ALL
                || namespaces.is_none_or(|it| it.contains(&command.nsid)))
    }

    fn keeps_address(&self, command: &CommandRecord, ranges: &[nvme::DsmRange]) -> bool {
        let Some(lbas) = &self.lbas else {
            return true;
        };
        let touches = |lba: u64, blocks: u64| {
            blocks > 0 && lba <= *lbas.end() && lba.saturating_add(blocks - 1) >= *lbas.start()
        };
        match command.lba_range() {
            Some((lba, blocks)) => touches(lba.0, blocks.into()),
            None => {
                ranges.is_empty()
                    || ranges
                        .iter()
                        .any(|range| touches(range.slba.get(), range.blocks.get().into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nvme::{DsmRange, Lba, NvmOpcode, Sqe};

    use super::*;

    fn record(opcode: NvmOpcode, lba: u32, ranges: &[DsmRange]) -> Record {
        let mut sqe = Sqe::new(opcode.0, NamespaceId(2));
        sqe.cdw10.set(lba);
        sqe.cdw12.set(7);
        Record::Command {
            command: CommandRecord::fetched(0, 1_000, QueueId(3), &sqe),
            ranges: ranges.to_vec(),
            payload: None,
        }
    }

    #[test]
    fn each_condition_leaves_out_what_does_not_meet_it() {
        let read = record(NvmOpcode::READ, 100, &[]);
        let set = |change: fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter
        };
        let ns = Duration::from_nanos;
        assert!(Filter::default().keeps(&read, 400) && Filter::default().keeps_all());
        for (filter, keeps) in [
            (set(|it| it.opcodes = Some([2].into())), true),
            (set(|it| it.opcodes = Some([1].into())), false),
            (
                Filter {
                    from: Some(ns(600)),
                    ..Filter::default()
                },
                true,
            ),
            (
                Filter {
                    from: Some(ns(601)),
                    ..Filter::default()
                },
                false,
            ),
            (
                Filter {
                    to: Some(ns(601)),
                    ..Filter::default()
                },
                true,
            ),
            (
                Filter {
                    to: Some(ns(600)),
                    ..Filter::default()
                },
                false,
            ),
            (set(|it| it.lbas = Some(0..=99)), false),
            (set(|it| it.lbas = Some(0..=100)), true),
            (set(|it| it.lbas = Some(107..=200)), true),
            (set(|it| it.lbas = Some(108..=200)), false),
            (set(|it| it.queues = Some([QueueId(3)].into())), true),
            (set(|it| it.queues = Some([QueueId(1)].into())), false),
            (
                set(|it| it.namespaces = Some([NamespaceId(2)].into())),
                true,
            ),
            (
                set(|it| it.namespaces = Some([NamespaceId(1)].into())),
                false,
            ),
        ] {
            assert_eq!(filter.keeps(&read, 400), keeps, "{filter:?}");
        }
        let filter = set(|it| it.lbas = Some(50..=60));
        let trim = |lba| {
            record(
                NvmOpcode::DATASET_MANAGEMENT,
                0,
                &[DsmRange::new(Lba(lba), 4)],
            )
        };
        assert!(filter.keeps(&trim(47), 0) && !filter.keeps(&trim(46), 0));
        assert!(filter.keeps(&record(NvmOpcode::FLUSH, 0, &[]), 0));
    }
}
