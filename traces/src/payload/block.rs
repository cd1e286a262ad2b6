//! Blocks of payload: how they stand in the file, and how they are read. FORMAT.md
//! is the specification. Nothing that is read is trusted.

use std::fmt;

use zstd::bulk::Compressor;

use super::{BlockDigest, Payload, PayloadContent, PayloadPlace, PayloadTotals};
use crate::error::Flaw;
use crate::format::{BlockHeader, Fields, put_varint, unzigzag, zigzag};

/// The column that holds payload.
const COLUMN: u8 = 128;
const STORED: u8 = 0;
const ZSTD: u8 = 1;
/// The longest body that is read, bytes.
const BODY_BYTES_MAX: usize = 1 << 24;
/// The most entries that are read.
const ENTRIES_MAX: u64 = 1 << 16;
/// A block is closed once its body is as long as this, bytes.
pub(crate) const BODY_BYTES: usize = 1 << 20;
/// Or has so many entries.
const ENTRIES: usize = 1 << 13;

const KIND_HASHES: u64 = 1;
const KIND_DATA: u64 = 2;
const KIND_LOST: u64 = 3;

/// A part of what one command wrote, or commands whose payload was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    kind: u64,
    sequence: u64,
    block_bytes: u32,
    /// Its first block; of what was lost, how many commands.
    first: u64,
    blocks: u64,
}

/// A block of payload while it is being filled.
pub(crate) struct PayloadBuffer {
    entries: Vec<Entry>,
    digests: Vec<BlockDigest>,
    data: Vec<u8>,
    submit_ns: Option<(u64, u64)>,
    body: Vec<u8>,
    level: i32,
    compressor: Option<Compressor<'static>>,
}

impl fmt::Debug for PayloadBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadBuffer")
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl PayloadBuffer {
    /// An empty one, which is compressed by zstd at this level.
    pub(crate) fn new(level: i32) -> Self {
        Self {
            entries: Vec::new(),
            digests: Vec::new(),
            data: Vec::new(),
            submit_ns: None,
            body: Vec::new(),
            level,
            compressor: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it is to be written before more goes in.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= ENTRIES || self.data.len() + self.digests.len() * 9 >= BODY_BYTES
    }

    /// How many more bytes of data make it full, at least a block.
    pub(crate) fn room(&self, block_bytes: u32) -> usize {
        let block = block_bytes.max(1) as usize;
        let room = BODY_BYTES.saturating_sub(self.data.len() + self.digests.len() * 9);
        (room / block).max(1) * block
    }

    fn see(&mut self, submit_ns: u64) {
        let (first, last) = self.submit_ns.unwrap_or((submit_ns, submit_ns));
        self.submit_ns = Some((first.min(submit_ns), last.max(submit_ns)));
    }

    /// Adds blocks by their digests.
    pub(crate) fn hashes(&mut self, place: &PayloadPlace, digests: &[BlockDigest]) {
        // Widens, here and below.
        self.entry(KIND_HASHES, place, digests.len() as u64);
        self.digests.extend_from_slice(digests);
    }

    /// Adds blocks with their data.
    pub(crate) fn data(&mut self, place: &PayloadPlace, data: &[u8]) {
        let blocks = data.len() as u64 / u64::from(place.block_bytes.max(1));
        self.entry(KIND_DATA, place, blocks);
        self.data.extend_from_slice(data);
    }

    fn entry(&mut self, kind: u64, place: &PayloadPlace, blocks: u64) {
        self.see(place.submit_ns);
        self.entries.push(Entry {
            kind,
            sequence: place.sequence,
            block_bytes: place.block_bytes,
            first: place.first_block.into(),
            blocks,
        });
    }

    /// Adds that the payload of so many commands was lost, the first of which
    /// was this one.
    pub(crate) fn lost(&mut self, sequence: u64, submit_ns: u64, commands: u64) {
        self.see(submit_ns);
        self.entries.push(Entry {
            kind: KIND_LOST,
            sequence,
            block_bytes: 0,
            first: commands,
            blocks: 0,
        });
    }

    /// Appends the block's payload to `out`; its header but for what follows
    /// from the bytes, and what it adds to the totals.
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>) -> (BlockHeader, PayloadTotals) {
        let sequences = self.entries.iter().map(|entry| entry.sequence);
        let (submit_min, submit_max) = self.submit_ns.unwrap_or_default();
        let header = BlockHeader {
            min_sequence: sequences.clone().min().unwrap_or(0),
            max_sequence: sequences.max().unwrap_or(0),
            min_submit_ns: submit_min,
            max_submit_ns: submit_max,
            min_lba: u64::MAX,
            ..BlockHeader::default()
        };
        self.put_body(header.min_sequence);
        let compressor = &mut self.compressor;
        if compressor.is_none() {
            *compressor = Compressor::new(self.level).ok();
        }
        let packed = compressor
            .as_mut()
            .and_then(|it| it.compress(&self.body).ok());
        let packed = packed.filter(|packed| packed.len() < self.body.len());
        let mut front = Vec::with_capacity(16);
        front.push(if packed.is_some() { ZSTD } else { STORED });
        // Widens, here and below.
        put_varint(&mut front, self.body.len() as u64);
        let body = packed.as_deref().unwrap_or(&self.body);
        out.push(COLUMN);
        put_varint(out, (front.len() + body.len()) as u64);
        out.extend_from_slice(&front);
        out.extend_from_slice(body);
        out.push(0);
        (header, totals(&self.entries))
    }

    fn put_body(&mut self, min_sequence: u64) {
        let body = &mut self.body;
        body.clear();
        put_varint(body, self.entries.len() as u64);
        let mut before = min_sequence;
        for entry in &self.entries {
            put_varint(body, entry.kind);
            put_varint(body, zigzag(entry.sequence.wrapping_sub(before)));
            put_varint(body, entry.block_bytes.into());
            put_varint(body, entry.first);
            put_varint(body, entry.blocks);
            before = entry.sequence;
        }
        body.extend(self.digests.iter().map(|digest| digest.packed));
        let hashed = self.digests.iter().filter(|digest| !digest.is_zero());
        body.extend(hashed.flat_map(|digest| digest.hash.to_le_bytes()));
        body.extend_from_slice(&self.data);
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.digests.clear();
        self.data.clear();
        self.submit_ns = None;
    }
}

fn totals(entries: &[Entry]) -> PayloadTotals {
    let mut totals = PayloadTotals::default();
    for entry in entries {
        if entry.kind == KIND_LOST {
            totals.lost = totals.lost.saturating_add(entry.first);
            continue;
        }
        totals.commands += u64::from(entry.first == 0);
        totals.blocks = totals.blocks.saturating_add(entry.blocks);
        let bytes = entry.blocks.saturating_mul(entry.block_bytes.into());
        totals.bytes = totals.bytes.saturating_add(bytes);
    }
    totals
}

/// A block of payload, decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct PayloadBlock {
    /// Parts of what commands wrote: the sequence number, the first block.
    pub(crate) parts: Vec<(u64, u64, Payload)>,
    pub(crate) totals: PayloadTotals,
}

impl PayloadBlock {
    /// Reads the block with this header, whose checksum is right.
    pub(crate) fn decode(header: &BlockHeader, payload: &[u8]) -> Result<Self, Flaw> {
        let mut fields = Fields::new(payload);
        let mut found = None;
        loop {
            let number = fields.u8()?;
            if number == 0 {
                break;
            }
            if number < COLUMN {
                return Err(Flaw::TooNew(format!(
                    "column {number} in a block of payload"
                )));
            }
            let len = fields.length()?;
            let column = fields.slice(len)?;
            if number == COLUMN && found.replace(column).is_some() {
                return Err(Flaw::damaged("payload is there twice"));
            }
        }
        if !fields.is_empty() {
            return Err(Flaw::damaged("bytes are left after the block's payload"));
        }
        let mut block = match found {
            Some(column) => Self::column(header, column)?,
            None => Self::default(),
        };
        block.totals.stored_bytes = header.stored_bytes();
        Ok(block)
    }

    fn column(header: &BlockHeader, column: &[u8]) -> Result<Self, Flaw> {
        let mut fields = Fields::new(column);
        let packing = fields.u8()?;
        let len = fields.length()?;
        if len > BODY_BYTES_MAX {
            let problem = format!("payload claims {len} bytes, the limit is {BODY_BYTES_MAX}");
            return Err(Flaw::Damaged(problem));
        }
        let unpacked;
        let body = match packing {
            STORED => fields.rest(),
            ZSTD => {
                unpacked = zstd::bulk::decompress(fields.rest(), len).map_err(|error| {
                    Flaw::Damaged(format!("payload cannot be unpacked: {error}"))
                })?;
                &unpacked
            }
            other => return Err(Flaw::TooNew(format!("packing {other} of payload"))),
        };
        if body.len() != len {
            return Err(Flaw::damaged("payload is not as long as it claims"));
        }
        Self::body(header, body)
    }

    fn body(header: &BlockHeader, body: &[u8]) -> Result<Self, Flaw> {
        let mut fields = Fields::new(body);
        let count = fields.varint()?;
        if count > ENTRIES_MAX {
            return Err(Flaw::damaged("payload claims too many entries"));
        }
        let mut entries = Vec::new();
        let mut sequence = header.min_sequence;
        for _ in 0..count {
            let entry = read_entry(&mut fields, sequence)?;
            sequence = entry.sequence;
            if !(header.min_sequence..=header.max_sequence).contains(&sequence) {
                return Err(Flaw::damaged(
                    "payload of a command that its header does not name",
                ));
            }
            entries.push(entry);
        }
        let blocks = entries.iter().filter(|it| it.kind == KIND_HASHES);
        let blocks = blocks.fold(0_u64, |sum, it| sum.saturating_add(it.blocks));
        let blocks = usize::try_from(blocks).unwrap_or(usize::MAX);
        let packed = fields.slice(blocks)?;
        let hashed = packed.iter().filter(|packed| **packed != 0).count();
        let hashes = fields.slice(hashed * 8)?;
        let mut digests = digests(packed, hashes)?;
        let mut parts = Vec::with_capacity(entries.len());
        for entry in &entries {
            let content = match entry.kind {
                KIND_HASHES => {
                    let blocks = usize::try_from(entry.blocks).unwrap_or(usize::MAX);
                    PayloadContent::Hashes(digests.by_ref().take(blocks).collect())
                }
                KIND_DATA => {
                    let bytes = entry.blocks.checked_mul(entry.block_bytes.into());
                    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
                    let bytes = bytes.ok_or_else(|| Flaw::damaged("payload is too long"))?;
                    PayloadContent::Data(fields.slice(bytes)?.to_vec())
                }
                _ => continue,
            };
            let payload = Payload {
                block_bytes: entry.block_bytes,
                content,
            };
            parts.push((entry.sequence, entry.first, payload));
        }
        if !fields.is_empty() {
            return Err(Flaw::damaged("bytes are left after the payload"));
        }
        Ok(Self {
            parts,
            totals: totals(&entries),
        })
    }
}

fn read_entry(fields: &mut Fields<'_>, before: u64) -> Result<Entry, Flaw> {
    let kind = fields.varint()?;
    if !(KIND_HASHES..=KIND_LOST).contains(&kind) {
        return Err(Flaw::TooNew(format!("payload of kind {kind}")));
    }
    let sequence = before.wrapping_add(unzigzag(fields.varint()?));
    let block_bytes = u32::try_from(fields.varint()?)
        .map_err(|_| Flaw::damaged("a logical block of payload is too long"))?;
    if kind != KIND_LOST && block_bytes == 0 {
        return Err(Flaw::damaged("a logical block of payload has no bytes"));
    }
    Ok(Entry {
        kind,
        sequence,
        block_bytes,
        first: fields.varint()?,
        blocks: fields.varint()?,
    })
}

/// The digests whose sixteenths are `packed`; `hashes` are those of all that are
/// not zeroes.
fn digests(packed: &[u8], hashes: &[u8]) -> Result<impl Iterator<Item = BlockDigest>, Flaw> {
    if packed.iter().any(|packed| *packed > 16) {
        return Err(Flaw::damaged(
            "a block of payload packs to more than itself",
        ));
    }
    let mut hashes = hashes.chunks_exact(8);
    let mut next = move || {
        let hash = hashes.next().and_then(|it| it.try_into().ok());
        hash.map_or(0, u64::from_le_bytes)
    };
    Ok(packed.iter().map(move |&packed| BlockDigest {
        hash: if packed == 0 { 0 } else { next() },
        packed,
    }))
}
