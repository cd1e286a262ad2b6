//! Encoding for keeping: what suits each column is searched for, and what is
//! smallest is kept.
//!
//! What suits a column seldom changes from block to block. A search over a
//! sample tells transform, codec and model; they are searched for anew where a
//! column takes more than they promised, and once in a long while.

use std::collections::BTreeMap;

use super::FullBlock;
use super::bitpack;
use super::column::{COLUMNS, Codec, Column, fields, write_column, write_constant};
use super::fast::see;
use super::model::{self, Model, View};
use super::search::{Beside, Choice, Search, numbers};
use super::transform::{Applied, Cells, Table, empty_table};
use crate::format::BlockHeader;
use crate::row::Row;
use crate::totals::Counts;

/// What earlier blocks taught, and what encoding needs again for each block.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    columns: [Learnt; COLUMNS],
    model: Model,
    order: Vec<u32>,
}

/// What is known of a column.
#[derive(Debug, Default)]
struct Learnt {
    choice: Option<Choice>,
    /// Bytes that 1,024 numbers took in the block for which it was made.
    cost: usize,
    /// Blocks since then.
    age: u32,
    /// Blocks until it may be made anew. It doubles, so that a column that
    /// changes all the time is not searched for in each block.
    patience: u32,
}

/// Blocks after which a choice is made anew.
const AGE_MAX: u32 = 128;
/// The longest that a column that has grown waits for that, blocks.
const PATIENCE_MAX: u32 = 32;

impl Learnt {
    /// Takes note of what `bytes` for so many numbers say of the choice.
    fn see(&mut self, bytes: usize, numbers: usize, made_now: bool) {
        let cost = bytes * 1_024 / numbers.max(1);
        if made_now {
            (self.age, self.cost) = (0, cost);
            return;
        }
        self.age += 1;
        // An eighth, and more than the eighth of a bit that is noise.
        let has_grown = cost > self.cost + self.cost / 8 + 16;
        if self.age >= AGE_MAX {
            self.choice = None;
        } else if has_grown && self.age >= self.patience {
            self.patience = (self.patience * 2).clamp(1, PATIENCE_MAX);
            self.choice = None;
        }
    }
}

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

/// Encodes `block` into `out` (payload only) and returns its header, complete
/// but for length and checksum of the payload.
pub(crate) fn encode(
    block: FullBlock<'_>,
    memory: &mut Memory,
    out: &mut Vec<u8>,
) -> (BlockHeader, Counts) {
    let mut header = block.header();
    let mut counts = Counts::default();
    counts.add_each(block.rows.iter().map(Row::kind));
    block.sort(&mut memory.order);
    for &index in &memory.order {
        see(&mut header, &block.rows[index as usize]);
    }
    let table = gather(block, &memory.order);
    let mut lengths: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for (column, beside) in ORDER {
        let beside: Vec<(u8, &[u8])> = beside
            .iter()
            .filter_map(|column| lengths.get_key_value(&column.number()))
            .map(|(number, lengths)| (*number, &lengths[..]))
            .collect();
        if let Some(numbers) = encode_column(&table, column, &beside, memory, out) {
            lengths.insert(column.number(), model::lengths(&numbers));
        }
    }
    out.push(0);
    block.encode_marks(out);
    (header, counts)
}

/// Appends a column, and returns its numbers; none where they are all the same.
fn encode_column(
    table: &Table,
    column: Column,
    beside: Beside<'_>,
    memory: &mut Memory,
    out: &mut Vec<u8>,
) -> Option<Vec<u64>> {
    let Cells::Each(values) = &table[column.index()] else {
        return None;
    };
    let first = *values.first()?;
    if values.iter().all(|value| *value == first) {
        if first != 0 {
            write_constant(column, Applied::NONE, first, out);
        }
        return None;
    }
    let learnt = &mut memory.columns[column.index()];
    let known = learnt.choice.take();
    let known = known.filter(|choice| choice.shape.looks_only_at(beside));
    let made_now = known.is_none();
    let search = Search {
        table,
        column,
        beside,
    };
    let mut choice = known.unwrap_or_else(|| search.best(&mut memory.model));
    let (applied, numbers) = match numbers(table, column, choice.transform) {
        Some(found) => found,
        // It could tell the sample, or the blocks before.
        None => {
            choice = search.safest();
            numbers(table, column, choice.transform)?
        }
    };
    let first = *numbers.first()?;
    if numbers.iter().all(|number| *number == first) {
        write_constant(column, applied, first, out);
        learnt.choice = Some(choice);
        return None;
    }
    let mut bytes = Vec::new();
    let packed = bitpack::encoded_bytes(&numbers);
    if choice.codec == Codec::Modelled {
        let view = View {
            shape: &choice.shape,
            beside: &choice.shape.lengths(beside),
        };
        model::encode(&numbers, view, &mut memory.model, &mut bytes);
    }
    let codec = if choice.codec == Codec::Modelled && bytes.len() < packed {
        Codec::Modelled
    } else {
        bytes.clear();
        bitpack::encode(&numbers, &mut bytes);
        Codec::Bitpack
    };
    write_column(column, applied, codec, &bytes, out);
    learnt.choice = Some(choice);
    learnt.see(bytes.len(), numbers.len(), made_now);
    Some(numbers)
}

/// The block's columns in submission order.
fn gather(block: FullBlock<'_>, order: &[u32]) -> Table {
    let mut columns: Vec<Vec<u64>> = vec![Vec::new(); COLUMNS];
    for &index in order {
        let command = block.command(index);
        for (column, value) in columns.iter_mut().zip(fields(&command)) {
            column.push(value);
        }
        if block.ranges().is_empty() {
            continue;
        }
        let ranges = block.ranges().of(index);
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
