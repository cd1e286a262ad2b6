//! Blocks on their way to the sink.

use std::io::{self, Write};

use crate::format::{BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_MAX, BlockHeader};
use crate::totals::Counts;

/// Blocks that are written together.
#[derive(Debug, Default)]
pub(super) struct Staged {
    bytes: Vec<u8>,
    blocks: Vec<(BlockHeader, Counts)>,
}

impl Staged {
    /// How many bytes they are.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a block, whose payload `encode` appends, and gives its header back, with
    /// length and checksum of the payload.
    pub(super) fn add(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> (BlockHeader, Counts),
    ) -> BlockHeader {
        let start = self.bytes.len();
        self.bytes.resize(start + BLOCK_HEADER_BYTES, 0);
        let (mut header, counts) = encode(&mut self.bytes);
        let block = self.bytes.get_mut(start..).unwrap_or_default();
        if let Some((front, payload)) = block.split_first_chunk_mut() {
            header.payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            debug_assert!(header.payload_bytes <= BLOCK_PAYLOAD_MAX, "limits add up");
            header.payload_crc = crc32fast::hash(payload);
            *front = header.encode();
        }
        self.blocks.push((header, counts));
        header
    }

    /// Writes them to `sink`, and tells `whole` of each that is whole there, be it
    /// that a later one is not. None is left.
    pub(super) fn write(
        &mut self,
        sink: &mut impl Write,
        mut whole: impl FnMut(BlockHeader, &Counts),
    ) -> io::Result<()> {
        let (written, outcome) = write_some(sink, &self.bytes);
        // Widens.
        let (mut end, written) = (0, written as u64);
        for (header, counts) in self.blocks.drain(..) {
            end += header.stored_bytes();
            if end <= written {
                whole(header, &counts);
            }
        }
        self.bytes.clear();
        outcome
    }
}

/// Writes all of `bytes`, or as much as can be. Gives back how many were written.
fn write_some(sink: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut rest = bytes;
    let outcome = loop {
        if rest.is_empty() {
            break Ok(());
        }
        match sink.write(rest) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(some) => rest = rest.get(some..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    (bytes.len() - rest.len(), outcome)
}
