//! The interrupt pin: a level, told by an eventfd.
//!
//! ```text
//!                    asserted: signal            asserted
//!   Open ------------------------------> Masked ---------> Masked
//!    ^                                     |
//!    +---- unmask, and not asserted -------+
//! ```
//!
//! An eventfd tells of moments, and a pin has a level. So a pin that has been
//! signalled is masked until the client unmasks it, which it does when the
//! guest has looked at the device, and is signalled again at once if it is
//! still asserted then: the rules of Linux's VFIO for interrupts that are
//! automasked.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Interrupts;
use crate::front::Event;

/// The pin.
#[derive(Debug)]
pub(super) struct Pin {
    event: Option<Event>,
    /// The client unmasks by this one, if it gave it.
    unmask: Option<Event>,
    /// Whether the function may assert it.
    allowed: bool,
    /// Shared with the [`Line`] that the controller holds.
    masked: Arc<AtomicBool>,
}

impl Pin {
    /// A pin with no eventfd.
    pub(super) fn new() -> Self {
        Self {
            event: None,
            unmask: None,
            allowed: true,
            masked: Arc::default(),
        }
    }

    /// Gives it an eventfd, or takes it away. Either leaves it unmasked.
    pub(super) fn set(&mut self, event: Option<Event>) {
        self.event = event;
        self.mask(false);
    }

    /// Gives it an eventfd to be unmasked by, or takes it away.
    pub(super) fn set_unmask(&mut self, event: Option<Event>) {
        self.unmask = event;
    }

    /// Masks or unmasks it. Who unmasks it has to [`Pin::assert`] it again if
    /// there is still a reason.
    pub(super) fn mask(&self, masked: bool) {
        self.masked.store(masked, Ordering::Relaxed);
    }

    /// Lets the function assert it, or not.
    pub(super) fn allow(&mut self, allowed: bool) {
        self.allowed = allowed;
    }

    /// Unmasks it if the client asked for that by its eventfd; whether it did.
    pub(super) fn take_unmask(&self) -> bool {
        let asked = self.unmask.as_ref().is_some_and(Event::take);
        if asked {
            self.mask(false);
        }
        asked
    }

    /// What to wait for to [`Pin::take_unmask`].
    pub(super) fn unmask_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unmask.as_ref().map(std::os::fd::AsFd::as_fd)
    }

    /// The pin as it is now, for the controller to assert.
    pub(super) fn line(&self) -> Box<dyn Interrupts + Send> {
        Box::new(Line {
            event: self.event.clone().filter(|_| self.allowed),
            masked: Arc::clone(&self.masked),
            resampled: self.unmask.is_some(),
        })
    }

    /// There is a reason to assert it.
    pub(super) fn assert(&self) {
        self.line().notify(0);
    }

    /// Signals it whatever its state, on the client's word.
    pub(super) fn trigger(&self) {
        if let Some(event) = &self.event {
            event.signal();
        }
    }
}

/// The pin at one moment, in the hands of the controller.
#[derive(Debug)]
struct Line {
    event: Option<Event>,
    masked: Arc<AtomicBool>,
    /// Whether the end of the guest's handler unmasks it, whatever that did.
    resampled: bool,
}

impl Interrupts for Line {
    fn notify(&mut self, _vector: u16) {
        if let Some(event) = &self.event
            && !self.masked.swap(true, Ordering::Relaxed)
        {
            event.signal();
        }
    }

    fn need_doorbells(&self) -> bool {
        self.event.is_some() && !self.resampled
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::EventfdFlags;

    use super::*;
    use crate::front::event::tests::{event, take};

    #[test]
    fn it_masks_itself_until_it_is_unmasked() {
        let mut pin = Pin::new();
        pin.assert();
        let (fd, it) = event(EventfdFlags::NONBLOCK);
        pin.set(Some(it));
        let mut line = pin.line();
        line.notify(0);
        line.notify(7);
        pin.assert();
        assert_eq!(take(&fd), 1);
        pin.mask(false);
        line.notify(3);
        assert_eq!(take(&fd), 1);
        // The client's own trigger goes through.
        pin.trigger();
        assert_eq!(take(&fd), 1);
    }

    #[test]
    fn it_is_unmasked_by_an_eventfd() {
        let mut pin = Pin::new();
        let (fd, it) = event(EventfdFlags::NONBLOCK);
        let (resample, theirs) = event(EventfdFlags::NONBLOCK);
        pin.set(Some(it));
        assert!(pin.line().need_doorbells());
        pin.set_unmask(Some(theirs));
        assert!(!pin.line().need_doorbells());
        pin.assert();
        assert!(!pin.take_unmask());
        rustix::io::write(&resample, &1_u64.to_ne_bytes()).unwrap();
        assert!(pin.take_unmask() && !pin.take_unmask());
        pin.assert();
        assert_eq!(take(&fd), 2);
        pin.set_unmask(None);
        assert!(pin.unmask_fd().is_none());
    }

    #[test]
    fn it_is_silent_where_it_is_not_allowed() {
        let mut pin = Pin::new();
        let (fd, it) = event(EventfdFlags::NONBLOCK);
        pin.set(Some(it));
        pin.allow(false);
        pin.assert();
        assert_eq!(take(&fd), 0);
        // And was not masked by it.
        pin.allow(true);
        pin.assert();
        assert_eq!(take(&fd), 1);
    }
}
