//! PCI configuration space: what the function looks like to a bus driver, and
//! what the bus driver has it do.
//!
//! Every byte has masks for the bits that can be written, that ones clear, and
//! that survive a reset; `layout` has them, register by register.
//!
//! Bus Master Enable holds back all access to memory, messages included, as it
//! does in any function, until a client sets it: a client that drives the
//! function itself has to. Memory Space Enable is taken less strictly: some
//! clients, SPDK's among them, reach the registers by the region and never say
//! that they are at an address. So the registers answer until the bit was set
//! once, and follow it from then on.

mod layout;

use self::layout::{Build, Register};
use crate::PciIdentity;

/// Size of the configuration space of a PCI Express function, bytes.
pub(super) const BYTES: usize = 4096;

/// Bits of the command register (`PCI Express Base 5.0 §7.5.1.1.3`).
const MEMORY_SPACE: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;
const INTERRUPT_DISABLE: u16 = 1 << 10;
/// Interrupt Status, in the status register.
const INTERRUPT_STATUS: u8 = 1 << 3;
/// The power states that there are: D0, and D3hot.
const POWER_STATE: u8 = 0b11;
const D0: u8 = 0b00;
const D3HOT: u8 = 0b11;
/// In the high byte of Device Control (`PCI Express Base 5.0 §7.5.3.4`).
const INITIATE_FLR: u8 = 0x80;
/// Device Status: a non-fatal error, and an unsupported request.
const NON_FATAL: u8 = 1 << 1;
const UNSUPPORTED_REQUEST: u8 = 1 << 3;
/// Unsupported request, among the uncorrectable errors.
const UNCORRECTABLE_UR: u8 = 20;

/// What a write to configuration space has brought about beside the change of
/// the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// The guest asks for a function level reset.
    FunctionReset,
}

/// How the function is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// Function level reset: what belongs to the link stays.
    Function,
    /// A reset of the bus, or one that may have been.
    Bus,
}

/// What configuration space has the function do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Control {
    /// The function may access memory.
    pub(super) bus_master: bool,
    /// The BARs are decoded.
    pub(super) decodes: bool,
    /// The pin must not be asserted.
    pub(super) pin_disabled: bool,
    /// In D0.
    pub(super) powered: bool,
    /// MSI vectors that are masked.
    pub(super) msi_mask: u32,
}

impl Control {
    /// Whether the function may access memory, all said.
    pub(super) const fn masters(self) -> bool {
        self.bus_master && self.powered
    }

    /// Whether registers and memory behind the BARs answer.
    pub(super) const fn answers(self) -> bool {
        self.decodes && self.powered
    }
}

/// What tells one function's configuration space from another's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) identity: PciIdentity,
    /// The device serial number, an EUI-64.
    pub(super) serial: u64,
    pub(super) vectors: u16,
    /// Size of the controller memory buffer, a power of two; 0 for none.
    pub(super) cmb_bytes: u64,
}

/// A byte.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    value: u8,
    initial: u8,
    writable: u8,
    clears: u8,
    sticky: u8,
    kept: u8,
}

/// Configuration space.
#[derive(Debug)]
pub(super) struct ConfigSpace {
    cells: Vec<Cell>,
    /// Whether Memory Space was enabled since the last reset.
    was_decoded: bool,
}

/// Puts a space together from registers.
struct Builder {
    cells: Vec<Cell>,
    /// The byte that points to the next capability.
    link: usize,
    /// The dword that points to the next extended one.
    extended_link: Option<usize>,
}

impl Builder {
    fn cell(&mut self, at: usize, change: impl FnOnce(&mut Cell)) {
        if let Some(cell) = self.cells.get_mut(at) {
            change(cell);
        }
    }
}

impl Build for Builder {
    fn put(&mut self, base: usize, registers: &[Register]) {
        for register in registers {
            let start = base.saturating_add(register.at);
            for index in 0..register.bytes {
                let byte = |field: u32| field.to_le_bytes().get(index).copied().unwrap_or(0);
                self.cell(start.saturating_add(index), |cell| {
                    *cell = Cell {
                        value: byte(register.value),
                        initial: byte(register.value),
                        writable: byte(register.writable),
                        clears: byte(register.clears),
                        sticky: byte(register.sticky),
                        kept: byte(register.kept),
                    };
                });
            }
        }
    }

    fn capability(&mut self, id: u8, base: usize, registers: &[Register]) {
        let [at, ..] = base.to_le_bytes();
        let link = std::mem::replace(&mut self.link, base.saturating_add(1));
        for (place, value) in [(link, at), (base, id)] {
            self.cell(place, |cell| (cell.value, cell.initial) = (value, value));
        }
        self.put(base, registers);
    }

    fn extended(&mut self, id: u16, version: u8, base: usize, registers: &[Register]) {
        let [id_low, id_high] = id.to_le_bytes();
        let mut bytes = vec![(base, id_low), (base.saturating_add(1), id_high)];
        bytes.push((base.saturating_add(2), version));
        if let Some(link) = self.extended_link.replace(base) {
            // Bits 31:20 of the previous header; capabilities are at multiples
            // of 16, so that the low four bits of the address are zero.
            let [low, high, ..] = (base << 4).to_le_bytes();
            let last = self.cells.get(link.saturating_add(2));
            let version = last.map_or(0, |cell| cell.value);
            bytes.push((link.saturating_add(2), version | low));
            bytes.push((link.saturating_add(3), high));
        }
        for (place, value) in bytes {
            self.cell(place, |cell| (cell.value, cell.initial) = (value, value));
        }
        self.put(base, registers);
    }
}

impl ConfigSpace {
    /// The space of an NVMe controller of that shape.
    pub(super) fn new(shape: Shape) -> Self {
        let mut space = Builder {
            cells: vec![Cell::default(); BYTES],
            link: layout::CAPABILITIES,
            extended_link: None,
        };
        layout::build(&mut space, shape);
        Self {
            cells: space.cells,
            was_decoded: false,
        }
    }

    /// Back to what it was at power-on, but for what such a reset leaves alone.
    pub(super) fn reset(&mut self, reset: Reset) {
        for cell in &mut self.cells {
            let stays = match reset {
                Reset::Function => cell.sticky | cell.kept,
                Reset::Bus => cell.sticky,
            };
            cell.value = cell.value & stays | cell.initial & !stays;
        }
        self.was_decoded = false;
    }

    fn byte(&self, at: usize) -> u8 {
        self.cells.get(at).map_or(0, |cell| cell.value)
    }

    fn word(&self, at: usize) -> u16 {
        let mut bytes = [0; 2];
        self.read(at, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    fn dword(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        for (cell, byte) in self.cells.iter_mut().skip(at).zip(bytes) {
            cell.value = *byte;
        }
    }

    fn set_bits(&mut self, at: usize, bits: u8) {
        let value = self.byte(at) | bits;
        self.set(at, &[value]);
    }

    /// What it has the function do.
    pub(super) fn control(&self) -> Control {
        let command = self.word(layout::COMMAND);
        Control {
            bus_master: command & BUS_MASTER != 0,
            decodes: !self.was_decoded || command & MEMORY_SPACE != 0,
            pin_disabled: command & INTERRUPT_DISABLE != 0,
            powered: self.byte(layout::POWER) & POWER_STATE == D0,
            msi_mask: self.dword(layout::MSI_MASK),
        }
    }

    /// Reads `to.len()` bytes from `offset` on; zeroes where there is nothing.
    pub(super) fn read(&self, offset: usize, to: &mut [u8]) {
        to.fill(0);
        for (to, cell) in to.iter_mut().zip(self.cells.iter().skip(offset)) {
            *to = cell.value;
        }
    }

    /// Writes, as far as the bits can be written.
    pub(super) fn write(&mut self, offset: usize, from: &[u8]) -> Effect {
        let mut effect = Effect::None;
        let power = self.byte(layout::POWER);
        for ((at, cell), new) in self.cells.iter_mut().enumerate().skip(offset).zip(from) {
            let value = cell.value & !cell.writable | new & cell.writable;
            cell.value = value & !(new & cell.clears);
            // The bit itself always reads as zero.
            if at == layout::DEVICE_CONTROL.saturating_add(1) && new & INITIATE_FLR != 0 {
                effect = Effect::FunctionReset;
            }
        }
        // A state that is not there is not entered (`PCI Express Base 5.0 §7.5.2.2`).
        if !matches!(self.byte(layout::POWER) & POWER_STATE, D0 | D3HOT) {
            self.set(layout::POWER, &[power]);
        }
        self.was_decoded |= self.word(layout::COMMAND) & MEMORY_SPACE != 0;
        effect
    }

    /// Takes over what interrupts wait, for whoever reads it next: whether the
    /// function wants its pin asserted, and the messages that are pending.
    pub(super) fn note_interrupts(&mut self, pin: bool, messages: u32) {
        let rest = self.byte(layout::STATUS) & !INTERRUPT_STATUS;
        let status = if pin { INTERRUPT_STATUS } else { 0 };
        self.set(layout::STATUS, &[rest | status]);
        self.set(layout::MSI_PENDING, &messages.to_le_bytes());
    }

    /// Notes an access to a BAR that nobody answered
    /// (`PCI Express Base 5.0 §6.2.3.1`), `offset` bytes into it.
    pub(super) fn note_unsupported(&mut self, write: bool, bar: u32, offset: u32) {
        self.set_bits(layout::DEVICE_STATUS, NON_FATAL | UNSUPPORTED_REQUEST);
        let bit = 1_u32 << UNCORRECTABLE_UR;
        let status = self.dword(layout::UNCORRECTABLE_STATUS);
        self.set(layout::UNCORRECTABLE_STATUS, &(status | bit).to_le_bytes());
        // The log holds the first error, until that is cleared.
        if status != 0 || self.dword(layout::UNCORRECTABLE_MASK) & bit != 0 {
            return;
        }
        self.set(layout::ERROR_CONTROL, &[UNCORRECTABLE_UR]);
        // A request with an address of 32 bits for one dword, all of it.
        let kind = if write { 0x4000_0001 } else { 0x0000_0001_u32 };
        let register = usize::try_from(bar).unwrap_or(0).saturating_mul(4);
        let base = self.dword(layout::BAR0.saturating_add(register)) & !0xf;
        let address = base.wrapping_add(offset) & !0b11;
        let log = [kind, 0x0000_000f, address, 0];
        for (at, dword) in (layout::HEADER_LOG..).step_by(4).zip(log) {
            self.set(at, &dword.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
