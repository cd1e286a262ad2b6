//! Issues and completions, of formats of a block layer that tell of them apart.

use super::pending::Pending;
use crate::{Io, Notes, Operation};

/// What tells which completion is whose: device, first byte, and operation.
type Key = (u32, u64, Operation);

/// After so many further requests, one is given up: early enough for it to be
/// put in its place among them.
const OLD: u64 = 1 << 16;

/// Requests that were issued and have not completed.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    pending: Pending<Key, Io>,
    issued: u64,
}

impl Pairs {
    fn key(io: &Io) -> Key {
        (io.device, io.offset_bytes, io.operation)
    }

    /// Takes in a request. Where too many wait, or the first waits for too long,
    /// that is given back: it never completed, as far as anybody knows.
    pub(crate) fn issue(&mut self, io: Io) -> Option<Io> {
        let too_many = self.pending.add(Self::key(&io), io);
        self.issued += 1;
        let first = self.pending.first_place();
        let is_old = first.is_some_and(|place| place + OLD < self.issued);
        match too_many {
            None if is_old => self.pending.oldest(),
            given => given,
        }
        .map(|(_, io)| io)
    }

    /// The request that `done`, of which operation, device and offset count, is
    /// the completion of, with its latency; none where there is none.
    pub(crate) fn complete(&mut self, done: &Io, failed: bool, notes: &mut Notes) -> Option<Io> {
        let Some((_, mut io)) = self.pending.take(&Self::key(done)) else {
            notes.count("completions without an issue were left out");
            return None;
        };
        io.latency_ns = Some(done.submit_ns.saturating_sub(io.submit_ns));
        io.failed = failed;
        Some(io)
    }

    /// Takes back a request that was not done: it is issued again.
    pub(crate) fn requeue(&mut self, io: &Io) {
        self.pending.take(&Self::key(io));
    }

    /// The first that still waits, at the end of the trace.
    pub(crate) fn first(&mut self) -> Option<Io> {
        self.pending.oldest().map(|(_, io)| io)
    }
}
