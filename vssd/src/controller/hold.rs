//! A pause in which the medium stands still, for whoever takes a snapshot of it;
//! and what a controller has begun and not ended.
//!
//! ```text
//!   Going --hold--> Draining --nothing pending--> Flushing --answered--> Still
//!     ^                |                             |                     |
//!     +----------------+---------- release ----------+---------------------+
//! ```
//!
//! While it is held, a controller fetches nothing and begins nothing: what the
//! guest asks for waits in its queues. What the medium has is ended and told.

use nvme::DsmRange;
use traces::{Clock, CommandRecord, Tap};

use super::Controller;
use crate::Media;
use crate::media::{MediaError, Outcome, Request, Submission};
use crate::ticket::Ticket;

/// How far a pause has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hold {
    /// There is none.
    #[default]
    Going,
    /// The medium ends what it has.
    Draining,
    /// The medium makes all of that durable.
    Flushing,
    /// Nothing happens to the medium.
    Still(Outcome),
}

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Has the medium end what it has, make it durable, and stand still until
    /// [`Controller::release`]. To be polled meanwhile. Registers answer, and a
    /// reset resets.
    pub fn hold(&mut self) {
        if self.hold == Hold::Going {
            self.hold = Hold::Draining;
        }
    }

    /// Whether the medium stands still: none while it does not yet, then whether
    /// all that was answered would survive a loss of power.
    pub fn stillness(&self) -> Option<Outcome> {
        match self.hold {
            // A guest that shuts down has one more flush.
            Hold::Still(outcome) if self.media_pending() == 0 => Some(outcome),
            _ => None,
        }
    }

    /// Ends the pause: commands are fetched again.
    pub fn release(&mut self) {
        self.hold = Hold::Going;
    }

    /// Goes on with what was begun before the pause. Returns how much ended.
    #[cold]
    pub(super) fn poll_held(&mut self, budget: u32) -> u32 {
        let done = self.device.retry_stalled() + self.poll_media(budget);
        if self.media_pending() == 0 {
            match self.hold {
                Hold::Draining => self.flush_for_pause(),
                Hold::Flushing => self.hold = Hold::Still(self.device.flush_outcome),
                Hold::Going | Hold::Still(_) => {}
            }
        }
        let device = &mut self.device;
        device.queues.rings.signal(&device.memory);
        device.raise_interrupts();
        if device.changed {
            self.save();
        }
        done
    }

    fn flush_for_pause(&mut self) {
        self.hold = Hold::Flushing;
        // What is given up on the way is no flush.
        self.device.flush_outcome = Err(MediaError::Write);
        let ticket = Ticket::internal(self.device.sequence.next(), self.device.observed_ns());
        match self.media.submit(ticket, Request::Flush) {
            Submission::Done(ticket, outcome) => self.device.finish_media(ticket, outcome),
            Submission::Pending => {}
        }
        self.finish_shutdown();
    }

    /// Whether a pause has begun whose medium does not stand still yet.
    pub(super) const fn is_coming_to_rest(&self) -> bool {
        matches!(self.hold, Hold::Draining | Hold::Flushing)
    }

    /// The number of the next command that is fetched; see
    /// [`CommandRecord::sequence`].
    pub fn next_sequence(&self) -> u64 {
        self.device.sequence.next()
    }

    /// The commands that were fetched, have not ended, and are not with the
    /// medium: Asynchronous Event Requests, and what waits for the clock, for
    /// memory or for another command. With each its ranges, as for a
    /// [`Tap::command`].
    pub fn waiting_commands(&self) -> impl Iterator<Item = (&CommandRecord, &[DsmRange])> {
        let tickets = self.device.waiting_tickets();
        tickets
            .filter(|ticket| ticket.completion().is_some())
            .map(|ticket| (ticket.record(), ticket.ranges()))
    }
}

#[cfg(test)]
mod tests {
    use nvme::{AdminOpcode, NvmOpcode, Status};

    use crate::MediaError;
    use crate::host::{Held, Host, io};

    #[test]
    fn a_held_controller_ends_what_it_has_and_begins_nothing() {
        let (mut host, mut pair) = Host::ready(Held::default());
        let page = host.pages(1);
        let write = |lba| io(NvmOpcode::WRITE, lba, 8, page, 0);
        let first = host.put(&mut pair, write(0));
        host.ring(&pair);
        host.controller.poll(64);
        // The queue pair took two commands.
        assert_eq!(host.controller.next_sequence(), 3);
        host.controller.hold();
        let second = host.put(&mut pair, write(8));
        host.ring(&pair);
        for _ in 0..10 {
            host.controller.poll(64);
            assert!(host.controller.stillness().is_none() && !host.controller.idle());
        }
        // The write, and then the flush that comes of itself.
        host.controller.media_mut().release = 1;
        host.controller.poll(64);
        assert_eq!(host.controller.media().tickets.len(), 1);
        assert!(host.controller.stillness().is_none() && !host.controller.idle());
        host.controller.media_mut().release = 1;
        host.controller.poll(64);
        assert_eq!(host.controller.stillness(), Some(Ok(())));
        let cqe = host.reap(&mut pair).unwrap();
        assert_eq!((cqe.cid(), cqe.status()), (first, Status::SUCCESS));
        host.controller.poll(64);
        assert!(host.peek(&pair).is_none() && host.controller.idle());
        host.controller.release();
        host.controller.media_mut().release = 1;
        host.settle();
        assert_eq!(host.reap(&mut pair).unwrap().cid(), second);
    }

    #[test]
    fn a_flush_that_fails_is_told() {
        let (mut host, _) = Host::ready(Held::default());
        host.controller.media_mut().error = Some(MediaError::Write);
        host.controller.media_mut().release = 1;
        host.controller.hold();
        host.controller.poll(64);
        host.controller.poll(64);
        assert_eq!(host.controller.stillness(), Some(Err(MediaError::Write)));
    }

    #[test]
    fn a_reset_in_the_pause_leaves_no_command_and_the_pause_goes_on() {
        let (mut host, mut pair) = Host::ready(Held::default());
        let page = host.pages(1);
        host.put(&mut pair, io(NvmOpcode::WRITE, 0, 8, page, 0));
        host.ring(&pair);
        host.controller.poll(64);
        host.controller.hold();
        host.controller.function_reset();
        host.controller.media_mut().release = 1;
        host.controller.poll(64);
        host.controller.poll(64);
        assert_eq!(host.controller.stillness(), Some(Ok(())));
        host.controller.release();
        assert!(host.controller.idle());
    }

    #[test]
    fn event_requests_wait_and_are_seen_to() {
        let mut host = Host::enabled(Held::default());
        let before = host.controller.next_sequence();
        let mut admin = host.admin;
        let sqe = nvme::Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, nvme::NamespaceId(0));
        let cid = host.put(&mut admin, sqe);
        host.ring(&admin);
        host.settle();
        let waiting: Vec<_> = host.controller.waiting_commands().collect();
        assert_eq!(waiting.len(), 1);
        let (record, ranges) = waiting[0];
        assert_eq!((record.cid, record.sequence), (cid, before));
        assert!(ranges.is_empty());
    }
}
