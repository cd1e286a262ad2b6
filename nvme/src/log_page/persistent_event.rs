//! The Persistent Event log and its events.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::{open_enum, zeroed_default};

open_enum! {
    /// The type of a persistent event (`NVMe Base 2.1 §5.1.12.1.14.1`); an
    /// open set.
    PersistentEventType, "event type {:02x}h" {
        /// SMART / Health Log Snapshot: a [`crate::SmartLog`] follows.
        SMART_SNAPSHOT = 0x01, "SMART / Health Log Snapshot";
        /// Firmware Commit; see [`FirmwareCommitEvent`].
        FIRMWARE_COMMIT = 0x02, "Firmware Commit";
        /// Timestamp Change; see [`TimestampChangeEvent`].
        TIMESTAMP_CHANGE = 0x03, "Timestamp Change";
        /// Power-on or Reset: the firmware revision (8 bytes), then
        /// [`PowerOnController`] for each controller.
        POWER_ON_OR_RESET = 0x04, "Power-on or Reset";
        /// NVM Subsystem Hardware Error; see [`HardwareErrorEvent`].
        HARDWARE_ERROR = 0x05, "NVM Subsystem Hardware Error";
        /// Change Namespace; see [`ChangeNamespaceEvent`].
        CHANGE_NAMESPACE = 0x06, "Change Namespace";
        /// Format NVM Start; see [`FormatStartEvent`].
        FORMAT_START = 0x07, "Format NVM Start";
        /// Format NVM Completion; see [`FormatCompletionEvent`].
        FORMAT_COMPLETION = 0x08, "Format NVM Completion";
        /// Sanitize Start; see [`SanitizeStartEvent`].
        SANITIZE_START = 0x09, "Sanitize Start";
        /// Sanitize Completion; see [`SanitizeCompletionEvent`].
        SANITIZE_COMPLETION = 0x0a, "Sanitize Completion";
        /// Set Feature; see [`SetFeatureLayout`].
        SET_FEATURE = 0x0b, "Set Feature";
        /// Telemetry Log Created: a [`crate::TelemetryHeader`] follows.
        TELEMETRY_CREATED = 0x0c, "Telemetry Log Created";
        /// Thermal Excursion; see [`ThermalExcursionEvent`].
        THERMAL_EXCURSION = 0x0d, "Thermal Excursion";
        /// Sanitize Media Verification.
        SANITIZE_MEDIA_VERIFICATION = 0x0e, "Sanitize Media Verification";
        /// Vendor Specific Event.
        VENDOR_SPECIFIC = 0xde, "Vendor Specific";
        /// TCG Defined Event.
        TCG_DEFINED = 0xdf, "TCG Defined";
    }
}

/// The head of the Persistent Event log: 512 bytes, the events follow
/// (`NVMe Base 2.1 §5.1.12.1.14`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PersistentEventLogHeader {
    /// The log page's identifier.
    pub lid: u8,
    /// Reserved.
    pub reserved1: [u8; 3],
    /// How many events there are.
    pub events: U32,
    /// Length of the log with this head, bytes.
    pub bytes: U64,
    /// Log revision: 3 in revision 2.1.
    pub revision: u8,
    /// Reserved.
    pub reserved17: u8,
    /// Length of what follows in this head, bytes: 492 with a head of 512.
    pub header_length: U16,
    /// Timestamp, as the Timestamp feature.
    pub timestamp: U64,
    /// Power-on hours.
    pub power_on_hours: [u8; 16],
    /// Power cycles.
    pub power_cycles: U64,
    /// PCI vendor.
    pub vid: U16,
    /// PCI subsystem vendor.
    pub ssvid: U16,
    /// Serial number.
    pub sn: [u8; 20],
    /// Model number.
    pub mn: [u8; 40],
    /// NVM subsystem NVMe qualified name.
    pub subnqn: [u8; 256],
    /// Generation of the log: changes with each new reporting context.
    pub generation: U16,
    /// Reporting context: 15:00 port, 17:16 type of the port, 18 a context
    /// exists.
    pub reporting_context: U32,
    /// Reserved.
    pub reserved378: [u8; 102],
    /// Which event types are supported, a bit each.
    pub supported_events: [u8; 32],
}

impl PersistentEventLogHeader {
    /// Log specific parameter: read within the context.
    pub const LSP_READ: u8 = 0;
    /// Log specific parameter: establish a context and read.
    pub const LSP_ESTABLISH: u8 = 1;
    /// Log specific parameter: release the context.
    pub const LSP_RELEASE: u8 = 2;
    /// Log specific parameter: establish a context and read the first 512
    /// bytes.
    pub const LSP_ESTABLISH_HEADER: u8 = 3;
    /// Reporting context: one exists.
    pub const CONTEXT_EXISTS: u32 = 1 << 18;

    /// Marks an event type as supported.
    pub fn support(&mut self, kind: PersistentEventType) {
        if let Some(byte) = self.supported_events.get_mut(usize::from(kind.0 / 8)) {
            *byte |= 1 << (kind.0 % 8);
        }
    }
}

/// The head of a persistent event: 24 bytes; vendor specific information and
/// the event's data follow (`NVMe Base 2.1 §5.1.12.1.14`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PersistentEventHeader {
    /// Event type; see [`PersistentEventType`].
    pub event_type: u8,
    /// Revision of the event type.
    pub revision: u8,
    /// Length of what follows in this head, bytes: 21.
    pub header_length: u8,
    /// Additional information: 01:00 the type of the port.
    pub additional: u8,
    /// Controller identifier.
    pub cntlid: U16,
    /// Timestamp of the event, as the Timestamp feature.
    pub timestamp: U64,
    /// Port identifier.
    pub port: U16,
    /// Reserved.
    pub reserved16: [u8; 4],
    /// Length of the vendor specific information, bytes.
    pub vendor_length: U16,
    /// Length of vendor specific information and event data, bytes.
    pub event_length: U16,
}

impl PersistentEventHeader {
    /// The value of `header_length`.
    pub const HEADER_LENGTH: u8 = 21;
}

/// Firmware Commit event: 22 bytes (`NVMe Base 2.1 §5.1.12.1.14.1.2`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FirmwareCommitEvent {
    /// Firmware revision before.
    pub old_revision: [u8; 8],
    /// Firmware revision committed.
    pub new_revision: [u8; 8],
    /// Commit action.
    pub action: u8,
    /// Firmware slot.
    pub slot: u8,
    /// Status code type.
    pub status_code_type: u8,
    /// Status code.
    pub status_code: u8,
    /// Vendor's result code.
    pub vendor_result: U16,
}

/// Timestamp Change event: 16 bytes (`NVMe Base 2.1 §5.1.12.1.14.1.3`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TimestampChangeEvent {
    /// Timestamp before, as the Timestamp feature.
    pub previous: U64,
    /// Milliseconds since the last controller level reset.
    pub since_reset_ms: U64,
}

/// What a Power-on or Reset event says of a controller: 36 bytes
/// (`NVMe Base 2.1 §5.1.12.1.14.1.4`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PowerOnController {
    /// Controller identifier.
    pub cntlid: U16,
    /// Whether firmware was activated.
    pub firmware_activation: u8,
    /// What was in progress: bit 0 format, bit 1 sanitize.
    pub in_progress: u8,
    /// Reserved.
    pub reserved4: [u8; 12],
    /// Power cycles of the controller.
    pub power_cycles: U32,
    /// Milliseconds since power-on.
    pub power_on_ms: U64,
    /// Timestamp, as the Timestamp feature.
    pub timestamp: U64,
}

/// The head of an NVM Subsystem Hardware Error event: 4 bytes, additional
/// information follows (`NVMe Base 2.1 §5.1.12.1.14.1.5`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HardwareErrorEvent {
    /// Which error.
    pub code: U16,
    /// Reserved.
    pub reserved2: [u8; 2],
}

/// Change Namespace event: 48 bytes (`NVMe Base 2.1 §5.1.12.1.14.1.6`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ChangeNamespaceEvent {
    /// CDW10 of Namespace Management.
    pub cdw10: U32,
    /// Reserved.
    pub reserved4: [u8; 4],
    /// Size, blocks.
    pub nsze: U64,
    /// Reserved.
    pub reserved16: [u8; 8],
    /// Capacity, blocks.
    pub ncap: U64,
    /// Formatted LBA size.
    pub flbas: u8,
    /// End-to-end data protection settings.
    pub dps: u8,
    /// Sharing capabilities.
    pub nmic: u8,
    /// Reserved.
    pub reserved35: u8,
    /// ANA group identifier.
    pub anagrpid: U32,
    /// NVM set identifier.
    pub nvmsetid: U16,
    /// Reserved.
    pub reserved42: [u8; 2],
    /// The namespace.
    pub namespace_id: U32,
}

/// Format NVM Start event: 12 bytes (`NVMe Base 2.1 §5.1.12.1.14.1.7`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FormatStartEvent {
    /// The namespace.
    pub namespace_id: U32,
    /// Format NVM attributes, as in Identify Controller.
    pub fna: u8,
    /// Reserved.
    pub reserved5: [u8; 3],
    /// CDW10 of Format NVM.
    pub cdw10: U32,
}

/// Format NVM Completion event: 12 bytes (`NVMe Base 2.1 §5.1.12.1.14.1.8`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FormatCompletionEvent {
    /// The namespace.
    pub namespace_id: U32,
    /// Smallest format progress indicator that was seen.
    pub smallest_fpi: u8,
    /// Format status: bit 0 the format failed, bits 03:01 why.
    pub status: u8,
    /// Completion information.
    pub information: U16,
    /// Status field of the completion.
    pub status_field: U32,
}

/// Sanitize Start event: 12 bytes (`NVMe Base 2.1 §5.1.12.1.14.1.9`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SanitizeStartEvent {
    /// Sanitize capabilities, as in Identify Controller.
    pub sanicap: U32,
    /// CDW10 of Sanitize.
    pub cdw10: U32,
    /// CDW11 of Sanitize.
    pub cdw11: U32,
}

/// Sanitize Completion event: 8 bytes (`NVMe Base 2.1 §5.1.12.1.14.1.10`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SanitizeCompletionEvent {
    /// Sanitize progress, as in the Sanitize Status log.
    pub progress: U16,
    /// Sanitize status, as in the Sanitize Status log.
    pub status: U16,
    /// Completion information.
    pub information: U16,
    /// Reserved.
    pub reserved6: [u8; 2],
}

/// The first dword of a Set Feature event: what follows it
/// (`NVMe Base 2.1 §5.1.12.1.14.1.11`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct SetFeatureLayout {
    /// How many command dwords follow, CDW10 first.
    #[bits(3)]
    pub dwords: u8,
    /// Dword 0 of the completion follows the memory buffer.
    pub dword0: bool,
    #[bits(12)]
    __: u16,
    /// Length of the memory buffer that follows the dwords, bytes.
    pub buffer_bytes: u16,
}

/// Thermal Excursion event: 2 bytes (`NVMe Base 2.1 §5.1.12.1.14.1.13`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ThermalExcursionEvent {
    /// Degrees over the threshold.
    pub over: u8,
    /// Which threshold: bits 01:00; 0 all fell below, 1 TMT1, 2 TMT2, 3 WCTEMP.
    pub threshold: u8,
}

zeroed_default!(PersistentEventLogHeader);

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_log_has_the_layout_of_the_specification() {
        assert_eq!(size_of::<PersistentEventLogHeader>(), 512);
        assert_eq!(offset_of!(PersistentEventLogHeader, timestamp), 20);
        assert_eq!(offset_of!(PersistentEventLogHeader, subnqn), 116);
        assert_eq!(offset_of!(PersistentEventLogHeader, supported_events), 480);
        assert_eq!(size_of::<PersistentEventHeader>(), 24);
        assert_eq!(offset_of!(PersistentEventHeader, event_length), 22);
        assert_eq!(size_of::<FirmwareCommitEvent>(), 22);
        assert_eq!(size_of::<PowerOnController>(), 36);
        assert_eq!(size_of::<ChangeNamespaceEvent>(), 48);
        assert_eq!(size_of::<FormatStartEvent>(), 12);
        assert_eq!(size_of::<FormatCompletionEvent>(), 12);
        assert_eq!(size_of::<SanitizeStartEvent>(), 12);
        assert_eq!(size_of::<SanitizeCompletionEvent>(), 8);
    }

    #[test]
    fn an_event_type_is_a_bit() {
        let mut header = PersistentEventLogHeader::default();
        header.support(PersistentEventType::SANITIZE_START);
        assert_eq!(header.supported_events[1], 1 << 1);
    }
}
