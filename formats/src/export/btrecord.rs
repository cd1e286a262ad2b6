//! btrecord's files; see their importer. Each request is a bunch of its own, so
//! that btreplay keeps its time.

use std::io::Write;

use traces::Header;

use super::{Carries, Export, IoExport, IoSink};
use crate::{FormatError, Io, Operation};

/// What they can hold.
pub(crate) const CARRIES: Carries = Carries {
    resolution_ns: 1,
    operations: &[Operation::Read, Operation::Write],
    latency: false,
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
    let sink = Btrecord {
        clock_ns: header.start.clock_ns,
    };
    // The counts are not known yet. btreplay reads to the end whatever they are,
    // but takes a file of 0 bunches for an empty one.
    let start: Vec<u8> = [0x10000_u64, 0, 1, 1]
        .into_iter()
        .flat_map(u64::to_le_bytes)
        .collect();
    let export = IoExport::new(file, header, CARRIES, &start, sink)?;
    Ok(Box::new(export))
}

#[derive(Debug)]
struct Btrecord {
    clock_ns: u64,
}

impl IoSink for Btrecord {
    fn io(&mut self, io: &Io, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let since_ns = io.submit_ns.saturating_sub(self.clock_ns);
        for number in [1, since_ns, io.offset_bytes / 512, io.length_bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let reads = u32::from(io.operation == Operation::Read);
        out.extend_from_slice(&reads.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        Ok(())
    }
}
