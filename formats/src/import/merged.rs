//! Items of several files, by their times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::{FormatError, Item};

/// One file.
pub(crate) trait Source: Send {
    /// What all files share: notes, and whatever else is added to.
    type Shared;

    /// The next item; none at the end.
    ///
    /// # Errors
    /// As those of [`Import::next`](super::Import::next).
    fn item(&mut self, shared: &mut Self::Shared) -> Result<Option<Item>, FormatError>;
}

/// Merges files by the times of their items, and where these are the same, in
/// the order in which the files were named.
#[derive(Debug)]
pub(crate) struct Merged<S> {
    /// Each with its next item.
    sources: Vec<(S, Option<Item>)>,
    /// Time and number of each source that has an item, the earliest first.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    started: bool,
}

impl<S: Source> Merged<S> {
    pub(crate) fn new(sources: impl IntoIterator<Item = S>) -> Self {
        let sources = sources.into_iter().map(|source| (source, None));
        Self {
            sources: sources.collect(),
            next: BinaryHeap::new(),
            started: false,
        }
    }

    /// The files.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &S> {
        self.sources.iter().map(|(source, _)| source)
    }

    /// Reads the next item of the source `number`.
    fn fetch(&mut self, number: usize, shared: &mut S::Shared) -> Result<(), FormatError> {
        if let Some((source, held)) = self.sources.get_mut(number) {
            *held = source.item(shared)?;
            if let Some(item) = held {
                self.next.push(Reverse((item.submit_ns(), number)));
            }
        }
        Ok(())
    }

    /// The next item of all; none at the end.
    pub(crate) fn next(&mut self, shared: &mut S::Shared) -> Result<Option<Item>, FormatError> {
        if !self.started {
            self.started = true;
            for number in 0..self.sources.len() {
                self.fetch(number, shared)?;
            }
        }
        let Some(Reverse((_, number))) = self.next.pop() else {
            return Ok(None);
        };
        let item = self
            .sources
            .get_mut(number)
            .and_then(|(_, held)| held.take());
        self.fetch(number, shared)?;
        Ok(item)
    }
}
