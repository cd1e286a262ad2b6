//! What is done to a column's values so that small numbers come out.
//!
//! All arithmetic is mod 2^64.

use super::column::{COLUMNS, Column};
use crate::error::Flaw;
use crate::format::{Fields, put_varint, unzigzag, zigzag};

/// The transforms. The numbers are those in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Transform {
    /// Nothing.
    None = 0,
    /// Zigzag of the difference to the value before; the first's is to a base.
    Delta = 1,
    /// The difference to the value before, for values that rise.
    Rise = 2,
    /// LBA only. Zigzag of the difference to where the last command of the
    /// same queue and opcode ended; the first's is to a base.
    StreamEnd = 3,
    /// LBA only. Which of the last 64 commands this one starts where it ended
    /// (even) or started (odd); else the LBA, plus 128.
    Recent = 4,
    /// Zigzag of the difference to the value before of the same queue.
    QueueDelta = 5,
    /// Command identifiers only. Linux's: the upper four bits count the uses
    /// of the lower twelve.
    Generation = 6,
}

impl Transform {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Delta,
            2 => Self::Rise,
            3 => Self::StreamEnd,
            4 => Self::Recent,
            5 => Self::QueueDelta,
            6 => Self::Generation,
            _ => return None,
        })
    }

    fn has_base(self) -> bool {
        matches!(self, Self::Delta | Self::Rise | Self::StreamEnd)
    }
}

/// A transform with its parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied {
    pub(crate) transform: Transform,
    /// What the first value is told from.
    pub(crate) base: u64,
    /// What all numbers were divided by: times in whole microseconds are
    /// multiples of 1,000.
    pub(crate) scale: u64,
}

/// Set in the transform's byte where a scale follows.
const SCALED: u8 = 0x80;

impl Applied {
    pub(crate) const NONE: Self = Self::new(Transform::None, 0);

    pub(crate) const fn new(transform: Transform, base: u64) -> Self {
        Self {
            transform,
            base,
            scale: 1,
        }
    }

    /// Whether the numbers are the values, but for the scale.
    pub(crate) fn is_none(&self) -> bool {
        self.transform == Transform::None
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let scaled = if self.scale == 1 { 0 } else { SCALED };
        out.push(self.transform as u8 | scaled);
        if self.transform.has_base() {
            put_varint(out, self.base);
        }
        if self.scale != 1 {
            put_varint(out, self.scale);
        }
    }

    /// Reads a transform; none where only a later version knows it.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self, Flaw> {
        let byte = fields.u8()?;
        let transform = Transform::from_number(byte & !SCALED)
            .ok_or_else(|| Flaw::TooNew(format!("transform {byte}")))?;
        let base = if transform.has_base() {
            fields.varint()?
        } else {
            0
        };
        let scale = if byte & SCALED == 0 {
            1
        } else {
            fields.varint()?
        };
        Ok(Self {
            transform,
            base,
            scale,
        })
    }
}

/// Where the last command of each queue and opcode ended. Several may share a
/// place; both ends of the file do it alike.
#[derive(Clone, Debug)]
pub(crate) struct StreamEnds {
    ends: [u64; 256],
}

impl StreamEnds {
    pub(crate) fn new(base: u64) -> Self {
        Self { ends: [base; 256] }
    }

    #[inline]
    fn end(&mut self, queue: u64, opcode: u64) -> &mut u64 {
        let [slot, ..] = (opcode ^ (queue << 4)).to_le_bytes();
        &mut self.ends[usize::from(slot)]
    }

    #[inline]
    pub(crate) fn encode(&mut self, queue: u64, opcode: u64, lba: u64, nlb: u64) -> u64 {
        let end = self.end(queue, opcode);
        let number = zigzag(lba.wrapping_sub(*end));
        *end = lba.wrapping_add(nlb).wrapping_add(1);
        number
    }

    #[inline]
    pub(crate) fn decode(&mut self, queue: u64, opcode: u64, number: u64, nlb: u64) -> u64 {
        let end = self.end(queue, opcode);
        let lba = end.wrapping_add(unzigzag(number));
        *end = lba.wrapping_add(nlb).wrapping_add(1);
        lba
    }
}

/// Commands that [`Transform::Recent`] looks back on.
const RECENT: usize = 64;
/// Numbers from here on are LBAs, this much above.
const RECENT_LITERAL: u64 = 128;

/// Where the last commands started and ended, the latest last.
#[derive(Debug, Default)]
struct RecentSpans {
    spans: Vec<(u64, u64)>,
}

impl RecentSpans {
    /// None where the LBA is so high that its number would be taken for
    /// another.
    fn encode(&mut self, lba: u64, nlb: u64) -> Option<u64> {
        let mut spans = (0_u64..).zip(self.spans.iter().rev());
        let found = spans.find_map(|(back, &(start, end))| {
            if lba == end {
                Some(back * 2)
            } else {
                (lba == start).then_some(back * 2 + 1)
            }
        });
        let number = match found {
            Some(number) => number,
            None => lba.checked_add(RECENT_LITERAL)?,
        };
        self.push(number, lba, nlb);
        Some(number)
    }

    fn decode(&mut self, number: u64, nlb: u64) -> Result<u64, Flaw> {
        let lba = if number < RECENT_LITERAL {
            let span = self.place(number).and_then(|at| self.spans.get(at));
            let Some(&(start, end)) = span else {
                return Err(Flaw::damaged(
                    "an LBA is told from a command that is not there",
                ));
            };
            if number.is_multiple_of(2) { end } else { start }
        } else {
            number - RECENT_LITERAL
        };
        self.push(number, lba, nlb);
        Ok(lba)
    }

    /// The place of the span that `number` names.
    fn place(&self, number: u64) -> Option<usize> {
        let back = usize::try_from(number / 2).ok()?;
        self.spans.len().checked_sub(back + 1)
    }

    /// A span that was found moves to the front, continued.
    fn push(&mut self, number: u64, lba: u64, nlb: u64) {
        if number < RECENT_LITERAL {
            if let Some(at) = self.place(number) {
                self.spans.remove(at);
            }
        } else if self.spans.len() == RECENT {
            self.spans.remove(0);
        }
        self.spans
            .push((lba, lba.wrapping_add(nlb).wrapping_add(1)));
    }
}

/// The last value of each queue. Queues may share a place.
#[derive(Debug)]
struct LastOfQueue([u64; 256]);

impl LastOfQueue {
    fn of(&mut self, queue: u64) -> &mut u64 {
        let [slot, ..] = queue.to_le_bytes();
        &mut self.0[usize::from(slot)]
    }
}

/// The uses of each tag of each queue. Queues may share a place.
#[derive(Debug)]
struct Generations(Vec<u8>);

impl Generations {
    fn new() -> Self {
        Self(vec![0; 16 << 12])
    }

    /// The identifier with its generation told from the last one's, or back
    /// (`sign` is 1 or 15, -1 mod 16).
    fn code(&mut self, queue: u64, cid: u64, encode: bool) -> u64 {
        let (tag, above) = (cid & 0xfff, cid & !0xffff);
        let [generation, ..] = (cid >> 12 & 0xf).to_le_bytes();
        let slot = (queue & 0xf) << 12 | tag;
        // 16 bits.
        let slot = usize::try_from(slot).unwrap_or(0);
        let last = self.0.get(slot).copied().unwrap_or(0);
        let coded = if encode {
            generation.wrapping_sub(last + 1) & 0xf
        } else {
            (generation + last + 1) & 0xf
        };
        if let Some(last) = self.0.get_mut(slot) {
            *last = if encode { generation } else { coded };
        }
        above | u64::from(coded) << 12 | tag
    }
}

/// A column, as values or as numbers.
#[derive(Clone, Debug)]
pub(crate) enum Cells {
    /// The same in every row.
    Constant(u64),
    /// One a row.
    Each(Vec<u64>),
}

impl Cells {
    /// What stands in `row`.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> u64 {
        match self {
            Self::Constant(cell) => *cell,
            Self::Each(cells) => cells.get(row).copied().unwrap_or(0),
        }
    }
}

/// A block's columns.
pub(crate) type Table = [Cells; COLUMNS];

/// A block without commands: every column is 0.
pub(crate) fn empty_table() -> Table {
    std::array::from_fn(|_| Cells::Constant(0))
}

/// The numbers for `column` of `table`, whose columns are values; none where
/// the transform cannot tell them.
pub(crate) fn apply(table: &Table, column: Column, applied: &Applied) -> Option<Vec<u64>> {
    let Cells::Each(values) = &table[column.index()] else {
        return None;
    };
    let base = applied.base;
    let before = || std::iter::once(&base).chain(values);
    let rows = || values.iter().enumerate();
    let of = |column: Column, row: usize| table[column.index()].get(row);
    Some(match applied.transform {
        Transform::None => values.clone(),
        Transform::Delta => values
            .iter()
            .zip(before())
            .map(|(value, before)| zigzag(value.wrapping_sub(*before)))
            .collect(),
        Transform::Rise if !values.is_sorted() => return None,
        Transform::Rise => values
            .iter()
            .zip(before())
            .map(|(value, before)| value.wrapping_sub(*before))
            .collect(),
        Transform::StreamEnd => {
            let mut ends = StreamEnds::new(base);
            rows()
                .map(|(row, &lba)| {
                    let (queue, opcode) = (of(Column::Queue, row), of(Column::Opcode, row));
                    ends.encode(queue, opcode, lba, of(Column::Blocks, row))
                })
                .collect()
        }
        Transform::Recent => {
            let mut spans = RecentSpans::default();
            rows()
                .map(|(row, &lba)| spans.encode(lba, of(Column::Blocks, row)))
                .collect::<Option<_>>()?
        }
        Transform::QueueDelta => {
            let mut lasts = LastOfQueue([0; 256]);
            rows()
                .map(|(row, &value)| {
                    let last = lasts.of(of(Column::Queue, row));
                    zigzag(value.wrapping_sub(std::mem::replace(last, value)))
                })
                .collect()
        }
        Transform::Generation => {
            let mut generations = Generations::new();
            rows()
                .map(|(row, &cid)| generations.code(of(Column::Queue, row), cid, true))
                .collect()
        }
    })
}

/// Turns numbers of a column back into values, in their order; what it
/// remembers goes from one slice to the next.
#[derive(Debug)]
pub(crate) struct Undo {
    scale: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    None,
    Delta { last: u64 },
    Rise { last: u64 },
    StreamEnd(Box<StreamEnds>),
    Recent(RecentSpans),
    QueueDelta(Box<LastOfQueue>),
    Generation(Generations),
}

/// What transforms look at: values of the same rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked<'a> {
    pub(crate) queue: &'a [u64],
    pub(crate) opcode: &'a [u64],
    pub(crate) blocks: &'a [u64],
}

impl Undo {
    pub(crate) fn new(column: Column, applied: &Applied) -> Result<Self, Flaw> {
        let base = applied.base;
        let (is_lba, is_cid) = (column == Column::Lba, column == Column::Cid);
        let state = match applied.transform {
            Transform::None => State::None,
            Transform::Delta => State::Delta { last: base },
            Transform::Rise => State::Rise { last: base },
            Transform::StreamEnd if is_lba => State::StreamEnd(Box::new(StreamEnds::new(base))),
            Transform::Recent if is_lba => State::Recent(RecentSpans::default()),
            Transform::QueueDelta if is_cid => State::QueueDelta(Box::new(LastOfQueue([0; 256]))),
            Transform::Generation if is_cid => State::Generation(Generations::new()),
            Transform::StreamEnd
            | Transform::Recent
            | Transform::QueueDelta
            | Transform::Generation => {
                return Err(Flaw::damaged(
                    "a transform stands at a column that it is not for",
                ));
            }
        };
        let scale = applied.scale;
        Ok(Self { scale, state })
    }

    /// The value of every number that is `number`; none where it depends on
    /// the row.
    pub(crate) fn constant(&self, number: u64) -> Option<u64> {
        let is_same = matches!(self.state, State::None);
        is_same.then(|| number.wrapping_mul(self.scale))
    }

    /// Turns the next numbers into values.
    pub(crate) fn undo(&mut self, cells: &mut [u64], looked: Looked<'_>) -> Result<(), Flaw> {
        if self.scale != 1 {
            for cell in &mut *cells {
                *cell = cell.wrapping_mul(self.scale);
            }
        }
        match &mut self.state {
            State::None => {}
            State::Delta { last } => cells.iter_mut().for_each(|cell| {
                *last = last.wrapping_add(unzigzag(*cell));
                *cell = *last;
            }),
            State::Rise { last } => cells.iter_mut().for_each(|cell| {
                *last = last.wrapping_add(*cell);
                *cell = *last;
            }),
            State::StreamEnd(ends) => {
                let streams = looked.queue.iter().zip(looked.opcode);
                let rows = streams.zip(looked.blocks).zip(cells);
                for (((&queue, &opcode), &blocks), cell) in rows {
                    *cell = ends.decode(queue, opcode, *cell, blocks);
                }
            }
            State::Recent(spans) => {
                for (cell, &blocks) in cells.iter_mut().zip(looked.blocks) {
                    *cell = spans.decode(*cell, blocks)?;
                }
            }
            State::QueueDelta(lasts) => {
                for (cell, &queue) in cells.iter_mut().zip(looked.queue) {
                    let last = lasts.of(queue);
                    *last = last.wrapping_add(unzigzag(*cell));
                    *cell = *last;
                }
            }
            State::Generation(generations) => {
                for (cell, &queue) in cells.iter_mut().zip(looked.queue) {
                    *cell = generations.code(queue, *cell, false);
                }
            }
        }
        Ok(())
    }
}
