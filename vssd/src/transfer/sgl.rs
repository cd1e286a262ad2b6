//! The SGL walk (`NVMe Base 2.1 §4.3.2`).
//!
//! ```text
//!   SGL1: data block ------------------> | data |
//!   SGL1: segment -> [ block | bucket | block | segment ]
//!                                                  |
//!                    [ block | block | last segment ]
//!                                         |
//!                    [ block | block | block ]
//! ```
//!
//! What Identify Controller says of SGLs (SGLS) is what is done here: blocks of
//! any alignment and length, bit buckets, and lists that are longer than the
//! data, of which the rest is not looked at. Addresses are addresses: offsets
//! and keys belong to fabrics, and their descriptors are of a type that is
//! invalid here.
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

use nvme::{SGL_DESCRIPTOR_BYTES, SglDescriptor, SglSubtype, SglType, Status};
use zerocopy::{FromZeros, IntoBytes};

use super::add_span;
use crate::DmaTable;
use crate::memory::{Access, SegmentBuffer};

/// The most descriptors that are looked at for one list. What is longer is an
/// Invalid Number of SGL Descriptors: a list of a byte per descriptor is legal,
/// but a million of them is nothing that a host sends in earnest.
pub(crate) const SGL_DESCRIPTORS_MAX: usize = 4096;

/// How many descriptors of a segment are copied at a time.
const CHUNK: usize = 32;
const DESCRIPTOR_BYTES: u64 = 16;
const _: () = assert!(SGL_DESCRIPTOR_BYTES as u64 == DESCRIPTOR_BYTES);

/// A segment that a descriptor leads to.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    descriptors: u64,
    /// Whether no other may follow it.
    last: bool,
}

/// Where in a segment a descriptor stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// At its end, where it may lead to another segment.
    at_end: bool,
    /// In a segment that a Last Segment descriptor led to.
    in_last: bool,
}

/// A walk that is under way.
struct Walk<'w> {
    memory: &'w DmaTable,
    buffer: &'w mut SegmentBuffer,
    /// Bytes of the data that have no place yet.
    rest: u64,
    /// How many descriptors may still be looked at.
    descriptors_left: usize,
    /// What is wrong with a list of the wrong length.
    length_invalid: Status,
}

/// Whether a segment may start at `address`: at a qword.
pub(super) const fn is_segment_address(address: u64) -> bool {
    address.is_multiple_of(8)
}

/// Adds the pieces of the list that starts with `first`, for `bytes` bytes; the
/// status is for a list of the wrong length.
#[cold]
pub(super) fn walk(
    memory: &DmaTable,
    first: &SglDescriptor,
    (bytes, length_invalid): (u64, Status),
    buffer: &mut SegmentBuffer,
) -> Result<(), Status> {
    let mut walk = Walk {
        memory,
        buffer,
        rest: bytes,
        descriptors_left: SGL_DESCRIPTORS_MAX,
        length_invalid,
    };
    let place = Place {
        at_end: true,
        in_last: false,
    };
    let mut next = walk.visit(first, place)?;
    while walk.rest > 0 {
        // The list ends before the data does.
        let segment = next.ok_or(length_invalid)?;
        next = walk.segment(segment)?;
    }
    Ok(())
}

impl Walk<'_> {
    /// Looks at the descriptors of a segment, until all data has its place.
    /// Returns the segment that follows.
    fn segment(&mut self, segment: Segment) -> Result<Option<Segment>, Status> {
        let mut chunk = [SglDescriptor::new_zeroed(); CHUNK];
        let mut at = segment.address;
        let mut left = segment.descriptors;
        // Every turn looks at a descriptor at least, which is bounded.
        while left > 0 {
            let take = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let Some(now) = chunk.get_mut(..take) else {
                return Err(Status::INTERNAL_ERROR);
            };
            self.memory.read_bytes(at, now.as_mut_bytes())?;
            for descriptor in now.iter() {
                left = left.saturating_sub(1);
                let place = Place {
                    at_end: left == 0,
                    in_last: segment.last,
                };
                let next = self.visit(descriptor, place)?;
                if next.is_some() || self.rest == 0 {
                    return Ok(next);
                }
            }
            let bytes = u64::try_from(size_of_val(now)).unwrap_or(0);
            at = at.wrapping_add(bytes);
        }
        Ok(None)
    }

    /// Looks at one descriptor: adds its data, or returns where it leads.
    fn visit(
        &mut self,
        descriptor: &SglDescriptor,
        place: Place,
    ) -> Result<Option<Segment>, Status> {
        self.descriptors_left = match self.descriptors_left.checked_sub(1) {
            Some(left) => left,
            None => return Err(Status::INVALID_NUMBER_OF_SGL.dnr()),
        };
        if descriptor.subtype() != SglSubtype::ADDRESS {
            return Err(Status::SGL_TYPE_INVALID.dnr());
        }
        match descriptor.kind() {
            SglType::DATA_BLOCK => self.data_block(descriptor).map(|()| None),
            SglType::BIT_BUCKET => self.bit_bucket(descriptor).map(|()| None),
            SglType::SEGMENT | SglType::LAST_SEGMENT => {
                self.next_segment(descriptor, place).map(Some)
            }
            _ => Err(Status::SGL_TYPE_INVALID.dnr()),
        }
    }

    fn data_block(&mut self, descriptor: &SglDescriptor) -> Result<(), Status> {
        self.check_end(descriptor)?;
        let take = u64::from(descriptor.length.get()).min(self.rest);
        add_span(self.memory, descriptor.address.get(), take, self.buffer)?;
        self.rest = self.rest.saturating_sub(take);
        Ok(())
    }

    /// A bucket takes bytes of a read, and is as if it were not there in a
    /// write.
    fn bit_bucket(&mut self, descriptor: &SglDescriptor) -> Result<(), Status> {
        if self.buffer.access() == Access::Read {
            return Ok(());
        }
        let take = u64::from(descriptor.length.get()).min(self.rest);
        if !self.buffer.push_sink(take) {
            return Err(Status::INVALID_NUMBER_OF_SGL.dnr());
        }
        self.rest = self.rest.saturating_sub(take);
        Ok(())
    }

    fn next_segment(&self, descriptor: &SglDescriptor, place: Place) -> Result<Segment, Status> {
        if !place.at_end {
            return Err(Status::INVALID_NUMBER_OF_SGL.dnr());
        }
        let address = descriptor.address.get();
        let bytes = u64::from(descriptor.length.get());
        let legal =
            bytes > 0 && bytes.is_multiple_of(DESCRIPTOR_BYTES) && is_segment_address(address);
        if place.in_last || !legal {
            return Err(Status::INVALID_SGL_SEGMENT.dnr());
        }
        self.check_end(descriptor)?;
        Ok(Segment {
            address,
            descriptors: bytes / DESCRIPTOR_BYTES,
            last: descriptor.kind() == SglType::LAST_SEGMENT,
        })
    }

    /// What a descriptor describes may end with the address space, not beyond.
    fn check_end(&self, descriptor: &SglDescriptor) -> Result<(), Status> {
        let bytes = u64::from(descriptor.length.get());
        let last = bytes.saturating_sub(1);
        match descriptor.address.get().checked_add(last) {
            Some(_) => Ok(()),
            None => Err(self.length_invalid),
        }
    }
}

#[cfg(test)]
mod tests;
