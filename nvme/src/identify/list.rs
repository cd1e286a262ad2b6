//! The lists that Identify returns.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::zeroed_default;

/// A controller list: 4096 bytes (`NVMe Base 2.1 §4.6.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ControllerList {
    /// How many identifiers follow.
    pub count: U16,
    /// Controller identifiers, ascending.
    pub ids: [U16; 2047],
}

impl ControllerList {
    /// The list of these controllers, cut to what fits.
    #[must_use]
    pub fn new(ids: &[u16]) -> Self {
        let mut list = Self::default();
        let mut count = 0;
        for (slot, id) in list.ids.iter_mut().zip(ids) {
            *slot = U16::new(*id);
            count += 1;
        }
        list.count = U16::new(count);
        list
    }

    /// The identifiers. A count that is too large is cut to the list.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.ids
            .iter()
            .take(usize::from(self.count.get()))
            .map(|id| id.get())
    }
}

/// A namespace list: 4096 bytes (`NVMe Base 2.1 §4.6.2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NamespaceList {
    /// Namespace identifiers, ascending; 0 ends the list.
    pub ids: [U32; 1024],
}

impl NamespaceList {
    /// The identifiers up to the first 0.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ids.iter().map(|id| id.get()).take_while(|id| *id != 0)
    }
}

/// An entry of the NVM Set List: 128 bytes (`NVMe Base 2.1 §5.1.13.2.4`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NvmSetAttributes {
    /// NVM set identifier.
    pub nvmsetid: U16,
    /// Endurance group identifier.
    pub endgid: U16,
    /// Reserved.
    pub reserved4: [u8; 4],
    /// Random 4 KiB read typical, 100 ns.
    pub rr4kt: U32,
    /// Optimal write size, bytes.
    pub ows: U32,
    /// Total capacity, bytes.
    pub tnvmsetcap: [u8; 16],
    /// Unallocated capacity, bytes.
    pub unvmsetcap: [u8; 16],
    /// Reserved.
    pub reserved48: [u8; 80],
}

/// NVM Set List: 4096 bytes (`NVMe Base 2.1 §5.1.13.2.4`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NvmSetList {
    /// How many entries follow.
    pub count: u8,
    /// Reserved.
    pub reserved1: [u8; 127],
    /// NVM sets, ascending.
    pub sets: [NvmSetAttributes; 31],
}

/// Endurance Group List: 4096 bytes (`NVMe Base 2.1 §5.1.13.2.18`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EnduranceGroupList {
    /// How many identifiers follow.
    pub count: U16,
    /// Endurance group identifiers, ascending.
    pub ids: [U16; 2047],
}

/// A Namespace Granularity Descriptor: 16 bytes
/// (`NVM Command Set 1.1 §4.1.5.6`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct NamespaceGranularity {
    /// Namespace size granularity, bytes.
    pub nszegran: U64,
    /// Namespace capacity granularity, bytes.
    pub ncapgran: U64,
}

/// Namespace Granularity List: 4096 bytes (`NVM Command Set 1.1 §4.1.5.6`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NamespaceGranularityList {
    /// Attributes; see [`NamespaceGranularityList::PER_FORMAT`].
    pub attributes: U32,
    /// Number of descriptors, zero-based.
    pub count: u8,
    /// Reserved.
    pub reserved5: [u8; 27],
    /// Descriptors.
    pub descriptors: [NamespaceGranularity; 16],
    /// Reserved.
    pub reserved288: [u8; 3808],
}

impl NamespaceGranularityList {
    /// Attributes: there is a descriptor for each LBA format.
    pub const PER_FORMAT: u32 = 1 << 0;
}

/// An entry of the UUID List: 32 bytes (`NVMe Base 2.1 §5.1.13.2.16`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct UuidListEntry {
    /// Bits 01:00: whose UUID it is; 1 the PCI vendor's, 2 the PCI subsystem
    /// vendor's.
    pub header: u8,
    /// Reserved.
    pub reserved1: [u8; 15],
    /// The UUID; all zeroes ends the list.
    pub uuid: [u8; 16],
}

/// UUID List: 4096 bytes (`NVMe Base 2.1 §5.1.13.2.16`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UuidList {
    /// Reserved.
    pub reserved0: [u8; 32],
    /// The UUID with index n is entry n - 1.
    pub entries: [UuidListEntry; 127],
}

/// An entry of the Domain List: 128 bytes (`NVMe Base 2.1 §5.1.13.2.17`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomainAttributes {
    /// Domain identifier.
    pub id: U16,
    /// Reserved.
    pub reserved2: [u8; 14],
    /// Total capacity, bytes.
    pub capacity: [u8; 16],
    /// Unallocated capacity, bytes.
    pub unallocated: [u8; 16],
    /// Maximum endurance group capacity, bytes.
    pub endurance_group_max: [u8; 16],
    /// Reserved.
    pub reserved64: [u8; 64],
}

/// Domain List: 4096 bytes (`NVMe Base 2.1 §5.1.13.2.17`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomainList {
    /// How many entries follow.
    pub count: u8,
    /// Reserved.
    pub reserved1: [u8; 127],
    /// Domains, ascending.
    pub domains: [DomainAttributes; 31],
}

/// I/O Command Set Combinations: 4096 bytes (`NVMe Base 2.1 §5.1.13.2.20`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CommandSetCombinations {
    /// Each combination is a set of bits; see
    /// [`CommandSetCombinations::NVM`]. The first 0 ends the list.
    pub vectors: [U64; 512],
}

impl CommandSetCombinations {
    /// The NVM command set.
    pub const NVM: u64 = 1 << 0;
    /// The key value command set.
    pub const KEY_VALUE: u64 = 1 << 1;
    /// The zoned namespace command set.
    pub const ZONED: u64 = 1 << 2;
    /// The subsystem local memory command set.
    pub const LOCAL_MEMORY: u64 = 1 << 3;
    /// The computational programs command set.
    pub const PROGRAMS: u64 = 1 << 4;
}

/// Primary Controller Capabilities: 4096 bytes
/// (`NVMe Base 2.1 §5.1.13.2.13`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PrimaryControllerCapabilities {
    /// Controller identifier.
    pub cntlid: U16,
    /// Port identifier.
    pub portid: U16,
    /// Controller resource types: bit 0 queues, bit 1 interrupts.
    pub crt: u8,
    /// Reserved.
    pub reserved5: [u8; 27],
    /// Flexible queue resources: total.
    pub vqfrt: U32,
    /// Flexible queue resources: assigned.
    pub vqrfa: U32,
    /// Flexible queue resources: allocated to the primary controller.
    pub vqrfap: U16,
    /// Private queue resources: total.
    pub vqprt: U16,
    /// Flexible queue resources: most that a secondary controller takes.
    pub vqfrsm: U16,
    /// Flexible queue resources: preferred granularity.
    pub vqgran: U16,
    /// Reserved.
    pub reserved48: [u8; 16],
    /// Flexible interrupt resources: total.
    pub vifrt: U32,
    /// Flexible interrupt resources: assigned.
    pub virfa: U32,
    /// Flexible interrupt resources: allocated to the primary controller.
    pub virfap: U16,
    /// Private interrupt resources: total.
    pub viprt: U16,
    /// Flexible interrupt resources: most that a secondary controller takes.
    pub vifrsm: U16,
    /// Flexible interrupt resources: preferred granularity.
    pub vigran: U16,
    /// Reserved.
    pub reserved80: [u8; 4016],
}

/// An entry of the Secondary Controller List: 32 bytes
/// (`NVMe Base 2.1 §5.1.13.2.14`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SecondaryController {
    /// Secondary controller identifier.
    pub scid: U16,
    /// Primary controller identifier.
    pub pcid: U16,
    /// State: bit 0 online.
    pub scs: u8,
    /// Reserved.
    pub reserved5: [u8; 3],
    /// Virtual function number.
    pub vfn: U16,
    /// Queue resources.
    pub nvq: U16,
    /// Interrupt resources.
    pub nvi: U16,
    /// Reserved.
    pub reserved14: [u8; 18],
}

/// Secondary Controller List: 4096 bytes (`NVMe Base 2.1 §5.1.13.2.14`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SecondaryControllerList {
    /// How many entries follow.
    pub count: u8,
    /// Reserved.
    pub reserved1: [u8; 31],
    /// Secondary controllers, ascending.
    pub controllers: [SecondaryController; 127],
}

zeroed_default!(
    ControllerList,
    NamespaceList,
    NvmSetAttributes,
    NvmSetList,
    EnduranceGroupList,
    NamespaceGranularityList,
    UuidList,
    DomainAttributes,
    DomainList,
    CommandSetCombinations,
    PrimaryControllerCapabilities,
    SecondaryControllerList,
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IDENTIFY_BYTES;

    #[test]
    fn every_list_fills_an_identify_structure() {
        assert_eq!(size_of::<ControllerList>(), IDENTIFY_BYTES);
        assert_eq!(size_of::<NamespaceList>(), IDENTIFY_BYTES);
        assert_eq!(size_of::<NvmSetList>(), IDENTIFY_BYTES);
        assert_eq!(size_of::<EnduranceGroupList>(), IDENTIFY_BYTES);
        assert_eq!(size_of::<NamespaceGranularityList>(), IDENTIFY_BYTES);
        assert_eq!(size_of::<UuidList>(), IDENTIFY_BYTES);
        assert_eq!(size_of::<DomainList>(), IDENTIFY_BYTES);
        assert_eq!(size_of::<CommandSetCombinations>(), IDENTIFY_BYTES);
        assert_eq!(size_of::<PrimaryControllerCapabilities>(), IDENTIFY_BYTES);
        assert_eq!(size_of::<SecondaryControllerList>(), IDENTIFY_BYTES);
    }

    #[test]
    fn a_controller_list_never_reads_past_its_end() {
        let mut list = ControllerList::new(&[1, 7]);
        assert_eq!(list.iter().collect::<Vec<_>>(), [1, 7]);
        list.count = U16::new(u16::MAX);
        assert_eq!(list.iter().count(), 2047);
    }
}
