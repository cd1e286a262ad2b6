//! Tables whose first line has the names of the columns, of tools that write
//! more or fewer of them.
//!
//! | format | time | operation | place | latency | device |
//! |---|---|---|---|---|---|
//! | hfplayer, NetApp WLC | `ELAPSED_USECS.D` | `CMD.S` | `LBA.I`, `NBLKS.I`, 512 bytes | `LATENCY_USECS.D` | `LUN_SSID.I` |
//! | Open CAS iotrace | `header.timestamp`, ns | `io.operation` | `io.lba`, `io.len`, 512 bytes | `io.latency`, ns | `device.name` |
//! | Windows Performance Analyzer | `Init Time (s)` | `IO Type` | `Min Offset`, `Size (B)` | `IO Time (µs)` | `Disk` |
//!
//! hfplayer's names have their types after a point, and a `#` before the first.
//! In iotrace, a write of nothing is a flush. The analyzer's table of "Disk
//! Usage" has units in its names, and signs between thousands; where it has no
//! `Init Time`, it is that of completion less what it took. Of its layout
//! nothing is published: it is taken from the names that the program shows.

use super::lines::{Line, Lines, Out};
use super::number::{integer_or_hex, time, times};
use super::splitter::{Columns, Splitter};
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Operation};

/// One of these formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Wlc,
    Iotrace,
    Wpa,
}

const SECTOR: u64 = 512;
const US: u64 = 1_000;
const SECOND: u64 = 1_000_000_000;

/// Whether `text` starts as a trace of this `kind` does: with the names.
pub(crate) fn recognize(kind: Kind, text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.next().is_some_and(|line| {
        let mut splitter = Splitter::new(separator(line));
        Head::of(kind, splitter.split(line)).is_ok()
    })
}

/// Opens `input`.
pub(crate) fn open(
    kind: Kind,
    input: &Input,
    options: &ImportOptions,
) -> Result<Box<dyn Import>, FormatError> {
    let parser = Table { kind };
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

/// What stands between the fields of `head`.
fn separator(head: &str) -> u8 {
    let known = [b'\t', b';', b','];
    let found = known.into_iter().find(|it| head.as_bytes().contains(it));
    found.unwrap_or(b',')
}

/// A column, and how much its unit is, nanoseconds or bytes.
#[derive(Clone, Copy, Debug)]
struct Place {
    index: usize,
    unit: u64,
}

/// Where the columns stand.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// When it was issued; else when it completed.
    start: Option<Place>,
    end: Option<Place>,
    took: Option<Place>,
    operation: Place,
    offset: Place,
    length: Place,
    device: Option<Place>,
    flush: Option<Place>,
    fua: Option<Place>,
    failed: Option<Place>,
}

/// The unit that a name has in brackets; none where it has none that is known.
fn unit(name: &str) -> Option<u64> {
    let (_, unit) = name.rsplit_once('(')?;
    match unit.trim_end_matches(')') {
        "s" => Some(SECOND),
        "ms" => Some(1_000_000),
        "us" | "µs" | "μs" => Some(US),
        "ns" | "B" => Some(1),
        "KB" => Some(1 << 10),
        "MB" => Some(1 << 20),
        _ => None,
    }
}

impl Head {
    fn of(kind: Kind, names: Columns<'_>) -> Result<Self, String> {
        // A name without what may stand beside it.
        let plain = |name: &str| match kind {
            Kind::Wlc => {
                let name = name.trim_start_matches('#');
                let bare = name.split('.').next().unwrap_or_default();
                bare.trim().to_ascii_uppercase()
            }
            Kind::Iotrace => name.to_owned(),
            Kind::Wpa => {
                let bare = name.split('(').next().unwrap_or_default();
                bare.trim().to_ascii_lowercase()
            }
        };
        let find = |name: &str, of_kind: u64| {
            let mut all = names.iter().enumerate();
            let (index, said) = all.find(|(_, it)| plain(it) == name)?;
            let unit = unit(said).filter(|_| kind == Kind::Wpa);
            Some(Place {
                index,
                unit: unit.unwrap_or(of_kind),
            })
        };
        let wanted = |name: &str, unit: u64| {
            find(name, unit).ok_or_else(|| format!("the first line has no column {name}"))
        };
        let head = match kind {
            Kind::Wlc => Self {
                start: Some(wanted("ELAPSED_USECS", US)?),
                end: None,
                took: find("LATENCY_USECS", US),
                operation: wanted("CMD", 1)?,
                offset: wanted("LBA", SECTOR)?,
                length: wanted("NBLKS", SECTOR)?,
                device: find("LUN_SSID", 1).or_else(|| find("HOST_LUN", 1)),
                flush: None,
                fua: None,
                failed: None,
            },
            Kind::Iotrace => Self {
                start: Some(wanted("header.timestamp", 1)?),
                end: None,
                took: find("io.latency", 1),
                operation: wanted("io.operation", 1)?,
                offset: wanted("io.lba", SECTOR)?,
                length: wanted("io.len", SECTOR)?,
                device: find("device.name", 1),
                flush: find("io.flush", 1),
                fua: find("io.fua", 1),
                failed: find("io.error", 1),
            },
            Kind::Wpa => Self {
                start: find("init time", SECOND),
                end: find("complete time", SECOND),
                took: find("io time", US),
                operation: wanted("io type", 1)?,
                offset: wanted("min offset", 1)?,
                length: wanted("size", 1)?,
                device: find("disk", 1),
                flush: None,
                fua: None,
                failed: None,
            },
        };
        match (head.start, head.end, head.took) {
            (Some(_), ..) | (None, Some(_), Some(_)) => Ok(head),
            _ => Err("the first line has no column of the time of issue".to_owned()),
        }
    }
}

/// What is known of one file.
#[derive(Debug, Default)]
struct File {
    splitter: Splitter,
    /// None before the first line.
    head: Option<Head>,
    /// A number without the signs between thousands.
    digits: String,
}

/// A row, and room for one of its numbers.
struct Row<'a> {
    fields: Columns<'a>,
    digits: &'a mut String,
}

impl Row<'_> {
    /// The field at `place`; empty where there is none.
    fn text(&self, place: Place) -> &str {
        self.fields.get(place.index).unwrap_or_default()
    }

    /// Whether the field at `place` says yes.
    fn is(&self, place: Option<Place>) -> bool {
        place.is_some_and(|place| self.text(place).eq_ignore_ascii_case("true"))
    }

    /// The field at `place` without the signs between thousands.
    fn digits(&mut self, place: Place) -> &str {
        self.digits.clear();
        let text = self.fields.get(place.index).unwrap_or_default();
        self.digits.extend(text.chars().filter(|it| *it != ','));
        self.digits
    }

    /// The time at `place`, nanoseconds; none where there is none.
    fn ns(&mut self, place: Option<Place>, what: &str) -> Result<Option<u64>, String> {
        let Some(place) = place.filter(|place| !self.text(*place).is_empty()) else {
            return Ok(None);
        };
        time(self.digits(place), place.unit, what).map(Some)
    }

    /// The bytes at `place`.
    fn bytes(&mut self, place: Place, what: &str) -> Result<u64, String> {
        times(integer_or_hex(self.digits(place), what)?, place.unit, what)
    }
}

/// When a row was issued, and how long it took.
fn moment(head: &Head, row: &mut Row<'_>) -> Result<(u64, Option<u64>), String> {
    let start_ns = row.ns(head.start, "time of issue")?;
    let end_ns = row.ns(head.end, "time of completion")?;
    let took_ns = row.ns(head.took, "time that it took")?;
    match (start_ns, end_ns, took_ns) {
        (Some(start), Some(end), _) => Ok((start, Some(end.saturating_sub(start)))),
        (Some(start), None, took) => Ok((start, took)),
        (None, Some(end), Some(took)) => Ok((end.saturating_sub(took), Some(took.min(end)))),
        (None, ..) => Err("there is no time of issue".to_owned()),
    }
}

/// What `text` says that a request did; none where it is none that is read.
fn operation(kind: Kind, text: &str) -> Option<Operation> {
    let starts = |with: &str| {
        let start = text.get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    // SCSI's, with what stands after them.
    const COMMANDS: [(&str, Operation); 7] = [
        ("WRITE_SAME", Operation::WriteZeroes),
        ("RD", Operation::Read),
        ("READ", Operation::Read),
        ("WR", Operation::Write),
        ("UNMAP", Operation::Discard),
        ("SYNC", Operation::Flush),
        ("FLUSH", Operation::Flush),
    ];
    const WORDS: [(&str, Operation); 4] = [
        ("Read", Operation::Read),
        ("Write", Operation::Write),
        ("Discard", Operation::Discard),
        ("Flush", Operation::Flush),
    ];
    let found = match kind {
        Kind::Wlc => COMMANDS.iter().find(|it| starts(it.0)),
        Kind::Iotrace | Kind::Wpa => WORDS.iter().find(|it| text.eq_ignore_ascii_case(it.0)),
    };
    found.map(|it| it.1)
}

#[derive(Debug)]
struct Table {
    kind: Kind,
}

impl Table {
    fn row(&self, head: &Head, row: &mut Row<'_>, out: &mut Out) -> Result<(), String> {
        let Some(mut operation) = operation(self.kind, row.text(head.operation)) else {
            out.notes
                .count("rows that are neither reads nor writes were left out");
            return Ok(());
        };
        let (at_ns, took_ns) = moment(head, row)?;
        let device = match head.device.map(|place| row.text(place)) {
            None | Some("") => 0,
            Some(name) => match self.kind {
                Kind::Wlc => out.devices.index_of(format_args!("LUN {name}"))?,
                Kind::Iotrace => out.devices.index(name)?,
                Kind::Wpa => out.devices.index_of(format_args!("disk {name}"))?,
            },
        };
        let mut io = Io::new(at_ns, operation, 0, 0);
        if operation != Operation::Flush {
            io.offset_bytes = row.bytes(head.offset, "offset")?;
            io.length_bytes = row.bytes(head.length, "length")?;
        }
        if self.kind == Kind::Iotrace && operation == Operation::Write && io.length_bytes == 0 {
            operation = Operation::Flush;
            (io.operation, io.offset_bytes) = (operation, 0);
        }
        io.device = device;
        io.latency_ns = took_ns;
        io.failed = row.is(head.failed);
        io.fua = row.is(head.fua) && operation == Operation::Write;
        if row.is(head.flush) && operation != Operation::Flush {
            // It goes before.
            let mut flush = Io::new(at_ns, Operation::Flush, 0, 0);
            flush.device = device;
            out.io(flush);
        }
        out.io(io);
        Ok(())
    }
}

impl Line for Table {
    type File = File;

    fn line(&mut self, file: &mut File, line: &str, out: &mut Out) -> Result<(), String> {
        let Some(head) = &file.head else {
            file.splitter = Splitter::new(separator(line));
            file.head = Some(Head::of(self.kind, file.splitter.split(line))?);
            return Ok(());
        };
        let mut row = Row {
            fields: file.splitter.split(line),
            digits: &mut file.digits,
        };
        self.row(head, &mut row, out)
    }

    fn time(&self, file: &mut File, line: &str) -> Option<u64> {
        let head = file.head.as_ref()?;
        let mut row = Row {
            fields: file.splitter.split(line),
            digits: &mut file.digits,
        };
        moment(head, &mut row).ok().map(|it| it.0)
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1,
            unix: false,
        }
    }
}
