//! Physical region pages: where a command's data stands
//! (`NVMe Base 2.1 §4.3.1`).

use nvme::PAGE_BYTES;

use crate::DmaBuffer;

/// Size of a PRP entry, bytes.
const ENTRY: usize = 8;
/// PRP entries in a page.
const ENTRIES: usize = 512;
const PAGE: usize = 4096;

/// Room for the PRP lists of the slots of a queue pair: so much for each, in
/// one buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrpLists {
    /// Where the first list starts in the buffer, bytes; a page boundary.
    start: usize,
    /// From list to list, bytes: a power of two up to a page, or whole pages,
    /// so that only lists longer than a page cross one.
    stride: usize,
}

impl PrpLists {
    /// Lists from `start` on, each for transfers of up to `bytes_max` bytes at
    /// any offset in a page.
    pub(crate) const fn new(start: usize, bytes_max: usize) -> Self {
        // At the worst offset, one page more than the length needs; the first
        // page is in PRP1.
        let entries = bytes_max.div_ceil(PAGE);
        let stride = if entries <= ENTRIES {
            (entries * ENTRY).next_power_of_two()
        } else {
            // Every page but the last gives its last entry to the chain.
            (entries - 1).div_ceil(ENTRIES - 1) * PAGE
        };
        Self { start, stride }
    }

    /// How many bytes the lists of `slots` slots take.
    pub(crate) const fn bytes(&self, slots: usize) -> usize {
        self.stride * slots
    }

    /// PRP1 and PRP2 of `bytes` bytes at `iova`, contiguous for the device;
    /// where they need a list, it is written to that of `slot` in `memory`.
    ///
    /// `bytes` is within the limit that the lists were made for.
    pub(crate) fn build(
        self,
        memory: &DmaBuffer,
        slot: usize,
        iova: u64,
        bytes: usize,
    ) -> (u64, u64) {
        let first_bytes = PAGE_BYTES - iova % PAGE_BYTES;
        let bytes = bytes as u64;
        if bytes <= first_bytes {
            return (iova, 0);
        }
        let second = iova + first_bytes;
        let rest = (bytes - first_bytes).div_ceil(PAGE_BYTES);
        if rest == 1 {
            return (iova, second);
        }
        let list = self.start + slot * self.stride;
        let mut at = list;
        for page in 0..rest {
            let is_last = page + 1 == rest;
            if !is_last && at % PAGE == PAGE - ENTRY {
                // The chain goes on in the page that follows.
                let next = at + ENTRY;
                memory.store_u64(at, memory.iova() + next as u64);
                at = next;
            }
            memory.store_u64(at, second + page * PAGE_BYTES);
            at += ENTRY;
        }
        (iova, memory.iova() + list as u64)
    }
}

#[cfg(test)]
mod tests;
