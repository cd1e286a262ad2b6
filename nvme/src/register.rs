//! Controller properties (registers) and doorbells.

mod memory;

pub use memory::{BpReadSelect, BufferUnit, CmbLocation, CmbMemorySpace, CmbSize, CmbStatus, Crto};

use bitfield_struct::bitfield;

use crate::QueueId;

/// Property offsets in bytes from the start of BAR0
/// (`NVMe Base 2.1 §3.1.4`, figure "Property Definition").
pub mod offset {
    /// Controller Capabilities, 8 bytes.
    pub const CAP: u32 = 0x00;
    /// Version.
    pub const VS: u32 = 0x08;
    /// Interrupt Mask Set.
    pub const INTMS: u32 = 0x0c;
    /// Interrupt Mask Clear.
    pub const INTMC: u32 = 0x10;
    /// Controller Configuration.
    pub const CC: u32 = 0x14;
    /// Controller Status.
    pub const CSTS: u32 = 0x1c;
    /// NVM Subsystem Reset.
    pub const NSSR: u32 = 0x20;
    /// Admin Queue Attributes.
    pub const AQA: u32 = 0x24;
    /// Admin Submission Queue Base Address, 8 bytes.
    pub const ASQ: u32 = 0x28;
    /// Admin Completion Queue Base Address, 8 bytes.
    pub const ACQ: u32 = 0x30;
    /// Controller Memory Buffer Location.
    pub const CMBLOC: u32 = 0x38;
    /// Controller Memory Buffer Size.
    pub const CMBSZ: u32 = 0x3c;
    /// Boot Partition Information.
    pub const BPINFO: u32 = 0x40;
    /// Boot Partition Read Select.
    pub const BPRSEL: u32 = 0x44;
    /// Boot Partition Memory Buffer Location, 8 bytes.
    pub const BPMBL: u32 = 0x48;
    /// Controller Memory Buffer Memory Space Control, 8 bytes.
    pub const CMBMSC: u32 = 0x50;
    /// Controller Memory Buffer Status.
    pub const CMBSTS: u32 = 0x58;
    /// Controller Memory Buffer Elasticity Buffer Size.
    pub const CMBEBS: u32 = 0x5c;
    /// Controller Memory Buffer Sustained Write Throughput.
    pub const CMBSWTP: u32 = 0x60;
    /// NVM Subsystem Shutdown.
    pub const NSSD: u32 = 0x64;
    /// Controller Ready Timeouts.
    pub const CRTO: u32 = 0x68;
    /// Persistent Memory Region Capabilities.
    pub const PMRCAP: u32 = 0xe00;
    /// Persistent Memory Region Control.
    pub const PMRCTL: u32 = 0xe04;
    /// Persistent Memory Region Status.
    pub const PMRSTS: u32 = 0xe08;
    /// Persistent Memory Region Elasticity Buffer Size.
    pub const PMREBS: u32 = 0xe0c;
    /// Persistent Memory Region Sustained Write Throughput.
    pub const PMRSWTP: u32 = 0xe10;
    /// Persistent Memory Region Memory Space Control Lower.
    pub const PMRMSCL: u32 = 0xe14;
    /// Persistent Memory Region Memory Space Control Upper.
    pub const PMRMSCU: u32 = 0xe18;
}

/// What is written to NSSR to reset the NVM subsystem: "NVMe"
/// (`NVMe Base 2.1 §3.1.4.7`).
pub const NSSR_RESET: u32 = 0x4e56_4d65;

/// What is written to NSSD to shut the NVM subsystem down normally: "Nrml"
/// (`NVMe Base 2.1 §3.1.4.20`).
pub const NSSD_NORMAL: u32 = 0x4e72_6d6c;

/// What is written to NSSD to shut the NVM subsystem down abruptly: "Abrt"
/// (`NVMe Base 2.1 §3.1.4.20`).
pub const NSSD_ABRUPT: u32 = 0x4162_7274;

/// Where the doorbells start, bytes from the start of BAR0
/// (`NVMe over PCIe 1.1 §3.1.2`).
pub const DOORBELL_BASE: u32 = 0x1000;

/// Size of the property space below the doorbells, bytes.
pub const REGISTERS_LEN: u32 = DOORBELL_BASE;

/// The device's ceiling and the driver's floor: a controller's properties and
/// doorbells, as 32- and 64-bit accesses at byte offsets of BAR0.
///
/// `vssd::Controller` implements it; `driver::Controller` consumes it, over
/// any transport. The rules are those of PCI Express: a device that is gone
/// reads as all ones and swallows writes; there is no error here. A transport
/// that knows why says so by means of its own.
///
/// Offsets are below 4 GiB and aligned to the access.
pub trait Registers {
    /// Reads the 32-bit property at `offset`.
    fn read32(&mut self, offset: u32) -> u32;

    /// Writes the 32-bit property (or doorbell) at `offset`.
    fn write32(&mut self, offset: u32, value: u32);

    /// Reads the 64-bit property at `offset`. By default two 32-bit reads,
    /// the low half first.
    fn read64(&mut self, offset: u32) -> u64 {
        let low = self.read32(offset);
        let high = self.read32(offset + 4);
        u64::from(high) << 32 | u64::from(low)
    }

    /// Writes the 64-bit property at `offset`. By default two 32-bit writes,
    /// the low half first.
    fn write64(&mut self, offset: u32, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.write32(offset, u32::from_le_bytes([a, b, c, d]));
        self.write32(offset + 4, u32::from_le_bytes([e, f, g, h]));
    }
}

impl<R: Registers + ?Sized> Registers for Box<R> {
    fn read32(&mut self, offset: u32) -> u32 {
        (**self).read32(offset)
    }

    fn write32(&mut self, offset: u32, value: u32) {
        (**self).write32(offset, value);
    }

    fn read64(&mut self, offset: u32) -> u64 {
        (**self).read64(offset)
    }

    fn write64(&mut self, offset: u32, value: u64) {
        (**self).write64(offset, value);
    }
}

/// Controller Capabilities (`NVMe Base 2.1 §3.1.4.1`).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Cap {
    /// Maximum queue entries supported, zero-based.
    pub mqes: u16,
    /// Contiguous queues required.
    pub cqr: bool,
    /// Arbitration mechanisms supported beside round robin.
    #[bits(2)]
    pub ams: u8,
    #[bits(5)]
    __: u8,
    /// Timeout for CSTS.RDY to follow CC.EN, in units of 500 ms.
    pub to: u8,
    /// Doorbell stride: 4 << DSTRD bytes.
    #[bits(4)]
    pub dstrd: u8,
    /// NVM subsystem reset supported.
    pub nssrs: bool,
    /// Command sets supported: bit 0 the NVM command set, bit 6 one or more
    /// I/O command sets, bit 7 none.
    pub css: u8,
    /// Boot partition support.
    pub bps: bool,
    /// Controller power scope.
    #[bits(2)]
    pub cps: u8,
    /// Minimum memory page size: 2^(12 + MPSMIN) bytes.
    #[bits(4)]
    pub mpsmin: u8,
    /// Maximum memory page size: 2^(12 + MPSMAX) bytes.
    #[bits(4)]
    pub mpsmax: u8,
    /// Persistent memory region supported.
    pub pmrs: bool,
    /// Controller memory buffer supported.
    pub cmbs: bool,
    /// NVM subsystem shutdown supported.
    pub nsss: bool,
    /// Controller ready modes supported.
    #[bits(2)]
    pub crms: u8,
    #[bits(3)]
    __: u8,
}

/// Version (`NVMe Base 2.1 §3.1.4.2`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Vs {
    /// Tertiary version.
    pub ter: u8,
    /// Minor version.
    pub mnr: u8,
    /// Major version.
    pub mjr: u16,
}

/// CC.SHN: what kind of shutdown the host announces (`NVMe Base 2.1 §3.1.4.5`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ShutdownNotification {
    /// None.
    None = 0,
    /// Normal shutdown.
    Normal = 1,
    /// Abrupt shutdown.
    Abrupt = 2,
    /// The reserved value.
    Reserved = 3,
}

impl ShutdownNotification {
    const fn into_bits(self) -> u8 {
        self as u8
    }

    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::None,
            1 => Self::Normal,
            2 => Self::Abrupt,
            _ => Self::Reserved,
        }
    }
}

/// CSTS.SHST: how far a shutdown is (`NVMe Base 2.1 §3.1.4.6`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ShutdownStatus {
    /// Normal operation.
    Normal = 0,
    /// Shutdown is being processed.
    Occurring = 1,
    /// Shutdown is complete.
    Complete = 2,
    /// The reserved value.
    Reserved = 3,
}

impl ShutdownStatus {
    const fn into_bits(self) -> u8 {
        self as u8
    }

    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Normal,
            1 => Self::Occurring,
            2 => Self::Complete,
            _ => Self::Reserved,
        }
    }
}

/// Controller Configuration (`NVMe Base 2.1 §3.1.4.5`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Cc {
    /// Enable.
    pub en: bool,
    #[bits(3)]
    __: u8,
    /// I/O command set selected: 0 NVM, 6 all, 7 admin only.
    #[bits(3)]
    pub css: u8,
    /// Memory page size: 2^(12 + MPS) bytes.
    #[bits(4)]
    pub mps: u8,
    /// Arbitration mechanism selected.
    #[bits(3)]
    pub ams: u8,
    /// Shutdown notification.
    #[bits(2)]
    pub shn: ShutdownNotification,
    /// I/O submission queue entry size: 2^IOSQES bytes.
    #[bits(4)]
    pub iosqes: u8,
    /// I/O completion queue entry size: 2^IOCQES bytes.
    #[bits(4)]
    pub iocqes: u8,
    /// Controller ready independent of media enable.
    pub crime: bool,
    #[bits(7)]
    __: u8,
}

/// Controller Status (`NVMe Base 2.1 §3.1.4.6`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Csts {
    /// Ready.
    pub rdy: bool,
    /// Controller fatal status.
    pub cfs: bool,
    /// Shutdown status.
    #[bits(2)]
    pub shst: ShutdownStatus,
    /// NVM subsystem reset occurred; write 1 to clear.
    pub nssro: bool,
    /// Processing paused.
    pub pp: bool,
    /// Shutdown type: 0 controller, 1 NVM subsystem.
    pub st: bool,
    #[bits(25)]
    __: u32,
}

/// Admin Queue Attributes (`NVMe Base 2.1 §3.1.4.8`); both sizes are
/// zero-based.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Aqa {
    /// Admin submission queue size, zero-based, at most 4095.
    #[bits(12)]
    pub asqs: u16,
    #[bits(4)]
    __: u8,
    /// Admin completion queue size, zero-based, at most 4095.
    #[bits(12)]
    pub acqs: u16,
    #[bits(4)]
    __: u8,
}

/// Which end of a queue a doorbell moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorbellKind {
    /// Submission queue y tail doorbell (`NVMe over PCIe 1.1 §3.1.2.1`).
    SubmissionTail,
    /// Completion queue y head doorbell (`NVMe over PCIe 1.1 §3.1.2.2`).
    CompletionHead,
}

/// A doorbell register: which one, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doorbell {
    /// The queue.
    pub queue: QueueId,
    /// Which end of it.
    pub kind: DoorbellKind,
}

impl Doorbell {
    /// The offset in bytes from [`DOORBELL_BASE`], where the stride is
    /// CAP.DSTRD = `dstrd`.
    #[must_use]
    pub fn offset(self, dstrd: u8) -> u32 {
        let index = u32::from(self.queue.0) * 2
            + match self.kind {
                DoorbellKind::SubmissionTail => 0,
                DoorbellKind::CompletionHead => 1,
            };
        index * (4 << u32::from(dstrd & 0xf))
    }

    /// The doorbell `offset` bytes behind [`DOORBELL_BASE`], where CAP.DSTRD is
    /// 0; none where `offset` is not that of a doorbell.
    #[must_use]
    pub fn at(offset: u32) -> Option<Self> {
        if !offset.is_multiple_of(4) {
            return None;
        }
        let kind = if offset.is_multiple_of(8) {
            DoorbellKind::SubmissionTail
        } else {
            DoorbellKind::CompletionHead
        };
        let queue = QueueId(u16::try_from(offset / 8).ok()?);
        Some(Self { queue, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_specification_puts_them() {
        let cap = Cap::new()
            .with_mqes(1023)
            .with_cqr(true)
            .with_to(20)
            .with_css(1)
            .with_mpsmax(4);
        assert_eq!(
            cap.into_bits(),
            1023 | 1 << 16 | 20 << 24 | 1 << 37 | 4 << 52
        );
        // What Linux writes to enable a controller: EN, 64- and 16-byte entries.
        let cc = Cc::from_bits(0x0046_0001);
        assert!(cc.en());
        assert_eq!((cc.iosqes(), cc.iocqes(), cc.mps()), (6, 4, 0));
        assert_eq!(
            Cc::from_bits(0x0046_4001).shn(),
            ShutdownNotification::Normal
        );
        assert_eq!(
            Csts::new().with_shst(ShutdownStatus::Complete).into_bits(),
            0x8
        );
        assert_eq!(
            Aqa::new().with_asqs(31).with_acqs(31).into_bits(),
            0x001f_001f
        );
    }

    #[test]
    fn doorbells_follow_the_stride() {
        let tail = Doorbell {
            queue: QueueId(3),
            kind: DoorbellKind::SubmissionTail,
        };
        let head = Doorbell {
            queue: QueueId(3),
            kind: DoorbellKind::CompletionHead,
        };
        assert_eq!((tail.offset(0), head.offset(0)), (24, 28));
        assert_eq!((tail.offset(1), head.offset(1)), (48, 56));
        assert_eq!(Doorbell::at(24), Some(tail));
        assert_eq!(Doorbell::at(28), Some(head));
        assert_eq!((Doorbell::at(26), Doorbell::at(u32::MAX - 3)), (None, None));
    }
}
