//! One request under way.

use crate::Ticket;
use crate::media::Extent;
use crate::memory::{Kept, OwnBuffer};

/// What a request wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Read,
    Write {
        durable: bool,
    },
    /// Read, and compare to the guest's.
    Compare,
    /// Read, and look no further.
    Verify,
    /// Zero the extents, one after the other.
    Zero {
        deallocate: bool,
        durable: bool,
    },
}

impl Work {
    /// Whether the kernel or we touch guest memory for it.
    pub(super) const fn holds_memory(self) -> bool {
        matches!(self, Self::Read | Self::Write { .. } | Self::Compare)
    }

    pub(super) const fn is_reading(self) -> bool {
        matches!(self, Self::Read | Self::Compare | Self::Verify)
    }

    /// What it is called in a message.
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Read | Self::Compare | Self::Verify => "read",
            Self::Write { .. } => "write",
            Self::Zero {
                deallocate: true, ..
            } => "discard",
            Self::Zero { .. } => "zero",
        }
    }
}

/// Where a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is free.
    Free,
    /// It waits for its turn; `begun` once the kernel had a part of it.
    Queued { begun: bool },
    /// The kernel has it.
    Kernel,
}

/// A request, from when it is submitted until its ticket is handed back.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) place: Place,
    pub(super) ticket: Option<Ticket>,
    pub(super) work: Work,
    /// The whole of what is at hand, for messages.
    pub(super) extent: Extent,
    /// Extents that come after it.
    pub(super) later: Vec<Extent>,
    /// Where the file is touched next.
    pub(super) offset: u64,
    /// Memory for the kernel: the guest's, or zeroes, or our own.
    pub(super) memory: Kept,
    /// What a Compare compares to.
    pub(super) guest: Kept,
    /// What Compare and Verify read into.
    pub(super) own: Option<OwnBuffer>,
    /// How many bytes of `extent` are done.
    pub(super) done: u64,
    /// Zeroes are written, as the file system cannot make them.
    pub(super) fill: bool,
    /// It goes through the page cache while nothing else goes on.
    pub(super) alone: bool,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Free,
            ticket: None,
            work: Work::Read,
            extent: Extent::default(),
            later: Vec::new(),
            offset: 0,
            memory: Kept::default(),
            guest: Kept::default(),
            own: None,
            done: 0,
            fill: false,
            alone: false,
        }
    }

    /// Takes on a request for `extent`.
    pub(super) fn take(&mut self, ticket: Ticket, work: Work, extent: Extent) {
        self.place = Place::Queued { begun: false };
        self.ticket = Some(ticket);
        self.work = work;
        self.later.clear();
        self.alone = false;
        self.begin(extent);
    }

    /// Turns to `extent`.
    pub(super) fn begin(&mut self, extent: Extent) {
        self.extent = extent;
        self.offset = extent.offset;
        self.done = 0;
        self.fill = false;
    }

    /// How many bytes of the extent are to be done.
    pub(super) const fn left(&self) -> u64 {
        self.extent.bytes.saturating_sub(self.done)
    }

    /// Notes that `bytes` more are done.
    pub(super) fn advance(&mut self, bytes: usize) {
        let count = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.done = self.done.saturating_add(count);
        self.offset = self.offset.saturating_add(count);
        self.memory.advance(bytes);
    }
}
