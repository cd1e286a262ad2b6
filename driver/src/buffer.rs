//! Memory that a device reads and writes.
//!
//! The device may write to a buffer at any moment, from another process or by
//! DMA. So no reference into the memory is ever made: it is accessed by copies
//! and atomics through a pointer.
#![expect(unsafe_code, reason = "memory shared with a device has no references")]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::DriverError;

/// What a buffer's memory belongs to: keeps it mapped, and takes it back.
pub(crate) trait Owner: Send + Sync {
    /// Takes back the buffer of `bytes` bytes at `iova`.
    fn free(&self, iova: u64, bytes: usize);
}

/// Page-aligned memory that both this process and a device can access.
///
/// It goes back to its transport when it is dropped. A buffer whose command is
/// still in flight must be kept: the memory stays mapped (so nothing breaks in
/// this process), but may be handed out again, and the device's data would
/// land in somebody else's buffer.
pub struct DmaBuffer {
    base: NonNull<u8>,
    bytes: usize,
    iova: u64,
    owner: Arc<dyn Owner>,
}

// SAFETY: the memory is plain bytes that stay mapped as long as `owner` lives,
// whichever thread uses them.
unsafe impl Send for DmaBuffer {}
// SAFETY: through `&self` the memory is written by atomics only; other writes
// need `&mut self`. What the device does is outside of the language's memory
// model, and is only ever observed by copies and atomics.
unsafe impl Sync for DmaBuffer {}

impl std::fmt::Debug for DmaBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DmaBuffer({} bytes at {:#x})", self.bytes, self.iova)
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        self.owner.free(self.iova, self.bytes);
    }
}

impl DmaBuffer {
    /// A buffer of the `bytes` bytes at `base`, which the device sees at `iova`.
    ///
    /// # Safety
    ///
    /// The memory is mapped for reading and writing, aligned to 8 bytes, stays
    /// so while `owner` lives, and no other buffer holds any of it.
    pub(crate) unsafe fn new(
        base: NonNull<u8>,
        bytes: usize,
        iova: u64,
        owner: Arc<dyn Owner>,
    ) -> Self {
        Self {
            base,
            bytes,
            iova,
            owner,
        }
    }

    /// The size in bytes: a multiple of the page size.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes; never so.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where the device sees the first byte.
    #[must_use]
    pub const fn iova(&self) -> u64 {
        self.iova
    }

    /// The `bytes` bytes at `offset`, as the data of a command.
    ///
    /// # Errors
    ///
    /// [`DriverError::OutOfBounds`].
    pub fn slice(&self, offset: usize, bytes: usize) -> Result<DmaSlice<'_>, DriverError> {
        self.check(offset, bytes)?;
        Ok(DmaSlice {
            buffer: self,
            offset,
            bytes,
        })
    }

    /// Copies the bytes at `offset` to `to`.
    ///
    /// # Errors
    ///
    /// [`DriverError::OutOfBounds`].
    pub fn read_at(&self, offset: usize, to: &mut [u8]) -> Result<(), DriverError> {
        let from = self.check(offset, to.len())?;
        // SAFETY: `check` bounds the source; `to` is ours alone, so the two do
        // not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// Copies `from` to the bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`DriverError::OutOfBounds`].
    pub fn write_at(&mut self, offset: usize, from: &[u8]) -> Result<(), DriverError> {
        let to = self.check(offset, from.len())?;
        // SAFETY: `check` bounds the destination; nobody in this process but
        // the holder of `&mut self` accesses it.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) };
        Ok(())
    }

    /// Sets `bytes` bytes at `offset` to `value`.
    ///
    /// # Errors
    ///
    /// [`DriverError::OutOfBounds`].
    pub fn fill(&mut self, offset: usize, bytes: usize, value: u8) -> Result<(), DriverError> {
        let to = self.check(offset, bytes)?;
        // SAFETY: `check` bounds the destination; nobody in this process but
        // the holder of `&mut self` accesses it.
        unsafe { std::ptr::write_bytes(to.as_ptr(), value, bytes) };
        Ok(())
    }

    /// A copy of the value at `offset`.
    ///
    /// # Errors
    ///
    /// [`DriverError::OutOfBounds`].
    pub fn get<V: FromBytes + IntoBytes>(&self, offset: usize) -> Result<V, DriverError> {
        let mut value = V::new_zeroed();
        self.read_at(offset, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies `values` to `offset`: a page of Dataset Management ranges, for
    /// one.
    ///
    /// # Errors
    ///
    /// [`DriverError::OutOfBounds`].
    pub fn put<V>(&mut self, offset: usize, values: &V) -> Result<(), DriverError>
    where
        V: IntoBytes + Immutable + ?Sized,
    {
        self.write_at(offset, values.as_bytes())
    }

    /// Reads the 32-bit word at `offset`; what the device wrote before it is
    /// visible after (acquire).
    ///
    /// # Panics
    ///
    /// Where the word is out of bounds or not aligned: offsets are the
    /// driver's own.
    pub(crate) fn load_u32_acquire(&self, offset: usize) -> u32 {
        u32::from_le(self.atomic_u32(offset).load(Ordering::Acquire))
    }

    /// Reads the 32-bit word at `offset`, in no order.
    pub(crate) fn load_u32(&self, offset: usize) -> u32 {
        u32::from_le(self.atomic_u32(offset).load(Ordering::Relaxed))
    }

    /// Writes the 64-bit word at `offset`, in no order: the doorbell's release
    /// publishes it.
    pub(crate) fn store_u64(&self, offset: usize, value: u64) {
        self.atomic_u64(offset)
            .store(value.to_le(), Ordering::Relaxed);
    }

    /// Writes the 64-bit words of `words` at `offset`, in no order.
    pub(crate) fn store_words<const N: usize>(&self, offset: usize, words: [u64; N]) {
        let word = self.aligned(offset, N * 8);
        for (index, value) in words.into_iter().enumerate() {
            // SAFETY: `aligned` bounds all N words.
            let word = unsafe { word.add(index) };
            // SAFETY: mapped and aligned, see `aligned`; the memory is only
            // ever accessed by copies and atomics.
            let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) };
            word.store(value.to_le(), Ordering::Relaxed);
        }
    }

    fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        let word = self.aligned::<u32>(offset, 4);
        // SAFETY: mapped and aligned, see `aligned`; the memory is only ever
        // accessed by copies and atomics.
        unsafe { AtomicU32::from_ptr(word.as_ptr()) }
    }

    fn atomic_u64(&self, offset: usize) -> &AtomicU64 {
        let word = self.aligned::<u64>(offset, 8);
        // SAFETY: mapped and aligned, see `aligned`; the memory is only ever
        // accessed by copies and atomics.
        unsafe { AtomicU64::from_ptr(word.as_ptr()) }
    }

    /// A pointer to the `bytes` bytes at `offset`, which are inside and
    /// aligned for `W`.
    fn aligned<W>(&self, offset: usize, bytes: usize) -> NonNull<W> {
        assert!(
            offset.is_multiple_of(size_of::<W>())
                && bytes <= self.bytes
                && offset <= self.bytes - bytes,
            "the driver keeps to its own rings"
        );
        // SAFETY: inside of the mapping, as just asserted.
        let word = unsafe { self.base.add(offset) };
        word.cast()
    }

    /// A pointer to the `bytes` bytes at `offset`, which are inside.
    fn check(&self, offset: usize, bytes: usize) -> Result<NonNull<u8>, DriverError> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            return Err(DriverError::OutOfBounds {
                offset,
                bytes,
                len: self.bytes,
            });
        }
        // SAFETY: inside of the mapping, as just checked.
        Ok(unsafe { self.base.add(offset) })
    }
}

/// A part of a [`DmaBuffer`]: the data of a command.
///
/// It borrows the buffer until the command is submitted; from then on it is
/// the caller's to keep the buffer until the command completes.
#[derive(Clone, Copy, Debug)]
pub struct DmaSlice<'a> {
    buffer: &'a DmaBuffer,
    offset: usize,
    bytes: usize,
}

impl DmaSlice<'_> {
    /// The size in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where the device sees the first byte.
    #[must_use]
    pub const fn iova(&self) -> u64 {
        self.buffer.iova + self.offset as u64
    }

    /// Copies its bytes from `offset` on to `to`.
    ///
    /// # Errors
    ///
    /// [`DriverError::OutOfBounds`].
    pub fn read_at(&self, offset: usize, to: &mut [u8]) -> Result<(), DriverError> {
        if offset
            .checked_add(to.len())
            .is_none_or(|end| end > self.bytes)
        {
            return Err(DriverError::OutOfBounds {
                offset,
                bytes: to.len(),
                len: self.bytes,
            });
        }
        self.buffer.read_at(self.offset + offset, to)
    }
}
