//! Reservations: which host may do what with a namespace
//! (`NVMe Base 2.1 §8.1.22`).
//!
//! ```text
//!   Register        Acquire, Preempt        Release, Clear
//!      |                  |                       |
//!      v                  v                       v
//!   registrants (host, key) ......... reservation (type, holder)
//!      |                                          |
//!      +---------> permits(host, class) <---------+
//! ```
//!
//! [`Reservations`] is what one namespace remembers. It knows hosts by their
//! identifiers only: hosts follow one another at a controller, and a
//! reservation of a former host binds the next one. What an action means for
//! others comes back as an [`Outcome`]: whom to notify, and whose commands to
//! abort. Who is at which controller is for the caller to know.
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

mod actions;
mod notices;
mod report;
#[cfg(test)]
mod tests;

use nvme::{AdminOpcode, NvmOpcode, ReservationCapabilities, ReservationType, Status};
use serde::{Deserialize, Serialize};

pub use self::notices::{Notice, NoticeKind, Notices};

/// The most hosts that can be registered with a namespace. A guest can call
/// itself by as many names as it likes.
pub const REGISTRANTS_MAX: usize = 256;

/// A host, as the Host Identifier feature names it
/// (`NVMe Base 2.1 §5.1.25.1.28`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostId {
    /// The identifier; a 64-bit one stands in the first half.
    pub id: [u8; 16],
    /// Whether it has 128 bits.
    pub extended: bool,
}

impl HostId {
    /// Whether the host gave an identifier at all.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.id != [0; 16]
    }
}

/// What a command does to a namespace, as far as reservations go
/// (`NVMe Base 2.1 §8.1.22`, figure "Command Behavior in the Presence of a
/// Reservation").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandClass {
    /// It tells what the namespace contains.
    Read,
    /// It changes what the namespace contains, or makes it permanent.
    Write,
    /// It does neither, or looks after reservations by itself.
    Other,
}

impl CommandClass {
    /// The class of an I/O command. Of a Copy, this is the destination; its
    /// source namespaces are read.
    #[must_use]
    pub const fn of_io(opcode: NvmOpcode) -> Self {
        match opcode {
            NvmOpcode::READ
            | NvmOpcode::COMPARE
            | NvmOpcode::VERIFY
            | NvmOpcode::ZONE_MANAGEMENT_RECEIVE => Self::Read,
            NvmOpcode::WRITE
            | NvmOpcode::WRITE_UNCORRECTABLE
            | NvmOpcode::WRITE_ZEROES
            | NvmOpcode::DATASET_MANAGEMENT
            | NvmOpcode::FLUSH
            | NvmOpcode::COPY
            | NvmOpcode::ZONE_APPEND
            | NvmOpcode::ZONE_MANAGEMENT_SEND => Self::Write,
            _ => Self::Other,
        }
    }

    /// The class of an admin command that is for a namespace.
    #[must_use]
    pub const fn of_admin(opcode: AdminOpcode) -> Self {
        match opcode {
            AdminOpcode::SECURITY_RECEIVE => Self::Read,
            AdminOpcode::FORMAT_NVM
            | AdminOpcode::NAMESPACE_ATTACHMENT
            | AdminOpcode::NAMESPACE_MANAGEMENT
            | AdminOpcode::SANITIZE
            | AdminOpcode::SECURITY_SEND => Self::Write,
            _ => Self::Other,
        }
    }
}

/// What an action means for others than the host that asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whom to notify of what, at whichever controllers they are.
    pub notices: Vec<Notice>,
    /// Whose commands to this namespace to abort, with
    /// [`Status::ABORTED_PREEMPT`], before the action completes.
    pub abort: Vec<HostId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Registrant {
    host: HostId,
    key: u64,
}

/// A reservation. Where all registrants hold it, `holder` is who acquired it,
/// and means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    #[serde(with = "kind")]
    kind: ReservationType,
    holder: HostId,
}

/// The number of a [`ReservationType`], as it is saved.
mod kind {
    use nvme::ReservationType;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        kind: &ReservationType,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u8(kind.into_bits())
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<ReservationType, D::Error> {
        let bits = u8::deserialize(from)?;
        ReservationType::from_bits(bits)
            .ok_or_else(|| Error::custom(format!("there is no reservation type {bits}")))
    }
}

/// The registrants and the reservation of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservations {
    registrants: Vec<Registrant>,
    held: Option<Held>,
    generation: u32,
    ptpl: bool,
}

impl Reservations {
    /// What Identify Namespace says: every type, persistence, and keys that
    /// are ignored as revision 1.3 has it.
    #[must_use]
    pub const fn capabilities() -> ReservationCapabilities {
        ReservationCapabilities::new()
            .with_ptpl(true)
            .with_types(0b11_1111)
            .with_iekey_1_3(true)
    }

    /// Whether nothing is reserved: everybody may do everything.
    #[must_use]
    #[inline]
    pub const fn is_clear(&self) -> bool {
        self.held.is_none()
    }

    /// The type of the reservation.
    #[must_use]
    pub fn kind(&self) -> Option<ReservationType> {
        self.held.map(|held| held.kind)
    }

    /// Whether everything persists through a loss of power: the Reservation
    /// Persistence feature.
    #[must_use]
    pub const fn ptpl(&self) -> bool {
        self.ptpl
    }

    /// Sets the Reservation Persistence feature.
    pub const fn set_ptpl(&mut self, ptpl: bool) {
        self.ptpl = ptpl;
    }

    /// Whether `host` is registered.
    #[must_use]
    pub fn is_registrant(&self, host: &HostId) -> bool {
        self.registrants.iter().any(|it| it.host == *host)
    }

    /// Whether `host` holds the reservation.
    #[must_use]
    pub fn is_holder(&self, host: &HostId) -> bool {
        self.held.is_some_and(|held| {
            if held.kind.is_held_by_all() {
                self.is_registrant(host)
            } else {
                held.holder == *host
            }
        })
    }

    /// Whether a command of `class` from `host` may be executed.
    ///
    /// # Errors
    ///
    /// [`Status::RESERVATION_CONFLICT`] where the reservation forbids it.
    pub fn permits(&self, host: &HostId, class: CommandClass) -> Result<(), Status> {
        let Some(held) = self.held else {
            return Ok(());
        };
        let free = match class {
            CommandClass::Other => true,
            CommandClass::Read => !held.kind.reserves_reads(),
            CommandClass::Write => false,
        };
        let permitted = free
            || if held.kind.is_for_holder_only() {
                held.holder == *host
            } else {
                self.is_registrant(host)
            };
        if permitted {
            Ok(())
        } else {
            Err(Status::RESERVATION_CONFLICT.dnr())
        }
    }

    /// Power was lost: unless all persists, registrations and reservation are
    /// gone (`NVMe Base 2.1 §8.1.22`).
    pub fn power_lost(&mut self) {
        if !self.ptpl {
            *self = Self::default();
        }
    }
}
