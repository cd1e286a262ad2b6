//! The two rings that are shared with the kernel.
#![expect(
    unsafe_code,
    reason = "the kernel is handed addresses of memory that it reads and writes later"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use io_uring::{IoUring, Probe, opcode, squeue, types};

use super::super::Extent;
use crate::memory::Kept;

/// Operations that the kernel has at a time; more wait here.
const ENTRIES: u32 = 256;

/// Has `io_uring_enter` do what is left to do for operations that have ended
/// (`IORING_ENTER_GETEVENTS`).
const GETEVENTS: u32 = 1;

/// Which descriptor an operation goes to. The numbers are places in the table of
/// fixed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Target {
    /// Through the page cache.
    Cached = 0,
    /// A descriptor that only syncs: it sees every failure to write back, even
    /// one that a durable write saw before.
    Sync = 1,
    /// Past the page cache, where the medium goes there.
    Direct = 2,
}

impl Target {
    const fn fixed(self) -> types::Fixed {
        types::Fixed(self as u32)
    }
}

/// How the kernel ended an operation: what it was pushed with, and the result.
pub(super) type Ended = (u64, i32);

/// The rings.
pub(super) struct Ring {
    ring: IoUring,
    /// How many operations the kernel has, or is about to get.
    under_way: u32,
    /// How many of them it has not been told of.
    untold: u32,
    entries: u32,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("under_way", &self.under_way)
            .field("untold", &self.untold)
            .finish_non_exhaustive()
    }
}

impl AsFd for Ring {
    /// Readable while there is a completion to take.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open for as long as the ring, which is
        // borrowed as well.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Ring {
    /// Rings for the descriptors of each [`Target`], in that order.
    pub(super) fn new(files: [&File; 3]) -> io::Result<Self> {
        // With task work left for the next call, no interrupt of the processor
        // is wasted on a thread that polls anyway. Older kernels cannot.
        let ring = IoUring::builder()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .dontfork()
            .build(ENTRIES)
            .or_else(|_| IoUring::builder().dontfork().build(ENTRIES))?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::Read::CODE,
            opcode::Readv::CODE,
            opcode::Write::CODE,
            opcode::Writev::CODE,
            opcode::Fsync::CODE,
            opcode::Fallocate::CODE,
        ];
        if !needed.into_iter().all(|code| probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let files = files.map(AsRawFd::as_raw_fd);
        ring.submitter().register_files(&files)?;
        Ok(Self {
            ring,
            under_way: 0,
            untold: 0,
            entries: ENTRIES,
        })
    }

    /// Whether the kernel takes one more.
    pub(super) const fn has_room(&self) -> bool {
        self.under_way < self.entries
    }

    /// Whether the kernel has anything.
    pub(super) const fn is_busy(&self) -> bool {
        self.under_way > 0
    }

    /// Reads into what is left of `memory`.
    ///
    /// # Safety
    ///
    /// Neither `memory` nor what it is pieces of goes away, and `memory` is not
    /// changed, before the operation has ended.
    pub(super) unsafe fn read(&mut self, from: Target, offset: u64, memory: &Kept, id: u64) {
        debug_assert!(memory.is_writable(), "the transfer goes the other way");
        let iovecs = memory.iovecs();
        let entry = match iovecs {
            [piece] => {
                let bytes = u32::try_from(piece.iov_len).unwrap_or(1 << 30);
                opcode::Read::new(from.fixed(), piece.iov_base.cast(), bytes)
                    .offset(offset)
                    .build()
            }
            _ => {
                let count = u32::try_from(iovecs.len()).unwrap_or(0);
                opcode::Readv::new(from.fixed(), iovecs.as_ptr().cast(), count)
                    .offset(offset)
                    .build()
            }
        };
        // SAFETY: as the caller promises.
        unsafe { self.push(entry, id) }
    }

    /// Writes what is left of `memory`.
    ///
    /// # Safety
    ///
    /// As for [`Ring::read`].
    pub(super) unsafe fn write(
        &mut self,
        to: Target,
        offset: u64,
        memory: &Kept,
        durable: bool,
        id: u64,
    ) {
        let flags = if durable { libc::RWF_DSYNC } else { 0 };
        let iovecs = memory.iovecs();
        let entry = match iovecs {
            [piece] => {
                let bytes = u32::try_from(piece.iov_len).unwrap_or(1 << 30);
                opcode::Write::new(to.fixed(), piece.iov_base.cast(), bytes)
                    .offset(offset)
                    .rw_flags(flags)
                    .build()
            }
            _ => {
                let count = u32::try_from(iovecs.len()).unwrap_or(0);
                opcode::Writev::new(to.fixed(), iovecs.as_ptr().cast(), count)
                    .offset(offset)
                    .rw_flags(flags)
                    .build()
            }
        };
        // SAFETY: as the caller promises.
        unsafe { self.push(entry, id) }
    }

    /// Changes the space behind `extent`, in the way of `fallocate`.
    pub(super) fn allocate(&mut self, extent: Extent, mode: i32, id: u64) {
        let entry = opcode::Fallocate::new(Target::Cached.fixed(), extent.bytes)
            .offset(extent.offset)
            .mode(mode)
            .build();
        // SAFETY: the operation touches no memory of ours.
        unsafe { self.push(entry, id) }
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self, id: u64) {
        let entry = opcode::Fsync::new(Target::Sync.fixed())
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        // SAFETY: the operation touches no memory of ours.
        unsafe { self.push(entry, id) }
    }

    /// # Safety
    ///
    /// The memory of `entry` stays as it is until the operation has ended.
    unsafe fn push(&mut self, entry: squeue::Entry, id: u64) {
        debug_assert!(self.has_room(), "the caller looked for room");
        let mut queue = self.ring.submission();
        // SAFETY: as the caller promises.
        let pushed = unsafe { queue.push(&entry.user_data(id)) };
        // There is an entry for each that may be under way.
        assert!(pushed.is_ok(), "the submission ring is full");
        self.under_way += 1;
        self.untold += 1;
    }

    /// Tells the kernel of what was pushed; if `wait`, until something has ended.
    pub(super) fn enter(&mut self, wait: bool) {
        if !wait && self.untold == 0 && !self.ring.submission().taskrun() {
            return;
        }
        let want = usize::from(wait && self.under_way > 0);
        let told = if self.untold == 0 && !wait {
            // SAFETY: nothing is passed but numbers.
            unsafe {
                self.ring
                    .submitter()
                    .enter::<libc::sigset_t>(0, 0, GETEVENTS, None)
            }
        } else {
            self.ring.submitter().submit_and_wait(want)
        };
        match told {
            Ok(count) => {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                self.untold = self.untold.saturating_sub(count);
            }
            // Both end by themselves, and the next turn tries again.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
                ) => {}
            Err(error) => panic!("io_uring_enter does not work any more: {error}"),
        }
    }

    /// The next operation that has ended.
    #[inline]
    pub(super) fn ended(&mut self) -> Option<Ended> {
        let entry = self.ring.completion().next()?;
        self.under_way = self.under_way.saturating_sub(1);
        Some((entry.user_data(), entry.result()))
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Else the kernel keeps the files open until it comes to tear down the
        // ring. It fails only where there are none.
        let _ = self.ring.submitter().unregister_files();
    }
}
