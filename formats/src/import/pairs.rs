//! Issues and completions, of formats of a block layer that tell of them apart.

use super::pending::Pending;
use crate::{Io, Notes, Operation};

/// What tells which completion is whose: device, first byte, and operation.
type Key = (u32, u64, Operation);

/// Requests that were issued and have not completed.
#[derive(Debug, Default)]
pub(crate) struct Pairs(Pending<Key, Io>);

impl Pairs {
    fn key(io: &Io) -> Key {
        (io.device, io.offset_bytes, io.operation)
    }

    /// Takes in a request. Where too many wait, the first is given back: it
    /// never completed, as far as anybody knows.
    pub(crate) fn issue(&mut self, io: Io) -> Option<Io> {
        self.0.add(Self::key(&io), io).map(|(_, io)| io)
    }

    /// The request that `done`, of which operation, device and offset count, is
    /// the completion of, with its latency; none where there is none.
    pub(crate) fn complete(&mut self, done: &Io, failed: bool, notes: &mut Notes) -> Option<Io> {
        let Some((_, mut io)) = self.0.take(&Self::key(done)) else {
            notes.count("completions without an issue were left out");
            return None;
        };
        io.latency_ns = Some(done.submit_ns.saturating_sub(io.submit_ns));
        io.failed = failed;
        Some(io)
    }

    /// Takes back a request that was not done: it is issued again.
    pub(crate) fn requeue(&mut self, io: &Io) {
        self.0.take(&Self::key(io));
    }

    /// The first that still waits, at the end of the trace.
    pub(crate) fn first(&mut self) -> Option<Io> {
        self.0.oldest().map(|(_, io)| io)
    }
}
