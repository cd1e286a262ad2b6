//! The log pages that tell what is supported, and of the lockdown and the boot
//! partitions.

use bitfield_struct::bitfield;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::zeroed_default;

/// An entry of Supported Log Pages, one for each of 256 identifiers
/// (`NVMe Base 2.1 §5.1.12.1.1`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct SupportedLogPage {
    /// The log page is supported.
    pub lsupp: bool,
    /// An index is taken as offset.
    pub ios: bool,
    #[bits(14)]
    __: u16,
    /// What the page itself defines.
    pub lids: u16,
}

/// An entry of Feature Identifiers Supported and Effects, one for each of 256
/// identifiers (`NVMe Base 2.1 §5.1.12.1.18`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FeatureEffects {
    /// The feature is supported.
    pub fsupp: bool,
    /// User data content may change.
    pub udcc: bool,
    /// Namespace capabilities may change.
    pub ncc: bool,
    /// The namespace inventory may change.
    pub nic: bool,
    /// Controller capabilities may change.
    pub ccc: bool,
    #[bits(14)]
    __: u16,
    /// UUID selection is supported.
    pub uuid_selection: bool,
    /// Scope of the feature; see [`FeatureEffects::SCOPE_NAMESPACE`].
    #[bits(12)]
    pub scope: u16,
}

impl FeatureEffects {
    /// Scope: a namespace.
    pub const SCOPE_NAMESPACE: u16 = 1 << 0;
    /// Scope: the controller.
    pub const SCOPE_CONTROLLER: u16 = 1 << 1;
    /// Scope: an NVM set.
    pub const SCOPE_NVM_SET: u16 = 1 << 2;
    /// Scope: an endurance group.
    pub const SCOPE_ENDURANCE_GROUP: u16 = 1 << 3;
    /// Scope: a domain.
    pub const SCOPE_DOMAIN: u16 = 1 << 4;
    /// Scope: the NVM subsystem.
    pub const SCOPE_SUBSYSTEM: u16 = 1 << 5;
    /// Scope: a controller data queue.
    pub const SCOPE_DATA_QUEUE: u16 = 1 << 6;
}

/// An entry of NVMe-MI Commands Supported and Effects, one for each of 256
/// opcodes (`NVMe Base 2.1 §5.1.12.1.19`). Scopes are those of
/// [`FeatureEffects`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct NvmeMiEffects {
    /// The command is supported.
    pub csupp: bool,
    /// User data content may change.
    pub udcc: bool,
    /// Namespace capabilities may change.
    pub ncc: bool,
    /// The namespace inventory may change.
    pub nic: bool,
    /// Controller capabilities may change.
    pub ccc: bool,
    #[bits(15)]
    __: u16,
    /// Scope of the command.
    #[bits(12)]
    pub scope: u16,
}

/// What Command and Feature Lockdown is to list: its log specific parameter,
/// and the first byte of the page (`NVMe Base 2.1 §5.1.12.1.20`).
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct LockdownSelection {
    /// Scope: 0 admin commands, 2 features, 3 NVMe-MI commands, 4 PCIe
    /// commands.
    #[bits(4)]
    pub scope: u8,
    /// Contents: 0 what can be prohibited, 1 what is prohibited to the host,
    /// 2 what is prohibited to the management endpoint.
    #[bits(2)]
    pub contents: u8,
    #[bits(2)]
    __: u8,
}

/// Command and Feature Lockdown: 512 bytes (`NVMe Base 2.1 §5.1.12.1.20`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LockdownLog {
    /// What is listed; see [`LockdownSelection`].
    pub selection: u8,
    /// Reserved.
    pub reserved1: [u8; 2],
    /// How many bytes of the list are in force.
    pub length: u8,
    /// Opcodes or feature identifiers, ascending.
    pub list: [u8; 508],
}

/// Boot partition information, as in the BPINFO property
/// (`NVMe Base 2.1 §5.1.12.1.21`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct BootPartitionInfo {
    /// Size of a boot partition, 128 KiB.
    #[bits(15)]
    pub bpsz: u16,
    #[bits(9)]
    __: u16,
    /// Boot read status (the property only): 0 none, 1 reading, 2 done, 3
    /// failed.
    #[bits(2)]
    pub brs: u8,
    #[bits(5)]
    __: u8,
    /// The active boot partition.
    pub abpid: bool,
}

/// The head of the Boot Partition log: 16 bytes, the boot partition follows
/// (`NVMe Base 2.1 §5.1.12.1.21`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct BootPartitionLogHeader {
    /// The log page's identifier.
    pub lid: u8,
    /// Reserved.
    pub reserved1: [u8; 3],
    /// See [`BootPartitionInfo`].
    pub bpinfo: U32,
    /// Reserved.
    pub reserved8: [u8; 8],
}

zeroed_default!(LockdownLog);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_have_the_layout_of_the_specification() {
        assert_eq!(size_of::<LockdownLog>(), 512);
        assert_eq!(size_of::<BootPartitionLogHeader>(), 16);
        let effects = FeatureEffects::new()
            .with_fsupp(true)
            .with_uuid_selection(true)
            .with_scope(FeatureEffects::SCOPE_CONTROLLER);
        assert_eq!(effects.into_bits(), 1 | 1 << 19 | 1 << 21);
        assert_eq!(NvmeMiEffects::new().with_scope(1).into_bits(), 1 << 20);
        assert_eq!(SupportedLogPage::new().with_lids(1).into_bits(), 1 << 16);
        assert_eq!(
            BootPartitionInfo::new()
                .with_brs(3)
                .with_abpid(true)
                .into_bits(),
            3 << 24 | 1 << 31
        );
    }
}
