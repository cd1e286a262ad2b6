//! Whether commands may still be submitted, and may still complete.

use std::sync::atomic::{AtomicU8, Ordering};

/// How a queue pair stands with its controller.
///
/// ```text
///   Open --(reset or delete begins)--> Closing --(the device forgot it)--> Closed
/// ```
///
/// Between the two steps commands may still complete, so what is in flight is
/// reported as lost only when the device can no longer touch its memory.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU8);

impl Gate {
    const OPEN: u8 = 0;
    const CLOSING: u8 = 1;
    const CLOSED: u8 = 2;

    pub(crate) const fn open() -> Self {
        Self(AtomicU8::new(Self::OPEN))
    }

    /// No more submissions from here on.
    pub(crate) fn begin_closing(&self) {
        self.0.fetch_max(Self::CLOSING, Ordering::AcqRel);
    }

    /// The device has forgotten the queue.
    pub(crate) fn close(&self) {
        self.0.store(Self::CLOSED, Ordering::Release);
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::OPEN
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::CLOSED
    }
}
