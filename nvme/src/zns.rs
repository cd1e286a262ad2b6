//! The Zoned Namespace command set: what stands in its commands' dwords and
//! data.
//!
//! Citations name the *Zoned Namespace Command Set Specification, revision
//! 1.1*; the zone random write area is that of technical proposal 4076.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The command set identifier of zoned namespaces: CSI.
pub const ZONED_COMMAND_SET: u8 = 0x02;

/// The state of a zone: ZS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ZoneState {
    /// ZSE: nothing is written.
    Empty = 0x1,
    /// ZSIO: a write opened it.
    ImplicitlyOpened = 0x2,
    /// ZSEO: the host opened it.
    ExplicitlyOpened = 0x3,
    /// ZSC: it holds an active resource, not an open one.
    Closed = 0x4,
    /// ZSRO: it can be read only.
    ReadOnly = 0xd,
    /// ZSF: it takes no more writes.
    Full = 0xe,
    /// ZSO: its data are gone.
    Offline = 0xf,
}

impl ZoneState {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Empty,
        Self::ImplicitlyOpened,
        Self::ExplicitlyOpened,
        Self::Closed,
        Self::ReadOnly,
        Self::Full,
        Self::Offline,
    ];

    /// The state with this number; none where it is reserved.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == number)
    }

    /// Whether a zone in this state holds an open resource.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::ImplicitlyOpened | Self::ExplicitlyOpened)
    }

    /// Whether a zone in this state holds an active resource.
    #[must_use]
    pub const fn is_active(self) -> bool {
        self.is_open() || matches!(self, Self::Closed)
    }

    /// Whether the write pointer of a zone in this state means something.
    #[must_use]
    pub const fn has_write_pointer(self) -> bool {
        self.is_active() || matches!(self, Self::Empty)
    }
}

/// The attributes of a zone: ZA.
#[bitfield(u8)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ZoneAttributes {
    /// ZFC: the controller finished the zone.
    pub finished_by_controller: bool,
    /// FZR: finishing the zone is recommended.
    pub finish_recommended: bool,
    /// RZR: resetting the zone is recommended.
    pub reset_recommended: bool,
    /// ZRWAV: a zone random write area belongs to the zone.
    pub zrwa: bool,
    #[bits(3)]
    __: u8,
    /// ZDEV: the zone descriptor extension is valid.
    pub extension: bool,
}

/// A zone descriptor: 64 bytes. In an extended report, the zone descriptor
/// extension follows it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ZoneDescriptor {
    /// ZT: type, bits 03:00; see [`ZoneDescriptor::SEQUENTIAL_WRITE_REQUIRED`].
    pub zt: u8,
    /// ZS: state, bits 07:04; see [`ZoneDescriptor::state`].
    pub zs: u8,
    /// ZA: attributes.
    pub za: ZoneAttributes,
    /// ZAI: what the attributes' recommendations are about.
    pub zai: u8,
    /// Reserved.
    pub reserved4: [u8; 4],
    /// ZCAP: capacity, blocks.
    pub zcap: U64,
    /// ZSLBA: the first block.
    pub zslba: U64,
    /// WP: the write pointer, where the state has one.
    pub wp: U64,
    /// Reserved.
    pub reserved32: [u8; 32],
}

impl ZoneDescriptor {
    /// ZT: a zone that is written in sequence.
    pub const SEQUENTIAL_WRITE_REQUIRED: u8 = 0x2;
    /// WP where the state of the zone has no write pointer.
    pub const NO_WRITE_POINTER: u64 = u64::MAX;

    /// The state; none where it is a reserved one.
    #[must_use]
    pub fn state(&self) -> Option<ZoneState> {
        ZoneState::from_number(self.zs >> 4)
    }

    /// The ZS field for `state`.
    #[must_use]
    pub const fn zs(state: ZoneState) -> u8 {
        (state as u8) << 4
    }
}

/// The head of a Report Zones or Extended Report Zones data structure: 64
/// bytes; descriptors follow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ZoneListHeader {
    /// Number of zones.
    pub zones: U64,
    /// Reserved.
    pub reserved8: [U64; 7],
}

/// The action of Zone Management Send: ZSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ZoneSendAction {
    /// Close Zone.
    Close = 0x01,
    /// Finish Zone.
    Finish = 0x02,
    /// Open Zone.
    Open = 0x03,
    /// Reset Zone.
    Reset = 0x04,
    /// Offline Zone.
    Offline = 0x05,
    /// Set Zone Descriptor Extension.
    SetExtension = 0x10,
    /// Flush Explicit ZRWA Range.
    FlushZrwa = 0x11,
}

impl ZoneSendAction {
    /// The action with this number; none where it is reserved.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0x01 => Self::Close,
            0x02 => Self::Finish,
            0x03 => Self::Open,
            0x04 => Self::Reset,
            0x05 => Self::Offline,
            0x10 => Self::SetExtension,
            0x11 => Self::FlushZrwa,
            _ => return None,
        })
    }
}

/// CDW13 of Zone Management Send.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ZoneSendCdw13 {
    /// Zone Send Action; see [`ZoneSendAction`].
    pub zsa: u8,
    /// Select All: every zone that the action can be about.
    pub select_all: bool,
    /// Zone Send Action Specific Option: allocate a zone random write area, for
    /// Open Zone and Set Zone Descriptor Extension.
    pub zrwa_allocation: bool,
    #[bits(22)]
    __: u32,
}

/// The action of Zone Management Receive: ZRA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ZoneReceiveAction {
    /// Report Zones.
    Report = 0x00,
    /// Extended Report Zones: with zone descriptor extensions.
    ExtendedReport = 0x01,
}

impl ZoneReceiveAction {
    /// The action with this number; none where it is reserved.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0x00 => Some(Self::Report),
            0x01 => Some(Self::ExtendedReport),
            _ => None,
        }
    }
}

/// Which zones a report lists: ZRASF of the report actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneReporting {
    /// All.
    All,
    /// Those in one state.
    In(ZoneState),
}

impl ZoneReporting {
    /// The selection with this number; none where it is reserved.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0x0 => Self::All,
            0x1 => Self::In(ZoneState::Empty),
            0x2 => Self::In(ZoneState::ImplicitlyOpened),
            0x3 => Self::In(ZoneState::ExplicitlyOpened),
            0x4 => Self::In(ZoneState::Closed),
            0x5 => Self::In(ZoneState::Full),
            0x6 => Self::In(ZoneState::ReadOnly),
            0x7 => Self::In(ZoneState::Offline),
            _ => return None,
        })
    }

    /// Whether a zone in `state` is listed.
    #[must_use]
    pub fn lists(self, state: ZoneState) -> bool {
        match self {
            Self::All => true,
            Self::In(wanted) => wanted == state,
        }
    }
}

/// CDW13 of Zone Management Receive. CDW12 is the zero-based number of dwords.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ZoneReceiveCdw13 {
    /// Zone Receive Action; see [`ZoneReceiveAction`].
    pub zra: u8,
    /// Zone Receive Action Specific Field; see [`ZoneReporting`].
    pub zrasf: u8,
    /// Partial Report: the number of zones is that of the descriptors that were
    /// transferred.
    pub partial: bool,
    #[bits(15)]
    __: u16,
}

/// CDW12 of Zone Append.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ZoneAppendCdw12 {
    /// Number of logical blocks, zero-based.
    pub nlb: u16,
    #[bits(4)]
    __: u8,
    /// Directive type.
    #[bits(4)]
    pub dtype: u8,
    /// Storage tag check.
    pub stc: bool,
    /// PIREMAP: the reference tags count from the LBA that is assigned.
    pub piremap: bool,
    /// Protection information field.
    #[bits(4)]
    pub prinfo: u8,
    /// Force unit access.
    pub fua: bool,
    /// Limited retry.
    pub limited_retry: bool,
}

/// What zones of an LBA format are like: LBAFE, 16 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ZonedLbaFormat {
    /// ZSZE: zone size, blocks.
    pub zsze: U64,
    /// ZDES: zone descriptor extension size, 64 bytes.
    pub zdes: u8,
    /// Reserved.
    pub reserved9: [u8; 7],
}

/// Identify Namespace of a zoned namespace (CNS 05h, CSI 02h): 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IdentifyZonedNamespace {
    /// Zone operation characteristics.
    pub zoc: U16,
    /// Optional zoned command support.
    pub ozcs: U16,
    /// Maximum active resources, zero-based; FFFFFFFFh is no limit.
    pub mar: U32,
    /// Maximum open resources, zero-based; FFFFFFFFh is no limit.
    pub mor: U32,
    /// Reset recommended limit, seconds.
    pub rrl: U32,
    /// Finish recommended limit, seconds.
    pub frl: U32,
    /// Reset recommended limits 1 to 3.
    pub rrl123: [U32; 3],
    /// Finish recommended limits 1 to 3.
    pub frl123: [U32; 3],
    /// Number of zone random write area resources, zero-based; FFFFFFFFh is no
    /// limit.
    pub numzrwa: U32,
    /// Zone random write area flush granularity, blocks.
    pub zrwafg: U16,
    /// Zone random write area size, blocks.
    pub zrwasz: U16,
    /// Zone random write area capability.
    pub zrwacap: u8,
    /// Reserved.
    pub reserved53: [u8; 2763],
    /// LBA format extensions.
    pub lbafe: [ZonedLbaFormat; 64],
    /// Vendor specific.
    pub vendor: [u8; 256],
}

impl Default for IdentifyZonedNamespace {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

impl IdentifyZonedNamespace {
    /// ZOC: capacities differ from zone to zone, and may change with a reset.
    pub const ZOC_VARIABLE_CAPACITY: u16 = 1 << 0;
    /// ZOC: active zones may become full by themselves.
    pub const ZOC_ACTIVE_EXCURSIONS: u16 = 1 << 1;
    /// OZCS: reads may cross zone boundaries.
    pub const OZCS_READ_ACROSS: u16 = 1 << 0;
    /// OZCS: zone random write areas are supported.
    pub const OZCS_ZRWA: u16 = 1 << 1;
    /// ZRWACAP: Flush Explicit ZRWA Range is supported.
    pub const ZRWACAP_EXPLICIT_FLUSH: u8 = 1 << 0;
    /// MAR, MOR and NUMZRWA where there is no limit.
    pub const NO_LIMIT: u32 = u32::MAX;

    /// A limit from its zero-based field; none where there is no limit.
    #[must_use]
    pub fn limit(field: U32) -> Option<u64> {
        match field.get() {
            Self::NO_LIMIT => None,
            value => Some(u64::from(value) + 1),
        }
    }
}

/// Identify Controller for zoned namespaces (CNS 06h, CSI 02h): 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IdentifyZonedController {
    /// Zone append size limit: 2^ZASL minimum pages; 0 is that of MDTS.
    pub zasl: u8,
    /// Reserved.
    pub reserved1: [u8; 4095],
}

impl Default for IdentifyZonedController {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

impl IdentifyZonedController {
    /// The largest Zone Append in bytes where the controller's minimum page is
    /// 2^(12 + `mpsmin`) bytes; none where MDTS alone limits it.
    #[must_use]
    pub const fn append_bytes_max(&self, mpsmin: u8) -> Option<u64> {
        match self.zasl {
            0 => None,
            zasl => 4096_u64.checked_shl(zasl as u32 + mpsmin as u32),
        }
    }
}

/// The Changed Zone List log page: 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ChangedZoneList {
    /// NRZID: number of zones; see [`ChangedZoneList::TOO_MANY`].
    pub nrzid: U16,
    /// Reserved.
    pub reserved2: [u8; 6],
    /// The first LBAs of the zones.
    pub zones: [U64; Self::ZONES_MAX],
}

impl ChangedZoneList {
    /// The most zones that the log lists.
    pub const ZONES_MAX: usize = 511;
    /// NRZID where more zones changed than the log can list.
    pub const TOO_MANY: u16 = 0xffff;
}

impl Default for ChangedZoneList {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_structures_have_the_layout_of_the_specification() {
        assert_eq!(size_of::<ZoneDescriptor>(), 64);
        assert_eq!(offset_of!(ZoneDescriptor, zai), 3);
        assert_eq!(offset_of!(ZoneDescriptor, zcap), 8);
        assert_eq!(offset_of!(ZoneDescriptor, zslba), 16);
        assert_eq!(offset_of!(ZoneDescriptor, wp), 24);
        assert_eq!(size_of::<ZoneListHeader>(), 64);
        assert_eq!(size_of::<ZonedLbaFormat>(), 16);
        assert_eq!(size_of::<IdentifyZonedNamespace>(), 4096);
        assert_eq!(offset_of!(IdentifyZonedNamespace, mar), 4);
        assert_eq!(offset_of!(IdentifyZonedNamespace, frl), 16);
        assert_eq!(offset_of!(IdentifyZonedNamespace, rrl123), 20);
        assert_eq!(offset_of!(IdentifyZonedNamespace, frl123), 32);
        assert_eq!(offset_of!(IdentifyZonedNamespace, numzrwa), 44);
        assert_eq!(offset_of!(IdentifyZonedNamespace, zrwafg), 48);
        assert_eq!(offset_of!(IdentifyZonedNamespace, zrwacap), 52);
        assert_eq!(offset_of!(IdentifyZonedNamespace, lbafe), 2816);
        assert_eq!(offset_of!(IdentifyZonedNamespace, vendor), 3840);
        assert_eq!(size_of::<IdentifyZonedController>(), 4096);
        assert_eq!(size_of::<ChangedZoneList>(), 4096);
        assert_eq!(offset_of!(ChangedZoneList, zones), 8);
    }

    #[test]
    fn the_dwords_have_their_bits_where_hosts_put_them() {
        // What nvme-cli sends for `zns reset-zone -a` and `zns open-zone -r`.
        let reset_all = ZoneSendCdw13::from_bits(0x104);
        assert_eq!(
            ZoneSendAction::from_number(reset_all.zsa()),
            Some(ZoneSendAction::Reset)
        );
        assert!(reset_all.select_all() && !reset_all.zrwa_allocation());
        assert!(ZoneSendCdw13::from_bits(0x203).zrwa_allocation());
        // What Linux sends for a report of zones.
        let report = ZoneReceiveCdw13::from_bits(0x1_0000);
        assert!(report.partial());
        assert_eq!(report.zra(), ZoneReceiveAction::Report as u8);
        assert!(ZoneAppendCdw12::from_bits(1 << 25).piremap());
        assert_eq!(u8::from(ZoneAttributes::new().with_extension(true)), 0x80);
        assert_eq!(u8::from(ZoneAttributes::new().with_zrwa(true)), 0x08);
        assert_eq!(
            crate::AsyncEvent::ZONE_DESCRIPTOR_CHANGED.dword0(),
            0x00bf_ef02
        );
    }

    #[test]
    fn a_number_names_at_most_one_thing() {
        for state in ZoneState::ALL {
            assert_eq!(ZoneState::from_number(state as u8), Some(state));
            let descriptor = ZoneDescriptor {
                zs: ZoneDescriptor::zs(state),
                ..ZoneDescriptor::default()
            };
            assert_eq!(descriptor.state(), Some(state));
        }
        assert_eq!(ZoneState::from_number(0), None);
        for number in 0..=u8::MAX {
            if let Some(action) = ZoneSendAction::from_number(number) {
                assert_eq!(action as u8, number);
            }
            if let Some(action) = ZoneReceiveAction::from_number(number) {
                assert_eq!(action as u8, number);
            }
        }
        assert_eq!(ZoneReporting::from_number(8), None);
        assert_eq!(
            IdentifyZonedNamespace::limit(U32::new(IdentifyZonedNamespace::NO_LIMIT)),
            None
        );
        assert_eq!(IdentifyZonedNamespace::limit(U32::new(13)), Some(14));
        let controller = IdentifyZonedController {
            zasl: 3,
            ..IdentifyZonedController::default()
        };
        assert_eq!(controller.append_bytes_max(0), Some(32_768));
    }
}
