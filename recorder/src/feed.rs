//! The writer's end of the way from one tap.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nvme::DsmRange;
use rtrb::Consumer;
use rtrb::chunks::ReadChunkIntoIter;
use traces::{CommandRecord, Gap, PayloadPlace, TraceError, Writer};

use crate::payload::PayloadDrain;
use crate::slot::{Slot, Words};

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
    ranges: Vec<DsmRange>,
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
            ranges: Vec::with_capacity(nvme::DSM_RANGES_MAX),
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
        let mut chunk = chunk.into_iter();
        while let Some(slot) = chunk.next() {
            match slot {
                // Nearly all: nothing is added to it, so that it is made where it
                // stays.
                Slot::Command(times, words) if words.is_alone() => {
                    writer.command(&words.command(&times), &[])?;
                }
                Slot::Command(times, words) => {
                    let mut command = words.command(&times);
                    rest_of(&words, &mut chunk, &mut command, &mut self.ranges);
                    writer.command(&command, &self.ranges)?;
                }
                Slot::Event(event) => writer.event(&event)?,
                Slot::Gap(gap) => {
                    self.lost_in_gaps += gap.lost;
                    writer.gap(&gap)?;
                }
                Slot::Rare(_) | Slot::Ranges(_) => debug_assert!(false, "they follow a command"),
            }
        }
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
