//! blkparse's text; see its importer.

use std::io::Write;

use traces::Header;

use super::completions::{Completions, Moment};
use super::{Carries, Export, IoExport, IoSink};
use crate::{FormatError, Io, Operation};

/// What it can hold.
pub(crate) const CARRIES: Carries = Carries {
    resolution_ns: 1,
    operations: &Operation::ALL,
    latency: true,
    queue: true,
    device: true,
    fua: true,
    status: true,
};

/// Starts to write one.
pub(crate) fn create(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    let sink = Blkparse {
        clock_ns: header.start.clock_ns,
        sequence: 0,
        completions: Completions::default(),
    };
    let export = IoExport::new(file, header, CARRIES, &[], sink)?;
    Ok(Box::new(export))
}

#[derive(Debug)]
struct Blkparse {
    clock_ns: u64,
    sequence: u64,
    completions: Completions,
}

fn line(sequence: &mut u64, clock_ns: u64, moment: &Moment, out: &mut Vec<u8>) {
    *sequence += 1;
    let io = &moment.io;
    let time_ns = moment.at_ns.saturating_sub(clock_ns);
    let letters = match io.operation {
        Operation::Read => "R",
        Operation::Write => "W",
        Operation::Flush => "FN",
        Operation::Discard => "D",
        Operation::WriteZeroes => "WZ",
    };
    let (action, end) = match (moment.completed, io.failed) {
        (false, _) => ("D", "[vssd]"),
        (true, false) => ("C", "[0]"),
        (true, true) => ("C", "[-5]"),
    };
    // Writing to memory does not fail.
    let _ = writeln!(
        out,
        "{:>3},{:<3} {:>2} {sequence:>8} {:>5}.{:09} {:>5} {action:>2} {letters:>3}{} {} + {} {end}",
        259,
        io.device,
        io.queue.saturating_sub(1),
        time_ns / 1_000_000_000,
        time_ns % 1_000_000_000,
        0,
        if io.fua { "F" } else { "" },
        io.offset_bytes / 512,
        io.length_bytes / 512,
    );
}

impl IoSink for Blkparse {
    fn io(&mut self, io: &Io, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let (sequence, clock_ns) = (&mut self.sequence, self.clock_ns);
        self.completions
            .issue(io, |moment| line(sequence, clock_ns, moment, out));
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let (sequence, clock_ns) = (&mut self.sequence, self.clock_ns);
        self.completions
            .until(u64::MAX, |moment| line(sequence, clock_ns, moment, out));
    }
}
