//! The numbers of commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers commands in the order in which they are fetched, over all queues and
/// all threads that serve them.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    /// The next number, where this is all that counts.
    next: u64,
    /// The next number, where other threads count with it.
    shared: Option<Arc<AtomicU64>>,
}

impl Sequence {
    /// The number of the next command, which is taken.
    #[inline]
    pub(crate) fn take(&mut self) -> u64 {
        match &self.shared {
            None => {
                let taken = self.next;
                self.next = taken.wrapping_add(1);
                taken
            }
            // What it numbers is told of by other means.
            Some(shared) => shared.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The number that the next command will have.
    pub(crate) fn next(&self) -> u64 {
        match &self.shared {
            None => self.next,
            Some(shared) => shared.load(Ordering::Relaxed),
        }
    }

    /// Begins with 0 again.
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Another that counts together with this, until [`Sequence::gather`].
    pub(crate) fn share(&mut self) -> Self {
        let next = self.next;
        let shared = self.shared.get_or_insert_with(|| Arc::new(next.into()));
        Self {
            next: 0,
            shared: Some(Arc::clone(shared)),
        }
    }

    /// Counts alone again: the others are gone, or count no more.
    pub(crate) fn gather(&mut self) {
        self.next = self.next();
        self.shared = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_share_give_each_number_once() {
        let mut whole = Sequence::default();
        assert_eq!((whole.take(), whole.take()), (0, 1));
        let mut parts = [whole.share(), whole.share()];
        let [first, second] = &mut parts;
        let taken = [first.take(), second.take(), whole.take(), first.take()];
        assert_eq!(taken, [2, 3, 4, 5]);
        drop(parts);
        whole.gather();
        assert_eq!((whole.next(), whole.take(), whole.next()), (6, 6, 7));
        whole.restart();
        assert_eq!(whole.take(), 0);
    }
}
