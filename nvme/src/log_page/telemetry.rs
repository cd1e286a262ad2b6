//! The telemetry logs.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::zeroed_default;

/// The head of the Telemetry Host-Initiated and Controller-Initiated logs: 512
/// bytes; blocks of 512 bytes follow (`NVMe Base 2.1 §5.1.12.1.8`,
/// `§5.1.12.1.9`).
///
/// The last blocks are numbers of blocks behind this head: area 1 is blocks 1
/// to `area1_last`, area 2 goes on to `area2_last`, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TelemetryHeader {
    /// The log page's identifier.
    pub lid: u8,
    /// Reserved.
    pub reserved1: [u8; 4],
    /// IEEE OUI of the vendor that made the data.
    pub ieee: [u8; 3],
    /// Last block of data area 1.
    pub area1_last: U16,
    /// Last block of data area 2.
    pub area2_last: U16,
    /// Last block of data area 3.
    pub area3_last: U16,
    /// Reserved.
    pub reserved14: [u8; 2],
    /// Last block of data area 4.
    pub area4_last: U32,
    /// Reserved.
    pub reserved20: [u8; 360],
    /// Scope of the host-initiated data: 0 not reported, 1 the controller, 2
    /// the NVM subsystem. Host-initiated log only.
    pub host_scope: u8,
    /// Generation of the host-initiated data; in the controller-initiated
    /// log, the scope of its data.
    pub host_generation_or_scope: u8,
    /// Whether controller-initiated data is available.
    pub controller_available: u8,
    /// Generation of the controller-initiated data.
    pub controller_generation: u8,
    /// Reason identifier, vendor specific.
    pub reason: [u8; 128],
}

impl TelemetryHeader {
    /// The size of a block, bytes.
    pub const BLOCK_BYTES: usize = 512;
    /// Log specific parameter of the host-initiated log: make new data.
    pub const LSP_CREATE: u8 = 1 << 0;
}

zeroed_default!(TelemetryHeader);

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_head_has_the_layout_of_the_specification() {
        assert_eq!(size_of::<TelemetryHeader>(), 512);
        assert_eq!(offset_of!(TelemetryHeader, area1_last), 8);
        assert_eq!(offset_of!(TelemetryHeader, area4_last), 16);
        assert_eq!(offset_of!(TelemetryHeader, controller_available), 382);
        assert_eq!(offset_of!(TelemetryHeader, reason), 384);
    }
}
