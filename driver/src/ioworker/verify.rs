//! Whether what is read is what was written: a queue pair's part of it.

use std::sync::Arc;

use nvme::{DsmRange, Lba, Status};

use super::options::Op;
use super::plan::Io;
use crate::verify::{Change, Looked, Mismatch, VerifyTable, Word, Writer};
use crate::{CmdLog, Completed, DmaBuffer, DriverError};

/// Mismatches that a worker's report tells of; the others are counted.
const MISMATCHES_MAX: usize = 16;

/// Stamps what a queue pair writes, and looks at what it reads. Each command in
/// flight has a slot, whose number is the caller's to give.
#[derive(Debug)]
pub struct Verifier {
    writer: Writer,
    block_bytes: usize,
    /// What blocks that are written hold behind their stamps.
    pattern: Vec<u8>,
    /// Blocks that a slot has room for.
    blocks_max: usize,
    /// For each slot and each block of its command: of a read, what was known
    /// when it went out; of a write, the CRC32C.
    kept: Vec<u64>,
    /// For each slot, the number of its command in the queue pair's log.
    numbers: Vec<u64>,
    /// The data of one command.
    scratch: Vec<u8>,
    /// What came of it so far.
    pub verified: Verified,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Verified {
    /// Blocks that are right.
    pub right: u64,
    /// Blocks of which nothing was certain.
    pub skipped: u64,
    /// Blocks that are wrong.
    pub wrong: u64,
    /// The first of them.
    pub mismatches: Vec<Mismatch>,
}

/// What is to be thought of a command that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What its status says.
    AsItSays,
    /// It failed, as it had to.
    RightlyFailed,
    /// It succeeded, and its data is wrong.
    Wrong,
}

impl Verifier {
    /// For commands of `blocks_max` blocks at most, `depth` at a time; the
    /// pattern is as long as one of them, or longer. `log` is the queue pair's.
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`] where the table has had too many writers.
    pub fn new(
        table: &Arc<VerifyTable>,
        log: CmdLog,
        pattern: Vec<u8>,
        (block_bytes, blocks_max): (usize, u32),
        depth: u16,
    ) -> Result<Self, DriverError> {
        let (depth, blocks_max) = (usize::from(depth), blocks_max as usize);
        Ok(Self {
            writer: table.register(log)?,
            block_bytes,
            pattern,
            blocks_max,
            kept: vec![0; depth * blocks_max],
            numbers: vec![0; depth],
            scratch: vec![0; block_bytes * blocks_max],
            verified: Verified {
                mismatches: Vec::with_capacity(MISMATCHES_MAX),
                ..Verified::default()
            },
        })
    }

    /// The command of `slot` is about to be submitted, as the queue pair's
    /// command `number`. Where it writes, its data is put at `offset`: the
    /// pattern from `pattern` on.
    ///
    /// # Errors
    ///
    /// [`DriverError::OutOfBounds`] where the data does not fit the buffer.
    pub fn begin(
        &mut self,
        (slot, number): (u16, u64),
        io: Io,
        (buffer, offset): (&mut DmaBuffer, usize),
        pattern: usize,
    ) -> Result<(), DriverError> {
        if let Some(place) = self.numbers.get_mut(usize::from(slot)) {
            *place = number;
        }
        let blocks = io.blocks.count();
        match io.op {
            Op::Read | Op::Verify => {
                let kept = kept(&mut self.kept, self.blocks_max, slot, blocks);
                for (lba, word) in (io.lba.0..).zip(kept) {
                    *word = self.writer.expect(Lba(lba)).0;
                }
            }
            Op::Write => {
                let bytes = self.block_bytes * blocks as usize;
                let data = self.scratch.get_mut(..bytes).unwrap_or_default();
                if let Some(pattern) = self.pattern.get(pattern..pattern + bytes) {
                    data.copy_from_slice(pattern);
                }
                let kept = kept(&mut self.kept, self.blocks_max, slot, blocks);
                let places = data.chunks_exact_mut(self.block_bytes).zip(kept);
                for (lba, (block, crc)) in (io.lba.0..).zip(places) {
                    *crc = self.writer.stamp(block, Lba(lba), number).into();
                }
                buffer.write_at(offset, data)?;
                self.writer.begin(io.lba, blocks, None);
            }
            op => {
                if let Some(change) = change(op) {
                    self.writer.begin(io.lba, blocks, Some(change));
                }
            }
        }
        Ok(())
    }

    /// That command was not submitted after all.
    #[cold]
    pub fn take_back(&self, io: Io) {
        if io.op.changes_data() {
            self.writer.take_back(io.lba, io.blocks.count());
        }
    }

    /// A Dataset Management command is about to be submitted.
    pub fn begin_ranges(&self, ranges: &[DsmRange]) {
        for range in ranges {
            let change = Some(Change::Deallocate);
            self.writer.begin(range.lba(), range.blocks.get(), change);
        }
    }

    /// That command, the queue pair's command `number`, is over, or was not
    /// submitted after all.
    pub fn end_ranges(&self, ranges: &[DsmRange], done: Option<(u64, &Completed)>) {
        for range in ranges {
            let extent = (range.lba(), range.blocks.get());
            match done {
                Some((number, done)) => {
                    self.writer
                        .changed(extent, Change::Deallocate, number, done);
                }
                None => self.writer.take_back(extent.0, extent.1),
            }
        }
    }

    /// The command of `slot` is over.
    ///
    /// # Errors
    ///
    /// [`DriverError::OutOfBounds`] where the data is not in the buffer.
    pub fn end(
        &mut self,
        slot: u16,
        io: Io,
        done: &Completed,
        (buffer, offset): (&DmaBuffer, usize),
    ) -> Result<Verdict, DriverError> {
        let number = self.numbers.get(usize::from(slot)).copied().unwrap_or(0);
        if io.op == Op::Read && done.status.is_success() {
            return self.look((slot, number), io, done, (buffer, offset));
        }
        let blocks = io.blocks.count();
        let kept = kept(&mut self.kept, self.blocks_max, slot, blocks);
        match io.op {
            Op::Write => {
                let crcs = kept.iter().map(|crc| u32::try_from(*crc).unwrap_or(0));
                self.writer.wrote(io.lba, crcs, number, done);
            }
            Op::Read | Op::Verify if done.status.same_code(Status::UNRECOVERED_READ_ERROR) => {
                let before = kept.iter().map(|word| Word(*word));
                let (is_excused, right) = self.writer.excuses(io.lba, before);
                if is_excused {
                    self.verified.right += right;
                    self.verified.skipped += u64::from(blocks).saturating_sub(right);
                    return Ok(Verdict::RightlyFailed);
                }
            }
            op => {
                if let Some(change) = change(op) {
                    self.writer.changed((io.lba, blocks), change, number, done);
                }
            }
        }
        Ok(Verdict::AsItSays)
    }

    fn look(
        &mut self,
        (slot, number): (u16, u64),
        io: Io,
        done: &Completed,
        (buffer, offset): (&DmaBuffer, usize),
    ) -> Result<Verdict, DriverError> {
        let bytes = self.block_bytes * io.blocks.count() as usize;
        let data = self.scratch.get_mut(..bytes).unwrap_or_default();
        buffer.read_at(offset, data)?;
        let kept = kept(&mut self.kept, self.blocks_max, slot, io.blocks.count());
        let mut verdict = Verdict::AsItSays;
        let read = data.chunks_exact(self.block_bytes).zip(kept);
        for (lba, (block, word)) in (io.lba.0..).zip(read) {
            match self
                .writer
                .look(Lba(lba), block, Word(*word), (number, done))
            {
                Looked::Skipped => self.verified.skipped += 1,
                Looked::Right => self.verified.right += 1,
                Looked::Wrong(mismatch) => {
                    verdict = Verdict::Wrong;
                    self.verified.wrong += 1;
                    if self.verified.mismatches.len() < MISMATCHES_MAX {
                        self.verified.mismatches.push(*mismatch);
                    }
                }
            }
        }
        Ok(verdict)
    }
}

/// What is kept of the blocks of a slot.
fn kept(all: &mut [u64], blocks_max: usize, slot: u16, blocks: u32) -> &mut [u64] {
    let from = usize::from(slot) * blocks_max;
    all.get_mut(from..from + blocks as usize)
        .unwrap_or_default()
}

/// How a command changes its blocks, other than by writing data.
const fn change(op: Op) -> Option<Change> {
    match op {
        Op::WriteZeroes => Some(Change::Zeroes),
        Op::Trim => Some(Change::Deallocate),
        Op::WriteUncorrectable => Some(Change::Uncorrectable),
        Op::Read | Op::Write | Op::Flush | Op::Compare | Op::Verify => None,
    }
}
