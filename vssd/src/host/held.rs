//! A medium that answers when it is told to.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::media::{Extent, Media, MediaInfo, Outcome, Request, Sink, Submission};
use crate::{MediaError, Ticket};

/// Keeps every request until [`Held::release`] is set, or until it has to let go
/// of guest memory.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) tickets: VecDeque<Ticket>,
    /// How many may be answered.
    pub(crate) release: usize,
    /// How they are answered.
    pub(crate) error: Option<MediaError>,
    /// How often guest memory had to be let go of.
    pub(crate) let_go: usize,
    /// Where requests were foreseen, and whether they write.
    pub(crate) foreseen: RefCell<Vec<(u64, bool)>>,
}

impl Held {
    fn outcome(&self) -> Outcome {
        self.error.map_or(Ok(()), Err)
    }
}

impl Media for Held {
    const FORESEES: bool = true;

    fn foresee(&self, extent: Extent, writes: bool) {
        self.foreseen.borrow_mut().push((extent.offset, writes));
    }

    fn name(&self) -> &str {
        "held"
    }

    fn info(&self) -> MediaInfo {
        MediaInfo {
            bytes: 1 << 20,
            read_only: false,
            volatile_cache: true,
        }
    }

    fn submit(&mut self, ticket: Ticket, _request: Request<'_>) -> Submission {
        self.tickets.push_back(ticket);
        Submission::Pending
    }

    fn poll(&mut self, budget: u32, sink: Sink<'_>) -> u32 {
        let mut done = 0;
        while done < budget && self.release > 0 {
            let Some(ticket) = self.tickets.pop_front() else {
                break;
            };
            self.release -= 1;
            sink(ticket, self.outcome());
            done += 1;
        }
        done
    }

    fn pending(&self) -> usize {
        self.tickets.len()
    }

    fn let_go(&mut self, sink: Sink<'_>) {
        self.let_go += 1;
        let outcome = self.outcome();
        for ticket in self.tickets.drain(..) {
            sink(ticket, outcome);
        }
    }

    fn cancel(&mut self, wanted: &mut dyn FnMut(&Ticket) -> bool) -> Option<Ticket> {
        let found = |ticket: &Ticket| ticket.is_simple() && wanted(ticket);
        let index = self.tickets.iter().position(found)?;
        self.tickets.remove(index)
    }

    fn abandon(&mut self, sink: Sink<'_>) {
        for ticket in self.tickets.drain(..) {
            sink(ticket, Err(MediaError::Write));
        }
    }
}
