//! A part of what a device does: a recording that begins and ends while it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nvme::DsmRange;
use traces::{CommandRecord, EventRecord, PayloadPlace, Tap};

/// Lets the commands through that were fetched from one moment to another.
///
/// What was in flight when it was opened is not let through when it ends: nothing
/// is known of how it began. What is in flight when it is closed is waited for,
/// and what comes after that moment is not let through, however soon it ends. So
/// a command is let through if, and only if, it was fetched while the window was
/// open, and commands are numbered from 0 without a gap.
#[derive(Debug)]
pub struct Window<T> {
    tap: T,
    /// The sequence number of the first command.
    first: u64,
    /// How many commands were fetched while it was open; no limit yet while it is.
    span: u64,
    /// How many of them have ended.
    ended: u64,
    /// The same, for other threads.
    shown: Arc<AtomicU64>,
}

/// How many commands a window let through, to be read from any thread.
#[derive(Clone, Debug)]
pub struct WindowCount(Arc<AtomicU64>);

impl WindowCount {
    /// How many there were so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<T: Tap> Window<T> {
    /// Opens before the command with the sequence number `first` is fetched.
    pub fn open(tap: T, first: u64) -> Self {
        Self {
            tap,
            first,
            span: u64::MAX,
            ended: 0,
            shown: Arc::default(),
        }
    }

    /// How many commands it lets through.
    #[must_use]
    pub fn count(&self) -> WindowCount {
        WindowCount(Arc::clone(&self.shown))
    }

    /// Closes before the command with the sequence number `next` is fetched.
    pub const fn close(&mut self, next: u64) {
        if self.span == u64::MAX {
            self.span = next.saturating_sub(self.first);
        }
    }

    /// Whether it was closed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.span != u64::MAX
    }

    /// How many commands are waited for; none while it is open.
    #[must_use]
    pub const fn outstanding(&self) -> u64 {
        if self.is_closed() {
            self.span.saturating_sub(self.ended)
        } else {
            0
        }
    }

    /// Whether the command with this sequence number belongs to it.
    #[inline]
    #[must_use]
    pub const fn has(&self, sequence: u64) -> bool {
        sequence >= self.first && sequence - self.first < self.span
    }

    /// Waits no longer: lets `unfinished` through as they are, without a
    /// completion. Hands the tap back, and how many commands it was told nothing
    /// of.
    pub fn end<'c>(
        mut self,
        unfinished: impl Iterator<Item = (&'c CommandRecord, &'c [DsmRange])>,
    ) -> (T, u64) {
        for (record, ranges) in unfinished {
            self.command(record, ranges);
        }
        let missing = self.outstanding();
        (self.tap, missing)
    }
}

impl<T: Tap> Tap for Window<T> {
    const ENABLED: bool = T::ENABLED;

    #[inline]
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        if !self.has(record.sequence) {
            return;
        }
        let mut record = *record;
        record.sequence -= self.first;
        self.ended += 1;
        self.shown.store(self.ended, Ordering::Relaxed);
        self.tap.command(&record, ranges);
    }

    fn event(&mut self, record: &EventRecord) {
        // What happens once it is closed comes after all that is let through.
        if !self.is_closed() {
            self.tap.event(&EventRecord {
                sequence: record.sequence.saturating_sub(self.first),
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
            place.sequence -= self.first;
            self.tap.payload(&place, bytes, copy);
        }
    }
}
