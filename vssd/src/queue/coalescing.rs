//! Interrupt coalescing: which interrupts wait for more completions.
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

use super::Due;

/// The unit of the aggregation time, nanoseconds.
const TIME_UNIT_NS: u64 = 100_000;

/// A vector whose interrupt waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    vector: u16,
    entries: u32,
    /// When it is raised at the latest.
    at_ns: u64,
}

/// The interrupts that wait, by vector (`NVMe Base 2.1 §5.1.25.2.2`).
///
/// The admin completion queue never waits, nor does a command that failed: the
/// specification recommends so, and a host that handles an error is in no mood
/// to wait.
#[derive(Debug, Default)]
pub(crate) struct Coalescing {
    /// Entries that are enough; 0 and 1 switch coalescing off.
    threshold: u32,
    time_ns: u64,
    waiting: Vec<Waiting>,
}

impl Coalescing {
    /// Takes the Interrupt Coalescing feature: the threshold (zero-based) in
    /// byte 0, the time in byte 1. Either being 0 switches it off.
    pub(crate) fn configure(&mut self, feature: u32) {
        let [threshold, time, ..] = feature.to_le_bytes();
        self.threshold = u32::from(threshold).saturating_add(1);
        self.time_ns = u64::from(time).saturating_mul(TIME_UNIT_NS);
    }

    /// Whether interrupts may wait, or one does already.
    #[inline]
    pub(crate) const fn is_active(&self) -> bool {
        (self.threshold > 1 && self.time_ns > 0) || !self.waiting.is_empty()
    }

    /// The vectors whose interrupts wait.
    pub(crate) fn vectors(&self) -> impl Iterator<Item = u16> {
        self.waiting.iter().map(|waiting| waiting.vector)
    }

    /// Forgets what waits, and switches off.
    pub(crate) fn reset(&mut self) {
        self.threshold = 0;
        self.time_ns = 0;
        self.waiting.clear();
    }

    /// When the first of the waiting interrupts is due.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.at_ns).min()
    }

    /// Takes an interrupt that is due at the time `now_ns`, where `may_wait`
    /// says whether the host lets its vector wait. Whether it is to be raised
    /// now; else it waits.
    pub(crate) fn is_due(&mut self, due: Due, may_wait: bool, now_ns: u64) -> bool {
        let index = self
            .waiting
            .iter()
            .position(|waiting| waiting.vector == due.vector);
        let known = index.and_then(|index| self.waiting.get_mut(index));
        let entries = due
            .entries
            .saturating_add(known.as_ref().map_or(0, |known| known.entries));
        let waits = may_wait && !due.at_once && self.time_ns > 0 && entries < self.threshold;
        match (known, index, waits) {
            (Some(known), _, true) => known.entries = entries,
            (None, _, true) => self.waiting.push(Waiting {
                vector: due.vector,
                entries,
                at_ns: now_ns.saturating_add(self.time_ns),
            }),
            (_, Some(index), false) => drop(self.waiting.swap_remove(index)),
            (_, None, false) => {}
        }
        !waits
    }

    /// Takes a vector whose time has come by `now_ns`, until there is none.
    pub(crate) fn take_overdue(&mut self, now_ns: u64) -> Option<u16> {
        let off = self.threshold <= 1 || self.time_ns == 0;
        let mut waiting = self.waiting.iter();
        let index = waiting.position(|waiting| off || waiting.at_ns <= now_ns)?;
        Some(self.waiting.swap_remove(index).vector)
    }
}
