//! The structures that only the NVM command set has: Identify with CNS 05h and
//! 06h and command set identifier 0.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::zeroed_default;

/// An extended LBA format: a dword beside each LBA format
/// (`NVM Command Set 1.1 §4.1.5.3`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ElbaFormat {
    /// Storage tag size, bits.
    #[bits(7)]
    pub sts: u8,
    /// Protection information format: 0 16-bit guard, 1 32-bit, 2 64-bit, 3
    /// as `qpif` says.
    #[bits(2)]
    pub pif: u8,
    /// Qualified protection information format.
    #[bits(4)]
    pub qpif: u8,
    #[bits(19)]
    __: u32,
}

/// Identify Namespace of the NVM command set, CNS 05h: 4096 bytes
/// (`NVM Command Set 1.1 §4.1.5.3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IdentifyNvmNamespace {
    /// Logical block storage tag mask.
    pub lbstm: U64,
    /// Protection information capabilities.
    pub pic: u8,
    /// Protection information format attribute.
    pub pifa: u8,
    /// Reserved.
    pub reserved10: [u8; 2],
    /// Extended LBA formats; see [`ElbaFormat`].
    pub elbaf: [U32; 64],
    /// Preferred deallocate granularity, large, blocks.
    pub npdgl: U32,
    /// Preferred read granularity, blocks.
    pub nprg: U32,
    /// Preferred read alignment, blocks.
    pub npra: U32,
    /// Optimal read size, blocks.
    pub nors: U32,
    /// Preferred deallocate alignment, large, blocks.
    pub npdal: U32,
    /// Logical block allocation and protection storage size, blocks.
    pub lbapss: U32,
    /// Tracked LBA allocation granularity, blocks.
    pub tlbaag: U32,
    /// Reserved.
    pub reserved296: [u8; 3800],
}

impl IdentifyNvmNamespace {
    /// PIC: storage tags with 16-bit guards.
    pub const PIC_STORAGE_TAG_16: u8 = 1 << 0;
    /// PIC: storage tag masks of any value with 16-bit guards.
    pub const PIC_STORAGE_TAG_MASK_16: u8 = 1 << 1;
    /// PIC: Storage Tag Check Read of Copy.
    pub const PIC_STORAGE_TAG_CHECK_READ: u8 = 1 << 2;
    /// PIC: qualified protection information formats.
    pub const PIC_QUALIFIED_FORMATS: u8 = 1 << 3;

    /// The extended LBA format `index`; none above 63.
    #[must_use]
    pub fn format(&self, index: usize) -> Option<ElbaFormat> {
        self.elbaf
            .get(index)
            .map(|raw| ElbaFormat::from_bits(raw.get()))
    }
}

/// Identify Controller of the NVM command set, CNS 06h: 4096 bytes
/// (`NVM Command Set 1.1 §4.1.5.4`).
///
/// The size limits are powers of two in units of the minimum page size, 0 for
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IdentifyNvmController {
    /// Verify size limit.
    pub vsl: u8,
    /// Write Zeroes size limit.
    pub wzsl: u8,
    /// Write Uncorrectable size limit.
    pub wusl: u8,
    /// Dataset Management ranges limit.
    pub dmrl: u8,
    /// Dataset Management range size limit, blocks.
    pub dmrsl: U32,
    /// Dataset Management size limit, blocks.
    pub dmsl: U64,
    /// Key per I/O capabilities.
    pub kpiocap: u8,
    /// Write Zeroes with deallocate size limit.
    pub wzdsl: u8,
    /// Admin optional command support.
    pub aocs: U16,
    /// Version of the NVM command set.
    pub ver: U32,
    /// LBA migration queue format.
    pub lbamqf: u8,
    /// Reserved.
    pub reserved25: [u8; 4071],
}

zeroed_default!(IdentifyNvmNamespace, IdentifyNvmController);

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_structures_have_the_layout_of_the_specification() {
        assert_eq!(size_of::<IdentifyNvmNamespace>(), 4096);
        assert_eq!(offset_of!(IdentifyNvmNamespace, elbaf), 12);
        assert_eq!(offset_of!(IdentifyNvmNamespace, npdgl), 268);
        assert_eq!(size_of::<IdentifyNvmController>(), 4096);
        assert_eq!(offset_of!(IdentifyNvmController, dmsl), 8);
        assert_eq!(offset_of!(IdentifyNvmController, ver), 20);
        assert_eq!(
            ElbaFormat::new().with_sts(8).with_pif(2).into_bits(),
            8 | 2 << 7
        );
    }
}
