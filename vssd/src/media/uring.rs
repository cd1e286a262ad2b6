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
//!   Flush, or zeroes that are to last: waiting --> one fdatasync for all --> sink
//! ```
#![expect(
    unsafe_code,
    reason = "the kernel is handed guest memory, which stays until let_go returns"
)]

mod ring;
mod slot;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use self::ring::{Ring, Target};
use self::slot::{Place, Slot, Work};
use super::image::{Image, media_error};
use super::{
    Extent, Media, MediaError, MediaInfo, Outcome, RawFileOptions, Request, Sink, Submission,
};
use crate::memory::OwnBuffer;
use crate::{Segments, Ticket, VssdError};

/// How much Compare and Verify read at a time.
const SCAN_BYTES: usize = 256 * 1024;
/// How much is written at a time where zeroes have to be.
const FILL_BYTES: u64 = 1 << 20;
static ZEROES: [u8; 65_536] = [0; 65_536];
/// Stands for the sync in the rings; slots count from 0.
const SYNC: u64 = u64::MAX;

/// A medium in a raw disk image, or on a block device, that the kernel reads and
/// writes while others go on: byte `n` of the medium is byte `n` of the file.
///
/// Data goes straight between guest memory and the kernel. What the page cache
/// has or takes is read or written at once, and the rest by way of io_uring, with
/// one system call a turn. No buffers are registered: guest memory comes and goes, and with it
/// every registration would.
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
    lost: bool,
    /// What is done, and not handed back.
    ended: VecDeque<(Ticket, Outcome)>,
    reads: Way,
    writes: Way,
    /// Whether the file is in memory, where nothing is waited for.
    in_memory: bool,
}

/// How plain reads, or plain writes, go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// At once where the system does not have to wait, else by the ring.
    Now,
    /// At once, by a plain call: the system cannot tell whether it has to wait,
    /// and would hand it to a thread of its own, which takes three times as long
    /// as to do it.
    Plain,
    /// By the ring.
    Ring,
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
        // A ring that is refused is no reason to make a file.
        let probe = io_uring::IoUring::new(2).map_err(|source| VssdError::Uring { source })?;
        drop(probe);
        let image = Image::open(path, options)?;
        let system = rustix::fs::fstatfs(&image.file);
        let in_memory = system.is_ok_and(|system| system.f_type == libc::TMPFS_MAGIC);
        let again = |flags| {
            image.reopen(flags).map_err(|source| VssdError::File {
                action: "open once more",
                path: path.to_owned(),
                source,
            })
        };
        let others = [again(0)?, again(0)?];
        // The kernel closes these some time after the ring is gone. The one with
        // the lock is not among them, so that the image is free at once.
        let ring = Ring::new(others.each_ref()).map_err(|source| VssdError::Uring { source })?;
        Ok(Self {
            image,
            ring,
            slots: Vec::new(),
            free: Vec::new(),
            queued: VecDeque::new(),
            waiting: VecDeque::new(),
            syncing: VecDeque::new(),
            is_syncing: false,
            lost: false,
            ended: VecDeque::new(),
            reads: Way::Now,
            writes: Way::Now,
            in_memory,
        })
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.image.path
    }

    /// Logs what the system said of `extent`, and what the host is told of it.
    fn failed(&self, work: Work, extent: Extent, error: &io::Error) -> MediaError {
        log::error!(
            "{}: cannot {} {} bytes at offset {}: {error}",
            self.image.name,
            work.verb(),
            extent.bytes,
            extent.offset
        );
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

    /// Gives the kernel what is queued, as much as it takes.
    fn push_queued(&mut self) {
        self.start_sync();
        while self.ring.has_room() {
            let Some(index) = self.queued.pop_front() else {
                return;
            };
            self.push(index);
        }
    }

    fn push(&mut self, index: usize) {
        let id = u64::try_from(index).unwrap_or(SYNC - 1);
        let slot = &mut self.slots[index];
        slot.place = Place::Kernel;
        match slot.work {
            Work::Compare | Work::Verify => {
                let bytes = usize::try_from(slot.left()).unwrap_or(SCAN_BYTES);
                let bytes = bytes.min(SCAN_BYTES);
                let own = slot.own.get_or_insert_with(|| OwnBuffer::new(bytes));
                match own.fill(0, bytes) {
                    Some(segments) => slot.memory.keep(&segments),
                    None => debug_assert!(false, "no chunk is larger than the first"),
                }
            }
            Work::Zero { .. } if slot.fill => {
                let bytes = usize::try_from(slot.left().min(FILL_BYTES)).unwrap_or(0);
                slot.memory.keep_zeroes(&ZEROES, bytes);
            }
            _ => {}
        }
        let (offset, memory) = (slot.offset, &slot.memory);
        match slot.work {
            // SAFETY: the slot keeps the pieces as they are while the kernel has
            // it, and guest memory stays until `let_go` or `abandon` has waited
            // for that; the rest is the slot's own.
            Work::Read | Work::Compare | Work::Verify => unsafe {
                self.ring.read(Target::Cached, offset, memory, id);
            },
            // SAFETY: as above.
            Work::Write { durable } => unsafe {
                self.ring.write(Target::Cached, offset, memory, durable, id);
            },
            // SAFETY: as above; zeroes are there for ever.
            Work::Zero { .. } if slot.fill => unsafe {
                self.ring.write(Target::Cached, offset, memory, false, id);
            },
            Work::Zero { deallocate, .. } => {
                let how = if deallocate {
                    libc::FALLOC_FL_PUNCH_HOLE
                } else {
                    libc::FALLOC_FL_ZERO_RANGE
                };
                let mode = how | libc::FALLOC_FL_KEEP_SIZE;
                self.ring.allocate(slot.extent, mode, id);
            }
        }
    }

    /// Takes what the kernel has done.
    fn collect(&mut self) {
        while let Some((id, result)) = self.ring.ended() {
            if id == SYNC {
                self.synced(result);
                continue;
            }
            let Ok(index) = usize::try_from(id) else {
                continue;
            };
            match self.next(index, result) {
                Some(outcome) => self.end(index, outcome),
                None => {
                    self.slots[index].place = Place::Queued { begun: true };
                    self.queued.push_back(index);
                }
            }
        }
    }

    /// What a result of the kernel means for a slot: how it ended, or nothing
    /// where it goes on.
    fn next(&mut self, index: usize, result: i32) -> Option<Outcome> {
        let slot = &mut self.slots[index];
        let Ok(moved) = usize::try_from(result) else {
            let error = io::Error::from_raw_os_error(result.saturating_neg());
            let makes_zeroes = matches!(slot.work, Work::Zero { .. }) && !slot.fill;
            return match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => None,
                // Not every file system can.
                Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL) if makes_zeroes => {
                    slot.fill = true;
                    None
                }
                _ => {
                    let (work, extent) = (slot.work, slot.extent);
                    Some(Err(self.failed(work, extent, &error)))
                }
            };
        };
        match slot.work {
            Work::Zero { .. } if !slot.fill => slot.done = slot.extent.bytes,
            _ if moved == 0 => {
                let kind = if slot.work.is_reading() {
                    io::ErrorKind::UnexpectedEof
                } else {
                    io::ErrorKind::WriteZero
                };
                let (work, extent) = (slot.work, slot.extent);
                return Some(Err(self.failed(work, extent, &kind.into())));
            }
            Work::Compare => {
                // SAFETY: the ticket is still here, and `let_go` waits for it.
                let guest = unsafe { slot.guest.segments() };
                let own = slot.own.as_mut();
                let data = own.and_then(|own| own.data_mut().get(..moved));
                let done = usize::try_from(slot.done).unwrap_or(usize::MAX);
                if !data.is_some_and(|data| guest.matches(done, data)) {
                    return Some(Err(MediaError::Miscompare));
                }
                slot.advance(moved);
            }
            _ => slot.advance(moved),
        }
        if slot.left() > 0 {
            return None;
        }
        match slot.later.pop() {
            Some(extent) => {
                slot.begin(extent);
                None
            }
            None => Some(Ok(())),
        }
    }

    /// Starts a sync for what waits for one, unless one goes on.
    fn start_sync(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if self.lost {
            let failed = self.waiting.drain(..);
            self.ended
                .extend(failed.map(|ticket| (ticket, Err(MediaError::Write))));
        } else if !self.is_syncing && self.ring.has_room() {
            self.is_syncing = true;
            std::mem::swap(&mut self.syncing, &mut self.waiting);
            self.ring.sync(SYNC);
        }
    }

    /// Takes the end of a sync.
    fn synced(&mut self, result: i32) {
        self.is_syncing = false;
        if matches!(result.saturating_neg(), libc::EINTR | libc::EAGAIN) {
            while let Some(ticket) = self.syncing.pop_back() {
                self.waiting.push_front(ticket);
            }
            return;
        }
        let outcome = if result < 0 {
            let error = io::Error::from_raw_os_error(result.saturating_neg());
            log::error!(
                "{}: cannot make writes durable: {error}; what was written since the last flush \
                 may be lost, and every flush from now on fails",
                self.image.name
            );
            self.lost = true;
            Err(MediaError::Write)
        } else {
            Ok(())
        };
        let done = self.syncing.drain(..).map(|ticket| (ticket, outcome));
        self.ended.extend(done);
    }

    /// Hands at most `budget` tickets over; how many.
    fn hand_over(&mut self, budget: u32, sink: Sink<'_>) -> u32 {
        let mut handed = 0;
        while handed < budget {
            let Some((ticket, outcome)) = self.ended.pop_front() else {
                break;
            };
            sink(ticket, outcome);
            handed += 1;
        }
        handed
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

    /// Goes on until no slot whose work `matters` is left.
    fn finish(&mut self, matters: fn(&Slot) -> bool) {
        loop {
            self.push_queued();
            self.ring.enter(false);
            self.collect();
            let left = self
                .slots
                .iter()
                .any(|slot| slot.place != Place::Free && matters(slot));
            if !left {
                return;
            }
            if self.queued.is_empty() {
                self.ring.enter(true);
            }
        }
    }
}

fn of(offset: u64, bytes: usize) -> Extent {
    Extent {
        offset,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
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
            Request::Write { durable: true, .. } if self.lost => {
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
        self.hand_over(budget, sink)
    }

    fn pending(&self) -> usize {
        let slots = self.slots.len() - self.free.len();
        slots + self.waiting.len() + self.syncing.len() + self.ended.len()
    }

    fn let_go(&mut self, sink: Sink<'_>) {
        self.finish(|slot| slot.work.holds_memory());
        self.hand_over(u32::MAX, sink);
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
        self.hand_over(u32::MAX, sink);
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

#[cfg(test)]
mod tests;
