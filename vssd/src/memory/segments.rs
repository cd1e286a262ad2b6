//! The pieces of guest memory that a transfer moves data from or to.
#![expect(
    unsafe_code,
    reason = "media copy straight between guest memory and where bytes live, by raw pointers"
)]

mod cursor;
mod kept;
mod own;

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use super::{Access, DmaTable, Piece};
use cursor::SegmentCursor;
pub(crate) use kept::Kept;
pub(crate) use own::OwnBuffer;

/// The most pieces that one system call takes.
const IOV_MAX: usize = 1024;

/// Bytes of a [`Sink`].
const SINK_BYTES: usize = 4096;

/// Storage for the pieces of one transfer, made once and used again and again.
#[derive(Debug)]
pub(crate) struct SegmentBuffer {
    pieces: Vec<libc::iovec>,
    bytes: usize,
    access: Access,
    sink: Sink,
}

// SAFETY: the pointers are only used through `Segments`, which borrows the
// table that they come from; between transfers they mean nothing. The sink is
// the buffer's own.
unsafe impl Send for SegmentBuffer {}

/// Memory that takes what nobody wants: the data of bit buckets. It is written
/// through raw pointers only, and never read.
#[derive(Debug)]
struct Sink(NonNull<[u8; SINK_BYTES]>);

impl Sink {
    fn new() -> Self {
        Self(NonNull::from(Box::leak(Box::new([0; SINK_BYTES]))))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // SAFETY: `new` took it from a box, and nobody else gives it back.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl SegmentBuffer {
    /// Room for `pieces` pieces.
    pub(crate) fn with_capacity(pieces: usize) -> Self {
        Self {
            pieces: Vec::with_capacity(pieces),
            bytes: 0,
            access: Access::Read,
            sink: Sink::new(),
        }
    }

    /// Forgets what it holds; the pieces to come are for `access`.
    pub(crate) fn start(&mut self, access: Access) {
        self.pieces.clear();
        self.bytes = 0;
        self.access = access;
    }

    /// What the pieces are for.
    pub(crate) const fn access(&self) -> Access {
        self.access
    }

    /// Adds the first `bytes` bytes of `piece`, which has that many; whether
    /// there was room. What continues the last piece in the host's memory
    /// becomes part of it.
    #[inline]
    pub(crate) fn push(&mut self, piece: Piece, bytes: u64) -> bool {
        let Ok(len) = usize::try_from(bytes.min(piece.bytes)) else {
            return false;
        };
        let start = piece.host.as_ptr();
        if let Some(last) = self.pieces.last_mut()
            && last.iov_base.cast::<u8>().wrapping_add(last.iov_len) == start
        {
            last.iov_len = last.iov_len.saturating_add(len);
        } else if self.pieces.len() < self.pieces.capacity() {
            self.pieces.push(libc::iovec {
                iov_base: start.cast(),
                iov_len: len,
            });
        } else {
            return false;
        }
        self.bytes = self.bytes.saturating_add(len);
        true
    }

    /// Adds `bytes` bytes that are thrown away; whether there was room. Only for
    /// a transfer that writes guest memory.
    pub(crate) fn push_sink(&mut self, bytes: u64) -> bool {
        debug_assert!(self.access == Access::Write, "nobody may read a sink");
        let Ok(mut left) = usize::try_from(bytes) else {
            return false;
        };
        while left > 0 {
            let take = left.min(SINK_BYTES);
            if self.pieces.len() >= self.pieces.capacity() {
                return false;
            }
            self.pieces.push(libc::iovec {
                iov_base: self.sink.0.as_ptr().cast(),
                iov_len: take,
            });
            self.bytes = self.bytes.saturating_add(take);
            left = left.saturating_sub(take);
        }
        true
    }

    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "commands of several steps come to use it")
    )]
    /// The part of `whole` that is `bytes` bytes long and starts `skip` bytes
    /// behind its start; none where it is not a part, or has more pieces than
    /// there is room for.
    pub(crate) fn part<'m>(
        &'m mut self,
        whole: &Segments<'m>,
        skip: usize,
        bytes: usize,
    ) -> Option<Segments<'m>> {
        self.start(whole.access);
        if skip.checked_add(bytes)? > whole.bytes {
            return None;
        }
        let (mut skip, mut left) = (skip, bytes);
        for piece in whole.pieces {
            let start = skip.min(piece.iov_len);
            skip = skip.saturating_sub(start);
            let take = left.min(piece.iov_len.saturating_sub(start));
            if take == 0 {
                continue;
            }
            if self.pieces.len() >= self.pieces.capacity() {
                return None;
            }
            self.pieces.push(libc::iovec {
                iov_base: piece.iov_base.cast::<u8>().wrapping_add(start).cast(),
                iov_len: take,
            });
            left = left.saturating_sub(take);
            if left == 0 {
                break;
            }
        }
        self.bytes = bytes;
        Some(Segments {
            pieces: &self.pieces,
            bytes: self.bytes,
            access: self.access,
            table: PhantomData,
        })
    }

    /// The pieces, bound to the table that they come from.
    pub(crate) fn segments<'m>(&'m self, _table: &'m DmaTable) -> Segments<'m> {
        Segments {
            pieces: &self.pieces,
            bytes: self.bytes,
            access: self.access,
            table: PhantomData,
        }
    }
}

/// The guest memory of one transfer, piece by piece, in the order of the data.
///
/// It borrows the table of guest memory and can therefore not outlive a change
/// of it. What a transfer writes was checked to be writable, what it reads to
/// be readable.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'m> {
    pub(super) pieces: &'m [libc::iovec],
    pub(super) bytes: usize,
    pub(super) access: Access,
    pub(super) table: PhantomData<&'m DmaTable>,
}

impl<'m> Segments<'m> {
    /// The length of the transfer, bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A way to copy from or to the guest bit by bit, from the start on.
    pub(crate) const fn cursor(&self) -> SegmentCursor<'m> {
        SegmentCursor::new(self)
    }

    /// Copies `data` to the guest: the data of a read. What the transfer is
    /// longer than `data` is filled with zeroes. Nothing is written where the
    /// transfer is one to media.
    pub fn write(&self, data: &[u8]) {
        if self.access != Access::Write {
            debug_assert!(false, "the transfer goes the other way");
            return;
        }
        let mut rest = data;
        for piece in self.pieces {
            let (now, later) = rest.split_at(piece.iov_len.min(rest.len()));
            let to = piece.iov_base.cast::<u8>();
            // SAFETY: the piece is host memory of a mapping that the borrowed
            // table keeps, resolved for writing; `now` is no longer than it; and
            // `data` is ours: a guest's memory is never lent out as a slice.
            unsafe { std::ptr::copy_nonoverlapping(now.as_ptr(), to, now.len()) }
            if now.len() < piece.iov_len {
                let end = to.wrapping_add(now.len());
                // SAFETY: as above; this is the rest of the same piece.
                unsafe { end.write_bytes(0, piece.iov_len.saturating_sub(now.len())) }
            }
            rest = later;
        }
    }

    /// Copies from the guest into `data`: the data of a write. The shorter of
    /// the two decides how much.
    pub fn read(&self, data: &mut [u8]) {
        let mut rest = data;
        for piece in self.pieces {
            let (now, later) = rest.split_at_mut(piece.iov_len.min(rest.len()));
            let from = piece.iov_base.cast::<u8>();
            // SAFETY: as in `write`.
            unsafe { std::ptr::copy_nonoverlapping(from, now.as_mut_ptr(), now.len()) }
            rest = later;
        }
    }

    /// Whether the guest's bytes from `skip` on begin with `data`.
    #[must_use]
    pub fn matches(&self, skip: usize, data: &[u8]) -> bool {
        const CHUNK: usize = 512;
        let mut chunk = [0_u8; CHUNK];
        let (mut skip, mut rest) = (skip, data);
        for piece in self.pieces {
            let mut start = skip.min(piece.iov_len);
            skip = skip.saturating_sub(piece.iov_len);
            while start < piece.iov_len && !rest.is_empty() {
                let take = CHUNK
                    .min(rest.len())
                    .min(piece.iov_len.saturating_sub(start));
                let from = piece.iov_base.cast::<u8>().wrapping_add(start);
                // SAFETY: `start` and `take` stay inside the piece; a copy,
                // because the guest may write meanwhile.
                unsafe { std::ptr::copy_nonoverlapping(from, chunk.as_mut_ptr(), take) }
                let (now, later) = rest.split_at(take);
                if chunk.get(..take) != Some(now) {
                    return false;
                }
                rest = later;
                start = start.saturating_add(take);
            }
        }
        rest.is_empty()
    }

    /// Reads the transfer from `file` at `offset`, without a copy of our own.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::UnexpectedEof`] where the file
    /// ends before the transfer.
    pub fn read_file(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<()> {
        if self.access != Access::Write {
            debug_assert!(false, "the transfer goes the other way");
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.vectored(offset, |iov, count, at| {
            // SAFETY: `vectored` passes `count` iovecs over guest memory that
            // the borrowed table keeps mapped, writable for a read from media.
            unsafe { libc::preadv64(file.as_raw_fd(), iov, count, at) }
        })
    }

    /// Writes the transfer to `file` at `offset`, without a copy of our own.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn write_file(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<()> {
        self.vectored(offset, |iov, count, at| {
            // SAFETY: as in `read_file`; the kernel only reads the memory.
            unsafe { libc::pwritev64(file.as_raw_fd(), iov, count, at) }
        })
    }

    /// Reads what of the transfer is in memory already: how much from the start
    /// on, possibly nothing.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::WouldBlock`] where the drive has
    /// to be asked.
    pub(crate) fn read_file_now(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<usize> {
        let (Access::Write, Ok(at)) = (self.access, i64::try_from(offset)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let count = libc::c_int::try_from(self.pieces.len().min(IOV_MAX)).unwrap_or(1);
        let (iov, flags) = (self.pieces.as_ptr(), libc::RWF_NOWAIT);
        // SAFETY: `count` iovecs over guest memory that the borrowed table keeps
        // mapped, writable for a read from media.
        let done = unsafe { libc::preadv2(file.as_raw_fd(), iov, count, at, flags) };
        usize::try_from(done).map_err(|_| io::Error::last_os_error())
    }

    /// Writes what of the transfer the system takes without waiting: how much
    /// from the start on.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::WouldBlock`] where it has to wait.
    pub(crate) fn write_file_now(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<usize> {
        let at = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let count = libc::c_int::try_from(self.pieces.len().min(IOV_MAX)).unwrap_or(1);
        let (iov, flags) = (self.pieces.as_ptr(), libc::RWF_NOWAIT);
        // SAFETY: as in `read_file_now`; the kernel only reads the memory.
        let done = unsafe { libc::pwritev2(file.as_raw_fd(), iov, count, at, flags) };
        usize::try_from(done).map_err(|_| io::Error::last_os_error())
    }

    /// Calls `call` with iovecs, their number and a file offset until the whole
    /// transfer is done.
    fn vectored(
        &self,
        offset: u64,
        call: impl Fn(*const libc::iovec, libc::c_int, i64) -> isize,
    ) -> io::Result<()> {
        let mut done = 0_usize;
        let mut rest = self.pieces;
        // A piece of which the last call did only a part.
        let mut part: Option<libc::iovec> = None;
        while done < self.bytes {
            let (iov, count) = match &part {
                Some(piece) => (std::ptr::from_ref(piece), 1),
                None => (rest.as_ptr(), rest.len().min(IOV_MAX)),
            };
            let at = u64::try_from(done)
                .ok()
                .and_then(|done| offset.checked_add(done))
                .and_then(|at| i64::try_from(at).ok())
                .ok_or(io::ErrorKind::InvalidInput)?;
            let count = libc::c_int::try_from(count).unwrap_or(1);
            let moved = match usize::try_from(call(iov, count, at)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(moved) => moved,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => continue,
                    error => return Err(error),
                },
            };
            done = done.saturating_add(moved);
            (part, rest) = advance(part, rest, moved);
        }
        Ok(())
    }
}

/// What is left of a partly done piece and of those behind it after `moved`
/// more bytes.
fn advance(
    part: Option<libc::iovec>,
    pieces: &[libc::iovec],
    moved: usize,
) -> (Option<libc::iovec>, &[libc::iovec]) {
    let mut left = moved;
    let mut current = part;
    let mut rest = pieces;
    loop {
        let piece = match current.take() {
            Some(piece) => piece,
            None if left == 0 => return (None, rest),
            None => match rest.split_first() {
                Some((first, others)) => {
                    rest = others;
                    *first
                }
                None => return (None, rest),
            },
        };
        if left < piece.iov_len {
            let from = piece.iov_base.cast::<u8>().wrapping_add(left);
            let remaining = libc::iovec {
                iov_base: from.cast(),
                iov_len: piece.iov_len.saturating_sub(left),
            };
            return (Some(remaining), rest);
        }
        left = left.saturating_sub(piece.iov_len);
    }
}

#[cfg(test)]
impl SegmentBuffer {
    /// Where the sink is.
    pub(crate) fn sink(&self) -> std::ops::Range<usize> {
        let start = self.sink.0.addr().get();
        start..start + SINK_BYTES
    }
}

#[cfg(test)]
impl Segments<'_> {
    /// Where the pieces are.
    pub(crate) fn places(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.pieces.iter().map(|piece| {
            let start = piece.iov_base.addr();
            start..start + piece.iov_len
        })
    }
}

#[cfg(test)]
mod tests;
