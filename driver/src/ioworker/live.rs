//! What others see of a worker while it works.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Figures of a worker at work, and the way to end it early. They are brought
/// up to date once for each batch of completions.
#[derive(Debug, Default)]
pub struct Live {
    commands: AtomicU64,
    bytes: AtomicU64,
    stopped: AtomicBool,
}

impl Live {
    /// Commands that completed.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// Bytes that reads and writes moved.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends the work: nothing more is issued, and what is in flight is waited
    /// for.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The worker is the only one who writes: no read-modify-write is needed.
    pub(super) fn show(&self, commands: u64, bytes: u64) {
        self.commands.store(commands, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}
