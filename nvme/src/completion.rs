//! The completion queue entry.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{CommandId, QueueId, Status};

/// A completion queue entry: 16 bytes, as it stands in the queue
/// (`NVMe Base 2.1 §4.2.1`, Common Completion Queue Entry).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Cqe {
    /// Dword 0, command specific.
    pub result: U32,
    /// Dword 1, command specific.
    pub result_high: U32,
    /// How far the controller has read the submission queue.
    pub sq_head: U16,
    /// The submission queue that the command came from.
    pub sq_id: U16,
    /// The identifier of the command that is complete.
    pub command_id: U16,
    /// Phase tag (bit 0) and status (bits 15:01).
    pub status_phase: U16,
}

impl Cqe {
    /// The status field, without the phase tag.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::from_field(self.status_phase.get() >> 1)
    }

    /// The phase tag.
    #[must_use]
    pub fn phase(&self) -> bool {
        self.status_phase.get() & 1 != 0
    }

    /// Sets status and phase tag together, as they share a word.
    pub fn set_status(&mut self, status: Status, phase: bool) {
        self.status_phase = U16::new(status.field() << 1 | u16::from(phase));
    }

    /// The identifier of the command that is complete.
    #[must_use]
    pub fn cid(&self) -> CommandId {
        CommandId(self.command_id.get())
    }

    /// The submission queue that the command came from.
    #[must_use]
    pub fn sqid(&self) -> QueueId {
        QueueId(self.sq_id.get())
    }
}
