//! From a block's payload back to records. Nothing in the payload is trusted.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use nvme::{CommandId, DsmRange, NamespaceId, QueueId, Status};
use zerocopy::little_endian::{U32, U64};

use super::column::{Codec, Column, SKIPPABLE_FROM};
use super::model::{self, Model, Modelled};
use super::tiles::{Columns, Numbers, TILE, Tiles, no_columns};
use super::transform::Applied;
use super::{BlockBuffer, Mark, bitpack};
use crate::error::Flaw;
use crate::format::{BlockHeader, Fields};
use crate::{CommandRecord, Completion};

/// Decodes the payload of a block with this header: commands and marks in
/// submission order. Also returns how many marks were of unknown kinds.
pub(crate) fn decode(header: &BlockHeader, payload: &[u8]) -> Result<(BlockBuffer, u32), Flaw> {
    let mut fields = Fields::new(payload);
    let mut columns = read_columns(&mut fields, header)?;
    let mut block = BlockBuffer::default();
    let mut unknown = 0;
    for _ in 0..header.marks {
        match Mark::decode(&mut fields)? {
            Some(mark) => block.marks.push(mark),
            None => unknown += 1,
        }
    }
    if !fields.is_empty() {
        return Err(Flaw::damaged("bytes are left after the block's last mark"));
    }
    read_commands(&mut columns, header, &mut block)?;
    read_ranges(&mut columns, header, &mut block)?;
    check_order(&block)?;
    Ok((block, unknown))
}

/// Finds all columns and decodes those that are modelled.
fn read_columns<'a>(fields: &mut Fields<'a>, header: &BlockHeader) -> Result<Columns<'a>, Flaw> {
    let mut columns = no_columns();
    let mut lengths = Lengths::default();
    let mut model = Model::default();
    loop {
        let number = fields.u8()?;
        if number == 0 {
            return Ok(columns);
        }
        let column = Column::from_number(number);
        let applied = match (column, number) {
            (None, SKIPPABLE_FROM..) => {
                // Anything but a length, which every column has, is its own.
                let len = fields.length()?;
                fields.slice(len)?;
                continue;
            }
            (None, _) => return Err(Flaw::TooNew(format!("column {number}"))),
            (Some(_), _) => Applied::read(fields)?,
        };
        let codec = fields.u8()?;
        let len = fields.length()?;
        let bytes = fields.slice(len)?;
        let Some(column) = column else { continue };
        if columns[column.index()].is_some() {
            return Err(Flaw::damaged("a column is there twice"));
        }
        let codec =
            Codec::from_number(codec).ok_or_else(|| Flaw::TooNew(format!("codec {codec}")))?;
        let rows = column.count(header);
        let numbers = match codec {
            Codec::Constant => constant(bytes)?,
            Codec::Bitpack => Numbers::Packed(bitpack::Groups::new(bytes)),
            Codec::Modelled => {
                let modelled = Modelled::parse(bytes)?;
                let beside = &modelled.shape.beside;
                let beside = lengths.of(beside, (column, rows), &mut columns)?;
                Numbers::Each(modelled.decode(&beside, rows, &mut model)?)
            }
        };
        columns[column.index()] = Some((applied, numbers));
    }
}

fn constant(bytes: &[u8]) -> Result<Numbers<'_>, Flaw> {
    let mut fields = Fields::new(bytes);
    let value = fields.varint()?;
    if !fields.is_empty() {
        return Err(Flaw::damaged("bytes are left after a constant"));
    }
    Ok(Numbers::Constant(value))
}

/// The lengths of the numbers of the columns that models look at.
#[derive(Debug, Default)]
struct Lengths(BTreeMap<u8, Vec<u8>>);

impl Lengths {
    /// Those of the columns with these numbers, beside a column with so many
    /// rows.
    fn of(
        &mut self,
        numbers: &[u8],
        (column, rows): (Column, usize),
        columns: &mut Columns<'_>,
    ) -> Result<Vec<&[u8]>, Flaw> {
        for &number in numbers {
            let other = Column::from_number(number)
                .filter(|other| other.is_of_ranges() == column.is_of_ranges())
                .and_then(|other| columns[other.index()].as_mut());
            let Some((_, cells)) = other else {
                return Err(Flaw::damaged(
                    "a model looks at a column that is not there yet",
                ));
            };
            if let Entry::Vacant(entry) = self.0.entry(number) {
                entry.insert(model::lengths(cells.each(rows)?));
            }
        }
        let lengths = |number| self.0.get(number).map_or(&[][..], |lengths| lengths);
        Ok(numbers.iter().map(lengths).collect())
    }
}

fn read_commands(
    columns: &mut Columns<'_>,
    header: &BlockHeader,
    block: &mut BlockBuffer,
) -> Result<(), Flaw> {
    let of_commands = Column::ALL.into_iter().filter(|c| !c.is_of_ranges());
    let mut tiles = Tiles::new(of_commands, columns)?;
    let rows = header.commands as usize;
    block.commands.reserve_exact(rows);
    while block.commands.len() < rows {
        let done = block.commands.len();
        let len = TILE.min(rows - done);
        tiles.next(len)?;
        block
            .commands
            .extend((0..len).map(|row| command(&tiles, row)));
        if header.ranges > 0 {
            let counts = tiles.column(Column::RangeCount);
            for (command, &count) in (done..).zip(&counts[..len]) {
                claim(command, count, block)?;
            }
        }
    }
    tiles.finish()?;
    let claimed = block.ranges.claimed();
    if claimed > header.ranges {
        return Err(Flaw::damaged("commands claim more ranges than there are"));
    }
    if claimed < header.ranges {
        return Err(Flaw::damaged("ranges are left that no command claims"));
    }
    Ok(())
}

/// Gives the next `count` ranges to a command.
fn claim(command: usize, count: u64, block: &mut BlockBuffer) -> Result<(), Flaw> {
    if count == 0 {
        return Ok(());
    }
    let (Ok(command), Ok(count)) = (u32::try_from(command), u32::try_from(count)) else {
        return Err(Flaw::damaged("a command claims more ranges than there are"));
    };
    block.ranges.claim(command, count);
    Ok(())
}

/// The command in `row` of a tile, whose values are no wider than their fields.
#[inline]
fn command(tiles: &Tiles<'_>, row: usize) -> CommandRecord {
    let wide = |column: Column| tiles.column(column)[row];
    let narrow = |column: Column| {
        let [a, b, c, d, ..] = wide(column).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    };
    let half = |column: Column| {
        let [a, b, ..] = wide(column).to_le_bytes();
        u16::from_le_bytes([a, b])
    };
    let byte = |column: Column| wide(column).to_le_bytes()[0];
    let submit_ns = wide(Column::Submit);
    let completion = Completion {
        complete_ns: submit_ns.wrapping_add(wide(Column::Latency)),
        status: Status::from_field(half(Column::Status)),
        result: narrow(Column::Result),
    };
    let [a, b, c, d, e, f, g, h] = wide(Column::Lba).to_le_bytes();
    let cdw12 = u32::from(half(Column::Control)) << 16 | u32::from(half(Column::Blocks));
    CommandRecord {
        sequence: wide(Column::Sequence),
        submit_ns,
        completion: (wide(Column::Open) == 0).then_some(completion),
        queue: QueueId(half(Column::Queue)),
        cid: CommandId(half(Column::Cid)),
        opcode: byte(Column::Opcode),
        flags: byte(Column::Flags),
        nsid: NamespaceId(narrow(Column::Nsid)),
        cdw2_3: [narrow(Column::Cdw2), narrow(Column::Cdw3)],
        cdw10_15: [
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
            cdw12,
            narrow(Column::Cdw13),
            narrow(Column::Cdw14),
            narrow(Column::Cdw15),
        ],
    }
}

fn read_ranges(
    columns: &mut Columns<'_>,
    header: &BlockHeader,
    block: &mut BlockBuffer,
) -> Result<(), Flaw> {
    let of_ranges = Column::ALL.into_iter().filter(|c| c.is_of_ranges());
    let mut tiles = Tiles::new(of_ranges, columns)?;
    let rows = header.ranges as usize;
    block.ranges.reserve_exact(rows);
    while block.ranges.len() < rows {
        let len = TILE.min(rows - block.ranges.len());
        tiles.next(len)?;
        let narrow = |column: Column, row: usize| {
            let [a, b, c, d, ..] = tiles.column(column)[row].to_le_bytes();
            U32::from_bytes([a, b, c, d])
        };
        block.ranges.extend((0..len).map(|row| DsmRange {
            context: narrow(Column::RangeContext, row),
            blocks: narrow(Column::RangeBlocks, row),
            slba: U64::new(tiles.column(Column::RangeLba)[row]),
        }));
    }
    tiles.finish()
}

/// Readers merge blocks on the promise that each is in order.
fn check_order(block: &BlockBuffer) -> Result<(), Flaw> {
    let commands = block.commands.is_sorted_by_key(|command| command.sequence);
    if commands && block.marks.is_sorted_by_key(Mark::place) {
        Ok(())
    } else {
        Err(Flaw::damaged("the block's records are out of order"))
    }
}
