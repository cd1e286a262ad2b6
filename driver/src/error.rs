//! What can go wrong on the host side.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nvme::{CommandId, QueueId, Status};

use crate::Command;
use crate::pci::PciError;
use crate::transport::Fault;

/// An error of the driver; each names the operation, the object and the way
/// out. A command that the device completed with an error status is one only
/// where nobody but the driver sees the completion (bring-up and admin calls);
/// on a [`crate::QueuePair`] it is a [`Status`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// Nothing accepts connections at the path.
    #[error(
        "no vssd listens on {}: start one with `vssd serve DISK --vfio-user {}`",
        path.display(), path.display()
    )]
    NobodyListens {
        /// The socket.
        path: PathBuf,
        /// What connecting said.
        #[source]
        source: io::Error,
    },
    /// The path to the device failed in some way of its own.
    #[error("{device}: {operation}: {why}")]
    Transport {
        /// The device, as [`crate::transport::Transport::name`] has it.
        device: String,
        /// What was tried.
        operation: &'static str,
        /// What is wrong, and the way out where there is one.
        why: String,
    },
    /// The device went away; its registers read as all ones.
    #[error("{device} is gone ({fault}): connect again")]
    DeviceGone {
        /// The device.
        device: String,
        /// Why, as far as the transport knows.
        fault: Fault,
    },
    /// The controller did not get to a state in time.
    #[error("{device}: the controller was not {state} within {timeout:?}: reset the device")]
    NotInTime {
        /// The device.
        device: String,
        /// What was waited for.
        state: &'static str,
        /// How long.
        timeout: Duration,
    },
    /// CSTS.CFS is set.
    #[error("{device}: the controller reports a fatal status (CSTS.CFS): reset it")]
    Fatal {
        /// The device.
        device: String,
    },
    /// A command did not complete in time.
    #[error("{device}: {command} did not complete within {timeout:?}: reset the controller")]
    CommandTimeout {
        /// The device.
        device: String,
        /// The command's name.
        command: String,
        /// How long.
        timeout: Duration,
    },
    /// An admin command completed with an error.
    #[error("{device}: {command} failed: {status}")]
    CommandFailed {
        /// The device.
        device: String,
        /// The command's name.
        command: String,
        /// How it ended.
        status: Status,
    },
    /// A command was lost to a controller reset.
    #[error("{device}: {command} was lost to a controller reset: issue it again")]
    CommandLost {
        /// The device.
        device: String,
        /// The command's name.
        command: String,
    },
    /// A command could not be submitted.
    #[error("{queue}: {reason}")]
    Submit {
        /// The queue.
        queue: QueueId,
        /// Why not.
        reason: SubmitReason,
    },
    /// The device lacks something that this driver stands on.
    #[error("{device}: {what}: this driver cannot drive such a device")]
    Unsupported {
        /// The device.
        device: String,
        /// What it lacks.
        what: String,
    },
    /// A queue of such a depth cannot be.
    #[error("{device}: a queue depth of {depth} is not possible: choose 1 to {depth_max}")]
    QueueDepth {
        /// The device.
        device: String,
        /// What was asked for.
        depth: u32,
        /// The most that the controller takes.
        depth_max: u32,
    },
    /// All queue pairs of the controller are in use.
    #[error("{device}: all {count} I/O queue pairs are in use: delete one first")]
    NoQueueLeft {
        /// The device.
        device: String,
        /// How many there are.
        count: u16,
    },
    /// No queue pair of this controller has the identifier.
    #[error("{device}: {queue} is not a queue pair of this controller")]
    NoSuchQueue {
        /// The device.
        device: String,
        /// The queue.
        queue: QueueId,
    },
    /// The device completed a command that is not in flight.
    #[error("{queue}: the device completed {cid}, which is not in flight: reset the controller")]
    UnknownCompletion {
        /// The queue.
        queue: QueueId,
        /// The identifier in the completion.
        cid: CommandId,
    },
    /// There is no room in the addresses that the device may use for memory.
    #[error(
        "the device may use too few addresses for {bytes} more bytes of memory: \
         use fewer or shallower queues, or smaller transfers"
    )]
    NoAddress {
        /// How much.
        bytes: usize,
    },
    /// A drive cannot be attached to as it is.
    #[error(transparent)]
    Pci(#[from] PciError),
    /// Memory for the device could not be had.
    #[error("{operation} of {bytes} bytes of memory for a device: {source}")]
    Memory {
        /// What was tried.
        operation: &'static str,
        /// How much.
        bytes: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An access outside of a buffer.
    #[error("{bytes} bytes at offset {offset} are outside of a buffer of {len} bytes")]
    OutOfBounds {
        /// Where, bytes from the buffer's start.
        offset: usize,
        /// How much.
        bytes: usize,
        /// The buffer's size, bytes.
        len: usize,
    },
    /// A value that cannot be.
    #[error("{what}")]
    Invalid {
        /// What is wrong, and what would be right.
        what: String,
    },
}

impl DriverError {
    /// An error of the transport to `device`, for transports outside of this
    /// crate.
    pub fn transport(device: &str, operation: &'static str, why: impl ToString) -> Self {
        Self::Transport {
            device: device.to_owned(),
            operation,
            why: why.to_string(),
        }
    }
}

impl From<SubmitError<'_>> for DriverError {
    fn from(error: SubmitError<'_>) -> Self {
        Self::Submit {
            queue: error.queue,
            reason: error.reason,
        }
    }
}

/// A command that was not submitted, handed back.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{queue}: {reason}")]
pub struct SubmitError<'a> {
    /// The queue.
    pub queue: QueueId,
    /// The command.
    pub command: Command<'a>,
    /// Why it was not submitted.
    pub reason: SubmitReason,
}

/// Why a command was not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitReason {
    /// As many commands as the queue is deep are in flight.
    #[error("the queue is full: poll it, then submit again")]
    QueueFull,
    /// The queue pair was deleted, or its controller was reset or shut down.
    #[error("the queue is closed: create a new one")]
    Closed,
    /// The data is longer than the queue pair's transfers can be.
    #[error("a transfer of {bytes} bytes is above the limit of {bytes_max}: split it")]
    TooLong {
        /// The length of the data.
        bytes: usize,
        /// The limit; see [`crate::QueuePair::transfer_bytes_max`].
        bytes_max: usize,
    },
    /// The data does not start at a multiple of four bytes
    /// (`NVMe Base 2.1 §4.3.1`).
    #[error("the data does not start on a dword: align it to 4 bytes")]
    Misaligned,
}
