//! The writer's end of a recording: the only one to encode and to write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use traces::{End, Totals, TraceError, Writer};

use crate::feed::Feed;
use crate::tap::Shared;
use crate::{Output, Progress, RecorderError, RecordingSummary};

/// How often the ring is looked at while commands come. At a million commands
/// a second a quarter of it fills meanwhile; a tap that is faster wakes the thread.
/// To wake costs several microseconds where the tap's core is the only one, and
/// what a look needs is in no cache by then: few looks, at much, cost less.
const POLL_MIN: Duration = Duration::from_millis(16);
/// How often it is looked at while none come.
const POLL_MAX: Duration = Duration::from_millis(64);

/// Drains the rings into the trace.
#[derive(Debug)]
pub(crate) struct Drain<O: Output> {
    writer: Writer<O>,
    path: String,
    /// What comes from the first tap, with which the recording ends.
    first: Feed,
    /// What comes from its branches.
    branches: Vec<Feed>,
    /// Commands that were lost by branches which are gone.
    lost_by_gone: u64,
    shared: Arc<Shared>,
    block_open_max: Duration,
    /// When the first record came that no whole block has; none where all is
    /// written.
    waiting_since: Option<Instant>,
}

impl<O: Output> Drain<O> {
    pub(crate) fn new(
        writer: Writer<O>,
        path: String,
        first: Feed,
        shared: Arc<Shared>,
        block_open_max: Duration,
    ) -> Self {
        Self {
            writer,
            path,
            first,
            branches: Vec::new(),
            lost_by_gone: 0,
            shared,
            block_open_max,
            waiting_since: None,
        }
    }

    /// The thread's life.
    pub(crate) fn run(mut self) -> Result<RecordingSummary, RecorderError> {
        // However this ends, a tap that waits for room must not wait for ever.
        let _close = CloseOnDrop(Arc::clone(&self.shared));
        let written = self.drain_until_closed();
        let ended = written.and_then(|()| self.finish());
        ended.map_err(|error| self.give_up(&error))
    }

    fn drain_until_closed(&mut self) -> Result<(), TraceError> {
        let mut poll = POLL_MIN;
        loop {
            // Read before the ring: what was pushed before is drained below.
            let closing = self.shared.is_closed() || self.first.is_abandoned();
            let is_time = self.is_time();
            let drained = self.drain(closing || is_time)?;
            if is_time {
                self.writer.flush()?;
            }
            self.note_progress();
            if closing {
                return Ok(());
            }
            if self.first.is_filling() || self.branches.iter().any(Feed::is_filling) {
                continue;
            }
            poll = if drained > 0 {
                POLL_MIN
            } else {
                (poll * 2).min(POLL_MAX)
            };
            std::thread::park_timeout(poll);
        }
    }

    fn note_progress(&self) {
        let there = self.branches.iter().map(Feed::lost);
        self.shared.note_progress(Progress {
            commands: self.writer.totals().commands,
            lost: self.first.lost() + self.lost_by_gone + there.sum::<u64>(),
            bytes: self.writer.whole_bytes(),
        });
    }

    /// Writes what is in the rings, all of it or what is whole blocks; gives back how
    /// many commands that were.
    fn drain(&mut self, all: bool) -> Result<usize, TraceError> {
        self.branches.extend(self.shared.take_joined());
        let mut drained = self.first.drain(&mut self.writer, all)?;
        let mut index = 0;
        while let Some(branch) = self.branches.get_mut(index) {
            // Read before the ring, as above.
            let is_gone = branch.is_abandoned();
            drained += branch.drain(&mut self.writer, all)?;
            if is_gone {
                let mut gone = self.branches.swap_remove(index);
                gone.finish(&mut self.writer)?;
                self.lost_by_gone += gone.lost();
            } else {
                index += 1;
            }
        }
        Ok(drained)
    }

    /// Whether something has waited for a block to be full for long.
    #[expect(
        clippy::disallowed_methods,
        reason = "what a crash may cost is real time"
    )]
    fn is_time(&mut self) -> bool {
        let mut feeds = self.branches.iter().chain([&self.first]);
        if self.writer.pending() == 0 && !feeds.any(Feed::has_waiting) {
            self.waiting_since = None;
            return false;
        }
        let now = Instant::now();
        let since = *self.waiting_since.get_or_insert(now);
        let is_time = now.duration_since(since) >= self.block_open_max;
        if is_time {
            self.waiting_since = None;
        }
        is_time
    }

    /// Writes what is left, the losses that no gap told of, and the index.
    fn finish(&mut self) -> Result<RecordingSummary, TraceError> {
        self.branches.extend(self.shared.take_joined());
        for feed in self.branches.iter_mut().chain([&mut self.first]) {
            feed.finish(&mut self.writer)?;
        }
        self.note_progress();
        self.writer.flush()?;
        let totals = self.writer.finish_with(End::Clean)?;
        self.sync()?;
        Ok(RecordingSummary {
            path: self.path.clone(),
            totals,
            bytes: self.writer.whole_bytes(),
        })
    }

    fn sync(&mut self) -> Result<(), TraceError> {
        self.writer
            .sink_mut()
            .sync()
            .map_err(|source| TraceError::Io {
                operation: "write",
                path: self.path.clone(),
                source,
            })
    }

    /// Ends a recording that cannot go on: cuts off the broken block, and
    /// writes the index where there is room for one.
    fn give_up(&mut self, error: &TraceError) -> RecorderError {
        let reason = match error {
            TraceError::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        // The tap stops at once; the guest goes on.
        self.shared.fail(&reason);
        let totals = self.salvage(&reason);
        let ended = RecorderError::Ended {
            path: self.path.clone(),
            reason,
            totals: Box::new(totals),
        };
        log::error!("{ended}");
        ended
    }

    /// Every step may fail as the write did: without an index the trace opens
    /// by recovery.
    fn salvage(&mut self, reason: &str) -> Totals {
        let whole = self.writer.whole_bytes();
        let totals = self.writer.totals();
        if self.writer.sink_mut().truncate(whole).is_err() {
            return totals;
        }
        match self.writer.finish_with(End::Stopped(reason.to_owned())) {
            Ok(_) => {}
            // A part of an index is of no use.
            Err(_) => drop(self.writer.sink_mut().truncate(whole)),
        }
        drop(self.sync());
        totals
    }
}

/// Closes the recording when the thread ends, even by a panic.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
