//! What stands where in a virtqueue and in a block request, by name
//! (`Virtio 1.2 §2.7`, `§5.2`).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Feature bits, of the transport and of block devices.
pub(crate) mod feature {
    /// Config space says how many data descriptors a request has at most.
    pub(crate) const SEG_MAX: u64 = 1 << 2;
    /// Writes are refused.
    pub(crate) const RO: u64 = 1 << 5;
    /// Config space says how large a block is.
    pub(crate) const BLK_SIZE: u64 = 1 << 6;
    /// There are flushes.
    pub(crate) const FLUSH: u64 = 1 << 9;
    /// Config space tells of physical blocks.
    pub(crate) const TOPOLOGY: u64 = 1 << 10;
    /// The driver may switch the write cache.
    pub(crate) const CONFIG_WCE: u64 = 1 << 11;
    /// There is more than one queue.
    pub(crate) const MQ: u64 = 1 << 12;
    /// There are discards.
    pub(crate) const DISCARD: u64 = 1 << 13;
    /// There are requests to write zeroes.
    pub(crate) const WRITE_ZEROES: u64 = 1 << 14;
    /// Descriptors may stand in tables of their own.
    pub(crate) const INDIRECT_DESC: u64 = 1 << 28;
    /// Each side says from which index on it wants to be notified.
    pub(crate) const EVENT_IDX: u64 = 1 << 29;
    /// Virtio 1.0 and later.
    pub(crate) const VERSION_1: u64 = 1 << 32;
}

/// A descriptor (`Virtio 1.2 §2.7.5`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Descriptor {
    pub(crate) address: U64,
    pub(crate) len: U32,
    pub(crate) flags: U16,
    pub(crate) next: U16,
}

impl Descriptor {
    /// Its size.
    pub(crate) const BYTES: usize = 16;
    /// `next` says where the chain goes on.
    pub(crate) const NEXT: u16 = 1;
    /// The device writes the memory, and does not read it.
    pub(crate) const WRITE: u16 = 2;
    /// The memory is a table of descriptors.
    pub(crate) const INDIRECT: u16 = 4;

    pub(crate) const fn has(&self, flag: u16) -> bool {
        self.flags.get() & flag != 0
    }
}

/// Flag of the available ring: the driver wants no notifications.
pub(crate) const NO_INTERRUPT: u16 = 1;
/// Flag of the used ring: the device wants no notifications.
pub(crate) const NO_NOTIFY: u16 = 1;
/// Where the flags of either ring are.
pub(crate) const FLAGS: usize = 0;
/// Where the index of either ring is.
pub(crate) const INDEX: usize = 2;
/// Where the entries of either ring start.
pub(crate) const ENTRIES: usize = 4;
/// Size of an entry of the available ring.
pub(crate) const AVAIL_BYTES: usize = 2;
/// Size of an entry of the used ring.
pub(crate) const USED_BYTES: usize = 8;

/// The beginning of each block request (`Virtio 1.2 §5.2.6`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RequestHeader {
    pub(crate) kind: U32,
    pub(crate) reserved: U32,
    /// In units of 512 bytes, whatever a block is.
    pub(crate) sector: U64,
}

/// Kinds of block requests.
pub(crate) mod kind {
    pub(crate) const IN: u32 = 0;
    pub(crate) const OUT: u32 = 1;
    pub(crate) const FLUSH: u32 = 4;
    pub(crate) const GET_ID: u32 = 8;
    pub(crate) const DISCARD: u32 = 11;
    pub(crate) const WRITE_ZEROES: u32 = 13;
}

/// A range of a discard, or of a request to write zeroes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Range {
    pub(crate) sector: U64,
    pub(crate) sectors: U32,
    pub(crate) flags: U32,
}

impl Range {
    /// Its size.
    pub(crate) const BYTES: usize = 16;
    /// Zeroed space may be freed.
    pub(crate) const UNMAP: u32 = 1;
}

/// Size of a sector, bytes.
pub(crate) const SECTOR: u64 = 512;
/// Size of the identity string.
pub(crate) const ID_BYTES: usize = 20;

/// How a request ended: the last byte that the device writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BlockStatus {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// The configuration space of a block device (`Virtio 1.2 §5.2.4`).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct BlockConfig {
    /// In sectors.
    pub(crate) capacity: U64,
    pub(crate) size_max: U32,
    pub(crate) seg_max: U32,
    pub(crate) cylinders: U16,
    pub(crate) heads: u8,
    pub(crate) sectors: u8,
    pub(crate) blk_size: U32,
    pub(crate) physical_block_exp: u8,
    pub(crate) alignment_offset: u8,
    /// In blocks.
    pub(crate) min_io_size: U16,
    /// In blocks.
    pub(crate) opt_io_size: U32,
    pub(crate) writeback: u8,
    pub(crate) unused0: u8,
    pub(crate) num_queues: U16,
    pub(crate) max_discard_sectors: U32,
    pub(crate) max_discard_seg: U32,
    pub(crate) discard_sector_alignment: U32,
    pub(crate) max_write_zeroes_sectors: U32,
    pub(crate) max_write_zeroes_seg: U32,
    pub(crate) write_zeroes_may_unmap: u8,
    pub(crate) unused1: [u8; 3],
}

impl BlockConfig {
    /// Where the switch of the write cache is.
    pub(crate) const WRITEBACK: usize = std::mem::offset_of!(Self, writeback);
}

const _: () = assert!(BlockConfig::WRITEBACK == 32 && size_of::<BlockConfig>() == 60);
