//! The NVM command set: what stands in its commands' dwords and data.

mod copy;

pub use copy::{CopyCdw12, CopyRange, CopyRangeExtended, LbaStatusDescriptor, LbaStatusHeader};

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
    /// Command extension type.
    #[bits(4)]
    pub cetype: u8,
    /// Directive type; see [`ReadWriteCdw12::nsz`].
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
    /// Write Zeroes only: the whole namespace is to be zeroed (bit 23).
    #[must_use]
    pub const fn nsz(self) -> bool {
        self.dtype() & 0b1000 != 0
    }

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

/// CDW13 of Read, Write, Compare and Write Zeroes
/// (`NVM Command Set 1.1 §3.3`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReadWriteCdw13 {
    /// Access frequency.
    #[bits(4)]
    pub af: u8,
    /// Access latency: 0 none, 1 idle, 2 normal, 3 low.
    #[bits(2)]
    pub al: u8,
    /// Part of a sequential request.
    pub sr: bool,
    /// The data is not compressible.
    pub incom: bool,
    #[bits(8)]
    __: u8,
    /// Directive specific.
    pub dspec: u16,
}

/// CDW15 of the commands with protection information; CDW14 is the initial or
/// expected reference tag, lower half (`NVM Command Set 1.1 §3.3`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReadWriteCdw15 {
    /// Application tag.
    pub lbat: u16,
    /// Application tag mask.
    pub lbatm: u16,
}

/// Context attributes of a Dataset Management range
/// (`NVM Command Set 1.1 §3.3.3`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct DsmContext {
    /// Access frequency.
    #[bits(4)]
    pub af: u8,
    /// Access latency.
    #[bits(2)]
    pub al: u8,
    #[bits(2)]
    __: u8,
    /// Read sequentially.
    pub sr: bool,
    /// Written sequentially.
    pub sw: bool,
    /// Will be written soon.
    pub wp: bool,
    #[bits(13)]
    __: u16,
    /// Command access size, blocks.
    pub cas: u8,
}

/// CDW10 of Cancel (`NVMe Base 2.1 §7.1`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CancelCdw10 {
    /// Submission queue, that of the Cancel itself.
    pub sqid: u16,
    /// Command to cancel; FFFFh with the action "multiple".
    pub cid: u16,
}

/// CDW11 of Cancel (`NVMe Base 2.1 §7.1`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CancelCdw11 {
    /// Action: 0 one command, 1 multiple commands.
    #[bits(2)]
    pub action: u8,
    #[bits(30)]
    __: u32,
}

/// Dword 0 of the completion of Cancel (`NVMe Base 2.1 §7.1`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CancelDword0 {
    /// Commands that were aborted at once.
    pub aborted: u16,
    /// Commands that may still be aborted.
    pub deferred: u16,
}
