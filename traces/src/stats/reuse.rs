//! How soon data are touched again, from a sample of pages.
//!
//! A page is in the sample where a hash of its address is below a threshold;
//! where the sample gets too large, the threshold falls, and pages above it go.
//! A reuse distance is how many other pages of the sample were touched since
//! the page was last, divided by the rate: how much cache would have kept it.

use std::collections::{BTreeSet, HashMap};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::PAGE_BYTES;

/// Pages in the sample at most.
const PAGES_MAX: usize = 1 << 14;
/// Where hashes end: the rate is threshold / HASHES.
const HASHES: u64 = 1 << 32;
/// Accesses between two renumberings.
const SLOTS: usize = 1 << 17;
/// Pages of one command that are looked at: 64 MiB.
const PAGES_OF_ONE: u64 = 1 << 14;

/// How soon data are touched again.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Reuse {
    /// Of how many pages one is in the sample.
    pub sampled_one_in: f64,
    /// How much data is touched at all, bytes.
    pub working_set_bytes: u64,
    /// Of the touches, those of data that were touched before, 0 to 1.
    pub reused: f64,
    /// Of the touches that are, how much other data was touched in between:
    /// bytes that a cache (LRU) needs to hold half of them.
    pub distance_bytes_p50: u64,
    /// 90 % of them.
    pub distance_bytes_p90: u64,
    /// 99 % of them.
    pub distance_bytes_p99: u64,
    /// What follows what on the same data.
    pub overlap: Overlap,
}

/// What touches the same page after what, of the sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Overlap {
    /// A read after a read.
    pub read_after_read: u64,
    /// A read after a write.
    pub read_after_write: u64,
    /// A write after a read.
    pub write_after_read: u64,
    /// A write after a write.
    pub write_after_write: u64,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    slot: usize,
    written: bool,
    hash: u64,
}

#[derive(Debug)]
pub(super) struct Sampler {
    threshold: u64,
    pages: HashMap<(u32, u64), Page>,
    /// The pages by their hashes, so that the highest go first.
    by_hash: BTreeSet<(u64, u32, u64)>,
    /// Fenwick tree: which slots hold the last touch of a page.
    tree: Vec<u32>,
    /// Who is in a slot.
    slots: Vec<Option<(u32, u64)>>,
    /// Pages that left the sample, by what each stood for.
    first_touches: f64,
    again: f64,
    touches: u64,
    distances: Histogram<u64>,
    overlap: Overlap,
}

impl Sampler {
    pub(super) fn new() -> Self {
        Self {
            threshold: HASHES,
            pages: HashMap::new(),
            by_hash: BTreeSet::new(),
            tree: vec![0; SLOTS + 1],
            slots: Vec::with_capacity(SLOTS),
            first_touches: 0.0,
            again: 0.0,
            touches: 0,
            distances: Histogram::new(3).expect("three digits are allowed"),
            overlap: Overlap::default(),
        }
    }

    /// Adds a touch of the bytes from `start` up to `end`.
    pub(super) fn add(&mut self, namespace: u32, start: u64, end: u64, writes: bool) {
        let first = start / PAGE_BYTES;
        let last = end.div_ceil(PAGE_BYTES).min(first + PAGES_OF_ONE);
        for page in first..last {
            self.touches += 1;
            let hash = hash(namespace, page);
            if hash < self.threshold {
                self.touch(namespace, page, hash, writes);
            }
        }
    }

    /// How many pages stand for one of the sample.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn weight(&self) -> f64 {
        HASHES as f64 / self.threshold.max(1) as f64
    }

    fn touch(&mut self, namespace: u32, page: u64, hash: u64, writes: bool) {
        if self.slots.len() >= SLOTS {
            self.renumber();
        }
        let weight = self.weight();
        let slot = self.slots.len();
        let key = (namespace, page);
        let now = Page {
            slot,
            written: writes,
            hash,
        };
        match self.pages.insert(key, now) {
            Some(before) => {
                self.again += weight;
                let between = self.after(before.slot);
                self.record(between, weight);
                self.unset(before.slot);
                let count = match (before.written, writes) {
                    (false, false) => &mut self.overlap.read_after_read,
                    (true, false) => &mut self.overlap.read_after_write,
                    (false, true) => &mut self.overlap.write_after_read,
                    (true, true) => &mut self.overlap.write_after_write,
                };
                *count += 1;
            }
            None => {
                self.first_touches += weight;
                self.by_hash.insert((hash, namespace, page));
            }
        }
        self.slots.push(Some(key));
        self.change(slot, true);
        if self.pages.len() > PAGES_MAX {
            self.lower();
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, and not negative"
    )]
    fn record(&mut self, between: u32, weight: f64) {
        // The page itself takes room, too.
        let bytes = (f64::from(between) * weight + 1.0) * PAGE_BYTES as f64;
        let count = weight.round().max(1.0) as u64;
        // The histogram grows as it must.
        let _ = self.distances.record_n(bytes as u64, count);
    }

    /// Takes the page with the highest hash out of the sample, and all that
    /// would be above the new threshold.
    fn lower(&mut self) {
        while self.pages.len() > PAGES_MAX {
            let Some((hash, namespace, page)) = self.by_hash.pop_last() else {
                return;
            };
            self.threshold = hash;
            if let Some(gone) = self.pages.remove(&(namespace, page)) {
                debug_assert_eq!(gone.hash, hash, "a page has one hash");
                self.unset(gone.slot);
            }
        }
    }

    fn unset(&mut self, slot: usize) {
        if let Some(taken) = self.slots.get_mut(slot) {
            *taken = None;
        }
        self.change(slot, false);
    }

    /// Whether `slot` holds a page.
    fn change(&mut self, slot: usize, held: bool) {
        let mut at = slot + 1;
        while let Some(count) = self.tree.get_mut(at) {
            *count = if held {
                *count + 1
            } else {
                count.saturating_sub(1)
            };
            at += at & at.wrapping_neg();
        }
    }

    /// How many slots after `slot` hold a page.
    fn after(&self, slot: usize) -> u32 {
        let up_to = |slot: usize| {
            let (mut at, mut sum) = (slot, 0_u32);
            while at > 0 {
                sum += self.tree.get(at).copied().unwrap_or(0);
                at &= at - 1;
            }
            sum
        };
        up_to(self.slots.len()).saturating_sub(up_to(slot + 1))
    }

    /// Moves the pages together, to the first slots, in their order.
    fn renumber(&mut self) {
        let live: Vec<(u32, u64)> = self.slots.drain(..).flatten().collect();
        self.tree.fill(0);
        for (slot, key) in live.into_iter().enumerate() {
            if let Some(page) = self.pages.get_mut(&key) {
                page.slot = slot;
            }
            self.slots.push(Some(key));
            self.change(slot, true);
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "estimates, and not negative"
    )]
    pub(super) fn finish(self) -> Option<Reuse> {
        if self.touches == 0 {
            return None;
        }
        let weight = self.weight();
        // The histogram tells the largest that counts as the same.
        let distance =
            |quantile| self.distances.value_at_quantile(quantile) / PAGE_BYTES * PAGE_BYTES;
        Some(Reuse {
            sampled_one_in: weight,
            working_set_bytes: (self.pages.len() as f64 * weight) as u64 * PAGE_BYTES,
            reused: self.again / (self.again + self.first_touches).max(1.0),
            distance_bytes_p50: distance(0.5),
            distance_bytes_p90: distance(0.9),
            distance_bytes_p99: distance(0.99),
            overlap: self.overlap,
        })
    }
}

/// 32 well-mixed bits of an address.
fn hash(namespace: u32, page: u64) -> u64 {
    let value = page ^ u64::from(namespace) << 48;
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (value ^ value >> 31) >> 32
}
