//! The only code that touches guest memory: bounded copies, and the windows
//! through which queues are seen.
#![expect(
    unsafe_code,
    reason = "guest memory is reached by raw pointers, as references into memory that a guest \
              writes at any time would be unsound"
)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nvme::{CQE_BYTES, Cqe, PAGE_BYTES, SQE_BYTES, Sqe};
use zerocopy::IntoBytes;

use super::{Access, DmaTable, Hit, Piece, Unmapped};

/// Bytes of a page, as a length.
const PAGE: usize = 4096;
const _: () = assert!(PAGE as u64 == PAGE_BYTES);

// SAFETY: a `Hit` is a pointer into a mapping that the table owns, and is used
// by nobody but the table. Mappings are not bound to a thread.
unsafe impl Send for Hit {}

/// The address `skip` bytes behind `base`, both in one mapping.
pub(super) fn offset(base: NonNull<u8>, skip: usize) -> NonNull<u8> {
    // The callers stay inside the region, which `DmaTable::map` checked to lie
    // inside the mapping; wrapping arithmetic keeps this function safe even so.
    NonNull::new(base.as_ptr().wrapping_add(skip)).unwrap_or(base)
}

/// Copies from guest memory.
fn copy_out(piece: Piece, out: &mut [u8]) {
    debug_assert!(u64::try_from(out.len()).is_ok_and(|len| len <= piece.bytes));
    // SAFETY: `resolve` found `piece.bytes` bytes of a mapping at `host`, the
    // caller took no more, and `out` is ours alone. That the guest may write
    // meanwhile makes the bytes arbitrary, which callers reckon with.
    unsafe { std::ptr::copy_nonoverlapping(piece.host.as_ptr(), out.as_mut_ptr(), out.len()) }
}

/// Copies to guest memory.
fn copy_in(piece: Piece, data: &[u8]) {
    debug_assert!(u64::try_from(data.len()).is_ok_and(|len| len <= piece.bytes));
    // SAFETY: as in `copy_out`, and the region is mapped writable, because it
    // was resolved for writing.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), piece.host.as_ptr(), data.len()) }
}

impl DmaTable {
    /// Copies guest memory from `iova` on into `out`.
    ///
    /// # Errors
    ///
    /// [`Unmapped`] with the first address that cannot be read; `out` then
    /// holds what stands before it.
    pub fn read_bytes(&self, iova: u64, out: &mut [u8]) -> Result<(), Unmapped> {
        let mut at = iova;
        let mut rest = out;
        while !rest.is_empty() {
            let piece = self.resolve(at, Access::Read)?;
            let take = usize::try_from(piece.bytes).map_or(rest.len(), |max| rest.len().min(max));
            let (now, later) = rest.split_at_mut(take);
            copy_out(piece, now);
            rest = later;
            at = at.wrapping_add(u64::try_from(take).unwrap_or(piece.bytes));
        }
        Ok(())
    }

    /// Copies `data` to guest memory from `iova` on.
    ///
    /// # Errors
    ///
    /// [`Unmapped`] with the first address that cannot be written; what stands
    /// before it is written then.
    pub fn write_bytes(&self, iova: u64, data: &[u8]) -> Result<(), Unmapped> {
        let mut at = iova;
        let mut rest = data;
        while !rest.is_empty() {
            let piece = self.resolve(at, Access::Write)?;
            let take = usize::try_from(piece.bytes).map_or(rest.len(), |max| rest.len().min(max));
            let (now, later) = rest.split_at(take);
            copy_in(piece, now);
            rest = later;
            at = at.wrapping_add(u64::try_from(take).unwrap_or(piece.bytes));
        }
        Ok(())
    }
}

/// A page of a queue: where it is, as of a generation of the table.
#[derive(Clone, Copy, Debug)]
struct WindowPage {
    generation: u64,
    host: Option<NonNull<u8>>,
}

/// The memory of one queue: contiguous in I/O virtual addresses or a list of
/// pages, scattered in the host's, and looked up page by page, again after each change of the
/// table.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    base: u64,
    /// The pages' addresses, where they are not contiguous from `base` on.
    list: Option<Box<[u64]>>,
    pages: Box<[WindowPage]>,
    access: Access,
}

// SAFETY: the pointers are used only together with the table of the generation
// that they were found in, which owns the mappings that they point into.
unsafe impl Send for Window {}

impl Window {
    /// The window on the queue of `bytes` bytes at `base`, which is a multiple
    /// of the page size; none where it is not, or the queue ends beyond the
    /// address space.
    pub(crate) fn new(base: u64, bytes: u64, access: Access) -> Option<Self> {
        if !base.is_multiple_of(PAGE_BYTES) || base.checked_add(bytes).is_none() {
            return None;
        }
        let pages = usize::try_from(bytes.div_ceil(PAGE_BYTES)).ok()?;
        // Generation 0 is never in force: every page is looked up before use.
        let unknown = WindowPage {
            generation: 0,
            host: None,
        };
        Some(Self {
            base,
            list: None,
            pages: vec![unknown; pages].into_boxed_slice(),
            access,
        })
    }

    /// The window on a queue whose pages `list` has; none where one of them is
    /// not a multiple of the page size.
    pub(crate) fn scattered(list: Box<[u64]>, access: Access) -> Option<Self> {
        let bytes = u64::try_from(list.len()).ok()?.checked_mul(PAGE_BYTES)?;
        if list.iter().any(|page| !page.is_multiple_of(PAGE_BYTES)) {
            return None;
        }
        Some(Self {
            list: Some(list),
            ..Self::new(0, bytes, access)?
        })
    }

    /// The host address of the byte `at` of the queue, with the rest of its
    /// page behind it; none while it is not mapped.
    #[inline]
    fn host(&mut self, table: &DmaTable, at: usize) -> Option<NonNull<u8>> {
        let index = at / PAGE;
        let page = self.pages.get_mut(index)?;
        if page.generation != table.generation() {
            let iova = if let Some(list) = &self.list {
                *list.get(index)?
            } else {
                let skip = u64::try_from(index).ok()?.checked_mul(PAGE_BYTES)?;
                self.base.checked_add(skip)?
            };
            // Regions are whole pages, so that a byte answers for its page.
            page.host = table
                .resolve(iova, self.access)
                .ok()
                .map(|piece| piece.host);
            page.generation = table.generation();
        }
        Some(offset(page.host?, at % PAGE))
    }

    /// Whether the entry of `entry_bytes` bytes in `slot` is mapped.
    pub(crate) fn is_mapped(&mut self, table: &DmaTable, slot: usize, entry_bytes: usize) -> bool {
        self.host(table, slot.saturating_mul(entry_bytes)).is_some()
    }

    /// Copies the submission queue entry in `slot` to `sqe`; none while it is not
    /// mapped.
    ///
    /// The caller has loaded a tail behind `slot` with acquire ordering.
    // Where it is not inlined, its words go through memory, and whoever reads two
    // of them at once waits until both are there.
    #[inline(always)]
    pub(crate) fn read_sqe(&mut self, table: &DmaTable, slot: usize, sqe: &mut Sqe) -> Option<()> {
        let host = self.host(table, slot.checked_mul(SQE_BYTES)?)?;
        let words = host.cast::<[u64; SQE_BYTES / 8]>();
        // SAFETY: the page is mapped as of this table, which is borrowed here
        // and therefore cannot change; 64-byte slots do not cross pages and are
        // aligned. Volatile, because the guest may write meanwhile.
        let words = unsafe { words.as_ptr().read_volatile() };
        *sqe = zerocopy::transmute!(words);
        Some(())
    }

    /// Loads the word `at` bytes into the window, a multiple of 4, with acquire
    /// ordering; none while it is not mapped.
    #[inline]
    pub(crate) fn load_word(&mut self, table: &DmaTable, at: usize) -> Option<u32> {
        Some(self.word(table, at)?.load(Ordering::Acquire))
    }

    /// Stores the word `at` bytes into the window, which is one for writing.
    /// Nothing is stored while it is not mapped.
    #[inline]
    pub(crate) fn store_word(&mut self, table: &DmaTable, at: usize, value: u32) {
        if let Some(word) = self.word(table, at) {
            word.store(value, Ordering::Release);
        }
    }

    #[inline]
    fn word<'t>(&mut self, table: &'t DmaTable, at: usize) -> Option<&'t AtomicU32> {
        if !at.is_multiple_of(size_of::<u32>()) {
            return None;
        }
        let word = self.host(table, at)?.cast::<u32>();
        // SAFETY: the page is mapped as of this table, which is borrowed as long
        // as the word is and cannot change meanwhile; aligned words do not cross
        // pages. Only atomics touch the words of such a window here.
        Some(unsafe { AtomicU32::from_ptr(word.as_ptr()) })
    }

    /// Writes the completion queue entry into `slot`, the word with the phase
    /// tag last and with release ordering. Whether it was written: not while it
    /// is not mapped.
    #[inline]
    pub(crate) fn post_cqe(&mut self, table: &DmaTable, slot: usize, cqe: &Cqe) -> bool {
        let Some(host) = slot
            .checked_mul(CQE_BYTES)
            .and_then(|at| self.host(table, at))
        else {
            return false;
        };
        let mut words = [0_u32; CQE_BYTES / 4];
        words.as_mut_bytes().copy_from_slice(cqe.as_bytes());
        let [result, result_high, queue, phase] = words;
        let slot = host.cast::<AtomicU32>();
        let store = |index: usize, word: u32, order: Ordering| {
            let at = slot.as_ptr().wrapping_add(index);
            // SAFETY: the page is mapped writable as of this table, which is
            // borrowed here and therefore cannot change; 16-byte slots do not
            // cross pages and are aligned. Only atomics touch these words here.
            let at = unsafe { &*at };
            at.store(word, order);
        };
        store(0, result, Ordering::Relaxed);
        store(1, result_high, Ordering::Relaxed);
        store(2, queue, Ordering::Relaxed);
        // Release: who sees the new phase sees the rest of the entry, and the
        // data of the command.
        store(3, phase, Ordering::Release);
        true
    }
}
