//! Windows' disk I/O events as xperf's dumper prints them: `BeginHeader`, the
//! columns of each event, `EndHeader`, and then a line an event.
//!
//! `DiskRead` and `DiskWrite` are logged at their completion: the request was
//! issued ElapsedTime before. Times are microseconds; offsets and sizes are
//! hexadecimal, bytes. Columns are found by their names, which differ between
//! versions of Windows.

use super::lines::{Line, Lines, Out};
use super::number::{integer, times};
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Operation};

/// Whether `text` starts as such a file does.
pub(crate) fn recognize(text: &str) -> bool {
    text.lines()
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| line.trim() == "BeginHeader")
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    Ok(Box::new(Lines::new(input.streams()?, options, Etw)))
}

#[derive(Debug)]
struct Etw;

/// What is known of one file.
#[derive(Debug, Default)]
struct File {
    in_header: bool,
    /// Where the fields of each event stand, as [`EVENTS`] has them.
    places: [Option<Places>; EVENTS.len()],
}

const EVENTS: [(&str, Operation); 3] = [
    ("DiskRead", Operation::Read),
    ("DiskWrite", Operation::Write),
    ("DiskFlush", Operation::Flush),
];

/// The columns of an event: time stamp, elapsed time, disk, offset, size.
#[derive(Clone, Copy, Debug)]
struct Places([usize; 5]);

impl Places {
    /// Where `head`, the line of an event in the header, has them.
    fn of(head: &str, operation: Operation) -> Result<Self, String> {
        let find = |name: &str| {
            let place = head.split(',').position(|it| plain(it) == name);
            place.ok_or_else(|| format!("the head of {operation:?} has no {name}"))
        };
        // A flush has neither offset nor size.
        let or_none = |name: &str| match operation {
            Operation::Flush => Ok(usize::MAX),
            _ => find(name),
        };
        Ok(Self([
            find("timestamp")?,
            find("elapsedtime")?,
            find("disknum")?,
            or_none("byteoffset")?,
            or_none("iosize")?,
        ]))
    }

    /// The fields of `line` that stand there.
    fn fields<'a>(&self, line: &'a str) -> [&'a str; 5] {
        let mut found = [""; 5];
        for (at, field) in line.split(',').enumerate() {
            for (place, slot) in self.0.iter().zip(&mut found) {
                if *place == at {
                    *slot = field.trim();
                }
            }
        }
        found
    }
}

/// A name without blanks, as heads are written with more or fewer.
fn plain(name: &str) -> String {
    name.split_whitespace()
        .collect::<String>()
        .to_ascii_lowercase()
}

fn hexadecimal(text: &str, field: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    Some(digits)
        .filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|it| u64::from_str_radix(it, 16).ok())
        .ok_or_else(|| format!("the {field} is {text:?}, but must be hexadecimal"))
}

/// Which event `line` is of.
fn event(line: &str) -> Option<usize> {
    let name = line.split(',').next()?.trim();
    EVENTS.iter().position(|it| it.0 == name)
}

impl Line for Etw {
    type File = File;

    fn line(&mut self, file: &mut File, line: &str, out: &mut Out) -> Result<(), String> {
        match line.trim() {
            "BeginHeader" => {
                file.in_header = true;
                return Ok(());
            }
            "EndHeader" => {
                file.in_header = false;
                return Ok(());
            }
            _ => {}
        }
        let Some(event) = event(line) else {
            return Ok(());
        };
        let (Some((name, operation)), Some(places)) =
            (EVENTS.get(event), file.places.get_mut(event))
        else {
            return Ok(());
        };
        if file.in_header {
            *places = Some(Places::of(line, *operation)?);
            return Ok(());
        }
        let places = places.ok_or_else(|| format!("the head has no columns of {name}"))?;
        let [end, took, disk, offset, size] = places.fields(line);
        let end_ns = times(integer(end, "time stamp")?, 1_000, "time stamp")?;
        let took_ns = times(integer(took, "elapsed time")?, 1_000, "elapsed time")?;
        let took_ns = if took_ns > end_ns {
            out.notes
                .count("requests that were issued before the trace count from its start");
            end_ns
        } else {
            took_ns
        };
        let mut io = Io::new(end_ns - took_ns, *operation, 0, 0);
        io.latency_ns = Some(took_ns);
        if *operation != Operation::Flush {
            io.offset_bytes = hexadecimal(offset, "offset")?;
            io.length_bytes = hexadecimal(size, "size")?;
        }
        integer(disk, "number of the disk")?;
        io.device = out.devices.index_of(format_args!("disk {disk}"))?;
        out.io(io);
        Ok(())
    }

    fn time(&self, file: &mut File, line: &str) -> Option<u64> {
        let places = file.places.get(event(line)?)?.filter(|_| !file.in_header)?;
        integer(places.fields(line)[0], "").ok()
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1_000,
            unix: false,
        }
    }
}
