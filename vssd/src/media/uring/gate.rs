//! What keeps requests that go alone apart from all others, over all handles on
//! one file.
//!
//! ```text
//!   others:  enter -- nobody claims --> inside -- leave
//!   alone:   claim -- nobody inside --> it goes -- give up the claim
//! ```
//!
//! Who enters is seen before he looks for a claim, and who claims is seen before
//! he looks who is inside: one of the two sees the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[derive(Debug, Default)]
struct Gate {
    /// Whether somebody wants to be alone, or is.
    claimed: AtomicBool,
    /// Requests that are not alone.
    inside: AtomicUsize,
}

/// A handle's way in.
#[derive(Debug, Default)]
pub(super) struct Entrance {
    gate: Arc<Gate>,
    /// Whether the claim is this handle's.
    claims: bool,
}

impl Entrance {
    /// Another handle's way into the same.
    pub(super) fn another(&self) -> Self {
        Self {
            gate: Arc::clone(&self.gate),
            claims: false,
        }
    }

    /// Lets in a request that is not alone, unless somebody wants to be.
    pub(super) fn enter(&self) -> bool {
        self.gate.inside.fetch_add(1, Ordering::SeqCst);
        if self.gate.claimed.load(Ordering::SeqCst) {
            self.leave();
            return false;
        }
        true
    }

    /// A request that was let in has ended.
    pub(super) fn leave(&self) {
        self.gate.inside.fetch_sub(1, Ordering::SeqCst);
    }

    /// Keeps the others out; whether nobody is inside any more.
    pub(super) fn be_alone(&mut self) -> bool {
        if !self.claims {
            let claimed = &self.gate.claimed;
            let free = claimed.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst);
            self.claims = free.is_ok();
        }
        self.claims && self.gate.inside.load(Ordering::SeqCst) == 0
    }

    /// Lets the others in again, where this handle keeps them out.
    pub(super) fn give_up(&mut self) {
        if std::mem::take(&mut self.claims) {
            self.gate.claimed.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_alone_or_others_are_inside() {
        let mut first = Entrance::default();
        let mut second = first.another();
        assert!(first.enter() && second.enter());
        // It waits, and keeps further ones out.
        assert!(!first.be_alone());
        assert!(!second.enter() && !second.be_alone());
        first.leave();
        assert!(!first.be_alone());
        second.leave();
        assert!(first.be_alone());
        assert!(!second.be_alone());
        first.give_up();
        second.give_up();
        assert!(second.be_alone());
        drop(second);
        assert!(first.enter());
    }
}
