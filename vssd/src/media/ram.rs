//! A medium in this process's memory.
//!
//! With one handle, nobody else looks at the memory while a request is executed.
//! With several, it is lent granule by granule, each under a lock of its own, so
//! that no block is seen half written; blocks do not cross granules.
#![expect(
    unsafe_code,
    reason = "several threads have handles on the memory, which is lent as slices; space is given \
              back by madvise, which takes raw addresses, and grows by mremap, which changes them; \
              the cache is asked by an instruction"
)]

use std::io;
use std::ops::Range;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, PoisonError, RwLock};

use memmap2::{Advice, MmapOptions, MmapRaw, RemapOptions, UncheckedAdvice};

use super::{Extent, Media, MediaError, MediaInfo, Outcome, Parallel, Request, Submission};
use crate::{Segments, Ticket, VssdError};

const PAGE: usize = 4096;
/// What is lent under one lock, bytes: whole blocks of any size.
const GRANULE: usize = 128 << 10;
/// How much of what is read next is asked for while another request is executed,
/// bytes: what the first-level cache has room for beside it.
const FORESEEN_READ: usize = 4096;
/// The same of what is overwritten next: stores wait for little, and the processor
/// sees by itself that the rest follows.
const FORESEEN_WRITE: usize = 256;
const LINE: usize = 64;
/// Locks, which granules share.
const LOCKS: usize = 1024;

/// A medium in memory: it reads as zeroes at first, takes no space until it is
/// written, and is gone with the process.
#[derive(Debug)]
pub struct Ram {
    memory: Arc<Memory>,
}

/// A lock that has a cache line for itself.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lock(RwLock<()>);

#[derive(Debug)]
struct Memory {
    map: MmapRaw,
    locks: Box<[Lock]>,
}

impl Memory {
    fn lock(&self, start: usize) -> &RwLock<()> {
        // There are as many as the modulus says.
        &self.locks[start / GRANULE % LOCKS].0
    }

    /// Shows the bytes of `range`, which is inside the memory and, where there
    /// are several handles, inside a granule.
    fn look<R>(&self, range: Range<usize>, shared: bool, look: impl FnOnce(&[u8]) -> R) -> R {
        let lock = shared.then(|| self.lock(range.start).read());
        let _guard = lock.map(|guard| guard.unwrap_or_else(PoisonError::into_inner));
        let at = self.map.as_ptr().wrapping_add(range.start);
        // SAFETY: the range is inside the mapping, which lives as long as `self`.
        // Nobody changes it meanwhile: without a lock there is no other handle, and
        // this one is borrowed; with it, who changes a granule has it alone.
        look(unsafe { std::slice::from_raw_parts(at, range.len()) })
    }

    /// Lends the bytes of `range`, as [`Memory::look`] does, to be changed.
    fn change<R>(
        &self,
        range: Range<usize>,
        shared: bool,
        change: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        let lock = shared.then(|| self.lock(range.start).write());
        let _guard = lock.map(|guard| guard.unwrap_or_else(PoisonError::into_inner));
        let at = self.map.as_mut_ptr().wrapping_add(range.start);
        // SAFETY: as in `look`, and nobody looks at it.
        change(unsafe { std::slice::from_raw_parts_mut(at, range.len()) })
    }

    /// Has the processor fetch the line at `start`, which is inside the memory.
    #[inline]
    fn ask_for(&self, start: usize, writes: bool) {
        let at = self.map.as_ptr().wrapping_add(start);
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};

            if writes {
                // SAFETY: a hint, which touches nothing that a program can see.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) };
            } else {
                // SAFETY: as above.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = (at, writes);
    }

    /// Gives back the pages of `range`, which is whole pages and lent as by
    /// [`Memory::change`]. Whether it could be.
    fn give_back(&self, range: Range<usize>, shared: bool) -> bool {
        let lock = shared.then(|| self.lock(range.start).write());
        let _guard = lock.map(|guard| guard.unwrap_or_else(PoisonError::into_inner));
        let advice = UncheckedAdvice::DontNeed;
        // SAFETY: the memory is anonymous and private, so that the pages read as
        // zeroes afterwards, and nobody looks at them, as in `change`.
        let done = unsafe {
            self.map
                .unchecked_advise_range(advice, range.start, range.len())
        };
        done.is_ok()
    }
}

/// Whether `range` is lent as a whole.
fn is_one_part(range: &Range<usize>, shared: bool) -> bool {
    !shared || range.start / GRANULE == range.end.saturating_sub(1) / GRANULE
}

/// The parts of `range` that are lent at a time.
fn parts(range: Range<usize>, shared: bool) -> impl Iterator<Item = Range<usize>> {
    let mut next = range.start;
    std::iter::from_fn(move || {
        let start = next;
        let granule = (start / GRANULE + 1) * GRANULE;
        next = if shared {
            granule.min(range.end)
        } else {
            range.end
        };
        (start < range.end).then_some(start..next)
    })
}

impl Ram {
    /// A medium that is `bytes` bytes large. No memory is taken yet.
    ///
    /// # Errors
    ///
    /// [`VssdError::Ram`], where `bytes` is 0 or the system refuses.
    pub fn new(bytes: u64) -> Result<Self, VssdError> {
        let refused = |source| VssdError::Ram { bytes, source };
        let len = match usize::try_from(bytes) {
            Ok(len @ 1..) => len,
            _ => return Err(refused(io::ErrorKind::InvalidInput.into())),
        };
        let map = MmapOptions::new()
            .len(len)
            .no_reserve_swap()
            .map_anon()
            .map_err(refused)?;
        // Large pages spare most of the TLB misses of random reads. A kernel
        // without them serves as well, only slower.
        if let Err(error) = map.advise(Advice::HugePage) {
            log::debug!("no large pages for {bytes} bytes of RAM media: {error}");
        }
        let mut locks = Vec::new();
        locks.resize_with(LOCKS, Lock::default);
        let memory = Memory {
            map: map.into(),
            locks: locks.into_boxed_slice(),
        };
        Ok(Self {
            memory: Arc::new(memory),
        })
    }

    /// Whether there are other handles.
    #[inline]
    fn is_shared(&self) -> bool {
        if Arc::strong_count(&self.memory) > 1 {
            return true;
        }
        // What a handle did that is gone comes before what this one does.
        fence(Ordering::Acquire);
        false
    }

    fn range(&self, offset: u64, bytes: usize) -> Option<Range<usize>> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(bytes)?;
        (end <= self.memory.map.len()).then_some(start..end)
    }

    /// Zeroes `extent` and gives its whole pages back.
    fn discard(&mut self, extent: Extent) -> Option<()> {
        let shared = self.is_shared();
        let whole = self.range(extent.offset, usize::try_from(extent.bytes).ok()?)?;
        for range in parts(whole, shared) {
            let first = range.start.next_multiple_of(PAGE).min(range.end);
            let last = (range.end - range.end % PAGE).max(first);
            let fill = |part| self.memory.change(part, shared, |data| data.fill(0));
            fill(range.start..first);
            fill(last..range.end);
            if first < last && !self.memory.give_back(first..last, shared) {
                fill(first..last);
            }
        }
        Some(())
    }

    #[inline]
    fn read(&mut self, offset: u64, to: &Segments<'_>) -> Option<()> {
        let range = self.range(offset, to.bytes())?;
        let shared = self.is_shared();
        if is_one_part(&range, shared) {
            self.memory.look(range, shared, |data| to.write(data));
            return Some(());
        }
        let mut cursor = to.cursor();
        for part in parts(range, shared) {
            self.memory.look(part, shared, |data| cursor.write(data));
        }
        Some(())
    }

    #[inline]
    fn write(&mut self, offset: u64, from: &Segments<'_>) -> Option<()> {
        let range = self.range(offset, from.bytes())?;
        let shared = self.is_shared();
        if is_one_part(&range, shared) {
            self.memory.change(range, shared, |data| from.read(data));
            return Some(());
        }
        let mut cursor = from.cursor();
        for part in parts(range, shared) {
            self.memory.change(part, shared, |data| cursor.read(data));
        }
        Some(())
    }

    fn compare(&mut self, offset: u64, with: &Segments<'_>) -> Outcome {
        let range = self.range(offset, with.bytes()).ok_or(MediaError::Read)?;
        let (shared, start) = (self.is_shared(), range.start);
        let same = parts(range, shared).all(|part| {
            let skip = part.start - start;
            let matches = |data: &[u8]| with.matches(skip, data);
            self.memory.look(part, shared, matches)
        });
        if same {
            Ok(())
        } else {
            Err(MediaError::Miscompare)
        }
    }

    fn run(&mut self, request: Request<'_>) -> Outcome {
        let done = match request {
            Request::Read { offset, to } => {
                return self.read(offset, &to).ok_or(MediaError::Read);
            }
            Request::Write { offset, from, .. } => self.write(offset, &from),
            Request::Compare { offset, with } => return self.compare(offset, &with),
            // Zeroes take no space here, whether that was asked for or not.
            Request::WriteZeroes { extent, .. } => self.discard(extent),
            Request::Discard { extents } => {
                extents.iter().try_for_each(|&extent| self.discard(extent))
            }
            Request::Verify { .. } | Request::Flush => Some(()),
        };
        done.ok_or(MediaError::Write)
    }
}

impl Parallel for Ram {
    fn another(&self) -> io::Result<Self> {
        Ok(Self {
            memory: Arc::clone(&self.memory),
        })
    }
}

impl Media for Ram {
    const FORESEES: bool = true;

    fn name(&self) -> &str {
        "ram"
    }

    fn info(&self) -> MediaInfo {
        MediaInfo {
            bytes: u64::try_from(self.memory.map.len()).unwrap_or(u64::MAX),
            read_only: false,
            volatile_cache: true,
        }
    }

    fn grow(&mut self, bytes: u64) -> Result<(), VssdError> {
        if bytes == self.info().bytes {
            return Ok(());
        }
        let refused = |source| VssdError::not_grown("ram", bytes, source);
        let len =
            usize::try_from(bytes).map_err(|_| refused(io::ErrorKind::InvalidInput.into()))?;
        let memory = Arc::get_mut(&mut self.memory)
            .ok_or_else(|| refused(io::Error::other("other threads work on it: try again")))?;
        let options = RemapOptions::new().may_move(true);
        // SAFETY: no file ends before the memory does, as there is none; and nobody
        // has a part of it, as this is the only handle, and is borrowed.
        unsafe { memory.map.remap(len, options) }.map_err(refused)
    }

    #[inline]
    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submission {
        let outcome = self.run(request);
        Submission::Done(ticket, outcome)
    }

    #[inline]
    fn foresee(&self, extent: Extent, writes: bool) {
        let most = if writes {
            FORESEEN_WRITE
        } else {
            FORESEEN_READ
        };
        let bytes = usize::try_from(extent.bytes).map_or(most, |bytes| bytes.min(most));
        if let Some(range) = self.range(extent.offset, bytes) {
            range
                .step_by(LINE)
                .for_each(|at| self.memory.ask_for(at, writes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::alternating::Alternating;
    use super::super::contract;
    use super::*;

    #[test]
    fn it_matches_the_model() {
        contract::matches_the_model(32, || Ram::new(1 << 20).unwrap());
    }

    #[test]
    fn several_handles_match_the_model() {
        contract::matches_the_model(32, || Alternating::new(Ram::new(1 << 20).unwrap()));
    }

    /// A block is whole while others write it, read it and take it away.
    #[test]
    fn no_thread_sees_half_a_block() {
        const BLOCK: usize = 4096;
        let ram = Ram::new(1 << 20).unwrap();
        // Across the end of a granule, so that it is lent in parts.
        let blocks = [5 * BLOCK, GRANULE - BLOCK, GRANULE];
        let threads: Vec<_> = (1..=3_u8)
            .map(|byte| {
                let ram = ram.another().unwrap();
                std::thread::spawn(move || {
                    for round in 0..20_000_usize {
                        let at = blocks[round % blocks.len()];
                        let part = at..at + BLOCK;
                        if round % 7 == 0 && byte == 1 {
                            assert!(ram.is_shared() && ram.memory.give_back(part, true));
                        } else if round % 2 == 0 {
                            ram.memory.change(part, true, |data| data.fill(byte));
                        } else {
                            let is_whole = |data: &[u8]| data.iter().all(|it| *it == data[0]);
                            assert!(ram.memory.look(part, true, is_whole));
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(!ram.is_shared());
    }

    #[test]
    fn it_does_not_grow_under_another_thread() {
        let mut ram = Ram::new(1 << 20).unwrap();
        let other = ram.another().unwrap();
        let error = ram.grow(2 << 20).unwrap_err().to_string();
        assert!(error.contains("try again"), "{error}");
        assert_eq!(ram.info().bytes, 1 << 20);
        drop(other);
        ram.grow(2 << 20).unwrap();
        let none = ram.grow(u64::MAX).unwrap_err().to_string();
        assert!(none.contains("cannot grow ram to"), "{none}");
        assert_eq!(ram.info().bytes, 2 << 20);
    }

    #[test]
    fn it_keeps_the_contract() {
        contract::gives_up_what_is_abandoned(Ram::new(1 << 20).unwrap());
        contract::lets_go_of_memory(Ram::new(1 << 20).unwrap());
    }
}
