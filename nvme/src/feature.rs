//! Features, and the dwords of the commands that manage queues.

use bitfield_struct::bitfield;
use core::fmt;

/// A feature identifier (`NVMe Base 2.1 §5.1.25`); an open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct FeatureId(pub u8);

impl FeatureId {
    /// Arbitration.
    pub const ARBITRATION: Self = Self(0x01);
    /// Power Management.
    pub const POWER_MANAGEMENT: Self = Self(0x02);
    /// Temperature Threshold.
    pub const TEMPERATURE_THRESHOLD: Self = Self(0x04);
    /// Error Recovery (`NVM Command Set 1.1 §4.1.3.2`).
    pub const ERROR_RECOVERY: Self = Self(0x05);
    /// Volatile Write Cache.
    pub const VOLATILE_WRITE_CACHE: Self = Self(0x06);
    /// Number of Queues.
    pub const NUMBER_OF_QUEUES: Self = Self(0x07);
    /// Interrupt Coalescing.
    pub const INTERRUPT_COALESCING: Self = Self(0x08);
    /// Interrupt Vector Configuration.
    pub const INTERRUPT_VECTOR_CONFIG: Self = Self(0x09);
    /// Write Atomicity Normal.
    pub const WRITE_ATOMICITY: Self = Self(0x0a);
    /// Asynchronous Event Configuration.
    pub const ASYNC_EVENT_CONFIG: Self = Self(0x0b);
    /// Autonomous Power State Transition.
    pub const APST: Self = Self(0x0c);
    /// Host Memory Buffer.
    pub const HOST_MEMORY_BUFFER: Self = Self(0x0d);
    /// Timestamp.
    pub const TIMESTAMP: Self = Self(0x0e);
    /// Keep Alive Timer.
    pub const KEEP_ALIVE: Self = Self(0x0f);
    /// Host Behavior Support.
    pub const HOST_BEHAVIOR: Self = Self(0x16);
    /// Software Progress Marker.
    pub const SOFTWARE_PROGRESS_MARKER: Self = Self(0x80);
    /// Host Identifier.
    pub const HOST_IDENTIFIER: Self = Self(0x81);

    /// The specification's name; none where the feature has none here.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::ARBITRATION => "Arbitration",
            Self::POWER_MANAGEMENT => "Power Management",
            Self::TEMPERATURE_THRESHOLD => "Temperature Threshold",
            Self::ERROR_RECOVERY => "Error Recovery",
            Self::VOLATILE_WRITE_CACHE => "Volatile Write Cache",
            Self::NUMBER_OF_QUEUES => "Number of Queues",
            Self::INTERRUPT_COALESCING => "Interrupt Coalescing",
            Self::INTERRUPT_VECTOR_CONFIG => "Interrupt Vector Configuration",
            Self::WRITE_ATOMICITY => "Write Atomicity Normal",
            Self::ASYNC_EVENT_CONFIG => "Asynchronous Event Configuration",
            Self::APST => "Autonomous Power State Transition",
            Self::HOST_MEMORY_BUFFER => "Host Memory Buffer",
            Self::TIMESTAMP => "Timestamp",
            Self::KEEP_ALIVE => "Keep Alive Timer",
            Self::HOST_BEHAVIOR => "Host Behavior Support",
            Self::SOFTWARE_PROGRESS_MARKER => "Software Progress Marker",
            Self::HOST_IDENTIFIER => "Host Identifier",
            _ => return None,
        })
    }
}

impl fmt::Display for FeatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "feature {:02x}h", self.0),
        }
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
    #[bits(10)]
    __: u16,
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
    #[bits(21)]
    __: u32,
}

/// CDW10 of Create I/O Submission Queue and Create I/O Completion Queue
/// (`NVMe Base 2.1 §5.2.1`, `§5.2.2`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CreateQueueCdw10 {
    /// Queue identifier.
    pub qid: u16,
    /// Queue size, zero-based.
    pub qsize: u16,
}

/// CDW11 of Create I/O Completion Queue (`NVMe Base 2.1 §5.2.1`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CreateCqCdw11 {
    /// Physically contiguous.
    pub pc: bool,
    /// Interrupts enabled.
    pub ien: bool,
    #[bits(14)]
    __: u16,
    /// Interrupt vector.
    pub iv: u16,
}

/// CDW11 of Create I/O Submission Queue (`NVMe Base 2.1 §5.2.2`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CreateSqCdw11 {
    /// Physically contiguous.
    pub pc: bool,
    /// Priority; 0 urgent, 1 high, 2 medium, 3 low.
    #[bits(2)]
    pub qprio: u8,
    #[bits(13)]
    __: u16,
    /// The completion queue that takes this queue's completions.
    pub cqid: u16,
}
