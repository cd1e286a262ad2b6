//! What a queue pair shows its tap.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nvme::{DSM_RANGES_MAX, DsmRange, NvmOpcode, QueueId, Sqe};
use traces::{CommandRecord, Completion, PayloadPlace, Tap};
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
        if record.may_have_payload()
            && self.tap.wants_payload()
            && let Some(data) = data
        {
            self.show(&record, data);
        }
    }

    /// Shows the tap the data of a write, whose blocks have no metadata.
    #[inline(never)]
    fn show(&mut self, record: &CommandRecord, data: DmaSlice<'_>) {
        let blocks = record.data_blocks().max(1);
        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let place = PayloadPlace {
            sequence: record.sequence,
            submit_ns: record.submit_ns,
            block_bytes: bytes / blocks,
            first_block: 0,
        };
        if !bytes.is_multiple_of(blocks) || bytes == 0 {
            return;
        }
        let mut at = 0;
        self.tap.payload(&place, data.len(), &mut |to| {
            // What is asked for is within the data, so that it can be read.
            let read = data.read_at(at, to);
            debug_assert!(read.is_ok(), "the tap asks for what there is");
            at += to.len();
        });
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
