//! Reservations: what stands in the dwords and data of their commands.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a reservation reserves, and for whom (`NVMe Base 2.1 §8.1.22`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReservationType {
    /// Only the holder writes; everybody reads.
    WriteExclusive = 1,
    /// Only the holder reads and writes.
    ExclusiveAccess = 2,
    /// Registrants write; everybody reads.
    WriteExclusiveRegistrantsOnly = 3,
    /// Registrants read and write.
    ExclusiveAccessRegistrantsOnly = 4,
    /// Registrants write and hold the reservation; everybody reads.
    WriteExclusiveAllRegistrants = 5,
    /// Registrants read and write and hold the reservation.
    ExclusiveAccessAllRegistrants = 6,
}

impl ReservationType {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrantsOnly,
        Self::ExclusiveAccessRegistrantsOnly,
        Self::WriteExclusiveAllRegistrants,
        Self::ExclusiveAccessAllRegistrants,
    ];

    /// The type with this number; none where the number is reserved.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.into_bits() == bits)
    }

    /// Its number, as RTYPE has it.
    #[must_use]
    pub const fn into_bits(self) -> u8 {
        match self {
            Self::WriteExclusive => 1,
            Self::ExclusiveAccess => 2,
            Self::WriteExclusiveRegistrantsOnly => 3,
            Self::ExclusiveAccessRegistrantsOnly => 4,
            Self::WriteExclusiveAllRegistrants => 5,
            Self::ExclusiveAccessAllRegistrants => 6,
        }
    }

    /// Whether each registrant is a holder.
    #[must_use]
    pub const fn is_held_by_all(self) -> bool {
        matches!(
            self,
            Self::WriteExclusiveAllRegistrants | Self::ExclusiveAccessAllRegistrants
        )
    }

    /// Whether only the one holder has what is reserved.
    #[must_use]
    pub const fn is_for_holder_only(self) -> bool {
        matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    /// Whether reading is reserved, too.
    #[must_use]
    pub const fn reserves_reads(self) -> bool {
        matches!(
            self,
            Self::ExclusiveAccess
                | Self::ExclusiveAccessRegistrantsOnly
                | Self::ExclusiveAccessAllRegistrants
        )
    }
}

/// CDW10 of Reservation Register (`NVMe Base 2.1 §7.6`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReservationRegisterCdw10 {
    /// Action; see [`ReservationRegisterCdw10::REGISTER`] and the others.
    #[bits(3)]
    pub rrega: u8,
    /// Ignore the existing key.
    pub iekey: bool,
    #[bits(26)]
    __: u32,
    /// Change persist through power loss: 0 no change, 2 clear, 3 set.
    #[bits(2)]
    pub cptpl: u8,
}

impl ReservationRegisterCdw10 {
    /// RREGA: register a key.
    pub const REGISTER: u8 = 0;
    /// RREGA: unregister.
    pub const UNREGISTER: u8 = 1;
    /// RREGA: replace the key.
    pub const REPLACE: u8 = 2;

    /// CPTPL: no change.
    pub const PTPL_UNCHANGED: u8 = 0;
    /// CPTPL: forget everything at a power loss.
    pub const PTPL_CLEAR: u8 = 2;
    /// CPTPL: persist through a power loss.
    pub const PTPL_SET: u8 = 3;
}

/// CDW10 of Reservation Acquire (`NVMe Base 2.1 §7.5`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReservationAcquireCdw10 {
    /// Action; see [`ReservationAcquireCdw10::ACQUIRE`] and the others.
    #[bits(3)]
    pub racqa: u8,
    /// Ignore the existing key; no longer allowed.
    pub iekey: bool,
    #[bits(4)]
    __: u8,
    /// Reservation type; see [`ReservationType::from_bits`].
    pub rtype: u8,
    __: u16,
}

impl ReservationAcquireCdw10 {
    /// RACQA: acquire.
    pub const ACQUIRE: u8 = 0;
    /// RACQA: preempt.
    pub const PREEMPT: u8 = 1;
    /// RACQA: preempt, and abort the commands of whom it hits.
    pub const PREEMPT_AND_ABORT: u8 = 2;
}

/// CDW10 of Reservation Release (`NVMe Base 2.1 §7.7`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReservationReleaseCdw10 {
    /// Action; see [`ReservationReleaseCdw10::RELEASE`] and the other.
    #[bits(3)]
    pub rrela: u8,
    /// Ignore the existing key; no longer allowed.
    pub iekey: bool,
    #[bits(4)]
    __: u8,
    /// Reservation type; see [`ReservationType::from_bits`].
    pub rtype: u8,
    __: u16,
}

impl ReservationReleaseCdw10 {
    /// RRELA: release.
    pub const RELEASE: u8 = 0;
    /// RRELA: release, and unregister everybody.
    pub const CLEAR: u8 = 1;
}

/// CDW11 of Reservation Report (`NVMe Base 2.1 §7.8`). CDW10 is the number of
/// dwords to transfer, zero-based.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReservationReportCdw11 {
    /// Extended data structure: with 128-bit host identifiers.
    pub eds: bool,
    #[bits(31)]
    __: u32,
}

/// The data of Reservation Register: 16 bytes (`NVMe Base 2.1 §7.6`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ReservationRegisterData {
    /// Current key.
    pub crkey: U64,
    /// New key.
    pub nrkey: U64,
}

/// The data of Reservation Acquire: 16 bytes (`NVMe Base 2.1 §7.5`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ReservationAcquireData {
    /// Current key.
    pub crkey: U64,
    /// Key to preempt.
    pub prkey: U64,
}

/// The data of Reservation Release: 8 bytes (`NVMe Base 2.1 §7.7`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ReservationReleaseData {
    /// Current key.
    pub crkey: U64,
}

/// The head of the Reservation Status data structure: 24 bytes, entries follow
/// (`NVMe Base 2.1 §7.8`). The extended structure pads it to
/// [`RESERVATION_STATUS_EXTENDED_BYTES`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ReservationStatus {
    /// Generation: counts registrations, clears and preemptions.
    pub generation: U32,
    /// Reservation type; 0 where there is no reservation.
    pub rtype: u8,
    /// Number of entries; see [`ReservationStatus::entries`].
    pub registered: [u8; 2],
    /// Reserved.
    pub reserved7: [u8; 2],
    /// Persist through power loss.
    pub ptpls: u8,
    /// Reserved.
    pub reserved10: [u8; 14],
}

/// Where the entries of the extended Reservation Status data structure start,
/// bytes.
pub const RESERVATION_STATUS_EXTENDED_BYTES: usize = 64;

impl ReservationStatus {
    /// The number of entries.
    #[must_use]
    pub const fn entries(&self) -> u16 {
        u16::from_le_bytes(self.registered)
    }
}

/// An entry of the Reservation Status data structure: 24 bytes
/// (`NVMe Base 2.1 §7.8`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RegisteredController {
    /// Controller; FFFFh where it is none of the fixed ones.
    pub controller_id: U16,
    /// Bit 0: the host holds the reservation; see
    /// [`RegisteredController::HOLDER`].
    pub rcsts: u8,
    /// Reserved.
    pub reserved3: [u8; 5],
    /// Host identifier.
    pub host_id: U64,
    /// Key.
    pub rkey: U64,
}

impl RegisteredController {
    /// RCSTS: the host holds the reservation.
    pub const HOLDER: u8 = 1;
    /// CNTLID: the host is at no controller that has a fixed identifier.
    pub const NO_CONTROLLER: u16 = 0xffff;
}

/// An entry of the extended Reservation Status data structure: 64 bytes
/// (`NVMe Base 2.1 §7.8`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RegisteredControllerExtended {
    /// Controller; FFFFh where it is none of the fixed ones.
    pub controller_id: U16,
    /// Bit 0: the host holds the reservation; see
    /// [`RegisteredController::HOLDER`].
    pub rcsts: u8,
    /// Reserved.
    pub reserved3: [u8; 5],
    /// Key.
    pub rkey: U64,
    /// Host identifier.
    pub host_id: [u8; 16],
    /// Reserved.
    pub reserved32: [u8; 32],
}

/// The Reservation Capabilities of a namespace: RESCAP of Identify Namespace
/// (`NVM Command Set 1.1 §4.1.5.1`).
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct ReservationCapabilities {
    /// Persist through power loss.
    pub ptpl: bool,
    /// Types supported, bit 0 for type 1 and so on.
    #[bits(6)]
    pub types: u8,
    /// The key is ignored as revision 1.3 and later define it.
    pub iekey_1_3: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_structures_have_the_layout_of_the_specification() {
        assert_eq!(size_of::<ReservationRegisterData>(), 16);
        assert_eq!(size_of::<ReservationAcquireData>(), 16);
        assert_eq!(size_of::<ReservationReleaseData>(), 8);
        assert_eq!(size_of::<ReservationStatus>(), 24);
        assert_eq!(offset_of!(ReservationStatus, registered), 5);
        assert_eq!(offset_of!(ReservationStatus, ptpls), 9);
        assert_eq!(size_of::<RegisteredController>(), 24);
        assert_eq!(offset_of!(RegisteredController, host_id), 8);
        assert_eq!(offset_of!(RegisteredController, rkey), 16);
        assert_eq!(size_of::<RegisteredControllerExtended>(), 64);
        assert_eq!(offset_of!(RegisteredControllerExtended, rkey), 8);
        assert_eq!(offset_of!(RegisteredControllerExtended, host_id), 16);
    }

    #[test]
    fn the_dwords_have_their_fields_where_hosts_put_them() {
        let register = ReservationRegisterCdw10::from_bits(0xc000_000a);
        assert_eq!(register.rrega(), ReservationRegisterCdw10::REPLACE);
        assert!(register.iekey());
        assert_eq!(register.cptpl(), ReservationRegisterCdw10::PTPL_SET);
        let acquire = ReservationAcquireCdw10::from_bits(0x0000_0601);
        assert_eq!(acquire.racqa(), ReservationAcquireCdw10::PREEMPT);
        let kind = ReservationType::from_bits(acquire.rtype());
        assert_eq!(kind, Some(ReservationType::ExclusiveAccessAllRegistrants));
        let release = ReservationReleaseCdw10::from_bits(0x0000_0301);
        assert_eq!(
            (release.rrela(), release.iekey(), release.rtype()),
            (1, false, 3)
        );
        assert_eq!(ReservationType::from_bits(0), None);
        assert_eq!(ReservationType::from_bits(7), None);
    }
}
