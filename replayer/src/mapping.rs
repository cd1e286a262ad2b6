//! Where recorded addresses land on the target.

use std::fmt;
use std::str::FromStr;

use driver::NamespaceInfo;
use nvme::{Lba, NamespaceId};
use serde::Serialize;

/// What to do with addresses, where recorded device and target differ in size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mapping {
    /// Every byte keeps its address. A trace that touches what the target does
    /// not have is refused before anything is sent.
    #[default]
    Identity,
    /// Addresses beyond the target's end start again at 0. What crosses the
    /// end is split.
    Wrap,
    /// Addresses are stretched or shrunk to the target's size, in chunks of up
    /// to 1 MiB, in which neighbours stay neighbours.
    Scale,
}

/// A text that is no mapping.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a mapping: say `identity`, `wrap` or `scale`")]
pub struct MappingError {
    text: String,
}

impl FromStr for Mapping {
    type Err = MappingError;

    fn from_str(text: &str) -> Result<Self, MappingError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "identity" => Ok(Self::Identity),
            "wrap" => Ok(Self::Wrap),
            "scale" => Ok(Self::Scale),
            _ => Err(MappingError {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Identity => "identity",
            Self::Wrap => "wrap",
            Self::Scale => "scale",
        })
    }
}

/// Consecutive blocks of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) lba: Lba,
    pub(crate) blocks: u64,
}

/// One extent, or two where a mapping cuts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    pub(crate) first: Extent,
    pub(crate) second: Option<Extent>,
}

/// Why an address has no place on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misplaced {
    /// Not made of whole blocks of the target.
    Unaligned,
    /// Beyond the target's end, or beyond what an address can be.
    BeyondEnd,
}

/// From one recorded namespace to one of the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressMap {
    mapping: Mapping,
    target: NamespaceInfo,
    /// Bytes of a recorded block.
    recorded_block: u64,
    /// Bytes of the target, and of its blocks.
    target_bytes: u64,
    target_block: u64,
    scale: Chunks,
}

/// The unit of [`Mapping::Scale`], and how many there are at both ends.
#[derive(Clone, Copy, Debug)]
struct Chunks {
    bytes: u64,
    recorded: u64,
    target: u64,
}

/// Runs of up to this length stay in one piece when addresses are scaled.
const CHUNK_BYTES_MAX: u64 = 1 << 20;
/// A target has at least so many chunks, or chunks of a single block.
const CHUNKS_MIN: u64 = 64;

impl AddressMap {
    /// A map from a namespace of `recorded_bytes` bytes in blocks of
    /// `recorded_block` bytes (neither is 0) to `target`.
    pub(crate) fn new(
        mapping: Mapping,
        recorded_block: u32,
        recorded_bytes: u64,
        target: NamespaceInfo,
    ) -> Self {
        let recorded_block = u64::from(recorded_block.max(1));
        let target_block = u64::from(target.block_bytes.max(1));
        let target_bytes = target.blocks.saturating_mul(target_block);
        let mut bytes = CHUNK_BYTES_MAX.max(target_block);
        while bytes > target_block && target_bytes / bytes < CHUNKS_MIN {
            bytes /= 2;
        }
        let scale = Chunks {
            bytes,
            recorded: recorded_bytes.div_ceil(bytes).max(1),
            target: (target_bytes / bytes).max(1),
        };
        Self {
            mapping,
            target,
            recorded_block,
            target_bytes,
            target_block,
            scale,
        }
    }

    /// The target's namespace.
    pub(crate) const fn nsid(&self) -> NamespaceId {
        self.target.nsid
    }

    /// Bytes of a block of the target.
    pub(crate) const fn target_block(&self) -> u64 {
        self.target_block
    }

    /// Where `blocks` recorded blocks from `lba` on land.
    pub(crate) fn place(&self, lba: Lba, blocks: u64) -> Result<Extents, Misplaced> {
        let (offset, bytes) = self.bytes(lba, blocks)?;
        if offset % self.target_block != 0 || bytes % self.target_block != 0 {
            return Err(Misplaced::Unaligned);
        }
        self.map(offset, bytes)
    }

    /// Where the whole blocks of the target inside `blocks` recorded blocks
    /// from `lba` on land; none where there are none.
    pub(crate) fn place_inside(&self, lba: Lba, blocks: u64) -> Result<Option<Extents>, Misplaced> {
        let (offset, bytes) = self.bytes(lba, blocks)?;
        let start = offset
            .checked_next_multiple_of(self.target_block)
            .ok_or(Misplaced::BeyondEnd)?;
        let end = (offset + bytes) / self.target_block * self.target_block;
        if end < start || (end == start && bytes > 0) {
            return Ok(None);
        }
        self.map(start, end - start).map(Some)
    }

    /// The byte range, whose end does not overflow.
    fn bytes(&self, lba: Lba, blocks: u64) -> Result<(u64, u64), Misplaced> {
        let range = || {
            let offset = lba.0.checked_mul(self.recorded_block)?;
            let bytes = blocks.checked_mul(self.recorded_block)?;
            offset.checked_add(bytes)?;
            Some((offset, bytes))
        };
        range().ok_or(Misplaced::BeyondEnd)
    }

    fn map(&self, offset: u64, bytes: u64) -> Result<Extents, Misplaced> {
        match self.mapping {
            Mapping::Identity => {
                if offset + bytes > self.target_bytes {
                    return Err(Misplaced::BeyondEnd);
                }
                Ok(self.extents(offset, bytes))
            }
            Mapping::Wrap => {
                let offset = offset % self.target_bytes.max(1);
                Ok(self.extents(offset, bytes.min(self.target_bytes)))
            }
            Mapping::Scale => {
                let bytes = bytes.min(self.target_bytes);
                let offset = self.scaled(offset).min(self.target_bytes - bytes);
                Ok(self.extents(offset, bytes))
            }
        }
    }

    /// `offset` moved with its chunk.
    fn scaled(&self, offset: u64) -> u64 {
        let Chunks {
            bytes,
            recorded,
            target,
        } = self.scale;
        let chunk = u128::from(offset / bytes) * u128::from(target) / u128::from(recorded);
        // A chunk number that overflows is beyond any target, as is its product.
        let chunk = u64::try_from(chunk).unwrap_or(u64::MAX);
        chunk.saturating_mul(bytes).saturating_add(offset % bytes) / self.target_block
            * self.target_block
    }

    /// The extents of `bytes` bytes at `offset`, which is inside the target;
    /// what crosses its end goes on at 0. Both are whole blocks.
    fn extents(&self, offset: u64, bytes: u64) -> Extents {
        let first_bytes = bytes.min(self.target_bytes.saturating_sub(offset));
        let extent = |offset: u64, bytes: u64| Extent {
            lba: Lba(offset / self.target_block),
            blocks: bytes / self.target_block,
        };
        let rest = bytes - first_bytes;
        Extents {
            first: extent(offset, first_bytes),
            second: (rest > 0).then(|| extent(0, rest)),
        }
    }
}

#[cfg(test)]
mod tests;
