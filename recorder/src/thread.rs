//! The writer's end of a recording: the only one to encode and to write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nvme::DsmRange;
use rtrb::Consumer;
use rtrb::chunks::ReadChunkIntoIter;
use traces::{CommandRecord, End, Gap, Totals, TraceError, Writer};

use crate::payload::PayloadDrain;
use crate::slot::{Slot, Words};
use crate::tap::Shared;
use crate::{Output, RecorderError, RecordingSummary};

/// How often the ring is looked at while commands come. At a million commands
/// a second, a thousand slots fill meanwhile.
const POLL_MIN: Duration = Duration::from_millis(1);
/// How often it is looked at while none come.
const POLL_MAX: Duration = Duration::from_millis(16);

/// Drains the ring into the trace.
#[derive(Debug)]
pub(crate) struct Drain<O: Output> {
    writer: Writer<O>,
    path: String,
    ring: Consumer<Slot>,
    payload: Option<PayloadDrain>,
    shared: Arc<Shared>,
    block_open_max: Duration,
    /// When the open block got its first record; none where it is empty.
    block_since: Option<Instant>,
    ranges: Vec<DsmRange>,
    /// Lost commands in the gaps that came through the ring.
    lost_in_gaps: u64,
    /// Commands that came through the ring.
    commands: u64,
}

impl<O: Output> Drain<O> {
    pub(crate) fn new(
        writer: Writer<O>,
        path: String,
        (ring, payload): (Consumer<Slot>, Option<PayloadDrain>),
        shared: Arc<Shared>,
        block_open_max: Duration,
    ) -> Self {
        Self {
            writer,
            path,
            ring,
            payload,
            shared,
            block_open_max,
            block_since: None,
            ranges: Vec::with_capacity(nvme::DSM_RANGES_MAX),
            lost_in_gaps: 0,
            commands: 0,
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
            let closing = self.shared.is_closed() || self.ring.is_abandoned();
            let drained = self.drain()?;
            let written = self.writer.totals().commands;
            self.shared
                .note_progress(written, self.writer.whole_bytes());
            if closing {
                return Ok(());
            }
            self.close_block_in_time()?;
            let payload = self.payload.as_ref();
            if self.ring.slots() > self.ring.buffer().capacity() / 4
                || payload.is_some_and(PayloadDrain::is_filling)
            {
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

    /// Writes what is in the rings; gives back how many slots that were.
    fn drain(&mut self) -> Result<usize, TraceError> {
        // Looked at before the payload is: what these commands wrote is all in the
        // other ring by then.
        let slots = self.ring.slots();
        if let Some(payload) = &mut self.payload {
            payload.drain(&mut self.writer)?;
        }
        let Ok(chunk) = self.ring.read_chunk(slots) else {
            return Ok(0);
        };
        let mut chunk = chunk.into_iter();
        while let Some(slot) = chunk.next() {
            match slot {
                Slot::Command(times, words) => {
                    let mut command = words.command(&times);
                    rest_of(&words, &mut chunk, &mut command, &mut self.ranges);
                    self.commands += 1;
                    self.writer.command(&command, &self.ranges)?;
                }
                Slot::Event(event) => self.writer.event(&event)?,
                Slot::Gap(gap) => {
                    self.lost_in_gaps += gap.lost;
                    self.writer.gap(&gap)?;
                }
                Slot::Rare(_) | Slot::Ranges(_) => debug_assert!(false, "they follow a command"),
            }
        }
        Ok(slots)
    }

    /// Writes the open block where it has been open for long.
    #[expect(
        clippy::disallowed_methods,
        reason = "what a crash may cost is real time"
    )]
    fn close_block_in_time(&mut self) -> Result<(), TraceError> {
        if self.writer.pending() == 0 {
            self.block_since = None;
            return Ok(());
        }
        let now = Instant::now();
        let since = *self.block_since.get_or_insert(now);
        if now.duration_since(since) >= self.block_open_max {
            self.block_since = None;
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Writes what is left, the losses that no gap told of, and the index.
    fn finish(&mut self) -> Result<RecordingSummary, TraceError> {
        let (lost, at_ns) = self.shared.losses();
        let lost_payload = self.shared.lost_payload();
        self.drain()?;
        if let Some(payload) = &self.payload {
            payload.say_lost(&mut self.writer, lost_payload)?;
        }
        let lost = lost.saturating_sub(self.lost_in_gaps);
        if lost > 0 {
            self.writer.gap(&Gap { at_ns, lost })?;
        }
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

/// Takes the further slots of a command, where it has any.
#[inline]
fn rest_of(
    words: &Words,
    more: &mut ReadChunkIntoIter<'_, Slot>,
    command: &mut CommandRecord,
    ranges: &mut Vec<DsmRange>,
) {
    ranges.clear();
    if words.has_rare()
        && let Some(Slot::Rare(rare)) = more.next()
    {
        rare.restore(command);
    }
    while ranges.len() < words.ranges() {
        let Some(Slot::Ranges(slot)) = more.next() else {
            debug_assert!(false, "entries are pushed whole");
            break;
        };
        let left = words.ranges() - ranges.len();
        ranges.extend(slot.iter().take(left));
    }
}

/// Closes the recording when the thread ends, even by a panic.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
