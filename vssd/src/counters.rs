//! What a drive does, in numbers that other threads read while it works.
//!
//! ```text
//!   Controller --Tap--> CountingTap --plain stores--> Counters <--loads-- any thread
//! ```
//!
//! One thread writes the numbers of a queue, whoever serves it, with loads and stores that are atomic but never
//! locked, so that a command costs neither a barrier nor a wait. Readers get each
//! number whole, and those of one moment nearly: a command may be in one number
//! and not yet in the next. Memory is that of queues and classes that were used,
//! as the system gives a page when it is written first.

mod histogram;
mod last;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nvme::{AdminOpcode, DsmRange, NamespaceId, NvmOpcode, QueueId};
use traces::{Branch, CommandRecord, EventRecord, Tap};
use zerocopy::FromZeros;

pub use self::histogram::{BUCKETS, Histogram};
pub use self::last::LAST_COMMANDS;
use self::last::LastCommands;

/// What kind of a command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpcodeClass {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Flush.
    Flush,
    /// Dataset Management.
    Discard,
    /// Write Zeroes.
    WriteZeroes,
    /// Any other I/O command.
    Other,
    /// An admin command.
    Admin,
}

impl OpcodeClass {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// All of them, in the order that they are shown in.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Discard,
        Self::WriteZeroes,
        Self::Other,
        Self::Admin,
    ];

    /// A word for it, with underscores.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Discard => "discard",
            Self::WriteZeroes => "write_zeroes",
            Self::Other => "other",
            Self::Admin => "admin",
        }
    }

    /// The class of a command.
    #[inline]
    #[must_use]
    pub const fn of(record: &CommandRecord) -> Self {
        if record.queue.is_admin() {
            return Self::Admin;
        }
        match NvmOpcode(record.opcode) {
            NvmOpcode::READ => Self::Read,
            NvmOpcode::WRITE => Self::Write,
            NvmOpcode::FLUSH => Self::Flush,
            NvmOpcode::DATASET_MANAGEMENT => Self::Discard,
            NvmOpcode::WRITE_ZEROES => Self::WriteZeroes,
            _ => Self::Other,
        }
    }
}

/// The numbers of the commands of one class and queue.
#[derive(FromZeros)]
struct Cell {
    commands: AtomicU64,
    errors: AtomicU64,
    abandoned: AtomicU64,
    bytes: AtomicU64,
    latency_ns: AtomicU64,
    latency_ns_max: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// The numbers of one queue.
#[derive(FromZeros)]
struct Queue {
    depth: AtomicU64,
    depth_max: AtomicU64,
    last: LastCommands,
    cells: [Cell; OpcodeClass::COUNT],
}

/// Adds to what this thread alone writes: a load and a store, and no locked
/// addition.
#[inline]
fn add(to: &AtomicU64, more: u64) {
    to.store(
        to.load(Ordering::Relaxed).wrapping_add(more),
        Ordering::Relaxed,
    );
}

/// Takes what is larger.
#[inline]
fn raise(to: &AtomicU64, value: u64) {
    if value > to.load(Ordering::Relaxed) {
        to.store(value, Ordering::Relaxed);
    }
}

/// What the commands of one class and queue came to, since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassStats {
    /// Which they are.
    pub class: OpcodeClass,
    /// How many have ended.
    pub commands: u64,
    /// How many of them with an error.
    pub errors: u64,
    /// How many of them without a completion: the guest reset the drive, or left.
    pub abandoned: u64,
    /// Data of those that succeeded, bytes.
    pub bytes: u64,
    /// All their times together, from fetching to completion, nanoseconds.
    pub latency_ns_sum: u64,
    /// The longest time, nanoseconds.
    pub latency_ns_max: u64,
    /// Their times.
    pub latencies: Histogram,
}

/// What a queue does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// Which it is.
    pub queue: QueueId,
    /// Commands that were fetched and have not ended.
    pub depth: u64,
    /// The most there were at a time.
    pub depth_max: u64,
    /// By class; those without commands are left out.
    pub classes: Vec<ClassStats>,
}

/// The numbers of a drive; see the module.
pub struct Counters {
    queues: Vec<Queue>,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters")
            .field("queues", &self.queues.len())
            .finish_non_exhaustive()
    }
}

impl Counters {
    /// Room for the admin queue and `pairs` I/O queues; none where the system has
    /// no memory for it.
    #[must_use]
    pub fn new(pairs: u16) -> Option<Self> {
        let queues = Queue::new_vec_zeroed(usize::from(pairs) + 1).ok()?;
        Some(Self { queues })
    }

    /// The queues that had commands, in the order of their numbers.
    pub fn queues(&self) -> impl Iterator<Item = QueueStats> {
        let numbered = (0..).map(QueueId).zip(&self.queues);
        numbered.filter_map(|(id, queue)| {
            let depth_max = queue.depth_max.load(Ordering::Relaxed);
            (depth_max > 0).then(|| QueueStats {
                queue: id,
                depth: queue.depth.load(Ordering::Relaxed),
                depth_max,
                classes: (OpcodeClass::ALL.into_iter().zip(&queue.cells))
                    .filter_map(|(class, cell)| cell.stats(class))
                    .collect(),
            })
        })
    }

    /// The last commands of a queue that have ended, the newest first, at most
    /// [`LAST_COMMANDS`]. One that is being written is left out.
    #[must_use]
    pub fn last_commands(&self, queue: QueueId) -> Vec<CommandRecord> {
        let found = self.queues.get(usize::from(queue.0));
        found.map_or_else(Vec::new, |found| found.last.read(queue))
    }
}

impl Cell {
    fn stats(&self, class: OpcodeClass) -> Option<ClassStats> {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let commands = load(&self.commands);
        (commands > 0).then(|| ClassStats {
            class,
            commands,
            errors: load(&self.errors),
            abandoned: load(&self.abandoned),
            bytes: load(&self.bytes),
            latency_ns_sum: load(&self.latency_ns),
            latency_ns_max: load(&self.latency_ns_max),
            latencies: Histogram::of(self.buckets.iter().map(load)),
        })
    }
}

/// Counts the commands of a controller.
#[derive(Debug)]
pub struct CountingTap {
    counters: Arc<Counters>,
    /// Bytes of a block, by namespace.
    block_bytes: Vec<u32>,
    /// Whether a namespace may have changed since they were told.
    stale: bool,
}

impl CountingTap {
    /// Counts into `counters`, which have no other tap.
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Self {
        Self {
            counters,
            block_bytes: Vec::new(),
            stale: true,
        }
    }

    /// Whether [`CountingTap::describe`] is due: namespaces are not known yet, or
    /// a command that changes them has ended.
    #[inline]
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.stale
    }

    /// Tells the namespaces and their block sizes, bytes.
    pub fn describe(&mut self, namespaces: impl Iterator<Item = (NamespaceId, u32)>) {
        self.block_bytes.clear();
        for (id, bytes) in namespaces {
            let Ok(index) = usize::try_from(id.0) else {
                continue;
            };
            if self.block_bytes.len() <= index {
                self.block_bytes.resize(index + 1, 0);
            }
            self.block_bytes[index] = bytes;
        }
        self.stale = false;
    }

    /// The data that a command moves or names, bytes.
    #[inline]
    fn bytes(&self, record: &CommandRecord, ranges: &[DsmRange]) -> u64 {
        let blocks = match record.lba_range() {
            Some((_, blocks)) => u64::from(blocks),
            None if ranges.is_empty() => return 0,
            None => ranges
                .iter()
                .map(|range| u64::from(range.blocks.get()))
                .sum(),
        };
        let index = usize::try_from(record.nsid.0).unwrap_or(usize::MAX);
        let block_bytes = self.block_bytes.get(index).copied().unwrap_or(0);
        blocks.wrapping_mul(block_bytes.into())
    }

    /// Notes admin commands that change what namespaces there are, or how they
    /// are formatted.
    fn note_admin(&mut self, opcode: u8) {
        self.stale |= matches!(
            AdminOpcode(opcode),
            AdminOpcode::FORMAT_NVM
                | AdminOpcode::NAMESPACE_MANAGEMENT
                | AdminOpcode::NAMESPACE_ATTACHMENT
        );
    }
}

impl Tap for CountingTap {
    #[inline]
    fn fetched(&mut self, record: &CommandRecord) {
        let Some(queue) = self.counters.queues.get(usize::from(record.queue.0)) else {
            return;
        };
        let depth = queue.depth.load(Ordering::Relaxed).wrapping_add(1);
        queue.depth.store(depth, Ordering::Relaxed);
        raise(&queue.depth_max, depth);
    }

    #[inline]
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        let bytes = self.bytes(record, ranges);
        let class = OpcodeClass::of(record);
        if class == OpcodeClass::Admin {
            self.note_admin(record.opcode);
        }
        let Some(queue) = self.counters.queues.get(usize::from(record.queue.0)) else {
            return;
        };
        let depth = queue.depth.load(Ordering::Relaxed).saturating_sub(1);
        queue.depth.store(depth, Ordering::Relaxed);
        queue.last.note(record);
        let cell = &queue.cells[class as usize];
        add(&cell.commands, 1);
        let Some(completion) = record.completion else {
            return add(&cell.abandoned, 1);
        };
        if completion.status.is_success() {
            add(&cell.bytes, bytes);
        } else {
            add(&cell.errors, 1);
        }
        let latency_ns = completion.complete_ns.saturating_sub(record.submit_ns);
        add(&cell.latency_ns, latency_ns);
        raise(&cell.latency_ns_max, latency_ns);
        add(&cell.buckets[histogram::bucket(latency_ns)], 1);
    }

    fn event(&mut self, _record: &EventRecord) {}
}

/// A queue's numbers are written by the one tap that is told of it; who hands a
/// queue to another thread lets that thread see what was written.
impl Branch for CountingTap {
    fn branch(&mut self) -> Self {
        Self {
            counters: Arc::clone(&self.counters),
            block_bytes: self.block_bytes.clone(),
            // Of admin commands the first is told, and that is asked.
            stale: false,
        }
    }
}

#[cfg(test)]
mod tests;
