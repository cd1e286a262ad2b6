//! A medium in this process's memory.
#![expect(
    unsafe_code,
    reason = "space is given back by madvise, which takes raw addresses"
)]

use std::io;

use memmap2::{Advice, MmapMut, MmapOptions, UncheckedAdvice};

use super::{Extent, Media, MediaError, MediaInfo, Outcome, Request, Submission};
use crate::{Ticket, VssdError};

const PAGE: usize = 4096;

/// A medium in memory: it reads as zeroes at first, takes no space until it is
/// written, and is gone with the process.
#[derive(Debug)]
pub struct Ram {
    memory: MmapMut,
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
        let memory = MmapOptions::new()
            .len(len)
            .no_reserve_swap()
            .map_anon()
            .map_err(refused)?;
        // Large pages spare most of the TLB misses of random reads. A kernel
        // without them serves as well, only slower.
        if let Err(error) = memory.advise(Advice::HugePage) {
            log::debug!("no large pages for {bytes} bytes of RAM media: {error}");
        }
        Ok(Self { memory })
    }

    fn range(&self, extent: Extent) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(extent.offset).ok()?;
        let end = start.checked_add(usize::try_from(extent.bytes).ok()?)?;
        (end <= self.memory.len()).then_some(start..end)
    }

    fn bytes(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.memory.get(start..start.checked_add(bytes)?)
    }

    /// Zeroes `extent` and gives its whole pages back.
    fn discard(&mut self, extent: Extent) -> Option<()> {
        let range = self.range(extent)?;
        let first = range.start.next_multiple_of(PAGE).min(range.end);
        let last = (range.end - range.end % PAGE).max(first);
        self.memory.get_mut(range.start..first)?.fill(0);
        self.memory.get_mut(last..range.end)?.fill(0);
        if first == last {
            return Some(());
        }
        let advice = UncheckedAdvice::DontNeed;
        // SAFETY: the memory is anonymous and private, so that the pages read
        // as zeroes afterwards, and `&mut self` says that nobody looks at it.
        let done = unsafe {
            self.memory
                .unchecked_advise_range(advice, first, last - first)
        };
        if done.is_err() {
            self.memory.get_mut(first..last)?.fill(0);
        }
        Some(())
    }

    fn run(&mut self, request: Request<'_>) -> Outcome {
        let done = match request {
            Request::Read { offset, to } => {
                let data = self.bytes(offset, to.bytes()).ok_or(MediaError::Read)?;
                to.write(data);
                Some(())
            }
            Request::Write { offset, from, .. } => usize::try_from(offset)
                .ok()
                .and_then(|start| Some(start..start.checked_add(from.bytes())?))
                .and_then(|range| self.memory.get_mut(range))
                .map(|data| from.read(data)),
            Request::Compare { offset, with } => {
                let data = self.bytes(offset, with.bytes()).ok_or(MediaError::Read)?;
                if !with.matches(0, data) {
                    return Err(MediaError::Miscompare);
                }
                Some(())
            }
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

impl Media for Ram {
    fn name(&self) -> &str {
        "ram"
    }

    fn info(&self) -> MediaInfo {
        MediaInfo {
            bytes: u64::try_from(self.memory.len()).unwrap_or(u64::MAX),
            read_only: false,
            volatile_cache: true,
        }
    }

    #[inline]
    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submission {
        let outcome = self.run(request);
        Submission::Done(ticket, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[test]
    fn it_matches_the_model() {
        contract::matches_the_model(32, || Ram::new(1 << 20).unwrap());
    }

    #[test]
    fn it_keeps_the_contract() {
        contract::gives_up_what_is_abandoned(Ram::new(1 << 20).unwrap());
        contract::lets_go_of_memory(Ram::new(1 << 20).unwrap());
    }
}
