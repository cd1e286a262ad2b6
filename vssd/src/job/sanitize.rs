//! The work of a sanitize operation.

use traces::{Clock, Tap};

use super::{Op, Step};
use crate::device::Device;
use crate::media::{Extent, Outcome};
use crate::memory::BounceId;
use crate::namespace::GRANULE;
use crate::sanitize::{Action, Change};

/// How much is overwritten at a time, bytes.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// In how many pieces the medium is deallocated, so that progress shows.
const ERASE_PIECES: u64 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Next,
    /// The medium does a piece of so many bytes.
    Piece(u64),
    /// The medium gives its space back, and makes all of it durable.
    Deallocate,
    Flush,
    End,
}

/// Goes through the medium piece by piece. How far it is stands in the drive's
/// [`crate::sanitize::Sanitize`], so that another job can go on after a reset.
#[derive(Debug)]
pub(crate) struct SanitizeJob {
    stage: Stage,
    /// When it was started or taken up, nanoseconds of the clock.
    since_ns: u64,
    /// The least time that it may take, nanoseconds.
    duration_ns: u64,
}

impl SanitizeJob {
    pub(crate) const fn new(since_ns: u64, duration_ns: u64) -> Self {
        Self {
            stage: Stage::Next,
            since_ns,
            duration_ns,
        }
    }

    pub(super) fn step<T: Tap, C: Clock>(
        &mut self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
        outcome: Outcome,
    ) -> Step {
        if let Err(error) = outcome {
            device.media_failed(error);
            device.end_sanitize(Change::MediaFailed);
            return Step::Done(Ok(0));
        }
        match self.stage {
            Stage::Next => self.next(device, buffer),
            Stage::Piece(bytes) => {
                self.stage = Stage::Next;
                self.account(device, bytes)
            }
            Stage::Deallocate => {
                self.stage = Stage::Flush;
                Step::Media(Op::Discard(whole(device)))
            }
            Stage::Flush => {
                self.stage = Stage::End;
                Step::Media(Op::Flush)
            }
            Stage::End => {
                device.end_sanitize(Change::Erased);
                Step::Done(Ok(0))
            }
        }
    }

    /// Starts the next piece, or ends the last pass.
    fn next<T: Tap, C: Clock>(&mut self, device: &mut Device<T, C>, buffer: &BounceId) -> Step {
        let total = device.namespaces.media().bytes;
        let offset = device.sanitize.done_bytes;
        let left = total.saturating_sub(offset);
        let overwrites = matches!(device.sanitize.action, Some(Action::Overwrite { .. }));
        if left == 0 {
            device.sanitize.passes_done = device.sanitize.passes_done.saturating_add(1);
            if device.sanitize.passes_done < device.sanitize.passes() {
                device.sanitize.done_bytes = 0;
                return self.next(device, buffer);
            }
            let keep = device.sanitize.keep_allocated || !overwrites;
            self.stage = if keep {
                Stage::Flush
            } else {
                Stage::Deallocate
            };
            return self.step(device, buffer, Ok(()));
        }
        if overwrites {
            let part = CHUNK_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX));
            let pattern = device.sanitize.pattern().to_le_bytes();
            for word in device.bounces.data(buffer).chunks_exact_mut(4) {
                word.copy_from_slice(&pattern);
            }
            self.stage = Stage::Piece(u64::try_from(part).unwrap_or(0));
            return Step::Media(Op::Write {
                offset,
                part: 0..part,
                durable: false,
            });
        }
        let piece = (total / ERASE_PIECES).next_multiple_of(GRANULE);
        let bytes = left.min(piece.max(GRANULE));
        self.stage = Stage::Piece(bytes);
        Step::Media(Op::Discard(Extent { offset, bytes }))
    }

    /// Counts a piece, and waits where the operation is ahead of its time.
    fn account<T: Tap, C: Clock>(&self, device: &mut Device<T, C>, bytes: u64) -> Step {
        let sanitize = &mut device.sanitize;
        sanitize.done_bytes = sanitize.done_bytes.saturating_add(bytes);
        let share = u64::from(sanitize.progress(device.namespaces.media().bytes));
        let due_ns = self.duration_ns / 65_535 * share;
        Step::WaitUntil(self.since_ns.saturating_add(due_ns))
    }
}

fn whole<T, C>(device: &Device<T, C>) -> Extent {
    Extent {
        offset: 0,
        bytes: device.namespaces.media().bytes,
    }
}
