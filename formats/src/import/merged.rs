//! Requests of several files, by their times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::{FormatError, Io, Notes};

/// One file of requests.
pub(crate) trait Requests: Send {
    /// The next request; none at the end. What was left out is counted.
    ///
    /// # Errors
    /// As those of [`Import::next`](super::Import::next).
    fn request(&mut self, notes: &mut Notes) -> Result<Option<Io>, FormatError>;
}

/// Merges files by the times of their requests, and where these are the same,
/// in the order in which the files were named.
#[derive(Debug)]
pub(crate) struct Merged<S> {
    sources: Vec<(S, Option<Io>)>,
    /// Time and number of each source that has a request, the earliest first.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    started: bool,
}

impl<S: Requests> Merged<S> {
    pub(crate) fn new(sources: impl IntoIterator<Item = S>) -> Self {
        let sources = sources.into_iter().map(|source| (source, None));
        Self {
            sources: sources.collect(),
            next: BinaryHeap::new(),
            started: false,
        }
    }

    /// Reads the next request of the source `number`.
    fn fetch(&mut self, number: usize, notes: &mut Notes) -> Result<(), FormatError> {
        if let Some((source, held)) = self.sources.get_mut(number) {
            *held = source.request(notes)?;
            if let Some(io) = held {
                self.next.push(Reverse((io.submit_ns, number)));
            }
        }
        Ok(())
    }

    /// The next request of all; none at the end.
    pub(crate) fn next(&mut self, notes: &mut Notes) -> Result<Option<Io>, FormatError> {
        if !self.started {
            self.started = true;
            for number in 0..self.sources.len() {
                self.fetch(number, notes)?;
            }
        }
        let Some(Reverse((_, number))) = self.next.pop() else {
            return Ok(None);
        };
        let io = self
            .sources
            .get_mut(number)
            .and_then(|(_, held)| held.take());
        self.fetch(number, notes)?;
        Ok(io)
    }
}
