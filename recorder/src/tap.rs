//! The data path's end of a recording.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use nvme::{DSM_RANGES_MAX, DsmRange};
use rtrb::Producer;
use traces::{Branch, CommandRecord, EventRecord, Gap, PayloadPlace, Rare, Row, Tap};

use crate::feed::{Feed, Losses};
use crate::payload::{self, PayloadTap};
use crate::slot::{self, SLOTS_AN_ENTRY_MAX, Slot};
use crate::{OnFull, Progress};

/// What taps, thread and handle share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// No more is to be recorded: the handle says so, or the thread, where it
    /// failed.
    closed: AtomicBool,
    failure: OnceLock<String>,
    /// What the thread has done: see [`Progress`].
    written: AtomicU64,
    lost: AtomicU64,
    bytes: AtomicU64,
    /// The other ends of taps that the thread does not know yet, and whether
    /// there are any.
    joining: Mutex<Vec<Feed>>,
    is_joined: AtomicBool,
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
    pub(crate) fn note_progress(&self, progress: Progress) {
        self.written.store(progress.commands, Ordering::Relaxed);
        self.lost.store(progress.lost, Ordering::Relaxed);
        self.bytes.store(progress.bytes, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            commands: self.written.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn join(&self, feed: Feed) {
        let mut joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        joining.push(feed);
        // Release: who sees this takes the lock after us.
        self.is_joined.store(true, Ordering::Release);
    }

    /// Takes what has joined since this was asked last.
    pub(crate) fn take_joined(&self) -> Vec<Feed> {
        if !self.is_joined.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        let mut joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *joining)
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
///
/// A [branch](Branch) has a ring of its own, and a quarter of the room for what
/// is written; it can be dropped at any time. It waits, or drops, by itself.
#[derive(Debug)]
pub struct RingTap {
    ring: Producer<Slot>,
    shared: Arc<Shared>,
    losses: Arc<Losses>,
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
    sizes: Sizes,
}

/// How much room there is between a tap and the thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) slots: usize,
    /// Of what is written, where that is recorded.
    pub(crate) payload_bytes: Option<usize>,
}

/// Both ends of a way from a tap to the thread.
pub(crate) fn way(sizes: Sizes) -> (Feed, Way) {
    // The longest entry and what is kept back for gaps and events fit.
    let slots = sizes.slots.max(2 * SLOTS_AN_ENTRY_MAX);
    let (producer, consumer) = rtrb::RingBuffer::new(slots);
    let payload = sizes.payload_bytes.map(payload::ring);
    let (payload_tap, payload_drain) = payload.unzip();
    let losses = Arc::new(Losses::default());
    let feed = Feed::new(consumer, payload_drain, Arc::clone(&losses));
    let way = Way {
        ring: producer,
        payload: payload_tap,
        losses,
        sizes,
    };
    (feed, way)
}

/// The tap's end of it.
pub(crate) struct Way {
    ring: Producer<Slot>,
    payload: Option<PayloadTap>,
    losses: Arc<Losses>,
    sizes: Sizes,
}

impl RingTap {
    pub(crate) fn new(way: Way, shared: Arc<Shared>, thread: Thread, on_full: OnFull) -> Self {
        let Way {
            ring,
            payload,
            losses,
            sizes,
        } = way;
        Self {
            ring,
            shared,
            losses,
            sizes,
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
        self.losses.note(self.lost, gap.at_ns);
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
        self.losses.note(self.lost, at_ns);
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

    /// As [`Tap::command`], with `sequence` for the record's.
    #[inline]
    pub(crate) fn tell(&mut self, record: &CommandRecord, sequence: u64, ranges: &[DsmRange]) {
        if self.shared.is_closed() {
            return;
        }
        let rare = Rare::of(record);
        // Nearly all: one slot, if it is free.
        let is_plain = rare.is_none() && ranges.is_empty() && self.on_full == OnFull::Wait;
        if is_plain && self.has_room(1) {
            self.push(Slot::Command(Row::of(record, sequence)));
        } else if !self.tell_entry(record, sequence, (rare, ranges)) {
            return;
        }
        self.look();
    }

    /// Tells of a command that takes several slots, or may have to wait for one or
    /// to be dropped. False where it was dropped, or the recording ended.
    #[inline(never)]
    fn tell_entry(
        &mut self,
        record: &CommandRecord,
        sequence: u64,
        (rare, ranges): (Option<Rare>, &[DsmRange]),
    ) -> bool {
        debug_assert!(ranges.len() <= DSM_RANGES_MAX, "a device checks this");
        let ranges = ranges.get(..DSM_RANGES_MAX).unwrap_or(ranges);
        let slots = slot::slots(rare.is_some(), ranges.len());
        if !self.admit(slots, record) {
            return false;
        }
        if let Ok(chunk) = self.ring.write_chunk_uninit(slots) {
            let rare = rare.map(Slot::Rare).into_iter();
            let command = Slot::Command(Row::of(record, sequence));
            chunk.fill_from_iter(rare.chain(slot::range_slots(ranges)).chain([command]));
        }
        true
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
        self.tell(record, record.sequence, ranges);
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
                    self.losses.note_payload(self.lost_payload, &first);
                }
            }
        }
        if ring.is_filling() {
            self.thread.unpark();
        }
    }
}

impl Branch for RingTap {
    fn branch(&mut self) -> Self {
        let sizes = Sizes {
            payload_bytes: self.sizes.payload_bytes.map(|bytes| bytes / 4),
            ..self.sizes
        };
        let (feed, way) = way(sizes);
        self.shared.join(feed);
        let shared = Arc::clone(&self.shared);
        Self::new(way, shared, self.thread.clone(), self.on_full)
    }
}
