//! End-to-end data protection: what stands with every block, and in the
//! commands that check it (`NVM Command Set 1.1 §5.3`).

use bitfield_struct::bitfield;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Sqe;

/// How a namespace is protected: DPS 02:00 of Identify Namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProtectionType {
    /// Not at all.
    #[default]
    None,
    /// Type 1: the reference tag is the LBA.
    Type1,
    /// Type 2: the reference tag starts where the command says, and counts.
    Type2,
    /// Type 3: the reference tag is the application's.
    Type3,
}

impl ProtectionType {
    /// The type with this number; none for a reserved one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Type1),
            2 => Some(Self::Type2),
            3 => Some(Self::Type3),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Type1 => 1,
            Self::Type2 => 2,
            Self::Type3 => 3,
        }
    }
}

/// The format of protection information: PIF of an extended LBA format
/// (`NVM Command Set 1.1 §5.3.1`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GuardFormat {
    /// 8 bytes, guarded by the CRC-16 of T10.
    #[default]
    Guard16,
    /// 16 bytes, guarded by CRC-32C.
    Guard32,
    /// 16 bytes, guarded by the CRC-64 of NVMe.
    Guard64,
}

impl GuardFormat {
    /// The format with this PIF; none for a reserved one.
    #[must_use]
    pub const fn from_pif(pif: u8) -> Option<Self> {
        match pif {
            0 => Some(Self::Guard16),
            1 => Some(Self::Guard32),
            2 => Some(Self::Guard64),
            _ => None,
        }
    }

    /// Its PIF.
    #[must_use]
    pub const fn pif(self) -> u8 {
        match self {
            Self::Guard16 => 0,
            Self::Guard32 => 1,
            Self::Guard64 => 2,
        }
    }

    /// Size of the protection information of a block, bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Guard16 => size_of::<Pi16>(),
            Self::Guard32 => size_of::<Pi32>(),
            Self::Guard64 => size_of::<Pi64>(),
        }
    }

    /// How many bits the storage tag and the reference tag have together.
    #[must_use]
    pub const fn tag_bits(self) -> u32 {
        match self {
            Self::Guard16 => 32,
            Self::Guard32 => 80,
            Self::Guard64 => 48,
        }
    }

    /// The sizes that a storage tag may have, bits: the least and the most
    /// (STS). The reference tag has the rest of [`GuardFormat::tag_bits`].
    #[must_use]
    pub const fn storage_tag_bits(self) -> (u32, u32) {
        match self {
            Self::Guard16 => (0, 32),
            Self::Guard32 => (16, 64),
            Self::Guard64 => (0, 48),
        }
    }
}

/// Protection information with a 16-bit guard. Its numbers are big-endian, as
/// T10 has them.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct Pi16 {
    /// CRC of the block.
    pub guard: U16,
    /// Application tag.
    pub application: U16,
    /// Storage tag, then reference tag.
    pub tags: [u8; 4],
}

/// Protection information with a 32-bit guard.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct Pi32 {
    /// CRC of the block.
    pub guard: U32,
    /// Application tag.
    pub application: U16,
    /// Storage tag, then reference tag.
    pub tags: [u8; 10],
}

/// Protection information with a 64-bit guard.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct Pi64 {
    /// CRC of the block.
    pub guard: U64,
    /// Application tag.
    pub application: U16,
    /// Storage tag, then reference tag.
    pub tags: [u8; 6],
}

/// The Protection Information Field of a command: what is done with protection
/// information (`NVM Command Set 1.1 §3.3`).
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Prinfo {
    /// Check the reference tag.
    pub reference: bool,
    /// Check the application tag.
    pub application: bool,
    /// Check the guard.
    pub guard: bool,
    /// Act: the controller makes the protection information of a write, and
    /// takes it away from a read.
    pub pract: bool,
    #[bits(4)]
    __: u8,
}

/// CDW15 of a command that checks or makes protection information.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct TagCheckCdw15 {
    /// The application tag, or the one that is expected.
    pub application: u16,
    /// Which of its bits are compared.
    pub mask: u16,
}

/// The storage tag and the reference tag of a command's first block, as one
/// number: LBST and ILBRT, or ELBST and EILBRT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtectionTag(pub u128);

impl ProtectionTag {
    /// The tags of a command: CDW2 15:00, CDW3 and CDW14, as many of their
    /// lowest bits as `format` has (`NVM Command Set 1.1 §5.3.1.4`).
    #[must_use]
    pub fn of(sqe: &Sqe, format: GuardFormat) -> Self {
        let all = u128::from(sqe.cdw2.get()) << 64
            | u128::from(sqe.cdw3.get()) << 32
            | u128::from(sqe.cdw14.get());
        Self(all & low_bits(format.tag_bits()))
    }

    /// The tags `storage` and `reference`, where the storage tag has
    /// `storage_tag_bits` of the bits of `format`. What is too large for its
    /// place is cut off.
    #[must_use]
    pub fn new(format: GuardFormat, storage_tag_bits: u32, storage: u64, reference: u64) -> Self {
        let bits = format.tag_bits().saturating_sub(storage_tag_bits);
        let storage = u128::from(storage) & low_bits(storage_tag_bits);
        let reference = u128::from(reference) & low_bits(bits);
        Self(storage.checked_shl(bits).unwrap_or(0) | reference)
    }

    /// The storage tag, where it has `storage_tag_bits` of the bits of
    /// `format`.
    #[must_use]
    pub fn storage(self, format: GuardFormat, storage_tag_bits: u32) -> u64 {
        let reference = format.tag_bits().saturating_sub(storage_tag_bits);
        low_u64(self.0.checked_shr(reference).unwrap_or(0))
    }

    /// The reference tag, likewise.
    #[must_use]
    pub fn reference(self, format: GuardFormat, storage_tag_bits: u32) -> u64 {
        let reference = format.tag_bits().saturating_sub(storage_tag_bits);
        low_u64(self.0 & low_bits(reference))
    }
}

/// The protection information of a block, in whatever format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtectionInfo {
    /// CRC of the block, in the lowest bits.
    pub guard: u64,
    /// Application tag.
    pub application: u16,
    /// Storage tag and reference tag.
    pub tag: ProtectionTag,
}

impl ProtectionInfo {
    /// What stands in `bytes`; none where those are not as many as `format` has.
    #[must_use]
    pub fn decode(format: GuardFormat, bytes: &[u8]) -> Option<Self> {
        let (guard, application, tags): (u64, U16, &[u8]) = match format {
            GuardFormat::Guard16 => {
                let pi = Pi16::ref_from_bytes(bytes).ok()?;
                (pi.guard.get().into(), pi.application, &pi.tags)
            }
            GuardFormat::Guard32 => {
                let pi = Pi32::ref_from_bytes(bytes).ok()?;
                (pi.guard.get().into(), pi.application, &pi.tags)
            }
            GuardFormat::Guard64 => {
                let pi = Pi64::ref_from_bytes(bytes).ok()?;
                (pi.guard.get(), pi.application, &pi.tags)
            }
        };
        let tag = tags
            .iter()
            .fold(0_u128, |tag, &byte| tag << 8 | u128::from(byte));
        Some(Self {
            guard,
            application: application.get(),
            tag: ProtectionTag(tag),
        })
    }

    /// Writes it into `bytes`; whether those are as many as `format` has.
    #[must_use]
    pub fn encode(&self, format: GuardFormat, bytes: &mut [u8]) -> bool {
        let application = U16::new(self.application);
        let [.., g3, g2, g1, g0] = self.guard.to_be_bytes();
        let all = self.tag.0.to_be_bytes();
        match format {
            GuardFormat::Guard16 => Pi16 {
                guard: U16::from_bytes([g1, g0]),
                application,
                tags: *last_bytes(&all),
            }
            .write_to(bytes)
            .is_ok(),
            GuardFormat::Guard32 => Pi32 {
                guard: U32::from_bytes([g3, g2, g1, g0]),
                application,
                tags: *last_bytes(&all),
            }
            .write_to(bytes)
            .is_ok(),
            GuardFormat::Guard64 => Pi64 {
                guard: U64::new(self.guard),
                application,
                tags: *last_bytes(&all),
            }
            .write_to(bytes)
            .is_ok(),
        }
    }
}

/// The last `N` of 16 bytes.
const fn last_bytes<const N: usize>(bytes: &[u8; 16]) -> &[u8; N] {
    const { assert!(N <= 16) };
    match bytes.last_chunk() {
        Some(last) => last,
        None => &[0; N],
    }
}

/// A number whose lowest `bits` bits are set.
const fn low_bits(bits: u32) -> u128 {
    match u128::MAX.checked_shr(128_u32.saturating_sub(bits)) {
        Some(mask) => mask,
        None => 0,
    }
}

/// The lowest 64 bits.
fn low_u64(value: u128) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = value.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NamespaceId;

    #[test]
    fn protection_information_stands_as_the_specification_puts_it() {
        let pi = Pi16 {
            guard: U16::new(0x0102),
            application: U16::new(0x0304),
            tags: [5, 6, 7, 8],
        };
        assert_eq!(pi.as_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
        let pi = Pi32 {
            guard: U32::new(0x0102_0304),
            application: U16::new(0x0506),
            tags: [9; 10],
        };
        assert_eq!(pi.as_bytes()[..7], [1, 2, 3, 4, 5, 6, 9]);
        let pi = Pi64 {
            guard: U64::new(0x0102_0304_0506_0708),
            application: U16::new(0x090a),
            tags: [11; 6],
        };
        assert_eq!(
            pi.as_bytes()[..11],
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11_u8][..]
        );
        assert_eq!(GuardFormat::Guard16.bytes(), 8);
        assert_eq!(GuardFormat::Guard32.bytes(), 16);
        assert_eq!(GuardFormat::Guard64.bytes(), 16);
    }

    #[test]
    fn the_tags_of_a_command_are_split_where_the_format_says() {
        let mut sqe = Sqe::new(1, NamespaceId(1));
        sqe.cdw2.set(0xffff_a1a2);
        sqe.cdw3.set(0xb1b2_b3b4);
        sqe.cdw14.set(0xc1c2_c3c4);
        let split = |format, bits| {
            let tag = ProtectionTag::of(&sqe, format);
            (tag.storage(format, bits), tag.reference(format, bits))
        };
        assert_eq!(split(GuardFormat::Guard16, 0), (0, 0xc1c2_c3c4));
        assert_eq!(split(GuardFormat::Guard16, 8), (0xc1, 0x00c2_c3c4));
        assert_eq!(split(GuardFormat::Guard16, 32), (0xc1c2_c3c4, 0));
        assert_eq!(split(GuardFormat::Guard64, 0), (0, 0xb3b4_c1c2_c3c4));
        assert_eq!(split(GuardFormat::Guard64, 16), (0xb3b4, 0xc1c2_c3c4));
        let all = (0xa1a2, 0xb1b2_b3b4_c1c2_c3c4);
        assert_eq!(split(GuardFormat::Guard32, 16), all);
        assert_eq!(
            split(GuardFormat::Guard32, 64),
            (0xa1a2_b1b2_b3b4_c1c2, 0xc3c4)
        );
    }

    #[test]
    fn protection_information_is_written_as_it_is_read() {
        let formats = [
            (GuardFormat::Guard16, 16),
            (GuardFormat::Guard32, 24),
            (GuardFormat::Guard64, 8),
        ];
        for (format, bits) in formats {
            let bytes: Vec<u8> = (1..).take(format.bytes()).collect();
            let pi = ProtectionInfo::decode(format, &bytes).unwrap();
            let mut out = vec![0; format.bytes()];
            assert!(pi.encode(format, &mut out));
            assert_eq!(out, bytes);
            let (storage, reference) =
                (pi.tag.storage(format, bits), pi.tag.reference(format, bits));
            let tag = ProtectionTag::new(format, bits, storage, reference);
            assert_eq!(tag, pi.tag, "{format:?}");
            assert!(!pi.encode(format, &mut out[1..]));
            assert_eq!(ProtectionInfo::decode(format, &out[1..]), None);
        }
        let pi = ProtectionInfo::decode(GuardFormat::Guard64, &[9; 16]).unwrap();
        assert_eq!(pi.guard, 0x0909_0909_0909_0909);
        assert_eq!(pi.application, 0x0909);
        assert_eq!(pi.tag.0, 0x0909_0909_0909);
    }

    #[test]
    fn what_a_command_asks_for_has_its_bits() {
        let all = Prinfo::from_bits(0b1010);
        assert!(all.pract() && all.application() && !all.guard() && !all.reference());
        let tags = TagCheckCdw15::from_bits(0xff00_1234);
        assert_eq!((tags.application(), tags.mask()), (0x1234, 0xff00));
        for number in 0..4 {
            let kind = ProtectionType::from_number(number);
            assert_eq!(kind.map(ProtectionType::number), Some(number));
        }
        assert_eq!(ProtectionType::from_number(4), None);
        assert_eq!(GuardFormat::from_pif(3), None);
    }
}
