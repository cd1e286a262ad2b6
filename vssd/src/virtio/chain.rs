//! From a chain of descriptors to a request: its header, the pieces of guest
//! memory that hold its data, and where its status goes.
//!
//! ```text
//!   the device reads     header (16 bytes), data
//!   the device writes    data, status (1 byte)
//! ```
//!
//! How these are cut into descriptors is the driver's choice
//! (`Virtio 1.2 §2.7.4`). A chain that is none cannot be answered and spoils its
//! queue; a chain that asks for nonsense is answered with an error.

use std::fmt;

use nvme::Status;
use zerocopy::FromBytes;

use super::layout::{Descriptor, RequestHeader};
use crate::DmaTable;
use crate::memory::{Access, Part, SegmentBuffer};
use crate::transfer::add_span;

/// The most descriptors of a chain, however large its queue or table is.
pub(crate) const DESCRIPTORS_MAX: u16 = 1024;
/// The most data of a chain, bytes: more than any command can have.
const DATA_BYTES_MAX: u64 = 1 << 28;
/// Size of a [`RequestHeader`].
const HEADER_BYTES: usize = size_of::<RequestHeader>();

/// What is wrong with a queue that cannot be served any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An index of the driver's jumped by more than the queue has.
    IndexJumped,
    /// A chain starts beyond the table.
    HeadOutOfRange,
    /// A chain was made available again before it was used.
    HeadInUse,
    /// A chain goes on beyond its table.
    NextOutOfRange,
    /// A chain does not end, or has more descriptors than any request.
    TooLong,
    /// What the device reads comes behind what it writes.
    Order,
    /// An indirect table inside one, or one that has no whole descriptors.
    Indirect,
    /// A chain has no byte for the status.
    NoStatus,
    /// There is no memory where descriptors or the status are said to be.
    Unmapped,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IndexJumped => "the index of available requests jumped",
            Self::HeadOutOfRange => "a request starts beyond the descriptor table",
            Self::HeadInUse => "a request was made available while it is being served",
            Self::NextOutOfRange => "a request goes on beyond its descriptor table",
            Self::TooLong => "a request has a loop, or too many descriptors",
            Self::Order => "a request has memory to be read behind memory to be written",
            Self::Indirect => "a request has an indirect table that is none",
            Self::NoStatus => "a request has no room for its status",
            Self::Unmapped => "a request is not in guest memory",
        })
    }
}

/// A chain whose data is in the [`SegmentBuffer`] that it was gathered into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    /// What is asked for; none where the chain is too short to say.
    pub(crate) header: Option<RequestHeader>,
    /// Bytes of data that the device reads.
    pub(crate) out_bytes: u64,
    /// Bytes of data that the device writes.
    pub(crate) in_bytes: u64,
    /// The address of the status byte.
    pub(crate) status: u64,
    /// Why the data cannot be moved, where it cannot.
    pub(crate) problem: Option<Status>,
}

impl Chain {
    /// What the used ring says was written, bytes.
    pub(crate) fn written(&self) -> u32 {
        u32::try_from(self.in_bytes.saturating_add(1)).unwrap_or(u32::MAX)
    }
}

/// Follows the chain that starts at `head` of the table `descriptors`, which
/// has `size` descriptors.
#[inline]
pub(crate) fn gather(
    (descriptors, size): (&mut Part, u16),
    head: u16,
    memory: &DmaTable,
    buffer: &mut SegmentBuffer,
) -> Result<Chain, Fault> {
    let mut walk = Walk::new(memory, buffer);
    let mut index = head;
    // A longer one has a loop.
    for _ in 0..size.min(DESCRIPTORS_MAX) {
        if index >= size {
            return Err(Fault::NextOutOfRange);
        }
        let descriptor = in_queue(descriptors, index, memory).ok_or(Fault::Unmapped)?;
        if descriptor.has(Descriptor::INDIRECT) {
            walk.indirect(&descriptor)?;
            return walk.end();
        }
        walk.take(&descriptor)?;
        if !descriptor.has(Descriptor::NEXT) {
            return walk.end();
        }
        index = descriptor.next.get();
    }
    Err(Fault::TooLong)
}

/// The descriptor at `index` of a queue's own table; none while it is not mapped.
#[inline]
fn in_queue(descriptors: &mut Part, index: u16, memory: &DmaTable) -> Option<Descriptor> {
    let at = usize::from(index).saturating_mul(Descriptor::BYTES);
    Descriptor::read_from_bytes(&descriptors.read_descriptor(memory, at)?).ok()
}

/// The descriptor at `address` of an indirect table; none where there is no memory.
#[inline]
fn in_table(address: u64, memory: &DmaTable) -> Option<Descriptor> {
    let mut bytes = [0; Descriptor::BYTES];
    memory.read_bytes(address, &mut bytes).ok()?;
    Descriptor::read_from_bytes(&bytes).ok()
}

/// The header of the request whose chain starts at `head`, without a look at the
/// rest. None where it is not in one piece.
#[inline]
pub(crate) fn peek(
    (descriptors, size): (&mut Part, u16),
    head: u16,
    memory: &DmaTable,
) -> Option<RequestHeader> {
    if head >= size {
        return None;
    }
    let mut first = in_queue(descriptors, head, memory)?;
    if first.has(Descriptor::INDIRECT) {
        first = in_table(first.address.get(), memory)?;
    }
    let len = usize::try_from(first.len.get()).ok()?;
    if first.has(Descriptor::INDIRECT | Descriptor::WRITE) || len < HEADER_BYTES {
        return None;
    }
    let mut header = [0; HEADER_BYTES];
    memory.read_bytes(first.address.get(), &mut header).ok()?;
    RequestHeader::read_from_bytes(&header).ok()
}

/// A piece of a chain.
#[derive(Clone, Copy, Debug)]
struct Span {
    address: u64,
    bytes: u64,
}

struct Walk<'w> {
    memory: &'w DmaTable,
    buffer: &'w mut SegmentBuffer,
    header: [u8; HEADER_BYTES],
    header_got: usize,
    out_bytes: u64,
    in_bytes: u64,
    /// The last piece to be written: its last byte may be the status.
    last: Option<Span>,
    problem: Option<Status>,
}

impl<'w> Walk<'w> {
    fn new(memory: &'w DmaTable, buffer: &'w mut SegmentBuffer) -> Self {
        buffer.start(Access::Read);
        Self {
            memory,
            buffer,
            header: [0; HEADER_BYTES],
            header_got: 0,
            out_bytes: 0,
            in_bytes: 0,
            last: None,
            problem: None,
        }
    }

    /// Goes on in the table that `descriptor` describes
    /// (`Virtio 1.2 §2.7.5.3`).
    fn indirect(&mut self, descriptor: &Descriptor) -> Result<(), Fault> {
        let bytes = usize::try_from(descriptor.len.get()).map_err(|_| Fault::Indirect)?;
        let entries = bytes / Descriptor::BYTES;
        if descriptor.has(Descriptor::NEXT)
            || entries == 0
            || !bytes.is_multiple_of(Descriptor::BYTES)
        {
            return Err(Fault::Indirect);
        }
        let mut index = 0_u16;
        for _ in 0..entries.min(usize::from(DESCRIPTORS_MAX)) {
            if usize::from(index) >= entries {
                return Err(Fault::NextOutOfRange);
            }
            let skip = u64::from(index).saturating_mul(16);
            let at = descriptor
                .address
                .get()
                .checked_add(skip)
                .ok_or(Fault::Unmapped)?;
            let entry = in_table(at, self.memory).ok_or(Fault::Unmapped)?;
            if entry.has(Descriptor::INDIRECT) {
                return Err(Fault::Indirect);
            }
            self.take(&entry)?;
            if !entry.has(Descriptor::NEXT) {
                return Ok(());
            }
            index = entry.next.get();
        }
        Err(Fault::TooLong)
    }

    /// Takes the memory of one descriptor.
    #[inline]
    fn take(&mut self, descriptor: &Descriptor) -> Result<(), Fault> {
        let mut span = Span {
            address: descriptor.address.get(),
            bytes: descriptor.len.get().into(),
        };
        if descriptor.has(Descriptor::WRITE) {
            if span.bytes > 0
                && let Some(before) = self.last.replace(span)
            {
                self.data_in(before);
            }
            return Ok(());
        }
        if self.last.is_some() {
            return Err(Fault::Order);
        }
        if self.header_got < HEADER_BYTES {
            self.take_header(&mut span)?;
        }
        if span.bytes > 0 {
            self.out_bytes = self.out_bytes.saturating_add(span.bytes);
            self.add(span);
        }
        Ok(())
    }

    /// Takes what the header lacks from the beginning of `span`.
    fn take_header(&mut self, span: &mut Span) -> Result<(), Fault> {
        let missing = HEADER_BYTES.saturating_sub(self.header_got);
        let take = usize::try_from(span.bytes).map_or(missing, |bytes| bytes.min(missing));
        let end = self.header_got.saturating_add(take);
        let to = self
            .header
            .get_mut(self.header_got..end)
            .unwrap_or_default();
        self.memory
            .read_bytes(span.address, to)
            .map_err(|_| Fault::Unmapped)?;
        self.header_got = end;
        let taken = u64::try_from(take).unwrap_or(0);
        span.address = span.address.saturating_add(taken);
        span.bytes = span.bytes.saturating_sub(taken);
        Ok(())
    }

    fn data_in(&mut self, span: Span) {
        if span.bytes == 0 {
            return;
        }
        if self.out_bytes > 0 {
            // No request moves data both ways.
            self.problem = Some(Status::INVALID_FIELD.dnr());
        } else if self.in_bytes == 0 {
            self.buffer.start(Access::Write);
        }
        self.in_bytes = self.in_bytes.saturating_add(span.bytes);
        self.add(span);
    }

    /// Finds the host's memory for data.
    fn add(&mut self, span: Span) {
        if self.problem.is_some() {
            return;
        }
        if self.out_bytes.max(self.in_bytes) > DATA_BYTES_MAX {
            self.problem = Some(Status::INVALID_FIELD.dnr());
            return;
        }
        self.problem = add_span(self.memory, span.address, span.bytes, self.buffer).err();
    }

    /// The chain has ended.
    #[inline]
    fn end(mut self) -> Result<Chain, Fault> {
        let last = self.last.ok_or(Fault::NoStatus)?;
        let rest = last.bytes.saturating_sub(1);
        let status = last.address.checked_add(rest).ok_or(Fault::Unmapped)?;
        self.data_in(Span {
            bytes: rest,
            ..last
        });
        if self.memory.resolve(status, Access::Write).is_err() {
            return Err(Fault::Unmapped);
        }
        let header = (self.header_got == HEADER_BYTES)
            .then(|| RequestHeader::read_from_bytes(&self.header).ok())
            .flatten();
        Ok(Chain {
            header,
            out_bytes: self.out_bytes,
            in_bytes: self.in_bytes,
            status,
            problem: self.problem,
        })
    }
}
