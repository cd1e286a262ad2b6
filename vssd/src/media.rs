//! Where bytes live.
//!
//! A [`Media`] takes [`Request`]s and answers each exactly once: at once, as
//! [`Submission::Done`], or later, by [`Media::poll`]. The [`Ticket`] of the
//! command travels with the request; to hand it back is to answer. Nothing here
//! knows of NVMe: addresses and lengths are bytes.
//!
//! A decorator (a timing model, faults) is a `Media` around a `Media`.

#[cfg(test)]
mod alternating;
mod bell;
mod complaints;
#[cfg(test)]
mod contract;
mod image;
mod layered;
mod lock;
mod null;
mod qcow2;
mod ram;
mod raw_file;
mod uring;

pub use layered::{BaseImage, InFile, Layered, Snapshot};
pub use null::Null;
pub use qcow2::Qcow2;
pub use ram::Ram;
pub use raw_file::{RawFile, RawFileOptions};
pub use uring::Uring;

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use nvme::Status;

use crate::{Segments, Ticket, VssdError};

/// What a medium is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaInfo {
    /// Size in bytes.
    pub bytes: u64,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether a write may be lost until the next flush.
    pub volatile_cache: bool,
}

/// A part of a medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The first byte.
    pub offset: u64,
    /// The length, bytes.
    pub bytes: u64,
}

/// Something for a medium to do. Every extent lies inside the medium, and is
/// made of whole blocks.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Request<'m> {
    /// Read from `offset` on into `to`, as much as it takes.
    Read {
        /// The first byte.
        offset: u64,
        /// Guest memory.
        to: Segments<'m>,
    },
    /// Write all of `from` at `offset`.
    Write {
        /// The first byte.
        offset: u64,
        /// Guest memory.
        from: Segments<'m>,
        /// Answer only once the data would survive a loss of power.
        durable: bool,
    },
    /// Compare all of `with` to what stands at `offset`;
    /// [`MediaError::Miscompare`] where they differ.
    Compare {
        /// The first byte.
        offset: u64,
        /// Guest memory.
        with: Segments<'m>,
    },
    /// Make `extent` read as zeroes.
    WriteZeroes {
        /// Where.
        extent: Extent,
        /// Free the space, too.
        deallocate: bool,
        /// Answer only once the zeroes would survive a loss of power.
        durable: bool,
    },
    /// Free the space of `extents`, which then read as zeroes.
    Discard {
        /// Where.
        extents: &'m [Extent],
    },
    /// Check that `extent` can be read.
    Verify {
        /// Where.
        extent: Extent,
    },
    /// Make every write that was answered survive a loss of power.
    Flush,
}

/// Why a medium did not do what it was asked. The medium has logged the
/// details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaError {
    /// It could not be read.
    Read,
    /// It could not be written, or not be made durable.
    Write,
    /// There is no space behind it.
    NoSpace,
    /// It is read-only.
    ReadOnly,
    /// Compare found a difference.
    Miscompare,
}

impl MediaError {
    /// What the host is told.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Read => Status::UNRECOVERED_READ_ERROR,
            Self::Write => Status::WRITE_FAULT,
            Self::NoSpace => Status::CAPACITY_EXCEEDED,
            Self::ReadOnly => Status::NAMESPACE_WRITE_PROTECTED.dnr(),
            Self::Miscompare => Status::COMPARE_FAILURE.dnr(),
        }
    }
}

/// How a request ended.
pub type Outcome = Result<(), MediaError>;

/// What became of a request.
#[derive(Debug)]
#[must_use]
pub enum Submission {
    /// It is done.
    Done(Ticket, Outcome),
    /// [`Media::poll`] will hand the ticket back.
    Pending,
}

/// Takes tickets back, with how their requests ended.
pub type Sink<'s> = &'s mut dyn FnMut(Ticket, Outcome);

/// Hands at most `budget` requests that have ended to `sink`; how many.
fn hand_over(ended: &mut VecDeque<(Ticket, Outcome)>, budget: u32, sink: Sink<'_>) -> u32 {
    let mut handed = 0;
    while handed < budget {
        let Some((ticket, outcome)) = ended.pop_front() else {
            break;
        };
        sink(ticket, outcome);
        handed += 1;
    }
    handed
}

/// A medium that several threads may use at once, each by a handle of its own.
///
/// What is answered through one handle is seen through all, and a flush through
/// any of them makes durable what was answered through all of them before. What
/// is asked through several at the same time happens in some order for each
/// logical block.
pub trait Parallel: Media + Sized {
    /// Another handle on the same medium.
    ///
    /// # Errors
    ///
    /// What the system says, where it does not give what a handle needs.
    fn another(&self) -> io::Result<Self>;

    /// Whether a handle that has requests must not stand still while others are
    /// waited for. Whoever has one polls it, then, even while he waits for
    /// something else, and gives it to nobody before it has none.
    fn must_settle(&self) -> bool {
        false
    }
}

/// Where bytes live.
pub trait Media {
    /// Whether it is of use to [foresee](Media::foresee) requests: else nobody looks
    /// ahead for it.
    const FORESEES: bool = false;

    /// What it is, for a person: a path, or `ram`.
    fn name(&self) -> &str;

    /// What it is, for the controller. Only [`Media::grow`] changes it.
    fn info(&self) -> MediaInfo;

    /// Makes it `bytes` bytes large, which is not less than it is. What is new reads
    /// as zeroes, but for a drive, which has there what it has. Each handle on it is
    /// told: the first one does it, and the others take note.
    ///
    /// # Errors
    ///
    /// [`VssdError::Grow`], which says what can be done instead; the medium is as it
    /// was.
    fn grow(&mut self, bytes: u64) -> Result<(), VssdError> {
        let fixed = io::Error::other("its size is fixed: serve a larger one");
        Err(VssdError::not_grown(self.name(), bytes, fixed))
    }

    /// Starts `request`, and hands `ticket` back once it is done.
    ///
    /// A medium that answers later and keeps to the guest memory of a request
    /// meanwhile copies the pieces, and honours [`Media::let_go`].
    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submission;

    /// Hears where a request will soon read, or write if `writes`, so that what it
    /// needs is near by then. Nothing may come of it, not even the request.
    fn foresee(&self, _extent: Extent, _writes: bool) {}

    /// Goes on with what is pending and hands at most `budget` tickets to
    /// `sink`. Returns how many.
    fn poll(&mut self, _budget: u32, _sink: Sink<'_>) -> u32 {
        0
    }

    /// The number of requests that are pending.
    fn pending(&self) -> usize {
        0
    }

    /// A descriptor that is readable while [`Media::poll`] would hand something
    /// over; none where it has to be polled to know.
    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Waits until no pending request holds guest memory, because that is about
    /// to be unmapped. What is done by then goes to `sink` or to the next poll.
    fn let_go(&mut self, _sink: Sink<'_>) {}

    /// Gives up a pending request whose ticket `wanted` approves of, if there is
    /// one that has no effect yet and will have none.
    fn cancel(&mut self, _wanted: &mut dyn FnMut(&Ticket) -> bool) -> Option<Ticket> {
        None
    }

    /// Hands every pending ticket to `sink`, done or not: their answers are
    /// wanted no more. No guest memory is touched afterwards.
    fn abandon(&mut self, _sink: Sink<'_>) {}
}
