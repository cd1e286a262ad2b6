//! Memory of our own that media can read into and write from, as if it were a
//! guest's.
#![expect(
    unsafe_code,
    reason = "media may hold raw pointers into it while a request is pending, so that it is not \
              a box, which says that nobody does"
)]

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::{Access, Segments};

/// Memory of our own, for commands that take several steps: media read into it,
/// it is looked at or changed, and media write from it.
///
/// A medium that answers later keeps the pieces of a request until it hands the
/// ticket back, after the borrow of [`OwnBuffer::fill`] has ended: until then,
/// the buffer is neither looked at nor dropped.
#[derive(Debug)]
pub(crate) struct OwnBuffer {
    /// The memory; it never moves.
    start: NonNull<u8>,
    bytes: usize,
    /// The one piece of the request at hand.
    piece: libc::iovec,
}

// SAFETY: the memory is the buffer's own and is not bound to a thread.
unsafe impl Send for OwnBuffer {}

impl OwnBuffer {
    /// A buffer of `bytes` zeroes.
    pub(crate) fn new(bytes: usize) -> Self {
        let memory = Box::leak(vec![0_u8; bytes].into_boxed_slice());
        let start = NonNull::from(memory).cast::<u8>();
        Self {
            start,
            bytes,
            piece: libc::iovec {
                iov_base: start.as_ptr().cast(),
                iov_len: 0,
            },
        }
    }

    /// Its size.
    pub(crate) const fn len(&self) -> usize {
        self.bytes
    }

    /// What is in it.
    #[cfg(test)]
    pub(crate) const fn data(&self) -> &[u8] {
        // SAFETY: `start` is the allocation of `bytes` initialized bytes that
        // `new` made; whoever writes to it borrows the buffer mutably, or is a
        // medium with a request that is pending, during which nobody looks.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// What is in it, to be changed.
    pub(crate) const fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`, and `&mut self` keeps everybody else away.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// `bytes` bytes from `skip` on, for a request that reads media into them;
    /// none where there are fewer.
    pub(crate) fn fill(&mut self, skip: usize, bytes: usize) -> Option<Segments<'_>> {
        self.segments(skip, bytes, Access::Write)
    }

    /// `bytes` bytes from `skip` on, for a request that writes or compares them
    /// to media; none where there are fewer.
    pub(crate) fn drain(&mut self, skip: usize, bytes: usize) -> Option<Segments<'_>> {
        self.segments(skip, bytes, Access::Read)
    }

    fn segments(&mut self, skip: usize, bytes: usize, access: Access) -> Option<Segments<'_>> {
        if skip.checked_add(bytes)? > self.bytes {
            return None;
        }
        self.piece = libc::iovec {
            iov_base: self.start.as_ptr().wrapping_add(skip).cast(),
            iov_len: bytes,
        };
        Some(Segments {
            pieces: std::slice::from_ref(&self.piece),
            bytes,
            access,
            table: PhantomData,
        })
    }
}

impl Drop for OwnBuffer {
    fn drop(&mut self) {
        let memory = std::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.bytes);
        // SAFETY: `new` took this allocation from a box of this length, and
        // nobody else gives it back.
        drop(unsafe { Box::from_raw(memory) });
    }
}
