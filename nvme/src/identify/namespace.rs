//! The Identify Namespace structures.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::zeroed_default;

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
    /// Key per I/O status.
    pub kpios: u8,
    /// Number of unique attribute LBA formats, zero-based.
    pub nulbaf: u8,
    /// Reserved.
    pub reserved83: u8,
    /// Key per I/O data access alignment and granularity.
    pub kpiodaag: U32,
    /// Reserved.
    pub reserved88: [u8; 4],
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

zeroed_default!(IdentifyNamespace);

impl IdentifyNamespace {
    /// NSFEAT: thin provisioning.
    pub const NSFEAT_THIN: u8 = 1 << 0;
    /// NSFEAT: the NAWUN, NAWUPF and NACWU fields are in force.
    pub const NSFEAT_ATOMICS: u8 = 1 << 1;
    /// NSFEAT: deallocated or unwritten block errors are supported (DULBE).
    pub const NSFEAT_DEALLOCATED_ERROR: u8 = 1 << 2;
    /// NSFEAT: NGUID and EUI64 are never reused.
    pub const NSFEAT_ID_NOT_REUSED: u8 = 1 << 3;
    /// NSFEAT: the NPWG, NPWA, NPDG, NPDA and NOWS fields are in force.
    pub const NSFEAT_OPTPERF: u8 = 1 << 4;
    /// NSFEAT 05:04: which performance fields are in force.
    pub const NSFEAT_OPTPERF_MASK: u8 = 0b11 << 4;
    /// NSFEAT: multiple atomicity mode.
    pub const NSFEAT_MULTIPLE_ATOMICITY: u8 = 1 << 6;
    /// NSFEAT: the optional read performance fields are in force.
    pub const NSFEAT_OPTIONAL_READ: u8 = 1 << 7;
    /// FLBAS: metadata is transferred at the end of each block.
    pub const FLBAS_METADATA_EXTENDED: u8 = 1 << 4;
    /// MC: metadata may be at the end of each block.
    pub const MC_EXTENDED: u8 = 1 << 0;
    /// MC: metadata may be in a buffer of its own.
    pub const MC_SEPARATE: u8 = 1 << 1;
    /// DPC: protection information type 1.
    pub const DPC_TYPE1: u8 = 1 << 0;
    /// DPC: protection information type 2.
    pub const DPC_TYPE2: u8 = 1 << 1;
    /// DPC: protection information type 3.
    pub const DPC_TYPE3: u8 = 1 << 2;
    /// DPC: protection information in the first bytes of metadata.
    pub const DPC_FIRST: u8 = 1 << 3;
    /// DPC: protection information in the last bytes of metadata.
    pub const DPC_LAST: u8 = 1 << 4;
    /// DPS 02:00: the protection information type, 0 for none.
    pub const DPS_TYPE_MASK: u8 = 0b111;
    /// DPS: protection information is in the first bytes of metadata.
    pub const DPS_FIRST: u8 = 1 << 3;
    /// NMIC: the namespace may be attached to more than one controller.
    pub const NMIC_SHARED: u8 = 1 << 0;
    /// NMIC: the namespace is dispersed.
    pub const NMIC_DISPERSED: u8 = 1 << 1;
    /// RESCAP: persist through power loss.
    pub const RESCAP_PERSIST: u8 = 1 << 0;
    /// RESCAP: write exclusive.
    pub const RESCAP_WRITE_EXCLUSIVE: u8 = 1 << 1;
    /// RESCAP: exclusive access.
    pub const RESCAP_EXCLUSIVE_ACCESS: u8 = 1 << 2;
    /// RESCAP: write exclusive, registrants only.
    pub const RESCAP_WRITE_EXCLUSIVE_REGISTRANTS: u8 = 1 << 3;
    /// RESCAP: exclusive access, registrants only.
    pub const RESCAP_EXCLUSIVE_ACCESS_REGISTRANTS: u8 = 1 << 4;
    /// RESCAP: write exclusive, all registrants.
    pub const RESCAP_WRITE_EXCLUSIVE_ALL: u8 = 1 << 5;
    /// RESCAP: exclusive access, all registrants.
    pub const RESCAP_EXCLUSIVE_ACCESS_ALL: u8 = 1 << 6;
    /// RESCAP: Ignore Existing Key is used as revision 1.3 defines it.
    pub const RESCAP_IGNORE_KEY_1_3: u8 = 1 << 7;
    /// FPI: the progress of a format is reported.
    pub const FPI_SUPPORTED: u8 = 1 << 7;
    /// FPI 06:00: percent that remain to be formatted.
    pub const FPI_REMAINING_MASK: u8 = 0x7f;
    /// DLFEAT 02:00: what deallocated blocks read as.
    pub const DLFEAT_READ_MASK: u8 = 0b111;
    /// DLFEAT: deallocated blocks read as zeroes.
    pub const DLFEAT_READ_ZEROES: u8 = 1;
    /// DLFEAT: deallocated blocks read as ones.
    pub const DLFEAT_READ_ONES: u8 = 2;
    /// DLFEAT: Write Zeroes takes the Deallocate bit.
    pub const DLFEAT_WRITE_ZEROES_DEALLOCATES: u8 = 1 << 3;
    /// DLFEAT: the guard of deallocated blocks is the CRC of what they read
    /// as.
    pub const DLFEAT_GUARD_CRC: u8 = 1 << 4;
    /// KPIOS: key per I/O is enabled.
    pub const KPIOS_ENABLED: u8 = 1 << 0;
    /// KPIOS: key per I/O is supported.
    pub const KPIOS_SUPPORTED: u8 = 1 << 1;
    /// NSATTR: the namespace is write protected.
    pub const NSATTR_WRITE_PROTECTED: u8 = 1 << 0;

    /// FLBAS for format `index` (0 to 63), with metadata in a buffer of its
    /// own.
    #[must_use]
    pub const fn flbas_of(index: u8) -> u8 {
        index & 0xf | (index >> 4 & 0b11) << 5
    }

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

/// I/O command set independent Identify Namespace: the 4096 bytes' first 24
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
    /// Maximum key tag.
    pub maxkt: U16,
    /// Reserved.
    pub reserved18: [u8; 2],
    /// Reachability group identifier.
    pub rgrpid: U32,
}

impl IndependentNamespace {
    /// NSTAT: the namespace is ready.
    pub const NSTAT_READY: u8 = 1 << 0;
    /// NSFEAT: NGUID and EUI64 are never reused.
    pub const NSFEAT_ID_NOT_REUSED: u8 = 1 << 3;
    /// NSFEAT: the media rotates.
    pub const NSFEAT_ROTATIONAL: u8 = 1 << 4;
    /// NSFEAT: the volatile write cache of this namespace is never used.
    pub const NSFEAT_VWC_NOT_PRESENT: u8 = 1 << 5;
}
