//! What goes between the slots and the kernel.
#![expect(
    unsafe_code,
    reason = "the kernel is handed guest memory, which stays until let_go returns"
)]

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, StatxFlags};

use super::ring::Target;
use super::slot::{Place, Slot, Work};
use super::{MediaError, Outcome, Uring};
use crate::memory::OwnBuffer;

/// How much Compare and Verify read at a time.
const SCAN_BYTES: usize = 256 * 1024;
/// How much is written at a time where zeroes have to be.
const FILL_BYTES: u64 = 1 << 20;
static ZEROES: [u8; 65_536] = [0; 65_536];
/// Stands for the sync in the rings; slots count from 0.
const SYNC: u64 = u64::MAX;

/// What the system wants of transfers past the page cache, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alignment {
    offset: u64,
    memory: usize,
}

impl Alignment {
    pub(super) fn of(file: &File) -> Self {
        let wanted = StatxFlags::from_bits_retain(libc::STATX_DIOALIGN);
        let told = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, wanted).ok();
        let told = told.filter(|told| told.stx_dio_offset_align.is_power_of_two());
        // Older kernels do not tell; a page is enough everywhere.
        let (offset, memory) = told.map_or((4096, 4096), |told| {
            (told.stx_dio_offset_align, told.stx_dio_mem_align.max(1))
        });
        let memory = usize::try_from(memory).unwrap_or(4096);
        // Lengths of pieces count as offsets do.
        let pieces = usize::try_from(offset).unwrap_or(4096);
        Self {
            offset: offset.into(),
            memory: memory.max(pieces),
        }
    }
}

/// How plain reads, or plain writes, go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// At once where the system does not have to wait, else by the ring.
    Now,
    /// At once, by a plain call: the system cannot tell whether it has to wait,
    /// and would hand it to a thread of its own, which takes three times as long
    /// as to do it.
    Plain,
    /// By the ring.
    Ring,
}

impl Uring {
    /// Gives the kernel what is queued, as much as it takes.
    pub(super) fn push_queued(&mut self) {
        self.start_sync();
        while self.ring.has_room() && !self.is_alone {
            let Some(&index) = self.queued.front() else {
                return;
            };
            let alone = self.goes_alone(index);
            if alone && (self.ring.is_busy() || !self.gate.be_alone()) {
                return;
            }
            if !alone && self.direct.is_some() && !self.gate.enter() {
                return;
            }
            self.queued.pop_front();
            self.slots[index].alone = alone;
            self.is_alone = alone;
            self.push(index);
        }
    }

    /// Whether a slot has to go through the page cache of a file that others go
    /// past.
    fn goes_alone(&self, index: usize) -> bool {
        let Some(alignment) = self.direct else {
            return false;
        };
        let slot = &self.slots[index];
        match slot.work {
            Work::Read | Work::Write { .. } => {
                let place = slot.offset | slot.left();
                !place.is_multiple_of(alignment.offset) || !slot.memory.is_aligned(alignment.memory)
            }
            Work::Compare | Work::Verify => true,
            // Parts of pages are zeroed in the page cache.
            Work::Zero { .. } => {
                let place = slot.extent.offset | slot.extent.bytes;
                slot.fill || !place.is_multiple_of(alignment.offset.max(nvme::PAGE_BYTES))
            }
        }
    }

    fn push(&mut self, index: usize) {
        let id = u64::try_from(index).unwrap_or(SYNC - 1);
        let slot = &mut self.slots[index];
        slot.place = Place::Kernel;
        match slot.work {
            Work::Compare | Work::Verify => {
                let bytes = usize::try_from(slot.left()).unwrap_or(SCAN_BYTES);
                let bytes = bytes.min(SCAN_BYTES);
                let own = slot.own.get_or_insert_with(|| OwnBuffer::new(bytes));
                match own.fill(0, bytes) {
                    Some(segments) => slot.memory.keep(&segments),
                    None => debug_assert!(false, "no chunk is larger than the first"),
                }
            }
            Work::Zero { .. } if slot.fill => {
                let bytes = usize::try_from(slot.left().min(FILL_BYTES)).unwrap_or(0);
                slot.memory.keep_zeroes(&ZEROES, bytes);
            }
            _ => {}
        }
        let (offset, memory) = (slot.offset, &slot.memory);
        let target = if self.direct.is_some() && !slot.alone {
            Target::Direct
        } else {
            Target::Cached
        };
        match slot.work {
            // SAFETY: the slot keeps the pieces as they are while the kernel has
            // it, and guest memory stays until `let_go` or `abandon` has waited
            // for that; the rest is the slot's own.
            Work::Read | Work::Compare | Work::Verify => unsafe {
                self.ring.read(target, offset, memory, id);
            },
            // SAFETY: as above.
            Work::Write { durable } => unsafe {
                self.ring.write(target, offset, memory, durable, id);
            },
            // SAFETY: as above; zeroes are there for ever.
            Work::Zero { .. } if slot.fill => unsafe {
                self.ring.write(target, offset, memory, false, id);
            },
            Work::Zero { deallocate, .. } => {
                let how = if deallocate {
                    libc::FALLOC_FL_PUNCH_HOLE
                } else {
                    libc::FALLOC_FL_ZERO_RANGE
                };
                let mode = how | libc::FALLOC_FL_KEEP_SIZE;
                self.ring.allocate(slot.extent, mode, id);
            }
        }
    }

    /// Takes what the kernel has done.
    pub(super) fn collect(&mut self) {
        while let Some((id, result)) = self.ring.ended() {
            if id == SYNC {
                self.synced(result);
                continue;
            }
            let Ok(index) = usize::try_from(id) else {
                continue;
            };
            // Nothing else was under way, if this went alone.
            if std::mem::take(&mut self.is_alone) {
                self.gate.give_up();
            } else if self.direct.is_some() {
                self.gate.leave();
            }
            match self.next(index, result) {
                Some(outcome) => self.end(index, outcome),
                None => {
                    self.slots[index].place = Place::Queued { begun: true };
                    self.queued.push_back(index);
                }
            }
        }
    }

    /// What a result of the kernel means for a slot: how it ended, or nothing
    /// where it goes on.
    fn next(&mut self, index: usize, result: i32) -> Option<Outcome> {
        let slot = &mut self.slots[index];
        let Ok(moved) = usize::try_from(result) else {
            let error = io::Error::from_raw_os_error(result.saturating_neg());
            let makes_zeroes = matches!(slot.work, Work::Zero { .. }) && !slot.fill;
            return match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => None,
                // Not every file system can.
                Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL) if makes_zeroes => {
                    slot.fill = true;
                    None
                }
                _ => {
                    let (work, extent) = (slot.work, slot.extent);
                    Some(Err(self.failed(work, extent, &error)))
                }
            };
        };
        match slot.work {
            Work::Zero { .. } if !slot.fill => slot.done = slot.extent.bytes,
            _ if moved == 0 => {
                let kind = if slot.work.is_reading() {
                    io::ErrorKind::UnexpectedEof
                } else {
                    io::ErrorKind::WriteZero
                };
                let (work, extent) = (slot.work, slot.extent);
                return Some(Err(self.failed(work, extent, &kind.into())));
            }
            Work::Compare => {
                // SAFETY: the ticket is still here, and `let_go` waits for it.
                let guest = unsafe { slot.guest.segments() };
                let own = slot.own.as_mut();
                let data = own.and_then(|own| own.data_mut().get(..moved));
                let done = usize::try_from(slot.done).unwrap_or(usize::MAX);
                if !data.is_some_and(|data| guest.matches(done, data)) {
                    return Some(Err(MediaError::Miscompare));
                }
                slot.advance(moved);
            }
            _ => slot.advance(moved),
        }
        if slot.left() > 0 {
            return None;
        }
        match slot.later.pop() {
            Some(extent) => {
                slot.begin(extent);
                None
            }
            None => Some(Ok(())),
        }
    }

    /// Starts a sync for what waits for one, unless one goes on.
    fn start_sync(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if self.lost.load(Ordering::Acquire) {
            let failed = self.waiting.drain(..);
            self.ended
                .extend(failed.map(|ticket| (ticket, Err(MediaError::Write))));
        } else if !self.is_syncing && self.ring.has_room() {
            self.is_syncing = true;
            std::mem::swap(&mut self.syncing, &mut self.waiting);
            self.ring.sync(SYNC);
        }
    }

    /// Takes the end of a sync.
    pub(super) fn synced(&mut self, result: i32) {
        self.is_syncing = false;
        if matches!(result.saturating_neg(), libc::EINTR | libc::EAGAIN) {
            while let Some(ticket) = self.syncing.pop_back() {
                self.waiting.push_front(ticket);
            }
            return;
        }
        let outcome = if result < 0 {
            let error = io::Error::from_raw_os_error(result.saturating_neg());
            log::error!(
                "{}: cannot make writes durable: {error}; what was written since the last flush \
                 may be lost, and every flush from now on fails",
                self.image.name
            );
            self.lost.store(true, Ordering::Release);
            Err(MediaError::Write)
        } else {
            Ok(())
        };
        let done = self.syncing.drain(..).map(|ticket| (ticket, outcome));
        self.ended.extend(done);
    }

    /// Goes on until no slot whose work `matters` is left.
    pub(super) fn finish(&mut self, matters: fn(&Slot) -> bool) {
        loop {
            self.push_queued();
            self.ring.enter(false);
            self.collect();
            let left = self
                .slots
                .iter()
                .any(|slot| slot.place != Place::Free && matters(slot));
            if !left {
                return;
            }
            if self.queued.is_empty() || self.is_alone {
                self.ring.enter(true);
            }
        }
    }
}
