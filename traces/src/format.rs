//! Where the bytes stand in a `.vtr` file; FORMAT.md is the specification.
//!
//! ```text
//!   file header | block | block | ... | index | trailer
//! ```

use crate::error::Flaw;

/// The first eight bytes. The high bit, the line ends and the control-Z catch
/// transfers that are not binary.
pub(crate) const MAGIC: [u8; 8] = *b"\x89VTR\r\n\x1a\n";
/// Readers refuse any other major version.
pub(crate) const MAJOR: u16 = 1;
/// Readers accept any minor version of their major version.
pub(crate) const MINOR: u16 = 1;
/// The minor version that has no payload, which traces without it are of.
pub(crate) const MINOR_PLAIN: u16 = 0;
/// Magic, version and length before the header's JSON.
pub(crate) const HEADER_FIXED_BYTES: usize = 16;
/// The longest JSON that a header may hold, bytes.
pub(crate) const HEADER_JSON_MAX: usize = 1 << 20;

/// The first bytes of a block.
pub(crate) const BLOCK_MAGIC: [u8; 4] = *b"VTRB";
/// Length of a block's header.
pub(crate) const BLOCK_HEADER_BYTES: usize = 88;
/// The most commands that a block may hold.
pub(crate) const BLOCK_COMMANDS_MAX: u32 = 1 << 16;
/// The most marks (events and gaps) that a block may hold.
pub(crate) const BLOCK_MARKS_MAX: u32 = 1 << 16;
/// The most Dataset Management ranges that a block may hold.
pub(crate) const BLOCK_RANGES_MAX: u32 = 1 << 17;
/// The longest payload that a block may have, bytes.
pub(crate) const BLOCK_PAYLOAD_MAX: u32 = 1 << 24;

/// The first bytes of the index.
pub(crate) const INDEX_MAGIC: [u8; 4] = *b"VTRI";
/// Magic, checksum and length before the index's body.
pub(crate) const INDEX_FIXED_BYTES: usize = 16;
/// The longest index that is read, bytes: that of some 45 billion commands.
/// A trace with a longer one opens by recovery.
pub(crate) const INDEX_BYTES_MAX: usize = 1 << 28;
/// A file offset and a block header.
pub(crate) const INDEX_ENTRY_BYTES: usize = 8 + BLOCK_HEADER_BYTES;
/// The first bytes of the trailer.
pub(crate) const TRAILER_MAGIC: [u8; 4] = *b"VTRE";
/// Length of the trailer.
pub(crate) const TRAILER_BYTES: usize = 16;

/// A block's header: what is in it, without decoding it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc: u32,
    pub(crate) commands: u32,
    pub(crate) marks: u32,
    pub(crate) ranges: u32,
    pub(crate) min_sequence: u64,
    pub(crate) max_sequence: u64,
    pub(crate) min_submit_ns: u64,
    pub(crate) max_submit_ns: u64,
    pub(crate) last_complete_ns: u64,
    pub(crate) min_lba: u64,
    pub(crate) max_lba: u64,
}

impl BlockHeader {
    /// The header's 88 bytes, its checksum last.
    pub(crate) fn encode(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&BLOCK_MAGIC);
        put(&self.payload_bytes.to_le_bytes());
        put(&self.payload_crc.to_le_bytes());
        put(&self.commands.to_le_bytes());
        put(&self.marks.to_le_bytes());
        put(&self.ranges.to_le_bytes());
        put(&0_u32.to_le_bytes());
        for field in [
            self.min_sequence,
            self.max_sequence,
            self.min_submit_ns,
            self.max_submit_ns,
            self.last_complete_ns,
            self.min_lba,
            self.max_lba,
        ] {
            put(&field.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..BLOCK_HEADER_BYTES - 4]);
        bytes[BLOCK_HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header and holds it to the limits.
    pub(crate) fn decode(bytes: &[u8; BLOCK_HEADER_BYTES]) -> Result<Self, Flaw> {
        let mut fields = Fields::new(bytes);
        if fields.bytes()? != BLOCK_MAGIC {
            return Err(Flaw::damaged("no block starts here"));
        }
        let (covered, stored) = bytes.split_at(BLOCK_HEADER_BYTES - 4);
        if crc32fast::hash(covered).to_le_bytes() != stored {
            return Err(Flaw::damaged("the block header's checksum is wrong"));
        }
        let header = Self {
            payload_bytes: fields.u32()?,
            payload_crc: fields.u32()?,
            commands: fields.u32()?,
            marks: fields.u32()?,
            ranges: fields.u32()?,
            ..Self::default()
        };
        let flags = fields.u32()?;
        if flags != 0 {
            return Err(Flaw::TooNew(format!("block flags {flags:#x}")));
        }
        let header = Self {
            min_sequence: fields.u64()?,
            max_sequence: fields.u64()?,
            min_submit_ns: fields.u64()?,
            max_submit_ns: fields.u64()?,
            last_complete_ns: fields.u64()?,
            min_lba: fields.u64()?,
            max_lba: fields.u64()?,
            ..header
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), Flaw> {
        for (what, value, limit) in [
            ("commands", self.commands, BLOCK_COMMANDS_MAX),
            ("marks", self.marks, BLOCK_MARKS_MAX),
            ("ranges", self.ranges, BLOCK_RANGES_MAX),
            ("payload bytes", self.payload_bytes, BLOCK_PAYLOAD_MAX),
        ] {
            if value > limit {
                let problem = format!("the block claims {value} {what}, the limit is {limit}");
                return Err(Flaw::Damaged(problem));
            }
        }
        Ok(())
    }

    /// Whether what it holds is what commands wrote, and not commands.
    pub(crate) fn is_payload(&self) -> bool {
        self.commands == 0 && self.marks == 0
    }

    /// Header and payload, bytes.
    pub(crate) fn stored_bytes(&self) -> u64 {
        // Widens: a block header is 88 bytes.
        BLOCK_HEADER_BYTES as u64 + u64::from(self.payload_bytes)
    }
}

/// Reads little-endian fields off the front of a slice.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `N` bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(Self::short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next `len` bytes.
    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], Flaw> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(Self::short)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Flaw> {
        let [byte] = self.bytes()?;
        Ok(byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Flaw> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Flaw> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// An unsigned LEB128 number of up to 64 bits.
    pub(crate) fn varint(&mut self) -> Result<u64, Flaw> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Flaw::damaged("a number is longer than 64 bits"))
    }

    /// A varint that counts bytes or things in memory.
    pub(crate) fn length(&mut self) -> Result<usize, Flaw> {
        let value = self.varint()?;
        usize::try_from(value).map_err(|_| Flaw::damaged("a length is beyond this machine"))
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn short() -> Flaw {
        Flaw::damaged("the bytes end in the middle of a field")
    }
}

/// Appends an unsigned LEB128 number.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        let [low, ..] = value.to_le_bytes();
        out.push(low | 0x80);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    out.push(low);
}

/// Maps small numbers of either sign (mod 2^64) to small unsigned ones:
/// 0, -1, 1, -2 become 0, 1, 2, 3.
pub(crate) fn zigzag(value: u64) -> u64 {
    (value << 1) ^ (value >> 63).wrapping_neg()
}

/// The inverse of [`zigzag`].
pub(crate) fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}
