//! What the zones of a namespace are like, and how Identify says so.

use nvme::{IdentifyZonedNamespace, ZonedLbaFormat};
use serde::{Deserialize, Serialize};

/// The most zones of a namespace: 4 Mi, whose table takes 64 MiB.
pub const ZONES_MAX: u32 = 1 << 22;

/// The most memory that zone descriptor extensions may take, bytes: a host can
/// fill the extension of every zone.
const EXTENSIONS_BYTES_MAX: u64 = 1 << 28;

/// The unit of the size of a zone descriptor extension, bytes.
const EXTENSION_UNIT: u32 = 64;

/// The zones of a namespace: how many, how large, and what may be done with
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZonedGeometry {
    /// The distance from zone to zone, blocks. Linux wants a power of two.
    pub zone_blocks: u64,
    /// The blocks of a zone that can be written.
    pub capacity_blocks: u64,
    /// The number of zones.
    pub zones: u32,
    /// The most zones that are active (opened or closed); none is no limit.
    pub active_max: Option<u32>,
    /// The most zones that are open; none is no limit.
    pub open_max: Option<u32>,
    /// The size of a zone descriptor extension, bytes: a multiple of 64, and 0
    /// where there is none.
    pub extension_bytes: u32,
    /// The zone random write areas, if there are any.
    pub zrwa: Option<Zrwa>,
    /// Whether a read may cross a zone boundary.
    pub read_across: bool,
}

/// Zone random write areas: a window behind the write pointer of a zone in
/// which blocks can be written in any order, and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zrwa {
    /// The size of the window, blocks: a multiple of `granularity`.
    pub blocks: u16,
    /// The unit in which the write pointer moves, blocks.
    pub granularity: u16,
    /// The number of zones that can have a window at a time.
    pub resources: u32,
    /// Whether the host may move the write pointer with Flush Explicit ZRWA
    /// Range.
    pub explicit_flush: bool,
}

/// Why zones cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZonedError {
    /// The sizes do not fit each other.
    #[error(
        "zones: a capacity of {capacity_blocks} blocks in zones of {zone_blocks}: give a capacity \
         from 1 to the size of a zone"
    )]
    Capacity {
        /// As given.
        capacity_blocks: u64,
        /// As given.
        zone_blocks: u64,
    },
    /// None, or too many.
    #[error(
        "zones: {zones} zones of {zone_blocks} blocks: give 1 to {ZONES_MAX}, or smaller zones"
    )]
    Number {
        /// As given.
        zones: u32,
        /// As given.
        zone_blocks: u64,
    },
    /// The limits contradict each other.
    #[error(
        "zones: at most {open_max} open and {active_max} active zones: give at least 1 of each, and \
         no more open than active ones"
    )]
    Limits {
        /// As given.
        open_max: u32,
        /// As given.
        active_max: u32,
    },
    /// The extension has a size that cannot be told, or that takes too much.
    #[error(
        "zones: a descriptor extension of {bytes} bytes: give a multiple of 64 up to 16320, and no \
         more than 256 MiB for all zones"
    )]
    Extension {
        /// As given.
        bytes: u32,
    },
    /// The random write areas do not fit.
    #[error(
        "zones: random write areas of {blocks} blocks in units of {granularity}: give at least 1 \
         area, a size that is a multiple of the unit and no larger than a zone's capacity, and a \
         capacity that is a multiple of the unit"
    )]
    Zrwa {
        /// As given.
        blocks: u16,
        /// As given.
        granularity: u16,
    },
    /// A saved state says what cannot be.
    #[error("zones: the saved state is not that of these zones ({0}): format the namespace")]
    Saved(&'static str),
}

impl ZonedGeometry {
    /// Whether a namespace can have such zones.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), ZonedError> {
        if self.capacity_blocks == 0 || self.capacity_blocks > self.zone_blocks {
            return Err(ZonedError::Capacity {
                capacity_blocks: self.capacity_blocks,
                zone_blocks: self.zone_blocks,
            });
        }
        let blocks = u64::from(self.zones).checked_mul(self.zone_blocks);
        if self.zones == 0 || self.zones > ZONES_MAX || blocks.is_none() {
            return Err(ZonedError::Number {
                zones: self.zones,
                zone_blocks: self.zone_blocks,
            });
        }
        let active_max = self.active_max.unwrap_or(u32::MAX);
        let open_max = self.open_max.unwrap_or(u32::MAX);
        // Where only active zones are limited, that limits open ones, too.
        let contradict = self.open_max.is_some() && open_max > active_max;
        if open_max == 0 || active_max == 0 || contradict {
            return Err(ZonedError::Limits {
                open_max,
                active_max,
            });
        }
        let extensions = u64::from(self.zones).saturating_mul(u64::from(self.extension_bytes));
        if self.extension_units().is_none() || extensions > EXTENSIONS_BYTES_MAX {
            return Err(ZonedError::Extension {
                bytes: self.extension_bytes,
            });
        }
        match self.zrwa {
            Some(zrwa) if !zrwa.fits(self.capacity_blocks) => Err(ZonedError::Zrwa {
                blocks: zrwa.blocks,
                granularity: zrwa.granularity,
            }),
            _ => Ok(()),
        }
    }

    /// The size of the namespace, blocks: NSZE.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.zone_blocks.saturating_mul(u64::from(self.zones))
    }

    /// The blocks that can be written: NCAP.
    #[must_use]
    pub fn writable_blocks(&self) -> u64 {
        self.capacity_blocks.saturating_mul(u64::from(self.zones))
    }

    /// Identify Namespace of the zoned command set; every LBA format has the
    /// zones of this geometry.
    #[must_use]
    pub fn identify(&self, lba_formats: usize) -> IdentifyZonedNamespace {
        let mut identify = IdentifyZonedNamespace {
            mar: limit(self.active_max).into(),
            // MOR is never above MAR; an open zone is an active one.
            mor: limit(self.open_max.or(self.active_max)).into(),
            ..IdentifyZonedNamespace::default()
        };
        let mut ozcs = 0;
        if self.read_across {
            ozcs |= IdentifyZonedNamespace::OZCS_READ_ACROSS;
        }
        if let Some(zrwa) = self.zrwa {
            ozcs |= IdentifyZonedNamespace::OZCS_ZRWA;
            identify.numzrwa = limit(Some(zrwa.resources)).into();
            identify.zrwafg = zrwa.granularity.into();
            identify.zrwasz = zrwa.blocks.into();
            if zrwa.explicit_flush {
                identify.zrwacap = IdentifyZonedNamespace::ZRWACAP_EXPLICIT_FLUSH;
            }
        }
        identify.ozcs = ozcs.into();
        let zones = ZonedLbaFormat {
            zsze: self.zone_blocks.into(),
            zdes: self.extension_units().unwrap_or(0),
            ..ZonedLbaFormat::default()
        };
        for format in identify.lbafe.iter_mut().take(lba_formats) {
            *format = zones;
        }
        identify
    }

    /// The size of a zone descriptor extension in units of 64 bytes.
    fn extension_units(&self) -> Option<u8> {
        if !self.extension_bytes.is_multiple_of(EXTENSION_UNIT) {
            return None;
        }
        u8::try_from(self.extension_bytes.checked_div(EXTENSION_UNIT)?).ok()
    }
}

impl Zrwa {
    fn fits(&self, capacity_blocks: u64) -> bool {
        self.granularity != 0
            && self.blocks != 0
            && self.resources != 0
            && self.blocks.is_multiple_of(self.granularity)
            && u64::from(self.blocks) <= capacity_blocks
            && capacity_blocks.is_multiple_of(u64::from(self.granularity))
    }
}

/// The zero-based field of a limit.
fn limit(max: Option<u32>) -> u32 {
    max.map_or(IdentifyZonedNamespace::NO_LIMIT, |max| {
        max.saturating_sub(1)
    })
}
