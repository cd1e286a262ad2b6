//! Why a replay cannot start, or had to end.

use std::time::Duration;

use driver::DriverError;
use nvme::{NamespaceId, QueueId};

/// Why a replay cannot start or had to end. Each names what is wrong and the
/// way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The trace has no I/O commands.
    #[error("the trace has no I/O commands: there is nothing to replay")]
    Empty,
    /// The trace changes data, and nobody said that this is wanted.
    #[error(
        "the trace has {writes} commands that change data, and would overwrite what is on the \
         device: say --allow-write if nothing on it is needed any more"
    )]
    WritesNotAllowed {
        /// How many.
        writes: u64,
    },
    /// The trace reaches beyond the target.
    #[error(
        "the trace touches LBA {last} of {recorded}, {needs} blocks of {block_bytes} bytes, \
         but the device has only {has} of them: use --map wrap or --map scale, or --map compact \
         for a trace that touches little"
    )]
    BeyondEnd {
        /// The recorded namespace.
        recorded: NamespaceId,
        /// The last block that the trace touches.
        last: u64,
        /// How many blocks the target would need.
        needs: u64,
        /// How many blocks of that size the target has.
        has: u64,
        /// Bytes of a recorded block.
        block_bytes: u32,
    },
    /// What the trace touches is more than the target has.
    #[error(
        "the trace touches {needs} bytes of {recorded} in all, and the device has only {has}: \
         use --map wrap or --map scale"
    )]
    TooMuch {
        /// The recorded namespace.
        recorded: NamespaceId,
        /// Bytes that the trace touches, in whole blocks of the target.
        needs: u64,
        /// Bytes that the target has.
        has: u64,
    },
    /// [`crate::Mapping::Offset`] moves something off the target.
    #[error(
        "moved by {offset} blocks, what the trace touches of {recorded} is at LBA {first} to \
         {last} of the device, which has {has} blocks: choose another offset"
    )]
    OffsetOutside {
        /// The recorded namespace.
        recorded: NamespaceId,
        /// The offset, blocks of the target.
        offset: i64,
        /// The first block of the target that would be touched.
        first: i128,
        /// And the last.
        last: i128,
        /// How many blocks the target has.
        has: u64,
    },
    /// [`crate::Pace::Think`] wants what the trace does not have.
    #[error(
        "the trace has no times of completion, so nobody knows what its commands waited for: \
         choose another pace than think"
    )]
    NoCompletions,
    /// Data was read that is not what was written, and the replay was told to
    /// end there.
    #[error(
        "data that was read on {queue} is not what was written; the replay was told to stop at \
         the first error"
    )]
    WrongData {
        /// The queue.
        queue: QueueId,
    },
    /// Verification of several namespaces.
    #[error(
        "data is verified in one namespace, and the trace goes to several: choose one of them, \
         with --source-namespace"
    )]
    VerifyMany,
    /// [`crate::Pace::Closed`] without a depth.
    #[error("pace closed keeps a number of commands in flight: say how many, with --depth")]
    NoDepth,
    /// The target has no active namespace.
    #[error("the device has no active namespace: create or attach one first")]
    NoNamespace,
    /// The target does not have a namespace.
    #[error("the device has no {wanted}, but {has:?}: choose one of these for the replay")]
    NamespaceMissing {
        /// The namespace that was recorded or asked for.
        wanted: NamespaceId,
        /// The identifiers of those that there are.
        has: Vec<u32>,
    },
    /// The target's namespace has a format that cannot be replayed to.
    #[error(
        "{nsid} of the device is formatted with {metadata_bytes} bytes of metadata a block, which \
         the driver does not move: format it without"
    )]
    Metadata {
        /// The namespace.
        nsid: NamespaceId,
        /// Bytes of metadata a block.
        metadata_bytes: u16,
    },
    /// The driver or the device failed.
    #[error("{operation}: {source}")]
    Driver {
        /// What was being done.
        operation: &'static str,
        /// What the driver said.
        #[source]
        source: DriverError,
    },
    /// A command did not complete in time.
    #[error(
        "{command} on {queue} has not completed within {timeout:?}: the device does not answer; \
         reset it"
    )]
    TimedOut {
        /// The command, with its address.
        command: String,
        /// The queue that it was sent to.
        queue: QueueId,
        /// How long it was given.
        timeout: Duration,
    },
    /// The device was reset under the replay.
    #[error("{queue} was closed under the replay, by a reset of the device: replay again")]
    QueueClosed {
        /// The queue.
        queue: QueueId,
    },
    /// The trace could not be read on.
    #[error("the trace cannot be read further: {why}")]
    Trace {
        /// What its reader said.
        why: String,
    },
    /// A command failed, and the replay was told to end there.
    #[error(
        "{command} on {queue} failed: {status}; the replay was told to stop at the first error"
    )]
    CommandFailed {
        /// The command, with its address.
        command: String,
        /// The queue that it was sent to.
        queue: QueueId,
        /// How it ended.
        status: nvme::Status,
    },
}

impl ReplayError {
    pub(crate) fn driver(operation: &'static str) -> impl FnOnce(DriverError) -> Self {
        move |source| Self::Driver { operation, source }
    }
}
