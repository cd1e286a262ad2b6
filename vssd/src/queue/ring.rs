//! One queue of either kind: where its ends are, and what is promised of it.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

use nvme::{CommandId, DoorbellKind, QueueId};

use super::Shadow;
use crate::memory::{Access, Window};
use crate::{DmaTable, Doorbells};

/// The priority class of a submission queue under weighted round robin
/// (`NVMe Base 2.1 §3.4.4.2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Served before all others.
    Urgent,
    /// High.
    High,
    /// Medium.
    Medium,
    /// Low.
    Low,
}

impl Priority {
    /// How many there are.
    pub(crate) const COUNT: usize = 4;
    /// All, by their place.
    pub(crate) const ALL: [Self; Self::COUNT] = [Self::Urgent, Self::High, Self::Medium, Self::Low];
    /// Those that share by weight, in the order of their turns.
    pub(crate) const WEIGHTED: [Self; 3] = [Self::High, Self::Medium, Self::Low];

    /// The one that QPRIO says.
    pub(crate) const fn from_qprio(qprio: u8) -> Self {
        match qprio & 0b11 {
            0 => Self::Urgent,
            1 => Self::High,
            2 => Self::Medium,
            _ => Self::Low,
        }
    }

    /// Its place among all.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Urgent => 0,
            Self::High => 1,
            Self::Medium => 2,
            Self::Low => 3,
        }
    }
}

/// What a queue is made of.
#[derive(Clone, Debug)]
pub(crate) struct QueueSpec {
    /// Identifier.
    pub(crate) id: QueueId,
    /// I/O virtual address; a multiple of the page size.
    pub(crate) base: u64,
    /// The addresses of its pages, where they are not contiguous from `base` on.
    pub(crate) list: Option<Box<[u64]>>,
    /// Entries, at least 2.
    pub(crate) entries: u16,
}

impl QueueSpec {
    pub(super) fn window(&mut self, entry_bytes: usize, access: Access) -> Option<Window> {
        if let Some(list) = self.list.take() {
            return Window::scattered(list, access);
        }
        let entry_bytes = u64::try_from(entry_bytes).ok()?;
        let bytes = u64::from(self.entries).checked_mul(entry_bytes)?;
        Window::new(self.base, bytes, access)
    }
}

/// The slot behind `slot` in a ring of `entries`.
#[inline]
pub(super) const fn next(slot: u16, entries: u16) -> u16 {
    // Compared at 32 bits: where the upper bits do not count, the compiler reads
    // what stands beside a slot in memory with it, and such a load waits until
    // the slot, which was written alone, has reached the cache.
    if (slot as u32).wrapping_add(1) >= entries as u32 {
        0
    } else {
        slot.wrapping_add(1)
    }
}

/// How many slots lie from `from` up to but without `to`, both below `entries`.
pub(super) const fn distance(from: u16, to: u16, entries: u16) -> u16 {
    if to >= from {
        to.wrapping_sub(from)
    } else {
        entries.wrapping_sub(from).wrapping_add(to)
    }
}

/// The command identifiers that are in use in a submission queue.
#[derive(Debug)]
pub(super) struct InUse {
    words: Box<[u64]>,
    pub(super) count: u32,
}

impl InUse {
    pub(super) fn new() -> Self {
        Self {
            words: vec![0; 1024].into_boxed_slice(),
            count: 0,
        }
    }

    const fn bit(cid: CommandId) -> (usize, u64) {
        let [low, high] = cid.0.to_le_bytes();
        let word = (high as usize) << 2 | (low >> 6) as usize;
        (word, 1 << (low & 63))
    }

    pub(super) fn contains(&self, cid: CommandId) -> bool {
        let (word, bit) = Self::bit(cid);
        self.count > 0 && self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(super) fn set(&mut self, cid: CommandId, used: bool) {
        let (word, bit) = Self::bit(cid);
        let Some(word) = self.words.get_mut(word) else {
            return;
        };
        if used && *word & bit == 0 {
            *word |= bit;
            self.count = self.count.saturating_add(1);
        } else if !used && *word & bit != 0 {
            *word &= !bit;
            self.count = self.count.saturating_sub(1);
        }
    }
}

/// A submission queue (`NVMe Base 2.1 §3.3.1`).
#[derive(Debug)]
pub(super) struct SubmissionQueue {
    pub(super) completion: QueueId,
    pub(super) window: Window,
    pub(super) entries: u16,
    pub(super) head: u16,
    pub(super) tail: u16,
    /// Commands that were fetched and are not done at once.
    pub(super) in_flight: InUse,
    /// Whether it is being deleted: nothing is fetched any more.
    pub(super) closing: bool,
    /// Whether nothing is fetched for a while: it is to be lent.
    pub(super) paused: bool,
    /// Commands that were fetched since that was asked last.
    pub(super) fetched: u32,
    /// The doorbell value that was found to be out of range last.
    pub(super) rejected: u32,
}

/// A completion queue (`NVMe Base 2.1 §3.3.1`).
#[derive(Debug)]
pub(super) struct CompletionQueue {
    pub(super) window: Window,
    pub(super) entries: u16,
    /// The guest has consumed what stands before this.
    pub(super) head: u16,
    /// The next entry goes here.
    pub(super) tail: u16,
    pub(super) phase: bool,
    /// Slots that are promised to commands in flight.
    pub(super) reserved: u16,
    /// Slots that are neither in use nor promised, as of the head last seen.
    pub(super) free: u16,
    /// Submission queues that complete here.
    pub(super) users: u16,
    /// Where interrupts go, where they are enabled.
    pub(super) vector: Option<u16>,
    /// Whether something was posted since the last interrupt.
    pub(super) fresh: bool,
    /// Interrupts have told of what stands before this.
    pub(super) told: u16,
    /// Whether the next interrupt must not wait for more entries.
    pub(super) at_once: bool,
    /// The doorbell value that was found to be out of range last.
    pub(super) rejected: u32,
    pub(super) id: QueueId,
}

/// A doorbell that was written with a value which its queue does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadDoorbell;

impl CompletionQueue {
    /// Looks at the head doorbell again.
    pub(super) fn refresh(
        &mut self,
        shadow: &mut Option<Shadow>,
        (memory, doorbells): (&DmaTable, &Doorbells),
    ) -> Result<(), BadDoorbell> {
        let kind = DoorbellKind::CompletionHead;
        let value = match shadow {
            Some(shadow) if !self.id.is_admin() => shadow
                .load(self.id, kind, memory)
                .unwrap_or(u32::from(self.head)),
            _ => doorbells.load(self.id, kind),
        };
        let used = distance(self.head, self.tail, self.entries);
        match u16::try_from(value) {
            Ok(head) if head < self.entries && distance(self.head, head, self.entries) <= used => {
                if let Some(shadow) = shadow
                    && head != self.head
                {
                    shadow.acknowledge(self.id, kind, (head, self.entries), memory);
                }
                self.head = head;
                let used = distance(head, self.tail, self.entries);
                let taken = used.saturating_add(self.reserved);
                self.free = self.entries.saturating_sub(1).saturating_sub(taken);
                self.rejected = u32::MAX;
                Ok(())
            }
            _ if self.rejected == value => Ok(()),
            _ => {
                self.rejected = value;
                Err(BadDoorbell)
            }
        }
    }
}
