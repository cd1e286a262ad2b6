//! What Namespace Management takes to create a namespace.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::open_enum::zeroed_default;

/// The host software specified fields of Namespace Management, operation
/// "create": 4096 bytes (`NVMe Base 2.1 §5.1.21`, `NVM Command Set 1.1
/// §4.1.6`). Fields stand where Identify Namespace has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NamespaceCreation {
    /// Size, blocks.
    pub nsze: U64,
    /// Capacity, blocks.
    pub ncap: U64,
    /// Reserved.
    pub reserved16: [u8; 10],
    /// Formatted LBA size.
    pub flbas: u8,
    /// Reserved.
    pub reserved27: [u8; 2],
    /// End-to-end data protection settings.
    pub dps: u8,
    /// Multi-path and sharing capabilities.
    pub nmic: u8,
    /// Reserved.
    pub reserved31: [u8; 61],
    /// ANA group identifier.
    pub anagrpid: U32,
    /// Reserved.
    pub reserved96: [u8; 4],
    /// NVM set identifier.
    pub nvmsetid: U16,
    /// Endurance group identifier.
    pub endgid: U16,
    /// Reserved.
    pub reserved104: [u8; 280],
    /// Logical block storage tag mask.
    pub lbstm: U64,
    /// Number of placement handles.
    pub nphndls: U16,
    /// Reserved.
    pub reserved394: [u8; 105],
    /// What the command set of the namespace defines.
    pub command_set: [u8; 13],
    /// Placement handles.
    pub placement_handles: [U16; 128],
    /// Reserved, and vendor specific from byte 1024 on.
    pub reserved768: [u8; 3328],
}

zeroed_default!(NamespaceCreation);

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn fields_stand_where_identify_namespace_has_them() {
        assert_eq!(size_of::<NamespaceCreation>(), 4096);
        assert_eq!(
            offset_of!(NamespaceCreation, flbas),
            offset_of!(crate::IdentifyNamespace, flbas)
        );
        assert_eq!(
            offset_of!(NamespaceCreation, nmic),
            offset_of!(crate::IdentifyNamespace, nmic)
        );
        assert_eq!(
            offset_of!(NamespaceCreation, endgid),
            offset_of!(crate::IdentifyNamespace, endgid)
        );
        assert_eq!(offset_of!(NamespaceCreation, lbstm), 384);
        assert_eq!(offset_of!(NamespaceCreation, command_set), 499);
    }
}
