//! The way of what is written, beside the ring of commands: bytes of data, each
//! piece behind a header.
//!
//! ```text
//!   PayloadTap --- ring of bytes ---> PayloadDrain ---> traces::Writer
//!   (one copy of the data,            (hashes or
//!    nothing else)                     compresses)
//! ```

use std::io::Write;

use rtrb::{Consumer, Producer, RingBuffer};
use traces::{PayloadPlace, TraceError, Writer};

/// The longest piece, bytes: a long transfer goes through the ring in several.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// The smallest ring: two of the longest pieces, with their headers.
const RING_BYTES_MIN: usize = 2 * (PIECE_BYTES_MAX + HEAD_BYTES);
/// A header's length.
const HEAD_BYTES: usize = 32;
/// What lost payload leaves free, so that the count of it has room.
const KEPT_BYTES: usize = 2 * HEAD_BYTES;

/// What stands before a piece. A piece without blocks tells of lost payload:
/// its length is the number of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    place: PayloadPlace,
    bytes: u64,
}

impl Head {
    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        let (place, at) = (&self.place, &mut 0);
        let mut put = |field: &[u8]| {
            head[*at..*at + field.len()].copy_from_slice(field);
            *at += field.len();
        };
        put(&place.sequence.to_le_bytes());
        put(&place.submit_ns.to_le_bytes());
        put(&self.bytes.to_le_bytes());
        put(&place.block_bytes.to_le_bytes());
        put(&place.first_block.to_le_bytes());
        head
    }

    fn decode(head: &[u8; HEAD_BYTES]) -> Self {
        let (wide, narrow) = head.split_at(24);
        let wide = |at: usize| wide[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let narrow = |at: usize| narrow[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        Self {
            place: PayloadPlace {
                sequence: wide(0),
                submit_ns: wide(8),
                block_bytes: narrow(0),
                first_block: narrow(4),
            },
            bytes: wide(16),
        }
    }
}

/// The ring, of at least so many bytes.
pub(crate) fn ring(bytes: usize) -> (PayloadTap, PayloadDrain) {
    let (producer, consumer) = RingBuffer::new(bytes.max(RING_BYTES_MIN));
    let tap = PayloadTap {
        ring: producer,
        unsaid: None,
    };
    let drain = PayloadDrain {
        ring: consumer,
        piece: Vec::with_capacity(PIECE_BYTES_MAX),
        lost: 0,
    };
    (tap, drain)
}

/// The data path's end.
#[derive(Debug)]
pub(crate) struct PayloadTap {
    ring: Producer<u8>,
    /// The first command whose payload was lost and not told of yet, and how
    /// many those are.
    unsaid: Option<(PayloadPlace, u64)>,
}

impl PayloadTap {
    /// Whether there is room for a piece of so many bytes.
    fn has_room(&self, bytes: usize) -> bool {
        self.ring.slots() >= HEAD_BYTES + bytes
    }

    /// Whether the ring is more than half full.
    pub(crate) fn is_filling(&self) -> bool {
        self.ring.slots() < self.ring.buffer().capacity() / 2
    }

    /// Puts all of a command's data into the ring, piece by piece, each once
    /// `wait` has made room for it, which it is told the need of in a question
    /// whether that is there. Ends early where it gives up.
    pub(crate) fn push(
        &mut self,
        place: &PayloadPlace,
        bytes: usize,
        copy: &mut dyn FnMut(&mut [u8]),
        mut wait: impl FnMut(&dyn Fn() -> bool) -> bool,
    ) {
        let block = place.block_bytes.max(1) as usize;
        let piece_max = (PIECE_BYTES_MAX / block).max(1) * block;
        let (mut place, mut left) = (*place, bytes);
        while left > 0 {
            let piece = left.min(piece_max);
            if !self.has_room(piece) && !wait(&|| self.has_room(piece)) {
                return;
            }
            self.put(&place, piece, copy);
            let blocks = u32::try_from(piece / block).unwrap_or(u32::MAX);
            place.first_block = place.first_block.saturating_add(blocks);
            left -= piece;
        }
    }

    /// As [`PayloadTap::push`], all of it or, where there is no room for all of
    /// it, nothing: then the first command that no count in the ring tells of.
    pub(crate) fn try_push(
        &mut self,
        place: &PayloadPlace,
        bytes: usize,
        copy: &mut dyn FnMut(&mut [u8]),
    ) -> Option<PayloadPlace> {
        let heads = (2 + bytes / (PIECE_BYTES_MAX / 2)) * HEAD_BYTES;
        if self.ring.slots() < bytes.saturating_add(heads + KEPT_BYTES) {
            let (first, lost) = self.unsaid.get_or_insert((*place, 0));
            *lost += 1;
            return Some(*first);
        }
        if let Some((first, lost)) = self.unsaid.take() {
            let head = Head {
                place: PayloadPlace {
                    block_bytes: 0,
                    ..first
                },
                bytes: lost,
            };
            let pushed = self.ring.push_entire_slice(&head.encode());
            debug_assert!(pushed.is_ok(), "room was kept for it");
        }
        self.push(place, bytes, copy, |_| false);
        None
    }

    /// Puts a piece that there is room for.
    fn put(&mut self, place: &PayloadPlace, bytes: usize, copy: &mut dyn FnMut(&mut [u8])) {
        // Widens.
        let head = Head {
            place: *place,
            bytes: bytes as u64,
        };
        // The ring shows nothing of a piece before all of it is there.
        let Ok(mut chunk) = self.ring.write_chunk(HEAD_BYTES + bytes) else {
            debug_assert!(false, "room was made before");
            return;
        };
        let (first, second) = chunk.as_mut_slices();
        let head = head.encode();
        let split = first.len().min(HEAD_BYTES);
        first[..split].copy_from_slice(&head[..split]);
        second[..HEAD_BYTES - split].copy_from_slice(&head[split..]);
        copy(&mut first[split..]);
        copy(&mut second[HEAD_BYTES - split..]);
        chunk.commit_all();
    }
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct PayloadDrain {
    ring: Consumer<u8>,
    piece: Vec<u8>,
    /// Commands whose payload was lost, as far as the ring told.
    lost: u64,
}

impl PayloadDrain {
    /// Whether more than a quarter of the ring is full.
    pub(crate) fn is_filling(&self) -> bool {
        self.ring.slots() > self.ring.buffer().capacity() / 4
    }

    /// Writes what is in the ring.
    pub(crate) fn drain<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), TraceError> {
        let mut head = [0; HEAD_BYTES];
        // What comes meanwhile is for the next time.
        let mut left = self.ring.slots();
        while left >= HEAD_BYTES && self.ring.pop_entire_slice(&mut head).is_ok() {
            let Head { place, bytes } = Head::decode(&head);
            left -= HEAD_BYTES;
            if place.block_bytes == 0 {
                self.lost += bytes;
                writer.payload_lost(place, bytes)?;
                continue;
            }
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            self.piece.resize(bytes.min(left), 0);
            let popped = self.ring.pop_entire_slice(&mut self.piece);
            debug_assert!(popped.is_ok() && bytes <= left, "a piece is pushed whole");
            left = left.saturating_sub(bytes);
            writer.payload(place, &self.piece)?;
        }
        Ok(())
    }

    /// Says what was lost and not told of in the ring: `lost` is all of it, and
    /// the first of what was not told has this place.
    pub(crate) fn say_lost<W: Write>(
        &self,
        writer: &mut Writer<W>,
        (lost, place): (u64, PayloadPlace),
    ) -> Result<(), TraceError> {
        match lost.saturating_sub(self.lost) {
            0 => Ok(()),
            unsaid => writer.payload_lost(place, unsaid),
        }
    }
}
