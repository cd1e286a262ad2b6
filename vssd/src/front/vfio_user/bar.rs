//! The BARs: BAR0, and which part of it an access reaches, and BAR4, which is
//! the controller memory buffer if there is one.

use super::irqs::Irqs;
use crate::front::Function;

/// The region that is the controller memory buffer, and its register.
pub(super) const CMB: u32 = 4;

/// Size of the BAR, bytes.
pub(super) const BYTES: u32 = 0x8000;
/// Where the doorbells start (`NVMe over PCIe 1.1 §3.1.2`).
pub(super) const DOORBELLS: u32 = nvme::DOORBELL_BASE;
/// Where the MSI-X table starts; it has room for 512 vectors.
pub(super) const MSIX_TABLE: u32 = 0x2000;
/// Where the MSI-X pending bits start.
pub(super) const MSIX_PENDING: u32 = 0x4000;
/// Where nothing follows.
const RESERVED: u32 = 0x5000;

/// A part of the BAR: how far it goes, and what it is.
enum Part {
    Registers,
    Table,
    Pending,
    Reserved,
}

/// The part in which `offset` lies, where it starts and where it ends.
const fn part(offset: u32) -> (Part, u32, u32) {
    match offset {
        0..MSIX_TABLE => (Part::Registers, 0, MSIX_TABLE),
        MSIX_TABLE..MSIX_PENDING => (Part::Table, MSIX_TABLE, MSIX_PENDING),
        MSIX_PENDING..RESERVED => (Part::Pending, MSIX_PENDING, RESERVED),
        RESERVED.. => (Part::Reserved, RESERVED, u32::MAX),
    }
}

/// Reads `to.len()` bytes from `offset` on. What lies beyond the BAR reads as
/// zero.
pub(super) fn read(function: &mut dyn Function, irqs: &Irqs, offset: u32, to: &mut [u8]) {
    let (mut offset, mut to) = (offset, to);
    while !to.is_empty() {
        let (part, start, end) = part(offset);
        let len = to.len().min(length(offset, end));
        let (chunk, rest) = to.split_at_mut(len);
        match part {
            Part::Registers => read_registers(function, offset, chunk),
            Part::Table => irqs.table.read(length(start, offset), chunk),
            Part::Pending => irqs.read_pending(length(start, offset), chunk),
            Part::Reserved => chunk.fill(0),
        }
        (offset, to) = (end, rest);
    }
}

/// Writes `from` from `offset` on. What lies beyond the BAR is lost.
pub(super) fn write(function: &mut dyn Function, irqs: &mut Irqs, offset: u32, from: &[u8]) {
    let (mut offset, mut from) = (offset, from);
    while !from.is_empty() {
        let (part, start, end) = part(offset);
        let len = from.len().min(length(offset, end));
        let (chunk, rest) = from.split_at(len);
        match part {
            Part::Registers => write_registers(function, offset, chunk),
            Part::Table => irqs.table.write(length(start, offset), chunk),
            Part::Pending | Part::Reserved => {}
        }
        (offset, from) = (end, rest);
    }
}

/// Reads the controller memory buffer, which a client need not map.
pub(super) fn read_cmb(function: &dyn Function, offset: u64, to: &mut [u8]) {
    to.fill(0);
    let (mut offset, mut to) = (offset, to);
    // The file has every byte of the region: a short read is one that goes on.
    while let Some(cmb) = function.cmb().filter(|_| !to.is_empty()) {
        let Ok(done @ 1..) = rustix::io::pread(cmb.fd, &mut *to, offset) else {
            return;
        };
        offset = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        to = to.get_mut(done..).unwrap_or_default();
    }
}

/// Writes the controller memory buffer, which a client need not map.
pub(super) fn write_cmb(function: &dyn Function, offset: u64, from: &[u8]) {
    let (mut offset, mut from) = (offset, from);
    while let Some(cmb) = function.cmb().filter(|_| !from.is_empty()) {
        let Ok(done @ 1..) = rustix::io::pwrite(cmb.fd, from, offset) else {
            return;
        };
        offset = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        from = from.get(done..).unwrap_or_default();
    }
}

/// The distance from `start` to `end`, bytes.
fn length(start: u32, end: u32) -> usize {
    usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX)
}

/// Reads registers: eight bytes at a time where they are aligned, else the
/// dwords that have something of them.
fn read_registers(function: &mut dyn Function, offset: u32, to: &mut [u8]) {
    let (mut offset, mut to) = (offset, to);
    while !to.is_empty() {
        let wide = offset.is_multiple_of(8) && to.len() >= 8;
        let (width, skip) = if wide { (8, 0) } else { (4, offset % 4) };
        let aligned = offset.saturating_sub(skip);
        let word = if wide {
            function.read64(aligned).to_le_bytes()
        } else {
            u64::from(function.read32(aligned)).to_le_bytes()
        };
        let len = to.len().min(length(skip, width));
        let (chunk, rest) = to.split_at_mut(len);
        for (to, from) in chunk.iter_mut().zip(word.iter().skip(length(0, skip))) {
            *to = *from;
        }
        (offset, to) = (aligned.saturating_add(width), rest);
    }
}

/// Writes registers: eight bytes at a time where they are aligned, else whole
/// dwords. Parts of dwords are lost: no register may be written so
/// (`NVMe Base 2.1 §3.1.4`), and there is no telling what the rest of one that
/// is set or cleared by ones should be.
fn write_registers(function: &mut dyn Function, offset: u32, from: &[u8]) {
    let (mut offset, mut from) = (offset, from);
    while !from.is_empty() {
        if offset.is_multiple_of(8)
            && offset < DOORBELLS
            && let Some((chunk, rest)) = from.split_first_chunk::<8>()
        {
            function.write64(offset, u64::from_le_bytes(*chunk));
            (offset, from) = (offset.saturating_add(8), rest);
            continue;
        }
        let skip = offset % 4;
        let len = from.len().min(length(skip, 4));
        let (chunk, rest) = from.split_at(len);
        if let Ok(word) = <[u8; 4]>::try_from(chunk) {
            function.write32(offset, u32::from_le_bytes(word));
        } else {
            log::debug!("a write of {len} bytes to register offset {offset:#x} is lost");
        }
        offset = offset.saturating_sub(skip).saturating_add(4);
        from = rest;
    }
}
