//! The NVM command set: what stands in its commands' dwords and data.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Lba, ZeroBased};

/// The most ranges that one Dataset Management command can carry.
pub const DSM_RANGES_MAX: usize = 256;

/// CDW12 of Read, Write, Compare, Verify and Write Zeroes
/// (`NVM Command Set 1.1 §3.3`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReadWriteCdw12 {
    /// Number of logical blocks, zero-based; see [`ReadWriteCdw12::blocks`].
    pub nlb: u16,
    #[bits(4)]
    __: u8,
    /// Directive type.
    #[bits(4)]
    pub dtype: u8,
    /// Storage tag check.
    pub stc: bool,
    /// Deallocate (Write Zeroes only).
    pub deac: bool,
    /// Protection information field.
    #[bits(4)]
    pub prinfo: u8,
    /// Force unit access.
    pub fua: bool,
    /// Limited retry.
    pub limited_retry: bool,
}

impl ReadWriteCdw12 {
    /// The number of logical blocks, 1 to 65,536.
    #[must_use]
    pub const fn blocks(self) -> u32 {
        ZeroBased::<u16>::count(ZeroBased(self.nlb()))
    }
}

/// CDW11 of Dataset Management (`NVM Command Set 1.1 §3.3.3`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct DsmAttributes {
    /// Integral dataset for read.
    pub idr: bool,
    /// Integral dataset for write.
    pub idw: bool,
    /// Attribute Deallocate.
    pub ad: bool,
    #[bits(29)]
    __: u32,
}

/// One range of a Dataset Management command: 16 bytes
/// (`NVM Command Set 1.1 §3.3.3`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DsmRange {
    /// Context attributes.
    pub context: U32,
    /// Length in logical blocks (not zero-based).
    pub blocks: U32,
    /// Starting LBA.
    pub slba: U64,
}

impl DsmRange {
    /// A range with no context attributes.
    #[must_use]
    pub fn new(slba: Lba, blocks: u32) -> Self {
        Self {
            context: U32::new(0),
            blocks: U32::new(blocks),
            slba: U64::new(slba.0),
        }
    }

    /// The starting LBA.
    #[must_use]
    pub fn lba(&self) -> Lba {
        Lba(self.slba.get())
    }
}
