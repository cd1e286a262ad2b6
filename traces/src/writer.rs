//! Writing a trace.

mod options;
mod payload;
mod staged;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use nvme::{DSM_RANGES_MAX, DsmRange};

pub use self::options::{Effort, Resolution, WriterOptions};
use self::payload::PayloadWriter;
use self::staged::Staged;
use crate::codec::{self, FastScratch, Mark, OpenBlock, PackedMemory};
use crate::error::TraceError;
use crate::format::{
    BlockHeader, HEADER_FIXED_BYTES, HEADER_JSON_MAX, INDEX_ENTRY_BYTES, INDEX_FIXED_BYTES,
    INDEX_MAGIC, MAGIC, MAJOR, MINOR, MINOR_PLAIN, TRAILER_MAGIC,
};
use crate::row::{Rare, Row};
use crate::totals::{Counter, End, Totals};
use crate::{CommandRecord, EventRecord, Gap, Header, NamespaceInfo, Record};

/// The most ranges that are gathered before a block is closed.
const RANGES_A_BLOCK: usize = 1 << 16;
/// The most marks that are gathered before a block is closed.
const MARKS_A_BLOCK: usize = 1 << 12;
/// Blocks that come at once are written at once until they are so many bytes: less
/// of the system's work for each.
const BYTES_A_WRITE: usize = 1 << 18;

/// Writes a trace to a `sink`, a block at a time.
///
/// A file that ends after any of its blocks opens, by recovery, with everything up
/// to there. Where several blocks come at once ([`Writer::rows`]), they are written
/// at once.
/// Only [`Writer::finish`] writes the index; a writer that is dropped leaves
/// the open block unwritten, as a crash would.
///
/// ```
/// use traces::{Header, Writer, WriterOptions, Reader};
/// let header = Header { tool: "example 1".to_owned(), ..Header::default() };
/// let writer = Writer::new(Vec::new(), &header, WriterOptions::default())?;
/// let (bytes, totals) = writer.finish()?;
/// assert_eq!(totals.commands, 0);
/// assert_eq!(Reader::from_bytes(bytes)?.header(), &header);
/// # Ok::<(), traces::TraceError>(())
/// ```
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    name: String,
    options: WriterOptions,
    block: OpenBlock,
    /// The blocks on their way to the sink.
    staged: Staged,
    scratch: FastScratch,
    memory: PackedMemory,
    index: Vec<(u64, BlockHeader)>,
    /// Where the next block goes: the length of the file up to its last whole
    /// block.
    offset: u64,
    /// One more than the largest sequence number of a command so far, or the
    /// largest of an event: where a gap stands.
    next_sequence: u64,
    counter: Counter,
    /// None where the header says that there is no payload.
    payload: Option<PayloadWriter>,
}

impl Writer<File> {
    /// Creates the file `path` and writes the header.
    ///
    /// # Errors
    /// [`TraceError::Exists`] where `path` is there already and
    /// [`WriterOptions::overwrite`] is not set, [`TraceError::Io`] where the file
    /// cannot be created or written.
    pub fn create(
        path: impl AsRef<Path>,
        header: &Header,
        options: WriterOptions,
    ) -> Result<Self, TraceError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let mut open = OpenOptions::new();
        open.read(true).write(true);
        if options.overwrite {
            open.create(true).truncate(true);
        } else {
            open.create_new(true);
        }
        let file = open.open(path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => TraceError::Exists { path: name.clone() },
            _ => TraceError::Io {
                operation: "create",
                path: name.clone(),
                source,
            },
        })?;
        Self::named(file, name, header, options)
    }
}

impl<W: Write> Writer<W> {
    /// Writes the header to `sink`.
    ///
    /// # Errors
    /// [`TraceError::Io`] where the sink fails, [`TraceError::HeaderTooLong`] where the
    /// header takes more than a MiB.
    pub fn new(sink: W, header: &Header, options: WriterOptions) -> Result<Self, TraceError> {
        Self::named(sink, "the trace".to_owned(), header, options)
    }

    /// As [`Writer::new`], with the name that errors call the sink by.
    ///
    /// # Errors
    /// As [`Writer::new`].
    pub fn named(
        mut sink: W,
        name: String,
        header: &Header,
        options: WriterOptions,
    ) -> Result<Self, TraceError> {
        let clock = &header.clock;
        let bytes = if clock.resolution_ns < options.resolution.ns() {
            let mut coarse = header.clone();
            coarse.clock.resolution_ns = options.resolution.ns();
            header_bytes(&coarse)?
        } else {
            header_bytes(header)?
        };
        sink.write_all(&bytes)
            .map_err(|source| write_error(&name, source))?;
        Ok(Self {
            sink,
            name,
            options,
            block: OpenBlock::default(),
            // Widens.
            offset: bytes.len() as u64,
            staged: Staged::default(),
            scratch: FastScratch::default(),
            memory: PackedMemory::default(),
            index: Vec::new(),
            next_sequence: 0,
            counter: Counter::default(),
            payload: PayloadWriter::of(header, options.effort),
        })
    }

    /// Adds a command; `ranges` are those of a Dataset Management command,
    /// else empty. Commands may come in any order; those of a block are sorted
    /// by sequence.
    ///
    /// # Errors
    /// [`TraceError::Io`] where a full block could not be written (it is dropped,
    /// see [`Writer::whole_bytes`]), [`TraceError::TooManyRanges`].
    pub fn command(
        &mut self,
        record: &CommandRecord,
        ranges: &[DsmRange],
    ) -> Result<(), TraceError> {
        let rare = Rare::of(record);
        if rare.is_some() || !ranges.is_empty() {
            self.make_room(record, ranges)?;
            self.block.add_beside(rare, ranges);
        }
        self.rows(&[Row::of(record, record.sequence)])
    }

    /// Adds commands that have nothing but what a [`Row`] holds. So many that they
    /// are a block ([`Writer::block_commands`]) are encoded where they stand, where
    /// none is open and times are kept to the nanosecond.
    ///
    /// # Errors
    /// As [`Writer::command`].
    pub fn rows(&mut self, mut rows: &[Row]) -> Result<(), TraceError> {
        let limit = self.block_commands();
        while !rows.is_empty() {
            let resolution = self.options.resolution;
            let is_exact = resolution == Resolution::Nanosecond;
            if is_exact && self.block.is_empty() && rows.len() >= limit {
                while rows.len() >= limit && self.staged.bytes() < BYTES_A_WRITE {
                    let (block, rest) = rows.split_at(limit);
                    rows = rest;
                    self.stage(Some(block));
                }
                self.write_staged()?;
                continue;
            }
            let room = limit.saturating_sub(self.block.rows.len());
            let (some, rest) = rows.split_at(room.min(rows.len()));
            rows = rest;
            for row in some {
                let mut row = *row;
                row.cut_times(|ns| resolution.floor(ns));
                self.next_sequence = self.next_sequence.max(row.sequence.saturating_add(1));
                self.block.rows.push(row);
            }
            if self.block.rows.len() >= limit {
                self.flush_records()?;
            }
        }
        Ok(())
    }

    /// How many commands a full block has.
    #[must_use]
    pub fn block_commands(&self) -> usize {
        self.options.block_commands.clamp(1, 1 << 16) as usize
    }

    /// Closes the block where a command's ranges are too many for it.
    fn make_room(&mut self, record: &CommandRecord, ranges: &[DsmRange]) -> Result<(), TraceError> {
        if ranges.len() > DSM_RANGES_MAX {
            return Err(TraceError::TooManyRanges {
                sequence: record.sequence,
                ranges: ranges.len(),
            });
        }
        if self.block.beside.ranges.len() + ranges.len() > RANGES_A_BLOCK {
            self.flush_records()?;
        }
        Ok(())
    }

    /// Adds an event; it stands before the command with its sequence number.
    ///
    /// # Errors
    /// As [`Writer::command`].
    pub fn event(&mut self, record: &EventRecord) -> Result<(), TraceError> {
        self.reach(record.sequence);
        self.mark(Mark::Event(EventRecord {
            at_ns: self.options.resolution.floor(record.at_ns),
            ..*record
        }))
    }

    /// Adds a gap; it stands after the command with the largest sequence
    /// number so far, and after the events so far.
    ///
    /// # Errors
    /// As [`Writer::command`].
    pub fn gap(&mut self, gap: &Gap) -> Result<(), TraceError> {
        self.mark(Mark::Gap {
            place: self.next_sequence,
            gap: Gap {
                at_ns: self.options.resolution.floor(gap.at_ns),
                ..*gap
            },
        })
    }

    /// Says that the command with this sequence number is next: a gap that is
    /// added now stands before it, and after all before it, whether those are
    /// in the trace or not.
    pub fn reach(&mut self, sequence: u64) {
        self.next_sequence = self.next_sequence.max(sequence);
    }

    fn mark(&mut self, mark: Mark) -> Result<(), TraceError> {
        self.block.beside.marks.push(mark);
        if self.block.beside.marks.len() >= MARKS_A_BLOCK {
            self.flush_records()?;
        }
        Ok(())
    }

    /// Adds any record.
    ///
    /// # Errors
    /// As [`Writer::command`].
    pub fn record(&mut self, record: &Record) -> Result<(), TraceError> {
        match record {
            Record::Command {
                command,
                ranges,
                payload,
            } => {
                if let Some(payload) = payload {
                    self.payload_of(command, payload)?;
                }
                self.command(command, ranges)
            }
            Record::Event(event) => self.event(event),
            Record::Gap(gap) => self.gap(gap),
        }
    }

    /// Says at the end what was not known of the device when the header was
    /// written: readers take it for the header's.
    pub fn describe(&mut self, namespaces: Vec<NamespaceInfo>, io_queues: u32) {
        self.counter.describe(namespaces, io_queues);
    }

    /// How many records wait in the open block.
    #[must_use]
    pub fn pending(&self) -> usize {
        let payload = self.payload.as_ref().map_or(0, PayloadWriter::pending);
        self.block.rows.len() + self.block.beside.marks.len() + payload
    }

    /// Closes the open blocks, full or not, and writes them.
    ///
    /// # Errors
    /// [`TraceError::Io`] where the sink fails; the block is dropped, and the sink
    /// may hold a part of it (see [`Writer::whole_bytes`]).
    pub fn flush(&mut self) -> Result<(), TraceError> {
        self.flush_payload()?;
        self.flush_records()
    }

    fn flush_records(&mut self) -> Result<(), TraceError> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.stage(None);
        self.block.clear();
        self.write_staged()
    }

    /// Puts a block of `rows`, or of what is open where there are none, on its way.
    fn stage(&mut self, rows: Option<&[Row]>) {
        let block = self.block.full(rows);
        let header = self.staged.add(|bytes| {
            let (header, mut counts) = match self.options.effort {
                Effort::Fast => {
                    let scale = self.options.resolution.ns();
                    codec::encode_fast(block, scale, &mut self.scratch, bytes)
                }
                Effort::Packed => codec::encode_packed(block, &mut self.memory, bytes),
            };
            counts.add_marks(&block.beside.marks);
            (header, counts)
        });
        if rows.is_some() {
            self.reach(header.max_sequence.saturating_add(1));
        }
    }

    /// Writes what is on its way, and keeps the headers of what is whole in the sink.
    fn write_staged(&mut self) -> Result<(), TraceError> {
        let (index, offset, counter) = (&mut self.index, &mut self.offset, &mut self.counter);
        let written = self.staged.write(&mut self.sink, |header, counts| {
            index.push((*offset, header));
            *offset += header.stored_bytes();
            counter.add(counts);
        });
        written.map_err(|source| write_error(&self.name, source))
    }

    /// Length of the trace up to its last whole block, bytes. After a failed
    /// write, whoever owns the sink truncates it to this length before
    /// [`Writer::finish_with`]. After that, the length of all of it.
    #[must_use]
    pub fn whole_bytes(&self) -> u64 {
        self.offset
    }

    /// The sums over all blocks that were written.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.counter.totals(End::Cut)
    }

    /// The sink.
    pub fn sink_mut(&mut self) -> &mut W {
        &mut self.sink
    }

    /// Writes the open block and the index, and gives the sink back.
    ///
    /// # Errors
    /// [`TraceError::Io`] where the sink fails; the trace then opens by recovery.
    pub fn finish(self) -> Result<(W, Totals), TraceError> {
        self.finish_as(End::Clean)
    }

    /// As [`Writer::finish`], saying how the recording ended.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub fn finish_as(mut self, end: End) -> Result<(W, Totals), TraceError> {
        self.flush()?;
        let totals = self.finish_with(end)?;
        Ok((self.sink, totals))
    }

    /// Writes the index, saying how the recording ended; the open block is
    /// dropped. Nothing may be written afterwards.
    ///
    /// # Errors
    /// [`TraceError::Io`] where the sink fails; the trace then opens by recovery.
    pub fn finish_with(&mut self, end: End) -> Result<Totals, TraceError> {
        let totals = self.counter.totals(end);
        let bytes = index_bytes(&self.index, &totals, self.offset);
        self.sink
            .write_all(&bytes)
            .and_then(|()| self.sink.flush())
            .map_err(|source| write_error(&self.name, source))?;
        // Widens.
        self.offset += bytes.len() as u64;
        Ok(totals)
    }
}

fn write_error(name: &str, source: io::Error) -> TraceError {
    TraceError::Io {
        operation: "write",
        path: name.to_owned(),
        source,
    }
}

fn header_bytes(header: &Header) -> Result<Vec<u8>, TraceError> {
    let json = json(header);
    if json.len() > HEADER_JSON_MAX {
        return Err(TraceError::HeaderTooLong {
            bytes: json.len(),
            limit: HEADER_JSON_MAX,
        });
    }
    let len = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER_FIXED_BYTES + json.len() + 4);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&MAJOR.to_le_bytes());
    let minor = if header.payload.is_some() {
        MINOR
    } else {
        MINOR_PLAIN
    };
    bytes.extend_from_slice(&minor.to_le_bytes());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&json);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// JSON of a structure of strings and numbers, which cannot fail; should a
/// later one be able to, the reader says that the header is empty.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec())
}

/// Index and trailer of a file whose blocks end at `offset`.
fn index_bytes(index: &[(u64, BlockHeader)], totals: &Totals, offset: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(8 + index.len() * INDEX_ENTRY_BYTES + 512);
    // Widens, here and below.
    body.extend_from_slice(&(index.len() as u64).to_le_bytes());
    for (at, header) in index {
        body.extend_from_slice(&at.to_le_bytes());
        body.extend_from_slice(&header.encode());
    }
    body.extend_from_slice(&json(totals));
    let mut bytes = Vec::with_capacity(INDEX_FIXED_BYTES + body.len() + 16);
    bytes.extend_from_slice(&INDEX_MAGIC);
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&TRAILER_MAGIC);
    bytes.extend_from_slice(&crc32fast::hash(&offset.to_le_bytes()).to_le_bytes());
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes
}
