//! A part of what a device does: a recording that begins and ends while it works.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nvme::DsmRange;
use traces::{Branch, CommandRecord, EventRecord, PayloadPlace, Tap};

use crate::RingTap;

/// Lets the commands through that were fetched from one moment to another.
///
/// What was in flight when it was opened is not let through when it ends: nothing
/// is known of how it began. What is in flight when it is closed is waited for,
/// and what comes after that moment is not let through, however soon it ends. So
/// a command is let through if, and only if, it was fetched while the window was
/// open, and commands are numbered from 0 without a gap.
///
/// [Branches](Branch) are parts of the same window: each counts what it lets
/// through, and all of them close together. Whoever closes it sees to it that
/// nothing is fetched meanwhile.
#[derive(Debug)]
pub struct Window {
    tap: RingTap,
    bounds: Arc<Bounds>,
    /// How many commands this part has let through, which no other thread writes.
    ended: Arc<AtomicU64>,
    count: WindowCount,
}

/// What all parts let through.
#[derive(Debug)]
struct Bounds {
    /// The sequence number of the first command.
    first: u64,
    /// How many commands were fetched while it was open; no limit yet while it is.
    span: AtomicU64,
}

impl Bounds {
    fn span(&self) -> u64 {
        self.span.load(Ordering::Relaxed)
    }

    /// Whether the command with this sequence number belongs to it.
    fn has(&self, sequence: u64) -> bool {
        sequence >= self.first && sequence - self.first < self.span()
    }
}

/// How many commands a window let through, to be read from any thread.
#[derive(Clone, Debug, Default)]
pub struct WindowCount(Arc<Mutex<Parts>>);

/// The counts of the parts of a window.
#[derive(Debug, Default)]
struct Parts {
    /// Of those that are gone.
    gone: u64,
    there: Vec<Arc<AtomicU64>>,
}

impl Parts {
    /// Adds up the counts of parts that are gone.
    fn fold(&mut self) {
        let gone = &mut self.gone;
        self.there.retain(|part| {
            let is_there = Arc::strong_count(part) > 1;
            if !is_there {
                *gone += part.load(Ordering::Relaxed);
            }
            is_there
        });
    }
}

impl WindowCount {
    /// How many there were so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let there = parts.there.iter().map(|part| part.load(Ordering::Relaxed));
        parts.gone + there.sum::<u64>()
    }

    /// Counts a further part.
    fn part(&self) -> Arc<AtomicU64> {
        let ended = Arc::new(AtomicU64::new(0));
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.fold();
        parts.there.push(Arc::clone(&ended));
        ended
    }
}

impl Window {
    /// Opens before the command with the sequence number `first` is fetched.
    #[must_use]
    pub fn open(tap: RingTap, first: u64) -> Self {
        let count = WindowCount::default();
        Self {
            tap,
            bounds: Arc::new(Bounds {
                first,
                span: AtomicU64::new(u64::MAX),
            }),
            ended: count.part(),
            count,
        }
    }

    /// How many commands it lets through.
    #[must_use]
    pub fn count(&self) -> WindowCount {
        self.count.clone()
    }

    /// Closes before the command with the sequence number `next` is fetched.
    pub fn close(&mut self, next: u64) {
        if !self.is_closed() {
            let span = next.saturating_sub(self.bounds.first);
            self.bounds.span.store(span, Ordering::Relaxed);
        }
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.bounds.span() != u64::MAX
    }

    /// How many commands are waited for; none while it is open.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        if self.is_closed() {
            self.bounds.span().saturating_sub(self.count.get())
        } else {
            0
        }
    }

    /// Whether the command with this sequence number belongs to it.
    #[inline]
    #[must_use]
    pub fn has(&self, sequence: u64) -> bool {
        self.bounds.has(sequence)
    }

    /// Waits no longer: lets `unfinished` through as they are, without a
    /// completion. Hands the tap back, and how many commands it was told nothing
    /// of.
    pub fn end<'c>(
        mut self,
        unfinished: impl Iterator<Item = (&'c CommandRecord, &'c [DsmRange])>,
    ) -> (RingTap, u64) {
        for (record, ranges) in unfinished {
            self.command(record, ranges);
        }
        let missing = self.outstanding();
        (self.tap, missing)
    }
}

impl Tap for Window {
    #[inline]
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        if !self.has(record.sequence) {
            return;
        }
        let ended = self.ended.load(Ordering::Relaxed) + 1;
        self.ended.store(ended, Ordering::Relaxed);
        let sequence = record.sequence - self.bounds.first;
        self.tap.tell(record, sequence, ranges);
    }

    fn event(&mut self, record: &EventRecord) {
        // What happens once it is closed comes after all that is let through.
        if !self.is_closed() {
            self.tap.event(&EventRecord {
                sequence: record.sequence.saturating_sub(self.bounds.first),
                ..*record
            });
        }
    }

    #[inline]
    fn wants_payload(&self) -> bool {
        self.tap.wants_payload()
    }

    fn payload(&mut self, place: &PayloadPlace, bytes: usize, copy: &mut dyn FnMut(&mut [u8])) {
        if self.has(place.sequence) {
            let mut place = *place;
            place.sequence -= self.bounds.first;
            self.tap.payload(&place, bytes, copy);
        }
    }
}

impl Branch for Window {
    fn branch(&mut self) -> Self {
        Self {
            tap: self.tap.branch(),
            bounds: Arc::clone(&self.bounds),
            ended: self.count.part(),
            count: self.count.clone(),
        }
    }
}
