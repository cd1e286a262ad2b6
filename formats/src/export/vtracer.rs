//! pynvme's vTracer; see its importer. A picture of the trace, and behind it a
//! zip with a member for each queue and five minutes.
//!
//! Members are written one after the other, and lines of all queues come mixed:
//! those of the last five minutes wait in temporary files, and so does the
//! archive until the picture, which stands before it, is complete.

mod picture;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Seek, Write};

use tempfile::SpooledTempFile;
use traces::Header;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use self::picture::Picture;
use super::{Carries, Export, IoExport, IoSink};
use crate::{FormatError, Io, Notes, Operation};

/// What it can hold.
pub(crate) const CARRIES: Carries = Carries {
    resolution_ns: 1_000,
    operations: &Operation::ALL,
    latency: false,
    queue: true,
    device: false,
    fua: false,
    status: false,
};

const SEGMENT_US: u64 = 300_000_000;
const BLOCK_BYTES: u64 = 512;
/// Queues that have members of their own; others share them.
const QUEUES_MAX: u16 = 256;
/// What is held in memory of a file before it goes to the disk, bytes.
const SPOOL_BYTES: usize = 1 << 18;

/// Starts to write one.
pub(crate) fn create(
    file: Box<dyn Write + Send>,
    header: &Header,
) -> Result<Box<dyn Export>, FormatError> {
    let sink = Vtracer {
        clock_ns: header.start.clock_ns,
        archive: ZipWriter::new(spool()),
        members: 0,
        segment: 0,
        queues: BTreeMap::new(),
        picture: Picture::new(),
        command: 0,
        notes: Notes::default(),
        problem: None,
    };
    Ok(Box::new(IoExport::new(file, header, CARRIES, &[], sink)?))
}

type Spool = BufWriter<SpooledTempFile>;

fn spool() -> Spool {
    BufWriter::new(SpooledTempFile::new(SPOOL_BYTES))
}

/// The start of what was written.
fn rewound(spool: Spool) -> io::Result<SpooledTempFile> {
    let mut file = spool.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

/// A queue's lines of the segment.
struct Queue {
    lines: Spool,
    /// The last line, where it is a discard: its time, and the number of its
    /// command.
    discard: Option<(u64, u64)>,
}

struct Vtracer {
    clock_ns: u64,
    archive: ZipWriter<Spool>,
    /// Members that are in it.
    members: u64,
    /// The segment that is being written.
    segment: u64,
    queues: BTreeMap<u16, Queue>,
    picture: Picture,
    /// The number of the command that is being written.
    command: u64,
    notes: Notes,
    /// The first thing that went wrong with a temporary file.
    problem: Option<io::Error>,
}

impl Vtracer {
    fn write(&mut self, io: &Io) -> io::Result<()> {
        let mut us = io.submit_ns.saturating_sub(self.clock_ns) / 1_000;
        if us / SEGMENT_US > self.segment {
            self.end_segment()?;
            self.segment = us / SEGMENT_US;
        } else if us / SEGMENT_US < self.segment {
            self.notes
                .count("times went back by minutes, and were moved ahead");
            us = self.segment.saturating_mul(SEGMENT_US);
        }
        self.picture
            .add(us, io.operation, io.offset_bytes, io.length_bytes);
        let number = io.queue.max(1);
        if number > QUEUES_MAX {
            self.notes
                .count("commands of queues above 256 were put on others");
        }
        let queue = self
            .queues
            .entry((number - 1) % QUEUES_MAX + 1)
            .or_insert_with(|| Queue {
                lines: spool(),
                discard: None,
            });
        let discards = io.operation == Operation::Discard;
        if discards
            && let Some((at, command)) = queue.discard
            && at == us
            && command != self.command
        {
            self.notes
                .count("discards at one time on one queue became one of several ranges");
        }
        queue.discard = discards.then_some((us, self.command));
        let operation = match io.operation {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Discard => "trims",
            Operation::Flush => "flush",
            Operation::WriteZeroes => "write_zeroes",
        };
        writeln!(
            queue.lines,
            "{} {operation} {} {}",
            us % SEGMENT_US,
            io.offset_bytes / BLOCK_BYTES,
            io.length_bytes / BLOCK_BYTES
        )
    }

    /// Puts the lines of the segment into the archive.
    fn end_segment(&mut self) -> io::Result<()> {
        for (queue, Queue { lines, .. }) in std::mem::take(&mut self.queues) {
            let mut lines = rewound(lines)?;
            let length = lines.seek(io::SeekFrom::End(0))?;
            lines.rewind()?;
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Deflated)
                .large_file(length >= u64::from(u32::MAX));
            let name = format!("tmp/pynvme_trace/{}/{queue}", self.segment);
            self.archive.start_file(name, options)?;
            io::copy(&mut lines, &mut self.archive)?;
            self.members += 1;
        }
        Ok(())
    }

    /// Writes the picture and the archive to `file`.
    fn end(&mut self, file: &mut dyn Write) -> io::Result<()> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        self.end_segment()?;
        if self.members == 0 {
            // An archive without a member is not known for one of vTracer's.
            self.queues.insert(
                1,
                Queue {
                    lines: spool(),
                    discard: None,
                },
            );
            self.end_segment()?;
        }
        file.write_all(&self.picture.png()?)?;
        let archive = std::mem::replace(&mut self.archive, ZipWriter::new(spool()));
        let mut archive = rewound(archive.finish()?)?;
        io::copy(&mut archive, file)?;
        Ok(())
    }
}

impl IoSink for Vtracer {
    fn begin(&mut self) {
        self.command += 1;
    }

    fn io(&mut self, io: &Io, _: &mut Vec<u8>) -> Result<(), &'static str> {
        if self.problem.is_none() {
            self.problem = self.write(io).err();
        }
        Ok(())
    }

    fn close(&mut self, file: &mut dyn Write, notes: &mut Notes) -> io::Result<()> {
        notes.extend(&self.notes);
        self.end(file)
    }
}
