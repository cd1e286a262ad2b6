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

/// CDW10 of Firmware Commit (`NVMe Base 2.1 §5.1.8`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FirmwareCommitCdw10 {
    /// Firmware slot; 0 lets the controller choose.
    #[bits(3)]
    pub fs: u8,
    /// Commit action; see [`FirmwareCommitCdw10::REPLACE`].
    #[bits(3)]
    pub ca: u8,
    #[bits(25)]
    __: u32,
    /// Boot partition.
    pub bpid: bool,
}

impl FirmwareCommitCdw10 {
    /// Action: replace the image in the slot.
    pub const REPLACE: u8 = 0;
    /// Action: replace it, and activate it at the next reset.
    pub const REPLACE_AND_ACTIVATE: u8 = 1;
    /// Action: activate the image in the slot at the next reset.
    pub const ACTIVATE: u8 = 2;
    /// Action: activate now; replace the image first where one was
    /// downloaded.
    pub const ACTIVATE_NOW: u8 = 3;
    /// Action: replace the boot partition.
    pub const REPLACE_BOOT_PARTITION: u8 = 6;
    /// Action: activate the boot partition.
    pub const ACTIVATE_BOOT_PARTITION: u8 = 7;
}

/// CDW10 of Device Self-test (`NVMe Base 2.1 §5.1.5`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct SelfTestCdw10 {
    /// Self-test code; see [`crate::SelfTestOperation`].
    #[bits(4)]
    pub stc: u8,
    #[bits(28)]
    __: u32,
}

/// CDW10 of Sanitize; CDW11 is the overwrite pattern
/// (`NVMe Base 2.1 §5.1.22`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct SanitizeCdw10 {
    /// Action; see [`SanitizeCdw10::EXIT_FAILURE`].
    #[bits(3)]
    pub sanact: u8,
    /// Allow unrestricted sanitize exit.
    pub ause: bool,
    /// Overwrite passes; 0 is 16.
    #[bits(4)]
    pub owpass: u8,
    /// Invert the overwrite pattern between passes.
    pub oipbp: bool,
    /// Do not deallocate after sanitize.
    pub ndas: bool,
    /// Enter the media verification state.
    pub emvs: bool,
    #[bits(21)]
    __: u32,
}

impl SanitizeCdw10 {
    /// Action: exit failure mode.
    pub const EXIT_FAILURE: u8 = 1;
    /// Action: start a block erase.
    pub const BLOCK_ERASE: u8 = 2;
    /// Action: start an overwrite.
    pub const OVERWRITE: u8 = 3;
    /// Action: start a crypto erase.
    pub const CRYPTO_ERASE: u8 = 4;
    /// Action: exit the media verification state.
    pub const EXIT_VERIFICATION: u8 = 5;

    /// The number of overwrite passes, 1 to 16.
    #[must_use]
    pub const fn passes(self) -> u8 {
        match self.owpass() {
            0 => 16,
            passes => passes,
        }
    }
}

/// CDW10 of Security Send and Security Receive; CDW11 is the transfer or
/// allocation length in bytes (`NVMe Base 2.1 §5.1.23`, `§5.1.24`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct SecurityCdw10 {
    /// NVMe security specific field.
    pub nssf: u8,
    /// SP specific.
    pub spsp: u16,
    /// Security protocol.
    pub secp: u8,
}

/// CDW10 of Namespace Management and Namespace Attachment
/// (`NVMe Base 2.1 §5.1.20`, `§5.1.21`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct NamespaceManagementCdw10 {
    /// Select; see [`NamespaceManagementCdw10::CREATE`].
    #[bits(4)]
    pub sel: u8,
    #[bits(28)]
    __: u32,
}

impl NamespaceManagementCdw10 {
    /// Namespace Management: create.
    pub const CREATE: u8 = 0;
    /// Namespace Management: delete.
    pub const DELETE: u8 = 1;
    /// Namespace Attachment: attach.
    pub const ATTACH: u8 = 0;
    /// Namespace Attachment: detach.
    pub const DETACH: u8 = 1;
}

/// CDW11 of Namespace Management (`NVMe Base 2.1 §5.1.21`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct NamespaceManagementCdw11 {
    #[bits(24)]
    __: u32,
    /// Command set of the namespace to create.
    pub csi: u8,
}

/// CDW10 of Lockdown (`NVMe Base 2.1 §5.1.15`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct LockdownCdw10 {
    /// Scope: 0 admin commands, 2 features, 3 NVMe-MI, 4 PCIe commands.
    #[bits(4)]
    pub scp: u8,
    /// Prohibit, not allow.
    pub prhbt: bool,
    /// Interface: 0 admin queue, 1 that and out-of-band, 2 out-of-band.
    #[bits(2)]
    pub ifc: u8,
    #[bits(1)]
    __: u8,
    /// Opcode or feature identifier.
    pub ofi: u8,
    #[bits(16)]
    __: u16,
}

/// CDW14 of Lockdown (`NVMe Base 2.1 §5.1.15`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct LockdownCdw14 {
    /// UUID index.
    #[bits(7)]
    pub uidx: u8,
    #[bits(25)]
    __: u32,
}

/// CDW11 of Directive Send and Directive Receive; CDW10 is the number of
/// dwords, zero-based (`NVMe Base 2.1 §5.1.6`, `§5.1.7`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct DirectiveCdw11 {
    /// Directive operation.
    pub doper: u8,
    /// Directive type: 0 identify, 1 streams, 2 data placement.
    pub dtype: u8,
    /// Directive specific.
    pub dspec: u16,
}

/// CDW12 of Directive Send, identify directive, operation "enable directive"
/// (`NVMe Base 2.1 §8.1.8.2.2`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct DirectiveEnableCdw12 {
    /// Enable, not disable.
    pub endir: bool,
    #[bits(7)]
    __: u8,
    /// The directive type to enable or disable.
    pub tdtype: u8,
    #[bits(16)]
    __: u16,
}

/// CDW13 of Get LBA Status; CDW10 and CDW11 are the starting LBA, CDW12 the
/// maximum number of dwords, zero-based (`NVM Command Set 1.1 §4.2.1`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GetLbaStatusCdw13 {
    /// Range length, blocks; 0 is to the end.
    pub rl: u16,
    #[bits(8)]
    __: u8,
    /// Action type; see [`GetLbaStatusCdw13::SCAN_UNTRACKED`].
    pub atype: u8,
}

impl GetLbaStatusCdw13 {
    /// Action: report allocated blocks.
    pub const ALLOCATED: u8 = 0x02;
    /// Action: scan, and report tracked and untracked blocks.
    pub const SCAN_UNTRACKED: u8 = 0x10;
    /// Action: report tracked blocks.
    pub const TRACKED: u8 = 0x11;
}

/// CDW10 of Capacity Management (`NVMe Base 2.1 §5.1.3`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CapacityManagementCdw10 {
    /// Operation: 0 select configuration, 1 create and 2 delete endurance
    /// group, 3 create and 4 delete NVM set.
    #[bits(4)]
    pub oper: u8,
    #[bits(12)]
    __: u16,
    /// Element identifier.
    pub elid: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_specification_puts_them() {
        let commit = FirmwareCommitCdw10::new()
            .with_fs(2)
            .with_ca(FirmwareCommitCdw10::ACTIVATE_NOW);
        assert_eq!(commit.into_bits(), 2 | 3 << 3);
        let sanitize = SanitizeCdw10::new()
            .with_sanact(3)
            .with_owpass(1)
            .with_ndas(true);
        assert_eq!(sanitize.into_bits(), 3 | 1 << 4 | 1 << 9);
        assert_eq!(SanitizeCdw10::new().passes(), 16);
        assert_eq!(
            SecurityCdw10::new().with_secp(1).with_spsp(1).into_bits(),
            1 << 24 | 1 << 8
        );
        assert_eq!(LockdownCdw10::new().with_ofi(9).into_bits(), 9 << 8);
        assert_eq!(
            GetLbaStatusCdw13::new().with_atype(0x10).into_bits(),
            0x1000_0000
        );
        assert_eq!(
            DirectiveEnableCdw12::new()
                .with_endir(true)
                .with_tdtype(1)
                .into_bits(),
            1 | 1 << 8
        );
    }
}
