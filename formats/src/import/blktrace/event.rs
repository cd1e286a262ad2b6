//! An event of a blktrace file: `struct blk_io_trace` of version 7, `struct
//! blk_io_trace2` of version 8.

use crate::{Filled, FormatError, Notes, Operation, Stream};

/// The upper three bytes of the first word of an event.
const MAGIC: u32 = 0x6561_7400;
/// The number of the notice that tells the time of day.
const NOTICE_TIME: u64 = 1;
const HEAD_7: usize = 48;
const HEAD_8: usize = 64;

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Queue,
    Issue,
    Complete,
    Requeue,
    Notice(Notice),
    /// A stage before the device, or one of no concern.
    Other,
}

/// What a notice says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The time of day.
    Start { unix_ns: u64 },
    /// A process, a message.
    Other,
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) sequence: u32,
    pub(super) time_ns: u64,
    pub(super) sector: u64,
    pub(super) bytes: u32,
    categories: u64,
    /// The action's number.
    number: u64,
    pub(super) action: Action,
    pub(super) device: u32,
    pub(super) cpu: u32,
    pub(super) error: u16,
}

/// Bits of [`Event::categories`], from 0.
mod category {
    pub(super) const WRITE: u64 = 1 << 1;
    pub(super) const FLUSH: u64 = 1 << 2;
    pub(super) const PASS_THROUGH: u64 = 1 << 9;
    pub(super) const NOTIFY: u64 = 1 << 10;
    pub(super) const DISCARD: u64 = 1 << 13;
    pub(super) const FUA: u64 = 1 << 15;
    /// Zones; version 8 only.
    pub(super) const ZONES: u64 = 0x3f << 16;
    pub(super) const WRITE_ZEROES: u64 = 1 << 22;
}

impl Event {
    /// What it asks the device for; none where that is nothing here.
    pub(super) fn operation(&self) -> Option<Operation> {
        let has = |bit: u64| self.categories & bit != 0;
        if has(category::PASS_THROUGH) || has(category::ZONES) {
            None
        } else if self.bytes == 0 {
            has(category::FLUSH).then_some(Operation::Flush)
        } else if has(category::WRITE_ZEROES) {
            Some(Operation::WriteZeroes)
        } else if has(category::DISCARD) {
            Some(Operation::Discard)
        } else if has(category::WRITE) {
            Some(Operation::Write)
        } else {
            Some(Operation::Read)
        }
    }

    pub(super) fn is_fua(&self) -> bool {
        self.categories & category::FUA != 0
    }

    /// Whether the cache is to be flushed before its data are written.
    pub(super) fn flushes_before(&self) -> bool {
        self.bytes > 0 && self.categories & category::FLUSH != 0
    }
}

/// Whether a file that starts with `bytes` is one.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    bytes
        .first_chunk()
        .is_some_and(|word| order(*word).is_some())
}

/// Whether the byte order is the other one, and the version.
fn order(word: [u8; 4]) -> Option<(bool, u8)> {
    let little = u32::from_le_bytes(word);
    let known = |word: u32| word & 0xffff_ff00 == MAGIC && matches!(word & 0xff, 7 | 8);
    let version = |word: u32| u8::try_from(word & 0xff).unwrap_or(0);
    if known(little) {
        Some((false, version(little)))
    } else if known(little.swap_bytes()) {
        Some((true, version(little.swap_bytes())))
    } else {
        None
    }
}

/// The events of one file.
#[derive(Debug)]
pub(super) struct Events {
    stream: Stream,
    salvage: bool,
    /// What stands after the last event.
    data: Vec<u8>,
    notes: Notes,
}

impl Events {
    pub(super) fn new(stream: Stream, salvage: bool) -> Self {
        Self {
            stream,
            salvage,
            data: Vec::new(),
            notes: Notes::default(),
        }
    }

    pub(super) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The next event; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Event>, FormatError> {
        let mut head = [0; HEAD_8];
        let (first, rest) = head.split_at_mut(4);
        match self.stream.fill(first)? {
            Filled::Whole => {}
            Filled::End => return Ok(None),
            Filled::Cut(_) => return Ok(self.cut()),
        }
        let word = [first[0], first[1], first[2], first[3]];
        let Some((swapped, version)) = order(word) else {
            return self.lost("an event does not start with its magic number");
        };
        let length = if version == 7 { HEAD_7 } else { HEAD_8 };
        let rest = rest.get_mut(..length - 4).unwrap_or_default();
        if self.stream.fill(rest)? != Filled::Whole {
            return Ok(self.cut());
        }
        let fields = Fields {
            bytes: &head,
            swapped,
        };
        let mut event = if version == 7 {
            fields.event_7()
        } else {
            fields.event_8()
        };
        let more = usize::from(fields.u16(if version == 7 { 46 } else { 50 }));
        self.data.resize(more, 0);
        if more > 0 && self.stream.fill(&mut self.data)? != Filled::Whole {
            return Ok(self.cut());
        }
        if let (Action::Notice(_), Some(data)) = (event.action, self.data.first_chunk::<8>()) {
            let fields = Fields {
                bytes: data,
                swapped,
            };
            let unix_ns = u64::from(fields.u32(0)) * 1_000_000_000 + u64::from(fields.u32(4));
            if event.number == NOTICE_TIME {
                event.action = Action::Notice(Notice::Start { unix_ns });
            }
        }
        Ok(Some(event))
    }

    fn cut(&mut self) -> Option<Event> {
        self.notes.count("last events were cut off, and left out");
        None
    }

    fn lost(&mut self, problem: &str) -> Result<Option<Event>, FormatError> {
        if self.salvage {
            self.notes
                .count("files were left out from a damaged event on");
            return Ok(None);
        }
        Err(self.stream.malformed(problem))
    }
}

/// Numbers at their places.
struct Fields<'a> {
    bytes: &'a [u8],
    swapped: bool,
}

impl Fields<'_> {
    fn chunk<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut chunk = [0; N];
        if let Some(bytes) = self.bytes.get(at..at + N) {
            chunk.copy_from_slice(bytes);
        }
        if self.swapped {
            chunk.reverse();
        }
        chunk
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.chunk(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.chunk(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.chunk(at))
    }

    fn event_7(&self) -> Event {
        let action = u64::from(self.u32(28));
        self.event(action, [36, 40, 44])
    }

    fn event_8(&self) -> Event {
        self.event(self.u64(32), [40, 44, 48])
    }

    fn event(&self, word: u64, [device, cpu, error]: [usize; 3]) -> Event {
        // Version 8 has room for more categories above the action's 16 bits.
        let categories = word >> 16;
        let number = word & 0xffff & !0x100;
        let action = if categories & category::NOTIFY != 0 {
            Action::Notice(Notice::Other)
        } else {
            match number {
                1 => Action::Queue,
                6 => Action::Requeue,
                7 => Action::Issue,
                8 => Action::Complete,
                _ => Action::Other,
            }
        };
        Event {
            sequence: self.u32(4),
            time_ns: self.u64(8),
            sector: self.u64(16),
            bytes: self.u32(24),
            categories,
            number,
            action,
            device: self.u32(device),
            cpu: self.u32(cpu),
            error: self.u16(error),
        }
    }
}
