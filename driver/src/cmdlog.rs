//! The last commands of a queue pair, and how each of them ended.
//!
//! ```text
//!   QueuePair --submit, complete--> ring of entries <--entries-- CmdLog, any thread
//! ```
//!
//! It is always on, as what happened before an error is what one wants to know
//! after it. The thread that owns the queue pair writes plain words into memory
//! that was allocated with the queue; it neither waits for readers nor knows of
//! them. A reader takes an entry only where the entry's version is the same
//! before and after (a sequence lock of one writer), so that an entry that is
//! being overwritten is left out rather than told wrongly. A command and its
//! completion are two versions of an entry: with one, a completion that comes
//! while the entry is read would go unnoticed.

mod entry;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use nvme::{Cqe, QueueId, Sqe};

pub use self::entry::{CmdLogEntry, LoggedCompletion};

/// How many commands are kept: a power of two, so that a number finds its place
/// with a mask.
pub const CMDLOG_ENTRIES: usize = 4096;

const MASK: u64 = CMDLOG_ENTRIES as u64 - 1;
const SQE_WORDS: usize = size_of::<Sqe>() / size_of::<u64>();
/// What an entry's version is while it is being written.
const BEING_WRITTEN: u64 = u64::MAX;

/// The version of the entry of command `number` that is in flight, and of one
/// that is complete. The first is 2: an entry of version 0 is one that was never
/// written.
const fn in_flight(number: u64) -> u64 {
    (number + 1) * 2
}

const fn complete(number: u64) -> u64 {
    in_flight(number) + 1
}
/// A completion word with this bit is one; the bits below are the status field.
const IS_COMPLETE: u64 = 1 << 32;

/// The recent past of one queue pair, to be read from any thread; see the
/// module. Clones read the same log.
#[derive(Clone)]
pub struct CmdLog(Arc<Shared>);

struct Shared {
    queue: QueueId,
    /// How many commands were submitted; the next one's number.
    submitted: AtomicU64,
    /// How many of them are over.
    completed: AtomicU64,
    /// Bytes of data that were to move with those that were submitted.
    bytes: AtomicU64,
    entries: Box<[Entry]>,
}

/// A command: a line of its own in the cache for the entry that went to the
/// device, and one for the rest.
#[repr(align(64))]
#[derive(Default)]
struct Entry {
    sqe: [AtomicU64; SQE_WORDS],
    version: AtomicU64,
    submit_ns: AtomicU64,
    complete_ns: AtomicU64,
    /// [`IS_COMPLETE`], the status field, and dword 0 in the lower half of
    /// `result`.
    status: AtomicU64,
    result: AtomicU64,
}

impl Entry {
    fn begin(&self) {
        self.version.store(BEING_WRITTEN, Ordering::Relaxed);
        // The words below are not seen before the version above.
        fence(Ordering::Release);
    }
}

impl std::fmt::Debug for CmdLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CmdLog")
            .field("queue", &self.0.queue)
            .field("submitted", &self.submitted())
            .finish_non_exhaustive()
    }
}

impl CmdLog {
    /// The log of the queue pair `queue`.
    pub(crate) fn new(queue: QueueId) -> Self {
        Self(Arc::new(Shared {
            queue,
            submitted: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            entries: (0..CMDLOG_ENTRIES).map(|_| Entry::default()).collect(),
        }))
    }

    /// Writes down a command that goes to the device. To be called by the
    /// thread that owns the queue pair. Returns its number.
    #[inline]
    pub(crate) fn submit(&self, sqe: &Sqe, data_bytes: usize, now_ns: u64) -> u64 {
        let shared = &*self.0;
        let number = shared.submitted.load(Ordering::Relaxed);
        if let Some(entry) = shared.entries.get(place(number)) {
            entry.begin();
            let words: [u64; SQE_WORDS] = zerocopy::transmute!(*sqe);
            for (to, word) in entry.sqe.iter().zip(words) {
                to.store(word, Ordering::Relaxed);
            }
            entry.submit_ns.store(now_ns, Ordering::Relaxed);
            entry.status.store(0, Ordering::Relaxed);
            entry.version.store(in_flight(number), Ordering::Release);
        }
        // One thread writes: a load and a store, not a locked addition.
        let bytes = shared.bytes.load(Ordering::Relaxed) + data_bytes as u64;
        shared.bytes.store(bytes, Ordering::Relaxed);
        shared.submitted.store(number + 1, Ordering::Release);
        number
    }

    /// Writes down how the command `number` ended; by the same thread.
    #[inline]
    pub(crate) fn complete(&self, number: u64, cqe: &Cqe, now_ns: u64) {
        let shared = &*self.0;
        let completed = shared.completed.load(Ordering::Relaxed) + 1;
        shared.completed.store(completed, Ordering::Relaxed);
        let Some(entry) = shared.entries.get(place(number)) else {
            return;
        };
        // So many came after it that its place is another's.
        if entry.version.load(Ordering::Relaxed) != in_flight(number) {
            return;
        }
        entry.begin();
        entry.complete_ns.store(now_ns, Ordering::Relaxed);
        let status = IS_COMPLETE | u64::from(cqe.status().field());
        entry.status.store(status, Ordering::Relaxed);
        entry
            .result
            .store(cqe.result.get().into(), Ordering::Relaxed);
        entry.version.store(complete(number), Ordering::Release);
    }

    /// The queue pair.
    #[must_use]
    pub fn queue(&self) -> QueueId {
        self.0.queue
    }

    /// How many commands were submitted so far.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.0.submitted.load(Ordering::Acquire)
    }

    /// How many of them the device has completed. Those that were lost with
    /// their queue are not among them.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.0.completed.load(Ordering::Relaxed)
    }

    /// Bytes of data of all commands that were submitted.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// The last commands, the newest first, up to [`CMDLOG_ENTRIES`] and no
    /// more than `count`. Those that are being written at this moment are left
    /// out.
    #[must_use]
    pub fn latest(&self, count: usize) -> Vec<CmdLogEntry> {
        let end = self.submitted();
        let count = u64::try_from(count.min(CMDLOG_ENTRIES)).unwrap_or(0);
        let numbers = end.saturating_sub(count)..end;
        numbers
            .rev()
            .filter_map(|number| self.entry(number))
            .collect()
    }

    /// The command `number`, where it is still there and not being written.
    pub(crate) fn entry(&self, number: u64) -> Option<CmdLogEntry> {
        let entry = self.0.entries.get(place(number))?;
        let version = entry.version.load(Ordering::Acquire);
        if version != in_flight(number) && version != complete(number) {
            return None;
        }
        let mut words = [0; SQE_WORDS];
        for (to, word) in words.iter_mut().zip(&entry.sqe) {
            *to = word.load(Ordering::Relaxed);
        }
        let submit_ns = entry.submit_ns.load(Ordering::Relaxed);
        let complete_ns = entry.complete_ns.load(Ordering::Relaxed);
        let status = entry.status.load(Ordering::Relaxed);
        let result = entry.result.load(Ordering::Relaxed);
        // The words above were read before the version below.
        fence(Ordering::Acquire);
        if entry.version.load(Ordering::Relaxed) != version {
            return None;
        }
        let completion = (status & IS_COMPLETE != 0)
            .then(|| LoggedCompletion::of_words(status & !IS_COMPLETE, result, complete_ns));
        Some(CmdLogEntry {
            queue: self.0.queue,
            number,
            sqe: zerocopy::transmute!(words),
            submit_ns,
            completion,
        })
    }
}

/// Where the command `number` stands. The mask keeps it within the ring, and a
/// `usize` of any width holds it.
fn place(number: u64) -> usize {
    usize::try_from(number & MASK).unwrap_or(0)
}

#[cfg(test)]
mod tests;
