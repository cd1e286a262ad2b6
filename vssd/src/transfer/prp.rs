//! The PRP walk (`NVMe Base 2.1 §4.3.1`).
//!
//! ```text
//!   PRP1 ----------> |  offset.. first page |
//!   PRP2, one page:  |  second page         |
//!   PRP2, more:      list (may start inside a page)
//!                      [ entry | entry | ... | pointer to the next list ]
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

use nvme::{PAGE_BYTES, Status};
use zerocopy::{FromZeros, IntoBytes};

use crate::DmaTable;
use crate::memory::SegmentBuffer;

/// Bytes of a PRP entry.
const ENTRY_BYTES: u64 = 8;
/// How many entries of a list are copied at a time.
const CHUNK: usize = 64;

/// Adds the pieces of a transfer of `bytes` bytes. `bytes` bounds the walk.
#[inline]
pub(super) fn walk(
    memory: &DmaTable,
    (prp1, prp2): (u64, u64),
    bytes: u64,
    buffer: &mut SegmentBuffer,
) -> Result<(), Status> {
    let offset = prp1 % PAGE_BYTES;
    if !offset.is_multiple_of(4) {
        return Err(Status::PRP_OFFSET_INVALID.dnr());
    }
    let first = PAGE_BYTES.saturating_sub(offset).min(bytes);
    add(memory, prp1, first, buffer)?;
    let rest = bytes.saturating_sub(first);
    if rest > PAGE_BYTES {
        walk_lists(memory, prp2, rest, buffer)
    } else if rest > 0 {
        add_page(memory, prp2, rest, buffer)
    } else {
        Ok(())
    }
}

/// Walks the list at `list` and those that it leads to, for `bytes` bytes.
fn walk_lists(
    memory: &DmaTable,
    list: u64,
    bytes: u64,
    buffer: &mut SegmentBuffer,
) -> Result<(), Status> {
    let mut rest = bytes;
    let mut at = list;
    if !at.is_multiple_of(ENTRY_BYTES) {
        return Err(Status::PRP_OFFSET_INVALID.dnr());
    }
    // Each turn is one list. The first may have no entry but the pointer to the
    // next; every other fills a page, so that `bytes` bounds the turns.
    while rest > 0 {
        let room = PAGE_BYTES.saturating_sub(at % PAGE_BYTES) / ENTRY_BYTES;
        let pages = rest.div_ceil(PAGE_BYTES);
        let (entries, chained) = if pages > room {
            (room.saturating_sub(1), true)
        } else {
            (pages, false)
        };
        rest = walk_list(memory, at, entries, rest, buffer)?;
        if chained {
            let mut next = [0; 8];
            memory.read_bytes(
                at.wrapping_add(entries.saturating_mul(ENTRY_BYTES)),
                &mut next,
            )?;
            at = u64::from_le_bytes(next);
            // Only the first list may start inside a page.
            if !at.is_multiple_of(PAGE_BYTES) {
                return Err(Status::PRP_OFFSET_INVALID.dnr());
            }
        }
    }
    Ok(())
}

/// Adds the `entries` pages of the list at `at`, for at most `bytes` bytes.
/// Returns how many of those are left.
fn walk_list(
    memory: &DmaTable,
    at: u64,
    entries: u64,
    bytes: u64,
    buffer: &mut SegmentBuffer,
) -> Result<u64, Status> {
    let mut rest = bytes;
    let mut at = at;
    let mut left = usize::try_from(entries).map_err(|_| Status::INTERNAL_ERROR)?;
    let mut chunk = [0_u64; CHUNK];
    while left > 0 {
        let take = left.min(CHUNK);
        let Some(now) = chunk.get_mut(..take) else {
            return Err(Status::INTERNAL_ERROR);
        };
        now.zero();
        memory.read_bytes(at, now.as_mut_bytes())?;
        for entry in now {
            let page = PAGE_BYTES.min(rest);
            add_page(memory, u64::from_le(*entry), page, buffer)?;
            rest = rest.saturating_sub(page);
        }
        at = at.wrapping_add(ENTRY_BYTES.saturating_mul(u64::try_from(take).unwrap_or(0)));
        left = left.saturating_sub(take);
    }
    Ok(rest)
}

/// Adds the first `bytes` bytes of the page at `entry`.
#[inline]
fn add_page(
    memory: &DmaTable,
    entry: u64,
    bytes: u64,
    buffer: &mut SegmentBuffer,
) -> Result<(), Status> {
    if !entry.is_multiple_of(PAGE_BYTES) {
        return Err(Status::PRP_OFFSET_INVALID.dnr());
    }
    add(memory, entry, bytes, buffer)
}

/// Adds `bytes` bytes at `iova`, which do not cross a page.
#[inline]
fn add(memory: &DmaTable, iova: u64, bytes: u64, buffer: &mut SegmentBuffer) -> Result<(), Status> {
    // Regions are whole pages, so that one answers for all of these bytes.
    let piece = memory.resolve(iova, buffer.access())?;
    if buffer.push(piece, bytes) {
        Ok(())
    } else {
        // The buffer has room for the largest transfer there can be.
        Err(Status::INTERNAL_ERROR)
    }
}

#[cfg(test)]
mod tests;
