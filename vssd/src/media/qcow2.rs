//! A medium in a qcow2 image, by way of the library `imago`.
//!
//! ```text
//!   submit -- write: data copied --> queue --> a thread --> answer --poll--> sink
//!             read: guest memory kept                        |
//!                        ^-------- data copied --------------+
//! ```

#![expect(
    unsafe_code,
    reason = "guest memory is kept while a read is under way, and let_go waits for it"
)]

mod files;
mod grow;
mod header;
mod overlay;
mod pool;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imago::FormatAccess;

use self::files::Gate;
use self::overlay::failed;
use self::pool::{Answer, Desk, Task};
use super::complaints::Complaints;
use super::image::media_error;
use super::{
    BaseImage, Extent, InFile, Media, MediaError, MediaInfo, Outcome, Parallel, Request, Sink,
    Submission,
};
use crate::memory::Kept;
use crate::{Ticket, VssdError};

/// How many buffers, of how many bytes at most, are kept for requests to come.
const BUFFERS_MAX: usize = 64;
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// What a request is, once a thread has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Read,
    Compare,
    Verify,
    /// It changes the image, or makes it durable.
    Other,
}

/// A request under way.
#[derive(Debug)]
struct Slot {
    ticket: Option<Ticket>,
    work: Work,
    extent: Extent,
    /// Guest memory to read into, or to compare to.
    guest: Kept,
}

/// A medium in a qcow2 image, which may build on other images.
///
/// Data is copied once, between guest memory and a buffer: threads of the medium
/// read and write the image, and never touch guest memory.
#[derive(Debug)]
pub struct Qcow2 {
    name: String,
    path: PathBuf,
    /// The image's file, which has the lock.
    file: Arc<std::fs::File>,
    bytes: u64,
    read_only: bool,
    pool: Desk,
    slots: Vec<Slot>,
    free: Vec<usize>,
    buffers: Vec<Vec<u8>>,
    /// Whether something could not be made durable: then no flush is believed.
    lost: Arc<AtomicBool>,
    complaints: Complaints,
}

impl Qcow2 {
    /// Opens the image at `path`, and locks it; and what it builds on, which is
    /// only read, if `backing` allows it.
    ///
    /// # Errors
    ///
    /// [`VssdError::Qcow2`] with what keeps the image from being used.
    pub fn open(path: &Path, read_only: bool, backing: bool) -> Result<Self, VssdError> {
        let failed = failed(path);
        let (image, file) = files::open(path, !read_only, Gate::new(backing)).map_err(&failed)?;
        let image = FormatAccess::new(image);
        Ok(Self {
            name: path.display().to_string(),
            path: path.to_owned(),
            file: Arc::new(file),
            bytes: image.size(),
            read_only,
            pool: Desk::open(image).map_err(failed)?,
            slots: Vec::new(),
            free: Vec::new(),
            buffers: Vec::new(),
            lost: Arc::default(),
            complaints: Complaints::new(&path.display().to_string()),
        })
    }

    /// Makes an image of `bytes` bytes at `path`, where there is nothing yet.
    ///
    /// # Errors
    ///
    /// [`VssdError::Qcow2`] with what kept it.
    pub fn create(path: &Path, bytes: u64) -> Result<(), VssdError> {
        files::create(path, bytes, None).map_err(failed(path))
    }

    /// Makes an image of `bytes` bytes at `path`, where there is nothing yet, that
    /// builds on the image at `base`. That is not looked into: somebody may be
    /// writing to it.
    ///
    /// # Errors
    ///
    /// [`VssdError::Qcow2`] with what kept it.
    pub fn create_on(path: &Path, bytes: u64, base: &BaseImage) -> Result<(), VssdError> {
        let base = (base.path.as_path(), base.is_qcow2);
        files::create(path, bytes, Some(base)).map_err(failed(path))
    }

    /// Whether the file at `path` says that it is a qcow2 image.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn is_one(path: &Path) -> io::Result<bool> {
        overlay::is_qcow2(path)
    }

    /// The image's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn buffer(&mut self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.buffers.pop().unwrap_or_default();
        buffer.resize(bytes, 0);
        buffer
    }

    fn keep_buffer(&mut self, buffer: Vec<u8>) {
        if self.buffers.len() < BUFFERS_MAX && (1..=BUFFER_BYTES_MAX).contains(&buffer.capacity()) {
            self.buffers.push(buffer);
        }
    }

    /// Has a thread do `task`.
    fn queue(&mut self, ticket: Ticket, work: Work, extent: Extent, task: Task) -> &mut Slot {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                ticket: None,
                work,
                extent,
                guest: Kept::default(),
            });
            self.slots.len() - 1
        });
        self.pool.submit(index, task);
        let slot = &mut self.slots[index];
        slot.ticket = Some(ticket);
        slot.work = work;
        slot.extent = extent;
        slot.guest.forget();
        slot
    }

    /// Frees a slot, whose ticket is to be handed back.
    fn release(&mut self, index: usize) -> Option<Ticket> {
        let slot = &mut self.slots[index];
        slot.guest.forget();
        self.free.push(index);
        slot.ticket.take()
    }

    /// Takes an answer.
    fn settle(&mut self, answer: Answer) -> (Option<Ticket>, Outcome) {
        let slot = &self.slots[answer.slot];
        let (work, extent) = (slot.work, slot.extent);
        let outcome = match answer.result {
            Ok(()) => {
                // SAFETY: the ticket is still here, and `let_go` waits for it.
                let guest = unsafe { slot.guest.segments() };
                match work {
                    Work::Read => guest.write(&answer.buffer),
                    Work::Compare if !guest.matches(0, &answer.buffer) => {
                        let ticket = self.release(answer.slot);
                        return (ticket, Err(MediaError::Miscompare));
                    }
                    _ => {}
                }
                Ok(())
            }
            Err(error) => Err(self.failed(work, extent, answer.syncing, &error)),
        };
        self.keep_buffer(answer.buffer);
        (self.release(answer.slot), outcome)
    }

    fn failed(
        &mut self,
        work: Work,
        extent: Extent,
        syncing: bool,
        error: &io::Error,
    ) -> MediaError {
        if syncing {
            // Others may have been waiting for the same.
            if !self.lost.swap(true, Ordering::AcqRel) {
                log::error!(
                    "{}: cannot make writes durable: {error}; what was written since the last \
                     flush may be lost, and every flush from now on fails",
                    self.name
                );
            }
            return MediaError::Write;
        }
        let action = if work == Work::Other { "write" } else { "read" };
        self.complaints.tell(action, extent, error);
        media_error(error, work != Work::Other)
    }

    fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl InFile for Qcow2 {
    fn base(&self) -> BaseImage {
        BaseImage {
            path: self.path.clone(),
            is_qcow2: true,
        }
    }

    fn lock_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Media for Qcow2 {
    fn name(&self) -> &str {
        &self.name
    }

    fn info(&self) -> MediaInfo {
        MediaInfo {
            bytes: self.bytes,
            read_only: self.read_only,
            volatile_cache: true,
        }
    }

    fn grow(&mut self, bytes: u64) -> Result<(), VssdError> {
        let refused = |source| VssdError::not_grown(&self.name, bytes, source);
        if self.read_only {
            let why = "it is served read-only: serve it without --read-only";
            return Err(refused(io::Error::other(why)));
        }
        self.pool.grow(bytes).map_err(refused)?;
        self.bytes = bytes;
        Ok(())
    }

    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submission {
        let (writes, durable) = match request {
            Request::Write { durable, .. } | Request::WriteZeroes { durable, .. } => {
                (true, durable)
            }
            Request::Discard { .. } => (true, false),
            Request::Flush => (false, true),
            _ => (false, false),
        };
        if writes && self.read_only {
            return Submission::Done(ticket, Err(MediaError::ReadOnly));
        }
        if durable && self.lost.load(Ordering::Acquire) {
            return Submission::Done(ticket, Err(MediaError::Write));
        }
        let of = |offset, bytes: usize| Extent {
            offset,
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        };
        match request {
            Request::Read { offset, to: guest }
            | Request::Compare {
                offset,
                with: guest,
            } => {
                let work = if matches!(request, Request::Read { .. }) {
                    Work::Read
                } else {
                    Work::Compare
                };
                let buffer = self.buffer(guest.bytes());
                let task = Task::Read { offset, buffer };
                let slot = self.queue(ticket, work, of(offset, guest.bytes()), task);
                slot.guest.keep(&guest);
            }
            Request::Write { offset, from, .. } => {
                let mut buffer = self.buffer(from.bytes());
                from.read(&mut buffer);
                let task = Task::Write {
                    offset,
                    buffer,
                    durable,
                };
                self.queue(ticket, Work::Other, of(offset, from.bytes()), task);
            }
            Request::Verify { extent } => {
                self.queue(ticket, Work::Verify, extent, Task::Verify(extent));
            }
            Request::WriteZeroes {
                extent, deallocate, ..
            } => {
                let task = if deallocate && !durable {
                    Task::Discard(vec![extent])
                } else {
                    Task::Zero { extent, durable }
                };
                self.queue(ticket, Work::Other, extent, task);
            }
            Request::Discard { extents } => {
                let first = extents.first().copied().unwrap_or_default();
                let task = Task::Discard(extents.to_vec());
                self.queue(ticket, Work::Other, first, task);
            }
            Request::Flush if self.read_only => return Submission::Done(ticket, Ok(())),
            Request::Flush => {
                self.queue(ticket, Work::Other, Extent::default(), Task::Flush);
            }
        }
        Submission::Pending
    }

    fn poll(&mut self, budget: u32, sink: Sink<'_>) -> u32 {
        let mut handed = 0;
        while handed < budget {
            let Some(answer) = self.pool.answer() else {
                break;
            };
            if let (Some(ticket), outcome) = self.settle(answer) {
                sink(ticket, outcome);
                handed += 1;
            }
        }
        handed
    }

    fn pending(&self) -> usize {
        self.under_way()
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        Some(self.pool.as_fd())
    }

    fn let_go(&mut self, sink: Sink<'_>) {
        // Only what is read goes to guest memory; writes were copied.
        let holds =
            |slot: &Slot| slot.ticket.is_some() && matches!(slot.work, Work::Read | Work::Compare);
        while self.slots.iter().any(holds) {
            let Some(answer) = self.pool.wait() else {
                return;
            };
            if let (Some(ticket), outcome) = self.settle(answer) {
                sink(ticket, outcome);
            }
        }
    }

    fn cancel(&mut self, wanted: &mut dyn FnMut(&Ticket) -> bool) -> Option<Ticket> {
        let slots = &self.slots;
        let slot = self.pool.take_back(|slot| {
            slots[slot]
                .ticket
                .as_ref()
                .is_some_and(|ticket| ticket.is_simple() && wanted(ticket))
        })?;
        self.release(slot)
    }

    fn abandon(&mut self, sink: Sink<'_>) {
        while let Some(slot) = self.pool.take_back(|_| true) {
            if let Some(ticket) = self.release(slot) {
                sink(ticket, Err(MediaError::Write));
            }
        }
        // What a thread has begun is waited for: it must not come after what is
        // asked for next.
        while self.under_way() > 0 {
            let Some(answer) = self.pool.wait() else {
                return;
            };
            if let (Some(ticket), outcome) = self.settle(answer) {
                sink(ticket, outcome);
            }
        }
    }
}

/// All have the same threads work, on the same image.
impl Parallel for Qcow2 {
    fn another(&self) -> io::Result<Self> {
        Ok(Self {
            name: self.name.clone(),
            path: self.path.clone(),
            file: Arc::clone(&self.file),
            bytes: self.bytes,
            read_only: self.read_only,
            pool: self.pool.another()?,
            slots: Vec::new(),
            free: Vec::new(),
            buffers: Vec::new(),
            lost: Arc::clone(&self.lost),
            complaints: Complaints::new(&self.name),
        })
    }
}

#[cfg(test)]
mod tests;
