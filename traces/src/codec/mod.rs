//! A block's payload: commands as columns, then marks.
//!
//! ```text
//!   CommandRecord x n --columns--> [u64; n] x 23 --transform--> small numbers
//!                                                 --codec-----> bytes
//! ```
//!
//! Recording and packing write the same format and differ in how hard they
//! try: [`fast`] packs bits in one pass, [`packed`] tries every transform and
//! model that may suit a column and keeps the smallest. [`decode`] reads
//! either.

mod bitpack;
mod coder;
mod column;
mod decode;
mod fast;
mod model;
mod packed;
mod search;
mod tiles;
mod transform;

pub(crate) use decode::decode;
pub(crate) use fast::{Scratch as FastScratch, encode as encode_fast};
pub(crate) use packed::{Memory as PackedMemory, encode as encode_packed};

use nvme::DsmRange;

use crate::error::Flaw;
use crate::format::{BlockHeader, Fields, put_varint};
use crate::{CommandRecord, Event, EventRecord, Gap};

/// What a block holds while it is being filled, in the order of arrival.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockBuffer {
    pub(crate) commands: Vec<CommandRecord>,
    /// The commands that have Dataset Management ranges, in their order.
    pub(crate) ranged: Vec<Ranged>,
    pub(crate) ranges: Vec<DsmRange>,
    pub(crate) marks: Vec<Mark>,
}

/// Which ranges belong to which command of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranged {
    /// Index of the command.
    pub(crate) command: u32,
    /// Index of its first range.
    pub(crate) first: u32,
    /// How many it has.
    pub(crate) count: u32,
}

/// A record that is not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Event(EventRecord),
    Gap {
        /// It stands before the first command with this sequence or a later
        /// one.
        place: u64,
        gap: Gap,
    },
}

impl Mark {
    pub(crate) fn place(&self) -> u64 {
        match self {
            Self::Event(event) => event.sequence,
            Self::Gap { place, .. } => *place,
        }
    }

    pub(crate) fn at_ns(&self) -> u64 {
        match self {
            Self::Event(event) => event.at_ns,
            Self::Gap { gap, .. } => gap.at_ns,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(32);
        put_varint(&mut body, self.place());
        put_varint(&mut body, self.at_ns());
        let (kind, value) = match self {
            Self::Event(event) => (MARK_EVENT, event_code(event.event)),
            Self::Gap { gap, .. } => (MARK_GAP, gap.lost),
        };
        put_varint(&mut body, value);
        put_varint(out, kind);
        // Widens.
        put_varint(out, body.len() as u64);
        out.extend_from_slice(&body);
    }

    /// Reads a mark; none where it is of a kind that this version does not
    /// know.
    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Option<Self>, Flaw> {
        let kind = fields.varint()?;
        let len = fields.length()?;
        let mut body = Fields::new(fields.slice(len)?);
        if kind != MARK_EVENT && kind != MARK_GAP {
            return Ok(None);
        }
        let (place, at_ns, value) = (body.varint()?, body.varint()?, body.varint()?);
        if kind == MARK_GAP {
            let gap = Gap { at_ns, lost: value };
            return Ok(Some(Self::Gap { place, gap }));
        }
        Ok(event_from_code(value).map(|event| {
            Self::Event(EventRecord {
                at_ns,
                sequence: place,
                event,
            })
        }))
    }
}

const MARK_EVENT: u64 = 1;
const MARK_GAP: u64 = 2;

fn event_code(event: Event) -> u64 {
    match event {
        Event::Connect => 1,
        Event::Disconnect => 2,
        Event::Enable => 3,
        Event::Reset => 4,
        Event::FunctionReset => 5,
        Event::ShutdownNormal => 6,
        Event::ShutdownAbrupt => 7,
        Event::FatalStatus => 8,
    }
}

fn event_from_code(code: u64) -> Option<Event> {
    Some(match code {
        1 => Event::Connect,
        2 => Event::Disconnect,
        3 => Event::Enable,
        4 => Event::Reset,
        5 => Event::FunctionReset,
        6 => Event::ShutdownNormal,
        7 => Event::ShutdownAbrupt,
        8 => Event::FatalStatus,
        _ => return None,
    })
}

impl BlockBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.marks.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.commands.clear();
        self.ranged.clear();
        self.ranges.clear();
        self.marks.clear();
    }

    /// The commands' indices in the order of their sequence numbers, equal
    /// ones in the order of arrival, into `order`.
    fn sort(&self, order: &mut Vec<u32>) {
        order.clear();
        let commands = &self.commands;
        // A block has at most 2^16 commands.
        let count = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        if commands.is_sorted_by_key(|command| command.sequence) {
            order.extend(0..count);
            return;
        }
        let min = commands.iter().map(|command| command.sequence).min();
        let min = min.unwrap_or(0);
        if self.sort_by_slots(min, order) {
            return;
        }
        order.clear();
        order.extend(0..count);
        order.sort_by_key(|&index| commands[index as usize].sequence);
    }

    /// Sorts in linear time where the numbers are nearly dense, which those of
    /// a recording are. False where they are not, or where one occurs twice.
    fn sort_by_slots(&self, min: u64, order: &mut Vec<u32>) -> bool {
        const FREE: u32 = u32::MAX;
        let slots = self.commands.len() * 4;
        order.resize(slots, FREE);
        for (index, command) in (0_u32..).zip(&self.commands) {
            let slot = usize::try_from(command.sequence - min).ok();
            match slot.and_then(|slot| order.get_mut(slot)) {
                Some(slot) if *slot == FREE => *slot = index,
                _ => return false,
            }
        }
        order.retain(|&index| index != FREE);
        true
    }

    /// The ranges of the command with this index of arrival.
    pub(crate) fn ranges_of(&self, command: u32) -> &[DsmRange] {
        let found = self
            .ranged
            .binary_search_by_key(&command, |ranged| ranged.command);
        let Some(ranged) = found.ok().and_then(|at| self.ranged.get(at)) else {
            return &[];
        };
        let first = ranged.first as usize;
        self.ranges
            .get(first..first + ranged.count as usize)
            .unwrap_or(&[])
    }

    /// Appends the marks in the order of their places.
    fn encode_marks(&self, out: &mut Vec<u8>) {
        let mut marks: Vec<&Mark> = self.marks.iter().collect();
        marks.sort_by_key(|mark| mark.place());
        for mark in marks {
            mark.encode(out);
        }
    }

    /// The header without the fields of the payload and of the commands'
    /// extremes but for the marks' share.
    fn header(&self) -> BlockHeader {
        let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let mut header = BlockHeader {
            commands: len(self.commands.len()),
            marks: len(self.marks.len()),
            ranges: len(self.ranges.len()),
            min_sequence: u64::MAX,
            min_submit_ns: u64::MAX,
            min_lba: u64::MAX,
            ..BlockHeader::default()
        };
        for mark in &self.marks {
            header.min_sequence = header.min_sequence.min(mark.place());
            header.max_sequence = header.max_sequence.max(mark.place());
            header.min_submit_ns = header.min_submit_ns.min(mark.at_ns());
            header.max_submit_ns = header.max_submit_ns.max(mark.at_ns());
        }
        header
    }
}
