//! The data path: a submission queue and its completion queue.

mod gate;
mod layout;
mod observer;

use std::sync::Arc;
use std::time::Duration;

use nvme::{CommandId, Cqe, QueueId, Status};
use traces::{Clock, Tap};

use self::observer::Observer;
use crate::cmdlog::CmdLog;
use crate::prp::PrpLists;
use crate::ring::{CompletionRing, SubmissionRing};
use crate::transport::{DoorbellRegister, Link};
use crate::{CmdLogEntry, Command, DmaBuffer, DriverError, SubmitError, SubmitReason};

pub(crate) use self::gate::Gate;
pub(crate) use self::layout::Layout;
pub use self::observer::Sequence;

/// A command in flight on a [`QueuePair`]; free for another command once that
/// one is reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u16);

impl Tag {
    /// The command's identifier on the wire.
    #[must_use]
    pub const fn cid(self) -> CommandId {
        CommandId(self.0)
    }
}

/// A command that is over.
#[derive(Clone, Copy, Debug)]
pub struct Completed {
    /// The command, as [`QueuePair::submit`] named it.
    pub tag: Tag,
    /// What the caller gave along.
    pub user: u64,
    /// How it ended; [`Status::ABORTED_SQ_DELETION`] where the queue went
    /// away under it, see [`Completed::lost`].
    pub status: Status,
    /// Whether the device never completed it: the controller was reset, the
    /// queue deleted or the device lost, and nobody knows how far it got.
    pub lost: bool,
    /// Dword 0 of the completion.
    pub result: u32,
    /// When it was submitted, nanoseconds of the caller's clock.
    pub submit_ns: u64,
    /// When its completion was seen, nanoseconds of the clock given to
    /// [`QueuePair::poll`].
    pub complete_ns: u64,
}

impl Completed {
    /// From submission to completion, nanoseconds.
    #[must_use]
    pub const fn latency_ns(&self) -> u64 {
        self.complete_ns.saturating_sub(self.submit_ns)
    }
}

/// What a queue pair is made of; put together by the controller.
pub(crate) struct Parts {
    pub(crate) device: String,
    pub(crate) id: QueueId,
    pub(crate) depth: u16,
    pub(crate) memory: Arc<DmaBuffer>,
    pub(crate) layout: Layout,
    pub(crate) tail_doorbell: DoorbellRegister,
    pub(crate) head_doorbell: DoorbellRegister,
    pub(crate) gate: Arc<Gate>,
    pub(crate) link: Option<Arc<dyn Link>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    user: u64,
    submit_ns: u64,
    in_flight: bool,
    /// Its number in the command log.
    logged: u64,
}

/// A submission queue and its completion queue.
///
/// It may be moved to another thread, and neither locks nor allocates for a
/// command. Completions are only seen by [`QueuePair::poll`].
///
/// Where it is dropped with commands in flight, the device still finishes
/// them into memory that the controller keeps for it; the callers' buffers are
/// the callers' to keep.
pub struct QueuePair<T: Tap = ()> {
    device: String,
    id: QueueId,
    sq: SubmissionRing,
    cq: CompletionRing,
    memory: Arc<DmaBuffer>,
    lists: PrpLists,
    transfer_bytes_max: usize,
    tail_doorbell: DoorbellRegister,
    head_doorbell: DoorbellRegister,
    slots: Box<[Slot]>,
    free: Vec<u16>,
    /// Whether entries were pushed since the tail doorbell was rung.
    unrung: bool,
    gate: Arc<Gate>,
    link: Option<Arc<dyn Link>>,
    cmdlog: CmdLog,
    observer: Observer<T>,
}

impl<T: Tap> std::fmt::Debug for QueuePair<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueuePair")
            .field("id", &self.id)
            .field("depth", &self.depth())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl QueuePair {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            id, depth, layout, ..
        } = parts;
        Self {
            device: parts.device,
            id,
            sq: SubmissionRing::new(Arc::clone(&parts.memory), layout.sq),
            cq: CompletionRing::new(Arc::clone(&parts.memory), layout.cq, u32::from(depth)),
            memory: parts.memory,
            lists: layout.lists,
            transfer_bytes_max: layout.transfer_bytes_max,
            tail_doorbell: parts.tail_doorbell,
            head_doorbell: parts.head_doorbell,
            slots: vec![Slot::default(); usize::from(depth)].into(),
            // The lowest slots are taken first, and again: they are warm.
            free: (0..depth).rev().collect(),
            unrung: false,
            gate: parts.gate,
            link: parts.link,
            cmdlog: CmdLog::new(id),
            observer: Observer::disconnected(),
        }
    }

    /// Connects a tap: from here on it is shown every command, in the order of
    /// completion, with times of the host's clocks. `sequence` numbers the
    /// commands; give queue pairs of one recording clones of one.
    ///
    /// Commands that are in flight are not shown.
    #[must_use]
    pub fn with_tap<T: Tap>(self, tap: T, sequence: Sequence) -> QueuePair<T> {
        let depth = self.slots.len();
        QueuePair {
            device: self.device,
            id: self.id,
            sq: self.sq,
            cq: self.cq,
            memory: self.memory,
            lists: self.lists,
            transfer_bytes_max: self.transfer_bytes_max,
            tail_doorbell: self.tail_doorbell,
            head_doorbell: self.head_doorbell,
            slots: self.slots,
            free: self.free,
            unrung: self.unrung,
            gate: self.gate,
            link: self.link,
            cmdlog: self.cmdlog,
            observer: Observer::connected(tap, sequence, depth),
        }
    }
}

impl<T: Tap> QueuePair<T> {
    pub(crate) const fn memory(&self) -> &Arc<DmaBuffer> {
        &self.memory
    }

    pub(crate) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// What to call the device in messages.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The queue identifier, of both queues.
    #[must_use]
    pub const fn id(&self) -> QueueId {
        self.id
    }

    /// How many commands can be in flight.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.slots.len()
    }

    /// How many commands are in flight: submitted, not reaped.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The longest data that a command can have, bytes.
    #[must_use]
    pub const fn transfer_bytes_max(&self) -> usize {
        self.transfer_bytes_max
    }

    /// The last commands, to look at from any thread.
    #[must_use]
    pub const fn cmdlog(&self) -> &CmdLog {
        &self.cmdlog
    }

    /// What the command log knows of a command in flight, where it still has it.
    pub(crate) fn logged(&self, tag: Tag) -> Option<CmdLogEntry> {
        let slot = self.slots.get(usize::from(tag.0))?;
        self.cmdlog.entry(slot.logged)
    }

    /// The tap, to look at or to flush.
    pub const fn tap_mut(&mut self) -> &mut T {
        self.observer.tap_mut()
    }

    /// Puts a command in the ring. The device sees it with the next
    /// [`QueuePair::ring`] or [`QueuePair::poll`], so that a batch costs one
    /// doorbell. `user` comes back with its completion, `now_ns` is the time
    /// that counts as its submission.
    ///
    /// The data's buffer must be kept, and left alone, until the command
    /// completes.
    ///
    /// # Errors
    ///
    /// The command is handed back, with the reason; nothing has happened.
    // The entry goes from where it is made to the ring in registers: one that was
    // written field by field and is read by words waits for all that was stored
    // before it, which is the entry before, whose cache line the device has.
    #[inline(always)]
    pub fn submit<'a>(
        &mut self,
        command: Command<'a>,
        user: u64,
        now_ns: u64,
    ) -> Result<Tag, SubmitError<'a>> {
        match self.try_submit(&command, user, now_ns) {
            Ok(tag) => Ok(tag),
            Err(reason) => Err(SubmitError {
                queue: self.id,
                command,
                reason,
            }),
        }
    }

    #[inline(always)]
    fn try_submit(
        &mut self,
        command: &Command<'_>,
        user: u64,
        now_ns: u64,
    ) -> Result<Tag, SubmitReason> {
        if !self.gate.is_open() {
            return Err(SubmitReason::Closed);
        }
        let mut sqe = command.sqe;
        if let Some(data) = command.data {
            if data.len() > self.transfer_bytes_max {
                return Err(SubmitReason::TooLong {
                    bytes: data.len(),
                    bytes_max: self.transfer_bytes_max,
                });
            }
            if !data.iova().is_multiple_of(4) {
                return Err(SubmitReason::Misaligned);
            }
        }
        let cid = self.free.pop().ok_or(SubmitReason::QueueFull)?;
        let slot = usize::from(cid);
        sqe.command_id.set(cid);
        if let Some(data) = command.data {
            let (prp1, prp2) = self
                .lists
                .build(&self.memory, slot, data.iova(), data.len());
            sqe.prp1.set(prp1);
            sqe.prp2.set(prp2);
        }
        let bytes = command.data.map_or(0, |data| data.len());
        let logged = self.cmdlog.submit(&sqe, bytes, now_ns);
        if let Some(entry) = self.slots.get_mut(slot) {
            *entry = Slot {
                user,
                submit_ns: now_ns,
                in_flight: true,
                logged,
            };
        }
        self.observer
            .submitted(slot, now_ns, self.id, &sqe, command.data);
        self.sq.push(&sqe);
        self.unrung = true;
        Ok(Tag(cid))
    }

    /// Shows the device what was submitted.
    pub fn ring(&mut self) {
        if self.unrung {
            self.unrung = false;
            self.tail_doorbell.ring(self.sq.tail());
        }
    }

    /// Rings, then hands up to `budget` commands that are over to `sink`.
    /// Returns how many; it never waits. The clock is read once, and only
    /// where there is something to reap.
    ///
    /// Once the queue is closed (see [`QueuePair::close`]), what is left in
    /// flight is handed to `sink` as lost.
    ///
    /// # Errors
    ///
    /// [`DriverError::UnknownCompletion`] where the device completes what is not in
    /// flight; the queue goes on, but the device is not to be trusted.
    pub fn poll(
        &mut self,
        clock: &impl Clock,
        budget: usize,
        mut sink: impl FnMut(Completed),
    ) -> Result<usize, DriverError> {
        self.ring();
        // Read first: once it is closed, the device writes no more, so what
        // the ring holds now is all that there will be.
        let closed = self.gate.is_closed();
        let mut reaped = 0;
        let mut now_ns = 0;
        while reaped < budget {
            let Some(cqe) = self.cq.pop() else { break };
            if let Some(head) = self.cq.report() {
                self.head_doorbell.ring(head);
            }
            if reaped == 0 {
                now_ns = clock.now_ns();
            }
            sink(self.complete(&cqe, now_ns)?);
            reaped += 1;
        }
        if closed && reaped < budget && self.in_flight() > 0 {
            reaped += self.lose(clock.now_ns(), budget - reaped, &mut sink);
        }
        Ok(reaped)
    }

    #[inline(always)]
    fn complete(&mut self, cqe: &Cqe, now_ns: u64) -> Result<Completed, DriverError> {
        let cid = cqe.cid();
        let unknown = DriverError::UnknownCompletion {
            queue: self.id,
            cid,
        };
        let Some(slot) = self.slots.get_mut(usize::from(cid.0)) else {
            return Err(unknown);
        };
        if !slot.in_flight || cqe.sqid() != self.id {
            return Err(unknown);
        }
        slot.in_flight = false;
        self.free.push(cid.0);
        self.cmdlog.complete(slot.logged, cqe, now_ns);
        let completed = Completed {
            tag: Tag(cid.0),
            user: slot.user,
            status: cqe.status(),
            lost: false,
            result: cqe.result.get(),
            submit_ns: slot.submit_ns,
            complete_ns: now_ns,
        };
        self.observer.completed(&completed);
        Ok(completed)
    }

    /// Hands up to `budget` commands in flight to `sink` as lost.
    fn lose(&mut self, now_ns: u64, budget: usize, sink: &mut impl FnMut(Completed)) -> usize {
        let mut lost = 0;
        for (cid, slot) in (0_u16..).zip(self.slots.iter_mut()) {
            if lost == budget {
                break;
            }
            if !slot.in_flight {
                continue;
            }
            slot.in_flight = false;
            self.free.push(cid);
            let completed = Completed {
                tag: Tag(cid),
                user: slot.user,
                status: Status::ABORTED_SQ_DELETION,
                lost: true,
                result: 0,
                submit_ns: slot.submit_ns,
                complete_ns: now_ns,
            };
            self.observer.completed(&completed);
            sink(completed);
            lost += 1;
        }
        lost
    }

    /// Closes the queue on this side: no more submissions, and the next
    /// [`QueuePair::poll`] hands back what is in flight as lost. For a device
    /// that is gone; a controller that resets or shuts down, or deletes the
    /// queue pair, does it by itself.
    ///
    /// Where the device is alive after all, it may still write to the buffers
    /// of what was in flight.
    pub fn close(&mut self) {
        self.gate.close();
    }

    /// Whether the queue is closed, from this side or by its controller.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    /// Whether the device is still there. Costs a system call: ask every few
    /// milliseconds where nothing completes, not for each command.
    ///
    /// # Errors
    ///
    /// [`DriverError::DeviceGone`].
    pub fn check_device(&self) -> Result<(), DriverError> {
        match self.link.as_ref().and_then(|link| link.fault()) {
            None => Ok(()),
            Some(fault) => Err(DriverError::DeviceGone {
                device: self.device.clone(),
                fault,
            }),
        }
    }

    /// The commands in flight for `timeout` or longer at `now_ns`: tag, `user`
    /// and age. They stay in flight; a way out is to abort them or to reset
    /// the controller. Looks at every slot.
    pub fn expired(
        &self,
        now_ns: u64,
        timeout: Duration,
    ) -> impl Iterator<Item = (Tag, u64, Duration)> + '_ {
        (0_u16..)
            .zip(self.slots.iter())
            .filter(|(_, slot)| slot.in_flight)
            .map(move |(cid, slot)| {
                let age = Duration::from_nanos(now_ns.saturating_sub(slot.submit_ns));
                (Tag(cid), slot.user, age)
            })
            .filter(move |(_, _, age)| *age >= timeout)
    }
}

#[cfg(test)]
mod tests;
