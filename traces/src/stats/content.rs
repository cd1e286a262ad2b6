//! What is written: how much of it is zeroes, how much was written before, and
//! how well the rest compresses.

use std::collections::HashMap;

use serde::Serialize;

use crate::{BlockDigest, CommandRecord, Digester, Payload};

/// Different blocks that are counted exactly; of more, a sample by their hashes
/// is.
const SAMPLE_MAX: usize = 1 << 20;

/// What is written, by logical blocks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Content {
    /// Writes of which the trace has payload.
    pub writes: u64,
    /// Writes of which it has none.
    pub writes_without: u64,
    /// Blocks that were written, and what that is in bytes.
    pub blocks: u64,
    /// The same in bytes.
    pub bytes: u64,
    /// Of the blocks, those of zeroes.
    pub zero_blocks: u64,
    /// The share of the others that were written before, anywhere: 0 to 1.
    pub duplicate_share: f64,
    /// One in so many of the different blocks was looked at for that.
    pub sampled_one_in: u64,
    /// To what share of its bytes zstd at level 1 compresses what is not zeroes,
    /// each block by itself, to a sixteenth: 0 to 1. Duplicates count.
    pub packed_share: f64,
    /// How many blocks compress to so many sixteenths; the first are zeroes.
    pub packed_sixteenths: [u64; 17],
}

/// Gathers [`Content`].
#[derive(Debug, Default)]
pub(crate) struct Gatherer {
    writes: u64,
    writes_without: u64,
    blocks: u64,
    bytes: u64,
    packed: [u64; 17],
    packed_bytes: u64,
    nonzero_bytes: u64,
    /// How often each block was written whose hash ends in `level` zeroes.
    seen: HashMap<u64, u64>,
    level: u32,
    digester: Digester,
}

impl Gatherer {
    pub(crate) fn add(&mut self, command: &CommandRecord, payload: Option<&Payload>) {
        if !command.may_have_payload() {
            return;
        }
        let Some(payload) = payload else {
            self.writes_without += 1;
            return;
        };
        self.writes += 1;
        let block_bytes = u64::from(payload.block_bytes());
        for digest in payload.digests(&mut self.digester) {
            self.block(digest, block_bytes);
        }
    }

    fn block(&mut self, digest: BlockDigest, bytes: u64) {
        self.blocks += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let sixteenths = usize::from(digest.packed).min(16);
        self.packed[sixteenths] += 1;
        if digest.is_zero() {
            return;
        }
        self.nonzero_bytes = self.nonzero_bytes.saturating_add(bytes);
        self.packed_bytes = self
            .packed_bytes
            .saturating_add(bytes * u64::from(digest.packed.min(16)) / 16);
        if digest.hash.trailing_zeros() < self.level {
            return;
        }
        *self.seen.entry(digest.hash).or_default() += 1;
        if self.seen.len() > SAMPLE_MAX {
            self.level += 1;
            let level = self.level;
            self.seen.retain(|hash, _| hash.trailing_zeros() >= level);
        }
    }

    /// None where the trace has no payload.
    #[expect(clippy::cast_precision_loss, reason = "shares")]
    pub(crate) fn finish(self) -> Option<Content> {
        if self.writes == 0 {
            return None;
        }
        let share = |part: u64, whole: u64| {
            if whole == 0 {
                0.0
            } else {
                part as f64 / whole as f64
            }
        };
        let written: u64 = self.seen.values().sum();
        // Widens.
        let different = self.seen.len() as u64;
        Some(Content {
            writes: self.writes,
            writes_without: self.writes_without,
            blocks: self.blocks,
            bytes: self.bytes,
            zero_blocks: self.packed[0],
            duplicate_share: share(written - different, written),
            sampled_one_in: 1 << self.level,
            packed_share: share(self.packed_bytes, self.nonzero_bytes),
            packed_sixteenths: self.packed,
        })
    }
}

impl Content {
    /// What is written, for people: a line.
    #[must_use]
    pub fn line(&self) -> String {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let zeroes = self.zero_blocks as f64 / self.blocks.max(1) as f64;
        let mut line = format!("{} zeroes", percent(zeroes));
        if self.zero_blocks < self.blocks {
            line += &format!(
                "; of the rest {} duplicates, packs to {}",
                percent(self.duplicate_share),
                percent(self.packed_share)
            );
        }
        if let Some(ratio) = self.dedup_ratio() {
            line += &format!("; kept once each, {ratio:.2} to 1");
        }
        if self.sampled_one_in > 1 {
            line += &format!(" (by one block in {})", self.sampled_one_in);
        }
        line
    }

    /// How much smaller a store gets that keeps each block once and none of
    /// zeroes: 2.5 is two and a half to one; none where nothing is left.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    pub fn dedup_ratio(&self) -> Option<f64> {
        let kept = (self.blocks - self.zero_blocks) as f64 * (1.0 - self.duplicate_share);
        (kept > 0.0).then(|| self.blocks as f64 / kept)
    }
}
