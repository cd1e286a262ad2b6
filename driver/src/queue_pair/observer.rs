//! What a queue pair shows its tap.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nvme::{DSM_RANGES_MAX, DsmRange, NvmOpcode, QueueId, Sqe};
use traces::{CommandRecord, Completion, Tap};
use zerocopy::IntoBytes;

use super::Completed;
use crate::DmaSlice;

/// Numbers commands over all queue pairs of a recording, from 0. Clones count
/// on together.
#[derive(Clone, Debug, Default)]
pub struct Sequence(Arc<AtomicU64>);

impl Sequence {
    /// A count that starts at 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number that the next command will get.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The tap, and what it will be shown of each slot's command.
pub(super) struct Observer<T> {
    tap: T,
    sequence: Sequence,
    /// Empty where the tap is not enabled.
    slots: Box<[Observed]>,
}

#[derive(Clone, Default)]
struct Observed {
    record: Option<CommandRecord>,
    /// Grows to its limit with the slot's first Dataset Management.
    ranges: Vec<DsmRange>,
}

impl Observer<()> {
    pub(super) fn disconnected() -> Self {
        Self {
            tap: (),
            sequence: Sequence::new(),
            slots: Box::default(),
        }
    }
}

impl<T: Tap> Observer<T> {
    pub(super) fn connected(tap: T, sequence: Sequence, depth: usize) -> Self {
        let slots = if T::ENABLED { depth } else { 0 };
        Self {
            tap,
            sequence,
            slots: vec![Observed::default(); slots].into(),
        }
    }

    pub(super) const fn tap_mut(&mut self) -> &mut T {
        &mut self.tap
    }

    #[inline]
    pub(super) fn submitted(
        &mut self,
        slot: usize,
        now_ns: u64,
        queue: QueueId,
        sqe: &Sqe,
        data: Option<DmaSlice<'_>>,
    ) {
        if !T::ENABLED {
            return;
        }
        let Some(observed) = self.slots.get_mut(slot) else {
            return;
        };
        let record = CommandRecord::fetched(self.sequence.take(), now_ns, queue, sqe);
        observed.ranges.clear();
        if record.nvm_opcode() == Some(NvmOpcode::DATASET_MANAGEMENT)
            && let Some(data) = data
        {
            let count = (data.len() / size_of::<DsmRange>()).min(DSM_RANGES_MAX);
            observed.ranges.reserve_exact(DSM_RANGES_MAX);
            observed.ranges.resize(count, DsmRange::default());
            if data.read_at(0, observed.ranges.as_mut_bytes()).is_err() {
                observed.ranges.clear();
            }
        }
        observed.record = Some(record);
    }

    #[inline]
    pub(super) fn completed(&mut self, completed: &Completed) {
        if !T::ENABLED {
            return;
        }
        let Some(observed) = self.slots.get_mut(usize::from(completed.tag.cid().0)) else {
            return;
        };
        // None for what was in flight when the tap was connected.
        let Some(mut record) = observed.record.take() else {
            return;
        };
        if !completed.lost {
            record.completion = Some(Completion {
                complete_ns: completed.complete_ns,
                status: completed.status,
                result: completed.result,
            });
        }
        self.tap.command(&record, &observed.ranges);
    }
}
