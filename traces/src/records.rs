//! The records of a trace in submission order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ahead::Ahead;
use crate::block::{Block, Key, Position};
use crate::error::TraceError;
use crate::payload::Payloads;
use crate::{BlockInfo, Reader, Record};

/// Decoded commands that the merge holds before it lets go of blocks that it
/// will need last: about 48 MiB.
const HELD_COMMANDS_MAX: u64 = 1 << 19;

/// The records of a trace in submission order; see [`Reader::records`].
///
/// Blocks are in the order of completion, each sorted, so they are merged. A
/// block is decoded when its smallest sequence number is due. A command that
/// took long makes its block due early; where many do, the blocks that are due
/// again last are dropped and decoded anew, so that memory stays bounded
/// whatever the trace.
#[derive(Debug)]
pub struct Records<'a> {
    reader: &'a Reader,
    /// Threads that decode blocks before they are due.
    ahead: Option<Ahead>,
    /// Block indices, the one due first last.
    waiting: Vec<usize>,
    open: Vec<OpenBlock>,
    /// The next record of each open block: key, block index, index in `open`.
    due: BinaryHeap<Reverse<(Key, usize, usize)>>,
    held_commands: u64,
    held_commands_max: u64,
    /// Records before are left out.
    since_ns: u64,
    payloads: Option<Payloads>,
    failed: bool,
}

#[derive(Debug)]
struct OpenBlock {
    index: usize,
    position: Position,
    /// None where it was dropped to save memory, or is at its end.
    block: Option<Block>,
    key: Key,
}

impl<'a> Records<'a> {
    pub(crate) fn new(reader: &'a Reader, since_ns: u64) -> Self {
        Self {
            since_ns,
            ..Self::of(reader, |block| block.max_submit_ns() >= since_ns)
        }
    }

    pub(crate) fn of(reader: &'a Reader, wanted: impl Fn(&BlockInfo) -> bool) -> Self {
        let blocks = reader.index().iter().enumerate();
        let mut waiting: Vec<usize> = blocks
            .filter(|(_, block)| !block.is_payload() && wanted(block))
            .map(|(index, _)| index)
            .collect();
        waiting.sort_by_key(|&block| Reverse((due_at(reader, block), block)));
        Self {
            reader,
            ahead: None,
            waiting,
            open: Vec::new(),
            due: BinaryHeap::new(),
            held_commands: 0,
            held_commands_max: HELD_COMMANDS_MAX,
            since_ns: 0,
            payloads: None,
            failed: false,
        }
    }

    /// These records, with what commands wrote as far as the trace has it. That
    /// takes as much memory as the payload of one block, and of commands that
    /// overtook each other.
    #[must_use]
    pub fn with_payload(mut self) -> Self {
        if self.reader.has_payload() {
            self.payloads = Some(Payloads::of(self.reader));
        }
        self
    }

    /// Adds to `record` what it wrote.
    fn pay(&mut self, mut record: Record) -> Result<Record, TraceError> {
        if let Some(payloads) = &mut self.payloads
            && let Record::Command {
                command, payload, ..
            } = &mut record
            && command.may_have_payload()
        {
            let found = payloads.take(self.reader, command.sequence)?;
            // Of another length it is not this command's.
            let blocks = u64::from(command.data_blocks());
            *payload = found.filter(|it| it.blocks() == blocks).map(Box::new);
        }
        Ok(record)
    }

    /// The blocks in the order in which they are due.
    pub(crate) fn due_order(&self) -> Vec<usize> {
        self.waiting.iter().rev().copied().collect()
    }

    /// These records, of blocks that `ahead` decodes in their
    /// [`Records::due_order`].
    pub(crate) fn ahead(mut self, ahead: Ahead) -> Self {
        self.ahead = Some(ahead);
        self
    }

    #[cfg(test)]
    pub(crate) fn holding_at_most(mut self, commands: u64) -> Self {
        self.held_commands_max = commands;
        self
    }

    #[cfg(test)]
    pub(crate) fn held_commands(&self) -> u64 {
        self.held_commands
    }

    fn next_record(&mut self) -> Result<Option<Record>, TraceError> {
        self.open_what_is_due()?;
        let Some(Reverse((_, _, at))) = self.due.pop() else {
            return Ok(None);
        };
        if self.open.get(at).is_some_and(|open| open.block.is_none()) {
            self.load(at)?;
        }
        let Some(open) = self.open.get_mut(at) else {
            return Ok(None);
        };
        let Some(block) = &open.block else {
            return Ok(None);
        };
        let record = open.position.take(block);
        if let Some(key) = open.position.key(block) {
            open.key = key;
            self.due.push(Reverse((key, open.index, at)));
        } else {
            self.held_commands -= weight(block);
            open.block = None;
        }
        Ok(record)
    }

    /// Decodes every block whose first record is due before the next open one.
    fn open_what_is_due(&mut self) -> Result<(), TraceError> {
        while let Some(&index) = self.waiting.last() {
            let first = due_at(self.reader, index);
            if let Some(Reverse(((place, _), ..))) = self.due.peek()
                && *place < first
            {
                break;
            }
            self.waiting.pop();
            let at = self.open.len();
            self.open.push(OpenBlock {
                index,
                position: Position::default(),
                block: None,
                key: (first, false),
            });
            let ahead = self.ahead.as_mut().and_then(|ahead| ahead.take(index));
            match ahead {
                Some(block) => self.hold(at, block?),
                None => self.load(at)?,
            }
            if let Some(open) = self.open.get_mut(at) {
                match open.block.as_ref().and_then(|b| open.position.key(b)) {
                    Some(key) => {
                        open.key = key;
                        self.due.push(Reverse((key, index, at)));
                    }
                    None => open.block = None,
                }
            }
        }
        Ok(())
    }

    fn load(&mut self, at: usize) -> Result<(), TraceError> {
        let Some(index) = self.open.get(at).map(|open| open.index) else {
            return Ok(());
        };
        let block = self.reader.block(index)?;
        self.hold(at, block);
        Ok(())
    }

    fn hold(&mut self, at: usize, block: Block) {
        let weight = weight(&block);
        while self.held_commands + weight > self.held_commands_max && self.drop_one() {}
        self.held_commands += weight;
        if let Some(open) = self.open.get_mut(at) {
            open.block = Some(block);
        }
    }

    /// Lets go of the decoded block that is due last. False where none is
    /// held.
    fn drop_one(&mut self) -> bool {
        let held = self.open.iter_mut().filter(|open| open.block.is_some());
        let Some(last) = held.max_by_key(|open| (open.key, open.index)) else {
            return false;
        };
        if let Some(block) = last.block.take() {
            self.held_commands -= weight(&block);
        }
        true
    }
}

/// When it was submitted, or happened.
fn at_ns(record: &Record) -> u64 {
    match record {
        Record::Command { command, .. } => command.submit_ns,
        Record::Event(event) => event.at_ns,
        Record::Gap(gap) => gap.at_ns,
    }
}

/// The place of the block's first record.
fn due_at(reader: &Reader, block: usize) -> u64 {
    let info = reader.index().get(block);
    info.map_or(u64::MAX, |info| info.min_sequence())
}

/// What a decoded block takes, in commands.
fn weight(block: &Block) -> u64 {
    let buffer = &block.buffer;
    // Widens. A range takes a fifth of a command; a mark half of one.
    (1 + buffer.commands.len() + buffer.ranges.len() / 4 + buffer.marks.len()) as u64
}

impl Iterator for Records<'_> {
    type Item = Result<Record, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        loop {
            match self.next_record() {
                Ok(Some(record)) if at_ns(&record) < self.since_ns => {}
                Ok(None) => return None,
                Ok(Some(record)) => {
                    let record = self.pay(record);
                    self.failed = record.is_err();
                    return Some(record);
                }
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl std::iter::FusedIterator for Records<'_> {}

#[cfg(test)]
mod tests;
