//! Issues and completions, of formats of a block layer that tell of them apart.
//!
//! Such formats do not number requests: a completion is that of a request of the
//! same device, operation and first byte. Mostly there is one. Where there are
//! several (above all flushes, which have no place), devices work them off in
//! their order; but tracers lose events, and a request whose completion was lost
//! would take that of the next, which would take that of the one after it, and
//! so on to the end of the trace. Therefore:
//!
//! - A completion that could be of several is held until it is clear. Where as
//!   many completions as requests have come, they belong together in order.
//! - Where another such request comes first, some completions were lost or are
//!   still to come. Then the first is of the request which would have taken most
//!   nearly what such requests take; as long as nobody knows that, the youngest
//!   have completed.
//! - What was passed over so a few times is given up: it never completed, as
//!   far as anybody knows.
//!
//! So a lost completion leaves one request without an end, and those after it
//! as they were.

use std::collections::{HashMap, VecDeque};

use super::pending::Pending;
use crate::{Io, Item, Operation};

/// What tells which completion is whose: device, first byte, and operation.
type Key = (u32, u64, Operation);

/// After so many further requests, one is given up: early enough for it to be
/// put in its place among them.
const OLD: u64 = 1 << 16;
/// How often one is passed over before it is given up.
const PASSED_MAX: u8 = 4;
/// Devices of which it is known what requests take: as many as importers tell
/// apart.
const DEVICES_MAX: usize = 1 << 16;

/// A request that was issued.
#[derive(Debug)]
struct Issued {
    io: Io,
    passed: u8,
}

/// A completion that could be of several.
#[derive(Clone, Copy, Debug)]
struct Done {
    at_ns: u64,
    failed: bool,
}

/// Requests that were issued and have not completed.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    pending: Pending<Key, Issued>,
    /// Fewer of each key than requests that wait.
    held: HashMap<Key, VecDeque<Done>>,
    issued: u64,
    /// What requests take, about, nanoseconds: by device, then operation; 0
    /// where nobody knows.
    typical_ns: Vec<[u64; Operation::ALL.len()]>,
}

impl Pairs {
    fn key(io: &Io) -> Key {
        (io.device, io.offset_bytes, io.operation)
    }

    /// Takes in a request. What is clear now goes to `out`, and what is given
    /// up; how many these are.
    pub(crate) fn issue(&mut self, io: Io, out: &mut VecDeque<Item>) -> u64 {
        let key = Self::key(&io);
        let mut given_up = self.decide(&key, out);
        let too_many = self.pending.add(key, Issued { io, passed: 0 });
        self.issued += 1;
        let first = self.pending.first_place();
        let is_old = first.is_some_and(|place| place + OLD < self.issued);
        let stale = match too_many {
            None if is_old => self.pending.oldest(),
            stale => stale,
        };
        if let Some((_, Issued { io, .. })) = stale {
            let key = Self::key(&io);
            out.push_back(Item::Io(io));
            self.settle(&key, out);
            given_up += 1;
        }
        given_up
    }

    /// Takes in `done`, of which operation, device, place and time count, as
    /// the completion of a request. What is clear now goes to `out`. False where
    /// there is no such request.
    pub(crate) fn complete(&mut self, done: &Io, failed: bool, out: &mut VecDeque<Item>) -> bool {
        let key = Self::key(done);
        let done = Done {
            at_ns: done.submit_ns,
            failed,
        };
        match self.pending.count(&key) {
            0 => return false,
            1 => {
                let taken = self.pending.take(&key);
                out.extend(taken.map(|(_, it)| self.ended(it.io, done, true)));
            }
            _ => {
                self.held.entry(key).or_default().push_back(done);
                self.settle(&key, out);
            }
        }
        true
    }

    /// Where as many completions as requests wait, they belong together.
    fn settle(&mut self, key: &Key, out: &mut VecDeque<Item>) {
        let held = self.held.get(key).map_or(0, VecDeque::len);
        if held == 0 || held < self.pending.count(key) {
            return;
        }
        for done in self.held.remove(key).into_iter().flatten() {
            let taken = self.pending.take(key);
            out.extend(taken.map(|(_, it)| self.ended(it.io, done, true)));
        }
    }

    /// Says whose the completions are of which fewer than requests wait. How
    /// many requests are given up for it.
    fn decide(&mut self, key: &Key, out: &mut VecDeque<Item>) -> u64 {
        let Some(held) = self.held.remove(key) else {
            return 0;
        };
        let before = self.pending.count(key).saturating_sub(held.len());
        let from = self.first_done(key, before, held.front());
        for done in held {
            let taken = self.pending.take_at(key, from);
            out.extend(taken.map(|(_, it)| self.ended(it.io, done, false)));
        }
        let mut given_up = 0;
        let mut at = 0;
        for _ in 0..from {
            let Some(it) = self.pending.named_mut(key, at) else {
                break;
            };
            it.passed += 1;
            if it.passed < PASSED_MAX {
                at += 1;
                continue;
            }
            let taken = self.pending.take_at(key, at);
            out.extend(taken.map(|(_, it)| Item::Io(it.io)));
            given_up += 1;
        }
        given_up
    }

    /// Which of those named `key` has completed, counted from the oldest, and
    /// not after that with `last` older ones before it.
    fn first_done(&mut self, key: &Key, last: usize, done: Option<&Done>) -> usize {
        let typical_ns = self.typical_ns(key.0, key.2);
        let Some(done) = done.filter(|_| typical_ns > 0) else {
            return last;
        };
        let mut took_ns = |at: usize| {
            let it = self.pending.named_mut(key, at);
            it.map_or(0, |it| done.at_ns.saturating_sub(it.io.submit_ns))
        };
        // The later it was submitted, the less it took: the first that would
        // not have taken too long, or the one before it.
        let (mut from, mut to) = (0, last);
        while from < to {
            let middle = usize::midpoint(from, to);
            if took_ns(middle) > typical_ns {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        let mut off = |at: usize| {
            let took_ns = took_ns(at);
            let (less, more) = (took_ns.min(typical_ns), took_ns.max(typical_ns));
            // How many times more or less, in thousandths.
            u128::from(more) * 1_000 / u128::from(less.max(1))
        };
        match from.checked_sub(1) {
            Some(before) if off(before) <= off(from) => before,
            _ => from,
        }
    }

    /// `io`, which ended as `done` says.
    fn ended(&mut self, mut io: Io, done: Done, clear: bool) -> Item {
        let took_ns = done.at_ns.saturating_sub(io.submit_ns);
        io.latency_ns = Some(took_ns);
        io.failed = done.failed;
        if clear {
            self.learn(&io, took_ns);
        }
        Item::Io(io)
    }

    fn typical_ns(&self, device: u32, operation: Operation) -> u64 {
        let device = usize::try_from(device).unwrap_or(usize::MAX);
        let of_device = self.typical_ns.get(device);
        of_device
            .and_then(|it| it.get(index(operation)))
            .copied()
            .unwrap_or(0)
    }

    fn learn(&mut self, io: &Io, took_ns: u64) {
        let device = usize::try_from(io.device).unwrap_or(usize::MAX);
        if device >= self.typical_ns.len() && device < DEVICES_MAX {
            self.typical_ns.resize(device + 1, Default::default());
        }
        let of_device = self.typical_ns.get_mut(device);
        if let Some(typical) = of_device.and_then(|it| it.get_mut(index(io.operation))) {
            let known = match *typical {
                0 => took_ns,
                // The last few count.
                before => (before - before / 4).saturating_add(took_ns / 4),
            };
            *typical = known.max(1);
        }
    }

    /// Takes back a request that was not done and is issued again: the last
    /// that was issued. Whether there is one.
    pub(crate) fn requeue(&mut self, io: &Io, out: &mut VecDeque<Item>) -> bool {
        let key = Self::key(io);
        let last = self.pending.count(&key).checked_sub(1);
        let taken = last.and_then(|last| self.pending.take_at(&key, last));
        self.settle(&key, out);
        taken.is_some()
    }

    /// Nothing more comes: what waits goes to `out`. How many requests are
    /// without an end.
    pub(crate) fn finish(&mut self, out: &mut VecDeque<Item>) -> u64 {
        let mut keys: Vec<Key> = self.held.keys().copied().collect();
        // So that the same file always becomes the same trace.
        keys.sort_unstable();
        let mut open = 0;
        for key in keys {
            open += self.decide(&key, out);
        }
        while let Some((_, it)) = self.pending.oldest() {
            out.push_back(Item::Io(it.io));
            open += 1;
        }
        open
    }
}

/// The place of `operation` among all.
fn index(operation: Operation) -> usize {
    let mut all = Operation::ALL.iter();
    all.position(|it| *it == operation).unwrap_or(0)
}

#[cfg(test)]
#[path = "pairs/tests.rs"]
mod tests;
