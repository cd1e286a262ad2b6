//! Decoding blocks on other threads, ahead of who reads them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

use crate::block::Block;
use crate::error::TraceError;
use crate::{Reader, Records};

/// The most threads that decode: more are faster than any reader of one record
/// after the other.
const THREADS_MAX: usize = 4;
/// Traces of fewer blocks are decoded before threads would have started.
const BLOCKS_MIN: usize = 8;

type Decoded = (usize, Result<Block, TraceError>);

/// Blocks that other threads decode, in the order in which they are due.
#[derive(Debug)]
pub(crate) struct Ahead {
    decoded: Receiver<Decoded>,
    /// What came before its turn: at most a block a thread.
    early: HashMap<usize, Result<Block, TraceError>>,
}

impl Ahead {
    /// Has `threads` threads decode the blocks of `reader` in this order.
    fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        reader: &'scope Reader,
        order: Vec<usize>,
        threads: usize,
    ) -> Self {
        // As many wait as are decoded, so that neither end waits for the other.
        let (sender, decoded) = sync_channel(threads);
        let work = Arc::new((order, AtomicUsize::new(0)));
        for _ in 0..threads {
            let (work, sender) = (Arc::clone(&work), sender.clone());
            // Where there are fewer threads to be had, fewer decode; the reader
            // itself does where there is none.
            let _ = thread::Builder::new()
                .name("decoder".to_owned())
                .spawn_scoped(scope, move || decode(reader, &work.0, &work.1, &sender));
        }
        Self {
            decoded,
            early: HashMap::new(),
        }
    }

    /// The block at `index`; none where it was given out before, or never asked
    /// for.
    pub(crate) fn take(&mut self, index: usize) -> Option<Result<Block, TraceError>> {
        loop {
            if let Some(block) = self.early.remove(&index) {
                return Some(block);
            }
            // Ends with the threads.
            let (at, block) = self.decoded.recv().ok()?;
            self.early.insert(at, block);
        }
    }
}

/// Decodes one block after the other, until all are or nobody wants them.
fn decode(reader: &Reader, order: &[usize], next: &AtomicUsize, sender: &SyncSender<Decoded>) {
    while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
        if sender.send((index, reader.block(index))).is_err() {
            return;
        }
    }
}

impl Reader {
    /// As [`Reader::records`], for `work` to read while other threads decode
    /// what comes next: a packed trace is read as fast as there are processors
    /// for it. Takes at most about 60 MiB.
    pub fn with_records<R>(&self, work: impl FnOnce(Records<'_>) -> R) -> R {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.saturating_sub(1).min(THREADS_MAX);
        if threads == 0 || self.index().len() < BLOCKS_MIN {
            return work(self.records());
        }
        self.with_threads(threads, work)
    }

    fn with_threads<R>(&self, threads: usize, work: impl FnOnce(Records<'_>) -> R) -> R {
        thread::scope(|scope| {
            let records = self.records();
            let ahead = Ahead::start(scope, self, records.due_order(), threads);
            work(records.ahead(ahead))
        })
    }
}

#[cfg(test)]
mod tests;
