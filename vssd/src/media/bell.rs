//! What a thread of a medium tells the worker by.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd that is readable from a ring on until that was heard. Clones are
/// the same bell.
#[derive(Clone, Debug)]
pub(super) struct Bell {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Whether nobody has heard the last ring: a worker that does not sleep finds
    /// out by a load.
    rung: AtomicBool,
    fd: OwnedFd,
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.fd.as_fd()
    }
}

impl Bell {
    /// A bell that has not been rung.
    pub(super) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            shared: Arc::new(Shared {
                rung: AtomicBool::new(false),
                fd,
            }),
        })
    }

    /// Tells of what was done before.
    pub(super) fn ring(&self) {
        if !self.shared.rung.swap(true, Ordering::AcqRel) {
            // It cannot be full, as each ring is heard before the next.
            let _ = rustix::io::write(&self.shared.fd, &1_u64.to_ne_bytes());
        }
    }

    /// Hears what has been rung. What was done before is to be looked for
    /// afterwards: what is done while one looks rings again.
    pub(super) fn hear(&self) {
        if self.shared.rung.load(Ordering::Relaxed) {
            // In this order: a ring between the two is heard with this one, while
            // one whose write was read before it was heard would mute the bell.
            let _ = rustix::io::read(&self.shared.fd, &mut [0; 8]);
            self.shared.rung.swap(false, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::Bell;

    fn is_heard_of(bell: &Bell) -> bool {
        let mut fds = [PollFd::new(bell, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).unwrap() > 0
    }

    #[test]
    fn a_ring_is_there_until_it_is_heard() {
        let bell = Bell::new().unwrap();
        bell.hear();
        assert!(!is_heard_of(&bell));
        let other = bell.clone();
        other.ring();
        other.ring();
        assert!(is_heard_of(&bell));
        bell.hear();
        assert!(!is_heard_of(&bell));
        other.ring();
        assert!(is_heard_of(&bell));
    }
}
