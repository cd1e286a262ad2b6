//! Identify Controller.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::zeroed_default;

/// A power state descriptor: 32 bytes (`NVMe Base 2.1 §5.1.13.2.1`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PowerStateDescriptor {
    /// Maximum power, in centiwatts unless the scale bit says otherwise.
    pub max_power: U16,
    /// Reserved.
    pub reserved2: u8,
    /// Bit 0 maximum power scale (0.0001 W), bit 1 non-operational state.
    pub flags: u8,
    /// Entry latency, us.
    pub entry_latency_us: U32,
    /// Exit latency, us.
    pub exit_latency_us: U32,
    /// Relative read throughput.
    pub read_throughput: u8,
    /// Relative read latency.
    pub read_latency: u8,
    /// Relative write throughput.
    pub write_throughput: u8,
    /// Relative write latency.
    pub write_latency: u8,
    /// Idle power.
    pub idle_power: U16,
    /// Idle power scale.
    pub idle_power_scale: u8,
    /// Reserved.
    pub reserved19: u8,
    /// Active power.
    pub active_power: U16,
    /// Active power workload and scale.
    pub active_power_scale: u8,
    /// Emergency power fail recovery time.
    pub epfrt: u8,
    /// Forced quiescence vault time.
    pub fqvt: u8,
    /// Emergency power fail vault time.
    pub epfvt: u8,
    /// Scales of EPFRT (03:00) and FQVT (07:04).
    pub epfr_fqv_scales: u8,
    /// Scale of EPFVT: 03:00.
    pub epfvts: u8,
    /// Reserved.
    pub reserved28: [u8; 4],
}

impl PowerStateDescriptor {
    /// The scale of the idle power: 0 not reported, 1 0.0001 W, 2 0.01 W.
    #[must_use]
    pub const fn idle_scale(&self) -> u8 {
        self.idle_power_scale >> 6
    }

    /// The workload that the active power was measured with.
    #[must_use]
    pub const fn active_workload(&self) -> u8 {
        self.active_power_scale & 0b111
    }

    /// The scale of the active power, as [`PowerStateDescriptor::idle_scale`].
    #[must_use]
    pub const fn active_scale(&self) -> u8 {
        self.active_power_scale >> 6
    }

    /// The scale of the emergency power fail recovery time.
    #[must_use]
    pub const fn epfr_scale(&self) -> u8 {
        self.epfr_fqv_scales & 0xf
    }

    /// The scale of the forced quiescence vault time.
    #[must_use]
    pub const fn fqv_scale(&self) -> u8 {
        self.epfr_fqv_scales >> 4
    }

    /// The scale of the emergency power fail vault time.
    #[must_use]
    pub const fn epfv_scale(&self) -> u8 {
        self.epfvts & 0xf
    }

    /// Flags: the maximum power is in units of 0.0001 W, not 0.01 W.
    pub const FLAGS_MAX_POWER_SCALE: u8 = 1 << 0;
    /// Flags: no I/O command is processed in this state.
    pub const FLAGS_NON_OPERATIONAL: u8 = 1 << 1;
    /// A power scale (bits 07:06 of its field): 0.0001 W.
    pub const SCALE_100_MICROWATTS: u8 = 0b01 << 6;
    /// A power scale (bits 07:06 of its field): 0.01 W.
    pub const SCALE_10_MILLIWATTS: u8 = 0b10 << 6;
    /// The bits of a power scale.
    pub const SCALE_MASK: u8 = 0b11 << 6;
    /// The bits of the active power workload.
    pub const WORKLOAD_MASK: u8 = 0b111;
}

/// Identify Controller: 4096 bytes (`NVMe Base 2.1 §5.1.13.2.1`).
///
/// Field names are the specification's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IdentifyController {
    /// PCI vendor.
    pub vid: U16,
    /// PCI subsystem vendor.
    pub ssvid: U16,
    /// Serial number, ASCII, padded with spaces.
    pub sn: [u8; 20],
    /// Model number, ASCII, padded with spaces.
    pub mn: [u8; 40],
    /// Firmware revision, ASCII, padded with spaces.
    pub fr: [u8; 8],
    /// Recommended arbitration burst, a power of two.
    pub rab: u8,
    /// IEEE OUI.
    pub ieee: [u8; 3],
    /// Multi-path and namespace sharing capabilities.
    pub cmic: u8,
    /// Maximum data transfer size: 2^MDTS minimum pages; 0 is no limit.
    pub mdts: u8,
    /// Controller identifier.
    pub cntlid: U16,
    /// Version, as the VS property.
    pub ver: U32,
    /// RTD3 resume latency, us.
    pub rtd3r: U32,
    /// RTD3 entry latency, us.
    pub rtd3e: U32,
    /// Optional asynchronous events supported.
    pub oaes: U32,
    /// Controller attributes.
    pub ctratt: U32,
    /// Read recovery levels supported.
    pub rrls: U16,
    /// Boot partition capabilities.
    pub bpcap: u8,
    /// Reserved.
    pub reserved103: u8,
    /// NVM subsystem shutdown latency, us.
    pub nssl: U32,
    /// Reserved.
    pub reserved108: [u8; 2],
    /// Power loss signaling information.
    pub plsi: u8,
    /// Controller type: 1 I/O, 2 discovery, 3 administrative.
    pub cntrltype: u8,
    /// FRU globally unique identifier.
    pub fguid: [u8; 16],
    /// Command retry delay times, in units of 100 ms.
    pub crdt: [U16; 3],
    /// Controller reachability capabilities.
    pub crcap: u8,
    /// Reserved.
    pub reserved135: [u8; 118],
    /// NVM subsystem report.
    pub nvmsr: u8,
    /// VPD write cycle information.
    pub vwci: u8,
    /// Management endpoint capabilities.
    pub mec: u8,
    /// Optional admin commands supported.
    pub oacs: U16,
    /// Abort command limit, zero-based.
    pub acl: u8,
    /// Asynchronous event request limit, zero-based.
    pub aerl: u8,
    /// Firmware updates.
    pub frmw: u8,
    /// Log page attributes.
    pub lpa: u8,
    /// Error log page entries, zero-based.
    pub elpe: u8,
    /// Number of power states, zero-based.
    pub npss: u8,
    /// Admin vendor specific command configuration.
    pub avscc: u8,
    /// Autonomous power state transition attributes.
    pub apsta: u8,
    /// Warning composite temperature threshold, kelvin.
    pub wctemp: U16,
    /// Critical composite temperature threshold, kelvin.
    pub cctemp: U16,
    /// Maximum time for firmware activation, 100 ms.
    pub mtfa: U16,
    /// Host memory buffer preferred size, 4 KiB.
    pub hmpre: U32,
    /// Host memory buffer minimum size, 4 KiB.
    pub hmmin: U32,
    /// Total NVM capacity, bytes.
    pub tnvmcap: [u8; 16],
    /// Unallocated NVM capacity, bytes.
    pub unvmcap: [u8; 16],
    /// Replay protected memory block support.
    pub rpmbs: U32,
    /// Extended device self-test time, minutes.
    pub edstt: U16,
    /// Device self-test options.
    pub dsto: u8,
    /// Firmware update granularity, 4 KiB.
    pub fwug: u8,
    /// Keep alive support, 100 ms.
    pub kas: U16,
    /// Host controlled thermal management attributes.
    pub hctma: U16,
    /// Minimum thermal management temperature, kelvin.
    pub mntmt: U16,
    /// Maximum thermal management temperature, kelvin.
    pub mxtmt: U16,
    /// Sanitize capabilities.
    pub sanicap: U32,
    /// Host memory buffer minimum descriptor entry size.
    pub hmminds: U32,
    /// Host memory buffer maximum descriptor entries.
    pub hmmaxd: U16,
    /// NVM set identifier maximum.
    pub nsetidmax: U16,
    /// Endurance group identifier maximum.
    pub endgidmax: U16,
    /// ANA transition time, seconds.
    pub anatt: u8,
    /// ANA capabilities.
    pub anacap: u8,
    /// ANA group identifier maximum.
    pub anagrpmax: U32,
    /// Number of ANA group identifiers.
    pub nanagrpid: U32,
    /// Persistent event log size, 64 KiB.
    pub pels: U32,
    /// Domain identifier.
    pub domain_id: U16,
    /// Key per I/O capabilities.
    pub kpioc: u8,
    /// Reserved.
    pub reserved359: u8,
    /// Maximum processing time of firmware activation without reset, 100 ms.
    pub mptfawr: U16,
    /// Reserved.
    pub reserved362: [u8; 6],
    /// Maximum endurance group capacity, bytes.
    pub megcap: [u8; 16],
    /// Temperature threshold hysteresis attributes.
    pub tmpthha: u8,
    /// Reserved.
    pub reserved385: u8,
    /// Command quiesce time, ms.
    pub cqt: U16,
    /// Reserved.
    pub reserved388: [u8; 124],
    /// Submission queue entry size: 03:00 required, 07:04 maximum.
    pub sqes: u8,
    /// Completion queue entry size: 03:00 required, 07:04 maximum.
    pub cqes: u8,
    /// Maximum outstanding commands.
    pub maxcmd: U16,
    /// Number of namespaces.
    pub nn: U32,
    /// Optional NVM commands supported.
    pub oncs: U16,
    /// Fused operation support.
    pub fuses: U16,
    /// Format NVM attributes.
    pub fna: u8,
    /// Volatile write cache.
    pub vwc: u8,
    /// Atomic write unit normal, blocks, zero-based.
    pub awun: U16,
    /// Atomic write unit power fail, blocks, zero-based.
    pub awupf: U16,
    /// I/O vendor specific command configuration.
    pub icsvscc: u8,
    /// Namespace write protection capabilities.
    pub nwpc: u8,
    /// Atomic compare and write unit, blocks, zero-based.
    pub acwu: U16,
    /// Copy descriptor formats supported.
    pub cdfs: U16,
    /// SGL support.
    pub sgls: U32,
    /// Maximum number of allowed namespaces.
    pub mnan: U32,
    /// Maximum domain namespace attachments.
    pub maxdna: [u8; 16],
    /// Maximum I/O controller namespace attachments.
    pub maxcna: U32,
    /// Optimal aggregated queue depth.
    pub oaqd: U32,
    /// Recommended host-initiated refresh interval, days.
    pub rhiri: u8,
    /// Host-initiated refresh time, minutes.
    pub hirt: u8,
    /// Controller maximum memory range tracking descriptors.
    pub cmmrtd: U16,
    /// NVM subsystem maximum memory range tracking descriptors.
    pub nmmrtd: U16,
    /// Minimum memory range tracking granularity.
    pub minmrtg: u8,
    /// Maximum memory range tracking granularity.
    pub maxmrtg: u8,
    /// Tracking attributes.
    pub trattr: u8,
    /// Reserved.
    pub reserved577: u8,
    /// Maximum controller user data migration queues.
    pub mcudmq: U16,
    /// Maximum NVM subsystem user data migration queues.
    pub mnsudmq: U16,
    /// Maximum controller migration resources.
    pub mcmr: U16,
    /// Maximum NVM subsystem migration resources.
    pub nmcmr: U16,
    /// Maximum controller data queue PRP count.
    pub mcdqpc: U16,
    /// Reserved.
    pub reserved588: [u8; 180],
    /// NVM subsystem NVMe qualified name, UTF-8, zero-padded.
    pub subnqn: [u8; 256],
    /// Reserved.
    pub reserved1024: [u8; 768],
    /// I/O queue command capsule size, 16 bytes (fabrics).
    pub ioccsz: U32,
    /// I/O queue response capsule size, 16 bytes (fabrics).
    pub iorcsz: U32,
    /// In-capsule data offset, 16 bytes (fabrics).
    pub icdoff: U16,
    /// Fabrics controller attributes.
    pub fcatt: u8,
    /// Maximum SGL data block descriptors (fabrics).
    pub msdbd: u8,
    /// Optional fabrics commands supported.
    pub ofcs: U16,
    /// Discovery controller type.
    pub dctype: u8,
    /// Reserved.
    pub reserved1807: [u8; 241],
    /// Power state descriptors.
    pub psd: [PowerStateDescriptor; 32],
    /// Vendor specific.
    pub vendor: [u8; 1024],
}

zeroed_default!(IdentifyController);
