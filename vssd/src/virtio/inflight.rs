//! Which requests are being served, in memory that outlives the server.
//!
//! The client keeps a file in which each queue has a region. A request is noted
//! there when it is fetched and struck out when it is used, so that the next
//! server finds those that the last one left unfinished, in their order
//! (vhost-user specification, "Inflight I/O tracking"; split virtqueues).
//!
//! ```text
//!   region   features 8 | version 2 | entries 2 | last head 2 | used index 2
//!            per descriptor: in flight 1 | - 5 | next 2 | counter 8
//! ```
//!
//! Between the two stores that make a request used and strike it out, the server
//! may die. The region therefore has the used index as of the last strike, and a
//! list of the heads that were used since: what the used ring has more of than
//! that is struck out by the next server.
#![expect(
    unsafe_code,
    reason = "the file is shared with other processes, and only atomics may touch it"
)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::{fmt, io};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};

/// Bytes before the descriptors, and of each.
const UNIT: usize = 16;
/// Regions start at multiples of this.
const ALIGN: usize = 64;
/// What the version field says.
const VERSION: u16 = 1;

/// Where things are in a region.
mod at {
    pub(super) const VERSION: usize = 8;
    pub(super) const ENTRIES: usize = 10;
    pub(super) const LAST_HEAD: usize = 12;
    pub(super) const USED_INDEX: usize = 14;
}

/// Where things are in a descriptor's part.
mod part {
    pub(super) const IN_FLIGHT: usize = 0;
    pub(super) const NEXT: usize = 6;
    pub(super) const COUNTER: usize = 8;
}

/// The file, as it is mapped.
#[derive(Clone)]
pub(crate) struct InflightFile {
    mapping: Arc<MmapRaw>,
    queues: u16,
    entries: u16,
}

impl fmt::Debug for InflightFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InflightFile")
            .field("queues", &self.queues)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

/// Size of the region of a queue.
const fn region_bytes(entries: u16) -> usize {
    // Widens, and cannot overflow.
    UNIT.saturating_add(UNIT.saturating_mul(entries as usize))
        .next_multiple_of(ALIGN)
}

impl InflightFile {
    /// Size of the file for `queues` queues of `entries` entries.
    pub(crate) const fn bytes(queues: u16, entries: u16) -> usize {
        region_bytes(entries).saturating_mul(queues as usize)
    }

    /// A new file, for the client to keep.
    pub(crate) fn create(queues: u16, entries: u16) -> io::Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("vssd-inflight", flags)?;
        let bytes = u64::try_from(Self::bytes(queues, entries)).map_err(io::Error::other)?;
        rustix::fs::ftruncate(&file, bytes)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(file)
    }

    /// Maps the file that the client kept, from `offset` on.
    pub(crate) fn map(
        file: BorrowedFd<'_>,
        offset: u64,
        (queues, entries): (u16, u16),
    ) -> io::Result<Self> {
        let bytes = Self::bytes(queues, entries);
        let end = u64::try_from(bytes)
            .ok()
            .and_then(|b| b.checked_add(offset));
        let size = u64::try_from(rustix::fs::fstat(file.as_fd())?.st_size).unwrap_or(0);
        if end.is_none_or(|end| end > size) {
            return Err(io::Error::other("the file is too short for its queues"));
        }
        // Widens.
        if !offset.is_multiple_of(ALIGN as u64) {
            return Err(io::Error::other("its place in the file is not aligned"));
        }
        let mapping = MmapOptions::new()
            .offset(offset)
            .len(bytes)
            .map_raw(file.as_raw_fd())?;
        Ok(Self {
            mapping: Arc::new(mapping),
            queues,
            entries,
        })
    }

    /// The region of a queue of `entries` entries; none where the file has none
    /// for it, or not so large a one.
    pub(crate) fn log(&self, queue: u16, entries: u16) -> Option<InflightLog> {
        if queue >= self.queues || entries > self.entries {
            return None;
        }
        Some(InflightLog {
            mapping: Arc::clone(&self.mapping),
            offset: region_bytes(self.entries).checked_mul(usize::from(queue))?,
            entries: self.entries,
            counter: 0,
        })
    }
}

/// The region of one queue.
pub(crate) struct InflightLog {
    mapping: Arc<MmapRaw>,
    /// Where it starts in the mapping.
    offset: usize,
    /// As many as the file has for each queue.
    entries: u16,
    /// What the next request gets, so that their order is known.
    counter: u64,
}

impl fmt::Debug for InflightLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InflightLog")
            .field("offset", &self.offset)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl InflightLog {
    /// The address `at` bytes into the region, where `bytes` bytes of it follow.
    #[inline]
    fn address(&self, at: usize, bytes: usize) -> Option<*mut u8> {
        if at.checked_add(bytes)? > region_bytes(self.entries) {
            return None;
        }
        let start = self.offset.checked_add(at)?;
        if start.checked_add(bytes)? > self.mapping.len() {
            return None;
        }
        Some(self.mapping.as_mut_ptr().wrapping_add(start))
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<&AtomicU8> {
        let address = self.address(at, 1)?;
        // SAFETY: the byte lies in the mapping, which lives as long as `self`,
        // and only atomics touch it in this process.
        Some(unsafe { AtomicU8::from_ptr(address) })
    }

    #[inline]
    fn half(&self, at: usize) -> Option<&AtomicU16> {
        let address = self.address(at, 2)?.cast::<u16>();
        if !address.is_aligned() {
            return None;
        }
        // SAFETY: as in `byte`, and it is aligned.
        Some(unsafe { AtomicU16::from_ptr(address) })
    }

    #[inline]
    fn word(&self, at: usize) -> Option<&AtomicU64> {
        let address = self.address(at, 8)?.cast::<u64>();
        if !address.is_aligned() {
            return None;
        }
        // SAFETY: as in `byte`, and it is aligned.
        Some(unsafe { AtomicU64::from_ptr(address) })
    }

    /// Where a descriptor's part starts.
    #[inline]
    fn of(head: u16) -> usize {
        UNIT.saturating_add(UNIT.saturating_mul(usize::from(head)))
    }

    #[inline]
    fn get(&self, at: usize) -> u16 {
        self.half(at).map_or(0, |half| half.load(Ordering::Acquire))
    }

    #[inline]
    fn set(&self, at: usize, value: u16) {
        if let Some(half) = self.half(at) {
            half.store(value, Ordering::Release);
        }
    }

    #[inline]
    fn set_in_flight(&self, head: u16, in_flight: bool) {
        if let Some(byte) = self.byte(Self::of(head).saturating_add(part::IN_FLIGHT)) {
            byte.store(in_flight.into(), Ordering::Release);
        }
    }

    fn is_in_flight(&self, head: u16) -> bool {
        self.byte(Self::of(head).saturating_add(part::IN_FLIGHT))
            .is_some_and(|byte| byte.load(Ordering::Acquire) == 1)
    }

    fn counter_of(&self, head: u16) -> u64 {
        self.word(Self::of(head).saturating_add(part::COUNTER))
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Notes a request that was fetched.
    #[inline]
    pub(crate) fn begin(&mut self, head: u16) {
        if let Some(word) = self.word(Self::of(head).saturating_add(part::COUNTER)) {
            word.store(self.counter, Ordering::Release);
        }
        self.counter = self.counter.wrapping_add(1);
        self.set_in_flight(head, true);
    }

    /// Notes a request that is about to be used.
    #[inline]
    pub(crate) fn retire(&mut self, head: u16) {
        let last = self.get(at::LAST_HEAD);
        self.set(Self::of(head).saturating_add(part::NEXT), last);
        self.set(at::LAST_HEAD, head);
    }

    /// Strikes out requests that were used, of which the driver sees the last below
    /// `used_index`.
    #[inline]
    pub(crate) fn settle<'h>(&mut self, heads: impl IntoIterator<Item = &'h u16>, used_index: u16) {
        for &head in heads {
            self.set_in_flight(head, false);
        }
        self.set(at::USED_INDEX, used_index);
    }

    /// Puts the region in order for a queue whose used ring says `used_index`.
    /// Returns the requests that were not finished, the oldest last.
    pub(crate) fn recover(&mut self, used_index: u16) -> Vec<u16> {
        if self.get(at::VERSION) != VERSION || self.get(at::ENTRIES) != self.entries {
            for head in 0..self.entries {
                self.set_in_flight(head, false);
            }
            self.set(at::LAST_HEAD, 0);
            self.set(at::USED_INDEX, used_index);
            self.set(at::ENTRIES, self.entries);
            self.set(at::VERSION, VERSION);
            return Vec::new();
        }
        // Used, but not struck out.
        let missed = used_index.wrapping_sub(self.get(at::USED_INDEX));
        let mut head = self.get(at::LAST_HEAD);
        for _ in 0..missed.min(self.entries) {
            self.set_in_flight(head, false);
            head = self.get(Self::of(head).saturating_add(part::NEXT));
        }
        self.set(at::USED_INDEX, used_index);
        let mut left: Vec<u16> = (0..self.entries)
            .filter(|&head| self.is_in_flight(head))
            .collect();
        left.sort_unstable_by_key(|&head| std::cmp::Reverse(self.counter_of(head)));
        self.counter = left
            .first()
            .map_or(0, |&newest| self.counter_of(newest).wrapping_add(1));
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(file: &OwnedFd) -> InflightLog {
        let mapped = InflightFile::map(file.as_fd(), 0, (2, 8)).unwrap();
        mapped.log(1, 8).unwrap()
    }

    #[test]
    fn what_was_not_finished_is_found_in_its_order() {
        let file = InflightFile::create(2, 8).unwrap();
        let mut first = log(&file);
        assert!(first.recover(0).is_empty());
        for head in [5, 1, 7, 2] {
            first.begin(head);
        }
        first.retire(1);
        first.settle(&[1], 1);
        drop(first);
        let mut second = log(&file);
        assert_eq!(second.recover(1), [2, 7, 5]);
        // The next comes behind them all.
        second.begin(1);
        assert_eq!(log(&file).recover(1), [1, 2, 7, 5]);
    }

    #[test]
    fn what_was_used_but_not_struck_out_is_not_found() {
        let file = InflightFile::create(2, 8).unwrap();
        let mut first = log(&file);
        first.recover(0);
        for head in [3, 4, 6] {
            first.begin(head);
        }
        first.retire(3);
        first.settle(&[3], 1);
        // Used index 2 and 3 were stored, and the server died.
        first.retire(6);
        first.retire(4);
        assert!(log(&file).recover(3).is_empty());

        let mut first = log(&file);
        for head in [3, 4] {
            first.begin(head);
        }
        // Dead before the used index was stored: it is to be served again.
        first.retire(4);
        assert_eq!(log(&file).recover(3), [4, 3]);
    }

    #[test]
    fn a_region_of_nonsense_ends() {
        let file = InflightFile::create(2, 8).unwrap();
        log(&file).recover(0);
        let bytes = [0xff; 160];
        rustix::io::pwrite(&file, &bytes, 160 + 12).unwrap();
        let found = log(&file).recover(9);
        assert!(found.len() <= 8, "{found:?}");
        let too_short = InflightFile::map(file.as_fd(), 4096, (2, 8));
        assert!(too_short.unwrap_err().to_string().contains("short"));
        assert!(
            InflightFile::map(file.as_fd(), 0, (2, 8))
                .unwrap()
                .log(2, 8)
                .is_none()
        );
    }
}
