//! The data path's end of a recording.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use nvme::{DSM_RANGES_MAX, DsmRange};
use rtrb::Producer;
use traces::{CommandRecord, EventRecord, Gap, PayloadPlace, Tap};

use crate::payload::PayloadTap;
use crate::slot::{self, Slot};
use crate::{OnFull, Progress};

/// What tap, thread and handle share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// No more is to be recorded: the handle says so, or the thread, where it
    /// failed.
    closed: AtomicBool,
    /// Commands dropped so far, and when the first of those was that are in no
    /// gap yet; see [`Shared::note_loss`].
    lost: AtomicU64,
    lost_at_ns: AtomicU64,
    /// The same of payload: commands that lost theirs, and the first of those
    /// that nothing in the ring tells of.
    lost_payload: AtomicU64,
    lost_payload_sequence: AtomicU64,
    lost_payload_submit_ns: AtomicU64,
    failure: OnceLock<String>,
    /// What the thread has done: see [`Progress`].
    written: AtomicU64,
    bytes: AtomicU64,
}

impl Shared {
    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed would do for the tap; acquire makes a reader of `failure`
        // see it.
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Ends the recording before its time.
    pub(crate) fn fail(&self, reason: &str) {
        // The first reason is the one that counts.
        let _ = self.failure.set(reason.to_owned());
        self.close();
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Notes how far the thread has got.
    pub(crate) fn note_progress(&self, commands: u64, bytes: u64) {
        self.written.store(commands, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            commands: self.written.load(Ordering::Relaxed),
            lost: self.losses().0,
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Tells the thread of losses, in case that no gap follows in the ring.
    fn note_loss(&self, lost: u64, at_ns: u64) {
        self.lost_at_ns.store(at_ns, Ordering::Relaxed);
        // Release: who reads the count sees the time.
        self.lost.store(lost, Ordering::Release);
    }

    /// Commands dropped since the start, and when those that are in no gap
    /// began.
    pub(crate) fn losses(&self) -> (u64, u64) {
        let lost = self.lost.load(Ordering::Acquire);
        (lost, self.lost_at_ns.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// As [`Shared::note_loss`], of payload.
    fn note_lost_payload(&self, lost: u64, first: &PayloadPlace) {
        self.lost_payload_sequence
            .store(first.sequence, Ordering::Relaxed);
        self.lost_payload_submit_ns
            .store(first.submit_ns, Ordering::Relaxed);
        // Release: who reads the count sees the place.
        self.lost_payload.store(lost, Ordering::Release);
    }

    /// Commands whose payload was dropped since the start, and the first of
    /// those that nothing in the ring tells of.
    pub(crate) fn lost_payload(&self) -> (u64, PayloadPlace) {
        let lost = self.lost_payload.load(Ordering::Acquire);
        let place = PayloadPlace {
            sequence: self.lost_payload_sequence.load(Ordering::Relaxed),
            submit_ns: self.lost_payload_submit_ns.load(Ordering::Relaxed),
            block_bytes: 0,
            first_block: 0,
        };
        (lost, place)
    }

    /// Waits until there is room, waking `thread`. False where the recording
    /// ended.
    #[cold]
    fn wait_for(&self, thread: &Thread, has_room: &dyn Fn() -> bool) -> bool {
        let mut spins = 0;
        while !has_room() {
            if self.is_closed() {
                return false;
            }
            thread.unpark();
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                // The writer may be waiting for this very core.
                std::thread::yield_now();
            }
        }
        true
    }
}

/// Slots that dropped commands leave free, so that the gap that counts them
/// and the events between them have room.
const SLOTS_KEPT: usize = 32;
/// The ring's fill is looked at once in this many commands.
const COMMANDS_A_LOOK: u32 = 256;
/// Looks at a full ring before the core is given away.
const SPINS: u32 = 128;

/// The tap of a recording: give it to the device or the driver.
///
/// In the common case a command costs a copy of 64 bytes into the ring: no
/// lock, no allocation, no system call. Once the recording is over it costs a
/// look at a flag. Dropping the tap ends the recording, once everything in the
/// ring is written.
#[derive(Debug)]
pub struct RingTap {
    ring: Producer<Slot>,
    shared: Arc<Shared>,
    thread: Thread,
    on_full: OnFull,
    since_look: u32,
    /// Commands dropped so far, in all.
    lost: u64,
    /// Commands dropped that are in no gap yet, and when the first was.
    gap: Option<Gap>,
    /// Where what is written goes; none where that is not recorded.
    payload: Option<PayloadTap>,
    lost_payload: u64,
}

impl RingTap {
    pub(crate) fn new(
        ring: Producer<Slot>,
        shared: Arc<Shared>,
        thread: Thread,
        (on_full, payload): (OnFull, Option<PayloadTap>),
    ) -> Self {
        Self {
            ring,
            shared,
            thread,
            on_full,
            since_look: 0,
            lost: 0,
            gap: None,
            payload,
            lost_payload: 0,
        }
    }

    /// Whether `slots` are free now.
    #[inline]
    fn has_room(&self, slots: usize) -> bool {
        self.ring.cached_slots() >= slots || self.ring.slots() >= slots
    }

    /// Waits until `slots` are free. False where the recording ended.
    #[cold]
    fn wait_for_room(&self, slots: usize) -> bool {
        self.shared.wait_for(&self.thread, &|| self.has_room(slots))
    }

    /// Whether the command may go into the ring, which has room for it then.
    #[inline]
    fn admit(&mut self, slots: usize, record: &CommandRecord) -> bool {
        match self.on_full {
            OnFull::Wait => self.has_room(slots) || self.wait_for_room(slots),
            OnFull::Drop if self.has_room(slots + SLOTS_KEPT) => {
                self.push_gap();
                true
            }
            OnFull::Drop => {
                self.lose(record);
                false
            }
        }
    }

    #[cold]
    fn lose(&mut self, record: &CommandRecord) {
        let at_ns = record
            .completion
            .map_or(record.submit_ns, |completion| completion.complete_ns);
        let gap = self.gap.get_or_insert(Gap { at_ns, lost: 0 });
        gap.lost += 1;
        self.lost += 1;
        self.shared.note_loss(self.lost, gap.at_ns);
        self.thread.unpark();
    }

    /// Says that `lost` commands will never be told of; the first of them was
    /// missed at `at_ns`, nanoseconds of the tap's clock.
    pub fn miss(&mut self, lost: u64, at_ns: u64) {
        if lost == 0 || self.shared.is_closed() {
            return;
        }
        self.lost += lost;
        self.gap.get_or_insert(Gap { at_ns, lost: 0 }).lost += lost;
        // The thread writes what no gap in the ring tells of.
        self.shared.note_loss(self.lost, at_ns);
    }

    fn push_gap(&mut self) {
        if let Some(gap) = self.gap.take() {
            self.push(Slot::Gap(gap));
        }
    }

    /// Pushes a slot that there is room for.
    #[inline]
    fn push(&mut self, slot: Slot) {
        let pushed = self.ring.push(slot);
        debug_assert!(pushed.is_ok(), "room was made before");
    }

    /// Wakes the thread before the ring is full; it polls otherwise.
    #[inline]
    fn look(&mut self) {
        self.since_look += 1;
        if self.since_look >= COMMANDS_A_LOOK {
            self.since_look = 0;
            if self.ring.slots() < self.ring.buffer().capacity() / 2 {
                self.thread.unpark();
            }
        }
    }
}

impl Tap for RingTap {
    #[inline]
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        if self.shared.is_closed() {
            return;
        }
        debug_assert!(ranges.len() <= DSM_RANGES_MAX, "a device checks this");
        let ranges = ranges.get(..DSM_RANGES_MAX).unwrap_or(ranges);
        let (first, rare) = slot::encode(record, ranges);
        let slots = slot::slots(rare.is_some(), ranges.len());
        if !self.admit(slots, record) {
            return;
        }
        if slots == 1 {
            self.push(first);
        } else if let Ok(chunk) = self.ring.write_chunk_uninit(slots) {
            let entry = std::iter::once(first)
                .chain(rare.map(Slot::Rare))
                .chain(slot::range_slots(ranges));
            chunk.fill_from_iter(entry);
        }
        self.look();
    }

    fn event(&mut self, record: &EventRecord) {
        if self.shared.is_closed() {
            return;
        }
        // Lost commands before the event are told before it.
        if self.has_room(2) || self.wait_for_room(2) {
            self.push_gap();
            self.push(Slot::Event(*record));
        }
    }

    #[inline]
    fn wants_payload(&self) -> bool {
        self.payload.is_some() && !self.shared.is_closed()
    }

    fn payload(&mut self, place: &PayloadPlace, bytes: usize, copy: &mut dyn FnMut(&mut [u8])) {
        let Some(ring) = &mut self.payload else {
            return;
        };
        if self.shared.is_closed() {
            return;
        }
        match self.on_full {
            OnFull::Wait => ring.push(place, bytes, copy, |has_room| {
                self.shared.wait_for(&self.thread, has_room)
            }),
            OnFull::Drop => {
                if let Some(first) = ring.try_push(place, bytes, copy) {
                    self.lost_payload += 1;
                    self.shared.note_lost_payload(self.lost_payload, &first);
                }
            }
        }
        if ring.is_filling() {
            self.thread.unpark();
        }
    }
}
