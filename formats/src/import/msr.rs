//! MSR Cambridge: `Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime`,
//! times in Windows' 100 ns since 1601, offset and size in bytes.

use super::lines::{Line, Lines, Out};
use super::number::integer;
use super::splitter::exactly;
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Operation};

/// From 1601-01-01 to 1970-01-01, in units of 100 ns.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;

/// Whether `head` starts as such a file does.
pub(crate) fn recognize(head: &str) -> bool {
    let Some(line) = head.lines().find(|line| !is_head(line)) else {
        return false;
    };
    let Ok([time, _, disk, kind, offset, size, response]) = exactly(line.split(',')) else {
        return false;
    };
    let numbers = [time, disk, offset, size, response];
    numbers.iter().all(|it| integer(it, "").is_ok())
        && integer(time, "").is_ok_and(|time| time >= UNIX_EPOCH)
        && operation(kind).is_ok()
}

/// Whether `line` has the names of the columns, or nothing: the files as they
/// were published have no such line, some copies have.
fn is_head(line: &str) -> bool {
    let line = line.trim();
    let name = line.get(..10).unwrap_or(line);
    line.is_empty() || name.eq_ignore_ascii_case("timestamp,")
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    Ok(Box::new(Lines::new(input.streams()?, options, Msr)))
}

#[derive(Debug)]
struct Msr;

impl Line for Msr {
    type File = ();

    fn line(&mut self, (): &mut (), line: &str, out: &mut Out) -> Result<(), String> {
        if is_head(line) {
            return Ok(());
        }
        let [time, host, disk, kind, offset, size, response] = exactly(line.split(','))?;
        let ticks = integer(time, "time stamp")?
            .checked_sub(UNIX_EPOCH)
            .ok_or_else(|| format!("the time stamp {time} is before 1970"))?;
        let too_large = |what: &str| format!("the {what} is too large");
        let mut io = Io::new(
            ticks
                .checked_mul(100)
                .ok_or_else(|| too_large("time stamp"))?,
            operation(kind)?,
            integer(offset, "offset")?,
            integer(size, "size")?,
        );
        let response = integer(response, "response time")?;
        io.latency_ns = Some(
            response
                .checked_mul(100)
                .ok_or_else(|| too_large("response time"))?,
        );
        io.device = out.devices.index_of(format_args!("{host}.{disk}"))?;
        out.io(io);
        Ok(())
    }

    fn time(&self, (): &mut (), line: &str) -> Option<u64> {
        integer(line.split(',').next()?, "").ok()
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 100,
            unix: true,
        }
    }
}

fn operation(text: &str) -> Result<Operation, String> {
    match text.trim() {
        "Read" => Ok(Operation::Read),
        "Write" => Ok(Operation::Write),
        other => Err(format!("the type is {other:?}, but must be Read or Write")),
    }
}
