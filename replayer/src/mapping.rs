//! Where recorded addresses land on the target.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use driver::NamespaceInfo;
use nvme::{Lba, NamespaceId};
use serde::Serialize;

use crate::extents::ExtentSet;

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
    /// Every address is moved by so many blocks of the target, up or down.
    Offset(i64),
    /// What the trace touches is packed together in the order of addresses,
    /// for a target that is smaller than the recorded device but not than
    /// what was used of it. Needs [`crate::TraceFacts::scan_extents`].
    Compact,
}

/// A text that is no mapping.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a mapping: say `identity`, `wrap`, `scale`, `compact`, or by how many of the \
     device's blocks to move, as in `offset:2048`"
)]
pub struct MappingError {
    text: String,
}

impl FromStr for Mapping {
    type Err = MappingError;

    fn from_str(text: &str) -> Result<Self, MappingError> {
        let lower = text.trim().to_ascii_lowercase();
        let offset = lower.strip_prefix("offset:");
        match lower.as_str() {
            "identity" => return Ok(Self::Identity),
            "wrap" => return Ok(Self::Wrap),
            "scale" => return Ok(Self::Scale),
            "compact" => return Ok(Self::Compact),
            _ => {}
        }
        match offset.and_then(|blocks| blocks.trim().parse().ok()) {
            Some(blocks) => Ok(Self::Offset(blocks)),
            None => Err(MappingError {
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
            Self::Compact => "compact",
            Self::Offset(blocks) => return f.pad(&format!("offset:{blocks}")),
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
    /// Beyond the target's end, or beyond what an address can be.
    BeyondEnd,
}

/// From one recorded namespace to one of the target.
#[derive(Clone, Debug)]
pub(crate) struct AddressMap {
    mapping: Mapping,
    target: NamespaceInfo,
    /// Bytes of a recorded block.
    recorded_block: u64,
    /// Bytes of the target, and of its blocks.
    target_bytes: u64,
    target_block: u64,
    scale: Chunks,
    /// Of [`Mapping::Compact`], in the order of addresses.
    packed: Arc<[Packed]>,
}

/// An extent that was moved next to the one before it, bytes.
#[derive(Clone, Copy, Debug)]
struct Packed {
    start: u64,
    end: u64,
    to: u64,
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
            packed: Arc::from([]),
        }
    }

    /// The map with `touched` packed together, in whole blocks of the target,
    /// and how many bytes that takes.
    pub(crate) fn packing(self, touched: &ExtentSet) -> (Self, u64) {
        let mut packed: Vec<Packed> = Vec::new();
        let mut used = 0_u64;
        for (start, end) in touched.iter() {
            let (start, end) = self.whole(start, end);
            match packed.last_mut() {
                // Both have a part of a block of the target.
                Some(last) if start <= last.end => {
                    used = used.saturating_add(end.saturating_sub(last.end));
                    last.end = last.end.max(end);
                }
                _ => {
                    packed.push(Packed {
                        start,
                        end,
                        to: used,
                    });
                    used = used.saturating_add(end - start);
                }
            }
        }
        let packed = packed.into();
        (Self { packed, ..self }, used)
    }

    /// The whole blocks of the target that hold these bytes.
    const fn whole(&self, start: u64, end: u64) -> (u64, u64) {
        let block = self.target_block;
        (
            start / block * block,
            end.div_ceil(block).saturating_mul(block),
        )
    }

    /// Whether these recorded blocks are whole blocks of the target.
    pub(crate) const fn is_whole(&self, lba: Lba, blocks: u64) -> bool {
        let (start, bytes) = (
            lba.0.wrapping_mul(self.recorded_block),
            blocks.wrapping_mul(self.recorded_block),
        );
        start.is_multiple_of(self.target_block) && bytes.is_multiple_of(self.target_block)
    }

    /// The target's namespace.
    pub(crate) const fn nsid(&self) -> NamespaceId {
        self.target.nsid
    }

    /// The target's namespace, with its size.
    pub(crate) const fn target(&self) -> NamespaceInfo {
        self.target
    }

    /// The first block of the target, and the one after the last, between which
    /// recorded blocks from `start` to before `end` land.
    pub(crate) fn reach(&self, start: u64, end: u64) -> (u64, u64) {
        let all = (0, self.target.blocks);
        let end_bytes = end.saturating_mul(self.recorded_block);
        if start >= end || (self.mapping == Mapping::Wrap && end_bytes > self.target_bytes) {
            return all;
        }
        // All others keep the order of addresses.
        let first = self.place(Lba(start), 1);
        let last = self.place(Lba(end - 1), 1);
        match (first, last) {
            (Ok(first), Ok(last)) => {
                let end = last.first.lba.0.saturating_add(last.first.blocks);
                (first.first.lba.0, end)
            }
            _ => all,
        }
    }

    /// Bytes of a block of the target.
    pub(crate) const fn target_block(&self) -> u64 {
        self.target_block
    }

    /// Where `blocks` recorded blocks from `lba` on land: the whole blocks of
    /// the target that hold them, where its blocks are larger.
    pub(crate) fn place(&self, lba: Lba, blocks: u64) -> Result<Extents, Misplaced> {
        let (offset, bytes) = self.bytes(lba, blocks)?;
        let (start, end) = self.whole(offset, offset + bytes);
        self.map(start, end - start)
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
            Mapping::Offset(blocks) => {
                let moved = i128::from(blocks) * i128::from(self.target_block);
                let moved = u64::try_from(i128::from(offset) + moved);
                match moved {
                    Ok(offset) if self.target_bytes.saturating_sub(bytes) >= offset => {
                        Ok(self.extents(offset, bytes))
                    }
                    _ => Err(Misplaced::BeyondEnd),
                }
            }
            Mapping::Compact => {
                let after = self.packed.partition_point(|packed| packed.start <= offset);
                let packed = after.checked_sub(1).and_then(|at| self.packed.get(at));
                match packed {
                    // A range without blocks is nowhere.
                    Some(packed) if offset + bytes <= packed.end => {
                        let offset = packed.to + (offset - packed.start);
                        if offset + bytes > self.target_bytes {
                            return Err(Misplaced::BeyondEnd);
                        }
                        Ok(self.extents(offset, bytes))
                    }
                    _ => Err(Misplaced::BeyondEnd),
                }
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
