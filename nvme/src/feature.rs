//! Features: their identifiers, and the dwords and structures of each.

mod data;
mod dwords;

pub use data::{
    ApstEntry, ApstTable, HmbAttributes, HmbDescriptor, HostBehavior, LbaRangeType,
    PredictableLatencyConfig, Timestamp,
};
pub use dwords::{
    ArbitrationConfig, BootPartitionWriteProtection, CommandSetProfile, CreateCqCdw11,
    CreateQueueCdw10, CreateSqCdw11, EnduranceGroupEventConfig, ErrorRecovery, HostIdentifierCdw11,
    HostMemoryBufferCdw11, HostThermalManagement, InterruptCoalescing, LbaStatusInterval,
    NonOperationalPower, PowerManagement, PredictableLatencyWindow, ReservationNotificationMask,
    ReservationPersistence, SanitizeConfig, SpinupControl, VolatileWriteCache, WriteAtomicity,
    WriteProtectionConfig, WriteProtectionState,
};

use bitfield_struct::bitfield;

use crate::open_enum::open_enum;

open_enum! {
    /// A feature identifier (`NVMe Base 2.1 §5.1.25`); an open set.
    FeatureId, "feature {:02x}h" {
        /// Arbitration.
        ARBITRATION = 0x01, "Arbitration";
        /// Power Management.
        POWER_MANAGEMENT = 0x02, "Power Management";
        /// LBA Range Type.
        LBA_RANGE_TYPE = 0x03, "LBA Range Type";
        /// Temperature Threshold.
        TEMPERATURE_THRESHOLD = 0x04, "Temperature Threshold";
        /// Error Recovery.
        ERROR_RECOVERY = 0x05, "Error Recovery";
        /// Volatile Write Cache.
        VOLATILE_WRITE_CACHE = 0x06, "Volatile Write Cache";
        /// Number of Queues.
        NUMBER_OF_QUEUES = 0x07, "Number of Queues";
        /// Interrupt Coalescing.
        INTERRUPT_COALESCING = 0x08, "Interrupt Coalescing";
        /// Interrupt Vector Configuration.
        INTERRUPT_VECTOR_CONFIG = 0x09, "Interrupt Vector Configuration";
        /// Write Atomicity Normal.
        WRITE_ATOMICITY = 0x0a, "Write Atomicity Normal";
        /// Asynchronous Event Configuration.
        ASYNC_EVENT_CONFIG = 0x0b, "Asynchronous Event Configuration";
        /// Autonomous Power State Transition.
        APST = 0x0c, "Autonomous Power State Transition";
        /// Host Memory Buffer.
        HOST_MEMORY_BUFFER = 0x0d, "Host Memory Buffer";
        /// Timestamp.
        TIMESTAMP = 0x0e, "Timestamp";
        /// Keep Alive Timer.
        KEEP_ALIVE = 0x0f, "Keep Alive Timer";
        /// Host Controlled Thermal Management.
        HOST_THERMAL_MANAGEMENT = 0x10, "Host Controlled Thermal Management";
        /// Non-Operational Power State Config.
        NON_OPERATIONAL_POWER = 0x11, "Non-Operational Power State Config";
        /// Read Recovery Level Config.
        READ_RECOVERY_LEVEL = 0x12, "Read Recovery Level Config";
        /// Predictable Latency Mode Config.
        PREDICTABLE_LATENCY_CONFIG = 0x13, "Predictable Latency Mode Config";
        /// Predictable Latency Mode Window.
        PREDICTABLE_LATENCY_WINDOW = 0x14, "Predictable Latency Mode Window";
        /// LBA Status Information Report Interval.
        LBA_STATUS_INTERVAL = 0x15, "LBA Status Information Report Interval";
        /// Host Behavior Support.
        HOST_BEHAVIOR = 0x16, "Host Behavior Support";
        /// Sanitize Config.
        SANITIZE_CONFIG = 0x17, "Sanitize Config";
        /// Endurance Group Event Configuration.
        ENDURANCE_GROUP_EVENT_CONFIG = 0x18, "Endurance Group Event Configuration";
        /// I/O Command Set Profile.
        COMMAND_SET_PROFILE = 0x19, "I/O Command Set Profile";
        /// Spinup Control.
        SPINUP_CONTROL = 0x1a, "Spinup Control";
        /// Power Loss Signaling Config.
        POWER_LOSS_SIGNALING = 0x1b, "Power Loss Signaling Config";
        /// Performance Characteristics.
        PERFORMANCE_CHARACTERISTICS = 0x1c, "Performance Characteristics";
        /// Flexible Data Placement.
        FDP = 0x1d, "Flexible Data Placement";
        /// Flexible Data Placement Events.
        FDP_EVENTS = 0x1e, "Flexible Data Placement Events";
        /// Namespace Admin Label.
        NAMESPACE_ADMIN_LABEL = 0x1f, "Namespace Admin Label";
        /// Key Value Configuration.
        KEY_VALUE_CONFIG = 0x20, "Key Value Configuration";
        /// Controller Data Queue.
        CONTROLLER_DATA_QUEUE = 0x21, "Controller Data Queue";
        /// Embedded Management Controller Address.
        EMBEDDED_MANAGEMENT_ADDRESS = 0x78, "Embedded Management Controller Address";
        /// Host Management Agent Address.
        MANAGEMENT_AGENT_ADDRESS = 0x79, "Host Management Agent Address";
        /// Enhanced Controller Metadata.
        ENHANCED_CONTROLLER_METADATA = 0x7d, "Enhanced Controller Metadata";
        /// Controller Metadata.
        CONTROLLER_METADATA = 0x7e, "Controller Metadata";
        /// Namespace Metadata.
        NAMESPACE_METADATA = 0x7f, "Namespace Metadata";
        /// Software Progress Marker.
        SOFTWARE_PROGRESS_MARKER = 0x80, "Software Progress Marker";
        /// Host Identifier.
        HOST_IDENTIFIER = 0x81, "Host Identifier";
        /// Reservation Notification Mask.
        RESERVATION_NOTIFICATION_MASK = 0x82, "Reservation Notification Mask";
        /// Reservation Persistence.
        RESERVATION_PERSISTENCE = 0x83, "Reservation Persistence";
        /// Namespace Write Protection Config.
        NAMESPACE_WRITE_PROTECTION = 0x84, "Namespace Write Protection Config";
        /// Boot Partition Write Protection Config.
        BOOT_PARTITION_WRITE_PROTECTION = 0x85, "Boot Partition Write Protection Config";
    }
}

/// Which value of a feature Get Features asks for: CDW10 10:08
/// (`NVMe Base 2.1 §5.1.11`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureSelect {
    /// The value in force.
    Current,
    /// The manufacturer's value.
    Default,
    /// The value that survives a power cycle.
    Saved,
    /// What can be done with the feature.
    SupportedCapabilities,
    /// A reserved value.
    Reserved,
}

impl FeatureSelect {
    /// The selection in a Get Features CDW10.
    #[must_use]
    pub const fn from_cdw10(cdw10: u32) -> Self {
        match (cdw10 >> 8) & 0b111 {
            0 => Self::Current,
            1 => Self::Default,
            2 => Self::Saved,
            3 => Self::SupportedCapabilities,
            _ => Self::Reserved,
        }
    }

    /// The selection as the field has it; 7 for [`FeatureSelect::Reserved`].
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Current => 0,
            Self::Default => 1,
            Self::Saved => 2,
            Self::SupportedCapabilities => 3,
            Self::Reserved => 7,
        }
    }
}

/// Dword 0 of Get Features where the supported capabilities were asked for
/// (`NVMe Base 2.1 §5.1.11`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FeatureCapabilities {
    /// The feature can be saved.
    pub saveable: bool,
    /// The feature is per namespace.
    pub namespace_specific: bool,
    /// The feature can be changed.
    pub changeable: bool,
    #[bits(29)]
    __: u32,
}

/// The Number of Queues feature: CDW11 of Set Features and dword 0 of its
/// completion (`NVMe Base 2.1 §5.1.25.2.1`). Both fields are zero-based.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct NumberOfQueues {
    /// I/O submission queues, zero-based.
    pub nsq: u16,
    /// I/O completion queues, zero-based.
    pub ncq: u16,
}

/// The Temperature Threshold feature: CDW11 (`NVMe Base 2.1 §5.1.25.1.3`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct TemperatureThreshold {
    /// The threshold, kelvin.
    pub tmpth: u16,
    /// The sensor; 0 is the composite temperature, 15 all of them.
    #[bits(4)]
    pub tmpsel: u8,
    /// Which threshold: 0 over, 1 under.
    #[bits(2)]
    pub thsel: u8,
    /// Temperature threshold hysteresis, kelvin.
    #[bits(3)]
    pub tmpthh: u8,
    #[bits(7)]
    __: u8,
}

/// The Interrupt Vector Configuration feature: CDW11
/// (`NVMe Base 2.1 §5.1.25.2.3`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct VectorConfig {
    /// Interrupt vector.
    pub iv: u16,
    /// Coalescing disable.
    pub cd: bool,
    #[bits(15)]
    __: u16,
}

/// The Asynchronous Event Configuration feature (`NVMe Base 2.1 §5.1.25.1.5`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct AsyncEventConfig {
    /// SMART / health critical warnings, bit for bit as in the log.
    pub critical_warnings: u8,
    /// Attached namespace attribute notices.
    pub namespace_attribute: bool,
    /// Firmware activation notices.
    pub firmware_activation: bool,
    /// Telemetry log notices.
    pub telemetry: bool,
    /// Asymmetric namespace access change notices.
    pub ana_change: bool,
    /// Predictable latency event aggregate log change notices.
    pub predictable_latency: bool,
    /// LBA status information alert notices.
    pub lba_status: bool,
    /// Endurance group event aggregate log change notices.
    pub endurance_group: bool,
    /// Normal NVM subsystem shutdown.
    pub subsystem_shutdown: bool,
    /// Temperature threshold hysteresis recovery.
    pub temperature_hysteresis: bool,
    /// Reachability association notices.
    pub reachability_association: bool,
    /// Reachability group notices.
    pub reachability_group: bool,
    /// Allocated namespace attribute notices.
    pub allocated_namespace: bool,
    #[bits(7)]
    __: u8,
    /// Zone descriptor changed notices.
    pub zone_descriptor: bool,
    /// Pull model DDC request log page change notification.
    pub pull_model_ddc: bool,
    /// AVE discovery log page change notification.
    pub ave_discovery: bool,
    /// Host discovery log page change notification.
    pub host_discovery: bool,
    /// Discovery log page change notification.
    pub discovery: bool,
}
