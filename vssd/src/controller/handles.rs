//! Handles on the medium beside the controller's own: those that lanes have
//! used, with what they were asked and have not answered.

use traces::{Clock, Tap};

use super::Controller;
use crate::media::Sink;
use crate::ticket::Ticket;
use crate::{Media, VssdError};

/// Further handles on a medium.
#[derive(Debug)]
pub(super) struct Handles<M> {
    all: Vec<M>,
    /// Whether one of them may have a request.
    busy: bool,
}

impl<M> Default for Handles<M> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            busy: false,
        }
    }
}

impl<M: Media> Handles<M> {
    /// Whether one of them may have a request.
    #[inline]
    pub(super) const fn are_busy(&self) -> bool {
        self.busy
    }

    /// Takes one to itself, with the requests that it has.
    pub(super) fn put(&mut self, handle: M) {
        self.busy |= handle.pending() > 0;
        self.all.push(handle);
    }

    /// Gives one away that has no request.
    pub(super) fn take_idle(&mut self) -> Option<M> {
        let index = self.all.iter().position(|handle| handle.pending() == 0)?;
        Some(self.all.swap_remove(index))
    }

    /// How many have no request.
    pub(super) fn idle(&self) -> usize {
        let idle = self.all.iter().filter(|handle| handle.pending() == 0);
        idle.count()
    }

    /// Drops those that have no request.
    pub(super) fn drop_idle(&mut self) {
        self.all.retain(|handle| handle.pending() > 0);
    }

    /// As [`Media::grow`].
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), VssdError> {
        self.all
            .iter_mut()
            .try_for_each(|handle| handle.grow(bytes))
    }

    pub(super) fn pending(&self) -> usize {
        if self.busy {
            self.all.iter().map(Media::pending).sum()
        } else {
            0
        }
    }

    /// As [`Media::poll`].
    #[cold]
    pub(super) fn poll(&mut self, budget: u32, sink: Sink<'_>) -> u32 {
        let mut done = 0;
        for handle in &mut self.all {
            done += handle.poll(budget, sink);
        }
        self.busy = self.pending() > 0;
        done
    }

    /// As [`Media::let_go`].
    pub(super) fn let_go(&mut self, sink: Sink<'_>) {
        for handle in &mut self.all {
            handle.let_go(sink);
        }
    }

    /// As [`Media::abandon`].
    pub(super) fn abandon(&mut self, sink: Sink<'_>) {
        for handle in &mut self.all {
            handle.abandon(sink);
        }
    }
}

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// The number of requests that the medium has, by whatever handle.
    pub(crate) fn media_pending(&self) -> usize {
        self.media.pending() + self.handles.pending()
    }

    /// Gives up what the medium has.
    pub(crate) fn abandon_media(&mut self) {
        let device = &mut self.device;
        let mut sink = |ticket, _outcome| device.abandon(ticket);
        self.media.abandon(&mut sink);
        self.handles.abandon(&mut sink);
    }

    /// As [`Media::cancel`].
    pub(crate) fn cancel_media(
        &mut self,
        wanted: &mut dyn FnMut(&Ticket) -> bool,
    ) -> Option<Ticket> {
        let mut handles = self.handles.all.iter_mut();
        self.media
            .cancel(wanted)
            .or_else(|| handles.find_map(|handle| handle.cancel(wanted)))
    }
}
