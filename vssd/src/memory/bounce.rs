//! Memory of our own that the medium reads into and writes from, for commands
//! that need to look at their data on the way.
#![expect(
    unsafe_code,
    reason = "pieces are raw addresses, of our own memory here as of the guest's elsewhere"
)]

use std::marker::PhantomData;
use std::ops::Range;

use super::{Access, Segments};

/// How many buffers there are at most: as many commands of several steps go on
/// at a time, and others wait.
pub(crate) const BOUNCES_MAX: usize = 64;

/// One buffer, and the piece of it that the medium has.
#[derive(Debug)]
struct Bounce {
    data: Vec<u8>,
    piece: [libc::iovec; 1],
    free: bool,
}

/// The buffers.
#[derive(Debug, Default)]
pub(crate) struct Bounces {
    buffers: Vec<Bounce>,
}

// SAFETY: the addresses in `piece` are used only through the `Segments` that
// `Bounces::segments` makes of the same buffer at the same time.
unsafe impl Send for Bounces {}

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
                    data: Vec::new(),
                    piece: [libc::iovec {
                        iov_base: std::ptr::null_mut(),
                        iov_len: 0,
                    }],
                    free: true,
                });
                self.buffers.len().saturating_sub(1)
            }
            None => return None,
        };
        let bounce = self.buffers.get_mut(index)?;
        bounce.free = false;
        bounce.data.resize(bytes, 0);
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
            .map_or(&mut [][..], |bounce| &mut bounce.data)
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
        let bytes = bounce.data.get_mut(part)?;
        bounce.piece = [libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        }];
        Some(Segments {
            pieces: &bounce.piece,
            bytes: bytes.len(),
            access,
            table: PhantomData,
        })
    }
}
