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
    let parser = Iolog {
        version: None,
        waited_ns: 0,
    };
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

#[derive(Debug)]
struct Iolog {
    /// None before the first line.
    version: Option<u8>,
    /// Version 2: the last `wait`.
    waited_ns: u64,
}

impl Line for Iolog {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), String> {
        // Each of several files starts with it.
        if let Some(version) = version(line) {
            self.version = Some(version);
            self.waited_ns = 0;
            return Ok(());
        }
        let version = self
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
            self.waited_ns
        };
        let file = next("file")?;
        let operation = match next("action")? {
            "add" | "open" | "close" => return Ok(()),
            "wait" if version == 2 => {
                self.waited_ns = times(integer(next("time")?, "time")?, 1_000_000, "time")?;
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

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: if self.version == Some(2) {
                1_000_000
            } else {
                1_000
            },
            unix: false,
        }
    }
}
