//! One virtqueue: what is available, what is used, and who wants to be told.

use std::sync::atomic::{Ordering, fence};

use super::chain::{self, Chain, Fault};
use super::inflight::InflightLog;
use super::layout::{
    AVAIL_BYTES, BlockStatus, Descriptor, ENTRIES, FLAGS, INDEX, NO_INTERRUPT, NO_NOTIFY,
    RequestHeader, USED_BYTES,
};
use crate::DmaTable;
use crate::front::Event;
use crate::memory::{Access, Part, SegmentBuffer};

/// The most entries of a queue.
pub(crate) const ENTRIES_MAX: u16 = 1024;

/// The most requests that are used before the driver sees them. The cache line of the
/// index goes to the driver's processor and back each time that it is stored, which
/// takes longer than to execute a request.
const BATCH: u16 = 8;

/// Where a virtqueue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Entries: a power of two, at most [`ENTRIES_MAX`].
    pub(crate) entries: u16,
    /// Guest address of the descriptor table.
    pub(crate) descriptors: u64,
    /// Guest address of the available ring.
    pub(crate) available: u64,
    /// Guest address of the used ring.
    pub(crate) used: u64,
}

/// How a virtqueue starts.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) place: Place,
    /// The available index to go on from.
    pub(crate) base: u16,
    /// Whether both sides say from which index on they want to be notified.
    pub(crate) event_idx: bool,
    /// Where it is noted which requests are being served.
    pub(crate) log: Option<InflightLog>,
}

/// Whether a virtqueue is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No: it has not been started, or it was stopped.
    Stopped,
    /// Yes, while it is enabled.
    Running,
    /// No: the driver has spoilt it.
    Broken,
}

/// What is known of a request that is being served.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    busy: bool,
    /// What the used ring will say was written.
    written: u32,
    /// The address of the status byte.
    status: u64,
}

/// A virtqueue.
#[derive(Debug)]
pub(crate) struct Ring {
    state: State,
    enabled: bool,
    /// Whether no requests are taken for a while.
    paused: bool,
    /// Requests that were taken since that was asked last.
    taken: u32,
    entries: u16,
    descriptors: Part,
    available: Part,
    used: Part,
    /// The next entry of the available ring.
    next: u16,
    /// The driver's available index, as it was seen last.
    seen: u16,
    /// The next entry of the used ring.
    used_index: u16,
    /// The used index that the driver sees.
    shown: u16,
    /// The requests between these two, the first descriptor of each.
    batch: [u16; BATCH as usize],
    /// The used index up to which the driver was notified.
    told: u16,
    event_idx: bool,
    slots: Box<[Slot]>,
    in_flight: u16,
    /// Requests of a server that died, the oldest last.
    again: Vec<u16>,
    log: Option<InflightLog>,
    call: Option<Event>,
    error: Option<Event>,
    /// Whether the driver is to be told once, whatever it wants: the server
    /// before may have died between using a request and telling of it.
    owes_call: bool,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Stopped,
            enabled: false,
            paused: false,
            taken: 0,
            entries: 0,
            descriptors: Part::nowhere(),
            available: Part::nowhere(),
            used: Part::nowhere(),
            next: 0,
            seen: 0,
            used_index: 0,
            shown: 0,
            batch: [0; BATCH as usize],
            told: 0,
            event_idx: false,
            slots: Box::default(),
            in_flight: 0,
            again: Vec::new(),
            log: None,
            call: None,
            error: None,
            owes_call: false,
        }
    }

    /// Whether requests are taken from it.
    pub(crate) fn is_served(&self) -> bool {
        self.enabled && self.state == State::Running && !self.paused
    }

    /// Whether it was started and not stopped.
    pub(crate) fn is_started(&self) -> bool {
        self.state != State::Stopped
    }

    pub(crate) const fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    pub(crate) const fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// How many requests were taken since this was asked last.
    pub(crate) const fn take_load(&mut self) -> u32 {
        std::mem::replace(&mut self.taken, 0)
    }

    pub(crate) const fn in_flight(&self) -> u16 {
        self.in_flight
    }

    pub(crate) fn set_call(&mut self, call: Option<Event>) {
        self.call = call;
        self.settle_call();
    }

    fn settle_call(&mut self) {
        if self.owes_call
            && let Some(call) = &self.call
        {
            call.signal();
            self.owes_call = false;
        }
    }

    pub(crate) fn set_error(&mut self, error: Option<Event>) {
        self.error = error;
    }

    /// Starts it. What is wrong with the place, where it cannot be started.
    pub(crate) fn start(
        &mut self,
        beginning: Beginning,
        memory: &DmaTable,
    ) -> Result<(), &'static str> {
        let Beginning {
            place,
            base,
            event_idx,
            log,
        } = beginning;
        if !place.entries.is_power_of_two() || place.entries > ENTRIES_MAX {
            return Err("its size is not a power of two up to 1024");
        }
        self.put(place, memory)?;
        self.event_idx = event_idx;
        // What stands there is ours; a queue that was reset has 0.
        self.used_index = self.used.load(memory, INDEX).unwrap_or(0);
        self.shown = self.used_index;
        self.told = self.used_index;
        self.next = base;
        self.again.clear();
        self.log = log;
        if let Some(log) = &mut self.log {
            self.again = log.recover(self.used_index);
            if let Ok(count) = u16::try_from(self.again.len())
                && count > 0
            {
                // Everything up to here was made available and fetched, and
                // what is not among these has been used.
                self.next = self.used_index.wrapping_add(count);
            }
        }
        self.seen = self.next;
        self.slots = vec![Slot::default(); usize::from(place.entries)].into_boxed_slice();
        self.in_flight = 0;
        self.state = State::Running;
        self.owes_call = self.used_index != 0;
        self.settle_call();
        Ok(())
    }

    /// Looks for it at `place` from now on; its size stays.
    pub(crate) fn put(&mut self, place: Place, memory: &DmaTable) -> Result<(), &'static str> {
        const UNALIGNED: &str = "a part of it is not aligned";
        let entries = usize::from(place.entries);
        // Flags and index before, and the index for notifications behind.
        let around = ENTRIES.saturating_add(AVAIL_BYTES);
        let table = entries.saturating_mul(Descriptor::BYTES);
        let available = entries.saturating_mul(AVAIL_BYTES).saturating_add(around);
        let used = entries.saturating_mul(USED_BYTES).saturating_add(around);
        self.descriptors =
            Part::new(place.descriptors, table, 16, Access::Read).ok_or(UNALIGNED)?;
        self.available = Part::new(place.available, available, 2, Access::Read).ok_or(UNALIGNED)?;
        self.used = Part::new(place.used, used, 4, Access::Write).ok_or(UNALIGNED)?;
        self.entries = place.entries;
        let parts = [&mut self.descriptors, &mut self.available, &mut self.used];
        for part in parts {
            if !part.is_mapped(memory) {
                return Err("a part of it is not in guest memory");
            }
        }
        Ok(())
    }

    /// Takes no requests any more; those in flight are still completed.
    pub(crate) const fn halt(&mut self) {
        self.enabled = false;
    }

    /// Forgets it, after it was halted and is drained. Returns the available
    /// index to go on from.
    pub(crate) fn stop(&mut self) -> u16 {
        self.state = State::Stopped;
        self.enabled = false;
        self.owes_call = false;
        self.in_flight = 0;
        self.slots = Box::default();
        self.again.clear();
        self.log = None;
        self.next
    }

    /// Stops it, and lets go of what it has of its client.
    pub(crate) fn forget(&mut self) {
        self.stop();
        self.call = None;
        self.error = None;
        self.descriptors = Part::nowhere();
        self.available = Part::nowhere();
        self.used = Part::nowhere();
    }

    fn slot(&self, index: u16) -> usize {
        usize::from(index & self.entries.wrapping_sub(1))
    }

    /// Takes the next request, with its data in `buffer`. None where there is
    /// none, and while the queue is not mapped.
    #[inline]
    pub(crate) fn take(
        &mut self,
        memory: &DmaTable,
        buffer: &mut SegmentBuffer,
    ) -> Result<Option<(u16, Chain)>, Fault> {
        if !self.is_served() {
            return Ok(None);
        }
        let Some(head) = self.next_head(memory)? else {
            return Ok(None);
        };
        let slot = self.slots.get(usize::from(head));
        match slot {
            None => return Err(Fault::HeadOutOfRange),
            Some(slot) if slot.busy => return Err(Fault::HeadInUse),
            Some(_) => {}
        }
        let table = (&mut self.descriptors, self.entries);
        let chain = chain::gather(table, head, memory, buffer)?;
        if let Some(log) = &mut self.log {
            log.begin(head);
        }
        if let Some(slot) = self.slots.get_mut(usize::from(head)) {
            *slot = Slot {
                busy: true,
                written: chain.written(),
                status: chain.status,
            };
        }
        self.in_flight = self.in_flight.saturating_add(1);
        self.taken = self.taken.saturating_add(1);
        Ok(Some((head, chain)))
    }

    /// The header of the request that is taken next, as far as that is known.
    #[inline]
    pub(crate) fn peek(&mut self, memory: &DmaTable) -> Option<RequestHeader> {
        if self.next == self.seen || !self.again.is_empty() || !self.is_served() {
            return None;
        }
        let at = self.slot(self.next).saturating_mul(AVAIL_BYTES);
        let head = self.available.load(memory, ENTRIES.saturating_add(at))?;
        chain::peek((&mut self.descriptors, self.entries), head, memory)
    }

    /// The first descriptor of the next request.
    #[inline]
    fn next_head(&mut self, memory: &DmaTable) -> Result<Option<u16>, Fault> {
        if let Some(head) = self.again.pop() {
            return Ok(Some(head));
        }
        if self.next == self.seen {
            // Acquire: whoever sees the index sees what stands before it.
            let Some(index) = self.available.load(memory, INDEX) else {
                return Ok(None);
            };
            if index.wrapping_sub(self.next) > self.entries {
                return Err(Fault::IndexJumped);
            }
            self.seen = index;
            if index == self.next {
                return Ok(None);
            }
        }
        let at = self.slot(self.next).saturating_mul(AVAIL_BYTES);
        let Some(head) = self.available.load(memory, ENTRIES.saturating_add(at)) else {
            return Ok(None);
        };
        self.next = self.next.wrapping_add(1);
        Ok(Some(head))
    }

    /// Gives a request back to the driver, which sees it after [`Ring::show`], or once
    /// there are some. Whether the driver may want to know: not where the request is
    /// none that is being served.
    #[inline]
    pub(crate) fn complete(
        &mut self,
        memory: &DmaTable,
        head: u16,
        status: BlockStatus,
    ) -> Result<bool, Fault> {
        let Some(slot) = self.slots.get_mut(usize::from(head)) else {
            return Ok(false);
        };
        if !slot.busy {
            return Ok(false);
        }
        slot.busy = false;
        let Slot {
            written,
            status: at,
            ..
        } = *slot;
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.state == State::Broken {
            return Ok(false);
        }
        if !self.used.is_mapped(memory) || memory.write_bytes(at, &[status as u8]).is_err() {
            return Err(Fault::Unmapped);
        }
        let entry = self.slot(self.used_index).saturating_mul(USED_BYTES);
        let pair = [head.into(), written];
        self.used
            .store_pair(memory, ENTRIES.saturating_add(entry), pair);
        if let Some(log) = &mut self.log {
            log.retire(head);
        }
        let waiting = self.used_index.wrapping_sub(self.shown);
        if let Some(place) = self.batch.get_mut(usize::from(waiting)) {
            *place = head;
        }
        self.used_index = self.used_index.wrapping_add(1);
        if waiting.saturating_add(1) >= BATCH {
            self.show(memory);
        }
        Ok(true)
    }

    /// Has the driver see all requests that were used.
    #[inline]
    pub(crate) fn show(&mut self, memory: &DmaTable) {
        let waiting = self.used_index.wrapping_sub(self.shown);
        if waiting == 0 {
            return;
        }
        // Release: who sees the index sees the entries, the status and the data.
        self.used.store(memory, INDEX, self.used_index);
        if let Some(log) = &mut self.log {
            let heads = self.batch.iter().take(usize::from(waiting));
            log.settle(heads, self.used_index);
        }
        self.shown = self.used_index;
    }

    /// Shows the driver what was used, and notifies it of that, where it wants to
    /// be (`Virtio 1.2 §2.7.7`).
    pub(crate) fn signal(&mut self, memory: &DmaTable) {
        self.show(memory);
        if self.told == self.used_index {
            return;
        }
        let Some(call) = &self.call else {
            self.told = self.used_index;
            return;
        };
        // The index that was stored is out before what the driver wants is read.
        fence(Ordering::SeqCst);
        let wanted = if self.event_idx {
            let entries = usize::from(self.entries).saturating_mul(AVAIL_BYTES);
            let at = ENTRIES.saturating_add(entries);
            let event = self.available.load(memory, at);
            event.is_none_or(|event| crosses(event, self.told, self.used_index))
        } else {
            let flags = self.available.load(memory, FLAGS);
            flags.is_none_or(|flags| flags & NO_INTERRUPT == 0)
        };
        self.told = self.used_index;
        if wanted {
            call.signal();
        }
    }

    /// Wants to be notified of requests from now on. Whether there is one
    /// already.
    pub(crate) fn listen(&mut self, memory: &DmaTable) -> bool {
        if !self.is_served() {
            return false;
        }
        if !self.again.is_empty() || self.next != self.seen {
            return true;
        }
        if self.event_idx {
            let entries = usize::from(self.entries).saturating_mul(USED_BYTES);
            let at = ENTRIES.saturating_add(entries);
            self.used.store(memory, at, self.next);
        } else {
            self.used.store(memory, FLAGS, 0);
        }
        // What we want is out before the driver's index is read again: either
        // we see the request, or the driver sees that we want to know of it.
        fence(Ordering::SeqCst);
        let index = self.available.load(memory, INDEX);
        index.is_some_and(|index| index != self.next)
    }

    /// Looks for requests by itself from now on. With indices for
    /// notifications there is nothing to do: that which was set has passed.
    pub(crate) fn look(&mut self, memory: &DmaTable) {
        if self.is_served() && !self.event_idx {
            self.used.store(memory, FLAGS, NO_NOTIFY);
        }
    }

    #[cfg(test)]
    pub(super) const fn has_event_idx(&self) -> bool {
        self.event_idx
    }

    /// Does not serve the queue any more, because the driver has spoilt it.
    pub(crate) fn spoil(&mut self) {
        self.state = State::Broken;
        self.again.clear();
        if let Some(error) = &self.error {
            error.signal();
        }
    }
}

/// Whether the index `event` lies among those from `old` up to but without
/// `new` (`Virtio 1.2 §2.7.10`).
pub(super) const fn crosses(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_crossed_once() {
        assert!(crosses(5, 5, 6));
        assert!(!crosses(5, 6, 7));
        assert!(!crosses(6, 5, 6));
        assert!(crosses(7, 5, 8));
        assert!(crosses(u16::MAX, u16::MAX, 1));
        assert!(crosses(0, u16::MAX, 1));
        assert!(!crosses(1, u16::MAX, 1));
    }
}
