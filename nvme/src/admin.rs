//! The dwords of the admin commands that are not about queues.

use bitfield_struct::bitfield;

/// CDW10 of Identify (`NVMe Base 2.1 §5.1.13`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct IdentifyCdw10 {
    /// Controller or namespace structure; see [`crate::Cns`].
    pub cns: u8,
    __: u8,
    /// Controller identifier, for the structures that take one.
    pub cntid: u16,
}

/// CDW11 of Identify (`NVMe Base 2.1 §5.1.13`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct IdentifyCdw11 {
    /// CNS specific identifier.
    pub cnssid: u16,
    __: u8,
    /// Command set identifier; 0 is the NVM command set.
    pub csi: u8,
}

/// CDW10 of Get Log Page (`NVMe Base 2.1 §5.1.12`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GetLogPageCdw10 {
    /// Log page; see [`crate::LogPageId`].
    pub lid: u8,
    /// Log specific parameter.
    #[bits(7)]
    pub lsp: u8,
    /// Retain asynchronous event: the read does not clear it.
    pub rae: bool,
    /// Number of dwords, zero-based, lower 16 bits.
    pub numdl: u16,
}

/// CDW11 of Get Log Page (`NVMe Base 2.1 §5.1.12`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GetLogPageCdw11 {
    /// Number of dwords, zero-based, upper 16 bits.
    pub numdu: u16,
    /// Log specific identifier.
    pub lsi: u16,
}

/// CDW14 of Get Log Page (`NVMe Base 2.1 §5.1.12`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GetLogPageCdw14 {
    /// UUID index.
    #[bits(7)]
    pub uuid_index: u8,
    #[bits(16)]
    __: u16,
    /// Offset type: the offset is an index, not bytes.
    pub index_offset: bool,
    /// Command set identifier.
    pub csi: u8,
}

/// CDW10 of Get Features and Set Features (`NVMe Base 2.1 §5.1.11`,
/// `§5.1.25`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FeaturesCdw10 {
    /// Feature; see [`crate::FeatureId`].
    pub fid: u8,
    /// Which value, Get Features only; see [`crate::FeatureSelect`].
    #[bits(3)]
    pub sel: u8,
    #[bits(20)]
    __: u32,
    /// Save across power cycles, Set Features only.
    pub sv: bool,
}

/// CDW10 of Abort (`NVMe Base 2.1 §5.1.1`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct AbortCdw10 {
    /// The submission queue of the command to abort.
    pub sqid: u16,
    /// The identifier of the command to abort.
    pub cid: u16,
}

/// CDW10 of Format NVM (`NVMe Base 2.1 §5.1.10`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FormatCdw10 {
    /// LBA format, lower four bits.
    #[bits(4)]
    pub lbafl: u8,
    /// Metadata settings.
    pub mset: bool,
    /// Protection information.
    #[bits(3)]
    pub pi: u8,
    /// Protection information location.
    pub pil: bool,
    /// Secure erase settings: 0 none, 1 user data, 2 cryptographic.
    #[bits(3)]
    pub ses: u8,
    /// LBA format, upper two bits.
    #[bits(2)]
    pub lbafu: u8,
    #[bits(18)]
    __: u32,
}
