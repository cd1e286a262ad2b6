//! The rows of a tile, and the columns of which it has one value in most.

use crate::codec::bitpack::GROUP;
use crate::codec::column::Column;
use crate::row::{Row, WORDS};

/// The rows of a block in the order of their sequence numbers, a tile at a time.
pub(super) struct InOrder<'a> {
    rows: &'a [Row],
    /// Their indices in that order; none where they stand in it.
    order: Option<&'a [u32]>,
    /// The rows of a tile that do not stand next to each other.
    gathered: &'a mut Vec<Row>,
    done: usize,
}

impl<'a> InOrder<'a> {
    pub(super) fn new(
        rows: &'a [Row],
        order: Option<&'a [u32]>,
        gathered: &'a mut Vec<Row>,
    ) -> Self {
        Self {
            rows,
            order,
            gathered,
            done: 0,
        }
    }

    /// The first of all.
    pub(super) fn first(&self) -> Option<&Row> {
        match self.order {
            None => self.rows.first(),
            Some(order) => order.first().map(|&index| &self.rows[index as usize]),
        }
    }

    /// The next tile.
    #[inline]
    pub(super) fn tile(&mut self) -> Option<&[Row]> {
        let range = self.done..self.rows.len().min(self.done + GROUP);
        self.done = range.end;
        if range.is_empty() {
            return None;
        }
        let Some(order) = self.order else {
            return self.rows.get(range);
        };
        self.gathered.clear();
        let indices = order.get(range).unwrap_or_default();
        let rows = indices.iter().map(|&index| self.rows[index as usize]);
        self.gathered.extend(rows);
        Some(self.gathered)
    }
}

/// A column of which a tile has one value in most: where it is in a row's words.
pub(super) struct Shared {
    pub(super) column: Column,
    word: usize,
    shift: u32,
}

/// These columns.
pub(super) const SHARED: [Shared; 10] = [
    QUEUE,
    OPCODE,
    shared(Column::Flags, 0, 24),
    shared(Column::Nsid, 0, 32),
    BLOCKS,
    shared(Column::Control, 1, 16),
    shared(Column::Cdw13, 1, 32),
    shared(Column::Status, 2, 0),
    shared(Column::Open, 2, 16),
    shared(Column::Result, 2, 32),
];

const QUEUE: Shared = shared(Column::Queue, 0, 0);
const OPCODE: Shared = shared(Column::Opcode, 0, 16);
const BLOCKS: Shared = shared(Column::Blocks, 1, 0);

const fn shared(column: Column, word: usize, shift: u32) -> Shared {
    Shared {
        column,
        word,
        shift,
    }
}

impl Shared {
    /// Its part of a row's words.
    pub(super) fn of(&self, words: &[u64; WORDS]) -> u64 {
        words[self.word] >> self.shift & self.column.widest()
    }
}

/// In what the rows of a tile are the same.
pub(super) struct Same {
    first: [u64; WORDS],
    differs: [u64; WORDS],
}

impl Same {
    pub(super) fn of(rows: &[Row]) -> Self {
        let first = rows.first().map_or([0; WORDS], Row::words);
        let mut differs = [0; WORDS];
        for row in rows {
            for (differs, (word, first)) in
                differs.iter_mut().zip(row.words().into_iter().zip(first))
            {
                *differs |= word ^ first;
            }
        }
        Self { first, differs }
    }

    /// The column's value, where all have the same.
    pub(super) fn value(&self, column: &Shared) -> Option<u64> {
        (column.of(&self.differs) == 0).then(|| column.of(&self.first))
    }

    /// Whether all have one queue and one opcode.
    pub(super) fn is_one_kind(&self) -> bool {
        let columns = [QUEUE, OPCODE];
        columns.iter().all(|column| self.value(column).is_some())
    }

    /// Whether all have one kind and one length.
    pub(super) fn is_one_transfer(&self) -> bool {
        self.is_one_kind() && self.value(&BLOCKS).is_some()
    }
}
