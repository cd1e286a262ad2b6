//! The payloads of the messages, as they stand on the wire.

use bitfield_struct::bitfield;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the server may do with a mapped range.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DmaFlags {
    /// The server may read from it.
    pub read: bool,
    /// The server may write to it.
    pub write: bool,
    /// The server is to map the descriptor (an extension; implied by a
    /// descriptor).
    pub mmap: bool,
    /// The server is to use file I/O on the descriptor (an extension).
    pub file_io: bool,
    #[bits(28)]
    __: u32,
}

/// `VFIO_USER_DMA_MAP`: a range of client memory for the server, with one
/// descriptor if it can be mapped. The reply has no payload.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DmaMap {
    /// Size of this structure, bytes.
    pub argsz: u32,
    /// Access rights.
    pub flags: DmaFlags,
    /// Where the range starts in the file, bytes.
    pub offset: u64,
    /// Where it starts in the device's view (IOVA).
    pub address: u64,
    /// Its size, bytes.
    pub size: u64,
}

/// How a range is taken back.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DmaUnmapFlags {
    /// A bitmap of dirty pages is wanted in the reply.
    pub dirty_bitmap: bool,
    /// Everything is taken back; address and size are zero.
    pub all: bool,
    #[bits(30)]
    __: u32,
}

/// `VFIO_USER_DMA_UNMAP`; the reply repeats it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DmaUnmap {
    /// Size that the reply may have, bytes.
    pub argsz: u32,
    /// What is taken back.
    pub flags: DmaUnmapFlags,
    /// Where the range starts (IOVA).
    pub address: u64,
    /// Its size, bytes.
    pub size: u64,
}

/// What kind of device it is.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DeviceFlags {
    /// `VFIO_USER_DEVICE_RESET` works.
    pub reset: bool,
    /// It is a PCI device.
    pub pci: bool,
    #[bits(30)]
    __: u32,
}

/// `VFIO_USER_DEVICE_GET_INFO`, request and reply.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DeviceInfo {
    /// Size that the reply may have, or has, bytes.
    pub argsz: u32,
    /// What kind of device it is.
    pub flags: DeviceFlags,
    /// How many regions it has.
    pub regions: u32,
    /// How many interrupt types it has.
    pub irqs: u32,
}

/// What can be done with a region.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RegionFlags {
    /// It can be read.
    pub read: bool,
    /// It can be written.
    pub write: bool,
    /// All or part of it can be mapped; the reply carries the descriptor.
    pub mmap: bool,
    /// The reply has a chain of capabilities.
    pub caps: bool,
    #[bits(28)]
    __: u32,
}

/// `VFIO_USER_DEVICE_GET_REGION_INFO`, request and reply. See
/// [`encode_region_info`](crate::encode_region_info) for the capabilities that
/// follow it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RegionInfo {
    /// Size that the reply may have, or that a full reply has, bytes.
    pub argsz: u32,
    /// What can be done with it.
    pub flags: RegionFlags,
    /// Which region; see [`region_index`](crate::region_index).
    pub index: u32,
    /// Where the first capability is, bytes from the start of this
    /// structure; zero if there is none.
    pub cap_offset: u32,
    /// Size of the region, bytes.
    pub size: u64,
    /// Where the region starts in the file behind the descriptor, bytes.
    pub offset: u64,
}

/// `VFIO_USER_DEVICE_GET_REGION_IO_FDS`, request and head of the reply.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RegionIoFds {
    /// Size that the reply may have, or that a full reply has, bytes.
    pub argsz: u32,
    /// Zero.
    pub flags: u32,
    /// Which region.
    pub index: u32,
    /// How many sub-regions follow in the reply.
    pub count: u32,
}

/// What an interrupt type can do.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IrqInfoFlags {
    /// It can be signalled through an eventfd.
    pub eventfd: bool,
    /// It can be masked and unmasked.
    pub maskable: bool,
    /// It masks itself when it is signalled.
    pub automasked: bool,
    /// Its vectors are set up together or not at all.
    pub noresize: bool,
    #[bits(28)]
    __: u32,
}

/// `VFIO_USER_DEVICE_GET_IRQ_INFO`, request and reply.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct IrqInfo {
    /// Size that the reply may have, or has, bytes.
    pub argsz: u32,
    /// What the type can do.
    pub flags: IrqInfoFlags,
    /// Which type; see [`irq_index`](crate::irq_index).
    pub index: u32,
    /// How many vectors it has.
    pub count: u32,
}

/// `VFIO_USER_DEVICE_SET_IRQS`: the head, before an array of `count` bytes
/// where the data is [`IrqData::Bool`]. The reply has no payload.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct IrqSet {
    /// Size of the request, bytes.
    pub argsz: u32,
    /// One data bit and one action bit; see [`IrqSet::data`] and
    /// [`IrqSet::action`].
    pub flags: u32,
    /// Which type; see [`irq_index`](crate::irq_index).
    pub index: u32,
    /// The first vector.
    pub start: u32,
    /// How many vectors.
    pub count: u32,
}

/// What accompanies a [`IrqSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum IrqData {
    /// Nothing: the action is for all vectors named.
    None = 1 << 0,
    /// A byte for each vector: the action is for those that are not zero.
    Bool = 1 << 1,
    /// A descriptor for each vector, or none at all to take them away.
    EventFd = 1 << 2,
}

/// What a [`IrqSet`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum IrqAction {
    /// Mask the vectors.
    Mask = 1 << 3,
    /// Unmask them.
    Unmask = 1 << 4,
    /// Trigger them, or say how they are triggered.
    Trigger = 1 << 5,
}

impl IrqSet {
    /// Puts the two kinds of flag together.
    #[must_use]
    pub const fn flags(data: IrqData, action: IrqAction) -> u32 {
        data as u32 | action as u32
    }

    /// What accompanies it; `None` unless exactly one data bit is set.
    #[must_use]
    pub const fn data(&self) -> Option<IrqData> {
        match self.flags & 0x7 {
            1 => Some(IrqData::None),
            2 => Some(IrqData::Bool),
            4 => Some(IrqData::EventFd),
            _ => None,
        }
    }

    /// What it does; `None` unless exactly one action bit, and no unknown bit,
    /// is set.
    #[must_use]
    pub const fn action(&self) -> Option<IrqAction> {
        match self.flags & !0x7 {
            0x08 => Some(IrqAction::Mask),
            0x10 => Some(IrqAction::Unmask),
            0x20 => Some(IrqAction::Trigger),
            _ => None,
        }
    }
}

/// `VFIO_USER_REGION_READ` and `VFIO_USER_REGION_WRITE`: the head, before
/// `count` bytes in the reply to a read and in the request of a write.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RegionAccess {
    /// Where in the region, bytes.
    pub offset: u64,
    /// Which region.
    pub region: u32,
    /// How much, bytes.
    pub count: u32,
}

/// `VFIO_USER_REGION_WRITE_MULTI`: the head, before `count` entries of
/// [`RegionWrite`]; and the reply, with the number of writes done.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RegionWriteMulti {
    /// How many writes.
    pub count: u64,
}

/// One write of a [`RegionWriteMulti`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RegionWrite {
    /// Where in the region, bytes.
    pub offset: u64,
    /// Which region.
    pub region: u32,
    /// How much of `data`, bytes, at most 8.
    pub count: u32,
    /// The bytes to write, from the first on.
    pub data: [u8; 8],
}

/// `VFIO_USER_DMA_READ` and `VFIO_USER_DMA_WRITE`: the head, before the data.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DmaAccess {
    /// Where in client memory (IOVA).
    pub address: u64,
    /// How much, bytes.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_protocol() {
        assert_eq!(size_of::<crate::Header>(), crate::HEADER_BYTES);
        assert_eq!(size_of::<DmaMap>(), 32);
        assert_eq!(size_of::<DmaUnmap>(), 24);
        assert_eq!(size_of::<DeviceInfo>(), 16);
        assert_eq!(size_of::<RegionInfo>(), 32);
        assert_eq!(size_of::<RegionIoFds>(), 16);
        assert_eq!(size_of::<IrqInfo>(), 16);
        assert_eq!(size_of::<IrqSet>(), 20);
        assert_eq!(size_of::<RegionAccess>(), 16);
        assert_eq!(size_of::<RegionWrite>(), 24);
        assert_eq!(size_of::<DmaAccess>(), 16);
    }

    #[test]
    fn irq_flags_take_exactly_one_of_each_kind() {
        let set = |flags| IrqSet {
            flags,
            ..IrqSet::default()
        };
        let good = set(IrqSet::flags(IrqData::EventFd, IrqAction::Trigger));
        assert_eq!(good.flags, 0x24);
        assert_eq!(good.data(), Some(IrqData::EventFd));
        assert_eq!(good.action(), Some(IrqAction::Trigger));
        assert_eq!(set(0x23).data(), None);
        assert_eq!(set(0x31).action(), None);
        assert_eq!(set(0x61).action(), None);
    }
}
