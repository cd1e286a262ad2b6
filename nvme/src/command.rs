//! The submission queue entry.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{CommandId, Lba, NamespaceId, SglDescriptor};

/// A submission queue entry: 64 bytes, as it stands in the queue
/// (`NVMe Base 2.1 §4.1.1`, Common Command Format).
///
/// The all-zero entry is a Flush (or Delete SQ) of nothing with command
/// identifier 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Sqe {
    /// Opcode (CDW0 07:00).
    pub opcode: u8,
    /// Fused operation and data pointer type (CDW0 15:08); see [`Sqe::psdt`].
    pub flags: u8,
    /// Command identifier (CDW0 31:16); see [`Sqe::cid`].
    pub command_id: U16,
    /// Namespace identifier; see [`Sqe::nsid`].
    pub namespace_id: U32,
    /// Command dword 2, command specific.
    pub cdw2: U32,
    /// Command dword 3, command specific.
    pub cdw3: U32,
    /// Metadata pointer.
    pub mptr: U64,
    /// PRP entry 1, or the first half of an SGL descriptor.
    pub prp1: U64,
    /// PRP entry 2, or the second half of an SGL descriptor.
    pub prp2: U64,
    /// Command dword 10, command specific.
    pub cdw10: U32,
    /// Command dword 11, command specific.
    pub cdw11: U32,
    /// Command dword 12, command specific.
    pub cdw12: U32,
    /// Command dword 13, command specific.
    pub cdw13: U32,
    /// Command dword 14, command specific.
    pub cdw14: U32,
    /// Command dword 15, command specific.
    pub cdw15: U32,
}

/// How a command's data pointer is to be read: CDW0 15:14
/// (`NVMe Base 2.1 §4.1.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Psdt {
    /// Physical region pages.
    Prp,
    /// Scatter gather list; the metadata pointer is one buffer.
    Sgl,
    /// Scatter gather list; the metadata pointer is an SGL segment.
    SglMetadataSgl,
    /// The reserved value 3.
    Reserved,
}

impl Sqe {
    /// An entry with `opcode` for `nsid` and everything else 0.
    #[must_use]
    pub fn new(opcode: u8, nsid: NamespaceId) -> Self {
        Self {
            opcode,
            namespace_id: U32::new(nsid.0),
            ..Self::default()
        }
    }

    /// Command dword `index`, 0 to 15, as it stands; 0 past the end.
    #[must_use]
    pub fn dword(&self, index: usize) -> u32 {
        let dwords: [U32; crate::SQE_BYTES / 4] = zerocopy::transmute!(*self);
        dwords.get(index).map_or(0, |dword| dword.get())
    }

    /// Sets command dword `index`, 0 to 15, whatever stands in it; nothing
    /// happens past the end.
    pub fn set_dword(&mut self, index: usize, value: u32) {
        let mut dwords: [U32; crate::SQE_BYTES / 4] = zerocopy::transmute!(*self);
        if let Some(dword) = dwords.get_mut(index) {
            dword.set(value);
        }
        *self = zerocopy::transmute!(dwords);
    }

    /// The command identifier.
    #[must_use]
    pub fn cid(&self) -> CommandId {
        CommandId(self.command_id.get())
    }

    /// The namespace identifier.
    #[must_use]
    pub fn nsid(&self) -> NamespaceId {
        NamespaceId(self.namespace_id.get())
    }

    /// How the data pointer is to be read.
    #[must_use]
    pub const fn psdt(&self) -> Psdt {
        match self.flags >> 6 {
            0 => Psdt::Prp,
            1 => Psdt::Sgl,
            2 => Psdt::SglMetadataSgl,
            _ => Psdt::Reserved,
        }
    }

    /// The data pointer as an SGL descriptor, which it is where [`Sqe::psdt`]
    /// says so.
    #[must_use]
    pub fn sgl(&self) -> SglDescriptor {
        zerocopy::transmute!([self.prp1, self.prp2])
    }

    /// Makes `descriptor` the data pointer, with the metadata pointer as one
    /// buffer.
    pub fn set_sgl(&mut self, descriptor: SglDescriptor) {
        [self.prp1, self.prp2] = zerocopy::transmute!(descriptor);
        self.flags = self.flags & 0x3f | 1 << 6;
    }

    /// The fused operation field: 0 is a normal command, 1 the first and 2
    /// the second of a fused pair.
    #[must_use]
    pub const fn fuse(&self) -> u8 {
        self.flags & 0b11
    }

    /// The starting LBA of an NVM command that has one: CDW10 and CDW11
    /// (`NVM Command Set 1.1 §3.3`).
    #[must_use]
    pub fn slba(&self) -> Lba {
        Lba(u64::from(self.cdw11.get()) << 32 | u64::from(self.cdw10.get()))
    }

    /// Sets the starting LBA: CDW10 and CDW11.
    pub fn set_slba(&mut self, lba: Lba) {
        let [a, b, c, d, e, f, g, h] = lba.0.to_le_bytes();
        self.cdw10 = U32::from_bytes([a, b, c, d]);
        self.cdw11 = U32::from_bytes([e, f, g, h]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_stand_where_the_specification_puts_them() {
        let mut sqe = Sqe::new(0x02, NamespaceId(0x0403_0201));
        sqe.command_id = U16::new(0xbeef);
        sqe.prp1 = U64::new(0x1111_2222_3333_4444);
        sqe.prp2 = U64::new(0x5555_6666_7777_8888);
        sqe.set_slba(Lba(0x0123_4567_89ab_cdef));
        let bytes = sqe.as_bytes();
        assert_eq!(bytes.len(), crate::SQE_BYTES);
        assert_eq!(bytes[0], 0x02);
        assert_eq!(bytes[2..4], [0xef, 0xbe]);
        assert_eq!(bytes[4..8], [1, 2, 3, 4]);
        assert_eq!(bytes[24..32], 0x1111_2222_3333_4444_u64.to_le_bytes());
        assert_eq!(bytes[32..40], 0x5555_6666_7777_8888_u64.to_le_bytes());
        assert_eq!(bytes[40..48], 0x0123_4567_89ab_cdef_u64.to_le_bytes());
        assert_eq!(sqe.slba(), Lba(0x0123_4567_89ab_cdef));
        assert_eq!(sqe.sgl().address.get(), 0x1111_2222_3333_4444);
        assert_eq!(sqe.sgl().length.get(), 0x7777_8888);
        assert_eq!(sqe.sgl().identifier, 0x55);
        let descriptor = SglDescriptor::new(crate::SglType::SEGMENT, 0x1000, 32);
        sqe.set_sgl(descriptor);
        assert_eq!((sqe.sgl(), sqe.psdt()), (descriptor, Psdt::Sgl));
    }
}
