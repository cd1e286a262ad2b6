//! The parts of virtqueues: rings and tables that lie anywhere in guest memory,
//! each in one piece.
#![expect(
    unsafe_code,
    reason = "guest memory is reached by raw pointers, as references into memory that a guest \
              writes at any time would be unsound"
)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use super::access::offset;
use super::{Access, DmaTable};

/// A part of a virtqueue: where it is, as of a generation of the table.
#[derive(Debug)]
pub(crate) struct Part {
    iova: u64,
    bytes: usize,
    access: Access,
    generation: u64,
    host: Option<NonNull<u8>>,
}

// SAFETY: the pointer is used only together with the table of the generation
// that it was found in, which owns the mapping that it points into.
unsafe impl Send for Part {}

impl Part {
    /// The part of `bytes` bytes at `iova`; none where `iova` is no multiple of
    /// `align`, which is at most a page.
    pub(crate) fn new(iova: u64, bytes: usize, align: u64, access: Access) -> Option<Self> {
        iova.is_multiple_of(align).then_some(Self {
            iova,
            bytes,
            access,
            // Generation 0 is never in force: it is looked up before use.
            generation: 0,
            host: None,
        })
    }

    /// No part at all: nothing of it is ever mapped.
    pub(crate) const fn nowhere() -> Self {
        Self {
            iova: 0,
            bytes: 0,
            access: Access::Read,
            generation: 0,
            host: None,
        }
    }

    /// The address behind `at` bytes, with `len` bytes of the part behind it;
    /// none where there are not so many, and while not all of the part is
    /// mapped.
    #[inline]
    fn host(&mut self, table: &DmaTable, at: usize, len: usize) -> Option<NonNull<u8>> {
        if self.generation != table.generation() {
            self.look_up(table);
        }
        if at.checked_add(len)? > self.bytes {
            return None;
        }
        Some(offset(self.host?, at))
    }

    #[cold]
    fn look_up(&mut self, table: &DmaTable) {
        self.generation = table.generation();
        self.host = table
            .resolve(self.iova, self.access)
            .ok()
            .filter(|piece| usize::try_from(piece.bytes).is_ok_and(|bytes| bytes >= self.bytes))
            .map(|piece| piece.host);
    }

    /// Whether all of it is mapped.
    #[inline]
    pub(crate) fn is_mapped(&mut self, table: &DmaTable) -> bool {
        self.bytes > 0 && self.host(table, 0, self.bytes).is_some()
    }

    #[inline]
    fn half<'t>(&mut self, table: &'t DmaTable, at: usize) -> Option<&'t AtomicU16> {
        let half = self.host(table, at, size_of::<u16>())?.cast::<u16>();
        if !half.is_aligned() {
            return None;
        }
        // SAFETY: the bytes are mapped as of this table, which is borrowed as
        // long as the reference is and cannot change meanwhile; it is aligned;
        // and only atomics touch the indices and flags of a virtqueue here.
        Some(unsafe { AtomicU16::from_ptr(half.as_ptr()) })
    }

    /// Loads 16 bits, `at` bytes into the part, with acquire ordering; none
    /// while it is not mapped.
    #[inline]
    pub(crate) fn load(&mut self, table: &DmaTable, at: usize) -> Option<u16> {
        self.half(table, at)
            .map(|half| u16::from_le(half.load(Ordering::Acquire)))
    }

    /// Stores 16 bits with release ordering, in a part for writing. Nothing is
    /// stored while it is not mapped.
    #[inline]
    pub(crate) fn store(&mut self, table: &DmaTable, at: usize, value: u16) {
        debug_assert_eq!(self.access, Access::Write);
        if let Some(half) = self.half(table, at) {
            half.store(value.to_le(), Ordering::Release);
        }
    }

    /// Stores two words, which the guest looks at only once an index tells it
    /// to. Nothing is stored while they are not mapped.
    #[inline]
    pub(crate) fn store_pair(&mut self, table: &DmaTable, at: usize, pair: [u32; 2]) {
        debug_assert_eq!(self.access, Access::Write);
        let Some(host) = self.host(table, at, size_of::<[u32; 2]>()) else {
            return;
        };
        let words = host.cast::<[u32; 2]>();
        if !host.cast::<AtomicU32>().is_aligned() {
            return;
        }
        // SAFETY: eight bytes are mapped for writing as of this table, which is
        // borrowed here, and are aligned as the words are. Volatile, because
        // the guest may read meanwhile.
        unsafe { words.as_ptr().write_volatile(pair.map(u32::to_le)) }
    }

    /// Copies the 16 bytes at `at`; none while they are not mapped.
    #[inline]
    pub(crate) fn read_descriptor(&mut self, table: &DmaTable, at: usize) -> Option<[u8; 16]> {
        let host = self.host(table, at, 16)?;
        let bytes = host.cast::<[u8; 16]>();
        // SAFETY: 16 bytes are mapped as of this table, which is borrowed here;
        // bytes need no alignment. Volatile, because the guest may write
        // meanwhile, which makes the bytes arbitrary, as callers reckon with.
        Some(unsafe { bytes.as_ptr().read_volatile() })
    }
}
