//! Encoding for keeping: every transform and model that may suit a column is
//! tried, and the smallest result is kept.
//!
//! What suits a column seldom changes from block to block, so a full search is
//! made once in a while and its outcome used in between.

use std::collections::BTreeMap;

use super::BlockBuffer;
use super::bitpack;
use super::column::{COLUMNS, Codec, Column, fields, write_column, write_constant};
use super::fast::see;
use super::model::{self, History, Shape};
use super::transform::{Applied, Cells, Table, Transform, apply, empty_table};
use crate::format::BlockHeader;

/// What earlier blocks taught.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Blocks until the next full search.
    until_search: u32,
    shapes: BTreeMap<(u8, Transform), Shape>,
    order: Vec<u32>,
}

/// Blocks from one full search to the next.
const SEARCH_EVERY: u32 = 8;
/// Blocks of fewer commands are not searched.
const SEARCH_COMMANDS_MIN: usize = 512;

/// The columns in the order in which they are written, so that a model finds
/// what it looks at: for each, the columns that may tell of it.
const ORDER: [(Column, &[Column]); COLUMNS] = [
    (Column::Opcode, &[]),
    (Column::Queue, &[Column::Opcode]),
    (Column::Flags, &[Column::Opcode]),
    (Column::Nsid, &[Column::Opcode]),
    (Column::Lba, &[Column::Opcode, Column::Queue]),
    (Column::Blocks, &[Column::Opcode, Column::Lba]),
    (Column::Control, &[Column::Opcode, Column::Blocks]),
    (Column::Cdw13, &[Column::Opcode]),
    (Column::Cdw14, &[Column::Opcode]),
    (Column::Cdw15, &[Column::Opcode]),
    (Column::Cdw2, &[Column::Opcode]),
    (Column::Cdw3, &[Column::Opcode]),
    (Column::Open, &[Column::Opcode]),
    (Column::Status, &[Column::Opcode]),
    (Column::Result, &[Column::Opcode]),
    (
        Column::Latency,
        &[Column::Opcode, Column::Blocks, Column::Lba],
    ),
    (
        Column::Submit,
        &[Column::Opcode, Column::Lba, Column::Queue, Column::Blocks],
    ),
    (Column::Sequence, &[]),
    (Column::Cid, &[Column::Queue, Column::Opcode]),
    (Column::RangeCount, &[Column::Opcode]),
    (Column::RangeContext, &[]),
    (Column::RangeBlocks, &[]),
    (Column::RangeLba, &[Column::RangeBlocks]),
];

/// The transforms that may suit a column.
fn transforms(column: Column) -> &'static [Transform] {
    match column {
        Column::Lba => &[
            Transform::Recent,
            Transform::StreamEnd,
            Transform::Delta,
            Transform::None,
        ],
        Column::Submit => &[Transform::Rise, Transform::Delta],
        Column::Sequence => &[Transform::Rise],
        Column::Cid => &[
            Transform::Generation,
            Transform::QueueDelta,
            Transform::None,
        ],
        Column::RangeLba => &[Transform::Delta, Transform::None],
        _ => &[Transform::None],
    }
}

/// Encodes `block` into `out` (payload only) and returns its header, complete
/// but for length and checksum of the payload.
pub(crate) fn encode(block: &BlockBuffer, memory: &mut Memory, out: &mut Vec<u8>) -> BlockHeader {
    let mut header = block.header();
    let mut order = std::mem::take(&mut memory.order);
    block.sort(&mut order);
    for &index in &order {
        see(&mut header, &block.commands[index as usize]);
    }
    let table = gather(block, &order);
    memory.order = order;
    let search = memory.until_search == 0 && block.commands.len() >= SEARCH_COMMANDS_MIN;
    memory.until_search = if search {
        SEARCH_EVERY - 1
    } else {
        memory.until_search.saturating_sub(1)
    };
    let mut lengths: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for (column, beside) in ORDER {
        let beside: Vec<(u8, &[u8])> = beside
            .iter()
            .filter_map(|column| lengths.get_key_value(&column.number()))
            .map(|(number, lengths)| (*number, &lengths[..]))
            .collect();
        let best = ColumnSearch {
            table: &table,
            column,
            beside: &beside,
            search,
        }
        .best(memory);
        match best {
            None => {}
            Some(Best {
                applied,
                numbers: Numbers::Constant(value),
                ..
            }) => {
                write_constant(column, applied, value, out);
            }
            Some(Best {
                applied,
                numbers: Numbers::Each(numbers),
                codec,
                bytes,
            }) => {
                write_column(column, applied, codec, &bytes, out);
                lengths.insert(column.number(), model::lengths(numbers.into_iter()));
            }
        }
    }
    out.push(0);
    block.encode_marks(out);
    header
}

/// The block's columns in submission order.
fn gather(block: &BlockBuffer, order: &[u32]) -> Table {
    let mut columns: Vec<Vec<u64>> = vec![Vec::new(); COLUMNS];
    for &index in order {
        let command = &block.commands[index as usize];
        for (column, value) in columns.iter_mut().zip(fields(command)) {
            column.push(value);
        }
        if block.ranges.is_empty() {
            continue;
        }
        let ranges = block.ranges_of(index);
        // Widens.
        columns[Column::RangeCount.index()].push(ranges.len() as u64);
        for range in ranges {
            columns[Column::RangeContext.index()].push(range.context.get().into());
            columns[Column::RangeBlocks.index()].push(range.blocks.get().into());
            columns[Column::RangeLba.index()].push(range.slba.get());
        }
    }
    let mut table = empty_table();
    for (cells, column) in table.iter_mut().zip(columns) {
        *cells = Cells::Each(column);
    }
    table
}

/// A column on its way.
struct ColumnSearch<'a> {
    table: &'a Table,
    column: Column,
    /// The columns that a model may look at, by number, and their lengths.
    beside: &'a [(u8, &'a [u8])],
    search: bool,
}

enum Numbers {
    Constant(u64),
    Each(Vec<u64>),
}

/// The smallest form of a column so far.
struct Best {
    applied: Applied,
    numbers: Numbers,
    codec: Codec,
    bytes: Vec<u8>,
}

impl ColumnSearch<'_> {
    /// The smallest form; none where all values are 0.
    fn best(&self, memory: &mut Memory) -> Option<Best> {
        let mut best: Option<Best> = None;
        for &transform in transforms(self.column) {
            let Some((applied, numbers)) = self.numbers(transform) else {
                continue;
            };
            let first = *numbers.first()?;
            if numbers.iter().all(|number| *number == first) {
                let is_nothing = first == 0 && applied.is_none();
                return (!is_nothing).then_some(Best {
                    applied,
                    numbers: Numbers::Constant(first),
                    codec: Codec::Constant,
                    bytes: Vec::new(),
                });
            }
            let (codec, bytes) = self.encode(transform, &numbers, memory);
            if best
                .as_ref()
                .is_none_or(|best| bytes.len() < best.bytes.len())
            {
                best = Some(Best {
                    applied,
                    numbers: Numbers::Each(numbers),
                    codec,
                    bytes,
                });
            }
        }
        best
    }

    /// The column's numbers under `transform`; none where it cannot tell them.
    fn numbers(&self, transform: Transform) -> Option<(Applied, Vec<u64>)> {
        let first = self.table[self.column.index()].get(0);
        let base = match self.column {
            Column::Sequence => first.wrapping_sub(1),
            _ => first,
        };
        let mut applied = Applied::new(transform, base);
        let mut numbers = apply(self.table, self.column, &applied)?;
        if matches!(self.column, Column::Submit | Column::Latency) && transform != Transform::Delta
        {
            let divisor = numbers
                .iter()
                .fold(0, |a, b| greatest_common_divisor(a, *b));
            if divisor > 1 {
                applied.scale = divisor;
                numbers.iter_mut().for_each(|number| *number /= divisor);
            }
        }
        Some((applied, numbers))
    }

    /// The smallest encoding of `numbers`.
    fn encode(
        &self,
        transform: Transform,
        numbers: &[u64],
        memory: &mut Memory,
    ) -> (Codec, Vec<u8>) {
        let key = (self.column.number(), transform);
        let mut modelled = match memory.shapes.get(&key) {
            Some(shape) if !self.search && self.has_beside(shape) => Candidate {
                bytes: self.bytes(shape, numbers),
                shape: shape.clone(),
            },
            _ => self.start(numbers),
        };
        if self.search {
            modelled = self.search(modelled, numbers);
            memory.shapes.insert(key, modelled.shape);
        }
        let mut packed = Vec::new();
        bitpack::encode(numbers, &mut packed);
        if packed.len() <= modelled.bytes.len() {
            (Codec::Bitpack, packed)
        } else {
            (Codec::Modelled, modelled.bytes)
        }
    }

    fn has_beside(&self, shape: &Shape) -> bool {
        let there = |number: &u8| self.beside.iter().any(|(there, _)| there == number);
        shape.beside.iter().all(there)
    }

    /// Where a search starts.
    fn start(&self, numbers: &[u64]) -> Candidate {
        let shape = Shape {
            top: 4,
            low: 0,
            history: History::None,
            memory: 32,
            beside: self
                .beside
                .iter()
                .take(1)
                .map(|(number, _)| *number)
                .collect(),
        };
        Candidate {
            bytes: self.bytes(&shape, numbers),
            shape,
        }
    }

    /// Changes one thing at a time and keeps what helps.
    fn search(&self, mut best: Candidate, numbers: &[u64]) -> Candidate {
        let consider = |best: &mut Candidate, shape: Shape| {
            if shape != best.shape {
                let bytes = self.bytes(&shape, numbers);
                if bytes.len() < best.bytes.len() {
                    *best = Candidate { shape, bytes };
                }
            }
        };
        for top in [2, 8, 12, 16] {
            let shape = Shape {
                top,
                ..best.shape.clone()
            };
            consider(&mut best, shape);
        }
        for beside in self.choices() {
            let shape = Shape {
                beside,
                ..best.shape.clone()
            };
            consider(&mut best, shape);
        }
        for history in [
            History::Length,
            History::Lengths,
            History::Number,
            History::Numbers,
            History::ThreeNumbers,
        ] {
            let shape = Shape {
                history,
                ..best.shape.clone()
            };
            consider(&mut best, shape);
        }
        for low in [3, 4] {
            let shape = Shape {
                low,
                ..best.shape.clone()
            };
            consider(&mut best, shape);
        }
        for memory in [10, 100, 255] {
            let shape = Shape {
                memory,
                ..best.shape.clone()
            };
            consider(&mut best, shape);
        }
        best
    }

    /// No column beside, each one, each two.
    fn choices(&self) -> Vec<Vec<u8>> {
        let numbers: Vec<u8> = self.beside.iter().map(|(number, _)| *number).collect();
        let mut choices = vec![Vec::new()];
        for (at, &first) in numbers.iter().enumerate() {
            choices.push(vec![first]);
            choices.extend(
                numbers
                    .iter()
                    .skip(at + 1)
                    .map(|&second| vec![first, second]),
            );
        }
        choices
    }

    fn bytes(&self, shape: &Shape, numbers: &[u64]) -> Vec<u8> {
        let lengths = |number: &u8| {
            let found = self.beside.iter().find(|(there, _)| there == number);
            found.map_or(&[][..], |(_, lengths)| lengths)
        };
        let beside: Vec<&[u8]> = shape.beside.iter().map(lengths).collect();
        let mut bytes = Vec::new();
        model::encode(numbers, shape, &beside, &mut bytes);
        bytes
    }
}

struct Candidate {
    shape: Shape,
    bytes: Vec<u8>,
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    if a == 1 {
        return 1;
    }
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
