//! The data structures of the features.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::zeroed_default;

/// An entry of the Autonomous Power State Transition table, one for each power
/// state (`NVMe Base 2.1 §5.1.25.1.6`).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ApstEntry {
    #[bits(3)]
    __: u8,
    /// Idle transition power state.
    #[bits(5)]
    pub itps: u8,
    /// Idle time prior to transition, ms; 0 disables it.
    #[bits(24)]
    pub itpt: u32,
    __: u32,
}

/// The Autonomous Power State Transition table: 256 bytes
/// (`NVMe Base 2.1 §5.1.25.1.6`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ApstTable {
    /// See [`ApstEntry`].
    pub entries: [U64; 32],
}

/// The Timestamp feature: 8 bytes (`NVMe Base 2.1 §5.1.25.1.7`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Timestamp {
    /// Milliseconds since 1970-01-01, 48 bits; see [`Timestamp::ms`].
    pub milliseconds: [u8; 6],
    /// Attributes; see [`Timestamp::STOPPED`].
    pub attributes: u8,
    /// Reserved.
    pub reserved7: u8,
}

impl Timestamp {
    /// Attributes: the clock may have stopped in between.
    pub const STOPPED: u8 = 1 << 0;
    /// Attributes: the host set the clock (bits 03:01 = 1).
    pub const ORIGIN_HOST: u8 = 1 << 1;
    /// Attributes, bits 03:01: where the time comes from; 0 from the last
    /// controller level reset.
    pub const ORIGIN_MASK: u8 = 0b111 << 1;

    /// The timestamp of `ms` milliseconds, of which 48 bits count.
    #[must_use]
    pub const fn new(ms: u64, attributes: u8) -> Self {
        let [a, b, c, d, e, f, ..] = ms.to_le_bytes();
        Self {
            milliseconds: [a, b, c, d, e, f],
            attributes,
            reserved7: 0,
        }
    }

    /// The milliseconds.
    #[must_use]
    pub const fn ms(&self) -> u64 {
        let [a, b, c, d, e, f] = self.milliseconds;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

/// The attributes that Get Features returns for the Host Memory Buffer: 4096
/// bytes, of which these 16 are in use (`NVMe Base 2.1 §5.1.25.2.4`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HmbAttributes {
    /// Size, memory pages.
    pub hsize: U32,
    /// Descriptor list address, lower half.
    pub hmdlal: U32,
    /// Descriptor list address, upper half.
    pub hmdlau: U32,
    /// Descriptor list entry count.
    pub hmdlec: U32,
}

/// A Host Memory Buffer descriptor: 16 bytes (`NVMe Base 2.1 §5.1.25.2.4`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HmbDescriptor {
    /// Address, a multiple of the memory page size.
    pub badd: U64,
    /// Size, memory pages.
    pub bsize: U32,
    /// Reserved.
    pub reserved12: [u8; 4],
}

/// An entry of the LBA Range Type feature: 64 bytes
/// (`NVM Command Set 1.1 §4.1.3.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LbaRangeType {
    /// Type: 0 general, 1 file system, 2 RAID, 3 cache, 4 page or swap file.
    pub kind: u8,
    /// Attributes: bit 0 may be overwritten, bit 1 should be hidden.
    pub attributes: u8,
    /// Reserved.
    pub reserved2: [u8; 14],
    /// Starting LBA.
    pub slba: U64,
    /// Number of blocks.
    pub blocks: U64,
    /// Unique identifier.
    pub guid: [u8; 16],
    /// Reserved.
    pub reserved48: [u8; 16],
}

/// The Predictable Latency Mode Config feature: 512 bytes
/// (`NVMe Base 2.1 §5.1.25.1.12`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PredictableLatencyConfig {
    /// Which events are enabled.
    pub enable_event: U16,
    /// Reserved.
    pub reserved2: [u8; 30],
    /// Deterministic window: reads threshold.
    pub dtwin_reads: U64,
    /// Deterministic window: writes threshold.
    pub dtwin_writes: U64,
    /// Deterministic window: time threshold, ms.
    pub dtwin_time: U64,
    /// Reserved.
    pub reserved56: [u8; 456],
}

/// The Host Behavior Support feature: 512 bytes (`NVMe Base 2.1 §5.1.25.1.14`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HostBehavior {
    /// 1: the host takes Command Interrupted and the retry delays.
    pub acre: u8,
    /// 1: the host takes extended telemetry data area 4.
    pub etdas: u8,
    /// 1: the host takes LBA formats 16 to 63 and extended LBA formats.
    pub lbafee: u8,
    /// 1: the host takes dispersed namespaces.
    pub hdisns: u8,
    /// Copy descriptor formats that the host enables: bit 2 format 2h, bit 3
    /// format 3h, bit 4 format 4h.
    pub cdfe: U16,
    /// Reserved.
    pub reserved6: [u8; 506],
}

zeroed_default!(LbaRangeType, PredictableLatencyConfig, HostBehavior);

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_structures_have_the_layout_of_the_specification() {
        assert_eq!(size_of::<ApstTable>(), 256);
        assert_eq!(
            ApstEntry::new().with_itps(1).with_itpt(1).into_bits(),
            1 << 3 | 1 << 8
        );
        assert_eq!(size_of::<Timestamp>(), 8);
        assert_eq!(Timestamp::new(0x0102_0304_0506, 2).ms(), 0x0102_0304_0506);
        assert_eq!(size_of::<HmbDescriptor>(), 16);
        assert_eq!(size_of::<LbaRangeType>(), 64);
        assert_eq!(size_of::<PredictableLatencyConfig>(), 512);
        assert_eq!(offset_of!(PredictableLatencyConfig, dtwin_reads), 32);
        assert_eq!(size_of::<HostBehavior>(), 512);
    }
}
