//! The page of doorbells.
#![expect(
    unsafe_code,
    reason = "the page is shared with a guest; its words are reached as atomics, by raw pointers"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use nvme::{DOORBELL_BASE, Doorbell, DoorbellKind, QueueId};
use rustix::fs::{MemfdFlags, SealFlags};

/// Size of the doorbell space, bytes: one page, which is room for the admin
/// queue and 511 I/O queue pairs with CAP.DSTRD = 0.
pub const DOORBELLS_BYTES: u32 = 4096;

const BYTES: usize = 4096;

/// Where the page stands in its file, bytes: where it stands in BAR0. Clients
/// add an area's offset in its region to the region's offset in its file, so
/// this makes the latter 0.
const FILE_OFFSET: u64 = DOORBELL_BASE as u64;

/// The doorbell registers, BAR0 from 1000h on, as a page of memory that a
/// client may map: a guest then rings a doorbell by a store that nobody traps,
/// and the controller sees it at its next poll (`NVMe over PCIe 1.1 §3.1.2`).
///
/// A trapped write ends here too, so there is one way for a doorbell to arrive.
/// Clones are of the same page.
#[derive(Clone, Debug)]
pub struct Doorbells {
    fd: Arc<OwnedFd>,
    page: Arc<MmapRaw>,
}

impl Doorbells {
    /// A page with every doorbell at 0. It is a sealed memfd: whoever it is
    /// handed to can write it, but not make it shorter.
    ///
    /// # Errors
    ///
    /// What the system says, where it gives no memory.
    pub fn new() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("vssd-doorbells", flags)?;
        rustix::fs::ftruncate(&fd, FILE_OFFSET + u64::from(DOORBELLS_BYTES))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals)?;
        let page = MmapOptions::new()
            .offset(FILE_OFFSET)
            .len(BYTES)
            .map_raw(&fd)?;
        Ok(Self {
            fd: Arc::new(fd),
            page: Arc::new(page),
        })
    }

    /// The page's file, for a client to map: [`DOORBELLS_BYTES`] bytes from
    /// [`Doorbells::file_offset`] on, shared, readable and writable.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where the page stands in [`Doorbells::fd`], bytes.
    #[must_use]
    pub const fn file_offset(&self) -> u64 {
        FILE_OFFSET
    }

    /// The doorbell `offset` bytes behind the first; none where `offset` is not
    /// that of a doorbell.
    fn word(&self, offset: u32) -> Option<&AtomicU32> {
        if offset >= DOORBELLS_BYTES || !offset.is_multiple_of(4) {
            return None;
        }
        let at = self
            .page
            .as_mut_ptr()
            .wrapping_add(usize::try_from(offset).ok()?);
        // SAFETY: `offset` is aligned and inside the page, which is mapped as
        // long as `self` and cannot shrink; every access to it is atomic.
        Some(unsafe { AtomicU32::from_ptr(at.cast()) })
    }

    /// What the guest wrote to the doorbell last. Acquire: what it wrote before
    /// that is seen after this. 0 for a queue that has no doorbell here.
    #[inline]
    pub(crate) fn load(&self, queue: QueueId, kind: DoorbellKind) -> u32 {
        let offset = Doorbell { queue, kind }.offset(0);
        self.word(offset)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Stores what the guest wrote to BAR0, `offset` bytes behind the first
    /// doorbell; elsewhere it is lost.
    pub(crate) fn store(&self, offset: u32, value: u32) {
        if let Some(word) = self.word(offset) {
            word.store(value, Ordering::Release);
        }
    }

    /// Sets a doorbell to 0, as it stands when its queue is made.
    pub(crate) fn reset(&self, queue: QueueId, kind: DoorbellKind) {
        self.store(Doorbell { queue, kind }.offset(0), 0);
    }

    /// Sets every doorbell to 0.
    pub(crate) fn reset_all(&self) {
        for offset in (0..DOORBELLS_BYTES).step_by(4) {
            self.store(offset, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_into_the_mapped_page_is_seen_and_the_page_cannot_shrink() {
        let doorbells = Doorbells::new().unwrap();
        let theirs = MmapOptions::new()
            .offset(doorbells.file_offset())
            .len(BYTES)
            .map_raw(&doorbells.fd())
            .unwrap();
        let tail = theirs.as_mut_ptr().wrapping_add(8).cast::<u32>();
        // SAFETY: inside the page that was just mapped.
        unsafe { tail.write_volatile(7) };
        let kind = DoorbellKind::SubmissionTail;
        assert_eq!(doorbells.load(QueueId(1), kind), 7);
        doorbells.reset(QueueId(1), kind);
        assert_eq!(doorbells.load(QueueId(1), kind), 0);
        assert!(rustix::fs::ftruncate(doorbells.fd(), 0).is_err());
    }

    #[test]
    fn offsets_that_are_no_doorbells_are_lost() {
        let doorbells = Doorbells::new().unwrap();
        doorbells.store(DOORBELLS_BYTES, 1);
        doorbells.store(u32::MAX, 1);
        doorbells.store(2, 1);
        assert_eq!(
            doorbells.load(QueueId(u16::MAX), DoorbellKind::CompletionHead),
            0
        );
    }
}
