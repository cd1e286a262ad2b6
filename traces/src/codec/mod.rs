//! A block's payload: commands as columns, then marks.
//!
//! ```text
//!   Row x n --columns--> [u64; n] x 23 --transform--> small numbers --codec--> bytes
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
mod open;
mod packed;
mod ranges;
mod search;
mod tiles;
mod transform;

pub(crate) use decode::decode;
pub(crate) use fast::{Scratch as FastScratch, encode as encode_fast};
use open::FullBlock;
pub(crate) use open::OpenBlock;
pub(crate) use packed::{Memory as PackedMemory, encode as encode_packed};
pub(crate) use ranges::RangeTable;

use crate::error::Flaw;
use crate::format::{Fields, put_varint};
use crate::{CommandRecord, Event, EventRecord, Gap};

/// What a decoded block holds, in submission order.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockBuffer {
    pub(crate) commands: Vec<CommandRecord>,
    pub(crate) ranges: RangeTable,
    pub(crate) marks: Vec<Mark>,
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
