//! CloudPhysics' vscsi, version 2; see its importer.

use std::io::Write;

use traces::Header;

use super::{Carries, Export, IoExport, IoSink};
use crate::{FormatError, Io, Operation};

/// What it can hold.
pub(crate) const CARRIES: Carries = Carries {
    resolution_ns: 1_000,
    operations: &Operation::ALL,
    latency: true,
    queue: false,
    device: false,
    fua: false,
    status: false,
};

/// Starts to write one.
pub(crate) fn create(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    let sink = Vscsi {
        clock_ns: header.start.clock_ns,
        number: 0,
    };
    let export = IoExport::new(file, header, CARRIES, &[], sink)?;
    Ok(Box::new(export))
}

#[derive(Debug)]
struct Vscsi {
    clock_ns: u64,
    number: u32,
}

impl IoSink for Vscsi {
    /// Lengths have 32 bits.
    const LONGEST_BYTES: u64 = u32::MAX as u64;

    fn io(&mut self, io: &Io, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let Ok(bytes) = u32::try_from(io.length_bytes) else {
            return Err("requests of 4 GiB and more were left out");
        };
        let command: u16 = match io.operation {
            Operation::Read => 0x28,
            Operation::Write => 0x2a,
            Operation::Flush => 0x35,
            Operation::Discard => 0x42,
            Operation::WriteZeroes => 0x41,
        };
        out.extend_from_slice(&command.to_le_bytes());
        out.extend_from_slice(&0x0200_u16.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&bytes.to_le_bytes());
        // One piece of memory.
        out.extend_from_slice(&1_u32.to_le_bytes());
        out.extend_from_slice(&(io.offset_bytes / 512).to_le_bytes());
        let since_ns = io.submit_ns.saturating_sub(self.clock_ns);
        out.extend_from_slice(&(since_ns / 1_000).to_le_bytes());
        out.extend_from_slice(&(io.latency_ns.unwrap_or(0) / 1_000).to_le_bytes());
        self.number = self.number.wrapping_add(1);
        Ok(())
    }
}
