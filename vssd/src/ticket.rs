//! The obligation to complete a command.

use nvme::{CommandId, DSM_RANGES_MAX, DsmRange, NSID_ALL, NvmOpcode, QueueId, Sqe};
use traces::CommandRecord;

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
#[derive(Debug)]
#[must_use = "a command that was fetched has to be completed"]
pub struct Ticket {
    record: CommandRecord,
    /// Where it completes; none for the flush of a shutdown, which no guest
    /// waits for.
    completion: Option<QueueId>,
    ranges: Option<Box<DsmRanges>>,
    /// What is being done for it, where that takes several steps.
    pub(crate) job: Option<Box<Running>>,
    #[cfg(debug_assertions)]
    settled: bool,
}

impl Ticket {
    /// The ticket of the command of `record`, which completes to `completion`.
    #[inline]
    pub(crate) const fn new(record: CommandRecord, completion: QueueId) -> Self {
        Self {
            record,
            completion: Some(completion),
            ranges: None,
            job: None,
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
        ticket.completion = None;
        ticket
    }

    /// The ticket of a read that a self-test makes.
    pub(crate) fn of_self_test(sequence: u64, now_ns: u64) -> Self {
        let mut ticket = Self::internal(sequence, now_ns);
        ticket.record.opcode = NvmOpcode::VERIFY.0;
        ticket
    }

    /// Whether it is one of [`Ticket::of_self_test`].
    #[inline]
    pub(crate) const fn is_self_test(&self) -> bool {
        self.completion.is_none() && self.record.opcode == NvmOpcode::VERIFY.0
    }

    /// The submission queue that the command came from.
    #[must_use]
    pub const fn queue(&self) -> QueueId {
        self.record.queue
    }

    /// The command identifier.
    #[must_use]
    pub const fn cid(&self) -> CommandId {
        self.record.cid
    }

    /// Place in the order of fetching, from 0, over all queues.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.record.sequence
    }

    /// When it was fetched, nanoseconds of the controller's clock; 0 where
    /// nobody observes.
    #[must_use]
    pub const fn submit_ns(&self) -> u64 {
        self.record.submit_ns
    }

    /// The command, as it stands in a trace.
    #[must_use]
    pub const fn record(&self) -> &CommandRecord {
        &self.record
    }

    /// Whether the request that it travels with is all that there is to the
    /// command: not a step of several, and not the drive's own.
    #[must_use]
    pub const fn is_simple(&self) -> bool {
        self.job.is_none() && self.completion.is_some()
    }

    /// Where it completes; none for the flush of a shutdown.
    #[inline]
    pub(crate) const fn completion(&self) -> Option<QueueId> {
        self.completion
    }

    /// Keeps the ranges of a Dataset Management command, for its record.
    pub(crate) fn set_ranges(&mut self, ranges: Box<DsmRanges>) {
        self.ranges = Some(ranges);
    }

    /// The ranges of a Dataset Management command, as far as they were read.
    pub(crate) fn ranges(&self) -> &[DsmRange] {
        self.ranges.as_deref().map_or(&[], DsmRanges::get)
    }

    /// Ends the obligation; what is returned is for the record.
    #[inline]
    pub(crate) fn settle(self) -> (CommandRecord, Option<Box<DsmRanges>>) {
        let mut ticket = self;
        #[cfg(debug_assertions)]
        {
            ticket.settled = true;
        }
        (ticket.record, ticket.ranges.take())
    }
}

#[cfg(debug_assertions)]
impl Drop for Ticket {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.settled, "a ticket was lost: {:?}", self.record);
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
        let (record, ranges) = Ticket::internal(7, 9).settle();
        assert_eq!((record.sequence, record.submit_ns), (7, 9));
        assert!(ranges.is_none());
    }
}
