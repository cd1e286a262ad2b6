//! From a block request to the NVMe command that asks for the same.

use nvme::{DsmAttributes, NamespaceId, NvmOpcode, ReadWriteCdw12, Sqe};
use zerocopy::little_endian::{U16, U32};

use super::chain::Chain;
use super::layout::{BlockStatus, Range, SECTOR, kind};

/// The namespace that a virtio guest sees.
pub(crate) const NSID: NamespaceId = NamespaceId(1);
/// The most ranges of a discard.
pub(crate) const RANGES_MAX: u16 = 256;
const _: () = assert!(RANGES_MAX as usize == nvme::DSM_RANGES_MAX);
/// The most blocks of a command: Number of Logical Blocks has 16 bits.
pub(crate) const BLOCKS_MAX: u64 = 1 << 16;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// What the command does that was told, whose data, if any, is the chain's.
    Command,
    /// A discard of so many ranges, which are the chain's data.
    Discard(u16),
    /// Zeroes in one range, which is the chain's data.
    WriteZeroes,
    /// The identity string.
    Identity,
}

/// What `chain` asks for, the command in `sqe` where it is one; how it is answered,
/// where that is nothing a drive of blocks of `block_bytes` bytes could do.
#[inline]
pub(super) fn asked(
    chain: &Chain,
    (head, block_bytes): (u16, u64),
    sqe: &mut Sqe,
) -> Result<Asked, BlockStatus> {
    let header = chain.header.ok_or(BlockStatus::IoError)?;
    let span = |bytes| (header.sector.get(), bytes);
    let of = (head, block_bytes);
    match header.kind.get() {
        kind::IN if chain.out_bytes == 0 => {
            transfer(NvmOpcode::READ, span(chain.in_bytes), of, sqe)
        }
        kind::OUT if chain.in_bytes == 0 => {
            transfer(NvmOpcode::WRITE, span(chain.out_bytes), of, sqe)
        }
        kind::FLUSH => {
            *sqe = command(NvmOpcode::FLUSH, head);
            Ok(Asked::Command)
        }
        kind::DISCARD => ranges(chain, RANGES_MAX).map(Asked::Discard),
        kind::WRITE_ZEROES => ranges(chain, 1).map(|_| Asked::WriteZeroes),
        kind::GET_ID if chain.out_bytes == 0 && chain.in_bytes > 0 => Ok(Asked::Identity),
        kind::IN | kind::OUT | kind::GET_ID => Err(BlockStatus::IoError),
        _ => Err(BlockStatus::Unsupported),
    }
}

/// A command that has nothing but its name.
fn command(opcode: NvmOpcode, head: u16) -> Sqe {
    Sqe {
        command_id: U16::new(head),
        ..Sqe::new(opcode.0, NSID)
    }
}

/// A command on the blocks from sector `sector` on, but for dword 12.
#[inline]
fn on_blocks(
    opcode: NvmOpcode,
    (sector, bytes): (u64, u64),
    (head, block_bytes): (u16, u64),
    sqe: &mut Sqe,
) -> Option<ReadWriteCdw12> {
    let start = sector.checked_mul(SECTOR)?;
    let blocks = bytes.checked_div(block_bytes)?;
    let whole = start.is_multiple_of(block_bytes) && bytes.is_multiple_of(block_bytes);
    if !whole || blocks > BLOCKS_MAX {
        return None;
    }
    let last = u16::try_from(blocks.checked_sub(1)?).ok()?;
    *sqe = command(opcode, head);
    let lba = start.checked_div(block_bytes)?;
    let [a, b, c, d, e, f, g, h] = lba.to_le_bytes();
    sqe.cdw10 = U32::from_bytes([a, b, c, d]);
    sqe.cdw11 = U32::from_bytes([e, f, g, h]);
    Some(ReadWriteCdw12::new().with_nlb(last))
}

#[inline]
fn transfer(
    opcode: NvmOpcode,
    span: (u64, u64),
    of: (u16, u64),
    sqe: &mut Sqe,
) -> Result<Asked, BlockStatus> {
    let cdw12 = on_blocks(opcode, span, of, sqe).ok_or(BlockStatus::IoError)?;
    sqe.cdw12 = U32::new(cdw12.into_bits());
    Ok(Asked::Command)
}

/// How many ranges the data of a chain is: at least one, and at most `most`.
fn ranges(chain: &Chain, most: u16) -> Result<u16, BlockStatus> {
    // Widens.
    const SIZE: u64 = Range::BYTES as u64;
    let count = u16::try_from(chain.out_bytes / SIZE).unwrap_or(u16::MAX);
    if chain.in_bytes > 0 || !chain.out_bytes.is_multiple_of(SIZE) || count == 0 {
        return Err(BlockStatus::IoError);
    }
    if count > most {
        return Err(BlockStatus::Unsupported);
    }
    Ok(count)
}

/// The command that writes the zeroes of `range`, into `sqe`.
pub(super) fn write_zeroes(
    range: &Range,
    of: (u16, u64),
    sqe: &mut Sqe,
) -> Result<(), BlockStatus> {
    let flags = range.flags.get();
    if flags & !Range::UNMAP != 0 {
        return Err(BlockStatus::Unsupported);
    }
    let bytes = u64::from(range.sectors.get()).saturating_mul(SECTOR);
    let span = (range.sector.get(), bytes);
    let cdw12 = on_blocks(NvmOpcode::WRITE_ZEROES, span, of, sqe).ok_or(BlockStatus::IoError)?;
    let cdw12 = cdw12.with_deac(flags & Range::UNMAP != 0);
    sqe.cdw12 = U32::new(cdw12.into_bits());
    Ok(())
}

/// The command that discards `count` ranges.
pub(super) fn discard(count: u16, head: u16) -> Sqe {
    let mut sqe = command(NvmOpcode::DATASET_MANAGEMENT, head);
    sqe.cdw10 = U32::new(u32::from(count).saturating_sub(1));
    sqe.cdw11 = U32::new(DsmAttributes::new().with_ad(true).into_bits());
    sqe
}

/// Makes a range that was read into the place of one of NVMe's into that.
pub(super) fn to_dsm_range(
    range: &mut nvme::DsmRange,
    block_bytes: u64,
) -> Result<(), BlockStatus> {
    let from: Range = zerocopy::transmute!(*range);
    if from.flags.get() != 0 {
        // A discard has no flags (`Virtio 1.2 §5.2.6.2`).
        return Err(BlockStatus::Unsupported);
    }
    let in_blocks = |sectors: u64| {
        let bytes = sectors.checked_mul(SECTOR)?;
        let blocks = bytes.checked_div(block_bytes)?;
        bytes.is_multiple_of(block_bytes).then_some(blocks)
    };
    let lba = in_blocks(from.sector.get()).ok_or(BlockStatus::IoError)?;
    let blocks = in_blocks(from.sectors.get().into())
        .and_then(|blocks| u32::try_from(blocks).ok())
        .ok_or(BlockStatus::IoError)?;
    *range = nvme::DsmRange::new(nvme::Lba(lba), blocks);
    Ok(())
}
