//! Queues: fetching commands and posting completions, in guest memory that may
//! move at any time.
//!
//! ```text
//!   doorbell page        guest memory                 guest memory
//!   SQ tail --acquire--> entries [head..tail)         entry [tail], phase last
//!                            |                             ^
//!                            v                             | release
//!          reserve in CQ -> fetch -> (Sqe, Ticket) ... -> post
//! ```
//!
//! Room in the completion queue is reserved before a command is fetched, so
//! that every command can be completed whatever the guest does. What a guest
//! writes to a doorbell is checked; what is out of range is as if it had not
//! been written.
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

mod ring;

use nvme::{CQE_BYTES, CommandId, Cqe, DoorbellKind, QueueId, SQE_BYTES, Sqe, Status};
use zerocopy::little_endian::{U16, U32};

pub(crate) use self::ring::QueueSpec;
use self::ring::{BadDoorbell, CompletionQueue, InUse, SubmissionQueue, distance, next};
use crate::memory::Access;
use crate::{DmaTable, Doorbells};

/// All queues of a controller, the admin queues included.
#[derive(Debug)]
pub(crate) struct Queues {
    submission: Vec<Option<SubmissionQueue>>,
    completion: Vec<Option<CompletionQueue>>,
    /// The I/O submission queues there are, in no order.
    live: Vec<QueueId>,
    /// Completion queues with fresh entries and interrupts enabled.
    fresh: Vec<QueueId>,
    /// Doorbell values that were out of range, since they were asked for last.
    bad_doorbells: u32,
}

impl Queues {
    /// No queues yet, and room for `pairs` I/O queue pairs.
    pub(crate) fn new(pairs: u16) -> Self {
        let count = usize::from(pairs).saturating_add(1);
        let mut queues = Self {
            submission: Vec::new(),
            completion: Vec::new(),
            live: Vec::with_capacity(count),
            fresh: Vec::with_capacity(count),
            bad_doorbells: 0,
        };
        queues.submission.resize_with(count, || None);
        queues.completion.resize_with(count, || None);
        queues
    }

    /// Removes every queue.
    pub(crate) fn clear(&mut self) {
        self.submission.fill_with(|| None);
        self.completion.fill_with(|| None);
        self.live.clear();
        self.fresh.clear();
        self.bad_doorbells = 0;
    }

    fn sq(&self, id: QueueId) -> Option<&SubmissionQueue> {
        self.submission.get(usize::from(id.0))?.as_ref()
    }

    fn sq_mut(&mut self, id: QueueId) -> Option<&mut SubmissionQueue> {
        self.submission.get_mut(usize::from(id.0))?.as_mut()
    }

    fn cq(&self, id: QueueId) -> Option<&CompletionQueue> {
        self.completion.get(usize::from(id.0))?.as_ref()
    }

    fn cq_mut(&mut self, id: QueueId) -> Option<&mut CompletionQueue> {
        self.completion.get_mut(usize::from(id.0))?.as_mut()
    }

    /// Whether there is a submission queue `id`.
    pub(crate) fn has_submission(&self, id: QueueId) -> bool {
        self.sq(id).is_some()
    }

    /// Whether there is a completion queue `id`.
    pub(crate) fn has_completion(&self, id: QueueId) -> bool {
        self.cq(id).is_some()
    }

    /// Whether there is any I/O queue.
    pub(crate) fn has_io(&self) -> bool {
        !self.live.is_empty() || self.completion.iter().skip(1).any(Option::is_some)
    }

    /// The number of I/O submission queues.
    pub(crate) const fn live(&self) -> usize {
        self.live.len()
    }

    /// The I/O submission queue at `index`, below [`Queues::live`].
    pub(crate) fn live_at(&self, index: usize) -> Option<QueueId> {
        self.live.get(index).copied()
    }

    /// Makes the completion queue `spec`, whose interrupts go to `vector`, if
    /// any. The identifier is free and in range.
    pub(crate) fn create_completion(
        &mut self,
        spec: QueueSpec,
        vector: Option<u16>,
    ) -> Result<(), Status> {
        let window = spec
            .window(CQE_BYTES, Access::Write)
            .ok_or(Status::PRP_OFFSET_INVALID.dnr())?;
        let slot = self
            .completion
            .get_mut(usize::from(spec.id.0))
            .ok_or(Status::INVALID_QUEUE_ID.dnr())?;
        *slot = Some(CompletionQueue {
            window,
            entries: spec.entries,
            head: 0,
            tail: 0,
            phase: true,
            reserved: 0,
            free: spec.entries.saturating_sub(1),
            users: 0,
            vector,
            fresh: false,
            rejected: u32::MAX,
            id: spec.id,
        });
        Ok(())
    }

    /// Makes the submission queue `spec`, which completes to `completion`,
    /// which exists. The identifier is free and in range.
    pub(crate) fn create_submission(
        &mut self,
        spec: QueueSpec,
        completion: QueueId,
    ) -> Result<(), Status> {
        let window = spec
            .window(SQE_BYTES, Access::Read)
            .ok_or(Status::PRP_OFFSET_INVALID.dnr())?;
        let slot = self
            .submission
            .get_mut(usize::from(spec.id.0))
            .ok_or(Status::INVALID_QUEUE_ID.dnr())?;
        *slot = Some(SubmissionQueue {
            completion,
            window,
            entries: spec.entries,
            head: 0,
            tail: 0,
            in_flight: InUse::new(),
            closing: false,
            rejected: u32::MAX,
        });
        if let Some(cq) = self.cq_mut(completion) {
            cq.users = cq.users.saturating_add(1);
        }
        if !spec.id.is_admin() {
            self.live.push(spec.id);
        }
        Ok(())
    }

    /// Removes a completion queue.
    pub(crate) fn delete_completion(&mut self, id: QueueId) -> Result<(), Status> {
        match self.cq(id) {
            Some(cq) if !id.is_admin() => {
                if cq.users > 0 {
                    return Err(Status::INVALID_QUEUE_DELETION.dnr());
                }
            }
            _ => return Err(Status::INVALID_QUEUE_ID.dnr()),
        }
        if let Some(slot) = self.completion.get_mut(usize::from(id.0)) {
            *slot = None;
        }
        self.fresh.retain(|&fresh| fresh != id);
        Ok(())
    }

    /// Fetches nothing from a submission queue any more; it can be deleted once
    /// [`Queues::is_drained`].
    pub(crate) fn close_submission(&mut self, id: QueueId) -> Result<(), Status> {
        match self.sq_mut(id) {
            Some(sq) if !id.is_admin() && !sq.closing => {
                sq.closing = true;
                Ok(())
            }
            _ => Err(Status::INVALID_QUEUE_ID.dnr()),
        }
    }

    /// Whether no command of the queue is in flight.
    pub(crate) fn is_drained(&self, id: QueueId) -> bool {
        self.sq(id).is_none_or(|sq| sq.in_flight.count == 0)
    }

    /// Removes a submission queue.
    pub(crate) fn delete_submission(&mut self, id: QueueId) {
        let Some(slot) = self.submission.get_mut(usize::from(id.0)) else {
            return;
        };
        if let Some(sq) = slot.take()
            && let Some(cq) = self.cq_mut(sq.completion)
        {
            cq.users = cq.users.saturating_sub(1);
        }
        self.live.retain(|&live| live != id);
    }

    /// How many commands wait in a submission queue, by its doorbell.
    #[inline]
    pub(crate) fn waiting(&mut self, id: QueueId, doorbells: &Doorbells) -> u16 {
        let Some(sq) = self.sq_mut(id) else {
            return 0;
        };
        let value = doorbells.load(id, DoorbellKind::SubmissionTail);
        let mut bad = false;
        match u16::try_from(value) {
            Ok(tail) if tail < sq.entries => {
                sq.tail = tail;
                sq.rejected = u32::MAX;
            }
            _ if sq.rejected == value => {}
            _ => {
                sq.rejected = value;
                bad = true;
            }
        }
        let waiting = if sq.closing {
            0
        } else {
            distance(sq.head, sq.tail, sq.entries)
        };
        if bad {
            self.bad_doorbells = self.bad_doorbells.saturating_add(1);
        }
        waiting
    }

    /// Fetches the next command of a submission queue and reserves room for its
    /// completion, in the queue that is returned with it. None where none
    /// waits, where the completion queue is full, and while either queue is not
    /// mapped.
    #[inline]
    pub(crate) fn fetch(
        &mut self,
        id: QueueId,
        memory: &DmaTable,
        doorbells: &Doorbells,
    ) -> Option<(Sqe, QueueId)> {
        let sq = self.submission.get_mut(usize::from(id.0))?.as_mut()?;
        if sq.head == sq.tail || sq.closing {
            return None;
        }
        let cq = self
            .completion
            .get_mut(usize::from(sq.completion.0))?
            .as_mut()?;
        if cq.free == 0 {
            if cq.refresh(doorbells) == Err(BadDoorbell) {
                self.bad_doorbells = self.bad_doorbells.saturating_add(1);
            }
            if cq.free == 0 {
                return None;
            }
        }
        if !cq.window.is_mapped(memory, cq.tail, CQE_BYTES) {
            return None;
        }
        let sqe = sq.window.read_sqe(memory, sq.head)?;
        sq.head = next(sq.head, sq.entries);
        cq.free = cq.free.saturating_sub(1);
        cq.reserved = cq.reserved.saturating_add(1);
        Some((sqe, sq.completion))
    }

    /// Posts a completion into room that was reserved. Whether it was posted:
    /// not while the queue is not mapped.
    #[inline]
    pub(crate) fn post(&mut self, memory: &DmaTable, completion: QueueId, reply: &Reply) -> bool {
        let head = self.sq(reply.queue).map_or(0, |sq| sq.head);
        let Some(cq) = self.completion.get_mut(usize::from(completion.0)) else {
            return true;
        };
        let Some(cq) = cq.as_mut() else {
            return true;
        };
        let mut cqe = Cqe {
            result: U32::from_bytes(reply.result()),
            result_high: U32::from_bytes(reply.result_high()),
            sq_head: U16::new(head),
            sq_id: U16::new(reply.queue.0),
            command_id: U16::new(reply.cid.0),
            status_phase: U16::new(0),
        };
        cqe.set_status(reply.status, cq.phase);
        if !cq.window.post_cqe(memory, cq.tail, &cqe) {
            return false;
        }
        cq.tail = next(cq.tail, cq.entries);
        cq.phase ^= cq.tail == 0;
        cq.reserved = cq.reserved.saturating_sub(1);
        if cq.vector.is_some() && !cq.fresh {
            cq.fresh = true;
            self.fresh.push(completion);
        }
        true
    }

    /// Gives back the room that was reserved for a command which will not
    /// complete soon.
    pub(crate) fn release(&mut self, completion: QueueId) {
        if let Some(cq) = self.cq_mut(completion) {
            cq.reserved = cq.reserved.saturating_sub(1);
            cq.free = cq.free.saturating_add(1);
        }
    }

    /// Reserves room again; whether there was some.
    pub(crate) fn reserve(&mut self, completion: QueueId, doorbells: &Doorbells) -> bool {
        let Some(cq) = self.cq_mut(completion) else {
            return false;
        };
        let refreshed = cq.refresh(doorbells);
        let free = cq.free > 0;
        if free {
            cq.free = cq.free.saturating_sub(1);
            cq.reserved = cq.reserved.saturating_add(1);
        }
        if refreshed == Err(BadDoorbell) {
            self.bad_doorbells = self.bad_doorbells.saturating_add(1);
        }
        free
    }

    /// Whether command `cid` of a submission queue is in flight.
    #[inline]
    pub(crate) fn is_in_flight(&self, id: QueueId, cid: CommandId) -> bool {
        self.sq(id).is_some_and(|sq| sq.in_flight.contains(cid))
    }

    /// Notes that command `cid` is in flight, or that it is no more.
    pub(crate) fn set_in_flight(&mut self, id: QueueId, cid: CommandId, in_flight: bool) {
        if let Some(sq) = self.sq_mut(id) {
            sq.in_flight.set(cid, in_flight);
        }
    }

    /// Takes a vector that an interrupt is due on, until there is none.
    #[inline]
    pub(crate) fn take_due(&mut self) -> Option<u16> {
        let id = self.fresh.pop()?;
        let cq = self.cq_mut(id)?;
        cq.fresh = false;
        cq.vector
    }

    /// Makes interrupts due again on each queue that has entries which the
    /// guest has not consumed.
    pub(crate) fn remind(&mut self, doorbells: &Doorbells) {
        let mut bad = 0_u32;
        for cq in self.completion.iter_mut().flatten() {
            if cq.refresh(doorbells) == Err(BadDoorbell) {
                bad = bad.saturating_add(1);
            }
            if cq.vector.is_some() && cq.head != cq.tail && !cq.fresh {
                cq.fresh = true;
                self.fresh.push(cq.id);
            }
        }
        self.bad_doorbells = self.bad_doorbells.saturating_add(bad);
    }

    /// How many doorbell values were out of range since this was asked last.
    pub(crate) fn take_bad_doorbells(&mut self) -> u32 {
        std::mem::take(&mut self.bad_doorbells)
    }
}

/// Whether INTMS holds back `vector` (`NVMe Base 2.1 §3.1.4.3`).
pub(crate) const fn is_masked(mask: u32, vector: u16) -> bool {
    vector < 32 && mask >> vector & 1 != 0
}

/// What a completion says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    /// The submission queue of the command.
    pub(crate) queue: QueueId,
    /// The command.
    pub(crate) cid: CommandId,
    /// How it went.
    pub(crate) status: Status,
    /// Dwords 0 and 1.
    pub(crate) result: u64,
}

impl Reply {
    const fn result(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.result.to_le_bytes();
        [a, b, c, d]
    }

    const fn result_high(&self) -> [u8; 4] {
        let [_, _, _, _, a, b, c, d] = self.result.to_le_bytes();
        [a, b, c, d]
    }
}

#[cfg(test)]
mod tests;
