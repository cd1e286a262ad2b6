//! The data path's end of a recording.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use nvme::{DSM_RANGES_MAX, DsmRange};
use rtrb::Producer;
use traces::{Branch, CommandRecord, EventRecord, Gap, PayloadPlace, Rare, Row, Tap};

use crate::beside::{self, Beside, ENTRIES_A_COMMAND_MAX, What};
use crate::feed::{Feed, Losses};
use crate::payload::{self, PayloadTap};
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

/// Room between tap and thread for what stands beside the rows, in entries.
const BESIDE: usize = 1 << 13;
const _: () = assert!(
    BESIDE > 4 * ENTRIES_A_COMMAND_MAX,
    "the thread wakes in time"
);
/// Of it, what dropped commands leave free, so that the gap that counts them and
/// the events between them have room.
const BESIDE_KEPT: usize = 32;
/// The ring's fill is looked at once in this many commands.
const COMMANDS_A_LOOK: u32 = 256;
/// The least room for rows.
const ROWS_MIN: usize = 256;
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
    rows: Producer<Row>,
    /// What stands beside them, pushed before the row that it belongs to.
    beside: Producer<Beside>,
    /// Rows pushed so far.
    pushed: u64,
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
    pub(crate) rows: usize,
    /// Of what is written, where that is recorded.
    pub(crate) payload_bytes: Option<usize>,
}

/// Both ends of a way from a tap to the thread.
pub(crate) fn way(sizes: Sizes) -> (Feed, Way) {
    let (rows, rows_end) = rtrb::RingBuffer::new(sizes.rows.max(ROWS_MIN));
    let (beside, beside_end) = rtrb::RingBuffer::new(BESIDE);
    let payload = sizes.payload_bytes.map(payload::ring);
    let (payload_tap, payload_drain) = payload.unzip();
    let losses = Arc::new(Losses::default());
    let feed = Feed::new((rows_end, beside_end), payload_drain, Arc::clone(&losses));
    let way = Way {
        rows,
        beside,
        payload: payload_tap,
        losses,
        sizes,
    };
    (feed, way)
}

/// The tap's end of it.
pub(crate) struct Way {
    rows: Producer<Row>,
    beside: Producer<Beside>,
    payload: Option<PayloadTap>,
    losses: Arc<Losses>,
    sizes: Sizes,
}

impl RingTap {
    pub(crate) fn new(way: Way, shared: Arc<Shared>, thread: Thread, on_full: OnFull) -> Self {
        let Way {
            rows,
            beside,
            payload,
            losses,
            sizes,
        } = way;
        Self {
            rows,
            beside,
            pushed: 0,
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

    /// Whether there is room for a row now, and for so many entries beside it.
    #[inline]
    fn has_room(&self, entries: usize) -> bool {
        let has_row = self.rows.cached_slots() > 0 || self.rows.slots() > 0;
        has_row && (entries == 0 || self.beside.slots() >= entries)
    }

    /// Waits until there is. False where the recording ended.
    #[cold]
    fn wait_for_room(&self, entries: usize) -> bool {
        self.shared
            .wait_for(&self.thread, &|| self.has_room(entries))
    }

    /// Whether the command may go into the rings, which have room for it then.
    fn admit(&mut self, entries: usize, record: &CommandRecord) -> bool {
        match self.on_full {
            OnFull::Wait => self.has_room(entries) || self.wait_for_room(entries),
            OnFull::Drop if self.has_room(entries + BESIDE_KEPT) => {
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
            self.push_beside(What::Gap(gap));
        }
    }

    /// Pushes a row that there is room for.
    #[inline]
    fn push_row(&mut self, row: Row) {
        let pushed = self.rows.push(row);
        debug_assert!(pushed.is_ok(), "room was made before");
        self.pushed += 1;
    }

    /// Pushes what comes before the next row, that there is room for.
    fn push_beside(&mut self, what: What) {
        let place = self.pushed;
        let pushed = self.beside.push(Beside { place, what });
        debug_assert!(pushed.is_ok(), "room was made before");
    }

    /// As [`Tap::command`], with `sequence` for the record's.
    #[inline]
    pub(crate) fn tell(&mut self, record: &CommandRecord, sequence: u64, ranges: &[DsmRange]) {
        if self.shared.is_closed() {
            return;
        }
        let rare = Rare::of(record);
        // Nearly all: a row, if there is room.
        let is_plain = rare.is_none() && ranges.is_empty() && self.on_full == OnFull::Wait;
        if (is_plain && self.has_room(0)) || self.make_way(record, rare, ranges) {
            self.push_row(Row::of(record, sequence));
            self.look();
        }
    }

    /// Makes room for a row, and pushes what comes before it. False where the
    /// command is dropped, or the recording ended.
    #[inline(never)]
    fn make_way(
        &mut self,
        record: &CommandRecord,
        rare: Option<Rare>,
        ranges: &[DsmRange],
    ) -> bool {
        debug_assert!(ranges.len() <= DSM_RANGES_MAX, "a device checks this");
        let ranges = ranges.get(..DSM_RANGES_MAX).unwrap_or(ranges);
        let entries = beside::entries(rare.is_some(), ranges.len());
        if !self.admit(entries, record) {
            return false;
        }
        beside::of_command(rare, ranges).for_each(|what| self.push_beside(what));
        self.since_look += u32::try_from(entries).unwrap_or(u32::MAX);
        true
    }

    /// Wakes the thread before the ring is full; it polls otherwise.
    #[inline]
    fn look(&mut self) {
        self.since_look += 1;
        if self.since_look >= COMMANDS_A_LOOK {
            self.since_look = 0;
            let is_half_full = self.rows.slots() < self.rows.buffer().capacity() / 2
                || self.beside.slots() < BESIDE / 2;
            if is_half_full {
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
        let has_room = || self.beside.slots() >= 2;
        if has_room() || self.shared.wait_for(&self.thread, &has_room) {
            self.push_gap();
            self.push_beside(What::Event(*record));
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
