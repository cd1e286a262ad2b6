//! MSR Cambridge CSV; see its importer.

use std::io::Write;

use traces::Header;

use super::{Carries, Export, IoExport, IoSink};
use crate::{FormatError, Io, Operation};

/// What it can hold.
pub(crate) const CARRIES: Carries = Carries {
    resolution_ns: 100,
    operations: &[Operation::Read, Operation::Write],
    latency: true,
    queue: false,
    device: true,
    fua: false,
    status: false,
};

/// From 1601-01-01 to 1970-01-01, in units of 100 ns.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;

/// Starts to write one.
pub(crate) fn create(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    let sink = Msr {
        clock_ns: header.start.clock_ns,
        unix_ns: header.start.unix_ns,
    };
    let export = IoExport::new(file, header, CARRIES, &[], sink)?;
    Ok(Box::new(export))
}

#[derive(Debug)]
struct Msr {
    clock_ns: u64,
    unix_ns: u64,
}

impl IoSink for Msr {
    fn io(&mut self, io: &Io, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let since_ns = io.submit_ns.saturating_sub(self.clock_ns);
        let ticks = self.unix_ns.saturating_add(since_ns) / 100;
        let operation = if io.operation == Operation::Read {
            "Read"
        } else {
            "Write"
        };
        let written = writeln!(
            out,
            "{},vssd,{},{operation},{},{},{}",
            ticks.saturating_add(UNIX_EPOCH),
            io.device,
            io.offset_bytes,
            io.length_bytes,
            io.latency_ns.unwrap_or(0) / 100,
        );
        written.map_err(|_| "commands could not be written")
    }
}
