//! fio's iolog, versions 2 and 3.
//!
//! Version 3 has a time in microseconds before each line, then `file action
//! offset length`. Version 2 has no times but by `wait`, whose number fio's
//! code takes for milliseconds since the start of the job, whatever its manual
//! says; so it is taken here. `sync` and `datasync` are flushes, `trim` is a
//! discard. Files are devices. Offsets and lengths are bytes.

use super::lines::{Line, Lines, Out};
use super::number::{integer, times};
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Operation};

/// Whether `text` starts as such a file does.
pub(crate) fn recognize(text: &str) -> bool {
    version(text.lines().next().unwrap_or_default()).is_some()
}

fn version(line: &str) -> Option<u8> {
    match line.trim_end() {
        "fio version 2 iolog" => Some(2),
        "fio version 3 iolog" => Some(3),
        _ => None,
    }
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let parser = Iolog { has_2: false };
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

#[derive(Debug)]
struct Iolog {
    /// Whether there is a file of version 2.
    has_2: bool,
}

/// What is known of one file.
#[derive(Debug, Default)]
struct File {
    /// None before the first line.
    version: Option<u8>,
    /// Version 2: the last `wait`.
    waited_ns: u64,
}

impl Line for Iolog {
    type File = File;

    fn line(&mut self, at: &mut File, line: &str, out: &mut Out) -> Result<(), String> {
        // So does each part of files that were put together.
        if let Some(version) = version(line) {
            at.version = Some(version);
            at.waited_ns = 0;
            self.has_2 |= version == 2;
            return Ok(());
        }
        let version = at
            .version
            .ok_or("it does not start with \"fio version 2 iolog\" or \"... 3 iolog\"")?;
        let mut fields = line.split_ascii_whitespace();
        let mut next = |what: &str| {
            fields
                .next()
                .ok_or_else(|| format!("the {what} is missing"))
        };
        let at_ns = if version == 3 {
            times(integer(next("time")?, "time")?, 1_000, "time")?
        } else {
            at.waited_ns
        };
        let file = next("file")?;
        let operation = match next("action")? {
            "add" | "open" | "close" => return Ok(()),
            "wait" if version == 2 => {
                at.waited_ns = times(integer(next("time")?, "time")?, 1_000_000, "time")?;
                return Ok(());
            }
            "read" => Operation::Read,
            "write" => Operation::Write,
            "trim" => Operation::Discard,
            "sync" | "datasync" => Operation::Flush,
            other => return Err(format!("the action {other:?} is not known")),
        };
        let mut io = Io::new(at_ns, operation, 0, 0);
        if operation != Operation::Flush {
            io.offset_bytes = integer(next("offset")?, "offset")?;
            io.length_bytes = integer(next("length")?, "length")?;
        }
        io.device = out.devices.index(file)?;
        out.io(io);
        Ok(())
    }

    fn time(&self, at: &mut File, line: &str) -> Option<u64> {
        let mut fields = line.split_ascii_whitespace();
        match at.version? {
            3 => times(integer(fields.next()?, "").ok()?, 1_000, "").ok(),
            _ if fields.nth(1)? == "wait" => {
                times(integer(fields.next()?, "").ok()?, 1_000_000, "").ok()
            }
            _ => Some(at.waited_ns),
        }
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: if self.has_2 { 1_000_000 } else { 1_000 },
            unix: false,
        }
    }
}
