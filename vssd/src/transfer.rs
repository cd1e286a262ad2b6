//! From a command's data and metadata pointers to pieces of guest memory.
//!
//! ```text
//!   PSDT   data                         metadata
//!   00b    PRP1, PRP2: prp              one buffer, dword aligned
//!   01b    an SGL descriptor: sgl       one buffer
//!   10b    an SGL descriptor: sgl       the address of an SGL descriptor
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

mod prp;
mod sgl;

use nvme::{Psdt, SglDescriptor, Sqe, Status};
use zerocopy::{FromZeros, IntoBytes};

pub(crate) use self::sgl::SGL_DESCRIPTORS_MAX;
use crate::memory::{Access, SegmentBuffer, Unmapped};
use crate::{DmaTable, Segments};

/// The most pieces of guest memory that a transfer of `pages` pages has, however
/// its pointers are made.
///
/// A PRP transfer that starts inside a page touches one page more. Each block of
/// an SGL may start inside a page and end inside one, which is up to two pieces
/// beside its whole pages.
pub(crate) const fn pieces_max(pages: usize) -> usize {
    pages
        .saturating_add(1)
        .saturating_add(SGL_DESCRIPTORS_MAX.saturating_mul(2))
}

/// A command's data pointer (`NVMe Base 2.1 §4.1.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataPointer {
    /// PRP entries 1 and 2.
    Prp {
        /// PRP entry 1.
        prp1: u64,
        /// PRP entry 2.
        prp2: u64,
    },
    /// The first descriptor of a scatter gather list.
    Sgl(SglDescriptor),
    /// The pieces of guest memory are in the buffer already, as many as the
    /// transfer has: those of a virtqueue's chain.
    Gathered,
}

impl From<Unmapped> for Status {
    /// There is no memory where the guest says there is.
    fn from(_: Unmapped) -> Self {
        Self::DATA_TRANSFER_ERROR
    }
}

impl DataPointer {
    /// The data pointer of a command. The value of PSDT that is reserved is an
    /// Invalid Field in Command.
    #[inline]
    pub(crate) fn of(sqe: &Sqe) -> Result<Self, Status> {
        match sqe.psdt() {
            Psdt::Prp => Ok(Self::Prp {
                prp1: sqe.prp1.get(),
                prp2: sqe.prp2.get(),
            }),
            Psdt::Sgl | Psdt::SglMetadataSgl => Ok(Self::Sgl(sqe.sgl())),
            Psdt::Reserved => Err(Status::INVALID_FIELD.dnr()),
        }
    }

    /// Finds the guest memory of a transfer of `bytes` bytes, which the device
    /// will read or write as `access` says, and keeps the pieces in `buffer`.
    ///
    /// The walk is bounded, whatever the guest wrote: by `bytes`, which the
    /// caller has bounded, for PRPs, and by [`SGL_DESCRIPTORS_MAX`] for SGLs.
    /// The status is the one that the specification has for the rule that was
    /// broken, and Data Transfer Error for memory that is not mapped
    /// (`NVMe Base 2.1 §4.3`).
    // A part of the way of every command: without the word, the arm for SGLs
    // makes it too large for the compiler to inline.
    #[inline(always)]
    pub(crate) fn walk<'m>(
        self,
        memory: &'m DmaTable,
        bytes: u64,
        access: Access,
        buffer: &'m mut SegmentBuffer,
    ) -> Result<Segments<'m>, Status> {
        match self {
            Self::Prp { prp1, prp2 } => {
                buffer.start(access);
                prp::walk(memory, (prp1, prp2), bytes, buffer)?;
            }
            Self::Gathered => debug_assert_eq!(buffer.access(), access),
            Self::Sgl(first) => {
                buffer.start(access);
                let status = Status::DATA_SGL_LENGTH_INVALID.dnr();
                sgl::walk(memory, &first, (bytes, status), buffer)?;
            }
        }
        Ok(buffer.segments(memory))
    }
}

/// A command's metadata pointer (`NVMe Base 2.1 §4.1.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetadataPointer {
    /// The address of all of the metadata.
    Buffer(u64),
    /// The address of a descriptor: a segment of just one.
    Sgl(u64),
}

impl MetadataPointer {
    /// The metadata pointer of a command that has metadata apart from its data.
    /// Invalid Field in Command, where it is not aligned: to a dword for a
    /// buffer beside PRPs, to a qword for an SGL segment. A buffer beside an SGL
    /// may start anywhere, as SGLS says.
    #[inline]
    pub(crate) fn of(sqe: &Sqe) -> Result<Self, Status> {
        let address = sqe.mptr.get();
        match sqe.psdt() {
            Psdt::Prp if address.is_multiple_of(4) => Ok(Self::Buffer(address)),
            Psdt::Sgl => Ok(Self::Buffer(address)),
            Psdt::SglMetadataSgl if sgl::is_segment_address(address) => Ok(Self::Sgl(address)),
            _ => Err(Status::INVALID_FIELD.dnr()),
        }
    }

    /// Finds the guest memory of `bytes` bytes of metadata, as
    /// [`DataPointer::walk`] does.
    #[inline]
    pub(crate) fn walk<'m>(
        self,
        memory: &'m DmaTable,
        bytes: u64,
        access: Access,
        buffer: &'m mut SegmentBuffer,
    ) -> Result<Segments<'m>, Status> {
        buffer.start(access);
        match self {
            Self::Buffer(address) => add_span(memory, address, bytes, buffer)?,
            Self::Sgl(address) => {
                let mut first = SglDescriptor::new_zeroed();
                memory.read_bytes(address, first.as_mut_bytes())?;
                let status = Status::METADATA_SGL_LENGTH_INVALID.dnr();
                sgl::walk(memory, &first, (bytes, status), buffer)?;
            }
        }
        Ok(buffer.segments(memory))
    }
}

/// Adds `bytes` bytes at `iova`, however many regions those are.
pub(crate) fn add_span(
    memory: &DmaTable,
    iova: u64,
    bytes: u64,
    buffer: &mut SegmentBuffer,
) -> Result<(), Status> {
    let (mut at, mut rest) = (iova, bytes);
    while rest > 0 {
        let piece = memory.resolve(at, buffer.access())?;
        let take = piece.bytes.min(rest);
        if !buffer.push(piece, take) {
            return Err(Status::INVALID_NUMBER_OF_SGL.dnr());
        }
        rest = rest.saturating_sub(take);
        at = match at.checked_add(take) {
            Some(next) => next,
            None if rest == 0 => break,
            // The span goes on beyond the last address there is.
            None => return Err(Status::DATA_TRANSFER_ERROR),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
