//! Scatter gather lists: the other way to say where data is.

use core::fmt;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Size of an SGL descriptor, bytes.
pub const SGL_DESCRIPTOR_BYTES: usize = 16;

/// The type of an SGL descriptor (`NVMe Base 2.1 §4.3.2`): an open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SglType(pub u8);

impl SglType {
    /// A piece of the data.
    pub const DATA_BLOCK: Self = Self(0x0);
    /// A piece of the data that is thrown away.
    pub const BIT_BUCKET: Self = Self(0x1);
    /// Where the next segment is.
    pub const SEGMENT: Self = Self(0x2);
    /// Where the next segment is, which is the last.
    pub const LAST_SEGMENT: Self = Self(0x3);
    /// A piece of the data, with a key (fabrics).
    pub const KEYED_DATA_BLOCK: Self = Self(0x4);
    /// A piece of the data that the transport finds (fabrics).
    pub const TRANSPORT_DATA_BLOCK: Self = Self(0x5);
    /// What a vendor makes of it.
    pub const VENDOR: Self = Self(0xf);

    /// The specification's name; none where the type has none.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::DATA_BLOCK => Some("Data Block"),
            Self::BIT_BUCKET => Some("Bit Bucket"),
            Self::SEGMENT => Some("Segment"),
            Self::LAST_SEGMENT => Some("Last Segment"),
            Self::KEYED_DATA_BLOCK => Some("Keyed Data Block"),
            Self::TRANSPORT_DATA_BLOCK => Some("Transport Data Block"),
            Self::VENDOR => Some("Vendor Specific"),
            _ => None,
        }
    }
}

impl fmt::Display for SglType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// The subtype of an SGL descriptor: what its address is
/// (`NVMe Base 2.1 §4.3.2`). An open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SglSubtype(pub u8);

impl SglSubtype {
    /// An address in memory.
    pub const ADDRESS: Self = Self(0x0);
    /// An offset into what came with the command (fabrics).
    pub const OFFSET: Self = Self(0x1);
}

/// An SGL descriptor: 16 bytes (`NVMe Base 2.1 §4.3.2`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SglDescriptor {
    /// Where the block or the segment is.
    pub address: U64,
    /// Its length, bytes.
    pub length: U32,
    #[doc(hidden)]
    pub reserved: [u8; 3],
    /// Type and subtype; see [`SglDescriptor::kind`].
    pub identifier: u8,
}

const _: () = assert!(size_of::<SglDescriptor>() == SGL_DESCRIPTOR_BYTES);

impl SglDescriptor {
    /// A descriptor of `kind` for `length` bytes at `address` in memory.
    #[must_use]
    pub fn new(kind: SglType, address: u64, length: u32) -> Self {
        Self {
            address: U64::new(address),
            length: U32::new(length),
            reserved: [0; 3],
            identifier: kind.0 << 4 | SglSubtype::ADDRESS.0,
        }
    }

    /// What it describes: identifier 07:04.
    #[must_use]
    pub const fn kind(&self) -> SglType {
        SglType(self.identifier >> 4)
    }

    /// What its address is: identifier 03:00.
    #[must_use]
    pub const fn subtype(&self) -> SglSubtype {
        SglSubtype(self.identifier & 0xf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_stands_as_the_specification_puts_it() {
        let descriptor = SglDescriptor::new(SglType::LAST_SEGMENT, 0x0807_0605_0403_0201, 0x40);
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 0x40, 0, 0, 0, 0, 0, 0, 0x30];
        assert_eq!(descriptor.as_bytes(), bytes);
        assert_eq!(descriptor.kind(), SglType::LAST_SEGMENT);
        assert_eq!(descriptor.kind().to_string(), "Last Segment");
        let keyed = SglDescriptor {
            identifier: 0x41,
            ..descriptor
        };
        assert_eq!(keyed.kind(), SglType::KEYED_DATA_BLOCK);
        assert_eq!(keyed.subtype(), SglSubtype::OFFSET);
    }
}
