//! Buffers of our own that the medium reads into and writes from, for commands
//! that need to look at their data on the way.

use std::ops::Range;

use super::{Access, OwnBuffer, Segments};

/// How many buffers there are at most: as many commands of several steps go on
/// at a time, and others wait.
pub(crate) const BOUNCES_MAX: usize = 64;

/// One buffer, and how much of it is in use.
#[derive(Debug)]
struct Bounce {
    buffer: OwnBuffer,
    bytes: usize,
    free: bool,
}

/// The buffers.
#[derive(Debug, Default)]
pub(crate) struct Bounces {
    buffers: Vec<Bounce>,
}

/// Names a buffer that was taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BounceId(usize);

impl Bounces {
    /// Takes a buffer of `bytes` bytes, whose contents are anything; none while
    /// all are taken.
    pub(crate) fn take(&mut self, bytes: usize) -> Option<BounceId> {
        let index = match self.buffers.iter().position(|bounce| bounce.free) {
            Some(index) => index,
            None if self.buffers.len() < BOUNCES_MAX => {
                self.buffers.push(Bounce {
                    buffer: OwnBuffer::new(bytes),
                    bytes,
                    free: true,
                });
                self.buffers.len().saturating_sub(1)
            }
            None => return None,
        };
        let bounce = self.buffers.get_mut(index)?;
        if bounce.buffer.len() < bytes {
            bounce.buffer = OwnBuffer::new(bytes);
        }
        bounce.bytes = bytes;
        bounce.free = false;
        Some(BounceId(index))
    }

    /// Whether one can be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.buffers.len() < BOUNCES_MAX || self.buffers.iter().any(|bounce| bounce.free)
    }

    /// Gives a buffer back.
    pub(crate) fn give(&mut self, id: BounceId) {
        if let Some(bounce) = self.buffers.get_mut(id.0) {
            bounce.free = true;
        }
    }

    /// What the buffer holds.
    pub(crate) fn data(&mut self, id: &BounceId) -> &mut [u8] {
        self.buffers
            .get_mut(id.0)
            .and_then(|bounce| bounce.buffer.data_mut().get_mut(..bounce.bytes))
            .unwrap_or_default()
    }

    /// A part of the buffer, for the medium. The buffer is not looked at, nor
    /// given back, before the medium has answered.
    pub(crate) fn segments(
        &mut self,
        id: &BounceId,
        part: Range<usize>,
        access: Access,
    ) -> Option<Segments<'_>> {
        let bounce = self.buffers.get_mut(id.0)?;
        let bytes = part.end.checked_sub(part.start)?;
        match access {
            Access::Write => bounce.buffer.fill(part.start, bytes),
            Access::Read => bounce.buffer.drain(part.start, bytes),
        }
    }
}
