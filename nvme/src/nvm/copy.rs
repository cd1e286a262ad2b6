//! Copy and Get LBA Status.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Lba, NamespaceId, ZeroBased};

/// CDW12 of Copy; CDW10 and CDW11 are the starting destination LBA, CDW13 to
/// CDW15 as of Write (`NVM Command Set 1.1 §3.3.2`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CopyCdw12 {
    /// Number of ranges, zero-based.
    pub nr: u8,
    /// Descriptor format, 0 to 4.
    #[bits(4)]
    pub desfmt: u8,
    /// Protection information field, read.
    #[bits(4)]
    pub prinfor: u8,
    /// Command extension type.
    #[bits(4)]
    pub cetype: u8,
    /// Directive type.
    #[bits(4)]
    pub dtype: u8,
    /// Storage tag check, write.
    pub stcw: bool,
    /// Storage tag check, read.
    pub stcr: bool,
    /// Protection information field, write.
    #[bits(4)]
    pub prinfow: u8,
    /// Force unit access.
    pub fua: bool,
    /// Limited retry.
    pub limited_retry: bool,
}

impl CopyCdw12 {
    /// The number of ranges, 1 to 256.
    #[must_use]
    pub fn ranges(self) -> u16 {
        ZeroBased::<u8>::count(ZeroBased(self.nr()))
    }
}

/// A source range of Copy, descriptor formats 0h and 2h: 32 bytes
/// (`NVM Command Set 1.1 §3.3.2`). In format 0h the namespace and the options
/// are reserved.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CopyRange {
    /// Source namespace (format 2h).
    pub snsid: U32,
    /// Reserved.
    pub reserved4: [u8; 4],
    /// Starting LBA.
    pub slba: U64,
    /// Number of blocks, zero-based.
    pub nlb: U16,
    /// Reserved.
    pub reserved18: [u8; 4],
    /// Source options (format 2h); see [`CopyRange::FAST_COPY_ONLY`].
    pub sopt: U16,
    /// Expected initial reference tag.
    pub eilbrt: U32,
    /// Expected application tag.
    pub elbat: U16,
    /// Expected application tag mask.
    pub elbatm: U16,
}

/// A source range of Copy, descriptor formats 1h and 3h: 40 bytes
/// (`NVM Command Set 1.1 §3.3.2`). In format 1h the namespace and the options
/// are reserved.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CopyRangeExtended {
    /// Source namespace (format 3h).
    pub snsid: U32,
    /// Reserved.
    pub reserved4: [u8; 4],
    /// Starting LBA.
    pub slba: U64,
    /// Number of blocks, zero-based.
    pub nlb: U16,
    /// Reserved.
    pub reserved18: [u8; 4],
    /// Source options (format 3h); see [`CopyRange::FAST_COPY_ONLY`].
    pub sopt: U16,
    /// Reserved.
    pub reserved24: [u8; 2],
    /// Expected storage and reference tags, big-endian.
    pub elbt: [u8; 10],
    /// Expected application tag.
    pub elbat: U16,
    /// Expected application tag mask.
    pub elbatm: U16,
}

impl CopyRange {
    /// Source options: a fast copy, or none.
    pub const FAST_COPY_ONLY: u16 = 1 << 15;

    /// A range of the destination's own namespace; `None` where the number of
    /// blocks is 0 or above 65,536.
    #[must_use]
    pub fn new(slba: Lba, blocks: u32) -> Option<Self> {
        Some(Self {
            slba: U64::new(slba.0),
            nlb: U16::new(ZeroBased::<u16>::of(blocks)?.0),
            ..Self::default()
        })
    }

    /// The starting LBA.
    #[must_use]
    pub fn lba(&self) -> Lba {
        Lba(self.slba.get())
    }

    /// The number of blocks, 1 to 65,536.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        ZeroBased::<u16>::count(ZeroBased(self.nlb.get()))
    }

    /// The source namespace (format 2h).
    #[must_use]
    pub fn source(&self) -> NamespaceId {
        NamespaceId(self.snsid.get())
    }
}

impl CopyRangeExtended {
    /// The starting LBA.
    #[must_use]
    pub fn lba(&self) -> Lba {
        Lba(self.slba.get())
    }

    /// The number of blocks, 1 to 65,536.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        ZeroBased::<u16>::count(ZeroBased(self.nlb.get()))
    }

    /// The source namespace (format 3h).
    #[must_use]
    pub fn source(&self) -> NamespaceId {
        NamespaceId(self.snsid.get())
    }
}

/// The head of the LBA Status Descriptor List: 8 bytes, descriptors follow
/// (`NVM Command Set 1.1 §4.2.1`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LbaStatusHeader {
    /// How many descriptors follow.
    pub descriptors: U32,
    /// Completion condition: 1 the list was cut, 2 the range was covered.
    pub condition: u8,
    /// Reserved.
    pub reserved5: [u8; 3],
}

/// An LBA status descriptor: 16 bytes (`NVM Command Set 1.1 §4.2.1`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LbaStatusDescriptor {
    /// Starting LBA.
    pub slba: U64,
    /// Number of blocks (not zero-based).
    pub blocks: U32,
    /// Reserved.
    pub reserved12: u8,
    /// Status of the blocks.
    pub status: u8,
    /// Reserved.
    pub reserved14: [u8; 2],
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_structures_have_the_layout_of_the_specification() {
        assert_eq!(size_of::<CopyRange>(), 32);
        assert_eq!(offset_of!(CopyRange, nlb), 16);
        assert_eq!(offset_of!(CopyRange, sopt), 22);
        assert_eq!(offset_of!(CopyRange, elbatm), 30);
        assert_eq!(size_of::<CopyRangeExtended>(), 40);
        assert_eq!(offset_of!(CopyRangeExtended, elbt), 26);
        assert_eq!(offset_of!(CopyRangeExtended, elbatm), 38);
        assert_eq!(size_of::<LbaStatusHeader>(), 8);
        assert_eq!(size_of::<LbaStatusDescriptor>(), 16);
        let cdw12 = CopyCdw12::new().with_nr(1).with_desfmt(2).with_stcr(true);
        assert_eq!(cdw12.into_bits(), 1 | 2 << 8 | 1 << 25);
        assert_eq!(cdw12.ranges(), 2);
    }
}
