//! The eventfds by which guests kick, as one descriptor to wait for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// How many events are taken at a time.
const BATCH: usize = 16;

/// A set of eventfds. Each kick makes the set readable once, so that the
/// eventfds themselves need not be read: it is kicks that count, not their
/// number.
#[derive(Debug)]
pub(super) struct Kicks {
    set: OwnedFd,
    fds: Vec<Option<OwnedFd>>,
}

impl AsFd for Kicks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}

impl Kicks {
    /// An empty set, for `count` queues.
    pub(super) fn new(count: u16) -> Result<Self, Errno> {
        let mut fds = Vec::new();
        fds.resize_with(count.into(), || None);
        Ok(Self {
            set: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            fds,
        })
    }

    /// Listens to `fd` for queue `index` from now on, and not to that of before.
    pub(super) fn set(&mut self, index: u16, fd: Option<OwnedFd>) -> Result<(), Errno> {
        let Some(place) = self.fds.get_mut(usize::from(index)) else {
            return Ok(());
        };
        if let Some(old) = place.take() {
            // Closing does not take it out: the client has it open, too.
            let _ = epoll::delete(&self.set, &old);
        }
        if let Some(fd) = &fd {
            let data = epoll::EventData::new_u64(index.into());
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&self.set, fd, data, flags)?;
        }
        *place = fd;
        Ok(())
    }

    /// Takes the kicks that have come.
    pub(super) fn take(&self) {
        let mut events: [_; BATCH] = std::array::from_fn(|_| epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        });
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // What is more than a batch wakes the worker once more.
        let _ = epoll::wait(&self.set, &mut events[..], Some(&now));
    }
}
