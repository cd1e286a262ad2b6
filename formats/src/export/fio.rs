//! fio's iolog; see its importer.

use std::collections::BTreeSet;
use std::io::Write;

use traces::Header;

use super::{Carries, Export, IoExport, IoSink};
use crate::{FormatError, Io, Operation};

const OPERATIONS: &[Operation] = &[
    Operation::Read,
    Operation::Write,
    Operation::Flush,
    Operation::Discard,
];

/// What version 3 can hold.
pub(crate) const CARRIES: Carries = Carries {
    resolution_ns: 1_000,
    operations: OPERATIONS,
    latency: false,
    queue: false,
    device: true,
    fua: false,
    status: false,
};

/// What version 2 can hold: its times are those of `wait`.
pub(crate) const CARRIES_2: Carries = Carries {
    resolution_ns: 1_000_000,
    ..CARRIES
};

/// Starts to write one of version 3.
pub(crate) fn create(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    let sink = Iolog::new(3, header);
    let start = b"fio version 3 iolog\n";
    Ok(Box::new(IoExport::new(file, header, CARRIES, start, sink)?))
}

/// Starts to write one of version 2.
pub(crate) fn create_2(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    let sink = Iolog::new(2, header);
    let start = b"fio version 2 iolog\n";
    Ok(Box::new(IoExport::new(
        file, header, CARRIES_2, start, sink,
    )?))
}

#[derive(Debug)]
struct Iolog {
    version: u8,
    clock_ns: u64,
    /// Files that were added.
    open: BTreeSet<u32>,
    /// The time of the last line, in the unit of the version.
    at: u64,
}

impl Iolog {
    fn new(version: u8, header: &Header) -> Self {
        Self {
            version,
            clock_ns: header.start.clock_ns,
            open: BTreeSet::new(),
            at: 0,
        }
    }

    fn write(&mut self, io: &Io, out: &mut Vec<u8>) -> std::io::Result<()> {
        let since_ns = io.submit_ns.saturating_sub(self.clock_ns);
        let file = Name(io.device);
        if self.version == 3 {
            // fio does not go back, and takes a time of 0 for none: the first
            // gap would be lost.
            self.at = self.at.max(since_ns / 1_000 + 1);
        }
        let at = At((self.version == 3).then_some(self.at));
        if self.open.insert(io.device) {
            writeln!(out, "{at}{file} add\n{at}{file} open")?;
        }
        if self.version == 2 && since_ns / 1_000_000 > self.at {
            self.at = since_ns / 1_000_000;
            writeln!(out, "{file} wait {} 0", self.at)?;
        }
        let action = match io.operation {
            Operation::Read => "read",
            Operation::Write | Operation::WriteZeroes => "write",
            Operation::Flush => "sync",
            Operation::Discard => "trim",
        };
        writeln!(
            out,
            "{at}{file} {action} {} {}",
            io.offset_bytes, io.length_bytes
        )
    }
}

/// What the file of a device is called.
struct Name(u32);

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "namespace{}", self.0.saturating_add(1))
    }
}

/// The time before a line, of version 3.
struct At(Option<u64>);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |at| write!(f, "{at} "))
    }
}

impl IoSink for Iolog {
    /// Lengths have 32 bits.
    const LONGEST_BYTES: u64 = u32::MAX as u64;

    fn io(&mut self, io: &Io, out: &mut Vec<u8>) -> Result<(), &'static str> {
        self.write(io, out)
            .map_err(|_| "commands could not be written")
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        for device in &self.open {
            let file = Name(*device);
            let line = match self.version {
                3 => format!("{} {file} close\n", self.at),
                _ => format!("{file} close\n"),
            };
            out.extend_from_slice(line.as_bytes());
        }
    }
}
