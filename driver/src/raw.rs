//! Queues by hand, for tests of the protocol.
//!
//! A [`crate::QueuePair`] keeps to the rules; a test of a controller has to
//! break them. Here every entry is written where one says, every doorbell rung
//! with the value that one says, and a refused queue is an answer and not an
//! error: several submission queues on one completion queue, queues whose pages
//! are scattered, PRP lists that begin in the middle of a page, phases, tails
//! past the end.
//!
//! ```no_run
//! # fn main() -> Result<(), driver::DriverError> {
//! # use driver::transport::vfio_user::VfioUser;
//! # use driver::{Controller, ControllerOptions};
//! # use traces::MonotonicClock;
//! # let clock = MonotonicClock::start();
//! # let transport = VfioUser::connect("/tmp/vssd.sock".as_ref())?;
//! # let mut controller = Controller::initialise(transport, ControllerOptions::default(), clock)?;
//! use std::time::Duration;
//!
//! use driver::raw::{RawCompletionOptions, RawSubmissionOptions};
//! use nvme::{NamespaceId, NvmOpcode, QueueId, Sqe};
//!
//! let mut cq = controller.raw_completion_queue(RawCompletionOptions::new(QueueId(1), 16))?;
//! let mut sq = controller.raw_submission_queue(RawSubmissionOptions::new(
//!     QueueId(5),
//!     16,
//!     QueueId(1),
//! ))?;
//! // In the wrong order: the controller's answer is what is tested.
//! let refused = controller.create_raw_submission_queue(&sq)?;
//! assert!(!refused.is_success());
//! assert!(controller.create_raw_completion_queue(&cq)?.is_success());
//! assert!(controller.create_raw_submission_queue(&sq)?.is_success());
//!
//! let mut flush = Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1));
//! flush.set_dword(0, u32::from(NvmOpcode::FLUSH.0) | 0x1234 << 16);
//! sq.put(0, &flush)?;
//! sq.ring(1)?;
//! let done = controller.wait_entry(&mut cq, Duration::from_secs(1))?;
//! assert_eq!(done.map(|cqe| cqe.cid().0), Some(0x1234));
//! # Ok(())
//! # }
//! ```
//!
//! All of it is safe: whatever is put into a queue, this process stays whole.
//! The memory of queues is kept until the controller has deleted them or was
//! reset. Data is the caller's: a [`DmaBuffer`] that is dropped while a command
//! is in flight goes back to the transport, and what the device still writes
//! lands in whatever has the memory next.

mod queue;

use zerocopy::little_endian::U64;

pub use self::queue::{
    RawCompletionOptions, RawCompletionQueue, RawSubmissionOptions, RawSubmissionQueue,
};
pub(crate) use self::queue::{RawKept, RawQueue, Shape};
use crate::{DmaBuffer, DriverError};

/// Writes a PRP list of `entries` at `offset` bytes of `buffer`, as they are.
/// Returns where the device sees it: what belongs into PRP2, or into the last
/// entry of the list before.
///
/// # Errors
///
/// [`DriverError::OutOfBounds`].
pub fn prp_list(
    buffer: &mut DmaBuffer,
    offset: usize,
    entries: &[u64],
) -> Result<u64, DriverError> {
    let entries: Vec<U64> = entries.iter().map(|entry| U64::new(*entry)).collect();
    buffer.put(offset, entries.as_slice())?;
    Ok(buffer.iova() + offset as u64)
}
