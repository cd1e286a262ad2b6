//! Blocks that say what they are: where they belong, and which of the writes there
//! they are from.
//!
//! The program `disk_checks` writes them in a guest; tests look for them in the image.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The size of a block, bytes.
pub const BLOCK_BYTES: usize = 4096;
/// How many threads write at once, and so how many commands are in flight.
pub const THREADS: u64 = 16;
/// How many blocks each of them has for itself.
pub const BLOCKS_EACH: u64 = 256;
/// Size of a disk that is large enough, bytes.
pub const DISK_BYTES: u64 = THREADS * BLOCKS_EACH * BLOCK_BYTES as u64;
/// The most blocks that a round writes.
const ROUND_BLOCKS_MAX: u64 = 6;

/// Fills a block with what write `generation` puts at block `number`; 0 is zeroes.
pub fn fill(block: &mut [u8], number: u64, generation: u64) {
    if generation == 0 {
        block.fill(0);
        return;
    }
    let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ generation;
    let mut random = fastrand::Rng::with_seed(seed);
    let words = [number, generation]
        .into_iter()
        .chain(std::iter::from_fn(|| Some(random.u64(..))));
    for (to, word) in block.chunks_exact_mut(size_of::<u64>()).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
}

/// The generation of a block that belongs at `number`.
///
/// # Errors
///
/// What is there instead, in words.
pub fn generation(block: &[u8], number: u64) -> Result<u64, String> {
    let word = |at: usize| {
        let bytes = block.get(at * 8..at * 8 + 8);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    let (there, generation) = (word(0), word(1));
    let mut whole = vec![0; block.len()];
    fill(&mut whole, there, generation);
    if whole != block {
        let parts = whole.chunks(512).zip(block.chunks(512));
        let wrong = parts.filter(|(expected, found)| expected != found).count();
        return Err(format!(
            "block {number} is torn: it begins as write {generation} of block {there}, which {wrong} \
             of its sectors are not from"
        ));
    }
    if generation != 0 && there != number {
        return Err(format!(
            "block {number} holds write {generation} of block {there}"
        ));
    }
    Ok(generation)
}

/// What thread `thread` writes in a round before it flushes: the same blocks whoever
/// asks, each once, in order.
#[must_use]
pub fn round(seed: u64, thread: u64, round: u64) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(seed ^ (thread << 48) ^ round);
    let count = random.u64(1..=ROUND_BLOCKS_MAX);
    let first = thread * BLOCKS_EACH;
    let blocks = (0..count).map(|_| first + random.u64(..BLOCKS_EACH));
    blocks
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// Reads the generations of all blocks of an image.
///
/// # Errors
///
/// The first block that is not what it says, or that cannot be read.
pub fn generations(image: &File) -> Result<Vec<u64>, String> {
    let mut block = [0; BLOCK_BYTES];
    let numbers = (0..THREADS * BLOCKS_EACH).zip((0..).step_by(BLOCK_BYTES));
    let read = |(number, offset): (u64, u64)| {
        let told = |e: io::Error| format!("block {number}: {e}");
        image.read_exact_at(&mut block, offset).map_err(told)?;
        generation(&block, number)
    };
    numbers.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_known_again_and_no_other_is_taken_for_it() {
        let mut block = [0xff; BLOCK_BYTES];
        fill(&mut block, 7, 3);
        assert_eq!(generation(&block, 7), Ok(3));
        let elsewhere = generation(&block, 8).unwrap_err();
        assert!(elsewhere.contains("write 3 of block 7"), "{elsewhere}");
        block[4000] ^= 1;
        let torn = generation(&block, 7).unwrap_err();
        assert!(torn.contains("1 of its sectors"), "{torn}");
        fill(&mut block, 7, 0);
        assert_eq!(generation(&block, 7), Ok(0));
    }

    #[test]
    fn a_round_is_the_same_for_all() {
        for number in 0..100 {
            let blocks = round(5, 3, number);
            assert_eq!(blocks, round(5, 3, number));
            let own = 3 * BLOCKS_EACH..4 * BLOCKS_EACH;
            assert!(blocks.iter().all(|block| own.contains(block)), "{blocks:?}");
        }
    }
}
