//! The two rings of a queue pair, as they stand in memory
//! (`NVMe Base 2.1 §3.3.1`).

use std::sync::Arc;

use nvme::{CQE_BYTES, Cqe, SQE_BYTES, Sqe, ZeroBased};

use crate::DmaBuffer;

/// Where a ring stands: `entries` entries from `start` bytes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingPlace {
    pub(crate) start: usize,
    /// 2 to 65,536.
    pub(crate) entries: u32,
}

impl RingPlace {
    /// The number of entries, as the size fields of the commands and registers
    /// have it.
    pub(crate) fn zero_based_entries(self) -> u16 {
        ZeroBased::<u16>::of(self.entries).map_or(u16::MAX, |entries| entries.0)
    }
}

/// The host's end of a submission queue: it writes at the tail.
#[derive(Debug)]
pub(crate) struct SubmissionRing {
    memory: Arc<DmaBuffer>,
    place: RingPlace,
    tail: u32,
}

impl SubmissionRing {
    pub(crate) const fn new(memory: Arc<DmaBuffer>, place: RingPlace) -> Self {
        Self {
            memory,
            place,
            tail: 0,
        }
    }

    /// Writes `sqe` at the tail and moves it. The caller sees to it that there
    /// is room; the device sees the entry with the doorbell.
    pub(crate) fn push(&mut self, sqe: &Sqe) {
        let offset = self.place.start + self.tail as usize * SQE_BYTES;
        self.memory.store_words(offset, words(sqe));
        self.tail += 1;
        if self.tail == self.place.entries {
            self.tail = 0;
        }
    }

    /// What belongs into the tail doorbell.
    pub(crate) const fn tail(&self) -> u32 {
        self.tail
    }
}

fn words(sqe: &Sqe) -> [u64; SQE_BYTES / 8] {
    let bytes: [u8; SQE_BYTES] = zerocopy::transmute!(*sqe);
    let mut words = [0; SQE_BYTES / 8];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// The host's end of a completion queue: it reads at the head what has the
/// phase of this lap.
#[derive(Debug)]
pub(crate) struct CompletionRing {
    memory: Arc<DmaBuffer>,
    place: RingPlace,
    head: u32,
    phase: bool,
    /// Entries read that the device was not told about.
    unreported: u32,
    /// How many of those there may be before the device has to be told.
    unreported_max: u32,
}

impl CompletionRing {
    /// A ring on zeroed memory, for at most `in_flight_max` commands at a time
    /// (less than the ring has entries).
    pub(crate) const fn new(memory: Arc<DmaBuffer>, place: RingPlace, in_flight_max: u32) -> Self {
        Self {
            memory,
            place,
            head: 0,
            phase: true,
            unreported: 0,
            // The device counts unreported entries as taken. As long as it
            // still finds room for every command in flight it need not be
            // told, and the doorbell's cache line stays where it is.
            unreported_max: place.entries - 1 - in_flight_max,
        }
    }

    /// The next completion, if the device has written it.
    pub(crate) fn pop(&mut self) -> Option<Cqe> {
        let offset = self.place.start + self.head as usize * CQE_BYTES;
        // The phase tag is written last, with the rest of its dword; what is
        // read after it is what the device wrote before.
        let status = self.memory.load_u32_acquire(offset + 12);
        if phase(status) != self.phase {
            return None;
        }
        let cqe: Cqe = zerocopy::transmute!([
            self.memory.load_u32(offset).to_le(),
            self.memory.load_u32(offset + 4).to_le(),
            self.memory.load_u32(offset + 8).to_le(),
            status.to_le(),
        ]);
        self.head += 1;
        self.unreported += 1;
        if self.head == self.place.entries {
            self.head = 0;
            self.phase = !self.phase;
        }
        Some(cqe)
    }

    /// What belongs into the head doorbell, where the device has to be told
    /// now.
    pub(crate) const fn report(&mut self) -> Option<u32> {
        if self.unreported <= self.unreported_max {
            return None;
        }
        self.unreported = 0;
        Some(self.head)
    }
}

/// The phase tag in the last dword of a completion (`NVMe Base 2.1 §4.2.1`).
fn phase(dword3: u32) -> bool {
    let cqe: Cqe = zerocopy::transmute!([0_u32, 0, 0, dword3.to_le()]);
    cqe.phase()
}

#[cfg(test)]
mod tests;
