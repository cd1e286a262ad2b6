//! A medium in a raw image or on a block device, through io_uring.
//!
//! ```text
//!   submit -- does the page cache do? --> Done
//!      | no
//!      v            poll                      poll
//!   queued ------------> submission ring --> kernel --> completion ring --> sink
//!      ^   one call a turn                                    |
//!      +------ a short transfer, the next extent, EAGAIN -----+
//!
//!   past the page cache, what is not aligned goes through it, and goes alone
//!
//!   Flush, or zeroes that are to last: waiting --> one fdatasync for all --> sink
//! ```

mod engine;
mod gate;
mod ring;
mod slot;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::engine::{Alignment, Way};
use self::gate::Entrance;
use self::ring::Ring;
use self::slot::{Place, Slot, Work};
use super::complaints::Complaints;
use super::image::{Image, media_error};
use super::{
    BaseImage, Extent, InFile, Media, MediaError, MediaInfo, Outcome, Parallel, RawFileOptions,
    Request, Sink, Submission, hand_over,
};
use crate::{Segments, Ticket, VssdError};

/// A medium in a raw disk image, or on a block device, that the kernel reads and
/// writes while others go on: byte `n` of the medium is byte `n` of the file.
///
/// Data goes straight between guest memory and the kernel. What the page cache
/// has or takes is read or written at once, and the rest by way of io_uring, with
/// one system call a turn. No buffers are registered: guest memory comes and
/// goes, and with it every registration would.
#[derive(Debug)]
pub struct Uring {
    image: Image,
    ring: Ring,
    slots: Vec<Slot>,
    free: Vec<usize>,
    queued: VecDeque<usize>,
    /// Commands that wait for a sync which has not begun.
    waiting: VecDeque<Ticket>,
    /// Commands that wait for the sync that goes on.
    syncing: VecDeque<Ticket>,
    is_syncing: bool,
    /// Whether a sync has failed: then none is believed any more.
    lost: Arc<AtomicBool>,
    /// What is done, and not handed back.
    ended: VecDeque<(Ticket, Outcome)>,
    reads: Way,
    writes: Way,
    /// Whether the file is in memory, where nothing is waited for.
    in_memory: bool,
    /// What offsets, lengths and memory are multiples of, to go past the page
    /// cache; none where nothing goes there.
    direct: Option<Alignment>,
    /// Whether the kernel has a request that goes alone.
    is_alone: bool,
    /// What keeps those apart from the requests of all handles; used where data
    /// goes past the page cache.
    gate: Entrance,
    complaints: Complaints,
}

impl Uring {
    /// Opens (or makes) the file, or opens the block device, at `path` and locks
    /// it.
    ///
    /// # Errors
    ///
    /// [`VssdError::Uring`] where the kernel does not give us a ring; otherwise
    /// as [`super::RawFile::open`].
    pub fn open(path: &Path, options: RawFileOptions) -> Result<Self, VssdError> {
        Self::open_as(path, options, 0)
    }

    /// As [`Uring::open`], but past the page cache (`O_DIRECT`), which leaves that
    /// to others, and has each request pay for the drive.
    ///
    /// All data goes that way, or none: the page cache keeps whole stretches of a
    /// file, and what goes through it would write over its neighbours that do not.
    /// So a transfer that the system does not take as it is (the guest's memory is
    /// not aligned) goes through the page cache while nothing else goes on.
    ///
    /// # Errors
    ///
    /// As [`Uring::open`], and [`VssdError::File`] where the file system cannot.
    pub fn open_direct(path: &Path, options: RawFileOptions) -> Result<Self, VssdError> {
        Self::open_as(path, options, libc::O_DIRECT)
    }

    fn open_as(path: &Path, options: RawFileOptions, flags: i32) -> Result<Self, VssdError> {
        // A ring that is refused is no reason to make a file.
        let probe = io_uring::IoUring::new(2).map_err(|source| VssdError::Uring { source })?;
        drop(probe);
        let image = Image::open(path, options)?;
        let system = rustix::fs::fstatfs(&image.file);
        let in_memory = system.is_ok_and(|system| system.f_type == libc::TMPFS_MAGIC);
        let failed = |source| VssdError::File {
            action: if flags == 0 {
                "open once more"
            } else {
                "go past the page cache (leave out --direct) with"
            },
            path: path.to_owned(),
            source,
        };
        let files = Self::files(&image, flags).map_err(failed)?;
        let ring = Ring::new(files.each_ref()).map_err(|source| VssdError::Uring { source })?;
        let direct = (flags != 0).then(|| Alignment::of(&files[2]));
        Ok(Self::on(image, ring, direct, in_memory))
    }

    /// The descriptors of `image` for a ring; see [`ring::Target`].
    fn files(image: &Image, flags: i32) -> io::Result<[File; 3]> {
        // Only who has a drive for himself may punch holes into what he has
        // written, so that the ring needs that very descriptor there. Of a file it
        // has another, without the lock: the kernel closes what the ring had some
        // time after the ring is gone, and the image is to be free at once.
        let cached = if image.is_device {
            image.file.try_clone()?
        } else {
            image.reopen(0)?
        };
        Ok([cached, image.reopen(0)?, image.reopen(flags)?])
    }

    fn on(image: Image, ring: Ring, direct: Option<Alignment>, in_memory: bool) -> Self {
        let way = if direct.is_some() {
            Way::Ring
        } else {
            Way::Now
        };
        Self {
            complaints: Complaints::new(&image.name),
            image,
            ring,
            slots: Vec::new(),
            free: Vec::new(),
            queued: VecDeque::new(),
            waiting: VecDeque::new(),
            syncing: VecDeque::new(),
            is_syncing: false,
            lost: Arc::default(),
            ended: VecDeque::new(),
            reads: way,
            writes: way,
            in_memory,
            direct,
            is_alone: false,
            gate: Entrance::default(),
        }
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.image.path
    }

    /// Logs what the system said of `extent`, and what the host is told of it.
    fn failed(&mut self, work: Work, extent: Extent, error: &io::Error) -> MediaError {
        self.complaints.tell(work.verb(), extent, error);
        media_error(error, work.is_reading())
    }

    /// A slot for a request, queued.
    fn queue(&mut self, ticket: Ticket, work: Work, extent: Extent) -> &mut Slot {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::new());
            self.slots.len() - 1
        });
        self.queued.push_back(index);
        let slot = &mut self.slots[index];
        slot.take(ticket, work, extent);
        slot
    }

    /// Ends a slot's request.
    fn end(&mut self, index: usize, outcome: Outcome) {
        let slot = &mut self.slots[index];
        slot.place = Place::Free;
        slot.memory.forget();
        slot.guest.forget();
        slot.own = None;
        let (ticket, work) = (slot.ticket.take(), slot.work);
        self.free.push(index);
        let Some(ticket) = ticket else { return };
        if outcome.is_ok() && matches!(work, Work::Zero { durable: true, .. }) {
            self.waiting.push_back(ticket);
        } else {
            self.ended.push_back((ticket, outcome));
        }
    }

    /// Reads what can be read at once; how much that was.
    fn read_now(&mut self, offset: u64, to: &Segments<'_>) -> io::Result<usize> {
        let file = self.image.file.as_fd();
        if self.reads == Way::Now {
            match to.read_file_now(file, offset) {
                Ok(done) => return Ok(done),
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    self.reads = if self.in_memory {
                        Way::Plain
                    } else {
                        Way::Ring
                    };
                }
                Err(_) => return Ok(0),
            }
        }
        if self.reads == Way::Ring {
            return Ok(0);
        }
        to.read_file(file, offset)?;
        Ok(to.bytes())
    }

    /// Writes what can be written at once; how much that was.
    fn write_now(&mut self, offset: u64, from: &Segments<'_>) -> io::Result<usize> {
        let file = self.image.file.as_fd();
        if self.writes == Way::Now {
            match from.write_file_now(file, offset) {
                Ok(done) => return Ok(done),
                // A copy into the page cache, on most file systems.
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    self.writes = Way::Plain;
                }
                Err(_) => return Ok(0),
            }
        }
        // A part of a page may have to be read first.
        let bytes = u64::try_from(from.bytes()).unwrap_or(u64::MAX);
        let whole = (offset | bytes).is_multiple_of(nvme::PAGE_BYTES);
        if self.writes == Way::Ring || !(whole || self.in_memory) {
            return Ok(0);
        }
        from.write_file(file, offset)?;
        Ok(from.bytes())
    }

    /// Does not want to go alone any more, where a request waited for that. One that
    /// goes alone just now is not disturbed.
    fn let_others_in(&mut self) {
        if !self.is_alone {
            self.gate.give_up();
        }
    }

    /// Queues a transfer of which `done` bytes are done.
    fn transfer(
        &mut self,
        ticket: Ticket,
        work: Work,
        (offset, memory): (u64, &Segments<'_>),
        done: io::Result<usize>,
    ) -> Submission {
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                let error = self.failed(work, of(offset, memory.bytes()), &error);
                return Submission::Done(ticket, Err(error));
            }
        };
        if done >= memory.bytes() {
            return Submission::Done(ticket, Ok(()));
        }
        let slot = self.queue(ticket, work, of(offset, memory.bytes()));
        slot.memory.keep(memory);
        slot.place = Place::Queued { begun: done > 0 };
        slot.advance(done);
        Submission::Pending
    }
}

fn of(offset: u64, bytes: usize) -> Extent {
    Extent {
        offset,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    }
}

impl InFile for Uring {
    fn base(&self) -> BaseImage {
        BaseImage {
            path: self.path().to_owned(),
            is_qcow2: false,
        }
    }

    fn lock_fd(&self) -> BorrowedFd<'_> {
        self.image.file.as_fd()
    }
}

impl Media for Uring {
    fn name(&self) -> &str {
        &self.image.name
    }

    fn info(&self) -> MediaInfo {
        MediaInfo {
            bytes: self.image.bytes,
            read_only: self.image.read_only,
            volatile_cache: true,
        }
    }

    fn grow(&mut self, bytes: u64) -> Result<(), VssdError> {
        self.image.grow(bytes)
    }

    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submission {
        let writes = matches!(
            request,
            Request::Write { .. } | Request::WriteZeroes { .. } | Request::Discard { .. }
        );
        if writes && self.image.read_only {
            return Submission::Done(ticket, Err(MediaError::ReadOnly));
        }
        match request {
            Request::Read { offset, to } => {
                let done = self.read_now(offset, &to);
                return self.transfer(ticket, Work::Read, (offset, &to), done);
            }
            Request::Write { durable: true, .. } if self.lost.load(Ordering::Acquire) => {
                return Submission::Done(ticket, Err(MediaError::Write));
            }
            Request::Write {
                offset,
                from,
                durable,
            } => {
                let done = if durable {
                    Ok(0)
                } else {
                    self.write_now(offset, &from)
                };
                return self.transfer(ticket, Work::Write { durable }, (offset, &from), done);
            }
            Request::Compare { offset, with } => {
                let slot = self.queue(ticket, Work::Compare, of(offset, with.bytes()));
                slot.guest.keep(&with);
            }
            Request::Verify { extent } => {
                self.queue(ticket, Work::Verify, extent);
            }
            Request::WriteZeroes {
                extent,
                deallocate,
                durable,
            } => {
                let work = Work::Zero {
                    deallocate,
                    durable,
                };
                self.queue(ticket, work, extent);
            }
            Request::Discard { extents } => {
                let Some((&first, later)) = extents.split_first() else {
                    return Submission::Done(ticket, Ok(()));
                };
                let work = Work::Zero {
                    deallocate: true,
                    durable: false,
                };
                let slot = self.queue(ticket, work, first);
                slot.later.extend(later.iter().rev());
            }
            Request::Flush if self.image.read_only => return Submission::Done(ticket, Ok(())),
            Request::Flush => self.waiting.push_back(ticket),
        }
        Submission::Pending
    }

    fn poll(&mut self, budget: u32, sink: Sink<'_>) -> u32 {
        self.push_queued();
        self.ring.enter(false);
        self.collect();
        hand_over(&mut self.ended, budget, sink)
    }

    fn pending(&self) -> usize {
        let slots = self.slots.len() - self.free.len();
        slots + self.waiting.len() + self.syncing.len() + self.ended.len()
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        // What has ended, and what the kernel does not have, tells of nothing.
        (self.ended.is_empty() && self.ring.is_busy()).then(|| self.ring.as_fd())
    }

    fn let_go(&mut self, sink: Sink<'_>) {
        self.finish(|slot| slot.work.holds_memory());
        hand_over(&mut self.ended, u32::MAX, sink);
    }

    fn cancel(&mut self, wanted: &mut dyn FnMut(&Ticket) -> bool) -> Option<Ticket> {
        let slots = &self.slots;
        let found = self.queued.iter().position(|&index| {
            let slot = &slots[index];
            slot.place == Place::Queued { begun: false }
                && slot
                    .ticket
                    .as_ref()
                    .is_some_and(|ticket| ticket.is_simple() && wanted(ticket))
        });
        if let Some(index) = found.and_then(|at| self.queued.remove(at)) {
            self.let_others_in();
            let ticket = self.slots[index].ticket.take();
            self.end(index, Ok(()));
            return ticket;
        }
        // A flush that waits has no effect yet. Zeroes that wait for one have.
        let index = self.waiting.iter().position(|ticket| {
            ticket.is_simple()
                && ticket.record().nvm_opcode() == Some(nvme::NvmOpcode::FLUSH)
                && wanted(ticket)
        })?;
        self.waiting.remove(index)
    }

    fn abandon(&mut self, sink: Sink<'_>) {
        self.let_others_in();
        while let Some(index) = self.queued.pop_front() {
            self.end(index, Err(MediaError::Write));
        }
        // What the kernel has is not to be had back; what is left of it is.
        while self.slots.len() > self.free.len() {
            self.ring.enter(true);
            self.collect();
            while let Some(index) = self.queued.pop_front() {
                self.end(index, Err(MediaError::Write));
            }
        }
        for ticket in self.waiting.drain(..).chain(self.syncing.drain(..)) {
            sink(ticket, Err(MediaError::Write));
        }
        hand_over(&mut self.ended, u32::MAX, sink);
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The kernel must not write to memory that is no longer ours.
        while self.ring.is_busy() {
            self.ring.enter(true);
            self.collect();
            self.queued.clear();
        }
    }
}

/// Each has a ring and descriptors of its own; the first one's lock is held until
/// the last is gone.
impl Parallel for Uring {
    fn another(&self) -> io::Result<Self> {
        let image = self.image.another()?;
        let flags = if self.direct.is_some() {
            libc::O_DIRECT
        } else {
            0
        };
        let ring = Ring::new(Self::files(&image, flags)?.each_ref())?;
        let mut other = Self::on(image, ring, self.direct, self.in_memory);
        other.lost = Arc::clone(&self.lost);
        other.gate = self.gate.another();
        Ok(other)
    }

    /// One that goes alone waits for the requests of all handles.
    fn must_settle(&self) -> bool {
        self.direct.is_some()
    }
}

#[cfg(test)]
mod tests;
