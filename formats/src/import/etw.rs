//! Windows' disk I/O events as xperf's dumper prints them: `BeginHeader`, the
//! columns of each event, `EndHeader`, and then a line an event.
//!
//! `DiskRead` and `DiskWrite` are logged at their completion: the request was
//! issued ElapsedTime before. Times are microseconds; offsets and sizes are
//! hexadecimal, bytes. Columns are found by their names, which differ between
//! versions of Windows.

use std::collections::HashMap;

use super::lines::{Line, Lines, Out};
use super::number::integer;
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
    let parser = Etw::default();
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

#[derive(Debug, Default)]
struct Etw {
    in_header: bool,
    /// The columns of each event that matters, by its name.
    events: HashMap<String, Vec<String>>,
}

fn operation(event: &str) -> Option<Operation> {
    match event {
        "DiskRead" => Some(Operation::Read),
        "DiskWrite" => Some(Operation::Write),
        "DiskFlush" => Some(Operation::Flush),
        _ => None,
    }
}

/// A name without blanks, as heads are written with more or fewer.
fn plain(name: &str) -> String {
    name.split_whitespace()
        .collect::<String>()
        .to_ascii_lowercase()
}

fn hexadecimal(text: &str, field: &str) -> Result<u64, String> {
    let digits = text.trim().trim_start_matches("0x");
    u64::from_str_radix(digits, 16)
        .map_err(|_| format!("the {field} is {text:?}, but must be hexadecimal"))
}

impl Line for Etw {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), String> {
        match line.trim() {
            "BeginHeader" => {
                self.in_header = true;
                return Ok(());
            }
            "EndHeader" => {
                self.in_header = false;
                return Ok(());
            }
            _ => {}
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let Some(event) = fields.first() else {
            return Ok(());
        };
        let Some(operation) = operation(event) else {
            return Ok(());
        };
        if self.in_header {
            let names = fields.iter().map(|name| plain(name)).collect();
            self.events.insert((*event).to_owned(), names);
            return Ok(());
        }
        let names = self
            .events
            .get(*event)
            .ok_or_else(|| format!("the head has no columns of {event}"))?;
        let find = |name: &str| {
            let index = names.iter().position(|it| it == name);
            index.and_then(|index| fields.get(index)).copied()
        };
        let field = |name: &str| find(name).ok_or_else(|| format!("there is no {name}"));
        let end_us = integer(field("timestamp")?, "time stamp")?;
        let took_us = integer(field("elapsedtime")?, "elapsed time")?;
        let start_us = end_us
            .checked_sub(took_us)
            .ok_or("it took longer than the trace")?;
        let mut io = Io::new(start_us.saturating_mul(1_000), operation, 0, 0);
        io.latency_ns = Some(took_us.saturating_mul(1_000));
        if operation != Operation::Flush {
            io.offset_bytes = hexadecimal(field("byteoffset")?, "offset")?;
            io.length_bytes = hexadecimal(field("iosize")?, "size")?;
        }
        let disk = field("disknum")?;
        io.device = out.devices.index(&format!("disk {disk}"))?;
        out.io(io);
        Ok(())
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1_000,
            unix: false,
        }
    }
}
