//! The obligation to complete a command.

use nvme::{CommandId, DSM_RANGES_MAX, DsmRange, NSID_ALL, NvmOpcode, QueueId, Sqe};
use traces::{CommandRecord, Completion};

use crate::job::Running;

/// The ranges of a Dataset Management command, for its record.
#[derive(Debug)]
pub(crate) struct DsmRanges {
    ranges: [DsmRange; DSM_RANGES_MAX],
    count: usize,
}

impl DsmRanges {
    /// No ranges yet.
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self {
            ranges: [DsmRange::default(); DSM_RANGES_MAX],
            count: 0,
        })
    }

    /// The first `count` ranges, to be filled.
    pub(crate) fn fill(&mut self, count: usize) -> &mut [DsmRange] {
        self.count = count.min(DSM_RANGES_MAX);
        self.ranges.get_mut(..self.count).unwrap_or_default()
    }

    /// The ranges.
    pub(crate) fn get(&self) -> &[DsmRange] {
        self.ranges.get(..self.count).unwrap_or_default()
    }
}

/// The obligation to complete a command that was fetched.
///
/// There is one for each command, made when it is fetched, and room in its
/// completion queue is reserved before that. It goes where the command goes,
/// and ends in exactly one of two ways: the command is completed, or abandoned
/// because its queue is gone. To lose one is a defect, which debug builds
/// report where it happens.
///
/// It is a pointer, so that to hand it on moves no more: a record that is copied
/// just after its fields were written waits for those, and for all that was
/// stored before them, to reach the cache.
#[derive(Debug)]
#[must_use = "a command that was fetched has to be completed"]
pub struct Ticket {
    body: Box<Body>,
    #[cfg(debug_assertions)]
    settled: bool,
}

/// What is known of the command.
#[derive(Debug)]
struct Body {
    record: CommandRecord,
    /// Where it completes; none for the flush of a shutdown, which no guest
    /// waits for.
    completion: Option<QueueId>,
    ranges: Option<Box<DsmRanges>>,
    /// What is being done for it, where that takes several steps.
    job: Option<Box<Running>>,
}

impl Ticket {
    /// The ticket of the command of `record`, which completes to `completion`.
    pub(crate) fn new(record: CommandRecord, completion: QueueId) -> Self {
        Self {
            body: Box::new(Body {
                record,
                completion: Some(completion),
                ranges: None,
                job: None,
            }),
            #[cfg(debug_assertions)]
            settled: false,
        }
    }

    /// The ticket of what the drive does of itself, such as the flush of a
    /// shutdown.
    pub(crate) fn internal(sequence: u64, now_ns: u64) -> Self {
        let sqe = Sqe::new(NvmOpcode::FLUSH.0, NSID_ALL);
        let record = CommandRecord::fetched(sequence, now_ns, QueueId(u16::MAX), &sqe);
        let mut ticket = Self::new(record, QueueId::ADMIN);
        ticket.body.completion = None;
        ticket
    }

    /// The ticket of a read that a self-test makes.
    pub(crate) fn of_self_test(sequence: u64, now_ns: u64) -> Self {
        let mut ticket = Self::internal(sequence, now_ns);
        ticket.body.record.opcode = NvmOpcode::VERIFY.0;
        ticket
    }

    /// Whether it is one of [`Ticket::of_self_test`].
    #[inline]
    pub(crate) fn is_self_test(&self) -> bool {
        self.body.completion.is_none() && self.body.record.opcode == NvmOpcode::VERIFY.0
    }

    /// The submission queue that the command came from.
    #[inline]
    #[must_use]
    pub fn queue(&self) -> QueueId {
        self.body.record.queue
    }

    /// The command identifier.
    #[inline]
    #[must_use]
    pub fn cid(&self) -> CommandId {
        self.body.record.cid
    }

    /// Place in the order of fetching, from 0, over all queues.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.body.record.sequence
    }

    /// When it was fetched, nanoseconds of the controller's clock; 0 where
    /// nobody observes.
    #[must_use]
    pub fn submit_ns(&self) -> u64 {
        self.body.record.submit_ns
    }

    /// The command, as it stands in a trace.
    #[inline]
    #[must_use]
    pub fn record(&self) -> &CommandRecord {
        &self.body.record
    }

    /// Whether the request that it travels with is all that there is to the
    /// command: not a step of several, and not the drive's own.
    #[must_use]
    pub fn is_simple(&self) -> bool {
        !self.has_job() && self.body.completion.is_some()
    }

    /// Where it completes; none for the flush of a shutdown.
    #[inline]
    pub(crate) fn completion(&self) -> Option<QueueId> {
        self.body.completion
    }

    /// Whether something of several steps is being done for it.
    #[inline]
    pub(crate) fn has_job(&self) -> bool {
        self.body.job.is_some()
    }

    /// What is being done for it, to go on with that.
    pub(crate) fn take_job(&mut self) -> Option<Box<Running>> {
        self.body.job.take()
    }

    /// Keeps what is being done for it.
    pub(crate) fn set_job(&mut self, job: Box<Running>) {
        self.body.job = Some(job);
    }

    /// Keeps the ranges of a Dataset Management command, for its record.
    pub(crate) fn set_ranges(&mut self, ranges: Box<DsmRanges>) {
        self.body.ranges = Some(ranges);
    }

    /// The ranges of a Dataset Management command, as far as they were read.
    pub(crate) fn ranges(&self) -> &[DsmRange] {
        self.body.ranges.as_deref().map_or(&[], DsmRanges::get)
    }

    /// Ends the obligation.
    #[inline]
    pub(crate) fn settle(mut self) -> Settled {
        self.mark(true);
        Settled(self)
    }

    /// Notes whether the obligation has ended, where that is looked at.
    #[inline]
    fn mark(&mut self, settled: bool) {
        #[cfg(debug_assertions)]
        {
            self.settled = settled;
        }
        #[cfg(not(debug_assertions))]
        let _ = (self, settled);
    }
}

#[cfg(debug_assertions)]
impl Drop for Ticket {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.settled, "a ticket was lost: {:?}", self.body.record);
        }
    }
}

/// What is left of a ticket: the command, for its record.
#[derive(Debug)]
pub(crate) struct Settled(Ticket);

impl Settled {
    /// Notes how the command ended.
    #[inline]
    pub(crate) fn complete(&mut self, completion: Completion) {
        self.0.body.record.completion = Some(completion);
    }

    /// The command, as it stands in a trace.
    #[inline]
    pub(crate) fn record(&self) -> &CommandRecord {
        &self.0.body.record
    }

    /// The ranges of a Dataset Management command.
    #[inline]
    pub(crate) fn ranges(&self) -> &[DsmRange] {
        self.0.ranges()
    }

    /// The buffer of these ranges, for other ranges.
    #[inline]
    fn take_ranges(&mut self) -> Option<Box<DsmRanges>> {
        self.0.body.ranges.take()
    }
}

/// The memory of tickets that have ended, for further ones.
#[derive(Debug, Default)]
pub(crate) struct TicketPool {
    settled: Vec<Settled>,
    ranges: Vec<Box<DsmRanges>>,
}

impl TicketPool {
    /// The most that is kept of either: commands of other threads end here, too.
    const KEPT: usize = 4096;

    /// The ticket of a command that was fetched at `now_ns`, and completes to
    /// `completion`.
    #[inline(always)]
    pub(crate) fn issue(
        &mut self,
        (sequence, now_ns): (u64, u64),
        (queue, completion): (QueueId, QueueId),
        sqe: &Sqe,
    ) -> Ticket {
        let record = || CommandRecord::fetched(sequence, now_ns, queue, sqe);
        let Some(Settled(mut ticket)) = self.settled.pop() else {
            return Ticket::new(record(), completion);
        };
        // Written where it stays.
        ticket.body.record = record();
        ticket.body.completion = Some(completion);
        ticket.mark(false);
        ticket
    }

    /// Takes back what is left of one.
    #[inline]
    pub(crate) fn give(&mut self, mut settled: Settled) {
        if let Some(ranges) = settled.take_ranges() {
            self.give_ranges(ranges);
        }
        debug_assert!(!settled.0.has_job(), "a job ends before its command");
        if self.settled.len() < Self::KEPT {
            self.settled.push(settled);
        }
    }

    /// A buffer for the ranges of a command.
    pub(crate) fn take_ranges(&mut self) -> Box<DsmRanges> {
        self.ranges.pop().unwrap_or_else(DsmRanges::new)
    }

    /// Takes such a buffer back.
    pub(crate) fn give_ranges(&mut self, ranges: Box<DsmRanges>) {
        if self.ranges.len() < Self::KEPT {
            self.ranges.push(ranges);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "a ticket was lost")]
    fn a_ticket_that_is_lost_is_reported() {
        drop(Ticket::internal(0, 0));
    }

    #[test]
    fn a_ticket_that_is_settled_is_not() {
        let settled = Ticket::internal(7, 9).settle();
        let record = settled.record();
        assert_eq!((record.sequence, record.submit_ns), (7, 9));
        assert!(settled.ranges().is_empty());
    }
    #[test]
    fn a_ticket_of_the_pool_knows_nothing_of_the_one_before() {
        let mut pool = TicketPool::default();
        let queues = (QueueId(3), QueueId(4));
        let write = Sqe::new(NvmOpcode::WRITE.0, NSID_ALL);
        let mut first = pool.issue((7, 9), queues, &write);
        let place = std::ptr::from_ref(first.record());
        let mut ranges = pool.take_ranges();
        ranges.fill(2);
        first.set_ranges(ranges);
        let mut settled = first.settle();
        settled.complete(Completion {
            complete_ns: 11,
            status: nvme::Status::SUCCESS,
            result: 5,
        });
        assert_eq!(settled.ranges().len(), 2);
        pool.give(settled);

        let flush = Sqe::new(NvmOpcode::FLUSH.0, NSID_ALL);
        let next = pool.issue((8, 10), (QueueId(1), QueueId(2)), &flush);
        assert_eq!(
            std::ptr::from_ref(next.record()),
            place,
            "memory is used again"
        );
        let expected = CommandRecord::fetched(8, 10, QueueId(1), &flush);
        assert_eq!(next.record(), &expected);
        assert_eq!(next.completion(), Some(QueueId(2)));
        assert!(next.ranges().is_empty() && !next.has_job());
        next.settle();
    }

    #[test]
    fn the_pool_keeps_no_more_than_it_may() {
        let mut pool = TicketPool::default();
        for sequence in 0..=TicketPool::KEPT as u64 {
            pool.give(Ticket::internal(sequence, 0).settle());
            pool.give_ranges(DsmRanges::new());
        }
        assert_eq!(pool.settled.len(), TicketPool::KEPT);
        assert_eq!(pool.ranges.len(), TicketPool::KEPT);
    }
}
