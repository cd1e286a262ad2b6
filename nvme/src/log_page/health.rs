//! The logs of sanitize, reservations, LBA status, endurance groups and
//! predictable latency.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::zeroed_default;

/// Sanitize status: SSTAT (`NVMe Base 2.1 §5.1.12.1.33`).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct SanitizeStatus {
    /// The most recent operation; see [`SanitizeStatus::NEVER`].
    #[bits(3)]
    pub status: u8,
    /// Overwrite passes completed.
    #[bits(5)]
    pub passes: u8,
    /// No user data was written since the last sanitize that succeeded.
    pub global_data_erased: bool,
    /// Media verification was cancelled.
    pub verification_cancelled: bool,
    #[bits(6)]
    __: u8,
}

impl SanitizeStatus {
    /// Status: never sanitized.
    pub const NEVER: u8 = 0;
    /// Status: sanitized successfully.
    pub const SUCCEEDED: u8 = 1;
    /// Status: in progress.
    pub const IN_PROGRESS: u8 = 2;
    /// Status: failed.
    pub const FAILED: u8 = 3;
    /// Status: sanitized successfully, and deallocated although that was not
    /// asked for.
    pub const SUCCEEDED_UNEXPECTED_DEALLOCATION: u8 = 4;
}

/// Sanitize state information: SSI (`NVMe Base 2.1 §5.1.12.1.33`).
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct SanitizeState {
    /// State: 0 idle, 1 restricted processing, 2 restricted failure, 3
    /// unrestricted processing, 4 unrestricted failure, 5 media verification,
    /// 6 post-verification deallocation.
    #[bits(4)]
    pub state: u8,
    /// The state in which the operation failed.
    #[bits(4)]
    pub failure: u8,
}

/// Sanitize Status: 512 bytes (`NVMe Base 2.1 §5.1.12.1.33`).
///
/// The estimates are seconds; FFFFFFFFh where none is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SanitizeLog {
    /// Progress: n of 65,536; FFFFh where none is in progress.
    pub progress: U16,
    /// See [`SanitizeStatus`].
    pub status: U16,
    /// CDW10 of the Sanitize command that started the operation.
    pub cdw10: U32,
    /// Estimate of overwrite.
    pub overwrite_s: U32,
    /// Estimate of block erase.
    pub block_erase_s: U32,
    /// Estimate of crypto erase.
    pub crypto_erase_s: U32,
    /// Estimate of overwrite without deallocation.
    pub overwrite_no_deallocate_s: U32,
    /// Estimate of block erase without deallocation.
    pub block_erase_no_deallocate_s: U32,
    /// Estimate of crypto erase without deallocation.
    pub crypto_erase_no_deallocate_s: U32,
    /// Estimate of the deallocation after verification.
    pub post_verification_s: U32,
    /// See [`SanitizeState`].
    pub state: u8,
    /// Reserved.
    pub reserved37: [u8; 475],
}

impl SanitizeLog {
    /// An estimate that is not reported.
    pub const NO_ESTIMATE: u32 = u32::MAX;
    /// The progress of an operation that is not running.
    pub const NO_PROGRESS: u16 = u16::MAX;
}

/// Reservation Notification: 64 bytes (`NVMe Base 2.1 §5.1.12.1.32`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReservationNotificationLog {
    /// Number of this page, from 1; 0 where there is none.
    pub count: U64,
    /// What happened: 0 nothing, 1 registration preempted, 2 reservation
    /// released, 3 reservation preempted.
    pub kind: u8,
    /// How many more pages can be read.
    pub available: u8,
    /// Reserved.
    pub reserved10: [u8; 2],
    /// The namespace.
    pub namespace_id: U32,
    /// Reserved.
    pub reserved16: [u8; 48],
}

/// The head of the LBA Status Information log: 16 bytes, elements follow
/// (`NVM Command Set 1.1 §4.1.4.5`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LbaStatusLog {
    /// Length of the log, bytes.
    pub bytes: U32,
    /// How many namespace elements follow.
    pub elements: U32,
    /// Estimate of unrecoverable blocks.
    pub estimate: U32,
    /// Reserved.
    pub reserved12: [u8; 2],
    /// Generation counter.
    pub generation: U16,
}

/// The head of a namespace element: 16 bytes, ranges follow
/// (`NVM Command Set 1.1 §4.1.4.5`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LbaStatusElement {
    /// The namespace.
    pub namespace_id: U32,
    /// How many range descriptors follow; FFFFFFFFh for "examine all".
    pub ranges: U32,
    /// Recommended action type, as for Get LBA Status.
    pub action: u8,
    /// Reserved.
    pub reserved9: [u8; 7],
}

/// A range of a namespace element: 16 bytes (`NVM Command Set 1.1 §4.1.4.5`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LbaStatusRange {
    /// Starting LBA.
    pub slba: U64,
    /// Number of blocks.
    pub blocks: U32,
    /// Reserved.
    pub reserved12: [u8; 4],
}

/// Endurance Group Information: 512 bytes (`NVMe Base 2.1 §5.1.12.1.10`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EnduranceGroupLog {
    /// Critical warnings: bit 0 spare, bit 2 reliability, bit 3 read-only.
    pub critical_warning: u8,
    /// Features: bit 0 rotational media.
    pub features: u8,
    /// Reserved.
    pub reserved2: u8,
    /// Available spare, percent.
    pub available_spare: u8,
    /// Available spare threshold, percent.
    pub available_spare_threshold: u8,
    /// Percentage used, may exceed 100.
    pub percentage_used: u8,
    /// Domain identifier.
    pub domain_id: U16,
    /// Reserved.
    pub reserved8: [u8; 24],
    /// Endurance estimate: billions of bytes.
    pub endurance_estimate: [u8; 16],
    /// Data units read: billions of bytes.
    pub data_units_read: [u8; 16],
    /// Data units written: billions of bytes.
    pub data_units_written: [u8; 16],
    /// Media units written: billions of bytes.
    pub media_units_written: [u8; 16],
    /// Host read commands.
    pub host_reads: [u8; 16],
    /// Host write commands.
    pub host_writes: [u8; 16],
    /// Media and data integrity errors.
    pub media_errors: [u8; 16],
    /// Error Information log entries.
    pub error_log_entries: [u8; 16],
    /// Total capacity, bytes.
    pub total_capacity: [u8; 16],
    /// Unallocated capacity, bytes.
    pub unallocated_capacity: [u8; 16],
    /// Reserved.
    pub reserved192: [u8; 320],
}

/// The head of the Endurance Group Event Aggregate log: 8 bytes, endurance group
/// identifiers of 16 bits follow, ascending (`NVMe Base 2.1 §5.1.12.1.15`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct EnduranceGroupAggregateLog {
    /// How many identifiers follow.
    pub count: U64,
}

/// Predictable Latency Per NVM Set: 512 bytes (`NVMe Base 2.1 §5.1.12.1.11`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PredictableLatencyLog {
    /// Status: bits 02:00; 0 disabled, 1 deterministic window, 2
    /// non-deterministic window.
    pub status: u8,
    /// Reserved.
    pub reserved1: u8,
    /// Events that occurred.
    pub event_type: U16,
    /// Reserved.
    pub reserved4: [u8; 28],
    /// Deterministic window: typical reads, 4 KiB.
    pub dtwin_reads_typical: U64,
    /// Deterministic window: typical writes, optimal write size.
    pub dtwin_writes_typical: U64,
    /// Deterministic window: maximum time, ms.
    pub dtwin_time_max: U64,
    /// Non-deterministic window: minimum time, high estimate, ms.
    pub ndwin_time_min_high: U64,
    /// Non-deterministic window: minimum time, low estimate, ms.
    pub ndwin_time_min_low: U64,
    /// Reserved.
    pub reserved72: [u8; 56],
    /// Deterministic window: reads left.
    pub dtwin_reads_estimate: U64,
    /// Deterministic window: writes left.
    pub dtwin_writes_estimate: U64,
    /// Deterministic window: time left, ms.
    pub dtwin_time_estimate: U64,
    /// Reserved.
    pub reserved152: [u8; 360],
}

zeroed_default!(
    ReservationNotificationLog,
    SanitizeLog,
    EnduranceGroupLog,
    PredictableLatencyLog
);

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_logs_have_the_layout_of_the_specification() {
        assert_eq!(size_of::<SanitizeLog>(), 512);
        assert_eq!(offset_of!(SanitizeLog, crypto_erase_no_deallocate_s), 28);
        assert_eq!(offset_of!(SanitizeLog, state), 36);
        assert_eq!(size_of::<ReservationNotificationLog>(), 64);
        assert_eq!(offset_of!(ReservationNotificationLog, namespace_id), 12);
        assert_eq!(size_of::<LbaStatusLog>(), 16);
        assert_eq!(size_of::<LbaStatusElement>(), 16);
        assert_eq!(size_of::<LbaStatusRange>(), 16);
        assert_eq!(size_of::<EnduranceGroupLog>(), 512);
        assert_eq!(offset_of!(EnduranceGroupLog, total_capacity), 160);
        assert_eq!(size_of::<PredictableLatencyLog>(), 512);
        assert_eq!(offset_of!(PredictableLatencyLog, dtwin_reads_estimate), 128);
        assert_eq!(
            SanitizeStatus::new()
                .with_global_data_erased(true)
                .into_bits(),
            1 << 8
        );
    }
}
