//! Parquet as it is written here.

use std::collections::VecDeque;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ListArray, PrimitiveArray, RecordBatch};
use arrow_schema::{DataType, Schema};
use nvme::{CommandId, DSM_RANGES_MAX, DsmRange, Lba, NamespaceId, QueueId, Status};
use traces::{CommandRecord, Completion, Header};

use super::{Rows, Sink};
use crate::Item;
use crate::import::ImportClock;
use crate::parquet::{DWORDS, Mark};

/// Whether `found` has all columns of `wanted`, whatever else.
pub(super) fn fits(found: &Schema, wanted: &Schema) -> bool {
    wanted.fields().iter().all(|wanted| {
        found
            .field_with_name(wanted.name())
            .is_ok_and(|found| same(found.data_type(), wanted.data_type()))
    })
}

/// Whether both are the same to a reader: names of list items, and whether
/// there may be nulls, are up to the library that wrote them.
fn same(found: &DataType, wanted: &DataType) -> bool {
    match (found, wanted) {
        (DataType::List(found), DataType::List(wanted)) => {
            same(found.data_type(), wanted.data_type())
        }
        (DataType::Struct(found), DataType::Struct(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| {
                    found.name() == wanted.name() && same(found.data_type(), wanted.data_type())
                })
        }
        (found, wanted) => found == wanted,
    }
}

/// The rows of such a file.
#[derive(Debug)]
pub(super) struct Commands {
    marks: VecDeque<Mark>,
    clock: ImportClock,
}

impl Commands {
    pub(super) fn new(header: &Header, marks: Vec<Mark>) -> Self {
        Self {
            marks: marks.into(),
            clock: ImportClock {
                resolution_ns: header.clock.resolution_ns,
                unix: false,
            },
        }
    }

    /// Appends the events and gaps that stand before the row `row`.
    fn marks(&mut self, row: u64, items: &mut Vec<Item>) {
        while let Some(mark) = self.marks.front().filter(|mark| mark.row <= row) {
            items.extend(mark.item());
            self.marks.pop_front();
        }
    }
}

impl Rows for Commands {
    fn items(
        &mut self,
        batch: &RecordBatch,
        row: u64,
        into: &mut Sink<'_>,
    ) -> Result<(), (u64, String)> {
        let columns = Columns::of(batch).map_err(|problem| (row, problem))?;
        for (at, row) in (0..batch.num_rows()).zip(row..) {
            self.marks(row, &mut into.items);
            match columns.command(at) {
                Ok(item) => into.items.push(item),
                Err(_) if into.salvage => into
                    .notes
                    .count("rows could not be read, and were left out"),
                Err(problem) => return Err((row, problem)),
            }
        }
        Ok(())
    }

    fn finish(&mut self, items: &mut Vec<Item>) {
        self.marks(u64::MAX, items);
    }

    fn clock(&self) -> ImportClock {
        self.clock
    }
}

/// The columns of a batch.
struct Columns<'a> {
    sequence: &'a PrimitiveArray<UInt64Type>,
    submit_ns: &'a PrimitiveArray<Int64Type>,
    complete_ns: &'a PrimitiveArray<Int64Type>,
    queue: &'a PrimitiveArray<UInt16Type>,
    cid: &'a PrimitiveArray<UInt16Type>,
    opcode: &'a PrimitiveArray<UInt8Type>,
    nsid: &'a PrimitiveArray<UInt32Type>,
    flags: &'a PrimitiveArray<UInt8Type>,
    dwords: Vec<&'a PrimitiveArray<UInt32Type>>,
    status: &'a PrimitiveArray<UInt16Type>,
    result: &'a PrimitiveArray<UInt32Type>,
    ranges: &'a ListArray,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, String> {
        let column = |name: &str| {
            let found = batch.column_by_name(name);
            found.ok_or_else(|| format!("there is no column {name}"))
        };
        macro_rules! typed {
            ($name:literal, $kind:ty) => {
                column($name)?
                    .as_primitive_opt::<$kind>()
                    .ok_or_else(|| format!("the column {} has another type", $name))?
            };
        }
        let mut dwords = Vec::new();
        for name in DWORDS {
            let dword = column(name)?.as_primitive_opt::<UInt32Type>();
            dwords.push(dword.ok_or_else(|| format!("the column {name} has another type"))?);
        }
        Ok(Self {
            sequence: typed!("sequence", UInt64Type),
            submit_ns: typed!("submit_ns", Int64Type),
            complete_ns: typed!("complete_ns", Int64Type),
            queue: typed!("queue", UInt16Type),
            cid: typed!("cid", UInt16Type),
            opcode: typed!("opcode", UInt8Type),
            nsid: typed!("nsid", UInt32Type),
            flags: typed!("flags", UInt8Type),
            dwords,
            status: typed!("status", UInt16Type),
            result: typed!("result", UInt32Type),
            ranges: column("ranges")?
                .as_list_opt()
                .ok_or("the column ranges has another type")?,
        })
    }

    /// The command in the row `at` of the batch.
    fn command(&self, at: usize) -> Result<Item, String> {
        let mut dwords = [0; 8];
        for (index, (dword, column)) in dwords.iter_mut().zip(&self.dwords).enumerate() {
            let name = DWORDS.get(index).copied().unwrap_or_default();
            *dword = needed(column, at, name)?;
        }
        let [cdw2, cdw3, cdw10_15 @ ..] = dwords;
        let completion = match optional(self.complete_ns, at) {
            None => None,
            Some(ns) => Some(Completion {
                complete_ns: time(ns, "complete_ns")?,
                status: Status::from_field(needed(self.status, at, "status")?),
                result: needed(self.result, at, "result")?,
            }),
        };
        let command = CommandRecord {
            sequence: needed(self.sequence, at, "sequence")?,
            submit_ns: time(needed(self.submit_ns, at, "submit_ns")?, "submit_ns")?,
            completion,
            queue: QueueId(needed(self.queue, at, "queue")?),
            cid: CommandId(needed(self.cid, at, "cid")?),
            opcode: needed(self.opcode, at, "opcode")?,
            flags: needed(self.flags, at, "flags")?,
            nsid: NamespaceId(needed(self.nsid, at, "nsid")?),
            cdw2_3: [cdw2, cdw3],
            cdw10_15,
        };
        let ranges = self.ranges_of(at)?;
        Ok(Item::Command { command, ranges })
    }

    fn ranges_of(&self, at: usize) -> Result<Vec<DsmRange>, String> {
        if self.ranges.is_null(at) || self.ranges.value_length(at) == 0 {
            return Ok(Vec::new());
        }
        let list = self.ranges.value(at);
        let wrong = || "ranges are not of the type that they should be".to_owned();
        let ranges = list.as_struct_opt().ok_or_else(wrong)?;
        if ranges.len() > DSM_RANGES_MAX {
            return Err(format!(
                "{} ranges are more than a command has",
                ranges.len()
            ));
        }
        let [attributes, blocks, slba] = ranges.columns() else {
            return Err(wrong());
        };
        let attributes = attributes.as_primitive_opt::<UInt32Type>();
        let blocks = blocks.as_primitive_opt::<UInt32Type>();
        let slba = slba.as_primitive_opt::<UInt64Type>();
        let (Some(attributes), Some(blocks), Some(slba)) = (attributes, blocks, slba) else {
            return Err(wrong());
        };
        (0..ranges.len())
            .map(|at| {
                let slba = Lba(needed(slba, at, "slba of a range")?);
                let mut range = DsmRange::new(slba, needed(blocks, at, "blocks of a range")?);
                range
                    .context
                    .set(needed(attributes, at, "attributes of a range")?);
                Ok(range)
            })
            .collect()
    }
}

/// The value in the row `at`.
fn optional<T: arrow_array::ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
    at: usize,
) -> Option<T::Native> {
    (at < column.len() && column.is_valid(at)).then(|| column.value(at))
}

fn needed<T: arrow_array::ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
    at: usize,
    name: &str,
) -> Result<T::Native, String> {
    optional(column, at).ok_or_else(|| format!("{name} is null"))
}

fn time(ns: i64, name: &str) -> Result<u64, String> {
    u64::try_from(ns).map_err(|_| format!("{name} is {ns}, which is before the clock's start"))
}
