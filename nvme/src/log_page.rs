//! Log pages and asynchronous events.

use core::fmt;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A log page identifier (`NVMe Base 2.1 §5.1.12.1`); an open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct LogPageId(pub u8);

impl LogPageId {
    /// Supported Log Pages.
    pub const SUPPORTED: Self = Self(0x00);
    /// Error Information.
    pub const ERROR_INFORMATION: Self = Self(0x01);
    /// SMART / Health Information.
    pub const SMART: Self = Self(0x02);
    /// Firmware Slot Information.
    pub const FIRMWARE_SLOT: Self = Self(0x03);
    /// Changed Attached Namespace List.
    pub const CHANGED_NAMESPACES: Self = Self(0x04);
    /// Commands Supported and Effects.
    pub const COMMAND_EFFECTS: Self = Self(0x05);

    /// The specification's name; none where the page has none here.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::SUPPORTED => "Supported Log Pages",
            Self::ERROR_INFORMATION => "Error Information",
            Self::SMART => "SMART / Health Information",
            Self::FIRMWARE_SLOT => "Firmware Slot Information",
            Self::CHANGED_NAMESPACES => "Changed Attached Namespace List",
            Self::COMMAND_EFFECTS => "Commands Supported and Effects",
            _ => return None,
        })
    }
}

impl fmt::Display for LogPageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "log page {:02x}h", self.0),
        }
    }
}

/// SMART / Health Information: 512 bytes (`NVMe Base 2.1 §5.1.12.1.3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SmartLog {
    /// Critical warnings, a bit each.
    pub critical_warning: u8,
    /// Composite temperature, kelvin; see [`SmartLog::temperature`].
    pub composite_temperature: [u8; 2],
    /// Available spare, percent.
    pub available_spare: u8,
    /// Available spare threshold, percent.
    pub available_spare_threshold: u8,
    /// Percentage used, may exceed 100.
    pub percentage_used: u8,
    /// Endurance group critical warning summary.
    pub endurance_group_warning: u8,
    /// Reserved.
    pub reserved7: [u8; 25],
    /// Data units read: thousands of 512 bytes, rounded up.
    pub data_units_read: [u8; 16],
    /// Data units written: thousands of 512 bytes, rounded up.
    pub data_units_written: [u8; 16],
    /// Host read commands.
    pub host_reads: [u8; 16],
    /// Host write commands.
    pub host_writes: [u8; 16],
    /// Minutes that the controller was busy with I/O commands.
    pub busy_minutes: [u8; 16],
    /// Power cycles.
    pub power_cycles: [u8; 16],
    /// Power-on hours.
    pub power_on_hours: [u8; 16],
    /// Shutdowns without notice.
    pub unsafe_shutdowns: [u8; 16],
    /// Media and data integrity errors.
    pub media_errors: [u8; 16],
    /// Error Information log entries over the life of the controller.
    pub error_log_entries: [u8; 16],
    /// Minutes above the warning temperature.
    pub warning_temperature_minutes: U32,
    /// Minutes above the critical temperature.
    pub critical_temperature_minutes: U32,
    /// Temperature sensors, kelvin; 0 where there is none.
    pub temperature_sensors: [U16; 8],
    /// Thermal management transition counts and times.
    pub thermal_management: [U32; 4],
    /// Reserved.
    pub reserved232: [u8; 280],
}

impl Default for SmartLog {
    fn default() -> Self {
        Self::new_zeroed_log()
    }
}

impl SmartLog {
    /// Critical warning: a temperature threshold is crossed.
    pub const WARNING_TEMPERATURE: u8 = 1 << 1;
    /// Critical warning: the medium is read-only.
    pub const WARNING_READ_ONLY: u8 = 1 << 3;

    fn new_zeroed_log() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }

    /// The composite temperature in kelvin.
    #[must_use]
    pub const fn temperature(&self) -> u16 {
        u16::from_le_bytes(self.composite_temperature)
    }
}

/// An entry of the Error Information log: 64 bytes
/// (`NVMe Base 2.1 §5.1.12.1.2`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ErrorLogEntry {
    /// Error count, unique over the life of the controller; 0 is no entry.
    pub error_count: U64,
    /// Submission queue identifier.
    pub sq_id: U16,
    /// Command identifier.
    pub command_id: U16,
    /// Status field with phase tag, as in the completion.
    pub status_phase: U16,
    /// Byte and bit of the command's parameter that is in error.
    pub parameter_location: U16,
    /// First LBA in error.
    pub lba: U64,
    /// Namespace.
    pub namespace_id: U32,
    /// Vendor specific information available.
    pub vendor: u8,
    /// Transport type.
    pub transport_type: u8,
    /// Command set indicator.
    pub command_set: u8,
    /// Opcode.
    pub opcode: u8,
    /// Command specific information.
    pub command_specific: U64,
    /// Transport type specific information.
    pub transport_specific: U16,
    /// Reserved.
    pub reserved42: [u8; 22],
}

/// Firmware Slot Information: 512 bytes (`NVMe Base 2.1 §5.1.12.1.4`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FirmwareSlotLog {
    /// Active firmware: 02:00 slot in use, 06:04 slot at the next reset.
    pub active: u8,
    /// Reserved.
    pub reserved1: [u8; 7],
    /// Firmware revision of slots 1 to 7, ASCII.
    pub revisions: [[u8; 8]; 7],
    /// Reserved.
    pub reserved64: [u8; 448],
}

impl Default for FirmwareSlotLog {
    fn default() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

/// An entry of the Commands Supported and Effects log
/// (`NVMe Base 2.1 §5.1.12.1.6`).
#[bitfield_struct::bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CommandEffects {
    /// The command is supported.
    pub csupp: bool,
    /// Logical block content may change.
    pub lbcc: bool,
    /// Namespace capabilities may change.
    pub ncc: bool,
    /// The namespace inventory may change.
    pub nic: bool,
    /// Controller capabilities may change.
    pub ccc: bool,
    #[bits(11)]
    __: u16,
    /// How the command may be submitted beside others.
    #[bits(3)]
    pub cse: u8,
    /// UUID selection is supported.
    pub uuid_selection: bool,
    /// Scope of the command.
    #[bits(12)]
    pub scope: u16,
}

/// The class of an asynchronous event: completion dword 0, bits 02:00
/// (`NVMe Base 2.1 §5.1.2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AsyncEventKind {
    /// Error status.
    Error = 0,
    /// SMART / health status.
    Smart = 1,
    /// Notice.
    Notice = 2,
    /// I/O command specific status.
    IoCommand = 6,
    /// Vendor specific.
    Vendor = 7,
}

/// An asynchronous event, as dword 0 of its completion tells it
/// (`NVMe Base 2.1 §5.1.2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncEvent {
    /// The class.
    pub kind: AsyncEventKind,
    /// Which event of that class.
    pub information: u8,
    /// The log page to read; reading it unmasks the class.
    pub log_page: LogPageId,
}

impl AsyncEvent {
    /// Error status: a doorbell was written with a value that its queue does
    /// not have.
    pub const INVALID_DOORBELL_VALUE: Self = Self {
        kind: AsyncEventKind::Error,
        information: 0x01,
        log_page: LogPageId::ERROR_INFORMATION,
    };
    /// Error status: a doorbell was written that no queue has.
    pub const INVALID_DOORBELL_REGISTER: Self = Self {
        kind: AsyncEventKind::Error,
        information: 0x00,
        log_page: LogPageId::ERROR_INFORMATION,
    };
    /// SMART / health status: a temperature threshold was crossed.
    pub const TEMPERATURE_THRESHOLD: Self = Self {
        kind: AsyncEventKind::Smart,
        information: 0x01,
        log_page: LogPageId::SMART,
    };

    /// Dword 0 of the completion.
    #[must_use]
    pub const fn dword0(self) -> u32 {
        u32::from_le_bytes([self.kind as u8, self.information, self.log_page.0, 0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_of_the_specification() {
        assert_eq!(size_of::<SmartLog>(), 512);
        assert_eq!(size_of::<ErrorLogEntry>(), 64);
        assert_eq!(size_of::<FirmwareSlotLog>(), 512);
        assert_eq!(core::mem::offset_of!(SmartLog, host_reads), 64);
        assert_eq!(core::mem::offset_of!(SmartLog, temperature_sensors), 200);
    }
}
