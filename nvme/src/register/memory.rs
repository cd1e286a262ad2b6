//! The properties of the controller memory buffer, the boot partitions and the
//! ready times.

use bitfield_struct::bitfield;

/// Controller Memory Buffer Location: CMBLOC (`NVMe Base 2.1 §3.1.4.11`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CmbLocation {
    /// Base address register that has the buffer.
    #[bits(3)]
    pub bir: u8,
    /// Queues may be in the buffer and in host memory at once.
    pub cqmms: bool,
    /// Queues need not be physically contiguous.
    pub cqpds: bool,
    /// PRP lists may point to both the buffer and host memory.
    pub cdplms: bool,
    /// Lists and data may be apart.
    pub cdpcils: bool,
    /// Data and metadata may be apart.
    pub cdmmms: bool,
    /// Queues take any dword alignment.
    pub cqda: bool,
    #[bits(3)]
    __: u8,
    /// Offset of the buffer, in units of CMBSZ.SZU.
    #[bits(20)]
    pub ofst: u32,
}

/// Controller Memory Buffer Size: CMBSZ (`NVMe Base 2.1 §3.1.4.12`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CmbSize {
    /// Submission queues may be in the buffer.
    pub sqs: bool,
    /// Completion queues may be in the buffer.
    pub cqs: bool,
    /// PRP and SGL lists may be in the buffer.
    pub lists: bool,
    /// Data that a command reads may be in the buffer.
    pub rds: bool,
    /// Data that a command writes may be in the buffer.
    pub wds: bool,
    #[bits(3)]
    __: u8,
    /// Unit: 4 KiB << (4 * SZU).
    #[bits(4)]
    pub szu: u8,
    /// Size, in units.
    #[bits(20)]
    pub sz: u32,
}

impl CmbSize {
    /// The size in bytes; none where the unit is reserved (above 6, 64 GiB).
    #[must_use]
    pub const fn bytes(self) -> Option<u64> {
        match self.szu() {
            szu @ 0..=6 => Some((self.sz() as u64) << (12 + 4 * szu as u32)),
            _ => None,
        }
    }
}

/// Controller Memory Buffer Memory Space Control: CMBMSC
/// (`NVMe Base 2.1 §3.1.4.16`).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct CmbMemorySpace {
    /// Capabilities registers enabled: CMBLOC and CMBSZ read as they are.
    pub cre: bool,
    /// Controller memory space enable.
    pub cmse: bool,
    #[bits(10)]
    __: u16,
    /// Controller base address, bits 63:12.
    #[bits(52)]
    pub cba: u64,
}

/// Controller Memory Buffer Status: CMBSTS (`NVMe Base 2.1 §3.1.4.17`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CmbStatus {
    /// Controller base address invalid.
    pub cbai: bool,
    #[bits(31)]
    __: u32,
}

/// CMBEBS, CMBSWTP, PMREBS and PMRSWTP (`NVMe Base 2.1 §3.1.4.18`,
/// `§3.1.4.19`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct BufferUnit {
    /// Unit: 0 for bytes, 1 for KiB, 2 for MiB, 3 for GiB (a second, of the
    /// throughputs).
    #[bits(4)]
    pub unit: u8,
    /// Read bypass behaviour (of the elasticity buffers).
    pub rbb: bool,
    #[bits(3)]
    __: u8,
    /// Value, in units.
    #[bits(24)]
    pub value: u32,
}

/// Controller Ready Timeouts: CRTO (`NVMe Base 2.1 §3.1.4.21`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Crto {
    /// Controller ready with media timeout, 500 ms.
    pub crwmt: u16,
    /// Controller ready independent of media timeout, 500 ms.
    pub crimt: u16,
}

/// Boot Partition Read Select: BPRSEL (`NVMe Base 2.1 §3.1.4.14`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct BpReadSelect {
    /// Read size, 4 KiB.
    #[bits(10)]
    pub bprsz: u16,
    /// Read offset, 4 KiB.
    #[bits(20)]
    pub bprof: u32,
    #[bits(1)]
    __: u8,
    /// Boot partition.
    pub bpid: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_specification_puts_them() {
        let size = CmbSize::new().with_sqs(true).with_szu(2).with_sz(16);
        assert_eq!(size.into_bits(), 1 | 2 << 8 | 16 << 12);
        assert_eq!(size.bytes(), Some(16 << 20));
        assert_eq!(CmbSize::new().with_szu(7).bytes(), None);
        assert_eq!(
            CmbLocation::new().with_bir(2).with_cqda(true).into_bits(),
            2 | 1 << 8
        );
        let control = CmbMemorySpace::new().with_cmse(true).with_cba(1);
        assert_eq!(control.into_bits(), 2 | 1 << 12);
        assert_eq!(BpReadSelect::new().with_bpid(true).into_bits(), 1 << 31);
    }
}
