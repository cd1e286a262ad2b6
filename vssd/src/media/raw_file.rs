//! A medium in a sparse file.

mod syncer;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use self::syncer::Syncer;
use super::complaints::Complaints;
use super::image::{Image, media_error};
use super::{
    BaseImage, Extent, InFile, Media, MediaError, MediaInfo, Outcome, Parallel, Request, Sink,
    Submission, hand_over,
};
use crate::{Ticket, VssdError};

/// How much is copied at a time where the system cannot do it by itself.
const CHUNK: usize = 256 * 1024;

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawFileOptions {
    /// Make the file, with this many bytes, where there is none. A file that is
    /// there is opened as it is, if it is that large.
    pub create: Option<u64>,
    /// Refuse writes. Others may have the file open read-only, too.
    pub read_only: bool,
}

/// A medium in a raw disk image: byte `n` of the medium is byte `n` of the file.
///
/// Data goes straight between guest memory and the file. What the guest
/// discards becomes a hole. A flush is an `fdatasync` on a thread of its own, so
/// that other commands go on meanwhile. The file is locked, as QEMU does it, as
/// long as it is open.
#[derive(Debug)]
pub struct RawFile {
    image: Image,
    syncer: Syncer,
    /// Commands that wait for a sync which has not begun.
    waiting: VecDeque<Ticket>,
    /// Commands that wait for the sync that goes on.
    syncing: VecDeque<Ticket>,
    /// Commands whose sync has ended, and how.
    synced: VecDeque<(Ticket, Outcome)>,
    /// Whether a sync has failed. The system then forgets which writes it lost,
    /// and the next sync succeeds without them, so that none is believed.
    lost: Arc<AtomicBool>,
    buffer: Box<[u8]>,
    complaints: Complaints,
}

impl RawFile {
    /// Opens (or makes) the file at `path` and locks it.
    ///
    /// # Errors
    ///
    /// [`VssdError::InUse`] where another process has it, [`VssdError::Exists`]
    /// where it is to be made but is there with another size, and
    /// [`VssdError::File`] for what the system says.
    pub fn open(path: &Path, options: RawFileOptions) -> Result<Self, VssdError> {
        let image = Image::open(path, options)?;
        let syncer = image.file.try_clone().and_then(Syncer::start);
        let syncer = syncer.map_err(|source| VssdError::File {
            action: "start the flush thread of",
            path: image.path.clone(),
            source,
        })?;
        Ok(Self::on(image, syncer))
    }

    fn on(image: Image, syncer: Syncer) -> Self {
        Self {
            complaints: Complaints::new(&image.name),
            image,
            syncer,
            waiting: VecDeque::new(),
            syncing: VecDeque::new(),
            synced: VecDeque::new(),
            lost: Arc::default(),
            buffer: vec![0; CHUNK].into_boxed_slice(),
        }
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.image.path
    }

    /// Logs what the system said of `extent`, and what the host is told of it.
    fn failed(&mut self, action: &'static str, extent: Extent, error: &io::Error) -> MediaError {
        self.complaints.tell(action, extent, error);
        media_error(error, action == "read")
    }

    fn run(&mut self, request: &Request<'_>) -> Outcome {
        let fd = self.image.file.as_fd();
        let (action, extent, done) = match *request {
            Request::Read { offset, to } => {
                ("read", of(offset, to.bytes()), to.read_file(fd, offset))
            }
            Request::Write { offset, from, .. } => (
                "write",
                of(offset, from.bytes()),
                from.write_file(fd, offset),
            ),
            Request::Compare { offset, with } => return self.compare(offset, with),
            Request::Verify { extent } => return self.scan(extent, |_, _| true),
            Request::WriteZeroes {
                extent, deallocate, ..
            } => ("zero", extent, self.zero(extent, deallocate)),
            Request::Discard { extents } => {
                let failed = extents.iter().find_map(|&extent| {
                    let error = self.zero(extent, true).err()?;
                    Some((extent, error))
                });
                return match failed {
                    None => Ok(()),
                    Some((extent, error)) => Err(self.failed("discard", extent, &error)),
                };
            }
            Request::Flush => return Ok(()),
        };
        done.map_err(|error| self.failed(action, extent, &error))
    }

    fn compare(&mut self, offset: u64, with: crate::Segments<'_>) -> Outcome {
        let extent = of(offset, with.bytes());
        let mut same = true;
        self.scan(extent, |done, data| {
            same = with.matches(done, data);
            same
        })?;
        if same {
            Ok(())
        } else {
            Err(MediaError::Miscompare)
        }
    }

    /// Reads `extent`, chunk by chunk, and shows each to `look` with how much
    /// came before it, as long as that says to go on.
    fn scan(&mut self, extent: Extent, mut look: impl FnMut(usize, &[u8]) -> bool) -> Outcome {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut done = 0_usize;
        let mut outcome = Ok(());
        let total = usize::try_from(extent.bytes).unwrap_or(usize::MAX);
        while done < total && outcome.is_ok() {
            let take = buffer.len().min(total - done);
            let chunk = buffer.get_mut(..take).unwrap_or_default();
            let at = extent.offset + u64::try_from(done).unwrap_or(u64::MAX);
            match std::os::unix::fs::FileExt::read_exact_at(&self.image.file, chunk, at) {
                Ok(()) => {
                    if !look(done, chunk) {
                        break;
                    }
                    done += take;
                }
                Err(error) => outcome = Err(self.failed("read", extent, &error)),
            }
        }
        self.buffer = buffer;
        outcome
    }

    /// Makes `extent` read as zeroes, as a hole if `deallocate`.
    fn zero(&self, extent: Extent, deallocate: bool) -> io::Result<()> {
        let fd = self.image.file.as_fd();
        let keep = FallocateFlags::KEEP_SIZE;
        let first = if deallocate {
            FallocateFlags::PUNCH_HOLE
        } else {
            FallocateFlags::ZERO_RANGE
        };
        match rustix::fs::fallocate(fd, first | keep, extent.offset, extent.bytes) {
            Ok(()) => Ok(()),
            // Not every file system can.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => write_zeroes(fd, extent),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Starts a sync for what waits for one, unless one goes on.
    fn start_sync(&mut self) {
        if self.lost.load(Ordering::Acquire) {
            let failed = self.waiting.drain(..);
            self.synced
                .extend(failed.map(|ticket| (ticket, Err(MediaError::Write))));
        }
        if self.syncing.is_empty() && !self.waiting.is_empty() && self.syncer.begin() {
            std::mem::swap(&mut self.syncing, &mut self.waiting);
        }
    }

    /// Takes the end of a sync, and starts the next where one is wanted.
    fn collect(&mut self) {
        if let Some(result) = self.syncer.ended() {
            let lost = &self.lost;
            let outcome = result.map_err(|error| {
                log::error!(
                    "{}: cannot make writes durable: {error}; what was written since the last \
                     flush may be lost, and every flush from now on fails",
                    self.image.name
                );
                lost.store(true, Ordering::Release);
                MediaError::Write
            });
            let done = self.syncing.drain(..).map(|ticket| (ticket, outcome));
            self.synced.extend(done);
        }
        self.start_sync();
    }
}

fn of(offset: u64, bytes: usize) -> Extent {
    Extent {
        offset,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    }
}

/// Writes zeroes, for file systems that cannot make them.
fn write_zeroes(fd: BorrowedFd<'_>, extent: Extent) -> io::Result<()> {
    static ZEROES: [u8; 65_536] = [0; 65_536];
    let mut done = 0_u64;
    while done < extent.bytes {
        let left = usize::try_from(extent.bytes - done).unwrap_or(usize::MAX);
        let chunk = ZEROES.get(..left.min(ZEROES.len())).unwrap_or_default();
        match rustix::io::pwrite(fd, chunk, extent.offset + done) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += u64::try_from(written).unwrap_or(u64::MAX),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

impl InFile for RawFile {
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

impl Media for RawFile {
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
        let outcome = self.run(&request);
        let wants_sync = matches!(
            request,
            Request::Flush
                | Request::Write { durable: true, .. }
                | Request::WriteZeroes { durable: true, .. }
        );
        if outcome.is_err() || !wants_sync || self.image.read_only {
            return Submission::Done(ticket, outcome);
        }
        self.waiting.push_back(ticket);
        self.start_sync();
        Submission::Pending
    }

    fn poll(&mut self, budget: u32, sink: Sink<'_>) -> u32 {
        self.collect();
        hand_over(&mut self.synced, budget, sink)
    }

    fn pending(&self) -> usize {
        self.waiting.len() + self.syncing.len() + self.synced.len()
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        // What has ended tells of itself no more.
        self.synced.is_empty().then(|| self.syncer.as_fd())
    }

    fn cancel(&mut self, wanted: &mut dyn FnMut(&Ticket) -> bool) -> Option<Ticket> {
        // The data of a durable write is written; a flush has no effect yet. One
        // that is a step of something else is not to be had alone.
        let index = self.waiting.iter().position(|ticket| {
            ticket.is_simple()
                && ticket.record().nvm_opcode() == Some(nvme::NvmOpcode::FLUSH)
                && wanted(ticket)
        })?;
        self.waiting.remove(index)
    }

    fn abandon(&mut self, sink: Sink<'_>) {
        for ticket in self.waiting.drain(..) {
            sink(ticket, Err(MediaError::Write));
        }
        for ticket in self.syncing.drain(..) {
            sink(ticket, Err(MediaError::Write));
        }
        for (ticket, outcome) in self.synced.drain(..) {
            sink(ticket, outcome);
        }
    }
}

/// Copies of the descriptor hold the lock together. The one that syncs is opened
/// anew, as the system tells of a failure to write back once for each that is: else
/// a flush of one handle would be believed after another's has failed.
impl Parallel for RawFile {
    fn another(&self) -> io::Result<Self> {
        let image = self.image.another()?;
        let syncer = Syncer::start(image.reopen(0)?)?;
        let mut other = Self::on(image, syncer);
        other.lost = Arc::clone(&self.lost);
        Ok(other)
    }
}

#[cfg(test)]
mod tests;
