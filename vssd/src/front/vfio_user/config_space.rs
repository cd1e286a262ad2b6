//! PCI configuration space: what the function looks like to a bus driver.

use super::bar;
use crate::PciIdentity;

/// Size of the configuration space of a PCI Express function, bytes.
pub(super) const BYTES: usize = 4096;

/// The part that has anything in it: the header and the capabilities. What lies
/// behind reads as zero; there is no extended capability.
const USED: usize = 256;

/// Where the capabilities stand.
const PM: usize = 0x40;
const MSIX: usize = 0x50;
const EXPRESS: usize = 0x60;

/// Device Control, in the PCI Express capability, and the bit in it that resets
/// the function (`PCI Express Base 5.0 §7.5.3.4`).
const DEVICE_CONTROL: usize = EXPRESS + 0x08;
const INITIATE_FLR: u8 = 0x80;

/// What a write to configuration space has brought about beside the change of
/// the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// The guest asks for a function level reset.
    FunctionReset,
}

/// Configuration space: bytes, and for each byte the bits that can be written.
#[derive(Debug)]
pub(super) struct ConfigSpace {
    initial: [u8; USED],
    bytes: [u8; USED],
    writable: [u8; USED],
}

/// Puts a space together from fields.
struct Builder {
    bytes: [u8; USED],
    writable: [u8; USED],
}

impl Builder {
    fn put(&mut self, offset: usize, value: &[u8]) {
        copy(&mut self.bytes, offset, value);
    }

    fn writable(&mut self, offset: usize, mask: &[u8]) {
        copy(&mut self.writable, offset, mask);
    }
}

fn copy(to: &mut [u8], offset: usize, from: &[u8]) {
    for (to, from) in to.iter_mut().skip(offset).zip(from) {
        *to = *from;
    }
}

impl ConfigSpace {
    /// The space of an NVMe controller with that identity and that many MSI-X
    /// vectors.
    pub(super) fn new(identity: PciIdentity, vectors: u16) -> Self {
        let mut space = Builder {
            bytes: [0; USED],
            writable: [0; USED],
        };
        header(&mut space, identity);
        power_management(&mut space);
        msix(&mut space, vectors);
        express(&mut space);
        Self {
            initial: space.bytes,
            bytes: space.bytes,
            writable: space.writable,
        }
    }

    /// Back to what it was at power-on.
    pub(super) fn reset(&mut self) {
        self.bytes = self.initial;
    }

    /// Reads `to.len()` bytes from `offset` on; zeroes where there is nothing.
    pub(super) fn read(&self, offset: usize, to: &mut [u8]) {
        to.fill(0);
        copy(to, 0, self.bytes.get(offset..).unwrap_or_default());
    }

    /// Writes, as far as the bits can be written.
    pub(super) fn write(&mut self, offset: usize, from: &[u8]) -> Effect {
        let mut effect = Effect::None;
        let cells = self.bytes.iter_mut().zip(&self.writable).enumerate();
        for ((at, (cell, writable)), new) in cells.skip(offset).zip(from) {
            *cell = *cell & !writable | new & writable;
            // The bit itself always reads as zero.
            if at == DEVICE_CONTROL + 1 && new & INITIATE_FLR != 0 {
                effect = Effect::FunctionReset;
            }
        }
        effect
    }
}

/// The type 0 header (`PCI Express Base 5.0 §7.5.1`).
fn header(space: &mut Builder, identity: PciIdentity) {
    space.put(0x00, &identity.vendor.to_le_bytes());
    space.put(0x02, &identity.device.to_le_bytes());
    // Command: memory space, bus master, parity error response, SERR#, interrupt
    // disable. Nothing in the function hangs on them.
    space.writable(0x04, &[0x46, 0x05]);
    // Status: there is a list of capabilities.
    space.put(0x06, &[0x10, 0x00]);
    // Revision; class 01 (storage), 08 (non-volatile memory), 02 (NVMe).
    space.put(0x08, &[identity.revision, 0x02, 0x08, 0x01]);
    // Cache Line Size is there for old software, and means nothing.
    space.writable(0x0c, &[0xff]);
    // BAR0: 64-bit memory, not prefetchable. The address bits below its size
    // are fixed, which is how software finds the size.
    space.put(0x10, &[0x04]);
    let address = !u64::from(bar::BYTES - 1);
    space.writable(0x10, &address.to_le_bytes());
    space.put(0x2c, &identity.subsystem_vendor.to_le_bytes());
    space.put(0x2e, &identity.subsystem.to_le_bytes());
    space.put(0x34, &[0x40]);
    // Interrupt Line is a scratch byte for firmware; Interrupt Pin is 0: none.
    space.writable(0x3c, &[0xff]);
}

/// Power management (`PCI Express Base 5.0 §7.5.2`): D0 and D3hot, and no reset
/// on the way back.
fn power_management(space: &mut Builder) {
    space.put(PM, &[0x01, 0x50, 0x03, 0x00, 0x08, 0x00]);
    space.writable(PM + 4, &[0x03]);
}

/// MSI-X (`PCI Express Base 5.0 §7.7.2`): enable and function mask can be
/// written.
fn msix(space: &mut Builder, vectors: u16) {
    space.put(MSIX, &[0x11, 0x60]);
    let last = vectors.saturating_sub(1) & 0x07ff;
    space.put(MSIX + 2, &last.to_le_bytes());
    space.writable(MSIX + 2, &[0x00, 0xc0]);
    // Both are in BAR0, which is indicator 0.
    space.put(MSIX + 4, &bar::MSIX_TABLE.to_le_bytes());
    space.put(MSIX + 8, &bar::MSIX_PENDING.to_le_bytes());
}

/// PCI Express, version 2, endpoint (`PCI Express Base 5.0 §7.5.3`), at 8 GT/s
/// on four lanes.
fn express(space: &mut Builder) {
    space.put(EXPRESS, &[0x10, 0x00, 0x02, 0x00]);
    // Device Capabilities: payloads of 256 bytes, role-based error reporting,
    // function level reset.
    space.put(EXPRESS + 0x04, &0x1000_8001_u32.to_le_bytes());
    // Device Control, but the reset bit; relaxed ordering, no snoop and read
    // requests of 512 bytes to start with.
    space.put(DEVICE_CONTROL, &0x2810_u16.to_le_bytes());
    space.writable(DEVICE_CONTROL, &[0xff, 0x7f]);
    // Link Capabilities and Link Status: 8 GT/s, x4.
    space.put(EXPRESS + 0x0c, &0x0000_0043_u32.to_le_bytes());
    space.writable(EXPRESS + 0x10, &[0xc3, 0x01]);
    space.put(EXPRESS + 0x12, &0x0043_u16.to_le_bytes());
    // Device Capabilities 2: completion time-outs can be disabled.
    space.put(EXPRESS + 0x24, &0x0000_0010_u32.to_le_bytes());
    space.writable(EXPRESS + 0x28, &[0x1f]);
    // Link Capabilities 2: 2.5, 5 and 8 GT/s; Link Control 2: 8 GT/s.
    space.put(EXPRESS + 0x2c, &0x0000_000e_u32.to_le_bytes());
    space.put(EXPRESS + 0x30, &[0x03]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        ConfigSpace::new(PciIdentity::QEMU, 65)
    }

    fn word(space: &ConfigSpace, offset: usize) -> u16 {
        let mut bytes = [0; 2];
        space.read(offset, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    fn dword(space: &ConfigSpace, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        space.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn a_driver_finds_an_nvme_controller() {
        let space = space();
        assert_eq!((word(&space, 0), word(&space, 2)), (0x1b36, 0x0010));
        assert_eq!(dword(&space, 8), 0x0108_0202);
        assert_eq!(dword(&space, 0x3c), 0);
    }

    #[test]
    fn the_list_of_capabilities_ends_and_has_all_of_them() {
        let space = space();
        let mut at = usize::from(word(&space, 0x34) & 0xff);
        let mut found = Vec::new();
        while at != 0 {
            assert!(at >= 0x40 && found.len() < 10);
            let [id, next] = word(&space, at).to_le_bytes();
            found.push(id);
            at = usize::from(next);
        }
        assert_eq!(found, [0x01, 0x11, 0x10]);
        assert_eq!(word(&space, MSIX + 2), 64);
    }

    #[test]
    fn the_bar_shows_its_size() {
        let mut space = space();
        space.write(0x10, &[0xff; 8]);
        let size = !(u64::from(dword(&space, 0x14)) << 32 | u64::from(dword(&space, 0x10) & !0xf));
        assert_eq!(size + 1, u64::from(bar::BYTES));
        assert_eq!(dword(&space, 0x10) & 0xf, 4);
        // The other registers have no size: they are not there.
        space.write(0x18, &[0xff; 16]);
        assert_eq!(dword(&space, 0x18), 0);
    }

    #[test]
    fn what_is_read_only_stays() {
        let mut space = space();
        let before = space.bytes;
        for offset in [0, 2, 8, 0x2c, 0x34, 0x3d, PM, MSIX, EXPRESS, EXPRESS + 4] {
            space.write(offset, &[0xff]);
        }
        assert_eq!(space.bytes, before);
        space.write(4, &[0xff, 0xff, 0xff, 0xff]);
        assert_eq!(dword(&space, 4), 0x0010_0546);
        space.reset();
        assert_eq!(space.bytes, before);
    }

    #[test]
    fn only_the_reset_bit_resets() {
        let mut space = space();
        let control = word(&space, DEVICE_CONTROL);
        assert_eq!(space.write(DEVICE_CONTROL, &[0x10, 0x28]), Effect::None);
        let flr = (control | 0x8000).to_le_bytes();
        assert_eq!(space.write(DEVICE_CONTROL, &flr), Effect::FunctionReset);
        assert_eq!(word(&space, DEVICE_CONTROL), control);
        // As part of a wider write, and as a lone byte.
        let wide = [0, 0, 0, 0, 0, 0x80, 0, 0];
        assert_eq!(
            space.write(DEVICE_CONTROL - 4, &wide),
            Effect::FunctionReset
        );
        assert_eq!(
            space.write(DEVICE_CONTROL + 1, &[0x80]),
            Effect::FunctionReset
        );
    }

    #[test]
    fn the_edges_are_quiet() {
        let mut space = space();
        let mut bytes = [0xaa; 8];
        space.read(BYTES - 4, &mut bytes);
        assert_eq!(bytes, [0; 8]);
        assert_eq!(space.write(USED - 2, &[0xff; 8]), Effect::None);
        assert_eq!(space.write(usize::MAX, &[0xff; 8]), Effect::None);
        space.read(0x3c, &mut bytes[..0]);
    }
}
