//! The writer's end of the way from one tap.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nvme::DsmRange;
use rtrb::Consumer;
use traces::{Gap, PayloadPlace, Rare, Row, TraceError, Writer};

use crate::beside::{Beside, What};
use crate::payload::PayloadDrain;

/// What a tap has dropped.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Commands dropped so far, and when the first of those was that are in no
    /// gap yet; see [`Losses::note`].
    lost: AtomicU64,
    at_ns: AtomicU64,
    /// The same of payload: commands that lost theirs, and the first of those
    /// that nothing in the ring tells of.
    payload: AtomicU64,
    payload_sequence: AtomicU64,
    payload_submit_ns: AtomicU64,
}

impl Losses {
    /// Tells the thread of losses, in case that no gap follows in the ring.
    pub(crate) fn note(&self, lost: u64, at_ns: u64) {
        self.at_ns.store(at_ns, Ordering::Relaxed);
        // Release: who reads the count sees the time.
        self.lost.store(lost, Ordering::Release);
    }

    /// Commands dropped since the start, and when those that are in no gap
    /// began.
    fn all(&self) -> (u64, u64) {
        let lost = self.lost.load(Ordering::Acquire);
        (lost, self.at_ns.load(Ordering::Relaxed))
    }

    /// As [`Losses::note`], of payload.
    pub(crate) fn note_payload(&self, lost: u64, first: &PayloadPlace) {
        self.payload_sequence
            .store(first.sequence, Ordering::Relaxed);
        self.payload_submit_ns
            .store(first.submit_ns, Ordering::Relaxed);
        // Release: who reads the count sees the place.
        self.payload.store(lost, Ordering::Release);
    }

    /// Commands whose payload was dropped since the start, and the first of
    /// those that nothing in the ring tells of.
    fn all_payload(&self) -> (u64, PayloadPlace) {
        let lost = self.payload.load(Ordering::Acquire);
        let place = PayloadPlace {
            sequence: self.payload_sequence.load(Ordering::Relaxed),
            submit_ns: self.payload_submit_ns.load(Ordering::Relaxed),
            block_bytes: 0,
            first_block: 0,
        };
        (lost, place)
    }
}

/// What comes from one tap.
#[derive(Debug)]
pub(crate) struct Feed {
    rows: Consumer<Row>,
    beside: Consumer<Beside>,
    /// Rows written so far.
    written: u64,
    payload: Option<PayloadDrain>,
    losses: Arc<Losses>,
    rest: Rest,
    /// Lost commands in the gaps that came through the ring.
    lost_in_gaps: u64,
}

impl Feed {
    pub(crate) fn new(
        (rows, beside): (Consumer<Row>, Consumer<Beside>),
        payload: Option<PayloadDrain>,
        losses: Arc<Losses>,
    ) -> Self {
        Self {
            rows,
            beside,
            written: 0,
            payload,
            losses,
            rest: Rest {
                rare: None,
                ranges: Vec::with_capacity(nvme::DSM_RANGES_MAX),
            },
            lost_in_gaps: 0,
        }
    }

    /// Whether the tap is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.rows.is_abandoned()
    }

    /// Whether anything waits to be written.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.rows.is_empty() || !self.beside.is_empty()
    }

    /// Whether more than a quarter of a ring is full.
    pub(crate) fn is_filling(&self) -> bool {
        is_filling(&self.rows)
            || is_filling(&self.beside)
            || (self.payload.as_ref()).is_some_and(PayloadDrain::is_filling)
    }

    /// Commands that the tap has dropped so far.
    pub(crate) fn lost(&self) -> u64 {
        self.losses.all().0
    }

    /// Writes what is in the rings: all of it, or what is whole blocks, which are
    /// encoded where they stand. Gives back how many commands that were.
    pub(crate) fn drain<W: Write>(
        &mut self,
        writer: &mut Writer<W>,
        all: bool,
    ) -> Result<usize, TraceError> {
        // Looked at before the others are: what these commands wrote and what
        // stands before them is all in the other rings by then.
        let there = self.rows.slots();
        if let Some(payload) = &mut self.payload {
            payload.drain(writer)?;
        }
        let whole = there - there % writer.block_commands();
        // Not so many that the tap would have to wait before they are a block.
        let must = all || (whole == 0 && self.is_filling());
        let count = if must { there } else { whole };
        if count > 0 || must {
            self.write(writer, count)?;
        }
        Ok(count)
    }

    /// Writes so many rows that are there, and all that stands before or behind
    /// any of them.
    fn write<W: Write>(&mut self, writer: &mut Writer<W>, count: usize) -> Result<(), TraceError> {
        let Ok(chunk) = self.rows.read_chunk(count) else {
            return Ok(());
        };
        let (mut front, mut back) = chunk.as_slices();
        // Widens.
        let end = self.written + count as u64;
        loop {
            let next = self.beside.peek().map_or(u64::MAX, |beside| beside.place);
            let until = next.min(end);
            while self.written < until {
                if front.is_empty() {
                    (front, back) = (back, &[]);
                }
                let before = usize::try_from(until - self.written).unwrap_or(usize::MAX);
                let some = self.rest.write(&front[..before.min(front.len())], writer)?;
                front = &front[some..];
                // Widens.
                self.written += some as u64;
            }
            if next > end {
                break;
            }
            let Ok(beside) = self.beside.pop() else { break };
            match beside.what {
                What::Rare(rare) => self.rest.rare = Some(rare),
                What::Ranges(count, ranges) => {
                    let ranges = ranges.into_iter().take(count.into());
                    self.rest.ranges.extend(ranges);
                }
                What::Event(event) => writer.event(&event)?,
                What::Gap(gap) => {
                    self.lost_in_gaps += gap.lost;
                    writer.gap(&gap)?;
                }
            }
        }
        chunk.commit_all();
        Ok(())
    }

    /// Writes the last of it: what is left, and the losses that no gap told of.
    /// The tap pushes nothing any more, or nothing that counts.
    pub(crate) fn finish<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), TraceError> {
        let (lost, at_ns) = self.losses.all();
        let lost_payload = self.losses.all_payload();
        self.drain(writer, true)?;
        if let Some(payload) = &self.payload {
            payload.say_lost(writer, lost_payload)?;
        }
        match lost.saturating_sub(self.lost_in_gaps) {
            0 => Ok(()),
            lost => writer.gap(&Gap { at_ns, lost }),
        }
    }
}

/// Whether more than a quarter is full.
fn is_filling<T>(ring: &Consumer<T>) -> bool {
    ring.slots() > ring.buffer().capacity() / 4
}

/// What the command in the next row has that is rarely there.
#[derive(Debug)]
struct Rest {
    rare: Option<Rare>,
    ranges: Vec<DsmRange>,
}

impl Rest {
    /// Writes the command that it belongs to, and forgets it, or all of `rows` where
    /// there is nothing. Gives back how many rows that were.
    fn write<W: Write>(
        &mut self,
        rows: &[Row],
        writer: &mut Writer<W>,
    ) -> Result<usize, TraceError> {
        let rare = self.rare.take();
        if let Some(row) = rows.first()
            && (rare.is_some() || !self.ranges.is_empty())
        {
            let mut command = row.record();
            if let Some(rare) = rare {
                rare.restore(&mut command);
            }
            writer.command(&command, &self.ranges)?;
            self.ranges.clear();
            return Ok(1);
        }
        writer.rows(rows)?;
        Ok(rows.len())
    }
}
