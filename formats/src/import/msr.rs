//! MSR Cambridge: `Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime`,
//! times in Windows' 100 ns since 1601, offset and size in bytes.

use super::lines::{Line, Lines, Out};
use super::number::integer;
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Operation};

/// From 1601-01-01 to 1970-01-01, in units of 100 ns.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;

/// Whether `head` starts as such a file does.
pub(crate) fn recognize(head: &str) -> bool {
    let Some(line) = head.lines().next() else {
        return false;
    };
    let fields: Vec<&str> = line.split(',').collect();
    let [time, _, disk, kind, offset, size, response] = fields.as_slice() else {
        return false;
    };
    let numbers = [time, disk, offset, size, response];
    numbers.iter().all(|it| it.trim().parse::<u64>().is_ok())
        && time
            .trim()
            .parse::<u64>()
            .is_ok_and(|time| time >= UNIX_EPOCH)
        && operation(kind).is_ok()
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    Ok(Box::new(Lines::new(input.streams()?, options, Msr)))
}

#[derive(Debug)]
struct Msr;

impl Line for Msr {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), String> {
        let fields: Vec<&str> = line.split(',').collect();
        let [time, host, disk, kind, offset, size, response] = fields.as_slice() else {
            return Err(format!("{} fields, where 7 belong", fields.len()));
        };
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
        io.device = out.devices.index(&format!("{host}.{disk}"))?;
        out.io(io);
        Ok(())
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
