//! The two kinds of raw queues.

use std::sync::Arc;

use nvme::{CQE_BYTES, Cqe, QueueId, SQE_BYTES, Sqe};
use zerocopy::little_endian::U64;

use crate::transport::DoorbellRegister;
use crate::{DmaBuffer, DriverError};

const PAGE: usize = 4096;
/// What a list of a queue's pages has room for: one page of it.
const PAGES_MAX: usize = PAGE / 8;

/// How a raw completion queue is made and announced.
#[derive(Clone, Copy, Debug)]
pub struct RawCompletionOptions {
    /// Its identifier, whether it may be one or not.
    pub id: QueueId,
    /// How many entries there is memory for.
    pub entries: u32,
    /// QSIZE, zero-based, where it is not to fit `entries`.
    pub size: Option<u16>,
    /// Whether its pages are contiguous (PC). Those of one that is not are
    /// scattered, and it is announced by a list of them.
    pub contiguous: bool,
    /// The interrupt vector (IV), with interrupts enabled (IEN).
    pub interrupt: Option<u16>,
}

impl RawCompletionOptions {
    /// A contiguous queue of `entries` entries that is polled.
    #[must_use]
    pub const fn new(id: QueueId, entries: u32) -> Self {
        Self {
            id,
            entries,
            size: None,
            contiguous: true,
            interrupt: None,
        }
    }

    pub(crate) const fn shape(&self) -> Shape {
        Shape {
            id: self.id,
            entries: self.entries,
            size: self.size,
            contiguous: self.contiguous,
            entry_bytes: CQE_BYTES,
        }
    }
}

/// How a raw submission queue is made and announced.
#[derive(Clone, Copy, Debug)]
pub struct RawSubmissionOptions {
    /// Its identifier, whether it may be one or not.
    pub id: QueueId,
    /// How many entries there is memory for.
    pub entries: u32,
    /// QSIZE, zero-based, where it is not to fit `entries`.
    pub size: Option<u16>,
    /// Whether its pages are contiguous (PC), as for
    /// [`RawCompletionOptions::contiguous`].
    pub contiguous: bool,
    /// The completion queue that it is for.
    pub completion_queue: QueueId,
    /// Its priority, 0 (urgent) to 3 (low).
    pub priority: u8,
}

impl RawSubmissionOptions {
    /// A contiguous queue of `entries` entries on `completion_queue`.
    #[must_use]
    pub const fn new(id: QueueId, entries: u32, completion_queue: QueueId) -> Self {
        Self {
            id,
            entries,
            size: None,
            contiguous: true,
            completion_queue,
            priority: 0,
        }
    }

    pub(crate) const fn shape(&self) -> Shape {
        Shape {
            id: self.id,
            entries: self.entries,
            size: self.size,
            contiguous: self.contiguous,
            entry_bytes: SQE_BYTES,
        }
    }
}

/// Memory of a queue that the controller may still use.
#[derive(Debug)]
pub(crate) struct RawKept {
    pub(crate) id: QueueId,
    pub(crate) is_completion: bool,
    pub(crate) _memory: Arc<DmaBuffer>,
}

/// What the options of both kinds say alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) id: QueueId,
    entries: u32,
    size: Option<u16>,
    pub(crate) contiguous: bool,
    entry_bytes: usize,
}

impl Shape {
    /// How many pages the entries take.
    fn pages(&self) -> usize {
        let bytes = self.entries as usize * self.entry_bytes;
        bytes.div_ceil(PAGE).max(1)
    }

    /// How much memory the pages take, with all that is between, bytes.
    pub(crate) fn bytes(&self) -> Result<usize, DriverError> {
        let pages = self.pages();
        if self.contiguous {
            return Ok(pages * PAGE);
        }
        if pages > PAGES_MAX {
            return Err(DriverError::Invalid {
                what: format!(
                    "a scattered queue of {} entries has {pages} pages: \
                     more than the {PAGES_MAX} that a list has room for",
                    self.entries
                ),
            });
        }
        Ok((2 * pages + 1) * PAGE)
    }
}

/// What a queue of either kind is made of.
#[derive(Debug)]
pub(crate) struct RawQueue {
    pub(crate) shape: Shape,
    pub(crate) memory: Arc<DmaBuffer>,
    /// Where each page begins, bytes from the memory's start.
    starts: Vec<usize>,
    prp1: u64,
    /// None where the device has no such doorbell.
    doorbell: Option<DoorbellRegister>,
}

impl RawQueue {
    /// Lays the queue out in `memory`, which has [`Shape::bytes`] bytes.
    pub(crate) fn new(
        shape: Shape,
        mut memory: DmaBuffer,
        doorbell: Option<DoorbellRegister>,
    ) -> Result<Self, DriverError> {
        let pages = shape.pages();
        let mut prp1 = memory.iova();
        let starts: Vec<usize> = if shape.contiguous {
            (0..pages).map(|page| page * PAGE).collect()
        } else {
            // From the end, every other page: none follows another.
            (0..pages).rev().map(|page| (2 * page + 1) * PAGE).collect()
        };
        if !shape.contiguous {
            let list: Vec<U64> = starts
                .iter()
                .map(|start| U64::new(memory.iova() + *start as u64))
                .collect();
            let at = 2 * pages * PAGE;
            memory.put(at, list.as_slice())?;
            prp1 += at as u64;
        }
        Ok(Self {
            shape,
            memory: Arc::new(memory),
            starts,
            prp1,
            doorbell,
        })
    }

    /// What its Create command has as PRP1.
    pub(crate) const fn prp1(&self) -> u64 {
        self.prp1
    }

    /// QSIZE.
    pub(crate) fn qsize(&self) -> u16 {
        let entries = self.shape.entries.saturating_sub(1);
        let fitting = || u16::try_from(entries).unwrap_or(u16::MAX);
        self.shape.size.unwrap_or_else(fitting)
    }

    /// Where entry `index` is.
    fn place(&self, index: u32) -> Result<usize, DriverError> {
        let at = index as usize * self.shape.entry_bytes;
        let start = self.starts.get(at / PAGE);
        match start.filter(|_| index < self.shape.entries) {
            Some(start) => Ok(start + at % PAGE),
            None => Err(DriverError::Invalid {
                what: format!("entry {index} of a queue that has {}", self.shape.entries),
            }),
        }
    }

    fn ring(&self, value: u32) -> Result<(), DriverError> {
        match &self.doorbell {
            Some(doorbell) => {
                doorbell.ring(value);
                Ok(())
            }
            None => Err(DriverError::Invalid {
                what: format!(
                    "the doorbell of {}, which is not among those of the device",
                    self.shape.id
                ),
            }),
        }
    }
}

/// A submission queue by hand.
#[derive(Debug)]
pub struct RawSubmissionQueue {
    pub(crate) options: RawSubmissionOptions,
    pub(crate) queue: RawQueue,
    tail: u32,
}

impl RawSubmissionQueue {
    pub(crate) const fn new(options: RawSubmissionOptions, queue: RawQueue) -> Self {
        Self {
            options,
            queue,
            tail: 0,
        }
    }

    /// Its identifier.
    #[must_use]
    pub const fn id(&self) -> QueueId {
        self.options.id
    }

    /// What Create I/O Submission Queue has as PRP1.
    #[must_use]
    pub const fn prp1(&self) -> u64 {
        self.queue.prp1()
    }

    /// Writes entry `index`, whether the controller has got there or not.
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`] where there is no memory for such an entry.
    pub fn put(&self, index: u32, sqe: &Sqe) -> Result<(), DriverError> {
        let place = self.queue.place(index)?;
        let bytes: [u8; SQE_BYTES] = zerocopy::transmute!(*sqe);
        for (number, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            self.queue.memory.store_u64(place + number * 8, word);
        }
        Ok(())
    }

    /// Reads entry `index` back.
    ///
    /// # Errors
    ///
    /// Those of [`RawSubmissionQueue::put`].
    pub fn entry(&self, index: u32) -> Result<Sqe, DriverError> {
        self.queue.memory.get(self.queue.place(index)?)
    }

    /// Writes `value` to the tail doorbell, whatever it is.
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`] where the device has no such doorbell.
    pub fn ring(&self, value: u32) -> Result<(), DriverError> {
        self.queue.ring(value)
    }

    /// Puts `sqe` at the tail, moves that and rings, as one does. It does not
    /// look whether there is room.
    ///
    /// # Errors
    ///
    /// Those of [`RawSubmissionQueue::put`] and [`RawSubmissionQueue::ring`].
    pub fn submit(&mut self, sqe: &Sqe) -> Result<(), DriverError> {
        self.put(self.tail, sqe)?;
        self.tail = (self.tail + 1) % self.options.entries.max(1);
        self.ring(self.tail)
    }

    /// Where [`RawSubmissionQueue::submit`] puts the next entry.
    #[must_use]
    pub const fn tail(&self) -> u32 {
        self.tail
    }
}

/// A completion queue by hand.
#[derive(Debug)]
pub struct RawCompletionQueue {
    pub(crate) options: RawCompletionOptions,
    pub(crate) queue: RawQueue,
    head: u32,
    phase: bool,
}

impl RawCompletionQueue {
    pub(crate) const fn new(options: RawCompletionOptions, queue: RawQueue) -> Self {
        Self {
            options,
            queue,
            head: 0,
            phase: true,
        }
    }

    /// Its identifier.
    #[must_use]
    pub const fn id(&self) -> QueueId {
        self.options.id
    }

    /// What Create I/O Completion Queue has as PRP1.
    #[must_use]
    pub const fn prp1(&self) -> u64 {
        self.queue.prp1()
    }

    /// Entry `index` as it stands now, complete or not, phase and all.
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`] where there is no memory for such an entry.
    pub fn entry(&self, index: u32) -> Result<Cqe, DriverError> {
        let place = self.queue.place(index)?;
        let memory = &self.queue.memory;
        // The phase is written last: what is read after it goes with it.
        let status = memory.load_u32_acquire(place + CQE_BYTES - 4);
        Ok(zerocopy::transmute!([
            memory.load_u32(place).to_le(),
            memory.load_u32(place + 4).to_le(),
            memory.load_u32(place + 8).to_le(),
            status.to_le(),
        ]))
    }

    /// The next entry, where it has the phase of this lap. The device is not
    /// told: see [`RawCompletionQueue::ring`].
    ///
    /// # Errors
    ///
    /// Those of [`RawCompletionQueue::entry`].
    pub fn pop(&mut self) -> Result<Option<Cqe>, DriverError> {
        let cqe = self.entry(self.head)?;
        if cqe.phase() != self.phase {
            return Ok(None);
        }
        let entries = u32::from(self.queue.qsize()) + 1;
        self.head += 1;
        if self.head >= entries {
            self.head = 0;
            self.phase = !self.phase;
        }
        Ok(Some(cqe))
    }

    /// Where [`RawCompletionQueue::pop`] looks next: what belongs into the head
    /// doorbell.
    #[must_use]
    pub const fn head(&self) -> u32 {
        self.head
    }

    /// The phase that it waits for.
    #[must_use]
    pub const fn phase(&self) -> bool {
        self.phase
    }

    /// Writes `value` to the head doorbell, whatever it is.
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`] where the device has no such doorbell.
    pub fn ring(&self, value: u32) -> Result<(), DriverError> {
        self.queue.ring(value)
    }
}
