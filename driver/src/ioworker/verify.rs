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
    blocks_per_io: u32,
    /// A bit for each place whose write completed.
    written: Vec<u64>,
    /// For each slot, whether its read began after a write of its place.
    expected: Vec<bool>,
    /// The data of one command.
    scratch: Vec<u8>,
}

/// Address and token.
const STAMP_BYTES: usize = 16;

impl Verifier {
    pub(super) fn new(
        seed: u64,
        block_bytes: usize,
        blocks_per_io: u32,
        places: u64,
        depth: u16,
    ) -> Self {
        let words = usize::try_from(places.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            // Any odd constant keeps seed 0 from a token of 0.
            token: seed ^ 0x7673_7364_5f69_6f77,
            block_bytes,
            blocks_per_io,
            written: vec![0; words],
            expected: vec![false; usize::from(depth)],
            scratch: vec![0; block_bytes * blocks_per_io as usize],
        }
    }

    /// Puts what belongs at `lba` into the buffer.
    pub(super) fn stamp(
        &mut self,
        buffer: &mut DmaBuffer,
        offset: usize,
        lba: Lba,
    ) -> Result<(), DriverError> {
        let blocks = self.scratch.chunks_exact_mut(self.block_bytes);
        for (lba, block) in (lba.0..).zip(blocks) {
            let stamp = stamp(Lba(lba), self.token);
            for place in block.as_chunks_mut::<STAMP_BYTES>().0 {
                *place = stamp;
            }
        }
        buffer.write_at(offset, &self.scratch)
    }

    /// A write of `place` completed.
    pub(super) fn written(&mut self, place: u64) {
        let (word, bit) = position(place);
        if let Some(word) = self.written.get_mut(word) {
            *word |= bit;
        }
    }

    /// The command of `slot` is about to read `place`.
    pub(super) fn expect(&mut self, slot: u16, place: u64) {
        let (word, bit) = position(place);
        let is_written = self.written.get(word).is_some_and(|word| word & bit != 0);
        if let Some(expected) = self.expected.get_mut(usize::from(slot)) {
            *expected = is_written;
        }
    }

    /// Looks at what the command of `slot` read. Returns how many blocks were
    /// looked at: none where nothing was written there before.
    pub(super) fn check(
        &mut self,
        buffer: &DmaBuffer,
        offset: usize,
        slot: u16,
        lba: Lba,
    ) -> Result<u64, DriverError> {
        if !self.expected.get(usize::from(slot)).is_some_and(|&is| is) {
            return Ok(0);
        }
        buffer.read_at(offset, &mut self.scratch)?;
        let blocks = self.scratch.chunks_exact(self.block_bytes);
        for (lba, block) in (lba.0..).zip(blocks) {
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
        Ok(u64::from(self.blocks_per_io))
    }
}

fn stamp(lba: Lba, token: u64) -> [u8; STAMP_BYTES] {
    zerocopy::transmute!([lba.0.to_le_bytes(), token.to_le_bytes()])
}

fn position(place: u64) -> (usize, u64) {
    let word = usize::try_from(place / 64).unwrap_or(usize::MAX);
    (word, 1 << (place % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::memory::DmaArena;

    #[test]
    fn what_was_written_is_right_and_all_else_is_wrong() {
        let mut buffer = DmaArena::new().allocate(4096, |_| Ok(())).unwrap();
        let mut verifier = Verifier::new(7, 512, 2, 100, 4);
        verifier.stamp(&mut buffer, 1024, Lba(40)).unwrap();
        verifier.expect(3, 20);
        let before = verifier.check(&buffer, 1024, 3, Lba(40)).unwrap();
        assert_eq!(before, 0, "nothing is known of what was not written");
        verifier.written(20);
        verifier.expect(3, 20);
        assert_eq!(verifier.check(&buffer, 1024, 3, Lba(40)).unwrap(), 2);
        // Another address's data.
        verifier.check(&buffer, 1024, 3, Lba(41)).unwrap_err();
        // A byte at the end of the second block.
        buffer.write_at(1024 + 1023, &[0xff]).unwrap();
        let error = verifier.check(&buffer, 1024, 3, Lba(40)).unwrap_err();
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
        let mut other = Verifier::new(8, 512, 2, 100, 4);
        other.stamp(&mut buffer, 1024, Lba(40)).unwrap();
        verifier.check(&buffer, 1024, 3, Lba(40)).unwrap_err();
    }
}
