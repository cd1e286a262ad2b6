//! The registers in configuration space: where each stands, what is in it at
//! power-on, and which of its bits do what.

use super::Shape;
use crate::front::vfio_user::bar;
use crate::front::vfio_user::irqs::msi_messages;

/// Where the capabilities stand.
pub(super) const PM: usize = 0x40;
pub(super) const MSI: usize = 0x50;
pub(super) const MSIX: usize = 0x70;
pub(super) const EXPRESS: usize = 0x80;
/// Where the extended capabilities stand.
pub(super) const AER: usize = 0x100;
pub(super) const SERIAL: usize = 0x150;
pub(super) const LTR: usize = 0x160;
pub(super) const SECONDARY: usize = 0x170;

/// The capability identifiers (`PCI Express Base 5.0 §7`).
const ID_PM: u8 = 0x01;
const ID_MSI: u8 = 0x05;
const ID_MSIX: u8 = 0x11;
const ID_EXPRESS: u8 = 0x10;
const ID_AER: u16 = 0x0001;
const ID_SERIAL: u16 = 0x0003;
const ID_LTR: u16 = 0x0018;
const ID_SECONDARY: u16 = 0x0019;

/// Registers that have more than values in them.
pub(super) const COMMAND: usize = 0x04;
pub(super) const STATUS: usize = 0x06;
pub(super) const BAR0: usize = 0x10;
pub(super) const CAPABILITIES: usize = 0x34;
pub(super) const POWER: usize = PM + 0x04;
pub(super) const MSI_MASK: usize = MSI + 0x10;
pub(super) const MSI_PENDING: usize = MSI + 0x14;
pub(super) const DEVICE_CONTROL: usize = EXPRESS + 0x08;
pub(super) const DEVICE_STATUS: usize = EXPRESS + 0x0a;
pub(super) const UNCORRECTABLE_STATUS: usize = AER + 0x04;
pub(super) const UNCORRECTABLE_MASK: usize = AER + 0x08;
pub(super) const ERROR_CONTROL: usize = AER + 0x18;
pub(super) const HEADER_LOG: usize = AER + 0x1c;

/// The errors that an endpoint without ECRC and ACS can have: data link
/// protocol, poisoned TLP, flow control, completion time-out, completer abort,
/// unexpected completion, receiver overflow, malformed TLP, unsupported
/// request, internal (`PCI Express Base 5.0 §7.8.4.2`).
const UNCORRECTABLE: u32 = 0x0057_f010;
/// Those of them that are fatal at first.
const FATAL: u32 = 0x0046_2010;
/// Internal errors are masked at first.
const UNCORRECTABLE_MASKED: u32 = 0x0040_0000;
/// Receiver error, bad TLP, bad DLLP, replay rollover and time-out, advisory
/// non-fatal error, internal error (`PCI Express Base 5.0 §7.8.4.5`).
const CORRECTABLE: u32 = 0x0000_71c1;
/// The last two are masked at first.
const CORRECTABLE_MASKED: u32 = 0x0000_6000;

/// A register: at first read-only, and zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register {
    pub(super) at: usize,
    pub(super) bytes: usize,
    /// What is in it at power-on.
    pub(super) value: u32,
    /// Bits that take what is written.
    pub(super) writable: u32,
    /// Bits that writing 1 clears.
    pub(super) clears: u32,
    /// Bits that no reset changes.
    pub(super) sticky: u32,
    /// Bits that a function level reset does not change, but others do.
    pub(super) kept: u32,
}

impl Register {
    /// A register of so many bytes.
    const fn new(at: usize, bytes: usize) -> Self {
        Self {
            at,
            bytes,
            value: 0,
            writable: 0,
            clears: 0,
            sticky: 0,
            kept: 0,
        }
    }

    const fn is(mut self, value: u32) -> Self {
        self.value = value;
        self
    }

    const fn rw(mut self, bits: u32) -> Self {
        self.writable = bits;
        self
    }

    const fn w1c(mut self, bits: u32) -> Self {
        self.clears = bits;
        self
    }

    const fn sticky(mut self) -> Self {
        self.sticky = u32::MAX;
        self
    }

    const fn kept(mut self, bits: u32) -> Self {
        self.kept = bits;
        self
    }
}

const fn byte(at: usize) -> Register {
    Register::new(at, 1)
}

const fn word(at: usize) -> Register {
    Register::new(at, 2)
}

const fn dword(at: usize) -> Register {
    Register::new(at, 4)
}

/// Both halves of a 64-bit number.
const fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

/// What a builder makes a space of.
pub(super) trait Build {
    /// Puts registers at `base`.
    fn put(&mut self, base: usize, registers: &[Register]);
    /// Puts a capability at the end of the list.
    fn capability(&mut self, id: u8, base: usize, registers: &[Register]);
    /// Puts an extended capability at the end of their list.
    fn extended(&mut self, id: u16, version: u8, base: usize, registers: &[Register]);
}

/// Puts everything in.
pub(super) fn build(space: &mut impl Build, shape: Shape) {
    header(space, shape);
    power_management(space);
    msi(space, shape.vectors);
    msix(space, shape.vectors);
    express(space);
    error_reporting(space);
    let [low, high] = halves(shape.serial);
    let serial = [dword(0x04).is(low), dword(0x08).is(high)];
    space.extended(ID_SERIAL, 1, SERIAL, &serial);
    latency(space);
    secondary(space);
}

/// The type 0 header (`PCI Express Base 5.0 §7.5.1`).
fn header(space: &mut impl Build, shape: Shape) {
    let Shape { identity, .. } = shape;
    let bar0 = !(bar::BYTES.saturating_sub(1));
    space.put(
        0,
        &[
            word(0x00).is(identity.vendor.into()),
            word(0x02).is(identity.device.into()),
            // Memory space, bus master, parity error response, SERR#, interrupt
            // disable.
            word(COMMAND).rw(0x0546),
            // There is a list of capabilities. Master data parity error, the
            // target and master aborts, system error, parity error.
            word(STATUS).is(0x0010).w1c(0xf900),
            byte(0x08).is(identity.revision.into()),
            // Class 01 (storage), 08 (non-volatile memory), 02 (NVMe).
            byte(0x09).is(0x02),
            word(0x0a).is(0x0108),
            // Cache Line Size is there for old software, and means nothing.
            byte(0x0c).rw(0xff),
            // BAR0: 64-bit memory, not prefetchable. The address bits below its
            // size are fixed, which is how software finds the size.
            dword(BAR0).is(0x4).rw(bar0),
            dword(0x14).rw(u32::MAX),
            word(0x2c).is(identity.subsystem_vendor.into()),
            word(0x2e).is(identity.subsystem.into()),
            // Interrupt Line is a scratch byte for firmware; the pin is INTA.
            byte(0x3c).rw(0xff),
            byte(0x3d).is(1),
        ],
    );
    if let Some(last) = shape.cmb_bytes.checked_sub(1) {
        // BAR4: the controller memory buffer, 64-bit memory, prefetchable.
        let [low, high] = halves(!last);
        space.put(0x20, &[dword(0).is(0xc).rw(low), dword(4).rw(high)]);
    }
}

/// Power management (`PCI Express Base 5.0 §7.5.2`): D0 and D3hot, and no reset
/// on the way back.
fn power_management(space: &mut impl Build) {
    let registers = [word(0x02).is(0x0003), word(0x04).is(0x0008).rw(0x0003)];
    space.capability(ID_PM, PM, &registers);
}

/// MSI (`PCI Express Base 5.0 §7.7.1`): 64-bit addresses, and a mask for each
/// vector.
fn msi(space: &mut impl Build, vectors: u16) {
    let messages = msi_messages(vectors);
    let bits = u32::MAX
        .checked_shr(32_u32.saturating_sub(messages.into()))
        .unwrap_or(0);
    let capable = messages.trailing_zeros() << 1;
    space.capability(
        ID_MSI,
        MSI,
        &[
            // Enable, and how many messages of those asked for are granted.
            word(0x02).is(0x0180 | capable).rw(0x0071),
            dword(0x04).rw(!0b11),
            dword(0x08).rw(u32::MAX),
            word(0x0c).rw(0xffff),
            dword(0x10).rw(bits),
            dword(0x14),
        ],
    );
}

/// MSI-X (`PCI Express Base 5.0 §7.7.2`): enable and function mask can be
/// written.
fn msix(space: &mut impl Build, vectors: u16) {
    let last = u32::from(vectors.saturating_sub(1)) & 0x07ff;
    space.capability(
        ID_MSIX,
        MSIX,
        &[
            word(0x02).is(last).rw(0xc000),
            // Both are in BAR0, which is indicator 0.
            dword(0x04).is(bar::MSIX_TABLE),
            dword(0x08).is(bar::MSIX_PENDING),
        ],
    );
}

/// PCI Express, version 2, endpoint (`PCI Express Base 5.0 §7.5.3`), at 8 GT/s
/// on four lanes.
fn express(space: &mut impl Build) {
    space.capability(
        ID_EXPRESS,
        EXPRESS,
        &[
            word(0x02).is(0x0002),
            // Device Capabilities: payloads of 256 bytes, extended tags,
            // role-based error reporting, function level reset.
            dword(0x04).is(0x1000_8021),
            // Device Control: relaxed ordering, no snoop and read requests of
            // 512 bytes to start with. The reset bit reads as zero.
            word(0x08).is(0x2810).rw(0x79ff).kept(0x00e0),
            // Device Status: what was detected.
            word(0x0a).w1c(0x000f),
            // Link Capabilities: 8 GT/s, x4; L0s and L1 within 512 ns and 64 us;
            // complies with the rules on ASPM being optional.
            dword(0x0c).is(0x0043_3c43),
            // Link Control: ASPM, completion boundary, common clock, extended
            // synch, no autonomous width. Link disable and retrain are not for
            // endpoints, and read as zero.
            word(0x10).rw(0x02cb).kept(0x02cb),
            // Link Status: 8 GT/s, x4, the slot's clock.
            word(0x12).is(0x1043),
            // Device Capabilities 2: all ranges of completion time-outs, which
            // can be disabled, and latency tolerance reporting.
            dword(0x24).is(0x0000_081f),
            word(0x28).rw(0x041f),
            // Link Capabilities 2: 2.5, 5 and 8 GT/s.
            dword(0x2c).is(0x0000_000e),
            // Link Control 2, all but the de-emphasis of downstream ports.
            word(0x30).is(0x0003).rw(0xffbf).sticky(),
            // Link Status 2: equalized; whether it is to be done again.
            word(0x32).is(0x001e).w1c(0x0020).kept(0x0020),
        ],
    );
}

/// Advanced error reporting, version 2 (`PCI Express Base 5.0 §7.8.4`).
fn error_reporting(space: &mut impl Build) {
    space.extended(
        ID_AER,
        2,
        AER,
        &[
            dword(0x04).w1c(UNCORRECTABLE).sticky(),
            dword(0x08)
                .is(UNCORRECTABLE_MASKED)
                .rw(UNCORRECTABLE)
                .sticky(),
            dword(0x0c).is(FATAL).rw(UNCORRECTABLE).sticky(),
            dword(0x10).w1c(CORRECTABLE).sticky(),
            dword(0x14).is(CORRECTABLE_MASKED).rw(CORRECTABLE).sticky(),
            // The first error, and the head of the request that had it.
            dword(0x18).sticky(),
            dword(0x1c).sticky(),
            dword(0x20).sticky(),
            dword(0x24).sticky(),
            dword(0x28).sticky(),
        ],
    );
}

/// Latency tolerance reporting (`PCI Express Base 5.0 §7.8.2`): values and
/// scales.
fn latency(space: &mut impl Build) {
    let registers = [
        word(0x04).rw(0x1fff).kept(0x1fff),
        word(0x06).rw(0x1fff).kept(0x1fff),
    ];
    space.extended(ID_LTR, 1, LTR, &registers);
}

/// Secondary PCI Express (`PCI Express Base 5.0 §7.7.3`), which a link at
/// 8 GT/s has: errors of four lanes, and the presets of their equalization.
fn secondary(space: &mut impl Build) {
    space.extended(
        ID_SECONDARY,
        1,
        SECONDARY,
        &[
            dword(0x04),
            dword(0x08).w1c(0x0000_000f).sticky(),
            dword(0x0c).is(0x7f00_7f00),
            dword(0x10).is(0x7f00_7f00),
        ],
    );
}
