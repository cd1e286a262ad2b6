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

mod coalescing;
mod lend;
mod ring;
mod shadow;

use nvme::{CQE_BYTES, CommandId, Cqe, DoorbellKind, QueueId, SQE_BYTES, Sqe, Status};
use zerocopy::little_endian::{U16, U32};

pub(crate) use self::coalescing::Coalescing;
pub(crate) use self::lend::{Lendable, Load};
use self::ring::{BadDoorbell, CompletionQueue, InUse, SubmissionQueue, distance, next};
pub(crate) use self::ring::{Priority, QueueSpec};
pub(crate) use self::shadow::Shadow;
use crate::memory::Access;
use crate::{DmaTable, Doorbells, Rings};

/// All queues of a controller, the admin queues included.
#[derive(Debug)]
pub(crate) struct Queues {
    submission: Vec<Option<SubmissionQueue>>,
    completion: Vec<Option<CompletionQueue>>,
    /// The I/O submission queues there are, in no order.
    live: Vec<QueueId>,
    /// The same by the priority that they were made with.
    by_priority: [Vec<QueueId>; Priority::COUNT],
    /// Completion queues with fresh entries and interrupts enabled.
    fresh: Vec<QueueId>,
    /// Doorbell values that were out of range, since they were asked for last.
    bad_doorbells: u32,
    /// Those that another thread serves for now.
    lent: Vec<(QueueId, DoorbellKind)>,
    /// Doorbells in guest memory, where the guest wants that.
    shadow: Option<Shadow>,
    /// The virtqueues, which a guest has instead of all of these.
    pub(crate) rings: Rings,
}

impl Queues {
    /// No queues yet, and room for `pairs` I/O queue pairs.
    pub(crate) fn new(pairs: u16) -> Self {
        let count = usize::from(pairs).saturating_add(1);
        let mut queues = Self {
            submission: Vec::new(),
            completion: Vec::new(),
            live: Vec::with_capacity(count),
            by_priority: Default::default(),
            fresh: Vec::with_capacity(count),
            bad_doorbells: 0,
            lent: Vec::new(),
            shadow: None,
            rings: Rings::new(pairs),
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
        self.by_priority.iter_mut().for_each(Vec::clear);
        self.fresh.clear();
        self.bad_doorbells = 0;
        self.lent.clear();
        self.shadow = None;
        self.rings.clear();
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

    /// Whether a queue has this doorbell, wherever it is served.
    pub(crate) fn has_doorbell(&self, id: QueueId, kind: DoorbellKind) -> bool {
        self.lent.contains(&(id, kind))
            || match kind {
                DoorbellKind::SubmissionTail => self.has_submission(id),
                DoorbellKind::CompletionHead => self.has_completion(id),
            }
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

    /// The I/O submission queues of a priority, in no order.
    pub(crate) fn of_priority(&self, priority: Priority) -> &[QueueId] {
        let class = self.by_priority.get(priority.index());
        class.map_or(&[][..], Vec::as_slice)
    }

    /// Takes the doorbells of I/O queues from `shadow` from now on. Queues that
    /// there are already start with the ends that they have.
    pub(crate) fn set_shadow(&mut self, mut shadow: Shadow, memory: &DmaTable) {
        for &id in &self.live {
            if let Some(Some(sq)) = self.submission.get(usize::from(id.0)) {
                let kind = DoorbellKind::SubmissionTail;
                shadow.store(id, kind, sq.tail, memory);
                shadow.acknowledge(id, kind, (sq.tail, sq.entries), memory);
            }
        }
        for cq in self.completion.iter().skip(1).flatten() {
            let kind = DoorbellKind::CompletionHead;
            shadow.store(cq.id, kind, cq.head, memory);
            shadow.acknowledge(cq.id, kind, (cq.head, cq.entries), memory);
        }
        self.shadow = Some(shadow);
    }

    /// Sets a doorbell to 0, as it stands when its queue is made.
    pub(crate) fn reset_doorbell(
        &mut self,
        (id, entries): (QueueId, u16),
        kind: DoorbellKind,
        memory: &DmaTable,
        doorbells: &Doorbells,
    ) {
        doorbells.reset(id, kind);
        if let Some(shadow) = &mut self.shadow {
            shadow.store(id, kind, 0, memory);
            shadow.acknowledge(id, kind, (0, entries), memory);
        }
    }

    /// Makes the completion queue `spec`, whose interrupts go to `vector`, if
    /// any. The identifier is free and in range.
    pub(crate) fn create_completion(
        &mut self,
        mut spec: QueueSpec,
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
            told: 0,
            at_once: false,
            rejected: u32::MAX,
            id: spec.id,
        });
        Ok(())
    }

    /// Makes the submission queue `spec`, which completes to `completion`,
    /// which exists. The identifier is free and in range.
    pub(crate) fn create_submission(
        &mut self,
        mut spec: QueueSpec,
        completion: QueueId,
        priority: Priority,
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
            paused: false,
            fetched: 0,
            rejected: u32::MAX,
        });
        if let Some(cq) = self.cq_mut(completion) {
            cq.users = cq.users.saturating_add(1);
        }
        if !spec.id.is_admin() {
            self.live.push(spec.id);
            if let Some(class) = self.by_priority.get_mut(priority.index()) {
                class.push(spec.id);
            }
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
        for class in &mut self.by_priority {
            class.retain(|&live| live != id);
        }
    }

    /// How many commands wait in a submission queue, by its doorbell.
    #[inline]
    pub(crate) fn waiting(&mut self, id: QueueId, memory: &DmaTable, doorbells: &Doorbells) -> u16 {
        let Some(Some(sq)) = self.submission.get_mut(usize::from(id.0)) else {
            return 0;
        };
        let kind = DoorbellKind::SubmissionTail;
        let value = match &mut self.shadow {
            Some(shadow) if !id.is_admin() => {
                shadow.load(id, kind, memory).unwrap_or(u32::from(sq.tail))
            }
            _ => doorbells.load(id, kind),
        };
        let mut bad = false;
        match u16::try_from(value) {
            Ok(tail) if tail < sq.entries => {
                sq.rejected = u32::MAX;
                sq.tail = tail;
            }
            _ if sq.rejected == value => {}
            _ => {
                sq.rejected = value;
                bad = true;
            }
        }
        let waiting = if sq.closing || sq.paused {
            0
        } else {
            distance(sq.head, sq.tail, sq.entries)
        };
        if bad {
            self.bad_doorbells = self.bad_doorbells.saturating_add(1);
        }
        waiting
    }

    /// Tells a host with shadow doorbells how far a submission queue was
    /// fetched, after each batch.
    #[inline]
    pub(crate) fn acknowledge(&mut self, id: QueueId, memory: &DmaTable) {
        let Some(shadow) = &mut self.shadow else {
            return;
        };
        if let Some(Some(sq)) = self.submission.get(usize::from(id.0))
            && !id.is_admin()
        {
            let kind = DoorbellKind::SubmissionTail;
            shadow.acknowledge(id, kind, (sq.head, sq.entries), memory);
        }
    }

    /// Fetches the next command of a submission queue into `sqe` and reserves room
    /// for its completion, in the queue that is returned. None where none
    /// waits, where the completion queue is full, and while either queue is not
    /// mapped.
    #[inline]
    pub(crate) fn fetch(
        &mut self,
        id: QueueId,
        (memory, doorbells): (&DmaTable, &Doorbells),
        sqe: &mut Sqe,
    ) -> Option<QueueId> {
        let sq = self.submission.get_mut(usize::from(id.0))?.as_mut()?;
        if sq.head == sq.tail || sq.closing {
            return None;
        }
        let cq = self
            .completion
            .get_mut(usize::from(sq.completion.0))?
            .as_mut()?;
        if cq.free == 0 {
            let heads = (memory, doorbells);
            if cq.refresh(&mut self.shadow, heads) == Err(BadDoorbell) {
                self.bad_doorbells = self.bad_doorbells.saturating_add(1);
            }
            if cq.free == 0 {
                return None;
            }
        }
        if !cq.window.is_mapped(memory, usize::from(cq.tail), CQE_BYTES) {
            return None;
        }
        sq.window.read_sqe(memory, usize::from(sq.head), sqe)?;
        sq.head = next(sq.head, sq.entries);
        sq.fetched = sq.fetched.saturating_add(1);
        cq.free = cq.free.saturating_sub(1);
        cq.reserved = cq.reserved.saturating_add(1);
        Some(sq.completion)
    }

    /// Reads the command that would be fetched next into `sqe`, without fetching
    /// it. False where there is none, or its queue is not mapped.
    #[inline]
    pub(crate) fn peek(&mut self, id: QueueId, memory: &DmaTable, sqe: &mut Sqe) -> bool {
        let queue = self.submission.get_mut(usize::from(id.0));
        let Some(sq) = queue.and_then(Option::as_mut) else {
            return false;
        };
        let head = usize::from(sq.head);
        sq.head != sq.tail && sq.window.read_sqe(memory, head, sqe).is_some()
    }

    /// Posts a completion into room that was reserved. Whether it was posted:
    /// not while the queue is not mapped.
    #[inline]
    pub(crate) fn post(&mut self, memory: &DmaTable, completion: QueueId, reply: &Reply) -> bool {
        let head = self.sq(reply.queue).map_or(0, |sq| sq.head);
        let Some(Some(cq)) = self.completion.get_mut(usize::from(completion.0)) else {
            // What came from no NVMe queue came from a virtqueue.
            self.rings.post(memory, reply);
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
        if !cq.window.post_cqe(memory, usize::from(cq.tail), &cqe) {
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
    pub(crate) fn reserve(
        &mut self,
        completion: QueueId,
        memory: &DmaTable,
        doorbells: &Doorbells,
    ) -> bool {
        let Some(Some(cq)) = self.completion.get_mut(usize::from(completion.0)) else {
            return false;
        };
        let refreshed = cq.refresh(&mut self.shadow, (memory, doorbells));
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

    /// Has the next interrupt of a completion queue not wait for more entries.
    pub(crate) fn hurry(&mut self, completion: QueueId) {
        if let Some(cq) = self.cq_mut(completion) {
            cq.at_once = true;
        }
    }

    /// Whether [`Queues::take_due`] has something.
    #[inline]
    pub(crate) const fn is_due(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Takes an interrupt that is due, until there is none.
    #[inline]
    pub(crate) fn take_due(&mut self) -> Option<Due> {
        let id = self.fresh.pop()?;
        let cq = self.cq_mut(id)?;
        cq.fresh = false;
        let entries = distance(cq.told, cq.tail, cq.entries);
        cq.told = cq.tail;
        Some(Due {
            vector: cq.vector?,
            // A whole round of the ring looks like none.
            entries: u32::from(if entries == 0 { cq.entries } else { entries }),
            at_once: std::mem::take(&mut cq.at_once) || id.is_admin(),
        })
    }

    /// Makes interrupts due again on each queue that has entries which the
    /// guest has not consumed.
    pub(crate) fn remind(&mut self, memory: &DmaTable, doorbells: &Doorbells) {
        let mut bad = 0_u32;
        for cq in self.completion.iter_mut().flatten() {
            if cq.refresh(&mut self.shadow, (memory, doorbells)) == Err(BadDoorbell) {
                bad = bad.saturating_add(1);
            }
            if cq.vector.is_some() && cq.head != cq.tail {
                cq.at_once = true;
                if !cq.fresh {
                    cq.fresh = true;
                    self.fresh.push(cq.id);
                }
            }
        }
        self.bad_doorbells = self.bad_doorbells.saturating_add(bad);
    }

    /// Whether a queue with interrupts enabled, on a vector that `mask` does not
    /// hold back, has entries which the guest has not consumed.
    pub(crate) fn is_pending(
        &mut self,
        memory: &DmaTable,
        doorbells: &Doorbells,
        mask: u32,
    ) -> bool {
        let shadow = &mut self.shadow;
        let mut bad = 0_u32;
        let mut pending = false;
        for cq in self.completion.iter_mut().flatten() {
            if cq.vector.is_some_and(|vector| !is_masked(mask, vector)) {
                bad =
                    bad.saturating_add(u32::from(cq.refresh(shadow, (memory, doorbells)).is_err()));
                pending |= cq.head != cq.tail;
            }
        }
        self.bad_doorbells = self.bad_doorbells.saturating_add(bad);
        pending
    }

    /// Whether a doorbell value was out of range since that was asked last.
    pub(crate) const fn has_bad_doorbells(&self) -> bool {
        self.bad_doorbells > 0
    }

    /// Looks at the doorbells in guest memory that `whole` looks at.
    pub(crate) fn share_shadow(&mut self, whole: &Self) {
        self.shadow.clone_from(&whole.shadow);
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

/// An interrupt that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// Where it goes.
    pub(crate) vector: u16,
    /// Entries that it tells of.
    pub(crate) entries: u32,
    /// Whether it must not wait for more of them.
    pub(crate) at_once: bool,
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
