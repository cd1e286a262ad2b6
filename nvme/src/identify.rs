//! Identify data structures.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Controller or Namespace Structure: which structure Identify asks for
/// (`NVMe Base 2.1 §5.1.13.1`); an open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Cns(pub u8);

impl Cns {
    /// Identify Namespace.
    pub const NAMESPACE: Self = Self(0x00);
    /// Identify Controller.
    pub const CONTROLLER: Self = Self(0x01);
    /// Active Namespace ID list.
    pub const ACTIVE_NAMESPACES: Self = Self(0x02);
    /// Namespace Identification Descriptor list.
    pub const NAMESPACE_DESCRIPTORS: Self = Self(0x03);
    /// I/O command set specific Identify Namespace.
    pub const IO_NAMESPACE: Self = Self(0x05);
    /// I/O command set specific Identify Controller.
    pub const IO_CONTROLLER: Self = Self(0x06);
    /// I/O command set specific Active Namespace ID list.
    pub const IO_ACTIVE_NAMESPACES: Self = Self(0x07);
    /// I/O command set independent Identify Namespace.
    pub const INDEPENDENT_NAMESPACE: Self = Self(0x08);
    /// Allocated Namespace ID list.
    pub const ALLOCATED_NAMESPACES: Self = Self(0x10);
    /// Identify Namespace of an allocated namespace.
    pub const ALLOCATED_NAMESPACE: Self = Self(0x11);
    /// Controllers that a namespace is attached to.
    pub const NAMESPACE_CONTROLLERS: Self = Self(0x12);
    /// Controllers of the NVM subsystem.
    pub const CONTROLLERS: Self = Self(0x13);
    /// I/O Command Set combinations.
    pub const IO_COMMAND_SETS: Self = Self(0x1c);
}

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
    /// Reserved.
    pub reserved23: [u8; 9],
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
    /// Reserved.
    pub reserved102: [u8; 9],
    /// Controller type: 1 I/O, 2 discovery, 3 administrative.
    pub cntrltype: u8,
    /// FRU globally unique identifier.
    pub fguid: [u8; 16],
    /// Command retry delay times, in units of 100 ms.
    pub crdt: [U16; 3],
    /// Reserved, and NVM subsystem report, VPD write cycles, management
    /// endpoint capabilities at the end.
    pub reserved134: [u8; 122],
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
    /// Reserved.
    pub reserved358: [u8; 10],
    /// Maximum endurance group capacity, bytes.
    pub megcap: [u8; 16],
    /// Reserved.
    pub reserved384: [u8; 128],
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
    /// Reserved.
    pub reserved564: [u8; 204],
    /// NVM subsystem NVMe qualified name, UTF-8, zero-padded.
    pub subnqn: [u8; 256],
    /// Reserved, and fabrics fields.
    pub reserved1024: [u8; 1024],
    /// Power state descriptors.
    pub psd: [PowerStateDescriptor; 32],
    /// Vendor specific.
    pub vendor: [u8; 1024],
}

impl Default for IdentifyController {
    fn default() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

impl IdentifyController {
    /// OACS: Format NVM.
    pub const OACS_FORMAT: u16 = 1 << 1;
    /// OACS: Doorbell Buffer Config.
    pub const OACS_DOORBELL_BUFFER: u16 = 1 << 8;
    /// ONCS: Compare.
    pub const ONCS_COMPARE: u16 = 1 << 0;
    /// ONCS: Write Uncorrectable.
    pub const ONCS_WRITE_UNCORRECTABLE: u16 = 1 << 1;
    /// ONCS: Dataset Management.
    pub const ONCS_DSM: u16 = 1 << 2;
    /// ONCS: Write Zeroes.
    pub const ONCS_WRITE_ZEROES: u16 = 1 << 3;
    /// ONCS: the Save and Select fields of Features.
    pub const ONCS_SAVE_SELECT: u16 = 1 << 4;
    /// ONCS: the Timestamp feature.
    pub const ONCS_TIMESTAMP: u16 = 1 << 6;
    /// ONCS: Verify.
    pub const ONCS_VERIFY: u16 = 1 << 7;
    /// VWC: a volatile write cache is present.
    pub const VWC_PRESENT: u8 = 1 << 0;
    /// VWC: Flush takes the broadcast namespace identifier.
    pub const VWC_FLUSH_ALL: u8 = 0b11 << 1;
    /// LPA: SMART / Health Information takes a namespace.
    pub const LPA_SMART_PER_NAMESPACE: u8 = 1 << 0;
    /// LPA: Commands Supported and Effects.
    pub const LPA_COMMAND_EFFECTS: u8 = 1 << 1;
    /// LPA: Get Log Page takes NUMDU and an offset.
    pub const LPA_EXTENDED: u8 = 1 << 2;
    /// OAES: attached namespace attribute notices.
    pub const OAES_NAMESPACE_ATTRIBUTE: u32 = 1 << 8;
    /// CTRATT: 128-bit host identifiers.
    pub const CTRATT_HOST_ID_128: u32 = 1 << 0;
    /// FRMW: one slot, which is read-only.
    pub const FRMW_ONE_READ_ONLY_SLOT: u8 = 1 << 1 | 1;
    /// SQES: 64-byte entries, no more and no less.
    pub const SQES_64: u8 = 0x66;
    /// CQES: 16-byte entries, no more and no less.
    pub const CQES_16: u8 = 0x44;
    /// CNTRLTYPE: an I/O controller.
    pub const TYPE_IO: u8 = 1;

    /// The largest transfer in bytes where the controller's minimum page is
    /// 2^(12 + `mpsmin`) bytes; none where there is no limit.
    #[must_use]
    pub const fn mdts_bytes(&self, mpsmin: u8) -> Option<u64> {
        match self.mdts {
            0 => None,
            mdts => 4096_u64.checked_shl(mdts as u32 + mpsmin as u32),
        }
    }
}

/// An LBA format: 4 bytes (`NVM Command Set 1.1 §4.1.5.1`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LbaFormat {
    /// Metadata bytes a block.
    pub ms: U16,
    /// Block size: 2^LBADS bytes.
    pub lbads: u8,
    /// Relative performance: 0 best to 3 degraded.
    pub rp: u8,
}

/// Identify Namespace, NVM command set: 4096 bytes
/// (`NVM Command Set 1.1 §4.1.5.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IdentifyNamespace {
    /// Size, blocks.
    pub nsze: U64,
    /// Capacity, blocks.
    pub ncap: U64,
    /// Utilisation, blocks.
    pub nuse: U64,
    /// Features.
    pub nsfeat: u8,
    /// Number of LBA formats, zero-based.
    pub nlbaf: u8,
    /// Formatted LBA size: 03:00 the format in use.
    pub flbas: u8,
    /// Metadata capabilities.
    pub mc: u8,
    /// End-to-end data protection capabilities.
    pub dpc: u8,
    /// End-to-end data protection settings.
    pub dps: u8,
    /// Multi-path and sharing capabilities.
    pub nmic: u8,
    /// Reservation capabilities.
    pub rescap: u8,
    /// Format progress.
    pub fpi: u8,
    /// Deallocate logical block features: 02:00 what deallocated blocks read
    /// as (1 zeroes, 2 ones), 3 Write Zeroes deallocates.
    pub dlfeat: u8,
    /// Atomic write unit normal.
    pub nawun: U16,
    /// Atomic write unit power fail.
    pub nawupf: U16,
    /// Atomic compare and write unit.
    pub nacwu: U16,
    /// Atomic boundary size normal.
    pub nabsn: U16,
    /// Atomic boundary offset.
    pub nabo: U16,
    /// Atomic boundary size power fail.
    pub nabspf: U16,
    /// Optimal I/O boundary.
    pub noiob: U16,
    /// Capacity, bytes.
    pub nvmcap: [u8; 16],
    /// Preferred write granularity, blocks, zero-based.
    pub npwg: U16,
    /// Preferred write alignment, blocks, zero-based.
    pub npwa: U16,
    /// Preferred deallocate granularity, blocks, zero-based.
    pub npdg: U16,
    /// Preferred deallocate alignment, blocks, zero-based.
    pub npda: U16,
    /// Optimal write size, blocks, zero-based.
    pub nows: U16,
    /// Maximum single source range length (Copy).
    pub mssrl: U16,
    /// Maximum copy length.
    pub mcl: U32,
    /// Maximum source range count, zero-based.
    pub msrc: u8,
    /// Key per I/O status, attributes and reserved bytes.
    pub reserved81: [u8; 11],
    /// ANA group identifier.
    pub anagrpid: U32,
    /// Reserved.
    pub reserved96: [u8; 3],
    /// Attributes.
    pub nsattr: u8,
    /// NVM set identifier.
    pub nvmsetid: U16,
    /// Endurance group identifier.
    pub endgid: U16,
    /// Namespace globally unique identifier, big-endian.
    pub nguid: [u8; 16],
    /// IEEE extended unique identifier, big-endian.
    pub eui64: [u8; 8],
    /// LBA formats.
    pub lbaf: [LbaFormat; 64],
    /// Vendor specific.
    pub vendor: [u8; 3712],
}

impl Default for IdentifyNamespace {
    fn default() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

impl IdentifyNamespace {
    /// NSFEAT: thin provisioning.
    pub const NSFEAT_THIN: u8 = 1 << 0;
    /// NSFEAT: the NAWUN, NAWUPF and NACWU fields are in force.
    pub const NSFEAT_ATOMICS: u8 = 1 << 1;
    /// NSFEAT: the NPWG, NPWA, NPDG, NPDA and NOWS fields are in force.
    pub const NSFEAT_OPTPERF: u8 = 1 << 4;
    /// DLFEAT: deallocated blocks read as zeroes.
    pub const DLFEAT_READ_ZEROES: u8 = 1;
    /// DLFEAT: Write Zeroes takes the Deallocate bit.
    pub const DLFEAT_WRITE_ZEROES_DEALLOCATES: u8 = 1 << 3;

    /// NSATTR: the namespace is write protected.
    pub const NSATTR_WRITE_PROTECTED: u8 = 1 << 0;

    /// The LBA format in use; none where FLBAS names none.
    #[must_use]
    pub fn format(&self) -> Option<LbaFormat> {
        let index = usize::from(self.flbas & 0xf) | usize::from(self.flbas >> 5 & 0b11) << 4;
        self.lbaf.get(index).copied()
    }

    /// The block size in bytes; none where the format in use has none that
    /// the specification allows (512 bytes to 2 GiB).
    #[must_use]
    pub fn block_bytes(&self) -> Option<u32> {
        match self.format()?.lbads {
            lbads @ 9..=31 => Some(1 << lbads),
            _ => None,
        }
    }
}

/// I/O command set independent Identify Namespace: the 4096 bytes' first 16
/// (`NVMe Base 2.1 §5.1.13.2.8`); what follows is reserved.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct IndependentNamespace {
    /// Features.
    pub nsfeat: u8,
    /// Multi-path and sharing capabilities.
    pub nmic: u8,
    /// Reservation capabilities.
    pub rescap: u8,
    /// Format progress.
    pub fpi: u8,
    /// ANA group identifier.
    pub anagrpid: U32,
    /// Attributes.
    pub nsattr: u8,
    /// Reserved.
    pub reserved9: u8,
    /// NVM set identifier.
    pub nvmsetid: U16,
    /// Endurance group identifier.
    pub endgid: U16,
    /// Status; see [`IndependentNamespace::NSTAT_READY`].
    pub nstat: u8,
    /// Key per I/O status.
    pub kpios: u8,
}

impl IndependentNamespace {
    /// NSTAT: the namespace is ready.
    pub const NSTAT_READY: u8 = 1 << 0;
}

/// The kind of a Namespace Identification Descriptor: NIDT
/// (`NVMe Base 2.1 §5.1.13.2.3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NamespaceIdType {
    /// IEEE extended unique identifier, 8 bytes.
    Eui64 = 1,
    /// Namespace globally unique identifier, 16 bytes.
    Nguid = 2,
    /// Namespace UUID, 16 bytes.
    Uuid = 3,
    /// Command set identifier, 1 byte.
    CommandSet = 4,
}

/// The header of a Namespace Identification Descriptor: 4 bytes, `nidl` bytes
/// of identifier follow (`NVMe Base 2.1 §5.1.13.2.3`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct NamespaceIdDescriptor {
    /// Type; see [`NamespaceIdType`].
    pub nidt: u8,
    /// Length of the identifier, bytes.
    pub nidl: u8,
    /// Reserved.
    pub reserved2: [u8; 2],
}

/// An ASCII field of `N` bytes: `text` cut to it and padded with spaces;
/// bytes that are not printable ASCII become spaces (`NVMe Base 2.1 §1.4.2`).
///
/// ```
/// assert_eq!(&nvme::ascii_field::<8>("1.0"), b"1.0     ");
/// ```
#[must_use]
pub fn ascii_field<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (slot, byte) in field.iter_mut().zip(text.bytes()) {
        if byte.is_ascii_graphic() {
            *slot = byte;
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_structures_have_the_layout_of_the_specification() {
        assert_eq!(size_of::<IdentifyController>(), 4096);
        assert_eq!(offset_of!(IdentifyController, mdts), 77);
        assert_eq!(offset_of!(IdentifyController, cntrltype), 111);
        assert_eq!(offset_of!(IdentifyController, oacs), 256);
        assert_eq!(offset_of!(IdentifyController, sanicap), 328);
        assert_eq!(offset_of!(IdentifyController, sqes), 512);
        assert_eq!(offset_of!(IdentifyController, nn), 516);
        assert_eq!(offset_of!(IdentifyController, sgls), 536);
        assert_eq!(offset_of!(IdentifyController, subnqn), 768);
        assert_eq!(offset_of!(IdentifyController, psd), 2048);
        assert_eq!(size_of::<IdentifyNamespace>(), 4096);
        assert_eq!(size_of::<IndependentNamespace>(), 16);
        assert_eq!(offset_of!(IndependentNamespace, nstat), 14);
        assert_eq!(offset_of!(IdentifyNamespace, dlfeat), 33);
        assert_eq!(offset_of!(IdentifyNamespace, nvmcap), 48);
        assert_eq!(offset_of!(IdentifyNamespace, nguid), 104);
        assert_eq!(offset_of!(IdentifyNamespace, lbaf), 128);
    }

    #[test]
    fn the_block_size_follows_the_format_in_use() {
        let mut identify = IdentifyNamespace::default();
        identify.lbaf[0].lbads = 9;
        identify.lbaf[1].lbads = 12;
        assert_eq!(identify.block_bytes(), Some(512));
        identify.flbas = 1;
        assert_eq!(identify.block_bytes(), Some(4096));
        identify.flbas = 2;
        assert_eq!(identify.block_bytes(), None);
    }
}
