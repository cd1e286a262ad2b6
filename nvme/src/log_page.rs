//! Log pages.

mod health;
mod persistent_event;
mod self_test;
mod supported;
mod telemetry;

pub use health::{
    EnduranceGroupAggregateLog, EnduranceGroupLog, LbaStatusElement, LbaStatusLog, LbaStatusRange,
    PredictableLatencyLog, ReservationNotificationLog, SanitizeLog, SanitizeState, SanitizeStatus,
};
pub use persistent_event::{
    ChangeNamespaceEvent, FirmwareCommitEvent, FormatCompletionEvent, FormatStartEvent,
    HardwareErrorEvent, PersistentEventHeader, PersistentEventLogHeader, PersistentEventType,
    PowerOnController, SanitizeCompletionEvent, SanitizeStartEvent, SetFeatureLayout,
    ThermalExcursionEvent, TimestampChangeEvent,
};
pub use self_test::{
    SelfTestEntry, SelfTestLog, SelfTestOperation, SelfTestResult, SelfTestStatus,
};
pub use supported::{
    BootPartitionInfo, BootPartitionLogHeader, FeatureEffects, LockdownLog, LockdownSelection,
    NvmeMiEffects, SupportedLogPage,
};
pub use telemetry::TelemetryHeader;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::{open_enum, zeroed_default};

open_enum! {
    /// A log page identifier (`NVMe Base 2.1 §5.1.12.1`); an open set.
    LogPageId, "log page {:02x}h" {
        /// Supported Log Pages.
        SUPPORTED = 0x00, "Supported Log Pages";
        /// Error Information.
        ERROR_INFORMATION = 0x01, "Error Information";
        /// SMART / Health Information.
        SMART = 0x02, "SMART / Health Information";
        /// Firmware Slot Information.
        FIRMWARE_SLOT = 0x03, "Firmware Slot Information";
        /// Changed Attached Namespace List.
        CHANGED_NAMESPACES = 0x04, "Changed Attached Namespace List";
        /// Commands Supported and Effects.
        COMMAND_EFFECTS = 0x05, "Commands Supported and Effects";
        /// Device Self-test.
        SELF_TEST = 0x06, "Device Self-test";
        /// Telemetry Host-Initiated.
        TELEMETRY_HOST = 0x07, "Telemetry Host-Initiated";
        /// Telemetry Controller-Initiated.
        TELEMETRY_CONTROLLER = 0x08, "Telemetry Controller-Initiated";
        /// Endurance Group Information.
        ENDURANCE_GROUP = 0x09, "Endurance Group Information";
        /// Predictable Latency Per NVM Set.
        PREDICTABLE_LATENCY = 0x0a, "Predictable Latency Per NVM Set";
        /// Predictable Latency Event Aggregate.
        PREDICTABLE_LATENCY_AGGREGATE = 0x0b, "Predictable Latency Event Aggregate";
        /// Asymmetric Namespace Access.
        ANA = 0x0c, "Asymmetric Namespace Access";
        /// Persistent Event.
        PERSISTENT_EVENT = 0x0d, "Persistent Event";
        /// LBA Status Information.
        LBA_STATUS = 0x0e, "LBA Status Information";
        /// Endurance Group Event Aggregate.
        ENDURANCE_GROUP_AGGREGATE = 0x0f, "Endurance Group Event Aggregate";
        /// Media Unit Status.
        MEDIA_UNIT_STATUS = 0x10, "Media Unit Status";
        /// Supported Capacity Configuration List.
        CAPACITY_CONFIGURATIONS = 0x11, "Supported Capacity Configuration List";
        /// Feature Identifiers Supported and Effects.
        FEATURE_EFFECTS = 0x12, "Feature Identifiers Supported and Effects";
        /// NVMe-MI Commands Supported and Effects.
        NVME_MI_EFFECTS = 0x13, "NVMe-MI Commands Supported and Effects";
        /// Command and Feature Lockdown.
        LOCKDOWN = 0x14, "Command and Feature Lockdown";
        /// Boot Partition.
        BOOT_PARTITION = 0x15, "Boot Partition";
        /// Rotational Media Information.
        ROTATIONAL_MEDIA = 0x16, "Rotational Media Information";
        /// Dispersed Namespace Participating NVM Subsystems.
        DISPERSED_SUBSYSTEMS = 0x17, "Dispersed Namespace Participating NVM Subsystems";
        /// Management Address List.
        MANAGEMENT_ADDRESSES = 0x18, "Management Address List";
        /// Physical Interface Receiver Eye Opening Measurement.
        PHY_EYE_MEASUREMENT = 0x19, "Physical Interface Receiver Eye Opening Measurement";
        /// Reachability Groups.
        REACHABILITY_GROUPS = 0x1a, "Reachability Groups";
        /// Reachability Associations.
        REACHABILITY_ASSOCIATIONS = 0x1b, "Reachability Associations";
        /// Changed Allocated Namespace List.
        CHANGED_ALLOCATED_NAMESPACES = 0x1c, "Changed Allocated Namespace List";
        /// FDP Configurations.
        FDP_CONFIGURATIONS = 0x20, "FDP Configurations";
        /// Reclaim Unit Handle Usage.
        RECLAIM_UNIT_HANDLE_USAGE = 0x21, "Reclaim Unit Handle Usage";
        /// FDP Statistics.
        FDP_STATISTICS = 0x22, "FDP Statistics";
        /// FDP Events.
        FDP_EVENTS = 0x23, "FDP Events";
        /// Discovery.
        DISCOVERY = 0x70, "Discovery";
        /// Host Discovery.
        HOST_DISCOVERY = 0x71, "Host Discovery";
        /// AVE Discovery.
        AVE_DISCOVERY = 0x72, "AVE Discovery";
        /// Pull Model DDC Request.
        PULL_MODEL_DDC_REQUEST = 0x73, "Pull Model DDC Request";
        /// Reservation Notification.
        RESERVATION_NOTIFICATION = 0x80, "Reservation Notification";
        /// Sanitize Status.
        SANITIZE_STATUS = 0x81, "Sanitize Status";
        /// Changed Zone List.
        CHANGED_ZONES = 0xbf, "Changed Zone List";
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
    /// Critical warning: the available spare is below its threshold.
    pub const WARNING_SPARE: u8 = 1 << 0;
    /// Critical warning: a temperature threshold is crossed.
    pub const WARNING_TEMPERATURE: u8 = 1 << 1;
    /// Critical warning: the reliability is degraded.
    pub const WARNING_DEGRADED: u8 = 1 << 2;
    /// Critical warning: the medium is read-only.
    pub const WARNING_READ_ONLY: u8 = 1 << 3;
    /// Critical warning: the backup of volatile memory failed.
    pub const WARNING_VOLATILE_BACKUP: u8 = 1 << 4;
    /// Critical warning: the persistent memory region is read-only.
    pub const WARNING_PMR_READ_ONLY: u8 = 1 << 5;

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
    pub reserved42: [u8; 21],
    /// Log page version: 1 where `opcode` and `transport_type` are in force.
    pub version: u8,
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

zeroed_default!(FirmwareSlotLog);

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
    #[bits(9)]
    __: u16,
    /// Relaxations of the submission and execution rules.
    #[bits(2)]
    pub cser: u8,
    /// How the command may be submitted beside others.
    #[bits(3)]
    pub cse: u8,
    /// UUID selection is supported.
    pub uuid_selection: bool,
    /// Scope of the command.
    #[bits(12)]
    pub scope: u16,
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
