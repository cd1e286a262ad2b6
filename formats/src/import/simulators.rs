//! Traces of simulators: `time device sector sectors type`, type 0 a write and
//! 1 a read; sectors of 512 bytes. DiskSim's times are milliseconds with a
//! fraction, MQSim's and SSDsim's nanoseconds. What has no fraction could be
//! any of them, and is not guessed.

use super::lines::{Line, Lines, Out};
use super::number::{integer, time, times};
use super::splitter::exactly;
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Operation};

/// Whether `text` starts as DiskSim's do: five fields, and times with a
/// fraction.
pub(crate) fn recognize_disksim(text: &str) -> bool {
    let Some(line) = text.lines().find(|line| !line.trim().is_empty()) else {
        return false;
    };
    let mut out = Out::default();
    let mut parser = Simulator { unit_ns: 1_000_000 };
    let first = line.split_ascii_whitespace().next().unwrap_or_default();
    first.contains('.') && parser.line(&mut (), line, &mut out).is_ok()
}

/// Opens `input`, a trace of DiskSim's.
pub(crate) fn open_disksim(
    input: &Input,
    options: &ImportOptions,
) -> Result<Box<dyn Import>, FormatError> {
    let parser = Simulator { unit_ns: 1_000_000 };
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

/// Opens `input`, a trace of MQSim's or SSDsim's.
pub(crate) fn open_mqsim(
    input: &Input,
    options: &ImportOptions,
) -> Result<Box<dyn Import>, FormatError> {
    let parser = Simulator { unit_ns: 1 };
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

#[derive(Debug)]
struct Simulator {
    unit_ns: u64,
}

impl Line for Simulator {
    type File = ();

    fn line(&mut self, (): &mut (), line: &str, out: &mut Out) -> Result<(), String> {
        let [at, device, sector, sectors, kind] = exactly(line.split_ascii_whitespace())?;
        let at_ns = time(at, self.unit_ns, "time")?;
        let operation = match kind {
            "0" => Operation::Write,
            "1" => Operation::Read,
            other => return Err(format!("the type is {other:?}, but must be 0 or 1")),
        };
        let mut io = Io::new(
            at_ns,
            operation,
            times(integer(sector, "sector")?, 512, "sector")?,
            times(integer(sectors, "length")?, 512, "length")?,
        );
        integer(device, "device")?;
        io.device = out.devices.index(device)?;
        out.io(io);
        Ok(())
    }

    fn time(&self, (): &mut (), line: &str) -> Option<u64> {
        let at = line.split_ascii_whitespace().next()?;
        time(at, self.unit_ns, "").ok()
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1,
            unix: false,
        }
    }
}
