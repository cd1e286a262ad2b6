//! Pieces of a transfer that a medium keeps while the request is pending.
#![expect(
    unsafe_code,
    reason = "the pieces outlive the borrow of the table, by the contract between controller and \
              media"
)]

use std::marker::PhantomData;

use super::{Access, IOV_MAX, Segments};

/// The pieces of a transfer, kept beyond the call that brought them.
///
/// The controller has the medium let go ([`crate::Media::let_go`]) before the
/// memory is unmapped; until then, or until the ticket is handed back, the
/// pieces stay valid. Made once and used again and again.
#[derive(Debug)]
pub(crate) struct Kept {
    pieces: Vec<libc::iovec>,
    /// The first piece of which something is left.
    first: usize,
    /// How many bytes are left.
    bytes: usize,
    access: Access,
}

// SAFETY: the pointers are into mappings, which are not bound to a thread.
unsafe impl Send for Kept {}

impl Default for Kept {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            first: 0,
            bytes: 0,
            access: Access::Read,
        }
    }
}

impl Kept {
    /// Keeps the pieces of `segments`, in the place of what it kept.
    pub(crate) fn keep(&mut self, segments: &Segments<'_>) {
        self.pieces.clear();
        self.pieces.extend_from_slice(segments.pieces);
        self.first = 0;
        self.bytes = segments.bytes;
        self.access = segments.access;
    }

    /// Keeps `bytes` zeroes to write, all of them out of `zeroes`.
    pub(crate) fn keep_zeroes(&mut self, zeroes: &'static [u8], bytes: usize) {
        self.forget();
        self.access = Access::Read;
        let mut left = bytes;
        while left > 0 && !zeroes.is_empty() {
            let take = left.min(zeroes.len());
            self.pieces.push(libc::iovec {
                iov_base: zeroes.as_ptr().cast_mut().cast(),
                iov_len: take,
            });
            left = left.saturating_sub(take);
        }
        self.bytes = bytes;
    }

    /// Keeps nothing.
    pub(crate) fn forget(&mut self) {
        self.pieces.clear();
        self.first = 0;
        self.bytes = 0;
    }

    /// Whether a transfer may write the pieces: one that reads media.
    pub(crate) fn is_writable(&self) -> bool {
        self.access == Access::Write
    }

    /// What is left, as much of it as one system call takes.
    pub(crate) fn iovecs(&self) -> &[libc::iovec] {
        let rest = self.pieces.get(self.first..).unwrap_or_default();
        rest.get(..IOV_MAX).unwrap_or(rest)
    }

    /// Whether every piece starts at, and is, a multiple of `bytes`, a power of two.
    pub(crate) fn is_aligned(&self, bytes: usize) -> bool {
        let mask = bytes.wrapping_sub(1);
        let rest = self.pieces.get(self.first..).unwrap_or_default();
        rest.iter()
            .all(|piece| (piece.iov_base.addr() | piece.iov_len) & mask == 0)
    }

    /// Takes `bytes` bytes, which are done, from the front.
    pub(crate) fn advance(&mut self, bytes: usize) {
        let mut left = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(left);
        while left > 0 {
            let Some(piece) = self.pieces.get_mut(self.first) else {
                return;
            };
            if left < piece.iov_len {
                piece.iov_base = piece.iov_base.cast::<u8>().wrapping_add(left).cast();
                piece.iov_len = piece.iov_len.saturating_sub(left);
                return;
            }
            left = left.saturating_sub(piece.iov_len);
            self.first = self.first.saturating_add(1);
        }
    }

    /// What is left, to copy from or to.
    ///
    /// # Safety
    ///
    /// The ticket of the request that brought the pieces has not been handed
    /// back, and the medium has not let go.
    pub(crate) unsafe fn segments(&self) -> Segments<'_> {
        Segments {
            pieces: self.pieces.get(self.first..).unwrap_or_default(),
            bytes: self.bytes,
            access: self.access,
            table: PhantomData,
        }
    }
}
