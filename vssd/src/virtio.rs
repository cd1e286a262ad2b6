//! Virtqueues of a block device: a second way into the drive, beside NVMe's
//! queues.
//!
//! ```text
//!   available ring --acquire--> chain -> (Sqe, Segments, Ticket) -+
//!                                                                 | as NVMe's
//!   used ring <--release-- status byte <- Ticket <-- medium <-----+
//! ```
//!
//! A request becomes the NVMe command that asks for the same: from there on it
//! is checked, executed, counted and observed as one of NVMe's own, on the first
//! namespace. Virtqueue `n` appears as I/O queue `n + 1`, and a request's command
//! identifier is the index of its first descriptor. What NVMe has no I/O command
//! for (the identity string, requests that no command can express) is answered
//! at once and not observed.
//!
//! The rings are walked here, and not by a library, because a library brings its
//! own idea of guest memory: a second table and a second mapping beside
//! [`DmaTable`], and reference counts for each chain. A descriptor is read as an
//! entry of an NVMe queue is, through pointers that a change of the table makes
//! void.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

mod chain;
mod inflight;
pub(crate) mod layout;
mod request;
mod ring;
mod serve;

use nvme::{QueueId, Status};

use self::chain::{Chain, Fault};
pub(crate) use self::inflight::InflightFile;
use self::layout::{BlockStatus, RequestHeader};
pub(crate) use self::request::{BLOCKS_MAX, RANGES_MAX};
pub(crate) use self::ring::{Beginning, ENTRIES_MAX, Place, Ring};
use crate::DmaTable;
use crate::front::Event;
use crate::memory::SegmentBuffer;
use crate::queue::{Lendable, Load, Reply};

/// What a virtio guest is told of the drive: of namespace 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// Blocks.
    pub blocks: u64,
    /// Size of a block, bytes.
    pub block_bytes: u32,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether writes may wait for a flush.
    pub write_cache: bool,
    /// Whether blocks can be discarded.
    pub discards: bool,
    /// Whether zeroes can be written without being sent.
    pub writes_zeroes: bool,
    /// The most virtqueues.
    pub queues: u16,
}

/// The virtqueues of a drive; [`crate::front::vhost_user`] sets them up.
#[derive(Debug)]
pub struct Rings {
    rings: Vec<Ring>,
    /// Those that are served.
    served: Vec<u16>,
    /// Those that may have something to tell of.
    fresh: Vec<u16>,
    /// Which of the served has the first turn at the next poll.
    turn: usize,
}

/// The most virtqueues: clients number them with 8 bits.
const QUEUES_MAX: u16 = 256;

/// The NVMe queue that virtqueue `index` appears as.
const fn queue_of(index: u16) -> QueueId {
    QueueId(index.saturating_add(1))
}

impl Rings {
    /// `count` virtqueues, or as many as there can be, none of which is started.
    pub(crate) fn new(count: u16) -> Self {
        let count = count.min(QUEUES_MAX);
        let mut rings = Vec::new();
        rings.resize_with(usize::from(count), Ring::new);
        Self {
            rings,
            served: Vec::with_capacity(usize::from(count)),
            fresh: Vec::with_capacity(usize::from(count)),
            turn: 0,
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.rings.len()).unwrap_or(u16::MAX)
    }

    /// Stops all, and lets go of what they have of a client.
    pub(crate) fn clear(&mut self) {
        self.rings.iter_mut().for_each(Ring::forget);
        self.served.clear();
        self.fresh.clear();
    }

    fn ring_mut(&mut self, index: u16) -> Option<&mut Ring> {
        self.rings.get_mut(usize::from(index))
    }

    /// Notes which are served, after that has changed.
    fn sort_out(&mut self) {
        self.served.clear();
        let rings = self.rings.iter().zip(0_u16..);
        let served = rings.filter(|(ring, _)| ring.is_served());
        self.served.extend(served.map(|(_, index)| index));
    }

    /// Whether any is served, or has something to tell of.
    #[inline]
    pub(crate) const fn are_active(&self) -> bool {
        !self.served.is_empty() || !self.fresh.is_empty()
    }

    /// Whether a virtqueue was started and not stopped.
    pub(crate) fn is_started(&self, index: u16) -> bool {
        let ring = self.rings.get(usize::from(index));
        ring.is_some_and(Ring::is_started)
    }

    /// Starts a virtqueue. What is wrong with it, where it cannot be started.
    pub(crate) fn start(
        &mut self,
        index: u16,
        beginning: Beginning,
        memory: &DmaTable,
    ) -> Result<(), &'static str> {
        let ring = self.ring_mut(index).ok_or("there is no such queue")?;
        let started = ring.start(beginning, memory);
        self.sort_out();
        started
    }

    /// Has a virtqueue be looked for elsewhere, where the client's memory
    /// changed.
    pub(crate) fn put(&mut self, index: u16, place: Place, memory: &DmaTable) {
        if let Some(ring) = self.ring_mut(index)
            && let Err(why) = ring.put(place, memory)
        {
            log::warn!("virtqueue {index} stands still: {why}");
        }
    }

    /// Takes requests from a virtqueue, or not.
    pub(crate) fn enable(&mut self, index: u16, enabled: bool) {
        if let Some(ring) = self.ring_mut(index) {
            ring.enable(enabled);
        }
        self.sort_out();
    }

    /// Takes no requests from a virtqueue any more.
    pub(crate) fn halt(&mut self, index: u16) {
        if let Some(ring) = self.ring_mut(index) {
            ring.halt();
        }
        self.sort_out();
    }

    /// How many requests of a virtqueue are being served.
    pub(crate) fn in_flight(&self, index: u16) -> u16 {
        let ring = self.rings.get(usize::from(index));
        ring.map_or(0, Ring::in_flight)
    }

    /// Stops a virtqueue that was halted and is drained. Returns the available
    /// index to go on from.
    pub(crate) fn stop(&mut self, index: u16, memory: &DmaTable) -> u16 {
        let next = self.ring_mut(index).map_or(0, |ring| {
            ring.signal(memory);
            ring.stop()
        });
        self.sort_out();
        next
    }

    /// The virtqueues that were started, with what there was to do for each
    /// since this was asked last.
    pub(crate) fn loads(&mut self) -> Vec<Load> {
        let rings = self.rings.iter_mut().zip(0_u16..);
        let started = rings.filter(|(ring, _)| ring.is_served());
        started
            .map(|(ring, index)| Load {
                what: Lendable::Ring(index),
                commands: u64::from(ring.take_load()),
            })
            .collect()
    }

    /// Those that were started.
    pub(crate) fn started(&self) -> impl Iterator<Item = u16> {
        let rings = self.rings.iter().zip(0_u16..);
        let started = rings.filter(|(ring, _)| ring.is_started());
        started.map(|(_, index)| index)
    }

    /// Takes no requests from a virtqueue for a while, or takes them again.
    pub(crate) fn pause(&mut self, index: u16, paused: bool) {
        if let Some(ring) = self.ring_mut(index) {
            ring.pause(paused);
        }
        self.sort_out();
    }

    /// Gives a virtqueue away.
    pub(crate) fn lend(&mut self, index: u16) -> Option<Ring> {
        let lent = std::mem::replace(self.ring_mut(index)?, Ring::new());
        self.fresh.retain(|&fresh| fresh != index);
        self.sort_out();
        Some(lent)
    }

    /// Takes a virtqueue that was given away.
    pub(crate) fn put_back(&mut self, index: u16, lent: Ring) {
        if let Some(ring) = self.ring_mut(index) {
            *ring = lent;
            // It tells what it has to tell at the next turn.
            self.fresh.push(index);
        }
        self.sort_out();
    }

    /// Sets what tells the driver of used requests.
    pub(crate) fn set_call(&mut self, index: u16, call: Option<Event>) {
        if let Some(ring) = self.ring_mut(index) {
            ring.set_call(call);
        }
    }

    /// Sets what tells the client that a virtqueue is spoilt.
    pub(crate) fn set_error(&mut self, index: u16, error: Option<Event>) {
        if let Some(ring) = self.ring_mut(index) {
            ring.set_error(error);
        }
    }

    /// Takes the next request of a virtqueue, with its data in `buffer`.
    #[inline]
    fn take(
        &mut self,
        index: u16,
        memory: &DmaTable,
        buffer: &mut SegmentBuffer,
    ) -> Option<(u16, Chain)> {
        let ring = self.rings.get_mut(usize::from(index))?;
        match ring.take(memory, buffer) {
            Ok(taken) => taken,
            Err(fault) => {
                self.spoil(index, fault);
                None
            }
        }
    }

    /// The header of the request of a virtqueue that is taken next, as far as that is
    /// known.
    #[inline]
    fn peek(&mut self, index: u16, memory: &DmaTable) -> Option<RequestHeader> {
        self.rings.get_mut(usize::from(index))?.peek(memory)
    }

    /// Gives a request back to the driver.
    #[inline]
    fn complete(&mut self, index: u16, head: u16, status: BlockStatus, memory: &DmaTable) {
        let Some(ring) = self.rings.get_mut(usize::from(index)) else {
            return;
        };
        match ring.complete(memory, head, status) {
            Ok(false) => {}
            Ok(true) => {
                if self.fresh.last() != Some(&index) && !self.fresh.contains(&index) {
                    self.fresh.push(index);
                }
            }
            Err(fault) => self.spoil(index, fault),
        }
    }

    /// Completes what was fetched as an NVMe command.
    #[inline]
    pub(crate) fn post(&mut self, memory: &DmaTable, reply: &Reply) {
        let Some(index) = reply.queue.0.checked_sub(1) else {
            return;
        };
        self.complete(index, reply.cid.0, status_of(reply.status), memory);
    }

    #[cold]
    fn spoil(&mut self, index: u16, fault: Fault) {
        log::warn!("virtqueue {index} is not served until the guest resets it: {fault}");
        if let Some(ring) = self.ring_mut(index) {
            ring.spoil();
        }
        self.sort_out();
    }

    /// Has the driver see what was used so far.
    #[inline]
    fn show(&mut self, memory: &DmaTable) {
        for &index in &self.fresh {
            if let Some(ring) = self.rings.get_mut(usize::from(index)) {
                ring.show(memory);
            }
        }
    }

    /// Notifies the driver, once for each virtqueue that has something to tell.
    #[inline]
    pub(crate) fn signal(&mut self, memory: &DmaTable) {
        while let Some(index) = self.fresh.pop() {
            if let Some(ring) = self.ring_mut(index) {
                ring.signal(memory);
            }
        }
    }

    /// Wants to be notified of requests from now on. Whether there is one
    /// already.
    pub(crate) fn listen(&mut self, memory: &DmaTable) -> bool {
        let mut waits = false;
        for ring in &mut self.rings {
            waits |= ring.listen(memory);
        }
        waits
    }

    /// Looks for requests without being notified from now on.
    pub(crate) fn look(&mut self, memory: &DmaTable) {
        for ring in &mut self.rings {
            ring.look(memory);
        }
    }
}

#[cfg(test)]
impl Rings {
    fn has_event_idx(&self, index: u16) -> bool {
        self.rings[usize::from(index)].has_event_idx()
    }

    fn forget_for_tests(&mut self, index: u16) {
        self.rings[usize::from(index)].forget();
    }
}

/// What the driver is told of a command that ended so.
fn status_of(status: Status) -> BlockStatus {
    if status.is_success() {
        BlockStatus::Ok
    } else if status.same_code(Status::INVALID_OPCODE) {
        BlockStatus::Unsupported
    } else {
        BlockStatus::IoError
    }
}

#[cfg(test)]
pub(crate) mod tests;
