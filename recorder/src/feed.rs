//! The writer's end of the way from one tap.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nvme::DsmRange;
use rtrb::Consumer;
use traces::{Gap, PayloadPlace, Rare, Row, TraceError, Writer};

use crate::payload::PayloadDrain;
use crate::slot::Slot;

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
    ring: Consumer<Slot>,
    payload: Option<PayloadDrain>,
    losses: Arc<Losses>,
    rest: Rest,
    /// Lost commands in the gaps that came through the ring.
    lost_in_gaps: u64,
}

impl Feed {
    pub(crate) fn new(
        ring: Consumer<Slot>,
        payload: Option<PayloadDrain>,
        losses: Arc<Losses>,
    ) -> Self {
        Self {
            ring,
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
        self.ring.is_abandoned()
    }

    /// Whether more than a quarter of a ring is full.
    pub(crate) fn is_filling(&self) -> bool {
        self.ring.slots() > self.ring.buffer().capacity() / 4
            || (self.payload.as_ref()).is_some_and(PayloadDrain::is_filling)
    }

    /// Commands that the tap has dropped so far.
    pub(crate) fn lost(&self) -> u64 {
        self.losses.all().0
    }

    /// Writes what is in the rings; gives back how many slots that were.
    pub(crate) fn drain<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<usize, TraceError> {
        // Looked at before the payload is: what these commands wrote is all in the
        // other ring by then.
        let slots = self.ring.slots();
        if let Some(payload) = &mut self.payload {
            payload.drain(writer)?;
        }
        let Ok(chunk) = self.ring.read_chunk(slots) else {
            return Ok(0);
        };
        let (front, back) = chunk.as_slices();
        for slot in front.iter().chain(back) {
            match slot {
                // Nearly all.
                Slot::Command(row) if self.rest.is_empty() => writer.row(row)?,
                Slot::Command(row) => self.rest.write(row, writer)?,
                Slot::Rare(rare) => self.rest.rare = Some(*rare),
                Slot::Ranges(count, ranges) => {
                    let ranges = ranges.iter().take(usize::from(*count));
                    self.rest.ranges.extend(ranges);
                }
                Slot::Event(event) => writer.event(event)?,
                Slot::Gap(gap) => {
                    self.lost_in_gaps += gap.lost;
                    writer.gap(gap)?;
                }
            }
        }
        chunk.commit_all();
        Ok(slots)
    }

    /// Writes the last of it: what is left, and the losses that no gap told of.
    /// The tap pushes nothing any more, or nothing that counts.
    pub(crate) fn finish<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), TraceError> {
        let (lost, at_ns) = self.losses.all();
        let lost_payload = self.losses.all_payload();
        self.drain(writer)?;
        if let Some(payload) = &self.payload {
            payload.say_lost(writer, lost_payload)?;
        }
        match lost.saturating_sub(self.lost_in_gaps) {
            0 => Ok(()),
            lost => writer.gap(&Gap { at_ns, lost }),
        }
    }
}

/// What is rarely there of a command, from slots that came before its own.
#[derive(Debug)]
struct Rest {
    rare: Option<Rare>,
    ranges: Vec<DsmRange>,
}

impl Rest {
    #[inline]
    fn is_empty(&self) -> bool {
        self.rare.is_none() && self.ranges.is_empty()
    }

    /// Writes the command that it belongs to, and forgets it.
    #[cold]
    fn write<W: Write>(&mut self, row: &Row, writer: &mut Writer<W>) -> Result<(), TraceError> {
        let mut command = row.record();
        if let Some(rare) = self.rare.take() {
            rare.restore(&mut command);
        }
        let written = writer.command(&command, &self.ranges);
        self.ranges.clear();
        written
    }
}
