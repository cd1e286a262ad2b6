//! The Device Self-test log.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which self-test the Device Self-test command starts, the log reports as
/// running, and a result is of (`NVMe Base 2.1 §5.1.5`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SelfTestOperation {
    /// None is running.
    None = 0,
    /// The short self-test.
    Short = 1,
    /// The extended self-test.
    Extended = 2,
    /// Host-initiated refresh.
    HostRefresh = 3,
    /// Vendor specific.
    Vendor = 0xe,
    /// Abort the self-test (the command only).
    Abort = 0xf,
}

impl SelfTestOperation {
    /// The operation with this code; none where it is reserved. Bits above
    /// 03:00 are dropped.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code & 0xf {
            0 => Self::None,
            1 => Self::Short,
            2 => Self::Extended,
            3 => Self::HostRefresh,
            0xe => Self::Vendor,
            0xf => Self::Abort,
            _ => return None,
        })
    }
}

/// How a self-test ended: bits 03:00 (`NVMe Base 2.1 §5.1.12.1.7`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SelfTestResult {
    /// Without error.
    Passed = 0,
    /// Aborted by a Device Self-test command.
    AbortedByCommand = 1,
    /// Aborted by a controller level reset.
    AbortedByReset = 2,
    /// Aborted because a namespace was removed.
    AbortedByNamespaceRemoval = 3,
    /// Aborted by a Format NVM command.
    AbortedByFormat = 4,
    /// A fatal or unknown error, the test did not complete.
    FatalError = 5,
    /// A segment failed, and it is not known which.
    UnknownSegmentFailed = 6,
    /// A segment failed; the entry says which.
    SegmentFailed = 7,
    /// Aborted for an unknown reason.
    AbortedUnknown = 8,
    /// Aborted by a sanitize operation.
    AbortedBySanitize = 9,
    /// The entry is not in use.
    Unused = 0xf,
}

impl SelfTestResult {
    /// The result with this code; none where it is reserved. Bits above 03:00
    /// are dropped.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code & 0xf {
            0 => Self::Passed,
            1 => Self::AbortedByCommand,
            2 => Self::AbortedByReset,
            3 => Self::AbortedByNamespaceRemoval,
            4 => Self::AbortedByFormat,
            5 => Self::FatalError,
            6 => Self::UnknownSegmentFailed,
            7 => Self::SegmentFailed,
            8 => Self::AbortedUnknown,
            9 => Self::AbortedBySanitize,
            0xf => Self::Unused,
            _ => return None,
        })
    }
}

/// The first byte of an entry (`NVMe Base 2.1 §5.1.12.1.7`).
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct SelfTestStatus {
    /// See [`SelfTestResult::from_code`].
    #[bits(4)]
    pub result: u8,
    /// See [`SelfTestOperation::from_code`].
    #[bits(4)]
    pub code: u8,
}

/// An entry of the Device Self-test log: 28 bytes
/// (`NVMe Base 2.1 §5.1.12.1.7`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SelfTestEntry {
    /// Status; see [`SelfTestStatus`].
    pub status: u8,
    /// The first segment that failed, where the result names one.
    pub segment: u8,
    /// Which of the following are valid; see [`SelfTestEntry::NSID_VALID`].
    pub valid: u8,
    /// Reserved.
    pub reserved3: u8,
    /// Power-on hours.
    pub power_on_hours: U64,
    /// The namespace that failed.
    pub namespace_id: U32,
    /// The LBA that failed.
    pub failing_lba: U64,
    /// Status code type of the failure.
    pub status_code_type: u8,
    /// Status code of the failure.
    pub status_code: u8,
    /// Vendor specific.
    pub vendor: [u8; 2],
}

impl SelfTestEntry {
    /// Valid: the namespace.
    pub const NSID_VALID: u8 = 1 << 0;
    /// Valid: the failing LBA.
    pub const LBA_VALID: u8 = 1 << 1;
    /// Valid: the status code type.
    pub const TYPE_VALID: u8 = 1 << 2;
    /// Valid: the status code.
    pub const CODE_VALID: u8 = 1 << 3;
}

/// Device Self-test: 564 bytes (`NVMe Base 2.1 §5.1.12.1.7`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SelfTestLog {
    /// The self-test that is running: 03:00; see
    /// [`SelfTestOperation::from_code`].
    pub operation: u8,
    /// How much of it is done: 06:00, percent.
    pub completion: u8,
    /// Reserved.
    pub reserved2: [u8; 2],
    /// Results, the newest first.
    pub results: [SelfTestEntry; 20],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_the_layout_of_the_specification() {
        assert_eq!(size_of::<SelfTestEntry>(), 28);
        assert_eq!(size_of::<SelfTestLog>(), 564);
        assert_eq!(core::mem::offset_of!(SelfTestEntry, failing_lba), 16);
        assert_eq!(
            SelfTestStatus::new()
                .with_code(2)
                .with_result(7)
                .into_bits(),
            0x27
        );
    }
}
