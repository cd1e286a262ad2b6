//! Formats of one line a request, without a head, that say little; see their
//! importers.

use std::io::Write;

use traces::Header;

use super::{Carries, Export, IoExport, IoSink};
use crate::{FormatError, Io, Operation};

const READ_WRITE: &[Operation] = &[Operation::Read, Operation::Write];

/// What most of them can hold.
const LITTLE: Carries = Carries {
    resolution_ns: 1_000,
    operations: READ_WRITE,
    latency: false,
    queue: false,
    device: true,
    fua: false,
    status: false,
};

/// What SYSTOR '17 can hold.
pub(crate) const SYSTOR: Carries = Carries {
    latency: true,
    ..LITTLE
};
/// What Alibaba's can hold.
pub(crate) const ALIBABA: Carries = LITTLE;
/// What Tencent's can hold.
pub(crate) const TENCENT: Carries = Carries {
    resolution_ns: 1_000_000_000,
    ..LITTLE
};
/// What UMass SPC can hold.
pub(crate) const SPC: Carries = LITTLE;
/// What DiskSim's and MQSim's can hold.
pub(crate) const SIMULATOR: Carries = Carries {
    resolution_ns: 1,
    ..LITTLE
};

/// Writes the line of a request: when, since the start of the trace, and when
/// that was, in ns.
type Format = fn(&mut Vec<u8>, &Io, u64, u64) -> std::io::Result<()>;

#[derive(Debug)]
struct Simple {
    format: Format,
    clock_ns: u64,
    unix_ns: u64,
}

impl IoSink for Simple {
    fn io(&mut self, io: &Io, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let since_ns = io.submit_ns.saturating_sub(self.clock_ns);
        (self.format)(out, io, since_ns, self.unix_ns).map_err(|_| "commands could not be written")
    }
}

fn create(
    file: Box<dyn Write + Send>,
    header: &Header,
    carries: Carries,
    format: Format,
) -> Result<Box<dyn Export>, FormatError> {
    let sink = Simple {
        format,
        clock_ns: header.start.clock_ns,
        unix_ns: header.start.unix_ns,
    };
    Ok(Box::new(IoExport::new(file, header, carries, &[], sink)?))
}

/// `read` or `write`, by what `io` does.
fn kind(io: &Io, read: &'static str, write: &'static str) -> &'static str {
    if io.operation == Operation::Read {
        read
    } else {
        write
    }
}

/// Seconds with nine digits, down to microseconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let us = self.0 / 1_000;
        write!(f, "{}.{:06}000", us / 1_000_000, us % 1_000_000)
    }
}

/// Starts to write SYSTOR '17.
pub(crate) fn systor(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    create(file, header, SYSTOR, |out, io, since_ns, unix_ns| {
        write!(out, "{},", Seconds(unix_ns.saturating_add(since_ns)))?;
        if let Some(latency_ns) = io.latency_ns {
            write!(out, "{}", Seconds(latency_ns))?;
        }
        writeln!(
            out,
            ",{},{},{},{}",
            kind(io, "R", "W"),
            io.device,
            io.offset_bytes,
            io.length_bytes
        )
    })
}

/// Starts to write Alibaba's.
pub(crate) fn alibaba(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    create(file, header, ALIBABA, |out, io, since_ns, unix_ns| {
        writeln!(
            out,
            "{},{},{},{},{}",
            io.device,
            kind(io, "R", "W"),
            io.offset_bytes,
            io.length_bytes,
            unix_ns.saturating_add(since_ns) / 1_000
        )
    })
}

/// Starts to write Tencent's.
pub(crate) fn tencent(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    create(file, header, TENCENT, |out, io, since_ns, unix_ns| {
        writeln!(
            out,
            "{},{},{},{},{}",
            unix_ns.saturating_add(since_ns) / 1_000_000_000,
            io.offset_bytes / 512,
            io.length_bytes / 512,
            kind(io, "0", "1"),
            io.device
        )
    })
}

/// Starts to write UMass SPC.
pub(crate) fn spc(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    create(file, header, SPC, |out, io, since_ns, _| {
        let us = since_ns / 1_000;
        writeln!(
            out,
            "{},{},{},{},{}.{:06}",
            io.device,
            io.offset_bytes / 512,
            io.length_bytes,
            kind(io, "r", "w"),
            us / 1_000_000,
            us % 1_000_000
        )
    })
}

/// Starts to write DiskSim's.
pub(crate) fn disksim(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    create(file, header, SIMULATOR, |out, io, since_ns, _| {
        let (ms, ns) = (since_ns / 1_000_000, since_ns % 1_000_000);
        write!(out, "{ms}.{ns:06}")?;
        simulator(out, io)
    })
}

/// Starts to write MQSim's.
pub(crate) fn mqsim(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    create(file, header, SIMULATOR, |out, io, since_ns, _| {
        write!(out, "{since_ns}")?;
        simulator(out, io)
    })
}

/// What stands after the time.
fn simulator(out: &mut Vec<u8>, io: &Io) -> std::io::Result<()> {
    writeln!(
        out,
        " {} {} {} {}",
        io.device,
        io.offset_bytes / 512,
        io.length_bytes / 512,
        kind(io, "1", "0")
    )
}
