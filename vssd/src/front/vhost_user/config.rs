//! Configuration space: what the guest is told of the drive
//! (`Virtio 1.2 §5.2.4`), and the features that go with it.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use crate::BlockDevice;
use crate::virtio::layout::{BlockConfig, SECTOR, feature};
use crate::virtio::{BLOCKS_MAX, RANGES_MAX};

/// The most data descriptors of a request: with header and status, as many as
/// fit into the smallest queue that clients have by default, 128.
const SEGMENTS_MAX: u32 = 126;
/// What requests are best aligned to, bytes: the medium is a file, and that has
/// pages.
const PAGE: u32 = 4096;

/// The features that are offered.
pub(super) fn features(device: &BlockDevice) -> u64 {
    let always = feature::SEG_MAX
        | feature::BLK_SIZE
        | feature::FLUSH
        | feature::TOPOLOGY
        | feature::CONFIG_WCE
        | feature::MQ
        | feature::INDIRECT_DESC
        | feature::EVENT_IDX
        | feature::VERSION_1;
    let where_true = |holds: bool, bit: u64| if holds { bit } else { 0 };
    let writable = !device.read_only;
    always
        | where_true(device.read_only, feature::RO)
        | where_true(writable && device.discards, feature::DISCARD)
        | where_true(writable && device.writes_zeroes, feature::WRITE_ZEROES)
}

/// Configuration space as it is now.
pub(super) fn space(device: &BlockDevice) -> BlockConfig {
    let block = device.block_bytes.max(1);
    let blocks_of_page = PAGE.checked_div(block).unwrap_or(1).max(1);
    let sectors = u64::from(block) / SECTOR;
    let sectors_of_block = U32::new(u32::try_from(sectors).unwrap_or(1));
    let zeroes_max = u32::try_from(BLOCKS_MAX.saturating_mul(sectors)).unwrap_or(u32::MAX);
    // A block has a power of two of them.
    let whole_blocks = u32::MAX.saturating_sub(sectors_of_block.get().saturating_sub(1));
    BlockConfig {
        capacity: U64::new(device.blocks.saturating_mul(sectors)),
        seg_max: U32::new(SEGMENTS_MAX),
        blk_size: U32::new(block),
        physical_block_exp: u8::try_from(blocks_of_page.trailing_zeros()).unwrap_or(0),
        min_io_size: U16::new(u16::try_from(blocks_of_page).unwrap_or(1)),
        writeback: device.write_cache.into(),
        num_queues: U16::new(device.queues),
        max_discard_sectors: U32::new(whole_blocks),
        max_discard_seg: U32::new(RANGES_MAX.into()),
        discard_sector_alignment: sectors_of_block,
        max_write_zeroes_sectors: U32::new(zeroes_max),
        max_write_zeroes_seg: U32::new(1),
        write_zeroes_may_unmap: 1,
        ..BlockConfig::default()
    }
}

/// The `bytes` bytes of configuration space from `offset` on; zeroes behind its
/// end.
pub(super) fn read(device: &BlockDevice, offset: usize, bytes: usize) -> Vec<u8> {
    let space = space(device);
    let there = space.as_bytes().iter().copied();
    there
        .chain(std::iter::repeat(0))
        .skip(offset)
        .take(bytes)
        .collect()
}
