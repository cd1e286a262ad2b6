//! The memory of a queue pair.

use crate::prp::PrpLists;
use crate::ring::RingPlace;

const PAGE: usize = 4096;

/// What stands where in a queue pair's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) sq: RingPlace,
    pub(crate) cq: RingPlace,
    pub(super) lists: PrpLists,
    pub(super) transfer_bytes_max: usize,
    bytes: usize,
}

impl Layout {
    /// Room for `depth` commands of up to `transfer_bytes_max` bytes, in rings
    /// of at most `entries_max` entries (`depth` is below that).
    pub(crate) fn new(depth: u16, transfer_bytes_max: usize, entries_max: u32) -> Self {
        let depth = u32::from(depth);
        let sq = RingPlace {
            start: 0,
            // A full ring has one free entry (NVMe Base 2.1 §3.3.1.5).
            entries: depth + 1,
        };
        let sq_bytes = sq.entries as usize * nvme::SQE_BYTES;
        let cq = RingPlace {
            start: sq_bytes.next_multiple_of(PAGE),
            // Twice as many as needed, so that the device need not be told of
            // each completion that was read.
            entries: (2 * depth + 1).min(entries_max),
        };
        let cq_bytes = cq.entries as usize * nvme::CQE_BYTES;
        let start = (cq.start + cq_bytes).next_multiple_of(PAGE);
        let lists = PrpLists::new(start, transfer_bytes_max);
        Self {
            sq,
            cq,
            lists,
            transfer_bytes_max,
            bytes: start + lists.bytes(depth as usize),
        }
    }

    /// How much memory it takes, bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}
