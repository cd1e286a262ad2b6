//! Copies between a transfer and our own memory, bit by bit: data of a block
//! here, its metadata there.
#![expect(
    unsafe_code,
    reason = "guest memory is copied by raw pointers: no reference into it is ever made"
)]

use std::marker::PhantomData;

use super::{Access, Segments};
use crate::DmaTable;

/// A place in a transfer, from which copies go on. Each of them costs as much as
/// the pieces that it touches, wherever it starts.
#[derive(Clone, Debug)]
pub(crate) struct SegmentCursor<'m> {
    /// The pieces from the place on.
    pieces: &'m [libc::iovec],
    /// How much of the first is behind it.
    done: usize,
    access: Access,
    table: PhantomData<&'m DmaTable>,
}

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "commands of several steps come to use it")
)]
impl<'m> SegmentCursor<'m> {
    pub(super) const fn new(of: &Segments<'m>) -> Self {
        Self {
            pieces: of.pieces,
            done: 0,
            access: of.access,
            table: PhantomData,
        }
    }

    /// Goes `bytes` bytes ahead, or to the end. Returns how many that were.
    pub(crate) fn skip(&mut self, bytes: usize) -> usize {
        let mut skipped = 0_usize;
        while let Some((_, now)) = self.take(bytes.saturating_sub(skipped)) {
            skipped = skipped.saturating_add(now);
        }
        skipped
    }

    /// Copies `data` to the guest. Returns how much of it there was room for;
    /// none in a transfer to media.
    pub(crate) fn write(&mut self, data: &[u8]) -> usize {
        if self.access != Access::Write {
            debug_assert!(false, "the transfer goes the other way");
            return 0;
        }
        let mut rest = data;
        while let Some((to, bytes)) = self.take(rest.len()) {
            let (now, later) = rest.split_at(bytes);
            // SAFETY: `take` stays inside a piece, which is memory that the
            // table of `'m` keeps, resolved for writing; `data` is our own.
            unsafe { std::ptr::copy_nonoverlapping(now.as_ptr(), to, bytes) }
            rest = later;
        }
        data.len().saturating_sub(rest.len())
    }

    /// Copies from the guest into `data`. Returns how much of it was filled.
    pub(crate) fn read(&mut self, data: &mut [u8]) -> usize {
        let mut filled = 0_usize;
        let mut rest = data;
        while let Some((from, bytes)) = self.take(rest.len()) {
            let (now, later) = rest.split_at_mut(bytes);
            // SAFETY: as in `write`. That the guest may write meanwhile makes
            // the bytes arbitrary, which callers reckon with.
            unsafe { std::ptr::copy_nonoverlapping(from, now.as_mut_ptr(), bytes) }
            filled = filled.saturating_add(bytes);
            rest = later;
        }
        filled
    }

    /// The next bytes, at most `max` and all of one piece, which are then behind
    /// the place; none at the end, and where `max` is 0.
    fn take(&mut self, max: usize) -> Option<(*mut u8, usize)> {
        if max == 0 {
            return None;
        }
        loop {
            let (first, later) = self.pieces.split_first()?;
            let bytes = first.iov_len.saturating_sub(self.done).min(max);
            if bytes > 0 {
                let at = first.iov_base.cast::<u8>().wrapping_add(self.done);
                self.done = self.done.saturating_add(bytes);
                return Some((at, bytes));
            }
            self.pieces = later;
            self.done = 0;
        }
    }
}
