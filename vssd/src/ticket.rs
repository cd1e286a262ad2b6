//! The obligation to complete a command.

use nvme::{CommandId, DSM_RANGES_MAX, DsmRange, QueueId};
use traces::CommandRecord;

/// The ranges of a Dataset Management command, for its record.
#[derive(Debug)]
pub(crate) struct DsmRanges {
    pub(crate) ranges: [DsmRange; DSM_RANGES_MAX],
    pub(crate) count: usize,
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
    ranges: Option<Box<DsmRanges>>,
    settled: bool,
}

impl Ticket {
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
}

#[cfg(debug_assertions)]
impl Drop for Ticket {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.settled, "a ticket was lost: {:?}", self.record);
        }
    }
}
