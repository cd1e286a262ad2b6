//! Reading a trace.

mod salvage;
mod scan;
mod sequences;

pub use salvage::{Hole, Salvage};

use std::fmt;
use std::io;
use std::path::Path;

use crate::block::{Block, BlockInfo};
use crate::codec;
use crate::error::{Flaw, TraceError};
use crate::format::{
    BLOCK_HEADER_BYTES, BLOCK_MAGIC, BlockHeader, Fields, HEADER_FIXED_BYTES, HEADER_JSON_MAX,
    INDEX_BYTES_MAX, INDEX_ENTRY_BYTES, INDEX_MAGIC, MAGIC, MAJOR, TRAILER_BYTES, TRAILER_MAGIC,
};
use crate::payload::PayloadBlock;
use crate::records::Records;
use crate::source::Source;
use crate::totals::{Counter, End, Totals};
use crate::{Header, Summary};

/// Reads a trace.
///
/// Nothing in the file is trusted: every block is checked against its
/// checksum, every length against a limit. A file without an index (the
/// recording program died, or still records) opens up to its last whole block.
/// A reader can be shared by threads, each decoding blocks of its own.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    name: String,
    header: Header,
    version: (u16, u16),
    index: Vec<BlockInfo>,
    totals: Totals,
    recovery: Option<Recovery>,
    salvaged: Option<Box<salvage::Salvaged>>,
}

/// What was found in a trace that has no index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Whole blocks.
    pub blocks: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes after the last whole block.
    pub incomplete_bytes: u64,
    /// Why the index was not used.
    pub reason: String,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            blocks,
            records,
            incomplete_bytes,
            reason,
        } = self;
        let (blocks, records) = (count(*blocks, "block"), count(*records, "record"));
        write!(f, "{reason}: recovered {blocks}, {records}")?;
        if *incomplete_bytes > 0 {
            write!(
                f,
                "; the last {incomplete_bytes} bytes are an incomplete block"
            )?;
        }
        Ok(())
    }
}

/// "1 block", "2 blocks".
fn count(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

impl Reader {
    /// Opens the file `path`.
    ///
    /// # Errors
    /// [`TraceError::Io`], [`TraceError::NotATrace`], [`TraceError::TooNew`], or
    /// [`TraceError::Damaged`] where not even the header is whole.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        let (source, name) = Source::open(path.as_ref())?;
        Self::new(source, name)
    }

    /// Opens a trace in memory.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, TraceError> {
        Self::new(Source::Bytes(bytes), "the trace".to_owned())
    }

    fn new(source: Source, name: String) -> Result<Self, TraceError> {
        let len = source.len().map_err(|error| read_error(&name, error))?;
        let (header, version, blocks_from) = read_header(&source, &name, len)?;
        let mut reader = Self {
            source,
            name,
            header,
            version,
            index: Vec::new(),
            totals: Totals::default(),
            recovery: None,
            salvaged: None,
        };
        match reader.read_index(len, blocks_from)? {
            Ok((index, totals)) => {
                reader.index = index;
                reader.describe(&totals);
                reader.totals = totals;
            }
            Err(Flaw::TooNew(what)) => {
                return Err(Flaw::TooNew(what).at(&reader.name, len));
            }
            Err(Flaw::Damaged(reason)) => reader.recover(len, blocks_from, reason)?,
        }
        Ok(reader)
    }

    /// What was known of the device at the end only.
    fn describe(&mut self, totals: &Totals) {
        if !totals.namespaces.is_empty() {
            self.header.namespaces.clone_from(&totals.namespaces);
        }
        if totals.io_queues != 0 {
            self.header.io_queues = totals.io_queues;
        }
    }

    /// What the trace says about itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The version of the format, major and minor.
    #[must_use]
    pub fn version(&self) -> (u16, u16) {
        self.version
    }

    /// Whether it holds anything of what was written.
    #[must_use]
    pub fn has_payload(&self) -> bool {
        self.index.iter().any(BlockInfo::is_payload)
    }

    /// What errors call the file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its blocks, in file order.
    #[must_use]
    pub fn index(&self) -> &[BlockInfo] {
        &self.index
    }

    /// The sums over all records.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whether the trace has no index and was opened up to its last whole
    /// block.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        self.recovery.is_some()
    }

    /// What was found where [`Reader::is_recovered`].
    #[must_use]
    pub fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// All records in submission order: commands by sequence, events and gaps
    /// where they belong between them. Ends after the first error. Takes at
    /// most about 50 MiB, whatever the length of the trace.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records::new(self, 0)
    }

    /// As [`Reader::records`], from `at_ns` of the trace's clock on: what was
    /// submitted, or happened, before is left out, and blocks of nothing else
    /// are not read.
    #[must_use]
    pub fn records_since(&self, at_ns: u64) -> Records<'_> {
        Records::new(self, at_ns)
    }

    /// As [`Reader::records`], without reading the blocks that `wanted` is false
    /// of.
    #[must_use]
    pub fn records_of(&self, wanted: impl Fn(&BlockInfo) -> bool) -> Records<'_> {
        Records::of(self, wanted)
    }

    /// All blocks in file order, which is about the order of completion.
    pub fn blocks(&self) -> impl Iterator<Item = Result<Block, TraceError>> + '_ {
        (0..self.index.len()).map(|index| self.block(index))
    }

    /// Decodes the block at `index` of [`Reader::index`].
    ///
    /// # Errors
    /// [`TraceError::Damaged`] where the block is, [`TraceError::TooNew`] where a later
    /// version wrote it; also where there is no such block.
    pub fn block(&self, index: usize) -> Result<Block, TraceError> {
        let Some(info) = self.index.get(index) else {
            let problem = format!("the trace has no block {index}");
            return Err(Flaw::Damaged(problem).at(&self.name, 0));
        };
        self.read_block(info)
    }

    /// Reads every record once and sums up.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn summary(&self) -> Result<Summary, TraceError> {
        Summary::of(self)
    }

    fn read_block(&self, info: &BlockInfo) -> Result<Block, TraceError> {
        let salvaged = self.salvaged.as_ref();
        self.read_whole(info, salvaged.is_some_and(|it| it.is_headless(info.offset)))
    }

    /// Reads the block that `info` tells of; where it is `headless`, its payload
    /// only.
    fn read_whole(&self, info: &BlockInfo, headless: bool) -> Result<Block, TraceError> {
        if info.is_payload() {
            let decode = |payload: &[u8]| PayloadBlock::decode(&info.header, payload);
            let payload = self.decoded(info, headless, decode)?.totals;
            return Ok(Block {
                payload,
                ..Block::default()
            });
        }
        let decode = |payload: &[u8]| codec::decode(&info.header, payload);
        let (buffer, unknown) = self.decoded(info, headless, decode)?;
        Ok(Block {
            buffer,
            unknown,
            ..Block::default()
        })
    }

    /// The block of payload that `info` tells of.
    pub(crate) fn payload_block(&self, info: &BlockInfo) -> Result<PayloadBlock, TraceError> {
        let salvaged = self.salvaged.as_ref();
        let headless = salvaged.is_some_and(|it| it.is_headless(info.offset));
        let decode = |payload: &[u8]| PayloadBlock::decode(&info.header, payload);
        self.decoded(info, headless, decode)
    }

    /// What `decode` makes of the bytes of a block after its header, whose
    /// checksum is right.
    fn decoded<T>(
        &self,
        info: &BlockInfo,
        headless: bool,
        decode: impl FnOnce(&[u8]) -> Result<T, Flaw>,
    ) -> Result<T, TraceError> {
        let header = &info.header;
        let mut bytes = vec![0; BLOCK_HEADER_BYTES + header.payload_bytes as usize];
        self.read(&mut bytes, info.offset)?;
        let payload = match bytes.split_first_chunk() {
            // The index holds a copy of each block's header.
            Some((front, payload)) if headless || *front == header.encode() => payload,
            _ => {
                let flaw = Flaw::damaged("the block's header is not what the index says");
                return Err(flaw.at(&self.name, info.offset));
            }
        };
        let decoded = if crc32fast::hash(payload) == header.payload_crc {
            decode(payload)
        } else {
            Err(Flaw::damaged("the block's checksum is wrong"))
        };
        decoded.map_err(|flaw| flaw.at(&self.name, info.offset))
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), TraceError> {
        if let Some(salvaged) = &self.salvaged
            && salvaged.read(buffer, offset)
        {
            return Ok(());
        }
        self.source
            .read_exact_at(buffer, offset)
            .map_err(|source| read_error(&self.name, source))
    }

    /// Reads trailer and index; the inner error is what is wrong with them.
    fn read_index(
        &self,
        len: u64,
        blocks_from: u64,
    ) -> Result<Result<(Vec<BlockInfo>, Totals), Flaw>, TraceError> {
        let no_index = || Ok(Err(Flaw::damaged("the trace has no index at its end")));
        // Widens, here and below.
        let Some(trailer_at) = len.checked_sub(TRAILER_BYTES as u64) else {
            return no_index();
        };
        let mut trailer = [0; TRAILER_BYTES];
        self.read(&mut trailer, trailer_at)?;
        let Ok(index_at) = parse_trailer(&trailer) else {
            return no_index();
        };
        let bytes = match trailer_at.checked_sub(index_at) {
            Some(bytes) if index_at >= blocks_from => bytes,
            _ => return Ok(Err(Flaw::damaged("the trailer points out of the file"))),
        };
        let bytes = match usize::try_from(bytes) {
            Ok(bytes) if bytes <= INDEX_BYTES_MAX => bytes,
            _ => return Ok(Err(Flaw::damaged("the index is longer than any may be"))),
        };
        let mut index = vec![0; bytes];
        self.read(&mut index, index_at)?;
        Ok(parse_index(&index, blocks_from, index_at))
    }

    /// Finds the blocks by hopping from header to header.
    fn recover(&mut self, len: u64, blocks_from: u64, reason: String) -> Result<(), TraceError> {
        let mut offset = blocks_from;
        let mut counter = Counter::default();
        let mut records = 0;
        // The last block whose bytes are right, and what was counted by then.
        let mut whole = (0, offset, 0, counter.clone());
        while let Some(info) = self.hop(len, offset)? {
            offset += info.stored_bytes();
            match self.read_block(&info) {
                Ok(block) => {
                    block.count(&mut counter);
                    counter.add_payload(&block.payload);
                    records += u64::from(info.commands()) + u64::from(info.marks());
                    self.index.push(info);
                    whole = (self.index.len(), offset, records, counter.clone());
                }
                Err(error @ (TraceError::TooNew { .. } | TraceError::Io { .. })) => {
                    return Err(error);
                }
                // Kept where whole blocks follow, so that reading tells of it.
                Err(_) => self.index.push(info),
            }
        }
        let (blocks, end, records, counter) = whole;
        self.index.truncate(blocks);
        self.totals = counter.totals(End::Cut);
        self.recovery = Some(Recovery {
            blocks: blocks as u64,
            records,
            incomplete_bytes: len.saturating_sub(end),
            reason,
        });
        Ok(())
    }

    /// The block that starts at `offset`, where all of it is in the file.
    fn hop(&self, len: u64, offset: u64) -> Result<Option<BlockInfo>, TraceError> {
        let left = len.saturating_sub(offset);
        if left < BLOCK_HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        self.read(&mut bytes, offset)?;
        if !bytes.starts_with(&BLOCK_MAGIC) {
            return Ok(None);
        }
        match BlockHeader::decode(&bytes) {
            Ok(header) if header.stored_bytes() <= left => Ok(Some(BlockInfo { offset, header })),
            Ok(_) | Err(Flaw::Damaged(_)) => Ok(None),
            Err(flaw @ Flaw::TooNew(_)) => Err(flaw.at(&self.name, offset)),
        }
    }
}

fn read_error(name: &str, source: io::Error) -> TraceError {
    TraceError::Io {
        operation: "read",
        path: name.to_owned(),
        source,
    }
}

/// The header, the version, and where the blocks start.
fn read_header(
    source: &Source,
    name: &str,
    len: u64,
) -> Result<(Header, (u16, u16), u64), TraceError> {
    let not_a_trace = |problem: &str| TraceError::NotATrace {
        path: name.to_owned(),
        problem: problem.to_owned(),
    };
    let mut fixed = [0; HEADER_FIXED_BYTES];
    if len < HEADER_FIXED_BYTES as u64 {
        return Err(not_a_trace(&format!("it is only {len} bytes long")));
    }
    source
        .read_exact_at(&mut fixed, 0)
        .map_err(|error| read_error(name, error))?;
    if !fixed.starts_with(&MAGIC) {
        return Err(not_a_trace("its first bytes are others"));
    }
    let version = (
        u16::from_le_bytes([fixed[8], fixed[9]]),
        u16::from_le_bytes([fixed[10], fixed[11]]),
    );
    if version.0 != MAJOR {
        let what = format!("version {}.{}, known is {MAJOR}", version.0, version.1);
        return Err(Flaw::TooNew(what).at(name, 8));
    }
    let json_len = u32::from_le_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]) as usize;
    let end = (HEADER_FIXED_BYTES + json_len + 4) as u64;
    if json_len > HEADER_JSON_MAX || end > len {
        return Err(Flaw::damaged("the header is cut or its length wrong").at(name, 12));
    }
    let mut bytes = vec![0; HEADER_FIXED_BYTES + json_len + 4];
    source
        .read_exact_at(&mut bytes, 0)
        .map_err(|error| read_error(name, error))?;
    let (covered, crc) = bytes.split_at(HEADER_FIXED_BYTES + json_len);
    if crc32fast::hash(covered).to_le_bytes() != crc {
        return Err(Flaw::damaged("the header's checksum is wrong").at(name, 0));
    }
    let json = covered.get(HEADER_FIXED_BYTES..).unwrap_or_default();
    match serde_json::from_slice(json) {
        Ok(header) => Ok((header, version, end)),
        Err(error) => Err(Flaw::Damaged(format!("the header's JSON: {error}")).at(name, 16)),
    }
}

fn parse_trailer(trailer: &[u8; TRAILER_BYTES]) -> Result<u64, Flaw> {
    let mut fields = Fields::new(trailer);
    let (magic, crc, offset) = (fields.bytes()?, fields.u32()?, fields.bytes()?);
    if magic != TRAILER_MAGIC || crc32fast::hash(&offset) != crc {
        return Err(Flaw::damaged("no trailer"));
    }
    Ok(u64::from_le_bytes(offset))
}

/// Reads an index whose blocks fill the file from `from` to `to`.
fn parse_index(bytes: &[u8], from: u64, to: u64) -> Result<(Vec<BlockInfo>, Totals), Flaw> {
    let (index, totals) = parse_index_anywhere(bytes)?;
    let mut expected = from;
    for block in &index {
        if block.offset != expected {
            return Err(Flaw::damaged("the index does not match the blocks"));
        }
        expected = block.offset.saturating_add(block.stored_bytes());
    }
    if expected != to {
        return Err(Flaw::damaged("the index does not match the blocks"));
    }
    Ok((index, totals))
}

/// Reads an index, wherever its blocks may be.
fn parse_index_anywhere(bytes: &[u8]) -> Result<(Vec<BlockInfo>, Totals), Flaw> {
    let mut fields = Fields::new(bytes);
    let (magic, crc, len) = (fields.bytes()?, fields.u32()?, fields.u64()?);
    let body = fields.rest();
    if magic != INDEX_MAGIC || len != body.len() as u64 || crc32fast::hash(body) != crc {
        return Err(Flaw::damaged("the index is damaged"));
    }
    let mut fields = Fields::new(body);
    let count = fields.u64()?;
    let fits = (fields.rest().len() / INDEX_ENTRY_BYTES) as u64;
    if count > fits {
        return Err(Flaw::damaged("the index is shorter than it claims"));
    }
    let mut index = Vec::new();
    for _ in 0..count {
        let offset = fields.u64()?;
        let header = BlockHeader::decode(&fields.bytes()?)?;
        index.push(BlockInfo { offset, header });
    }
    let totals = serde_json::from_slice(fields.rest())
        .map_err(|error| Flaw::Damaged(format!("the index's totals: {error}")))?;
    Ok((index, totals))
}
