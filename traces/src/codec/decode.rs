//! From a block's payload back to records. Nothing in the payload is trusted.

use nvme::{CommandId, DsmRange, NamespaceId, QueueId, Status};
use zerocopy::little_endian::{U32, U64};

use super::bitpack;
use super::column::{COLUMNS, Codec, Column, SKIPPABLE_FROM, StreamEnds, Transform};
use super::{BlockBuffer, Mark, Ranged};
use crate::error::Flaw;
use crate::format::{BlockHeader, Fields, unzigzag};
use crate::{CommandRecord, Completion};

/// A column's numbers.
#[derive(Debug)]
enum Numbers {
    Constant(u64),
    Each(Vec<u64>),
}

impl Numbers {
    /// The number in `row`, which is below the count of the column.
    #[inline]
    fn get(&self, row: usize) -> u64 {
        match self {
            Self::Constant(value) => *value,
            Self::Each(values) => values.get(row).copied().unwrap_or(0),
        }
    }

    /// Room for each of `count` values to be another.
    fn each(&mut self, count: usize) -> &mut [u64] {
        if let Self::Constant(value) = self {
            *self = Self::Each(vec![*value; count]);
        }
        match self {
            Self::Each(values) => values,
            Self::Constant(_) => &mut [],
        }
    }
}

/// A column as it is read: its numbers and what was done to them.
#[derive(Debug)]
struct Coded {
    numbers: Numbers,
    transform: Transform,
    base: u64,
}

type Columns = [Coded; COLUMNS];

/// Decodes the payload of a block with this header: commands and marks in
/// submission order. Also returns how many marks were of unknown kinds.
pub(crate) fn decode(header: &BlockHeader, payload: &[u8]) -> Result<(BlockBuffer, u32), Flaw> {
    let mut fields = Fields::new(payload);
    let mut columns = read_columns(&mut fields, header)?;
    undo_transforms(&mut columns, header)?;
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
        block.commands.push(command(&columns, row)?);
    }
    if header.ranges > 0 {
        read_ranges(&columns, header, &mut block)?;
    }
    check_order(&block)?;
    Ok((block, unknown))
}

fn read_columns(fields: &mut Fields<'_>, header: &BlockHeader) -> Result<Columns, Flaw> {
    let mut columns: Columns = std::array::from_fn(|_| Coded {
        numbers: Numbers::Constant(0),
        transform: Transform::None,
        base: 0,
    });
    let mut last = 0;
    loop {
        let number = fields.u8()?;
        if number == 0 {
            return Ok(columns);
        }
        if number <= last {
            return Err(Flaw::damaged("columns are out of order"));
        }
        last = number;
        let (transform, codec) = (fields.u8()?, fields.u8()?);
        let base = if transform == 0 { 0 } else { fields.varint()? };
        let len = fields.length()?;
        let bytes = fields.slice(len)?;
        let Some(column) = Column::from_number(number) else {
            if number < SKIPPABLE_FROM {
                return Err(Flaw::TooNew(format!("column {number}")));
            }
            continue;
        };
        let transform = Transform::from_number(transform)
            .ok_or_else(|| Flaw::TooNew(format!("transform {transform}")))?;
        let codec =
            Codec::from_number(codec).ok_or_else(|| Flaw::TooNew(format!("codec {codec}")))?;
        let count = if column.is_of_ranges() {
            header.ranges
        } else {
            header.commands
        };
        let coded = Coded {
            numbers: read_numbers(codec, bytes, count as usize)?,
            transform,
            base,
        };
        if let Some(place) = columns.get_mut(column.index()) {
            *place = coded;
        }
    }
}

/// `count` is below a limit that the block header was held to.
fn read_numbers(codec: Codec, bytes: &[u8], count: usize) -> Result<Numbers, Flaw> {
    match codec {
        Codec::Constant => {
            let mut fields = Fields::new(bytes);
            let value = fields.varint()?;
            if !fields.is_empty() {
                return Err(Flaw::damaged("bytes are left after a constant"));
            }
            Ok(Numbers::Constant(value))
        }
        Codec::Bitpack => bitpack::decode(bytes, count).map(Numbers::Each),
    }
}

/// Turns numbers back into values. A transform may need other columns: they
/// are done first.
fn undo_transforms(columns: &mut Columns, header: &BlockHeader) -> Result<(), Flaw> {
    for column in Column::ALL {
        let count = if column.is_of_ranges() {
            header.ranges
        } else {
            header.commands
        };
        let index = column.index();
        match columns[index].transform {
            Transform::None => {}
            Transform::Delta => {
                let coded = &mut columns[index];
                let mut value = coded.base;
                for number in coded.numbers.each(count as usize) {
                    value = value.wrapping_add(unzigzag(*number));
                    *number = value;
                }
            }
            Transform::StreamEnd if column == Column::Lba => {}
            Transform::StreamEnd => {
                return Err(Flaw::damaged("a stream transform stands at another column"));
            }
        }
    }
    if columns[Column::Lba.index()].transform == Transform::StreamEnd {
        undo_stream_ends(columns, header.commands as usize);
    }
    Ok(())
}

fn undo_stream_ends(columns: &mut Columns, count: usize) {
    let coded = &mut columns[Column::Lba.index()];
    let mut ends = StreamEnds::new(coded.base);
    let mut numbers = std::mem::replace(&mut coded.numbers, Numbers::Constant(0));
    let [queue, opcode, blocks] =
        [Column::Queue, Column::Opcode, Column::Blocks].map(|column| &columns[column.index()]);
    for (row, number) in numbers.each(count).iter_mut().enumerate() {
        *number = ends.decode(
            queue.numbers.get(row),
            opcode.numbers.get(row),
            *number,
            blocks.numbers.get(row),
        );
    }
    columns[Column::Lba.index()].numbers = numbers;
}

/// The command in `row`.
fn command(columns: &Columns, row: usize) -> Result<CommandRecord, Flaw> {
    let wide = |column: Column| columns[column.index()].numbers.get(row);
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

fn read_ranges(
    columns: &Columns,
    header: &BlockHeader,
    block: &mut BlockBuffer,
) -> Result<(), Flaw> {
    let of = |column: Column| &columns[column.index()].numbers;
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
