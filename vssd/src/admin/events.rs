//! Asynchronous events: requests that wait, and events that wait for them.

use nvme::{AsyncEvent, AsyncEventKind, LogPageId};

use crate::Ticket;

/// How many requests wait at most (Identify Controller, AERL + 1).
pub(crate) const REQUESTS_MAX: usize = 8;

/// Asynchronous Event Requests and events (`NVMe Base 2.1 §5.1.2`).
///
/// A request takes no room in the admin completion queue while it waits: there
/// may be fewer slots than requests. An event masks its kind until the host has
/// read the log page that goes with it.
#[derive(Debug)]
pub(crate) struct AsyncEvents {
    requests: Vec<Ticket>,
    events: Vec<AsyncEvent>,
    /// Events that were told, whose log page was not read yet.
    masked: Vec<AsyncEvent>,
}

impl AsyncEvents {
    pub(crate) fn new() -> Self {
        Self {
            requests: Vec::with_capacity(REQUESTS_MAX),
            events: Vec::new(),
            masked: Vec::new(),
        }
    }

    /// Keeps a request; it is handed back where too many wait.
    pub(crate) fn park(&mut self, ticket: Ticket) -> Result<(), Ticket> {
        if self.requests.len() >= REQUESTS_MAX {
            return Err(ticket);
        }
        self.requests.push(ticket);
        Ok(())
    }

    /// Takes the request `cid` back.
    pub(crate) fn take(&mut self, cid: nvme::CommandId) -> Option<Ticket> {
        let index = self
            .requests
            .iter()
            .position(|ticket| ticket.cid() == cid)?;
        Some(self.requests.remove(index))
    }

    /// The requests that wait.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &Ticket> {
        self.requests.iter()
    }

    /// Takes any request back.
    pub(crate) fn take_any(&mut self) -> Option<Ticket> {
        self.requests.pop()
    }

    /// Notes an event; once for each that is not told yet.
    pub(crate) fn raise(&mut self, event: AsyncEvent) {
        if !self.events.contains(&event) {
            self.events.push(event);
        }
    }

    /// Forgets an event that is not told yet, or whose log page was not read.
    pub(crate) fn withdraw(&mut self, event: AsyncEvent) {
        self.events.retain(|&known| known != event);
        self.masked.retain(|&known| known != event);
    }

    /// Whether there is an event to tell, and a request to tell it by.
    #[inline]
    pub(crate) fn is_deliverable(&self) -> bool {
        !self.events.is_empty()
            && !self.requests.is_empty()
            && self.events.iter().any(|event| !self.is_masked(event.kind))
    }

    /// An event and the request to tell it by.
    pub(crate) fn deliver(&mut self) -> Option<(Ticket, AsyncEvent)> {
        if self.requests.is_empty() {
            return None;
        }
        let index = self
            .events
            .iter()
            .position(|event| !self.is_masked(event.kind))?;
        let event = self.events.remove(index);
        // What needs no log page masks nothing.
        if !matches!(
            event.kind,
            AsyncEventKind::Immediate | AsyncEventKind::OneShot
        ) {
            self.masked.push(event);
        }
        Some((self.requests.remove(0), event))
    }

    /// Whether events of `kind` wait until a log page is read.
    fn is_masked(&self, kind: AsyncEventKind) -> bool {
        self.masked.iter().any(|masked| masked.kind == kind)
    }

    /// The host has read `page`: events of the kind that it masked are told
    /// again.
    pub(crate) fn clear(&mut self, page: LogPageId) {
        self.masked.retain(|masked| masked.log_page != page);
    }

    /// Forgets events; requests are taken by [`AsyncEvents::take_any`].
    pub(crate) fn reset(&mut self) {
        self.events.clear();
        self.masked.clear();
    }
}
