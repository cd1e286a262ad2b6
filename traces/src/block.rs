//! A decoded block, and what the index says of one.

use nvme::DsmRange;

use crate::codec::{BlockBuffer, Mark};
use crate::format::BlockHeader;
use crate::payload::PayloadTotals;
use crate::totals::{Counter, Counts};
use crate::{CommandRecord, EventRecord, Gap, Record};

/// What the index says of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    pub(crate) offset: u64,
    pub(crate) header: BlockHeader,
}

impl BlockInfo {
    /// Where it starts, bytes from the start of the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its length in the file, bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.header.stored_bytes()
    }

    /// How many commands it holds.
    #[must_use]
    pub fn commands(&self) -> u32 {
        self.header.commands
    }

    /// How many events and gaps it holds.
    #[must_use]
    pub fn marks(&self) -> u32 {
        self.header.marks
    }

    /// Whether it holds what commands wrote, and no records.
    #[must_use]
    pub fn is_payload(&self) -> bool {
        self.header.is_payload()
    }

    /// The smallest sequence number in it.
    #[must_use]
    pub fn min_sequence(&self) -> u64 {
        self.header.min_sequence
    }

    /// The largest sequence number in it.
    #[must_use]
    pub fn max_sequence(&self) -> u64 {
        self.header.max_sequence
    }

    /// The earliest submission (or event, or gap), nanoseconds of the trace's
    /// clock.
    #[must_use]
    pub fn min_submit_ns(&self) -> u64 {
        self.header.min_submit_ns
    }

    /// The latest submission (or event, or gap), nanoseconds of the trace's
    /// clock.
    #[must_use]
    pub fn max_submit_ns(&self) -> u64 {
        self.header.max_submit_ns
    }

    /// The last completion, nanoseconds of the trace's clock; 0 where nothing
    /// in the block completed.
    #[must_use]
    pub fn last_complete_ns(&self) -> u64 {
        self.header.last_complete_ns
    }

    /// Whether one of its commands is a Dataset Management command with ranges.
    #[must_use]
    pub fn has_ranges(&self) -> bool {
        self.header.ranges > 0
    }

    /// The lowest and the highest LBA that its commands name; none where they
    /// name none.
    #[must_use]
    pub fn lba_span(&self) -> Option<(u64, u64)> {
        let (min, max) = (self.header.min_lba, self.header.max_lba);
        (min <= max).then_some((min, max))
    }
}

/// A block of a trace, decoded.
#[derive(Clone, Debug, Default)]
pub struct Block {
    pub(crate) buffer: BlockBuffer,
    pub(crate) unknown: u32,
    /// Of a block of payload.
    pub(crate) payload: PayloadTotals,
}

impl Block {
    /// Its commands, in submission order.
    #[must_use]
    pub fn commands(&self) -> &[CommandRecord] {
        &self.buffer.commands
    }

    /// The Dataset Management ranges of the command at `index` of
    /// [`Block::commands`]; empty for every other command.
    #[must_use]
    pub fn ranges(&self, index: usize) -> &[DsmRange] {
        u32::try_from(index).map_or(&[], |index| self.buffer.ranges.of(index))
    }

    /// Its events.
    pub fn events(&self) -> impl Iterator<Item = &EventRecord> {
        self.buffer.marks.iter().filter_map(|mark| match mark {
            Mark::Event(event) => Some(event),
            Mark::Gap { .. } => None,
        })
    }

    /// Its gaps.
    pub fn gaps(&self) -> impl Iterator<Item = &Gap> {
        self.buffer.marks.iter().filter_map(|mark| match mark {
            Mark::Event(_) => None,
            Mark::Gap { gap, .. } => Some(gap),
        })
    }

    /// Adds what it holds to the sums.
    pub(crate) fn count(&self, counter: &mut Counter) {
        let mut counts = Counts::default();
        let commands = self.buffer.commands.iter();
        counts.add_each(commands.map(|command| (command.is_admin(), command.opcode)));
        counts.add_marks(&self.buffer.marks);
        counter.add(&counts);
    }

    /// How many records it holds that are of kinds which only later versions
    /// know.
    #[must_use]
    pub fn unknown_records(&self) -> u32 {
        self.unknown
    }
}

/// A place in a block, in submission order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    command: usize,
    mark: usize,
}

/// What records are merged by: place, then marks before commands.
pub(crate) type Key = (u64, bool);

impl Position {
    /// The key of the record here; none at the end.
    pub(crate) fn key(&self, block: &Block) -> Option<Key> {
        let mark = block.buffer.marks.get(self.mark);
        let mark = mark.map(|mark| (mark.place(), false));
        let command = block.buffer.commands.get(self.command);
        let command = command.map(|command| (command.sequence, true));
        match (mark, command) {
            (Some(mark), Some(command)) => Some(mark.min(command)),
            (mark, command) => mark.or(command),
        }
    }

    /// The record here, and moves on.
    pub(crate) fn take(&mut self, block: &Block) -> Option<Record> {
        let (_, is_command) = self.key(block)?;
        if is_command {
            let index = self.command;
            self.command += 1;
            let command = *block.buffer.commands.get(index)?;
            let ranges = block.ranges(index).to_vec();
            return Some(Record::Command {
                command,
                ranges,
                payload: None,
            });
        }
        let mark = block.buffer.marks.get(self.mark)?;
        self.mark += 1;
        Some(match mark {
            Mark::Event(event) => Record::Event(*event),
            Mark::Gap { gap, .. } => Record::Gap(*gap),
        })
    }
}
