//! The controller memory buffer (`NVMe Base 2.1 §8.2.1`): memory of the drive in
//! which a host may keep queues, lists and data.
//!
//! ```text
//!   host ---- BAR4 -----> memory <---- [CBA, CBA + size) ---- addresses in
//!          (a front)                      (DmaTable)          commands, queues
//! ```
//!
//! Once the host has told where its addresses are, they are addresses like any
//! other: what walks lists and moves data does not know of them. So everything
//! may be in the buffer, and anything may be partly in it.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use nvme::{CmbLocation, CmbMemorySpace, CmbSize, CmbStatus, PAGE_BYTES, offset};
use rustix::fs::{MemfdFlags, SealFlags};
use traces::{Clock, Tap};

use crate::device::Device;
use crate::memory::Local;

/// The base address register that the buffer is behind, all of it and nothing
/// else.
const BAR: u8 = 4;
const CMBMSC_HIGH: u32 = offset::CMBMSC + 4;

/// The buffer and its properties.
#[derive(Debug)]
pub(crate) struct Cmb {
    memory: Option<Memory>,
    control: CmbMemorySpace,
}

#[derive(Debug)]
struct Memory {
    fd: OwnedFd,
    mapping: Arc<MmapRaw>,
    bytes: u64,
}

impl Memory {
    /// Memory of zeroes. It is a sealed memfd: whoever it is handed to can write
    /// it, but not make it shorter.
    fn new(bytes: u64) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("vssd-cmb", flags)?;
        rustix::fs::ftruncate(&fd, bytes)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let len = usize::try_from(bytes).map_err(io::Error::other)?;
        let mapping = Arc::new(MmapOptions::new().len(len).map_raw(&fd)?);
        Ok(Self { fd, mapping, bytes })
    }
}

impl Cmb {
    /// A buffer of so many bytes, a power of two and whole pages; 0 for none.
    pub(crate) fn new(bytes: u64) -> io::Result<Self> {
        let memory = match bytes {
            0 => None,
            _ => Some(Memory::new(bytes)?),
        };
        Ok(Self {
            memory,
            control: CmbMemorySpace::new(),
        })
    }

    /// The memory, and its size in bytes.
    pub(crate) fn file(&self) -> Option<(BorrowedFd<'_>, u64)> {
        let memory = self.memory.as_ref()?;
        Some((memory.fd.as_fd(), memory.bytes))
    }

    /// Where the host wants the buffer's addresses.
    fn base(&self) -> Option<u64> {
        let wanted = self.memory.is_some() && self.control.cmse();
        wanted.then(|| self.control.cba().wrapping_mul(PAGE_BYTES))
    }

    /// The buffer at its addresses; none where it is not enabled, or where they
    /// do not all exist.
    fn local(&self) -> Option<Local> {
        let memory = self.memory.as_ref()?;
        let iova = self.base()?;
        iova.checked_add(memory.bytes)?;
        Some(Local {
            iova,
            mapping: Arc::clone(&memory.mapping),
        })
    }

    /// The property at `offset`; 0 where there is none.
    pub(crate) fn read32(&self, offset: u32) -> u32 {
        let Some(memory) = &self.memory else {
            return 0;
        };
        let [a, b, c, d, e, f, g, h] = self.control.into_bits().to_le_bytes();
        match offset {
            offset::CMBLOC if self.control.cre() => location().into_bits(),
            offset::CMBSZ if self.control.cre() => size(memory.bytes).into_bits(),
            offset::CMBMSC => u32::from_le_bytes([a, b, c, d]),
            CMBMSC_HIGH => u32::from_le_bytes([e, f, g, h]),
            offset::CMBSTS => {
                let invalid = self.base().is_some() && self.local().is_none();
                CmbStatus::new().with_cbai(invalid).into_bits()
            }
            // Elasticity and throughput are not reported.
            _ => 0,
        }
    }

    /// Writes the property at `offset`; whether that changed anything.
    fn write32(&mut self, offset: u32, value: u32) -> bool {
        let [a, b, c, d, e, f, g, h] = self.control.into_bits().to_le_bytes();
        let [i, j, k, l] = value.to_le_bytes();
        let bytes = match offset {
            offset::CMBMSC => [i, j, k, l, e, f, g, h],
            CMBMSC_HIGH => [a, b, c, d, i, j, k, l],
            _ => return false,
        };
        let new = CmbMemorySpace::from_bits(u64::from_le_bytes(bytes));
        // What is reserved stays 0.
        let new = CmbMemorySpace::new()
            .with_cre(new.cre())
            .with_cmse(new.cmse())
            .with_cba(new.cba());
        let changed = self.memory.is_some() && new != self.control;
        if changed {
            self.control = new;
        }
        changed
    }
}

/// Where the buffer is, and what may be in it and elsewhere at once: anything.
fn location() -> CmbLocation {
    CmbLocation::new()
        .with_bir(BAR)
        .with_cqmms(true)
        .with_cdplms(true)
        .with_cdpcils(true)
        .with_cdmmms(true)
}

/// How large it is, and what may be in it: everything.
fn size(bytes: u64) -> CmbSize {
    CmbSize::new()
        .with_sqs(true)
        .with_cqs(true)
        .with_lists(true)
        .with_rds(true)
        .with_wds(true)
        .with_szu(0)
        .with_sz(u32::try_from(bytes / PAGE_BYTES).unwrap_or(0))
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// Writes one of the buffer's properties; what is none is lost. Addresses
    /// change at once: queues that were in the buffer stand still then, as those
    /// in guest memory that is unmapped.
    ///
    /// CMBMSC outlives a reset of the controller and one of the function
    /// (`NVMe Base 2.1 §3.7.2`), and so does what is in the buffer.
    pub(crate) fn write_cmb(&mut self, offset: u32, value: u32) {
        if self.cmb.write32(offset, value) {
            self.memory.set_local(self.cmb.local());
        }
    }

    /// The buffer's properties are as after power-on, and it holds zeroes.
    pub(crate) fn power_on_cmb(&mut self) {
        let Some(memory) = &self.cmb.memory else {
            return;
        };
        // A guest must not find what another one left. Where the system cannot
        // punch a hole, which it can in a memfd, it would.
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        if let Err(errno) = rustix::fs::fallocate(&memory.fd, flags, 0, memory.bytes) {
            log::warn!("the controller memory buffer could not be cleared: {errno}");
        }
        self.cmb.control = CmbMemorySpace::new();
        self.memory.set_local(None);
    }
}

#[cfg(test)]
mod tests;
