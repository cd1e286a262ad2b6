//! Writing the formats of other tools.

pub(crate) mod blkparse;
pub(crate) mod blktrace;
pub(crate) mod btrecord;
mod completions;
pub(crate) mod csv;
pub(crate) mod fio;
pub(crate) mod msr;
pub(crate) mod parquet;
pub(crate) mod simple;
pub(crate) mod vscsi;
pub(crate) mod vtracer;

use std::collections::BTreeMap;
use std::io::Write;

use nvme::DsmRange;
use traces::{CommandRecord, Header, Record};

use crate::{ByteRange, FormatError, Io, Notes, Operation};

/// Writes a foreign trace, a record after the other, in constant memory.
pub trait Export {
    /// Adds a record. Records come in the order of their submission.
    ///
    /// # Errors
    /// [`FormatError::Io`] where the file cannot be written.
    fn record(&mut self, record: &Record) -> Result<(), FormatError>;

    /// Writes what is left, and returns what could not be expressed.
    ///
    /// # Errors
    /// As [`Export::record`].
    fn finish(self: Box<Self>) -> Result<Notes, FormatError>;
}

/// What a format can hold of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a thing that a format has or has not"
)]
pub struct Carries {
    /// Its times are multiples of this, nanoseconds; 0 where it has none.
    pub resolution_ns: u64,
    /// The operations that it has.
    pub operations: &'static [Operation],
    /// Whether it has the time that a request took.
    pub latency: bool,
    /// Whether it tells queues apart.
    pub queue: bool,
    /// Whether it tells devices or namespaces apart.
    pub device: bool,
    /// Whether it has force unit access.
    pub fua: bool,
    /// Whether it says how a request ended.
    pub status: bool,
}

impl Carries {
    /// Nothing: of formats that are not written.
    pub const NOTHING: Self = Self {
        resolution_ns: 0,
        operations: &[],
        latency: false,
        queue: false,
        device: false,
        fua: false,
        status: false,
    };
}

/// Makes text or bytes of requests.
pub(crate) trait IoSink: Send {
    /// The longest request that the format has room for, bytes. What is longer
    /// comes in pieces.
    const LONGEST_BYTES: u64 = u64::MAX;

    /// A command comes next: a request, or several where it has more ranges
    /// than one or is too long.
    fn begin(&mut self) {}

    /// Appends what `io` is in this format to `out`.
    ///
    /// # Errors
    /// What of it the format cannot hold, in the words of [`Notes::count`]:
    /// it is left out then.
    fn io(&mut self, io: &Io, out: &mut Vec<u8>) -> Result<(), &'static str>;

    /// Appends what stands at the end of the file.
    fn finish(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Writes what stands at the end of the file and is too much to be held in
    /// memory, and counts what could not be expressed.
    fn close(&mut self, file: &mut dyn Write, notes: &mut Notes) -> std::io::Result<()> {
        let _ = (file, notes);
        Ok(())
    }
}

/// The longest range that is written in pieces, bytes: what claims more is no
/// range of a drive, and would be pieces without end.
const SPLIT_MAX: u64 = 1 << 47;

/// Writes requests, and counts what the format has no words for.
pub(crate) struct IoExport<S> {
    sink: S,
    file: Box<dyn Write + Send>,
    carries: Carries,
    header: Header,
    /// Bytes a block, by namespace.
    block_bytes: BTreeMap<u32, u32>,
    bytes: Vec<u8>,
    notes: Notes,
}

impl<S: IoSink> IoExport<S> {
    /// Writes what `sink` makes of requests to `file`, after `start`.
    pub(crate) fn new(
        mut file: Box<dyn Write + Send>,
        header: &Header,
        carries: Carries,
        start: &[u8],
        sink: S,
    ) -> Result<Self, FormatError> {
        file.write_all(start).map_err(write_error)?;
        Ok(Self {
            sink,
            file,
            carries,
            header: header.clone(),
            block_bytes: BTreeMap::new(),
            bytes: Vec::new(),
            notes: Notes::default(),
        })
    }

    fn command(&mut self, command: &CommandRecord, ranges: &[DsmRange]) -> Result<(), FormatError> {
        let Some(mut io) = self.io(command, ranges) else {
            return Ok(());
        };
        self.losses(command, &io);
        self.sink.begin();
        // Formats have a line for each range; so has the trace's reader, which
        // joins them again.
        let more = std::mem::take(&mut io.more);
        self.pieces(&mut io)?;
        for range in more {
            io.offset_bytes = range.offset_bytes;
            io.length_bytes = range.length_bytes;
            self.pieces(&mut io)?;
        }
        Ok(())
    }

    /// Writes `io`, of one range: in pieces where the format has no room for
    /// it whole.
    fn pieces(&mut self, io: &mut Io) -> Result<(), FormatError> {
        if io.length_bytes <= S::LONGEST_BYTES {
            return self.put(io);
        }
        if io.length_bytes > SPLIT_MAX {
            self.notes
                .count("requests of 128 TiB and more were left out");
            return Ok(());
        }
        self.notes
            .count("requests of 4 GiB and more were split, as the format has no longer ones");
        // A power of two, so that all pieces are whole blocks.
        let piece = S::LONGEST_BYTES / 2 + 1;
        let mut left = io.length_bytes;
        while left > 0 {
            io.length_bytes = left.min(piece);
            self.put(io)?;
            io.offset_bytes = io.offset_bytes.saturating_add(io.length_bytes);
            left -= io.length_bytes;
        }
        Ok(())
    }

    fn put(&mut self, io: &Io) -> Result<(), FormatError> {
        self.bytes.clear();
        match self.sink.io(io, &mut self.bytes) {
            Ok(()) => self.file.write_all(&self.bytes).map_err(write_error),
            Err(what) => {
                self.notes.count(what);
                Ok(())
            }
        }
    }

    /// `command` as a request; none, and counted, where the format has no such.
    fn io(&mut self, command: &CommandRecord, ranges: &[DsmRange]) -> Option<Io> {
        let Some(opcode) = command.nvm_opcode() else {
            self.notes.count("admin commands were left out");
            return None;
        };
        let operation = Operation::of(opcode).filter(|it| self.carries.operations.contains(it));
        let Some(operation) = operation else {
            self.notes.count(left_out(opcode));
            return None;
        };
        let header = &self.header;
        let block_bytes = *self
            .block_bytes
            .entry(command.nsid.0)
            .or_insert_with(|| header.block_bytes(command.nsid));
        let io = Io::of(command, operation, ranges, block_bytes);
        if io.is_none() {
            self.notes
                .count("commands without a range that fits in bytes were left out");
        }
        io
    }

    /// Counts what the format does not hold of `io`.
    fn losses(&mut self, command: &CommandRecord, io: &Io) {
        let carries = &self.carries;
        let losses = [
            (
                io.latency_ns.is_some() && !carries.latency,
                "completion times were left out",
            ),
            (
                io.latency_ns.is_none() && carries.latency,
                "commands that never completed have a time of 0",
            ),
            (
                io.fua && !carries.fua,
                "force unit access bits were left out",
            ),
            (io.failed && !carries.status, "errors were left out"),
            (
                io.queue != 1 && !carries.queue,
                "commands lost the number of their queue",
            ),
            (
                io.device != 0 && !carries.device,
                "commands lost the number of their namespace",
            ),
            (
                carries.resolution_ns > 1
                    && !command.submit_ns.is_multiple_of(carries.resolution_ns),
                "times were rounded down",
            ),
        ];
        for (lost, what) in losses {
            if lost {
                self.notes.count(what);
            }
        }
    }
}

impl<S: IoSink> Export for IoExport<S> {
    fn record(&mut self, record: &Record) -> Result<(), FormatError> {
        match record {
            Record::Command {
                command, ranges, ..
            } => self.command(command, ranges),
            Record::Event(_) => {
                self.notes.count("controller events were left out");
                Ok(())
            }
            Record::Gap(_) => {
                self.notes.count("gaps were left out");
                Ok(())
            }
        }
    }

    fn finish(mut self: Box<Self>) -> Result<Notes, FormatError> {
        self.bytes.clear();
        self.sink.finish(&mut self.bytes);
        self.file
            .write_all(&self.bytes)
            .and_then(|()| self.sink.close(&mut self.file, &mut self.notes))
            .and_then(|()| self.file.flush())
            .map_err(write_error)?;
        Ok(self.notes)
    }
}

impl Io {
    /// `command`, which does `operation` on a namespace of blocks of
    /// `block_bytes`, in bytes; none where its range does not fit.
    fn of(
        command: &CommandRecord,
        operation: Operation,
        ranges: &[DsmRange],
        block_bytes: u32,
    ) -> Option<Self> {
        let bytes = |lba: u64, blocks: u64| {
            Some(ByteRange {
                offset_bytes: lba.checked_mul(block_bytes.into())?,
                length_bytes: blocks.checked_mul(block_bytes.into())?,
            })
        };
        let of_range = |range: &DsmRange| bytes(range.lba().0, range.blocks.get().into());
        let own = command.lba_range();
        let (first, more) = match (own, ranges.split_first()) {
            (Some((lba, blocks)), _) => (bytes(lba.0, blocks.into())?, ranges),
            (None, Some((first, more))) => (of_range(first)?, more),
            (None, None) if operation == Operation::Flush => (ByteRange::default(), ranges),
            (None, None) => return None,
        };
        Some(Self {
            submit_ns: command.submit_ns,
            latency_ns: command.latency_ns(),
            operation,
            offset_bytes: first.offset_bytes,
            length_bytes: first.length_bytes,
            // Of one range, this takes no memory.
            more: more.iter().map(of_range).collect::<Option<_>>()?,
            fua: command.fua(),
            failed: command.completion.is_some_and(|it| !it.status.is_success()),
            queue: command.queue.0,
            device: command.nsid.0.saturating_sub(1),
        })
    }
}

/// What the command is called where rows have a column for it: "write_zeroes".
fn operation_name(command: &CommandRecord) -> String {
    let name = command.opcode_name();
    name.to_ascii_lowercase().replace([' ', '/', '-'], "_")
}

/// What is said of commands that a format has no word for.
fn left_out(opcode: nvme::NvmOpcode) -> &'static str {
    match Operation::of(opcode) {
        Some(Operation::Read) => "reads were left out",
        Some(Operation::Write) => "writes were left out",
        Some(Operation::Flush) => "flushes were left out",
        Some(Operation::Discard) => "discards were left out",
        Some(Operation::WriteZeroes) => "commands to write zeroes were left out",
        None => "commands that only NVMe has were left out",
    }
}

/// The output could not be written.
pub(crate) fn write_error(source: std::io::Error) -> FormatError {
    FormatError::io("write", "the output", source)
}
