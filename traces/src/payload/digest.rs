//! What tells blocks apart, and how well they compress.

use std::fmt;

use twox_hash::XxHash3_64;
use zstd::bulk::Compressor;

use super::BlockDigest;

/// What the header calls the hash.
pub(super) const HASH_NAME: &str = "xxh3-64";
/// The level of zstd that compressibility is told by.
const LEVEL: i32 = 1;

/// Makes [`BlockDigest`]s. It keeps the compressor's memory from block to block.
pub struct Digester {
    /// None where there is no memory for one: everything counts as
    /// incompressible then.
    compressor: Option<Compressor<'static>>,
    scratch: Vec<u8>,
}

impl Default for Digester {
    fn default() -> Self {
        Self {
            compressor: Compressor::new(LEVEL).ok(),
            scratch: Vec::new(),
        }
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digester").finish_non_exhaustive()
    }
}

impl Digester {
    /// The digest of one block.
    #[must_use]
    pub fn digest(&mut self, block: &[u8]) -> BlockDigest {
        if is_zero(block) {
            return BlockDigest::default();
        }
        BlockDigest {
            hash: XxHash3_64::oneshot(block),
            packed: self.packed(block),
        }
    }

    /// To how many sixteenths it compresses.
    fn packed(&mut self, block: &[u8]) -> u8 {
        const INCOMPRESSIBLE: u8 = 16;
        self.scratch
            .resize(zstd::zstd_safe::compress_bound(block.len()), 0);
        let Some(compressor) = &mut self.compressor else {
            return INCOMPRESSIBLE;
        };
        match compressor.compress_to_buffer(block, &mut self.scratch) {
            Ok(bytes) => {
                let sixteenths = (bytes * 16).div_ceil(block.len().max(1));
                u8::try_from(sixteenths)
                    .unwrap_or(INCOMPRESSIBLE)
                    .clamp(1, INCOMPRESSIBLE)
            }
            Err(_) => INCOMPRESSIBLE,
        }
    }
}

/// Whether it is all zeroes.
pub(crate) fn is_zero(block: &[u8]) -> bool {
    // Seventeen bytes decide for almost all that is not.
    let (first, rest) = block.split_at(block.len().min(16));
    first.iter().all(|byte| *byte == 0)
        && rest
            .chunks(64)
            .all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}
