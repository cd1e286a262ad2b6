//! Any text in columns: which is what, the user says. What was written here
//! says it itself; see [`crate::csv`].
//!
//! `--columns` is a list of `FIELD=COLUMN` or `FIELD=UNIT:COLUMN`, by commas. A
//! column is its number, from 1, or its name in the first line. Fields:
//!
//! | field | units | |
//! |---|---|---|
//! | `time` | `s` (the default), `ms`, `us`, `ns` | when it was submitted; fractions are taken |
//! | `op` | | `R`/`W`, words such as `read`, `trim`, `flush`, or what `op=COLUMN(0=read 1=write)` says |
//! | `offset` | `bytes` (the default), `sectors` (512), `blocks` | where |
//! | `length` | as `offset` | how much |
//! | `latency` | as `time` | how long it took |
//! | `queue`, `device` | | which |
//!
//! `time`, `op`, `offset` and `length` are wanted. Fields are separated by
//! commas, semicolons, tabs or blanks, whichever the first line has, in this
//! order; quotes around a field are taken off, and hold it together. Lines that
//! start with `#` are remarks, but for the first. Places may be hexadecimal,
//! after `0x`. A flush needs no place, and what never completed no latency.
//! Times of this century are counted from 1970.

use super::lines::{Line, Lines, Out};
use super::number::{integer, integer_or_hex, time, times};
use super::splitter::{Columns as Fields, Splitter};
use super::{Import, ImportClock, ImportOptions};
use crate::input::decoded;
use crate::{FormatError, Input, Io, Operation};

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let refused = |problem: String| FormatError::Refused { problem };
    let mut streams = input.streams()?;
    if options.columns.is_none()
        && let Some(first) = streams.first_mut()
        && is_ours(first.head()?)
    {
        return super::commands::open(streams, options);
    }
    let text = options.columns.as_deref().ok_or_else(|| {
        refused(
            "which column is what? say it by --columns, such as \
             time=us:1,op=2,offset=bytes:3,length=bytes:4"
                .to_owned(),
        )
    })?;
    let columns = Columns::parse(text, options.block_bytes).map_err(refused)?;
    let parser = Table {
        columns,
        unix: None,
    };
    Ok(Box::new(Lines::new(streams, options, parser)))
}

/// Whether a file that starts with `head` was written here.
fn is_ours(head: Vec<u8>) -> bool {
    let head = decoded(head);
    let line = head.split(|it| *it == b'\n').next().unwrap_or_default();
    std::str::from_utf8(line).is_ok_and(super::commands::recognize)
}

/// Of times that are counted from 1970, those of this century.
const CENTURY: std::ops::Range<u64> = 946_684_800_000_000_000..4_102_444_800_000_000_000;

/// Where a field stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The column with this index.
    Index(usize),
    /// The column with this name, which the first line has.
    Name(String),
}

/// A field: where it stands, and how much its unit is, in ns or bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    place: Place,
    unit: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Columns {
    time: Option<Field>,
    operation: Option<Field>,
    offset: Option<Field>,
    length: Option<Field>,
    latency: Option<Field>,
    queue: Option<Field>,
    device: Option<Field>,
    /// What the file says, and what it means.
    operations: Vec<(String, Operation)>,
}

impl Columns {
    fn parse(text: &str, block_bytes: u32) -> Result<Self, String> {
        let mut columns = Self::default();
        for part in text.split(',') {
            let (name, place) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is no FIELD=COLUMN"))?;
            let (place, map) = match place.split_once('(') {
                Some((place, map)) => (place, Some(map.trim_end_matches(')'))),
                None => (place, None),
            };
            let (unit, place) = match place.split_once(':') {
                Some((unit, place)) => (Some(unit), place),
                None => (None, place),
            };
            let unit = unit_of(name, unit, block_bytes)?;
            let place = match place.parse::<usize>() {
                Ok(0) => return Err("columns are counted from 1".to_owned()),
                Ok(number) => Place::Index(number - 1),
                Err(_) => Place::Name(place.to_owned()),
            };
            for entry in map.unwrap_or_default().split_ascii_whitespace() {
                let (said, meant) = entry
                    .split_once('=')
                    .ok_or_else(|| format!("{entry:?} is no VALUE=OPERATION"))?;
                columns.operations.push((said.to_owned(), word(meant)?));
            }
            let field = match name {
                "time" => &mut columns.time,
                "op" => &mut columns.operation,
                "offset" => &mut columns.offset,
                "length" => &mut columns.length,
                "latency" => &mut columns.latency,
                "queue" => &mut columns.queue,
                "device" => &mut columns.device,
                other => {
                    return Err(format!(
                        "there is no field {other:?}: they are time, op, offset, length, latency, \
                         queue, device"
                    ));
                }
            };
            *field = Some(Field { place, unit });
        }
        for (field, name) in [
            (&columns.time, "time"),
            (&columns.operation, "op"),
            (&columns.offset, "offset"),
            (&columns.length, "length"),
        ] {
            if field.is_none() {
                return Err(format!("--columns says nothing of {name}, which is wanted"));
            }
        }
        Ok(columns)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Field> {
        [
            &mut self.time,
            &mut self.operation,
            &mut self.offset,
            &mut self.length,
            &mut self.latency,
            &mut self.queue,
            &mut self.device,
        ]
        .into_iter()
        .flatten()
    }

    fn has_names(&self) -> bool {
        let mut copy = self.clone();
        copy.all()
            .any(|field| matches!(field.place, Place::Name(_)))
    }

    /// Finds the columns that were named in the first line.
    fn locate(&mut self, head: Fields<'_>) -> Result<(), String> {
        for field in self.all() {
            let Place::Name(name) = &field.place else {
                continue;
            };
            let index = head.iter().position(|it| it.eq_ignore_ascii_case(name));
            let index = index.ok_or_else(|| {
                let names: Vec<&str> = head.iter().collect();
                format!(
                    "the first line has no column {name:?}, but {}",
                    names.join(", ")
                )
            })?;
            field.place = Place::Index(index);
        }
        Ok(())
    }
}

fn unit_of(field: &str, unit: Option<&str>, block_bytes: u32) -> Result<u64, String> {
    match (field, unit) {
        ("time" | "latency", None | Some("s")) => Ok(1_000_000_000),
        ("time" | "latency", Some("ms")) => Ok(1_000_000),
        ("time" | "latency", Some("us")) => Ok(1_000),
        ("time" | "latency", Some("ns")) => Ok(1),
        ("offset" | "length", Some("sectors")) => Ok(512),
        ("offset" | "length", Some("blocks")) => Ok(block_bytes.into()),
        ("offset" | "length", None | Some("bytes")) | (_, None) => Ok(1),
        (_, Some(unit)) => Err(format!(
            "{unit:?} is no unit of {field}: times have s, ms, us, ns, places bytes, sectors, blocks"
        )),
    }
}

/// An operation, as people write it.
fn word(text: &str) -> Result<Operation, String> {
    const WORDS: [(Operation, &[&str]); 5] = [
        (Operation::Read, &["r", "rs", "read"]),
        (Operation::Write, &["w", "ws", "write"]),
        (Operation::Flush, &["f", "flush", "sync"]),
        (
            Operation::Discard,
            &["d", "t", "discard", "trim", "unmap", "deallocate"],
        ),
        (
            Operation::WriteZeroes,
            &["z", "zero", "write_zeroes", "write zeroes"],
        ),
    ];
    let said = text.trim();
    let says = |words: &[&str]| words.iter().any(|it| it.eq_ignore_ascii_case(said));
    let found = WORDS.iter().find(|(_, words)| says(words));
    found.map(|it| it.0).ok_or_else(|| {
        format!("the operation {text:?} is not known: op=COLUMN({text}=read) would make it one")
    })
}

#[derive(Debug)]
struct Table {
    columns: Columns,
    /// Whether times are counted from 1970, as far as the first tells.
    unix: Option<bool>,
}

/// What is known of one file.
#[derive(Debug, Default)]
struct File {
    /// None before the first line.
    layout: Option<Layout>,
}

#[derive(Debug)]
struct Layout {
    splitter: Splitter,
    columns: Columns,
    /// Whether a line that was no head was seen.
    begun: bool,
}

impl Layout {
    /// That of a file whose first line is `line`.
    fn of(line: &str, columns: &Columns) -> Self {
        let known = [b',', b';', b'\t'];
        let separator = known
            .into_iter()
            .find(|it| line.as_bytes().contains(it))
            .unwrap_or(b' ');
        Self {
            splitter: Splitter::new(separator),
            columns: columns.clone(),
            begun: false,
        }
    }
}

/// The value of `field`, where it was asked for.
fn text<'a>(
    field: Option<&Field>,
    fields: Fields<'a>,
    name: &str,
) -> Result<Option<&'a str>, String> {
    let Some(Field {
        place: Place::Index(index),
        ..
    }) = field
    else {
        return Ok(None);
    };
    let missing = || format!("there is no column {} for the {name}", index + 1);
    fields.get(*index).map(Some).ok_or_else(missing)
}

/// The time in `field`, nanoseconds.
fn time_of(field: Option<&Field>, fields: Fields<'_>, name: &str) -> Result<Option<u64>, String> {
    let Some(value) = text(field, fields, name)? else {
        return Ok(None);
    };
    time(value, field.map_or(1, |it| it.unit), name).map(Some)
}

/// The bytes in `field`.
fn bytes_of(field: Option<&Field>, fields: Fields<'_>, name: &str) -> Result<u64, String> {
    let value = text(field, fields, name)?.unwrap_or_default();
    let unit = field.map_or(1, |it| it.unit);
    times(integer_or_hex(value, name)?, unit, name)
}

fn request(columns: &Columns, fields: Fields<'_>, out: &mut Out) -> Result<Io, String> {
    let said = text(columns.operation.as_ref(), fields, "operation")?.unwrap_or_default();
    let mapped = columns.operations.iter().find(|(value, _)| value == said);
    let operation = match mapped {
        Some((_, operation)) => *operation,
        None => word(said)?,
    };
    let at_ns = time_of(columns.time.as_ref(), fields, "time")?.unwrap_or(0);
    let mut io = Io::new(at_ns, operation, 0, 0);
    if operation != Operation::Flush {
        io.offset_bytes = bytes_of(columns.offset.as_ref(), fields, "offset")?;
        io.length_bytes = bytes_of(columns.length.as_ref(), fields, "length")?;
    }
    // What never completed has none.
    let latency = columns.latency.as_ref();
    if text(latency, fields, "latency")?.is_some_and(|it| !it.is_empty()) {
        io.latency_ns = time_of(latency, fields, "latency")?;
    }
    let queue = text(columns.queue.as_ref(), fields, "queue")?;
    if let Some(queue) = queue.filter(|it| !it.is_empty()) {
        io.queue = u16::try_from(integer(queue, "queue")?)
            .map_err(|_| format!("the queue {queue} is above 65535"))?;
    }
    if let Some(device) = text(columns.device.as_ref(), fields, "device")? {
        io.device = out.devices.index(device)?;
    }
    Ok(io)
}

impl Line for Table {
    type File = File;

    fn line(&mut self, file: &mut File, line: &str, out: &mut Out) -> Result<(), String> {
        let first = file.layout.is_none();
        // Some mark their heads, and remarks, so.
        let remark = line.trim_start().strip_prefix('#');
        if remark.is_some() && !first {
            return Ok(());
        }
        let line = remark.unwrap_or(line);
        let layout = file
            .layout
            .get_or_insert_with(|| Layout::of(line, &self.columns));
        let fields = layout.splitter.split(line);
        if first && layout.columns.has_names() {
            return layout.columns.locate(fields);
        }
        let parsed = request(&layout.columns, fields, out);
        // A head that nobody asked for.
        if !layout.begun && parsed.is_err() && fields.iter().all(|it| it.parse::<f64>().is_err()) {
            layout.begun = true;
            return Ok(());
        }
        layout.begun = true;
        let io = parsed?;
        self.unix.get_or_insert(CENTURY.contains(&io.submit_ns));
        out.io(io);
        Ok(())
    }

    fn time(&self, file: &mut File, line: &str) -> Option<u64> {
        let layout = file.layout.as_mut()?;
        let fields = layout.splitter.split(line);
        time_of(layout.columns.time.as_ref(), fields, "").ok()?
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1,
            unix: self.unix.unwrap_or(false),
        }
    }
}
