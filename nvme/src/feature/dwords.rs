//! The dwords of the features, and of the commands that manage queues.

use bitfield_struct::bitfield;

/// The Arbitration feature: CDW11 (`NVMe Base 2.1 §5.1.25.1.1`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ArbitrationConfig {
    /// Arbitration burst: 2^AB commands; 7 is no limit.
    #[bits(3)]
    pub ab: u8,
    #[bits(5)]
    __: u8,
    /// Low priority weight, zero-based.
    pub lpw: u8,
    /// Medium priority weight, zero-based.
    pub mpw: u8,
    /// High priority weight, zero-based.
    pub hpw: u8,
}

/// The Power Management feature: CDW11 (`NVMe Base 2.1 §5.1.25.1.2`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct PowerManagement {
    /// Power state.
    #[bits(5)]
    pub ps: u8,
    /// Workload hint.
    #[bits(3)]
    pub wh: u8,
    #[bits(24)]
    __: u32,
}

/// The Error Recovery feature: CDW11 (`NVM Command Set 1.1 §4.1.3.2`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ErrorRecovery {
    /// Time limited error recovery, 100 ms; 0 is no limit.
    pub tler: u16,
    /// Deallocated or unwritten logical block error enable.
    pub dulbe: bool,
    #[bits(15)]
    __: u16,
}

/// The Volatile Write Cache feature: CDW11 (`NVMe Base 2.1 §5.1.25.1.4`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct VolatileWriteCache {
    /// Write cache enable.
    pub wce: bool,
    #[bits(31)]
    __: u32,
}

/// The Interrupt Coalescing feature: CDW11
/// (`NVMe Base 2.1 §5.1.25.2.2`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct InterruptCoalescing {
    /// Aggregation threshold, completions, zero-based.
    pub thr: u8,
    /// Aggregation time, 100 us.
    pub time: u8,
    #[bits(16)]
    __: u16,
}

/// The Write Atomicity Normal feature: CDW11
/// (`NVM Command Set 1.1 §4.1.3.4`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct WriteAtomicity {
    /// Disable normal: AWUN and NAWUN need not be honoured.
    pub dn: bool,
    #[bits(31)]
    __: u32,
}

/// The Host Memory Buffer feature: CDW11 (`NVMe Base 2.1 §5.1.25.2.4`).
///
/// CDW12 is the size in memory pages, CDW13 and CDW14 the address of the
/// descriptor list, CDW15 how many descriptors it has.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct HostMemoryBufferCdw11 {
    /// Enable host memory.
    pub ehm: bool,
    /// Memory return: the buffer is the one from before.
    pub mr: bool,
    /// Host memory non-operational access restriction enable.
    pub hmnare: bool,
    #[bits(29)]
    __: u32,
}

/// The Host Controlled Thermal Management feature: CDW11
/// (`NVMe Base 2.1 §5.1.25.1.9`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct HostThermalManagement {
    /// Thermal management temperature 2, kelvin.
    pub tmt2: u16,
    /// Thermal management temperature 1, kelvin.
    pub tmt1: u16,
}

/// The Non-Operational Power State Config feature: CDW11
/// (`NVMe Base 2.1 §5.1.25.1.10`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct NonOperationalPower {
    /// Non-operational power state permissive mode enable.
    pub noppme: bool,
    #[bits(31)]
    __: u32,
}

/// The Predictable Latency Mode Window feature: CDW12
/// (`NVMe Base 2.1 §5.1.25.1.13`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct PredictableLatencyWindow {
    /// Window: 1 deterministic, 2 non-deterministic.
    #[bits(3)]
    pub wsel: u8,
    #[bits(29)]
    __: u32,
}

/// The LBA Status Information Report Interval feature: CDW11
/// (`NVM Command Set 1.1 §4.1.3.5`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct LbaStatusInterval {
    /// Report interval, 100 ms.
    pub lsiri: u16,
    /// Poll interval, 100 ms.
    pub lsipi: u16,
}

/// The Sanitize Config feature: CDW11 (`NVMe Base 2.1 §5.1.25.1.15`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct SanitizeConfig {
    /// No-Deallocate response mode: a warning, not an error.
    pub nodrm: bool,
    #[bits(31)]
    __: u32,
}

/// The Endurance Group Event Configuration feature: CDW11
/// (`NVMe Base 2.1 §5.1.25.1.16`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct EnduranceGroupEventConfig {
    /// Endurance group.
    pub endgid: u16,
    /// Critical warnings that are events, bit for bit as in the log.
    pub egcw: u8,
    #[bits(8)]
    __: u8,
}

/// The I/O Command Set Profile feature: CDW11
/// (`NVMe Base 2.1 §5.1.25.1.17`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CommandSetProfile {
    /// Index of the combination of command sets.
    #[bits(9)]
    pub iocsci: u16,
    #[bits(23)]
    __: u32,
}

/// The Spinup Control feature: CDW11 (`NVMe Base 2.1 §5.1.25.1.18`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct SpinupControl {
    /// Spinup enable.
    pub sue: bool,
    #[bits(31)]
    __: u32,
}

/// The Host Identifier feature: CDW11 (`NVMe Base 2.1 §5.1.25.1.28`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct HostIdentifierCdw11 {
    /// The identifier has 128 bits, not 64.
    pub exhid: bool,
    #[bits(31)]
    __: u32,
}

/// The Reservation Notification Mask feature: CDW11
/// (`NVMe Base 2.1 §5.1.25.1.29`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReservationNotificationMask {
    #[bits(1)]
    __: u8,
    /// Mask "registration preempted".
    pub regpre: bool,
    /// Mask "reservation released".
    pub resrel: bool,
    /// Mask "reservation preempted".
    pub respre: bool,
    #[bits(28)]
    __: u32,
}

/// The Reservation Persistence feature: CDW11
/// (`NVMe Base 2.1 §5.1.25.1.30`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReservationPersistence {
    /// Persist through power loss.
    pub ptpl: bool,
    #[bits(31)]
    __: u32,
}

/// The Namespace Write Protection Config feature: CDW11
/// (`NVMe Base 2.1 §5.1.25.1.31`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct WriteProtectionConfig {
    /// State; see [`WriteProtectionState`].
    #[bits(3)]
    pub wps: u8,
    #[bits(29)]
    __: u32,
}

/// A write protection state (`NVMe Base 2.1 §5.1.25.1.31`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WriteProtectionState {
    /// Not write protected.
    #[default]
    None = 0,
    /// Write protected.
    Protected = 1,
    /// Write protected until the next power cycle.
    UntilPowerCycle = 2,
    /// Write protected for good.
    Permanent = 3,
}

impl WriteProtectionState {
    /// The state with this code; none where it is reserved.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::None,
            1 => Self::Protected,
            2 => Self::UntilPowerCycle,
            3 => Self::Permanent,
            _ => return None,
        })
    }
}

/// The Boot Partition Write Protection Config feature: CDW11
/// (`NVMe Base 2.1 §5.1.25.1.32`).
///
/// States: 0 no change, 1 unlocked, 2 locked, 3 locked until power cycle, 4
/// controlled by RPMB.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct BootPartitionWriteProtection {
    /// State of boot partition 0.
    #[bits(3)]
    pub bp0wps: u8,
    /// State of boot partition 1.
    #[bits(3)]
    pub bp1wps: u8,
    #[bits(26)]
    __: u32,
}

/// CDW10 of Create I/O Submission Queue and Create I/O Completion Queue
/// (`NVMe Base 2.1 §5.2.1`, `§5.2.2`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CreateQueueCdw10 {
    /// Queue identifier.
    pub qid: u16,
    /// Queue size, zero-based.
    pub qsize: u16,
}

/// CDW11 of Create I/O Completion Queue (`NVMe Base 2.1 §5.2.1`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CreateCqCdw11 {
    /// Physically contiguous.
    pub pc: bool,
    /// Interrupts enabled.
    pub ien: bool,
    #[bits(14)]
    __: u16,
    /// Interrupt vector.
    pub iv: u16,
}

/// CDW11 of Create I/O Submission Queue (`NVMe Base 2.1 §5.2.2`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CreateSqCdw11 {
    /// Physically contiguous.
    pub pc: bool,
    /// Priority; 0 urgent, 1 high, 2 medium, 3 low.
    #[bits(2)]
    pub qprio: u8,
    #[bits(13)]
    __: u16,
    /// The completion queue that takes this queue's completions.
    pub cqid: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_specification_puts_them() {
        assert_eq!(ErrorRecovery::new().with_dulbe(true).into_bits(), 1 << 16);
        assert_eq!(
            HostThermalManagement::new().with_tmt1(300).into_bits(),
            300 << 16
        );
        assert_eq!(
            ReservationNotificationMask::new()
                .with_respre(true)
                .into_bits(),
            1 << 3
        );
        assert_eq!(
            BootPartitionWriteProtection::new()
                .with_bp1wps(2)
                .into_bits(),
            2 << 3
        );
        assert_eq!(ArbitrationConfig::new().with_hpw(1).into_bits(), 1 << 24);
    }
}
