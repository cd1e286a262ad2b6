//! Any text in columns: which is what, the user says.
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
//! order; quotes around a field are taken off.

use super::lines::{Line, Lines, Out};
use super::number::{billionths, integer, times};
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Operation};

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let refused = |problem: String| FormatError::Refused { problem };
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
        separator: None,
    };
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

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
    fn locate(&mut self, head: &[&str]) -> Result<(), String> {
        for field in self.all() {
            let Place::Name(name) = &field.place else {
                continue;
            };
            let index = head.iter().position(|it| it.eq_ignore_ascii_case(name));
            let index = index.ok_or_else(|| {
                format!(
                    "the first line has no column {name:?}, but {}",
                    head.join(", ")
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
    match text.trim().to_ascii_lowercase().as_str() {
        "r" | "rs" | "read" => Ok(Operation::Read),
        "w" | "ws" | "write" => Ok(Operation::Write),
        "f" | "flush" | "sync" => Ok(Operation::Flush),
        "d" | "t" | "discard" | "trim" | "unmap" | "deallocate" => Ok(Operation::Discard),
        "z" | "zero" | "write_zeroes" | "write zeroes" => Ok(Operation::WriteZeroes),
        _ => Err(format!(
            "the operation {text:?} is not known: op=COLUMN({text}=read) would make it one"
        )),
    }
}

#[derive(Debug)]
struct Table {
    columns: Columns,
    /// None before the first line.
    separator: Option<char>,
}

impl Table {
    fn request(&self, fields: &[&str], out: &mut Out) -> Result<(), String> {
        let text = |field: &Option<Field>, name: &str| match field {
            Some(Field {
                place: Place::Index(index),
                ..
            }) => {
                let value = fields.get(*index).copied();
                let missing = || format!("there is no column {} for the {name}", index + 1);
                value.map(Some).ok_or_else(missing)
            }
            _ => Ok(None),
        };
        let time = |field: &Option<Field>, name: &str| {
            let Some(value) = text(field, name)? else {
                return Ok(None);
            };
            let unit = field.as_ref().map_or(1, |it| it.unit);
            let ns = if value.contains('.') {
                billionths(value, name)? / (1_000_000_000 / unit)
            } else {
                times(integer(value, name)?, unit, name)?
            };
            Ok::<_, String>(Some(ns))
        };
        let bytes = |field: &Option<Field>, name: &str| {
            let value = text(field, name)?.unwrap_or_default();
            let unit = field.as_ref().map_or(1, |it| it.unit);
            times(integer(value, name)?, unit, name)
        };
        let columns = &self.columns;
        let said = text(&columns.operation, "operation")?.unwrap_or_default();
        let mapped = columns.operations.iter().find(|(value, _)| value == said);
        let operation = match mapped {
            Some((_, operation)) => *operation,
            None => word(said)?,
        };
        let at_ns = time(&columns.time, "time")?.unwrap_or(0);
        let mut io = Io::new(at_ns, operation, 0, 0);
        if operation != Operation::Flush {
            io.offset_bytes = bytes(&columns.offset, "offset")?;
            io.length_bytes = bytes(&columns.length, "length")?;
        }
        io.latency_ns = time(&columns.latency, "latency")?;
        if let Some(queue) = text(&columns.queue, "queue")? {
            io.queue = u16::try_from(integer(queue, "queue")?)
                .map_err(|_| format!("the queue {queue} is above 65535"))?;
        }
        if let Some(device) = text(&columns.device, "device")? {
            io.device = out.devices.index(device)?;
        }
        out.io(io);
        Ok(())
    }
}

impl Line for Table {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), String> {
        let first = self.separator.is_none();
        let separator = *self.separator.get_or_insert_with(|| {
            let known = [',', ';', '\t'];
            known
                .into_iter()
                .find(|it| line.contains(*it))
                .unwrap_or(' ')
        });
        let unquoted = |field: &'_ str| -> String { field.trim().trim_matches('"').to_owned() };
        let fields: Vec<String> = if separator == ' ' {
            line.split_ascii_whitespace().map(unquoted).collect()
        } else {
            line.split(separator).map(unquoted).collect()
        };
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        if first && self.columns.has_names() {
            return self.columns.locate(&fields);
        }
        let parsed = self.request(&fields, out);
        // A head that nobody asked for.
        if first && parsed.is_err() && fields.iter().all(|it| it.parse::<f64>().is_err()) {
            return Ok(());
        }
        parsed
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1,
            unix: false,
        }
    }
}
