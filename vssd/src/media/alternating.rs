//! Several handles on a medium, for tests of it: each request goes to the next.

use super::{Media, MediaInfo, Parallel, Request, Sink, Submission};
use crate::{Ticket, VssdError};

#[derive(Debug)]
pub(crate) struct Alternating<M> {
    handles: Vec<M>,
    next: usize,
}

impl<M: Parallel> Alternating<M> {
    /// `first`, and two more.
    pub(crate) fn new(first: M) -> Self {
        let handles = vec![first.another().unwrap(), first.another().unwrap(), first];
        Self { handles, next: 0 }
    }
}

impl<M: Parallel> Media for Alternating<M> {
    fn name(&self) -> &str {
        self.handles[0].name()
    }

    fn info(&self) -> MediaInfo {
        self.handles[0].info()
    }

    /// As their owner does it, who drops those that have nothing first.
    fn grow(&mut self, bytes: u64) -> Result<(), VssdError> {
        let count = self.handles.len();
        let mut first = self.handles.remove(0);
        self.handles.retain(|handle| handle.pending() > 0);
        let grown = first.grow(bytes);
        let all = self.handles.iter_mut();
        let grown = grown.and_then(|()| all.into_iter().try_for_each(|it| it.grow(bytes)));
        while self.handles.len() + 1 < count {
            self.handles.push(first.another().unwrap());
        }
        self.handles.insert(0, first);
        grown
    }

    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submission {
        self.next = (self.next + 1) % self.handles.len();
        self.handles[self.next].submit(ticket, request)
    }

    fn poll(&mut self, budget: u32, sink: Sink<'_>) -> u32 {
        let mut done = 0;
        for handle in &mut self.handles {
            done += handle.poll(budget - done, sink);
        }
        done
    }

    fn pending(&self) -> usize {
        self.handles.iter().map(Media::pending).sum()
    }

    fn let_go(&mut self, sink: Sink<'_>) {
        // As their owner does, who must not have them wait for each other.
        while self.handles[0].must_settle() && self.pending() > 0 {
            self.poll(u32::MAX, sink);
        }
        for handle in &mut self.handles {
            handle.let_go(sink);
        }
    }

    fn cancel(&mut self, wanted: &mut dyn FnMut(&Ticket) -> bool) -> Option<Ticket> {
        let mut handles = self.handles.iter_mut();
        handles.find_map(|handle| handle.cancel(wanted))
    }

    fn abandon(&mut self, sink: Sink<'_>) {
        for handle in &mut self.handles {
            handle.abandon(sink);
        }
    }
}
