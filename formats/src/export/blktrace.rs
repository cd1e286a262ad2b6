//! blktrace's binary file, version 7; see its importer.
//!
//! One file is one processor's, and blkparse shows no event of another that
//! stands in it: all are processor 0's.

use std::io::Write;

use traces::Header;

use super::completions::{Completions, Moment};
use super::{Carries, Export, IoExport, IoSink};
use crate::{FormatError, Io, Operation};

/// What it can hold.
pub(crate) const CARRIES: Carries = Carries {
    resolution_ns: 1,
    operations: &[
        Operation::Read,
        Operation::Write,
        Operation::Flush,
        Operation::Discard,
    ],
    latency: true,
    queue: false,
    device: true,
    fua: true,
    status: true,
};

const MAGIC: u32 = 0x6561_7407;
/// The major number of NVMe namespaces.
const MAJOR: u32 = 259;
/// EIO.
const ERROR: u16 = 5;

/// Categories and actions, as they stand in an event.
mod word {
    pub(super) const READ: u32 = 1 << 16;
    pub(super) const WRITE: u32 = 1 << 17;
    pub(super) const FLUSH: u32 = 1 << 18;
    pub(super) const QUEUE_ISSUE: u32 = 1 << 22;
    pub(super) const QUEUE_COMPLETE: u32 = 1 << 23;
    pub(super) const NOTIFY: u32 = 1 << 26;
    pub(super) const DISCARD: u32 = 1 << 29;
    pub(super) const FUA: u32 = 1 << 31;
    pub(super) const ISSUE: u32 = 7;
    pub(super) const COMPLETE: u32 = 8;
    pub(super) const TIMESTAMP: u32 = 1;
}

/// Starts to write one.
pub(crate) fn create(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    let mut sink = Blktrace {
        clock_ns: header.start.clock_ns,
        sequence: 0,
        completions: Completions::default(),
    };
    let mut start = Vec::new();
    if header.start.unix_ns > 0 {
        sink.notice(header.start.unix_ns, &mut start);
    }
    let export = IoExport::new(file, header, CARRIES, &start, sink)?;
    Ok(Box::new(export))
}

#[derive(Debug)]
struct Blktrace {
    clock_ns: u64,
    sequence: u32,
    completions: Completions,
}

/// The parts of an event that vary.
struct Event {
    time_ns: u64,
    sector: u64,
    bytes: u32,
    action: u32,
    device: u32,
    error: u16,
}

impl Blktrace {
    fn event(sequence: &mut u32, event: &Event, data: &[u8], out: &mut Vec<u8>) {
        *sequence = sequence.wrapping_add(1);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&event.time_ns.to_le_bytes());
        out.extend_from_slice(&event.sector.to_le_bytes());
        out.extend_from_slice(&event.bytes.to_le_bytes());
        out.extend_from_slice(&event.action.to_le_bytes());
        // No process is known.
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&event.device.to_le_bytes());
        // Processor 0.
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&event.error.to_le_bytes());
        let length = u16::try_from(data.len()).unwrap_or(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(data);
    }

    /// The time of day at time 0.
    fn notice(&mut self, unix_ns: u64, out: &mut Vec<u8>) {
        let part = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let [seconds, ns] = [unix_ns / 1_000_000_000, unix_ns % 1_000_000_000].map(part);
        let data = [seconds.to_le_bytes(), ns.to_le_bytes()].concat();
        let event = Event {
            time_ns: 0,
            sector: 0,
            bytes: 0,
            action: word::NOTIFY | word::TIMESTAMP,
            device: MAJOR << 20,
            error: 0,
        };
        Self::event(&mut self.sequence, &event, &data, out);
    }

    fn moment(sequence: &mut u32, clock_ns: u64, moment: &Moment, out: &mut Vec<u8>) {
        let io = &moment.io;
        let operation = match io.operation {
            Operation::Read => word::READ,
            Operation::Write | Operation::WriteZeroes => word::WRITE,
            Operation::Flush => word::WRITE | word::FLUSH,
            Operation::Discard => word::WRITE | word::DISCARD,
        };
        let stage = if moment.completed {
            word::QUEUE_COMPLETE | word::COMPLETE
        } else {
            word::QUEUE_ISSUE | word::ISSUE
        };
        let event = Event {
            time_ns: moment.at_ns.saturating_sub(clock_ns),
            sector: io.offset_bytes / 512,
            bytes: u32::try_from(io.length_bytes).unwrap_or(u32::MAX),
            action: operation | stage | if io.fua { word::FUA } else { 0 },
            device: MAJOR << 20 | io.device.min(0xf_ffff),
            error: if moment.completed && io.failed {
                ERROR
            } else {
                0
            },
        };
        Self::event(sequence, &event, &[], out);
    }
}

impl IoSink for Blktrace {
    /// Lengths have 32 bits.
    const LONGEST_BYTES: u64 = u32::MAX as u64;

    fn io(&mut self, io: &Io, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let (sequence, clock_ns) = (&mut self.sequence, self.clock_ns);
        self.completions
            .issue(io, |moment| Self::moment(sequence, clock_ns, moment, out));
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let (sequence, clock_ns) = (&mut self.sequence, self.clock_ns);
        self.completions.until(u64::MAX, |moment| {
            Self::moment(sequence, clock_ns, moment, out);
        });
    }
}
