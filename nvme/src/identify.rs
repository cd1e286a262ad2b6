//! Identify data structures.

mod controller;
mod controller_bits;
mod list;
mod namespace;
mod nvm;

pub use controller::{IdentifyController, PowerStateDescriptor};
pub use list::{
    CommandSetCombinations, ControllerList, DomainAttributes, DomainList, EnduranceGroupList,
    NamespaceGranularity, NamespaceGranularityList, NamespaceList, NvmSetAttributes, NvmSetList,
    PrimaryControllerCapabilities, SecondaryController, SecondaryControllerList, UuidList,
    UuidListEntry,
};
pub use namespace::{IdentifyNamespace, IndependentNamespace, LbaFormat};
pub use nvm::{ElbaFormat, IdentifyNvmController, IdentifyNvmNamespace};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::open_enum;

open_enum! {
    /// Controller or Namespace Structure: which structure Identify asks for
    /// (`NVMe Base 2.1 §5.1.13.1`); an open set.
    Cns, "CNS {:02x}h" {
        /// Identify Namespace.
        NAMESPACE = 0x00, "Identify Namespace";
        /// Identify Controller.
        CONTROLLER = 0x01, "Identify Controller";
        /// Active Namespace ID List.
        ACTIVE_NAMESPACES = 0x02, "Active Namespace ID List";
        /// Namespace Identification Descriptor List.
        NAMESPACE_DESCRIPTORS = 0x03, "Namespace Identification Descriptor List";
        /// NVM Set List.
        NVM_SETS = 0x04, "NVM Set List";
        /// I/O Command Set specific Identify Namespace.
        IO_NAMESPACE = 0x05, "I/O Command Set specific Identify Namespace";
        /// I/O Command Set specific Identify Controller.
        IO_CONTROLLER = 0x06, "I/O Command Set specific Identify Controller";
        /// I/O Command Set specific Active Namespace ID List.
        IO_ACTIVE_NAMESPACES = 0x07, "I/O Command Set specific Active Namespace ID List";
        /// I/O Command Set Independent Identify Namespace.
        INDEPENDENT_NAMESPACE = 0x08, "I/O Command Set Independent Identify Namespace";
        /// Identify Namespace of a User Data Format.
        NAMESPACE_FORMAT = 0x09, "Identify Namespace of a User Data Format";
        /// I/O Command Set specific Identify Namespace of a User Data Format.
        IO_NAMESPACE_FORMAT = 0x0a, "I/O Command Set specific Identify Namespace of a User Data Format";
        /// Allocated Namespace ID List.
        ALLOCATED_NAMESPACES = 0x10, "Allocated Namespace ID List";
        /// Identify Allocated Namespace.
        ALLOCATED_NAMESPACE = 0x11, "Identify Allocated Namespace";
        /// Namespace Attached Controller List.
        NAMESPACE_CONTROLLERS = 0x12, "Namespace Attached Controller List";
        /// Controller List.
        CONTROLLERS = 0x13, "Controller List";
        /// Primary Controller Capabilities.
        PRIMARY_CONTROLLER = 0x14, "Primary Controller Capabilities";
        /// Secondary Controller List.
        SECONDARY_CONTROLLERS = 0x15, "Secondary Controller List";
        /// Namespace Granularity List.
        NAMESPACE_GRANULARITY = 0x16, "Namespace Granularity List";
        /// UUID List.
        UUID_LIST = 0x17, "UUID List";
        /// Domain List.
        DOMAINS = 0x18, "Domain List";
        /// Endurance Group List.
        ENDURANCE_GROUPS = 0x19, "Endurance Group List";
        /// I/O Command Set specific Allocated Namespace ID List.
        IO_ALLOCATED_NAMESPACES = 0x1a, "I/O Command Set specific Allocated Namespace ID List";
        /// I/O Command Set specific Identify Allocated Namespace.
        IO_ALLOCATED_NAMESPACE = 0x1b, "I/O Command Set specific Identify Allocated Namespace";
        /// I/O Command Set Combinations.
        IO_COMMAND_SETS = 0x1c, "I/O Command Set Combinations";
        /// Underlying Namespace List.
        UNDERLYING_NAMESPACES = 0x1d, "Underlying Namespace List";
        /// Ports List.
        PORTS = 0x1e, "Ports List";
        /// I/O Command Set Independent Identify Allocated Namespace.
        INDEPENDENT_ALLOCATED_NAMESPACE = 0x1f, "I/O Command Set Independent Identify Allocated Namespace";
        /// Supported Controller State Formats.
        CONTROLLER_STATE_FORMATS = 0x20, "Supported Controller State Formats";
    }
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
        assert_eq!(offset_of!(IdentifyController, plsi), 110);
        assert_eq!(offset_of!(IdentifyController, nvmsr), 253);
        assert_eq!(offset_of!(IdentifyController, mec), 255);
        assert_eq!(offset_of!(IdentifyController, oacs), 256);
        assert_eq!(offset_of!(IdentifyController, sanicap), 328);
        assert_eq!(offset_of!(IdentifyController, kpioc), 358);
        assert_eq!(offset_of!(IdentifyController, mptfawr), 360);
        assert_eq!(offset_of!(IdentifyController, megcap), 368);
        assert_eq!(offset_of!(IdentifyController, tmpthha), 384);
        assert_eq!(offset_of!(IdentifyController, cqt), 386);
        assert_eq!(offset_of!(IdentifyController, sqes), 512);
        assert_eq!(offset_of!(IdentifyController, nn), 516);
        assert_eq!(offset_of!(IdentifyController, sgls), 536);
        assert_eq!(offset_of!(IdentifyController, oaqd), 564);
        assert_eq!(offset_of!(IdentifyController, trattr), 576);
        assert_eq!(offset_of!(IdentifyController, mcdqpc), 586);
        assert_eq!(offset_of!(IdentifyController, subnqn), 768);
        assert_eq!(offset_of!(IdentifyController, ioccsz), 1792);
        assert_eq!(offset_of!(IdentifyController, dctype), 1806);
        assert_eq!(size_of::<PowerStateDescriptor>(), 32);
        assert_eq!(offset_of!(PowerStateDescriptor, active_power), 20);
        assert_eq!(offset_of!(IdentifyController, psd), 2048);
        assert_eq!(size_of::<IdentifyNamespace>(), 4096);
        assert_eq!(size_of::<IndependentNamespace>(), 24);
        assert_eq!(offset_of!(IndependentNamespace, nstat), 14);
        assert_eq!(offset_of!(IdentifyNamespace, dlfeat), 33);
        assert_eq!(offset_of!(IdentifyNamespace, nvmcap), 48);
        assert_eq!(offset_of!(IdentifyNamespace, nulbaf), 82);
        assert_eq!(offset_of!(IdentifyNamespace, nsattr), 99);
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
