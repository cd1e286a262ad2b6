//! What commands wrote: the data themselves, or what tells equal blocks apart.
//!
//! ```text
//!   Tap::payload --data--> Writer --digested, or as they are--> payload blocks
//!   payload blocks --Payloads, by sequence number--> Record::Command
//! ```
//!
//! Payload lies in blocks of its own, which readers that do not want it never
//! read. It is told of writes (Write and Zone Append), as it was handed to the
//! medium, without metadata.

mod block;
mod digest;
mod pairing;

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub(crate) use block::{PayloadBlock, PayloadBuffer};
pub use digest::Digester;
pub(crate) use pairing::Payloads;

/// The most bytes that one command may have written: 65,536 blocks of 4 KiB.
pub(crate) const COMMAND_BYTES_MAX: u64 = 1 << 28;

/// How much of what is written a trace holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PayloadKind {
    /// Of each logical block a hash of 64 bits, and how well it compresses:
    /// [`BlockDigest`].
    #[default]
    Hash,
    /// The data themselves.
    Data,
    /// Something that a later version knows of.
    #[serde(other)]
    Other,
}

impl fmt::Display for PayloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hash => "hashes",
            Self::Data => "data",
            Self::Other => "payload of a later version",
        })
    }
}

/// What a trace's header says of its payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PayloadInfo {
    /// What there is of each write.
    pub kind: PayloadKind,
    /// What blocks are hashed with: "xxh3-64".
    #[serde(default)]
    pub hash: String,
}

impl PayloadInfo {
    /// Payload of this kind, as this version writes it.
    #[must_use]
    pub fn of(kind: PayloadKind) -> Self {
        Self {
            kind,
            hash: digest::HASH_NAME.to_owned(),
        }
    }
}

/// How much payload a trace holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PayloadTotals {
    /// Writes of which there is payload.
    #[serde(default)]
    pub commands: u64,
    /// Logical blocks that these wrote.
    #[serde(default)]
    pub blocks: u64,
    /// What that is in bytes.
    #[serde(default)]
    pub bytes: u64,
    /// What the payload takes in the file, bytes.
    #[serde(default)]
    pub stored_bytes: u64,
    /// Writes whose payload was lost, because the recording was told to drop
    /// rather than to wait; exact.
    #[serde(default)]
    pub lost: u64,
}

impl PayloadTotals {
    /// Whether there is none, and none was lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds `other`; the sums stay at the largest number.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.commands, other.commands),
            (&mut self.blocks, other.blocks),
            (&mut self.bytes, other.bytes),
            (&mut self.stored_bytes, other.stored_bytes),
            (&mut self.lost, other.lost),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// A logical block that was written, without its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BlockDigest {
    /// XXH3-64 of its data, seed 0; 0 of a block of zeroes.
    pub hash: u64,
    /// To how many sixteenths of its length zstd at level 1 compresses it,
    /// rounded up: 1 to 16, 16 where it does not get smaller. 0 for a block of
    /// zeroes.
    pub packed: u8,
}

impl BlockDigest {
    /// Whether the block is all zeroes.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.packed == 0
    }
}

/// What a command wrote, all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    block_bytes: u32,
    content: PayloadContent,
}

/// What there is of a [`Payload`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadContent {
    /// A digest of each logical block.
    Hashes(Vec<BlockDigest>),
    /// The data: as many whole blocks.
    Data(Vec<u8>),
}

impl Payload {
    /// `data`, as blocks of `block_bytes`; none where they are not whole blocks.
    #[must_use]
    pub fn of_data(block_bytes: u32, data: Vec<u8>) -> Option<Self> {
        is_whole(data.len(), block_bytes).then_some(Self {
            block_bytes,
            content: PayloadContent::Data(data),
        })
    }

    /// Blocks of `block_bytes` with these digests.
    #[must_use]
    pub const fn of_hashes(block_bytes: u32, hashes: Vec<BlockDigest>) -> Self {
        Self {
            block_bytes,
            content: PayloadContent::Hashes(hashes),
        }
    }

    /// Bytes of a logical block.
    #[must_use]
    pub const fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// What there is of it.
    #[must_use]
    pub const fn content(&self) -> &PayloadContent {
        &self.content
    }

    /// The data, where they are in the trace.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        match &self.content {
            PayloadContent::Data(data) => Some(data),
            PayloadContent::Hashes(_) => None,
        }
    }

    /// How many logical blocks it is of.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        // Both widen.
        match &self.content {
            PayloadContent::Hashes(hashes) => hashes.len() as u64,
            PayloadContent::Data(data) => data.len() as u64 / u64::from(self.block_bytes.max(1)),
        }
    }

    /// What it takes in memory, bytes, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        match &self.content {
            PayloadContent::Hashes(hashes) => size_of_val(hashes.as_slice()),
            PayloadContent::Data(data) => data.len(),
        }
    }

    /// The digest of each block, made by `digester` where they are not in the
    /// trace.
    #[must_use]
    pub fn digests(&self, digester: &mut Digester) -> Vec<BlockDigest> {
        match &self.content {
            PayloadContent::Hashes(hashes) => hashes.clone(),
            PayloadContent::Data(data) => {
                let bytes = self.block_bytes.max(1) as usize;
                data.chunks(bytes).map(|it| digester.digest(it)).collect()
            }
        }
    }

    /// These of its blocks; none where it has not all of them.
    #[must_use]
    pub fn part(&self, blocks: Range<u64>) -> Option<Self> {
        let index = |block: u64| usize::try_from(block).ok();
        let content = match &self.content {
            PayloadContent::Hashes(hashes) => {
                let part = hashes.get(index(blocks.start)?..index(blocks.end)?)?;
                PayloadContent::Hashes(part.to_vec())
            }
            PayloadContent::Data(data) => {
                let byte = |block: u64| index(block.checked_mul(self.block_bytes.into())?);
                let part = data.get(byte(blocks.start)?..byte(blocks.end)?)?;
                PayloadContent::Data(part.to_vec())
            }
        };
        Some(Self { content, ..*self })
    }

    /// The same data as blocks of another size; none where that cannot be told,
    /// or they are not whole blocks of it.
    #[must_use]
    pub fn resized(self, block_bytes: u32) -> Option<Self> {
        match self.content {
            _ if block_bytes == self.block_bytes => Some(self),
            PayloadContent::Hashes(_) => None,
            PayloadContent::Data(data) => Self::of_data(block_bytes, data),
        }
    }

    /// Adds the blocks that follow; false where they are of another kind.
    pub(crate) fn join(&mut self, next: Self) -> bool {
        if self.block_bytes != next.block_bytes {
            return false;
        }
        match (&mut self.content, next.content) {
            (PayloadContent::Hashes(all), PayloadContent::Hashes(more)) => all.extend(more),
            (PayloadContent::Data(all), PayloadContent::Data(more)) => all.extend(more),
            _ => return false,
        }
        true
    }
}

/// Whether so many bytes are blocks of this size.
pub(crate) fn is_whole(bytes: usize, block_bytes: u32) -> bool {
    let block = usize::try_from(block_bytes).unwrap_or(usize::MAX);
    block > 0 && bytes.is_multiple_of(block)
}

/// Where data that a command writes belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadPlace {
    /// The command's sequence number.
    pub sequence: u64,
    /// When it was submitted, nanoseconds of the tap's clock.
    pub submit_ns: u64,
    /// Bytes of a logical block, at least 1.
    pub block_bytes: u32,
    /// The first block of the data among those of the command.
    pub first_block: u32,
}
