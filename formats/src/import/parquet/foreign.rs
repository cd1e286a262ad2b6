//! Parquet of anybody else, by the names of its columns.
//!
//! Wanted are a time, an operation, a place and a length: `time_us`,
//! `operation`, `offset` and `size` for instance. What a column counts in is
//! in its name (`_ns`, `_us`, `_ms`, `_s`; `lba`, `sector`) or, for times, in
//! its type.

use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, RecordBatch};
use arrow_schema::{DataType, Schema, TimeUnit};
use nvme::NvmOpcode;

use super::{Rows, Sink};
use crate::import::{ImportClock, ImportOptions};
use crate::{FormatError, Io, Operation};

/// What times of submission are called.
const TIMES: &[&str] = &[
    "submit",
    "time",
    "timestamp",
    "ts",
    "start",
    "start_time",
    "submit_time",
    "issue",
    "issue_time",
    "arrival",
    "arrival_time",
];
/// What times of completion are called.
const ENDS: &[&str] = &["complete", "completion", "complete_time", "end", "end_time"];
/// What the time that a request took is called.
const LATENCIES: &[&str] = &[
    "latency",
    "lat",
    "response",
    "response_time",
    "duration",
    "elapsed",
];
const OPERATIONS: &[&str] = &[
    "operation",
    "op",
    "opcode",
    "io_type",
    "iotype",
    "type",
    "rw",
    "rwbs",
    "cmd",
    "command",
    "op_type",
];
const OFFSETS: Sizes = Sizes {
    bytes: &["offset_bytes", "byte_offset", "offset", "address"],
    blocks: &["slba", "lba", "start_lba", "lbn"],
    sectors: &["sector", "start_sector", "sector_number"],
};
const LENGTHS: Sizes = Sizes {
    bytes: &[
        "length_bytes",
        "size_bytes",
        "len_bytes",
        "bytes",
        "length",
        "len",
        "size",
        "io_size",
        "request_size",
    ],
    blocks: &["blocks", "nlb", "num_blocks", "nblocks", "block_count"],
    sectors: &[
        "sectors",
        "nsect",
        "num_sectors",
        "nsectors",
        "sector_count",
    ],
};
const DEVICES: &[&str] = &[
    "device",
    "device_id",
    "dev",
    "disk",
    "disk_number",
    "volume",
    "volume_id",
    "lun",
    "nsid",
    "namespace",
];
const QUEUES: &[&str] = &["queue", "queue_id", "qid", "sqid"];
const FUAS: &[&str] = &["fua"];
const ERRORS: &[&str] = &["status", "error", "errno", "failed"];

/// What a place or a length is called, by what it counts.
struct Sizes {
    bytes: &'static [&'static str],
    blocks: &'static [&'static str],
    sectors: &'static [&'static str],
}

/// A column, and what one of it is.
#[derive(Clone, Copy, Debug)]
struct Column {
    index: usize,
    unit: u64,
}

/// The rows of such a file.
#[derive(Debug)]
pub(super) struct Requests {
    names: Vec<String>,
    time: Column,
    unix: bool,
    operation: usize,
    offset: Column,
    length: Column,
    end: Option<Column>,
    latency: Option<Column>,
    device: Option<usize>,
    queue: Option<usize>,
    fua: Option<usize>,
    error: Option<usize>,
}

impl Requests {
    /// Looks for the columns in `schema`, that of the file `name`.
    pub(super) fn new(
        name: &str,
        schema: &Schema,
        options: &ImportOptions,
    ) -> Result<Self, FormatError> {
        let lacks = |what: &str| FormatError::Refused {
            problem: lacking(name, what, schema),
        };
        let (time, unix) = time(schema, TIMES).ok_or_else(|| {
            lacks(
                "time of submission (time_ns, _us, _ms or _s as integers, or time as a TIMESTAMP)",
            )
        })?;
        let operation = find(schema, OPERATIONS, |it| is_text(it) || is_integer(it))
            .ok_or_else(|| lacks("operation (operation or op, as text)"))?;
        let block_bytes = options.block_bytes.into();
        let offset = size(schema, &OFFSETS, block_bytes)
            .ok_or_else(|| lacks("place (offset in bytes, lba or sector, as integers)"))?;
        let length = size(schema, &LENGTHS, block_bytes)
            .ok_or_else(|| lacks("length (size in bytes, blocks or sectors, as integers)"))?;
        let fields = schema.fields().iter();
        Ok(Self {
            names: fields.map(|field| field.name().clone()).collect(),
            time,
            unix,
            operation,
            offset,
            length,
            // A completion on another clock would be none.
            end: time_of(schema, ENDS, unix),
            latency: self::time(schema, LATENCIES).map(|it| it.0),
            device: find(schema, DEVICES, |it| is_text(it) || is_integer(it)),
            queue: find(schema, QUEUES, is_integer),
            fua: find(schema, FUAS, |it| {
                is_integer(it) || *it == DataType::Boolean
            }),
            error: find(schema, ERRORS, |it| {
                is_integer(it) || *it == DataType::Boolean
            }),
        })
    }

    /// The columns that are read.
    pub(super) fn columns(&self) -> Vec<usize> {
        let times = [Some(self.time), self.end, self.latency];
        let sizes = [Some(self.offset), Some(self.length)];
        let with_unit = times.into_iter().chain(sizes).flatten();
        let others = [
            Some(self.operation),
            self.device,
            self.queue,
            self.fua,
            self.error,
        ];
        with_unit
            .map(|column| column.index)
            .chain(others.into_iter().flatten())
            .collect()
    }

    fn name(&self, index: usize) -> &str {
        self.names.get(index).map_or("", String::as_str)
    }
}

impl Rows for Requests {
    fn items(
        &mut self,
        batch: &RecordBatch,
        row: u64,
        into: &mut Sink<'_>,
    ) -> Result<(), (u64, String)> {
        let values = Values::of(self, batch).map_err(|problem| (row, problem))?;
        for (at, row) in (0..batch.num_rows()).zip(row..) {
            match values.io(at, into) {
                Ok(io) => into.items.push(crate::Item::Io(io)),
                Err(_) if into.salvage => into
                    .notes
                    .count("rows could not be read, and were left out"),
                Err(problem) => return Err((row, problem)),
            }
        }
        Ok(())
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: self.time.unit,
            unix: self.unix,
        }
    }
}

/// The columns of a batch.
struct Values<'a> {
    of: &'a Requests,
    time: Vec<Option<i128>>,
    end: Option<Vec<Option<i128>>>,
    latency: Option<Vec<Option<i128>>>,
    operation: &'a ArrayRef,
    offset: Vec<Option<i128>>,
    length: Vec<Option<i128>>,
    device: Option<&'a ArrayRef>,
    queue: Option<Vec<Option<i128>>>,
    fua: Option<Vec<Option<i128>>>,
    error: Option<Vec<Option<i128>>>,
}

impl<'a> Values<'a> {
    fn of(of: &'a Requests, batch: &'a RecordBatch) -> Result<Self, String> {
        let column = |index: usize| {
            let name = of.name(index);
            let found = batch.column_by_name(name);
            found.ok_or_else(|| format!("there is no column {name}"))
        };
        let numbers = |index: usize| {
            let values = integers(column(index)?);
            values.ok_or_else(|| format!("the column {} has other types", of.name(index)))
        };
        let optional = |index: Option<usize>| index.map(numbers).transpose();
        let unit = |column: Option<Column>| optional(column.map(|it| it.index));
        Ok(Self {
            of,
            time: numbers(of.time.index)?,
            end: unit(of.end)?,
            latency: unit(of.latency)?,
            operation: column(of.operation)?,
            offset: numbers(of.offset.index)?,
            length: numbers(of.length.index)?,
            device: of.device.map(column).transpose()?,
            queue: optional(of.queue)?,
            fua: optional(of.fua)?,
            error: optional(of.error)?,
        })
    }

    /// The request in the row `at` of the batch.
    fn io(&self, at: usize, into: &mut Sink<'_>) -> Result<Io, String> {
        let of = self.of;
        let submit_ns = self.needed(&self.time, of.time, at)?;
        let operation = self.operation(at)?;
        let mut io = Io::new(submit_ns, operation, 0, 0);
        if operation != Operation::Flush {
            io.offset_bytes = self.needed(&self.offset, of.offset, at)?;
            io.length_bytes = self.needed(&self.length, of.length, at)?;
        }
        let end = self.scaled(self.end.as_ref(), of.end, at)?;
        let latency = self.scaled(self.latency.as_ref(), of.latency, at)?;
        io.latency_ns = latency.or(end.map(|end| end.saturating_sub(submit_ns)));
        let small = |values: &Option<Vec<Option<i128>>>| {
            values.as_ref().and_then(|values| *values.get(at)?)
        };
        if let Some(queue) = small(&self.queue) {
            io.queue = u16::try_from(queue)
                .map_err(|_| format!("the queue is {queue}, which is none"))?
                .max(1);
        }
        io.fua = small(&self.fua).is_some_and(|it| it != 0);
        io.failed = small(&self.error).is_some_and(|it| it != 0);
        if let Some(device) = self.device {
            io.device = into.devices.index(&text(device, at).unwrap_or_default())?;
        }
        Ok(io)
    }

    /// The value of `column` in the row `at`, in ones.
    fn needed(&self, values: &[Option<i128>], column: Column, at: usize) -> Result<u64, String> {
        let name = self.of.name(column.index);
        let value = values.get(at).copied().flatten();
        let value = value.ok_or_else(|| format!("{name} is null"))?;
        u64::try_from(value)
            .ok()
            .and_then(|value| value.checked_mul(column.unit))
            .ok_or_else(|| format!("{name} is {value}, which is out of range"))
    }

    fn scaled(
        &self,
        values: Option<&Vec<Option<i128>>>,
        column: Option<Column>,
        at: usize,
    ) -> Result<Option<u64>, String> {
        match (values, column) {
            (Some(values), Some(column)) if values.get(at).copied().flatten().is_some() => {
                self.needed(values, column, at).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn operation(&self, at: usize) -> Result<Operation, String> {
        let name = self.of.name(self.of.operation);
        let Some(text) = text(self.operation, at) else {
            return Err(format!("{name} is null"));
        };
        let found = if name.eq_ignore_ascii_case("opcode") && !text.is_empty() {
            text.parse()
                .ok()
                .and_then(|it| Operation::of(NvmOpcode(it)))
        } else {
            None
        };
        found.or_else(|| word(&text)).ok_or_else(|| {
            format!(
                "{name} is {text:?}, which is none of read, write, flush, discard, write_zeroes"
            )
        })
    }
}

/// The operation that people call `text`.
fn word(text: &str) -> Option<Operation> {
    let word = text.trim().to_ascii_lowercase().replace([' ', '-'], "_");
    Some(match word.as_str() {
        "read" | "r" | "rs" | "ra" | "rm" | "rd" => Operation::Read,
        "write" | "w" | "ws" | "wm" | "wsm" | "wr" => Operation::Write,
        "flush" | "f" | "ff" | "fsync" | "sync" | "fdatasync" => Operation::Flush,
        "discard" | "trim" | "trims" | "unmap" | "d" | "ds" | "deallocate"
        | "dataset_management" => Operation::Discard,
        "write_zeroes" | "write_zeros" | "writezeroes" | "wz" => Operation::WriteZeroes,
        _ => return None,
    })
}

/// The value in the row `at` as text; none for null.
fn text(array: &ArrayRef, at: usize) -> Option<String> {
    if at >= array.len() || array.is_null(at) {
        return None;
    }
    if let Some(texts) = array.as_string_opt::<i32>() {
        return Some(texts.value(at).to_owned());
    }
    if let Some(texts) = array.as_string_opt::<i64>() {
        return Some(texts.value(at).to_owned());
    }
    let one = array.slice(at, 1);
    let value = integers(&one)?.first().copied().flatten()?;
    Some(value.to_string())
}

/// All values of a column of integers, times or truth values.
fn integers(array: &ArrayRef) -> Option<Vec<Option<i128>>> {
    if let Some(values) = array.as_boolean_opt() {
        return Some(values.iter().map(|it| it.map(i128::from)).collect());
    }
    match array.data_type() {
        DataType::Int8 => all::<Int8Type>(array),
        DataType::Int16 => all::<Int16Type>(array),
        DataType::Int32 => all::<Int32Type>(array),
        DataType::Int64 => all::<Int64Type>(array),
        DataType::UInt8 => all::<UInt8Type>(array),
        DataType::UInt16 => all::<UInt16Type>(array),
        DataType::UInt32 => all::<UInt32Type>(array),
        DataType::UInt64 => all::<UInt64Type>(array),
        DataType::Timestamp(TimeUnit::Millisecond, _) => all::<TimestampMillisecondType>(array),
        DataType::Timestamp(TimeUnit::Microsecond, _) => all::<TimestampMicrosecondType>(array),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => all::<TimestampNanosecondType>(array),
        _ => None,
    }
}

fn all<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<Vec<Option<i128>>>
where
    i128: From<T::Native>,
{
    let values: &PrimitiveArray<T> = array.as_primitive_opt()?;
    Some(values.iter().map(|it| it.map(i128::from)).collect())
}

fn is_integer(kind: &DataType) -> bool {
    kind.is_integer()
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8)
}

/// The column with the first of `names` that is there, of a type that `fits`.
fn find(schema: &Schema, names: &[&str], fits: impl Fn(&DataType) -> bool) -> Option<usize> {
    names.iter().find_map(|name| {
        schema
            .fields()
            .iter()
            .position(|field| field.name().eq_ignore_ascii_case(name) && fits(field.data_type()))
    })
}

/// A column of one of `names`, its unit in its type or at the end of its name;
/// and whether its times are of day.
fn time(schema: &Schema, names: &[&str]) -> Option<(Column, bool)> {
    let fields = schema.fields();
    for name in names {
        for (index, field) in fields.iter().enumerate() {
            let found = field.name().to_ascii_lowercase();
            let Some(suffix) = found.strip_prefix(name) else {
                continue;
            };
            let unit = match (suffix, field.data_type()) {
                ("", DataType::Timestamp(TimeUnit::Millisecond, _)) => (1_000_000, true),
                ("", DataType::Timestamp(TimeUnit::Microsecond, _)) => (1_000, true),
                ("", DataType::Timestamp(TimeUnit::Nanosecond, _)) => (1, true),
                ("_ns" | "_nsec", kind) if is_integer(kind) => (1, false),
                ("_us" | "_usec", kind) if is_integer(kind) => (1_000, false),
                ("_ms" | "_msec", kind) if is_integer(kind) => (1_000_000, false),
                ("_s" | "_sec" | "_secs", kind) if is_integer(kind) => (1_000_000_000, false),
                _ => continue,
            };
            return Some((
                Column {
                    index,
                    unit: unit.0,
                },
                unit.1,
            ));
        }
    }
    None
}

/// As [`time`], of the same clock.
fn time_of(schema: &Schema, names: &[&str], unix: bool) -> Option<Column> {
    time(schema, names)
        .filter(|found| found.1 == unix)
        .map(|found| found.0)
}

fn size(schema: &Schema, sizes: &Sizes, block_bytes: u64) -> Option<Column> {
    let by = [
        (sizes.bytes, 1),
        (sizes.blocks, block_bytes),
        (sizes.sectors, 512),
    ];
    by.into_iter().find_map(|(names, unit)| {
        let index = find(schema, names, is_integer)?;
        Some(Column { index, unit })
    })
}

/// The most columns that a message names.
const SHOWN_MAX: usize = 40;

fn lacking(name: &str, what: &str, schema: &Schema) -> String {
    let mut text = format!("{name} has no column that is the {what}; it has ");
    for (index, field) in schema.fields().iter().take(SHOWN_MAX).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        // Cannot fail.
        let _ = write!(text, "{comma}{} ({})", field.name(), field.data_type());
    }
    if schema.fields().len() > SHOWN_MAX {
        text += " and more";
    }
    text += ": name the columns so in a copy, in SQL with SELECT ... AS";
    text
}
