//! Issues and completions, of formats that tell of them apart.

use std::collections::{HashMap, VecDeque};

use crate::{Io, Notes, Operation};

/// Requests that wait for their completion at most.
const WAITING_MAX: usize = 1 << 18;

/// What tells which completion is whose: device, first byte, and operation.
type Key = (u32, u64, Operation);

/// Requests that were issued and have not completed.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    waiting: HashMap<Key, VecDeque<(u64, Io)>>,
    /// In the order of issue, with those that completed meanwhile.
    order: VecDeque<(u64, Key)>,
    issued: u64,
    count: usize,
}

impl Pairs {
    fn key(io: &Io) -> Key {
        (io.device, io.offset_bytes, io.operation)
    }

    /// Takes in a request. Where too many wait, the first is given back: it
    /// never completed, as far as anybody knows.
    pub(crate) fn issue(&mut self, io: Io) -> Option<Io> {
        let key = Self::key(&io);
        self.order.push_back((self.issued, key));
        let waiting = self.waiting.entry(key).or_default();
        waiting.push_back((self.issued, io));
        self.issued += 1;
        self.count += 1;
        if self.order.len() > 2 * WAITING_MAX {
            self.sweep();
        }
        if self.count > WAITING_MAX {
            return self.first();
        }
        None
    }

    /// The request that `done`, of which operation, device and offset count, is
    /// the completion of, with its latency; none where there is none.
    pub(crate) fn complete(&mut self, done: &Io, failed: bool, notes: &mut Notes) -> Option<Io> {
        let Some(mut io) = self.take(&Self::key(done)) else {
            notes.count("completions without an issue were left out");
            return None;
        };
        io.latency_ns = Some(done.submit_ns.saturating_sub(io.submit_ns));
        io.failed = failed;
        Some(io)
    }

    /// Takes back a request that was not done: it is issued again.
    pub(crate) fn requeue(&mut self, io: &Io) {
        self.take(&Self::key(io));
    }

    fn take(&mut self, key: &Key) -> Option<Io> {
        let waiting = self.waiting.get_mut(key)?;
        let (_, io) = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(key);
        }
        self.count -= 1;
        Some(io)
    }

    fn is_waiting(&self, (number, key): &(u64, Key)) -> bool {
        self.waiting
            .get(key)
            .and_then(VecDeque::front)
            .is_some_and(|(first, _)| first <= number)
    }

    /// Forgets the order of those that completed.
    fn sweep(&mut self) {
        let mut order = std::mem::take(&mut self.order);
        order.retain(|entry| self.is_waiting(entry));
        self.order = order;
    }

    /// The first that still waits, at the end of the trace.
    pub(crate) fn first(&mut self) -> Option<Io> {
        loop {
            let entry = self.order.pop_front()?;
            if self.is_waiting(&entry) {
                return self.take(&entry.1);
            }
        }
    }
}
