//! Whether what is read is what was written.

use nvme::Lba;

use crate::{DmaBuffer, DriverError};

/// Knows what was written, and how it looks.
///
/// A block that was written holds its address and a token of the run over and
/// over, so that data of another address, of another run and torn data are
/// found. All writes of a run to an address are alike: a read that overtakes
/// one is right with what either left.
#[derive(Debug)]
pub(super) struct Verifier {
    token: u64,
    block_bytes: usize,
    /// The first block that may be touched.
    first: u64,
    /// A bit for each block from there whose write completed.
    written: Vec<u64>,
    /// For each slot and each block of its read, whether a write of it had
    /// completed when the read began.
    expected: Vec<bool>,
    /// Blocks that a slot has room for.
    blocks_max: usize,
    /// The data of one command.
    scratch: Vec<u8>,
}

/// Address and token.
const STAMP_BYTES: usize = 16;

impl Verifier {
    /// For a region of `blocks` blocks from `first` on, and commands of
    /// `blocks_max` blocks at most.
    pub(super) fn new(
        seed: u64,
        block_bytes: usize,
        (first, blocks): (u64, u64),
        blocks_max: u32,
        depth: u16,
    ) -> Self {
        let words = usize::try_from(blocks.div_ceil(64)).unwrap_or(usize::MAX);
        let blocks_max = blocks_max as usize;
        Self {
            // Any odd constant keeps seed 0 from a token of 0.
            token: seed ^ 0x7673_7364_5f69_6f77,
            block_bytes,
            first,
            written: vec![0; words],
            expected: vec![false; usize::from(depth) * blocks_max],
            blocks_max,
            scratch: vec![0; block_bytes * blocks_max],
        }
    }

    /// Puts what belongs at the blocks of a write into the buffer.
    pub(super) fn prepare(
        &mut self,
        buffer: &mut DmaBuffer,
        offset: usize,
        lba: Lba,
        blocks: u32,
    ) -> Result<(), DriverError> {
        let bytes = self.block_bytes * blocks as usize;
        let data = self.scratch.get_mut(..bytes).unwrap_or_default();
        for (lba, block) in (lba.0..).zip(data.chunks_exact_mut(self.block_bytes)) {
            let stamp = stamp(Lba(lba), self.token);
            for place in block.as_chunks_mut::<STAMP_BYTES>().0 {
                *place = stamp;
            }
        }
        buffer.write_at(offset, data)
    }

    /// A write completed.
    pub(super) fn written(&mut self, lba: Lba, blocks: u32) {
        let start = lba.0.saturating_sub(self.first);
        for block in start..start + u64::from(blocks) {
            let (word, bit) = position(block);
            if let Some(word) = self.written.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// The command of `slot` is about to read these blocks.
    pub(super) fn expect(&mut self, slot: u16, lba: Lba, blocks: u32) {
        let start = lba.0.saturating_sub(self.first);
        let from = usize::from(slot) * self.blocks_max;
        let expected = self.expected.get_mut(from..).unwrap_or_default();
        for (block, expected) in (start..start + u64::from(blocks)).zip(expected) {
            let (word, bit) = position(block);
            *expected = self.written.get(word).is_some_and(|word| word & bit != 0);
        }
    }

    /// Looks at what the command of `slot` read. Returns how many blocks were
    /// looked at: those that had been written before.
    pub(super) fn check(
        &mut self,
        buffer: &DmaBuffer,
        offset: usize,
        slot: u16,
        (lba, blocks): (Lba, u32),
    ) -> Result<u64, DriverError> {
        let from = usize::from(slot) * self.blocks_max;
        let expected = self.expected.get(from..from + blocks as usize);
        let expected = expected.unwrap_or_default();
        if !expected.contains(&true) {
            return Ok(0);
        }
        let bytes = self.block_bytes * blocks as usize;
        let data = self.scratch.get_mut(..bytes).unwrap_or_default();
        buffer.read_at(offset, data)?;
        let mut looked_at = 0;
        let read = data.chunks_exact(self.block_bytes).zip(expected);
        for (lba, (block, is_expected)) in (lba.0..).zip(read) {
            if !is_expected {
                continue;
            }
            looked_at += 1;
            let right = stamp(Lba(lba), self.token);
            let chunks = block.as_chunks::<STAMP_BYTES>().0;
            if chunks.iter().any(|chunk| *chunk != right) {
                let differs = |chunk: &[u8; STAMP_BYTES]| {
                    chunk.iter().zip(&right).filter(|(a, b)| a != b).count()
                };
                return Err(DriverError::DataMismatch {
                    lba: Lba(lba),
                    bytes: chunks.iter().map(differs).sum(),
                });
            }
        }
        Ok(looked_at)
    }
}

fn stamp(lba: Lba, token: u64) -> [u8; STAMP_BYTES] {
    zerocopy::transmute!([lba.0.to_le_bytes(), token.to_le_bytes()])
}

fn position(block: u64) -> (usize, u64) {
    let word = usize::try_from(block / 64).unwrap_or(usize::MAX);
    (word, 1 << (block % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::memory::DmaArena;

    #[test]
    fn what_was_written_is_right_and_all_else_is_wrong() {
        let mut buffer = DmaArena::new().allocate(4096, |_| Ok(())).unwrap();
        let mut verifier = Verifier::new(7, 512, (0, 200), 2, 4);
        verifier.prepare(&mut buffer, 1024, Lba(40), 2).unwrap();
        verifier.expect(3, Lba(40), 2);
        let before = verifier.check(&buffer, 1024, 3, (Lba(40), 2)).unwrap();
        assert_eq!(before, 0, "nothing is known of what was not written");
        verifier.written(Lba(40), 2);
        verifier.expect(3, Lba(40), 2);
        assert_eq!(verifier.check(&buffer, 1024, 3, (Lba(40), 2)).unwrap(), 2);
        // Another address's data.
        verifier.check(&buffer, 1024, 3, (Lba(41), 2)).unwrap_err();
        // A byte at the end of the second block.
        buffer.write_at(1024 + 1023, &[0xff]).unwrap();
        let error = verifier.check(&buffer, 1024, 3, (Lba(40), 2)).unwrap_err();
        assert!(
            matches!(
                error,
                DriverError::DataMismatch {
                    lba: Lba(41),
                    bytes: 1
                }
            ),
            "{error}"
        );
        // Another run's data.
        let mut other = Verifier::new(8, 512, (0, 200), 2, 4);
        other.prepare(&mut buffer, 1024, Lba(40), 2).unwrap();
        verifier.check(&buffer, 1024, 3, (Lba(40), 2)).unwrap_err();
    }
}
