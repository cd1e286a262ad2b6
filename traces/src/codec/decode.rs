//! From a block's payload back to records. Nothing in the payload is trusted.

use nvme::{CommandId, DsmRange, NamespaceId, QueueId, Status};
use zerocopy::little_endian::{U32, U64};

use super::column::{COLUMNS, Codec, Column, SKIPPABLE_FROM};
use super::model::{self, Model, Modelled};
use super::transform::{self, Applied, Cells, Table, empty_table};
use super::{BlockBuffer, Mark, Ranged, bitpack};
use crate::error::Flaw;
use crate::format::{BlockHeader, Fields};
use crate::{CommandRecord, Completion};

/// Decodes the payload of a block with this header: commands and marks in
/// submission order. Also returns how many marks were of unknown kinds.
pub(crate) fn decode(header: &BlockHeader, payload: &[u8]) -> Result<(BlockBuffer, u32), Flaw> {
    let mut fields = Fields::new(payload);
    let table = read_columns(&mut fields, header)?;
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
    block.commands.reserve_exact(header.commands as usize);
    for row in 0..header.commands as usize {
        block.commands.push(command(&table, row)?);
    }
    if header.ranges > 0 {
        read_ranges(&table, header, &mut block)?;
    }
    check_order(&block)?;
    Ok((block, unknown))
}

/// What is known of a column once its numbers are decoded.
#[derive(Debug, Default)]
struct Seen {
    applied: Option<Applied>,
    /// The lengths of its numbers, for the models that look at them.
    lengths: Vec<u8>,
}

type AllSeen = [Seen; COLUMNS];

/// Reads all columns: numbers first, then values.
fn read_columns(fields: &mut Fields<'_>, header: &BlockHeader) -> Result<Table, Flaw> {
    let mut table = empty_table();
    let mut seen: AllSeen = std::array::from_fn(|_| Seen::default());
    let mut model = Model::default();
    loop {
        let number = fields.u8()?;
        if number == 0 {
            break;
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
        if seen[column.index()].applied.replace(applied).is_some() {
            return Err(Flaw::damaged("a column is there twice"));
        }
        let codec =
            Codec::from_number(codec).ok_or_else(|| Flaw::TooNew(format!("codec {codec}")))?;
        let rows = column.count(header);
        table[column.index()] = match codec {
            Codec::Constant => constant(bytes)?,
            Codec::Bitpack => Cells::Each(bitpack::decode(bytes, rows)?),
            Codec::Modelled => Cells::Each(modelled(
                bytes,
                (column, rows),
                &table,
                &mut seen,
                &mut model,
            )?),
        };
    }
    // What transforms look at comes first.
    let looked_at = [Column::Queue, Column::Opcode, Column::Blocks];
    let others = Column::ALL.into_iter().filter(|c| !looked_at.contains(c));
    for column in looked_at.into_iter().chain(others) {
        if let Some(applied) = &seen[column.index()].applied {
            transform::undo(&mut table, column, applied, column.count(header))?;
        }
    }
    Ok(table)
}

fn constant(bytes: &[u8]) -> Result<Cells, Flaw> {
    let mut fields = Fields::new(bytes);
    let value = fields.varint()?;
    if !fields.is_empty() {
        return Err(Flaw::damaged("bytes are left after a constant"));
    }
    Ok(Cells::Constant(value))
}

/// Decodes a modelled column, with the lengths of the columns that its model
/// looks at.
fn modelled(
    bytes: &[u8],
    (column, rows): (Column, usize),
    table: &Table,
    seen: &mut AllSeen,
    model: &mut Model,
) -> Result<Vec<u64>, Flaw> {
    let modelled = Modelled::parse(bytes)?;
    let mut beside = Vec::new();
    for &number in &modelled.shape.beside {
        let index = Column::from_number(number)
            .filter(|other| other.is_of_ranges() == column.is_of_ranges())
            .map(Column::index)
            .filter(|&index| seen[index].applied.is_some() && index != column.index())
            .ok_or_else(|| Flaw::damaged("a model looks at a column that is not there yet"))?;
        if seen[index].lengths.is_empty() {
            let numbers: Vec<u64> = (0..rows).map(|row| table[index].get(row)).collect();
            seen[index].lengths = model::lengths(&numbers);
        }
        beside.push(index);
    }
    let beside: Vec<&[u8]> = beside
        .iter()
        .map(|&index| &seen[index].lengths[..])
        .collect();
    modelled.decode(&beside, rows, model)
}

/// The command in `row`.
fn command(table: &Table, row: usize) -> Result<CommandRecord, Flaw> {
    let wide = |column: Column| table[column.index()].get(row);
    let narrow =
        |column: Column| u32::try_from(wide(column)).map_err(|_| Flaw::damaged(too_wide(column)));
    let half =
        |column: Column| u16::try_from(wide(column)).map_err(|_| Flaw::damaged(too_wide(column)));
    let byte =
        |column: Column| u8::try_from(wide(column)).map_err(|_| Flaw::damaged(too_wide(column)));
    let submit_ns = wide(Column::Submit);
    let status = half(Column::Status)?;
    if status > 0x7fff {
        return Err(Flaw::damaged(too_wide(Column::Status)));
    }
    let completion = Completion {
        complete_ns: submit_ns.wrapping_add(wide(Column::Latency)),
        status: Status::from_field(status),
        result: narrow(Column::Result)?,
    };
    let completion = match wide(Column::Open) {
        0 => Some(completion),
        1 => None,
        _ => return Err(Flaw::damaged(too_wide(Column::Open))),
    };
    let [a, b, c, d, e, f, g, h] = wide(Column::Lba).to_le_bytes();
    let cdw12 = u32::from(half(Column::Control)?) << 16 | u32::from(half(Column::Blocks)?);
    Ok(CommandRecord {
        sequence: wide(Column::Sequence),
        submit_ns,
        completion,
        queue: QueueId(half(Column::Queue)?),
        cid: CommandId(half(Column::Cid)?),
        opcode: byte(Column::Opcode)?,
        flags: byte(Column::Flags)?,
        nsid: NamespaceId(narrow(Column::Nsid)?),
        cdw2_3: [narrow(Column::Cdw2)?, narrow(Column::Cdw3)?],
        cdw10_15: [
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
            cdw12,
            narrow(Column::Cdw13)?,
            narrow(Column::Cdw14)?,
            narrow(Column::Cdw15)?,
        ],
    })
}

fn too_wide(column: Column) -> String {
    format!("a value of column {column:?} is wider than its field")
}

fn read_ranges(table: &Table, header: &BlockHeader, block: &mut BlockBuffer) -> Result<(), Flaw> {
    let of = |column: Column| &table[column.index()];
    let narrow = |column: Column, row: usize| {
        u32::try_from(of(column).get(row)).map_err(|_| Flaw::damaged(too_wide(column)))
    };
    let mut first = 0_u32;
    for command in 0..header.commands {
        let count = of(Column::RangeCount).get(command as usize);
        if count == 0 {
            continue;
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let end = first.saturating_add(count);
        if end > header.ranges {
            return Err(Flaw::damaged("commands claim more ranges than there are"));
        }
        block.ranged.push(Ranged {
            command,
            first,
            count,
        });
        first = end;
    }
    if first != header.ranges {
        return Err(Flaw::damaged("ranges are left that no command claims"));
    }
    block.ranges.reserve_exact(header.ranges as usize);
    for row in 0..header.ranges as usize {
        block.ranges.push(DsmRange {
            context: U32::new(narrow(Column::RangeContext, row)?),
            blocks: U32::new(narrow(Column::RangeBlocks, row)?),
            slba: U64::new(of(Column::RangeLba).get(row)),
        });
    }
    Ok(())
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
