//! The eventfds of a client.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags};

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// An eventfd of the client.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    fd: Arc<OwnedFd>,
    /// Whether a read or a write could block.
    blocking: bool,
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Event {
    /// Takes an eventfd; nothing if it is something else, which could block us
    /// or worse.
    pub(crate) fn new(fd: OwnedFd) -> Option<Self> {
        // What is no file, pipe, socket or device has no type. An eventfd is one
        // of those, and the only one of them that can be written.
        let mode = rustix::fs::fstat(&fd).ok()?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::Unknown {
            return None;
        }
        let flags = rustix::fs::fcntl_getfl(&fd).ok()?;
        Some(Self {
            fd: Arc::new(fd),
            blocking: !flags.contains(OFlags::NONBLOCK),
        })
    }

    pub(crate) fn signal(&self) {
        // A counter that is full says what we have to say; a write to it would
        // block.
        if self.is_ready(PollFlags::OUT) {
            // The one error that can be, a full counter, loses nothing.
            let _ = rustix::io::write(&*self.fd, &1_u64.to_ne_bytes());
        }
    }

    /// Whether the client signalled since this was asked last.
    pub(crate) fn take(&self) -> bool {
        let mut count = [0; 8];
        self.is_ready(PollFlags::IN) && rustix::io::read(&*self.fd, &mut count).is_ok()
    }

    /// Whether an operation would not block. The mode of the file is the
    /// client's and is left alone.
    fn is_ready(&self, flags: PollFlags) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), flags)];
        !self.blocking || matches!(poll(&mut fds, Some(&NOW)), Ok(1))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    pub(crate) fn event(flags: EventfdFlags) -> (OwnedFd, Event) {
        let fd = eventfd(0, flags).unwrap();
        let event = Event::new(fd.try_clone().unwrap()).unwrap();
        (fd, event)
    }

    pub(crate) fn take(fd: &OwnedFd) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(fd, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    #[test]
    fn a_full_or_an_empty_counter_does_not_block() {
        for flags in [EventfdFlags::NONBLOCK, EventfdFlags::empty()] {
            let (fd, event) = event(flags);
            rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
            event.signal();
            assert_eq!(take(&fd), u64::MAX - 1);
            event.signal();
            assert!(event.take());
            assert!(!event.take());
        }
    }

    #[test]
    fn only_an_eventfd_is_one() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(Event::new(reader).is_none());
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(Event::new(null.into()).is_none());
        let memory = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC);
        assert!(Event::new(memory.unwrap()).is_none());
    }
}
