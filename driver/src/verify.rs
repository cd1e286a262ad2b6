//! What was written where, so that what is read can be held against it.
//!
//! ```text
//!   ioworker      ioworker      ioworker       each with a queue pair
//!        \            |            /
//!               VerifyTable                    a word of state, a token and a
//!         block block block block ...          CRC32C for each block
//! ```
//!
//! A block that is written carries its address, a token that no other command
//! of the run has, and the writer's pattern; the table keeps the token, the
//! CRC32C of the whole block and which command it was. A read is held against
//! that as it completes. Any number of queue pairs share a table, and it
//! outlives them: what one job wrote, the next can verify.
//!
//! Nothing is said of a block unless it is certain. One that nobody wrote is
//! not looked at, nor one that a command in flight was changing at any time
//! while it was read. Where commands that change a block overlapped, one
//! failed, or one was lost, nobody knows what the block holds until it is
//! written again. A command that never ended may still reach the device: its
//! blocks are not looked at any more.
//!
//! Commands are counted in and out of a block with atomic operations on its
//! word: no lock, and no memory but the table's. Only commands of the workers
//! that share a table are known to it.

mod block;
mod mismatch;
mod stamp;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nvme::{Cns, IdentifyNamespace, Lba, NamespaceId};
use traces::Clock;
use zerocopy::FromZeros as _;

use self::block::{Author, Block, Kind, Outcome};
use self::stamp::Stamp;
use crate::cmdlog::CmdLog;
use crate::transport::Transport;
use crate::{Completed, Controller, DriverError, NamespaceInfo};

pub(crate) use self::block::Word;
pub use self::mismatch::{CommandTrace, Content, Expected, Found, Mismatch};

/// A token is the number of a writer, and of one of its commands below.
const NUMBER_BITS: u32 = 48;

/// What is known of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// Anything: it was not written, or nobody knows how the last change ended.
    Unknown,
    /// It holds what a Write put there.
    Written,
    /// It holds zeroes, by Write Zeroes.
    Zeroed,
    /// It was deallocated, which is a hint: it holds what was written, or what
    /// deallocated blocks read as.
    Deallocated,
    /// It cannot be read, by Write Uncorrectable.
    Uncorrectable,
    /// A command that changes it is in flight.
    Changing,
}

/// What the blocks of a region hold, shared by all queue pairs that change
/// them; see the module.
#[derive(Debug)]
pub struct VerifyTable {
    nsid: NamespaceId,
    block_bytes: u32,
    first: u64,
    blocks: Box<[Block]>,
    /// What deallocated blocks read as.
    deallocated: Option<u8>,
    /// Tells this table's data from that of others.
    run: u64,
    /// Whether there was a Write Uncorrectable.
    has_uncorrectable: AtomicBool,
    /// The logs of the queue pairs, by writer.
    writers: Mutex<Vec<CmdLog>>,
}

/// Tables are equal where they are the same.
impl PartialEq for VerifyTable {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl VerifyTable {
    /// Memory for each block, bytes. It is taken as blocks are written.
    pub const BYTES_A_BLOCK: usize = size_of::<Block>();

    /// A table for `blocks` of `namespace`, of which nothing is known.
    /// `deallocated` is what each byte of a deallocated block reads as, where
    /// the namespace says so (`NVM Command Set 1.1 §3.3.3.2.1`); without it, a
    /// block that was deallocated is not looked at.
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`] where the region has no blocks, or so many that
    /// their table would take more than half of this machine's memory.
    pub fn new(
        namespace: NamespaceInfo,
        blocks: Range<u64>,
        deallocated: Option<u8>,
    ) -> Result<Self, DriverError> {
        let refuse = |why: String| Err(DriverError::Invalid { what: why });
        let Range { start, end } = blocks;
        if start >= end || end > namespace.blocks {
            return refuse(format!(
                "verify: the region {start}..{end} is none of the namespace's {} blocks",
                namespace.blocks
            ));
        }
        let count = usize::try_from(end - start).unwrap_or(usize::MAX);
        let bytes = count.checked_mul(Self::BYTES_A_BLOCK);
        let memory = rustix::system::sysinfo();
        let memory = u128::from(memory.totalram) * u128::from(memory.mem_unit);
        let fits = bytes.filter(|bytes| (*bytes as u128) <= memory / 2);
        // Zeroed pages: memory is taken where blocks are written.
        let table = fits.and_then(|_| <[Block]>::new_box_zeroed_with_elems(count).ok());
        let Some(table) = table else {
            return refuse(format!(
                "verify: the table of {count} blocks takes {} bytes for each, and this machine has \
                 {memory} bytes of memory: choose a smaller region",
                Self::BYTES_A_BLOCK
            ));
        };
        Ok(Self {
            nsid: namespace.nsid,
            block_bytes: namespace.block_bytes,
            first: start,
            blocks: table,
            deallocated,
            run: fastrand::u64(..),
            has_uncorrectable: AtomicBool::new(false),
            writers: Mutex::default(),
        })
    }

    /// As [`VerifyTable::new`], for a namespace of this controller, which is
    /// asked what deallocated blocks read as.
    ///
    /// # Errors
    ///
    /// Those of [`VerifyTable::new`] and [`Controller::identify`], and
    /// [`DriverError::Invalid`] where there is no such namespace.
    pub fn of_controller<T: Transport, C: Clock>(
        controller: &mut Controller<T, C>,
        nsid: NamespaceId,
        blocks: Range<u64>,
    ) -> Result<Self, DriverError> {
        let Some(namespace) = controller.info().namespace(nsid) else {
            let what = format!("nsid: {nsid} does not exist on this device");
            return Err(DriverError::Invalid { what });
        };
        let identify: IdentifyNamespace = controller.identify(Cns::NAMESPACE, nsid)?;
        let deallocated = match identify.dlfeat & IdentifyNamespace::DLFEAT_READ_MASK {
            IdentifyNamespace::DLFEAT_READ_ZEROES => Some(0),
            IdentifyNamespace::DLFEAT_READ_ONES => Some(0xff),
            _ => None,
        };
        Self::new(namespace, blocks, deallocated)
    }

    /// The namespace.
    #[must_use]
    pub const fn nsid(&self) -> NamespaceId {
        self.nsid
    }

    /// The blocks that it knows of.
    #[must_use]
    pub const fn blocks(&self) -> Range<u64> {
        self.first..self.first + self.blocks.len() as u64
    }

    /// What is known of a block at this moment; [`BlockState::Unknown`] outside
    /// of the region.
    #[must_use]
    pub fn state(&self, lba: Lba) -> BlockState {
        let word = self.block(lba).map_or_else(Word::default, Block::word);
        if word.is_changing() {
            return BlockState::Changing;
        }
        match word.kind() {
            Kind::Unknown => BlockState::Unknown,
            Kind::Written => BlockState::Written,
            Kind::Zeroed => BlockState::Zeroed,
            Kind::Deallocated => BlockState::Deallocated,
            Kind::Uncorrectable => BlockState::Uncorrectable,
        }
    }

    /// Whether it is one for `blocks` of `namespace`.
    pub(crate) fn covers(&self, namespace: NamespaceInfo, blocks: &Range<u64>) -> bool {
        let mine = self.blocks();
        self.nsid == namespace.nsid
            && self.block_bytes == namespace.block_bytes
            && mine.start <= blocks.start
            && blocks.end <= mine.end
    }

    /// Makes the queue pair with this log a writer.
    pub(crate) fn register(self: &Arc<Self>, log: CmdLog) -> Result<Writer, DriverError> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(number) = u16::try_from(writers.len()) else {
            return Err(DriverError::Invalid {
                what: format!(
                    "verify: {} workers had this table: begin a new one",
                    1 << 16
                ),
            });
        };
        writers.push(log);
        Ok(Writer {
            table: Arc::clone(self),
            first_token: u64::from(number) << NUMBER_BITS,
        })
    }

    fn block(&self, lba: Lba) -> Option<&Block> {
        let index = lba.0.checked_sub(self.first)?;
        self.blocks.get(usize::try_from(index).ok()?)
    }

    fn each(&self, lba: Lba, blocks: u32) -> impl Iterator<Item = &Block> {
        (lba.0..lba.0.saturating_add(u64::from(blocks))).filter_map(|lba| self.block(Lba(lba)))
    }

    /// What is still known of the command with this token.
    fn trace(&self, token: u64) -> Option<CommandTrace> {
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let log = writers.get(usize::try_from(token >> NUMBER_BITS).ok()?)?;
        let number = token & ((1 << NUMBER_BITS) - 1);
        let entry = log.entry(number);
        Some(CommandTrace {
            queue: log.queue(),
            number,
            cid: entry.map(|entry| entry.sqe.cid()),
            submitted: entry.map(|entry| Duration::from_nanos(entry.submit_ns)),
            entry: entry.map(Box::new),
        })
    }

    /// As [`VerifyTable::trace`], with what the block's state says of it.
    fn trace_of(&self, author: Author) -> CommandTrace {
        let trace = self.trace(author.token).unwrap_or(CommandTrace {
            queue: nvme::QueueId(0),
            number: author.token,
            cid: None,
            submitted: None,
            entry: None,
        });
        let submitted = Duration::from_millis(author.submit_ms.into());
        CommandTrace {
            cid: Some(author.cid),
            submitted: Some(trace.submitted.unwrap_or(submitted)),
            ..trace
        }
    }
}

/// How a change ends for the blocks of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Write Zeroes.
    Zeroes,
    /// Deallocation.
    Deallocate,
    /// Write Uncorrectable.
    Uncorrectable,
}

/// A queue pair's way to the table.
#[derive(Debug)]
pub(crate) struct Writer {
    table: Arc<VerifyTable>,
    first_token: u64,
}

/// What came of a look at a block.
#[derive(Debug)]
pub(crate) enum Looked {
    /// Nothing is certain.
    Skipped,
    /// It is what it must be.
    Right,
    /// It is not.
    Wrong(Box<Mismatch>),
}

impl Writer {
    /// The token of the queue pair's command `number`.
    const fn token(&self, number: u64) -> u64 {
        self.first_token | (number & ((1 << NUMBER_BITS) - 1))
    }

    /// Puts a stamp on the data of one block, which command `number` is to
    /// write, and returns its CRC32C.
    pub(crate) fn stamp(&self, block: &mut [u8], lba: Lba, number: u64) -> u32 {
        Stamp::new(lba, self.token(number), self.table.run).put(block);
        crc32c::crc32c(block)
    }

    /// A command that changes these blocks is about to be submitted.
    pub(crate) fn begin(&self, lba: Lba, blocks: u32, change: Option<Change>) {
        if change == Some(Change::Uncorrectable) {
            self.table.has_uncorrectable.store(true, Ordering::Relaxed);
        }
        self.table.each(lba, blocks).for_each(Block::begin);
    }

    /// That command was not submitted.
    pub(crate) fn take_back(&self, lba: Lba, blocks: u32) {
        let blocks = self.table.each(lba, blocks);
        blocks.for_each(|block| block.end(Outcome::NeverSent));
    }

    /// The Write `number` of the blocks with these CRC32Cs is over.
    pub(crate) fn wrote(
        &self,
        lba: Lba,
        crcs: impl Iterator<Item = u32>,
        number: u64,
        done: &Completed,
    ) {
        for (lba, crc) in (lba.0..).zip(crcs) {
            if let Some(block) = self.table.block(Lba(lba)) {
                block.end(self.outcome(Kind::Written, crc, number, done));
            }
        }
    }

    /// The command `number`, which changes blocks otherwise, is over.
    pub(crate) fn changed(
        &self,
        (lba, blocks): (Lba, u32),
        change: Change,
        number: u64,
        done: &Completed,
    ) {
        let outcome = match change {
            Change::Zeroes => self.outcome(Kind::Zeroed, 0, number, done),
            Change::Uncorrectable => self.outcome(Kind::Uncorrectable, 0, number, done),
            Change::Deallocate if done.status.is_success() => {
                Outcome::Deallocated(self.table.deallocated)
            }
            Change::Deallocate => Outcome::Unknown,
        };
        let blocks = self.table.each(lba, blocks);
        blocks.for_each(|block| block.end(outcome));
    }

    fn outcome(&self, kind: Kind, crc: u32, number: u64, done: &Completed) -> Outcome {
        if !done.status.is_success() {
            return Outcome::Unknown;
        }
        Outcome::Is(kind, self.author(crc, number, done))
    }

    /// The command `number`, which is over, as the author of blocks with this
    /// CRC32C.
    fn author(&self, crc: u32, number: u64, done: &Completed) -> Author {
        Author {
            token: self.token(number),
            crc,
            cid: done.tag.cid(),
            submit_ms: u32::try_from(done.submit_ns / 1_000_000).unwrap_or(u32::MAX),
        }
    }

    /// What is known of a block that is about to be read.
    pub(crate) fn expect(&self, lba: Lba) -> Word {
        self.table
            .block(lba)
            .map_or_else(Word::default, Block::word)
    }

    /// Holds a block that was read against what was known of it before.
    pub(crate) fn look(
        &self,
        lba: Lba,
        data: &[u8],
        before: Word,
        (number, done): (u64, &Completed),
    ) -> Looked {
        if before.is_changing() || before.kind() == Kind::Unknown {
            return Looked::Skipped;
        }
        let author = self.table.block(lba).and_then(|block| block.author(before));
        let Some(author) = author else {
            return Looked::Skipped;
        };
        let crc = crc32c::crc32c(data);
        let is_all = |value: u8| data.iter().all(|byte| *byte == value);
        let token = author.token;
        let (is_right, expected) = match (before.kind(), self.table.deallocated) {
            (Kind::Zeroed, _) => (is_all(0), Expected::Zeroes),
            (Kind::Uncorrectable, _) => (false, Expected::ReadError),
            (Kind::Deallocated, Some(value)) => {
                let crc_of = author.crc;
                let expected = Expected::WrittenOrFilled {
                    crc: crc_of,
                    token,
                    value,
                };
                (crc == crc_of || is_all(value), expected)
            }
            _ => {
                let expected = Expected::Written {
                    crc: author.crc,
                    token,
                };
                (crc == author.crc, expected)
            }
        };
        if is_right {
            return Looked::Right;
        }
        let found = self.found(data, crc);
        Looked::Wrong(Box::new(Mismatch {
            lba,
            expected,
            writer: self.table.trace_of(author),
            found,
            reader: self.reader(number, done),
        }))
    }

    /// Whether a command that read these blocks had to fail, or may have had
    /// to: one of them is uncorrectable, or nobody knows that it is not. With
    /// it, how many certainly are.
    pub(crate) fn excuses(&self, lba: Lba, before: impl Iterator<Item = Word>) -> (bool, u64) {
        let (mut may, mut must) = (false, 0);
        for (lba, before) in (lba.0..).zip(before) {
            let now = self.expect(Lba(lba));
            if now != before || before.is_changing() || before.kind() == Kind::Unknown {
                may |= self.table.has_uncorrectable.load(Ordering::Relaxed);
            } else if before.kind() == Kind::Uncorrectable {
                must += 1;
            }
        }
        (may || must > 0, must)
    }

    #[cold]
    fn found(&self, data: &[u8], crc: u32) -> Found {
        let first = data.first().copied().unwrap_or(0);
        let content = match Stamp::of(data) {
            Some(stamp) => Content::Stamped {
                lba: stamp.lba(),
                token: stamp.token(),
                writer: (stamp.run() == self.table.run)
                    .then(|| self.table.trace(stamp.token()))
                    .flatten()
                    .map(Box::new),
            },
            None if data.iter().all(|byte| *byte == first) => Content::Filled(first),
            None => Content::Other,
        };
        Found { crc, content }
    }

    #[cold]
    fn reader(&self, number: u64, done: &Completed) -> CommandTrace {
        self.table.trace_of(self.author(0, number, done))
    }
}

#[cfg(test)]
mod tests;
