//! Namespaces: which there are, what each is like, and which part of the medium
//! each has.
//!
//! ```text
//!   medium   [ namespace 1 ........ | namespace 3 .. |   unallocated   ]
//!                    |
//!                    v
//!            [ data, block after block | metadata, block after block ]
//! ```
//!
//! The medium is the capacity of the NVM subsystem. A namespace has one piece
//! of it, found when it is created; where its format has metadata, that stands
//! behind the data, so that data alone is always as a guest without metadata
//! would have written it.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

mod table;

use nvme::{NamespaceId, ProtectionType, Status, WriteProtectionState, ZONED_COMMAND_SET};
use rangemap::RangeSet;
use serde::{Deserialize, Serialize};

pub(crate) use self::table::{Namespaces, Request as NewNamespace};
use crate::config::{BlockFormat, ZonedConfig};
use crate::media::Extent;
use crate::protection::BlockProtection;
use crate::reservation::Reservations;
use crate::zoned::Zones;

/// A part of a namespace's extent has to start and end here, bytes: the largest
/// block there is.
pub(crate) const GRANULE: u64 = 4096;

/// How a namespace is protected from writes
/// (`NVMe Base 2.1 §5.1.25.1.32`, `§8.1.16`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WriteProtection {
    /// It is not.
    #[default]
    None,
    /// Until the host says otherwise.
    Set,
    /// Until the next power cycle.
    UntilPowerCycle,
    /// For ever.
    Permanent,
}

impl From<WriteProtectionState> for WriteProtection {
    fn from(state: WriteProtectionState) -> Self {
        match state {
            WriteProtectionState::None => Self::None,
            WriteProtectionState::Protected => Self::Set,
            WriteProtectionState::UntilPowerCycle => Self::UntilPowerCycle,
            WriteProtectionState::Permanent => Self::Permanent,
        }
    }
}

impl From<WriteProtection> for u32 {
    fn from(protection: WriteProtection) -> Self {
        match protection {
            WriteProtection::None => 0,
            WriteProtection::Set => 1,
            WriteProtection::UntilPowerCycle => 2,
            WriteProtection::Permanent => 3,
        }
    }
}

/// What a format is set to beside the sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FormatSettings {
    /// Index of the LBA format in [`crate::ControllerConfig::formats`].
    pub(crate) index: u8,
    /// Metadata is transferred at the end of each block, not apart.
    pub(crate) extended: bool,
    /// End-to-end protection type, 0 for none.
    pub(crate) protection: u8,
    /// Protection information is the first of the metadata, not the last.
    pub(crate) protection_first: bool,
}

/// What a namespace is doing that keeps commands off it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Formatting {
    /// When it began, nanoseconds of the clock.
    pub(crate) since_ns: u64,
    /// When it will be done.
    pub(crate) until_ns: u64,
}

/// A namespace. What every command needs comes first.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    /// Which it is.
    pub(crate) nsid: NamespaceId,
    /// Whether commands are requests to the medium as they are; see
    /// [`Namespace::classify`].
    pub(crate) plain: bool,
    /// Whether writes are refused.
    pub(crate) read_only: bool,
    /// Size of a block's data, bytes; a power of two.
    pub(crate) block_bytes: u32,
    /// Blocks.
    pub(crate) blocks: u64,
    /// The largest data transfer of a command, bytes.
    pub(crate) transfer_bytes_max: u64,
    /// Its part of the medium.
    pub(crate) extent: Extent,
    /// Size of a block's metadata, bytes.
    pub(crate) metadata_bytes: u16,
    pub(crate) settings: FormatSettings,
    /// How its blocks are protected, where they are.
    pub(crate) protection: Option<BlockProtection>,
    /// Whether the controller may use it.
    pub(crate) attached: bool,
    /// Its UUID, of which NGUID and EUI-64 are made, too.
    pub(crate) uuid: [u8; 16],
    pub(crate) write_protection: WriteProtection,
    /// Whether the medium refuses writes.
    pub(crate) media_read_only: bool,
    /// Blocks that read as errors, because Write Uncorrectable said so.
    pub(crate) uncorrectable: RangeSet<u64>,
    pub(crate) formatting: Option<Formatting>,
    pub(crate) reservations: Reservations,
    /// Its zones, where it is a zoned one.
    pub(crate) zones: Option<Zones>,
}

impl Namespace {
    /// Puts the fields right that follow from others, after any of those has
    /// changed.
    pub(crate) fn classify(&mut self) {
        self.read_only = self.media_read_only || self.write_protection != WriteProtection::None;
        self.plain = self.attached
            && self.metadata_bytes == 0
            && self.formatting.is_none()
            && self.zones.is_none()
            && self.reservations.is_clear()
            && self.uncorrectable.is_empty();
    }

    /// Takes on a format: as many blocks as the extent has room for.
    pub(crate) fn set_format(&mut self, format: BlockFormat, settings: FormatSettings) {
        self.block_bytes = format.block_bytes;
        self.metadata_bytes = format.metadata_bytes;
        self.settings = settings;
        self.protection = protection(format, settings);
        self.blocks = format.blocks_in(self.extent.bytes);
        self.uncorrectable.clear();
        self.classify();
    }

    /// Becomes a namespace of zones, as many as there is room for; whether it
    /// can be one.
    pub(crate) fn set_zones(&mut self, zoned: &ZonedConfig) -> bool {
        let zones = zoned
            .geometry(self.blocks, self.block_bytes)
            .and_then(|geometry| Zones::new(geometry).ok());
        if let Some(zones) = &zones {
            self.blocks = zones.geometry().blocks();
        }
        self.zones = zones;
        self.classify();
        self.zones.is_some()
    }

    /// The command set that it belongs to.
    pub(crate) const fn command_set(&self) -> u8 {
        match self.zones {
            Some(_) => ZONED_COMMAND_SET,
            None => 0,
        }
    }

    /// The bytes of the medium that hold the data of `blocks` blocks from `lba`
    /// on.
    #[inline]
    pub(crate) fn extent(&self, lba: u64, blocks: u64) -> Result<Extent, Status> {
        let block_bytes = u64::from(self.block_bytes);
        match lba.checked_add(blocks) {
            Some(end) if end <= self.blocks => Ok(Extent {
                // None can overflow: the medium has that many bytes.
                offset: self
                    .extent
                    .offset
                    .saturating_add(lba.saturating_mul(block_bytes)),
                bytes: blocks.saturating_mul(block_bytes),
            }),
            _ => Err(Status::LBA_OUT_OF_RANGE.dnr()),
        }
    }

    /// The bytes of the medium that hold the metadata of blocks that exist.
    pub(crate) fn metadata_extent(&self, lba: u64, blocks: u64) -> Extent {
        let size = u64::from(self.metadata_bytes);
        let data = self.blocks.saturating_mul(u64::from(self.block_bytes));
        Extent {
            offset: self
                .extent
                .offset
                .saturating_add(data)
                .saturating_add(lba.saturating_mul(size)),
            bytes: blocks.saturating_mul(size),
        }
    }

    /// Whether a block of the range reads as an error.
    pub(crate) fn has_uncorrectable(&self, lba: u64, blocks: u64) -> bool {
        !self.uncorrectable.is_empty()
            && self
                .uncorrectable
                .overlaps(&(lba..lba.saturating_add(blocks.max(1))))
    }

    /// The range was written or deallocated: it can be read again.
    pub(crate) fn heal(&mut self, lba: u64, blocks: u64) {
        if blocks > 0 && !self.uncorrectable.is_empty() {
            self.uncorrectable.remove(lba..lba.saturating_add(blocks));
            self.classify();
        }
    }

    /// Has the range read as errors.
    pub(crate) fn damage(&mut self, lba: u64, blocks: u64) {
        if blocks > 0 {
            self.uncorrectable.insert(lba..lba.saturating_add(blocks));
            self.classify();
        }
    }

    /// How much of a format is still to be done, percent.
    pub(crate) fn format_remaining(&self, now_ns: u64) -> u8 {
        let Some(Formatting { since_ns, until_ns }) = self.formatting else {
            return 0;
        };
        let total = until_ns.saturating_sub(since_ns).max(1);
        let left = until_ns.saturating_sub(now_ns).saturating_mul(100);
        u8::try_from(left.div_ceil(total).min(100)).unwrap_or(100)
    }
}

/// The protection of blocks of a format; none where there is none, or none that
/// the metadata has room for.
pub(crate) fn protection(format: BlockFormat, settings: FormatSettings) -> Option<BlockProtection> {
    let protection = BlockProtection {
        kind: ProtectionType::from_number(settings.protection)?,
        format: format.guard()?,
        storage_tag_bits: u32::from(format.storage_tag_bits),
        storage_tag_mask: u64::MAX,
        first: settings.protection_first,
        block_bytes: usize::try_from(format.block_bytes).ok()?,
        metadata_bytes: usize::from(format.metadata_bytes),
    };
    protection.is_legal().then_some(protection)
}

#[cfg(test)]
mod tests;
