//! A medium that keeps nothing.

use std::io;

use super::{Media, MediaInfo, Parallel, Request, Submission};
use crate::{Ticket, VssdError};

/// A medium that takes every write and leaves the memory of every read as it
/// is: it shows what the path to it costs.
#[derive(Clone, Copy, Debug)]
pub struct Null {
    bytes: u64,
}

impl Null {
    /// A medium that is `bytes` bytes large.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self { bytes }
    }
}

impl Media for Null {
    fn name(&self) -> &str {
        "null"
    }

    fn info(&self) -> MediaInfo {
        MediaInfo {
            bytes: self.bytes,
            read_only: false,
            volatile_cache: true,
        }
    }

    fn grow(&mut self, bytes: u64) -> Result<(), VssdError> {
        self.bytes = bytes;
        Ok(())
    }

    #[inline]
    fn submit(&mut self, ticket: Ticket, _request: Request<'_>) -> Submission {
        Submission::Done(ticket, Ok(()))
    }
}

impl Parallel for Null {
    fn another(&self) -> io::Result<Self> {
        Ok(*self)
    }
}
