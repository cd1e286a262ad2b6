//! Reads and writes that go on where another ended.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

/// How sequential reads and writes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sequentiality {
    /// Reads.
    pub reads: u64,
    /// Of these, starting where the read before ended.
    pub reads_sequential: u64,
    /// Of these, starting where one of the last 64 reads ended: streams that
    /// run side by side count.
    pub reads_in_streams: u64,
    /// Writes.
    pub writes: u64,
    /// Of these, starting where the write before ended.
    pub writes_sequential: u64,
    /// Of these, starting where one of the last 64 writes ended.
    pub writes_in_streams: u64,
}

/// Ends that are remembered.
const STREAMS: usize = 64;

/// The last ends by namespace and whether it writes.
#[derive(Debug, Default)]
pub(super) struct Streams {
    ends: HashMap<(u32, bool), VecDeque<u64>>,
    found: Sequentiality,
}

impl Streams {
    /// Adds a read or write of bytes from `start` up to `end`; whether it goes
    /// on where one of the last ended.
    pub(super) fn add(&mut self, key: (u32, bool), start: u64, end: u64) -> bool {
        let ends = self.ends.entry(key).or_default();
        let sequential = ends.back() == Some(&start);
        let place = ends.iter().rposition(|it| *it == start);
        match place {
            Some(place) => drop(ends.remove(place)),
            None if ends.len() >= STREAMS => drop(ends.pop_front()),
            None => {}
        }
        ends.push_back(end);
        let found = &mut self.found;
        let (all, in_order, in_streams) = if key.1 {
            (
                &mut found.writes,
                &mut found.writes_sequential,
                &mut found.writes_in_streams,
            )
        } else {
            (
                &mut found.reads,
                &mut found.reads_sequential,
                &mut found.reads_in_streams,
            )
        };
        *all += 1;
        *in_order += u64::from(sequential);
        *in_streams += u64::from(place.is_some());
        place.is_some()
    }

    pub(super) fn finish(self) -> Sequentiality {
        self.found
    }
}
