//! A block's columns, read some rows at a time: what is on its way from the
//! payload to a record stays in the first-level cache.

use super::bitpack::{GROUP, Groups};
use super::column::{COLUMNS, Column};
use super::transform::{Applied, Looked, Undo};
use crate::error::Flaw;

/// Rows a tile.
pub(super) const TILE: usize = GROUP;

/// The numbers of a column, as the payload tells them.
#[derive(Debug)]
pub(super) enum Numbers<'a> {
    /// The same in every row.
    Constant(u64),
    /// Packed, not read yet.
    Packed(Groups<'a>),
    /// One a row.
    Each(Vec<u64>),
}

impl Numbers<'_> {
    /// All numbers of `rows` rows.
    pub(super) fn each(&mut self, rows: usize) -> Result<&[u64], Flaw> {
        let each = match self {
            Self::Constant(number) => vec![*number; rows],
            Self::Packed(groups) => groups.read_all(rows)?,
            Self::Each(each) => return Ok(each),
        };
        *self = Self::Each(each);
        self.each(rows)
    }

    /// The next numbers, after those of `done` rows.
    fn read(&mut self, done: usize, to: &mut [u64]) -> Result<(), Flaw> {
        match self {
            Self::Constant(number) => to.fill(*number),
            Self::Packed(groups) => groups.read(to)?,
            Self::Each(each) => to.copy_from_slice(&each[done..done + to.len()]),
        }
        Ok(())
    }
}

/// The columns of a payload, each with its transform.
pub(super) type Columns<'a> = [Option<(Applied, Numbers<'a>)>; COLUMNS];

/// A payload without columns: every value is 0.
pub(super) fn no_columns<'a>() -> Columns<'a> {
    std::array::from_fn(|_| None)
}

/// Columns of as many rows each, and the values of some of these rows.
pub(super) struct Tiles<'a> {
    /// The columns that are not the same in every row; those that others look
    /// at first.
    live: Vec<(Column, Numbers<'a>, Undo)>,
    values: [[u64; TILE]; COLUMNS],
    /// Rows read.
    done: usize,
}

impl<'a> Tiles<'a> {
    /// Takes these columns of a payload.
    pub(super) fn new(
        which: impl Iterator<Item = Column>,
        columns: &mut Columns<'a>,
    ) -> Result<Self, Flaw> {
        let mut tiles = Self {
            live: Vec::new(),
            values: [[0; TILE]; COLUMNS],
            done: 0,
        };
        for column in which {
            let Some((applied, numbers)) = columns[column.index()].take() else {
                continue;
            };
            let undo = Undo::new(column, &applied)?;
            let constant = match numbers {
                Numbers::Constant(number) => undo.constant(number),
                Numbers::Packed(_) | Numbers::Each(_) => None,
            };
            match constant {
                Some(value) => {
                    check_width(column, &[value])?;
                    tiles.values[column.index()].fill(value);
                }
                None => tiles.live.push((column, numbers, undo)),
            }
        }
        let is_looked_at =
            |column| matches!(column, Column::Queue | Column::Opcode | Column::Blocks);
        tiles
            .live
            .sort_by_key(|&(column, ..)| !is_looked_at(column));
        Ok(tiles)
    }

    /// Reads the next `len` rows, at most [`TILE`].
    pub(super) fn next(&mut self, len: usize) -> Result<(), Flaw> {
        for (column, numbers, undo) in &mut self.live {
            let mut values = [0; TILE];
            let some = &mut values[..len];
            numbers.read(self.done, some)?;
            let of = |column: Column| &self.values[column.index()][..len];
            let looked = Looked {
                queue: of(Column::Queue),
                opcode: of(Column::Opcode),
                blocks: of(Column::Blocks),
            };
            undo.undo(some, looked)?;
            check_width(*column, some)?;
            self.values[column.index()] = values;
        }
        self.done += len;
        Ok(())
    }

    /// The values of a column in the rows read last.
    #[inline]
    pub(super) fn column(&self, column: Column) -> &[u64; TILE] {
        &self.values[column.index()]
    }

    /// Whether all bytes were read.
    pub(super) fn finish(&self) -> Result<(), Flaw> {
        for (_, numbers, _) in &self.live {
            if let Numbers::Packed(groups) = numbers {
                groups.finish()?;
            }
        }
        Ok(())
    }
}

/// Whether `values` fit the field of `column`.
fn check_width(column: Column, values: &[u64]) -> Result<(), Flaw> {
    // The widest has all bits set.
    let bits = values.iter().fold(0, |bits, value| bits | value);
    if bits > column.widest() {
        return Err(Flaw::damaged(format!(
            "a value of column {column:?} is wider than its field"
        )));
    }
    Ok(())
}
