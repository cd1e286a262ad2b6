//! The data of writes that the trace tells of: as they were recorded, or made so
//! that equal blocks are equal again and compress as well.

use driver::transport::Transport;
use driver::{Controller, DmaBuffer, DmaSlice};
use fastrand::Rng;
use traces::{BlockDigest, Clock, Payload, PayloadContent};

use crate::plan::Plan;
use crate::{DataSource, ReplayError, ReplayOptions, TraceFacts};

/// The most memory for the data of commands in flight.
const BYTES_MAX: usize = 256 << 20;
const PAGE: usize = 4096;
/// How many different blocks there are that duplicates are of.
const SHARED_BLOCKS: u64 = 256;

/// What is written where no recorded data are.
#[derive(Clone, Debug)]
struct Maker {
    random: Rng,
    /// Of all blocks, so many in a hundred are duplicates.
    dedup: u8,
    /// To how many sixteenths each compresses.
    packed: u8,
    next: u64,
    seed: u64,
}

impl Maker {
    fn new(seed: u64, dedup: u8, compressibility: u8) -> Self {
        let left = 100_u8.saturating_sub(compressibility);
        // Rounded up, but for what is all zeroes.
        let packed = (u32::from(left) * 16).div_ceil(100);
        Self {
            random: Rng::with_seed(seed),
            dedup,
            packed: u8::try_from(packed).unwrap_or(16),
            next: SHARED_BLOCKS,
            seed,
        }
    }

    /// What the next block is.
    fn next(&mut self) -> BlockDigest {
        let number = if self.random.u8(0..100) < self.dedup {
            self.random.u64(0..SHARED_BLOCKS)
        } else {
            self.next += 1;
            self.next
        };
        BlockDigest {
            hash: number ^ self.seed.rotate_left(32),
            packed: self.packed,
        }
    }
}

/// The data that writes carry which do not write the pattern.
#[derive(Debug)]
pub(crate) struct Content {
    slots: DataSlots,
    /// Makes data where none were recorded.
    maker: Option<Maker>,
    /// Whether writes carry what was recorded, where that is known.
    pub(crate) pays: bool,
}

impl Content {
    /// For commands of up to `transfer` bytes, of which `in_flight` are in
    /// flight at a time; none where all writes carry the pattern.
    pub(crate) fn new<T: Transport, C: Clock>(
        controller: &mut Controller<T, C>,
        facts: &TraceFacts,
        options: &ReplayOptions,
        (transfer, in_flight): (usize, usize),
    ) -> Result<Option<Self>, ReplayError> {
        let pays = options.data == DataSource::Recorded && facts.has_payload;
        let wanted = pays || options.dedup.is_some();
        if options.verify || !wanted || facts.writes() == 0 {
            return Ok(None);
        }
        let maker = |dedup| Maker::new(options.seed, dedup, options.compressibility);
        Ok(Some(Self {
            slots: DataSlots::allocate(controller, transfer, in_flight)?,
            maker: options.dedup.map(maker),
            pays,
        }))
    }

    /// Whether there is memory for what `plan` writes.
    pub(crate) fn has_room(&self, plan: &Plan) -> bool {
        let own = plan.writes() && (plan.is_paid() || self.maker.is_some());
        !own || self.slots.has_room()
    }

    pub(crate) fn free(&mut self, slot: u16) {
        self.slots.free(slot);
    }

    /// The data of a piece of `bytes` bytes: where it is in what was recorded, or
    /// made in blocks of the target's `block_bytes`. None where it writes the
    /// pattern.
    pub(crate) fn data(
        &mut self,
        payload: Option<(&Payload, usize)>,
        (block_bytes, bytes): (usize, usize),
    ) -> Result<Option<(u16, DmaSlice<'_>)>, ReplayError> {
        match (payload, &mut self.maker) {
            (Some((payload, offset)), _) => self.slots.put(payload, (offset, bytes)),
            (None, Some(maker)) => self.slots.put_made(maker, (block_bytes, bytes)),
            (None, None) => Ok(None),
        }
    }
}

/// Memory for the data of each write in flight, all of it allocated before the
/// first command.
#[derive(Debug)]
struct DataSlots {
    data: DmaBuffer,
    stride: usize,
    free: Vec<u16>,
    block: Vec<u8>,
}

impl DataSlots {
    /// For commands of up to `transfer` bytes, of which `in_flight` are in
    /// flight at a time.
    fn allocate<T: Transport, C: Clock>(
        controller: &mut Controller<T, C>,
        transfer: usize,
        in_flight: usize,
    ) -> Result<Self, ReplayError> {
        let stride = transfer.max(PAGE).next_multiple_of(PAGE);
        let count = in_flight.min(BYTES_MAX / stride).clamp(1, 1 << 15);
        let data = controller
            .allocate_dma(count * stride)
            .map_err(ReplayError::driver("allocating memory for data"))?;
        Ok(Self {
            data,
            stride,
            free: (0..u16::try_from(count).unwrap_or(u16::MAX))
                .rev()
                .collect(),
            block: Vec::with_capacity(1 << 16),
        })
    }

    fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    fn free(&mut self, slot: u16) {
        self.free.push(slot);
    }

    /// The bytes from `offset` on of what `payload` is, in a slot; none where
    /// there is no slot.
    fn put(
        &mut self,
        payload: &Payload,
        (offset, bytes): (usize, usize),
    ) -> Result<Option<(u16, DmaSlice<'_>)>, ReplayError> {
        let block_bytes = payload.block_bytes().max(1) as usize;
        match payload.content() {
            PayloadContent::Data(data) => {
                let data = data.get(offset..).and_then(|data| data.get(..bytes));
                let data = data.unwrap_or_default();
                self.fill(bytes, |to, at, _| to.write_at(at, data))
            }
            PayloadContent::Hashes(digests) => {
                // A piece may begin and end within a block, where those of the
                // target are smaller.
                self.fill(bytes, |to, at, block| {
                    block.resize(block_bytes, 0);
                    let mut done = 0;
                    while done < bytes {
                        let place = offset + done;
                        let digest = digests.get(place / block_bytes).copied();
                        make(digest.unwrap_or_default(), block);
                        let part = block.get(place % block_bytes..).unwrap_or_default();
                        let part = part.get(..bytes - done).unwrap_or(part);
                        to.write_at(at + done, part)?;
                        done += part.len().max(1);
                    }
                    Ok(())
                })
            }
        }
    }

    /// Blocks that `maker` makes, in a slot; none where there is no slot.
    fn put_made(
        &mut self,
        maker: &mut Maker,
        (block_bytes, bytes): (usize, usize),
    ) -> Result<Option<(u16, DmaSlice<'_>)>, ReplayError> {
        self.fill(bytes, |to, at, block| {
            block.resize(block_bytes.max(1), 0);
            for done in (0..bytes).step_by(block.len()) {
                make(maker.next(), block);
                let part = block.get(..bytes - done).unwrap_or(block);
                to.write_at(at + done, part)?;
            }
            Ok(())
        })
    }

    /// What `fill` writes to the memory that it is given, from an offset on, in a
    /// slot; none where there is no slot. It is lent room for a block as well.
    fn fill(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut DmaBuffer, usize, &mut Vec<u8>) -> Result<(), driver::DriverError>,
    ) -> Result<Option<(u16, DmaSlice<'_>)>, ReplayError> {
        let Some(slot) = self.free.pop() else {
            return Ok(None);
        };
        let at = usize::from(slot) * self.stride;
        fill(&mut self.data, at, &mut self.block)
            .map_err(ReplayError::driver("putting data in place"))?;
        self.slice(slot, bytes).map(Some)
    }

    fn slice(&self, slot: u16, bytes: usize) -> Result<(u16, DmaSlice<'_>), ReplayError> {
        let at = usize::from(slot) * self.stride;
        let slice = self.data.slice(at, bytes);
        Ok((
            slot,
            slice.map_err(ReplayError::driver("finding data to write"))?,
        ))
    }
}

/// Fills `block` with data of this digest's own, which compress about as well:
/// random bytes, then zeroes. The same for the same digest.
fn make(digest: BlockDigest, block: &mut [u8]) {
    /// What a frame of zstd takes beside its data, about.
    const FRAME_BYTES: usize = 12;
    /// Fewer random bytes do not tell blocks apart.
    const LEAST: usize = 12;
    if digest.is_zero() {
        block.fill(0);
        return;
    }
    let random = match digest.packed {
        16.. => block.len(),
        packed => {
            // The middle of what that many sixteenths stand for.
            let bytes = (usize::from(packed) * 2 - 1) * block.len() / 32;
            bytes.saturating_sub(FRAME_BYTES).max(LEAST)
        }
    };
    let (noise, zeroes) = block.split_at_mut(random.min(block.len()));
    Rng::with_seed(digest.hash).fill(noise);
    zeroes.fill(0);
}

#[cfg(test)]
mod tests {
    use traces::Digester;

    use super::*;

    #[test]
    fn what_is_made_compresses_as_it_was_told_to_and_differs_where_it_should() {
        let mut digester = Digester::default();
        for bytes in [512, 4096] {
            for packed in 0..=16 {
                let digest = |hash| BlockDigest { hash, packed };
                let made = |hash| {
                    let mut block = vec![0xee; bytes];
                    make(digest(hash), &mut block);
                    block
                };
                assert_eq!(made(7), made(7));
                assert_eq!(made(7) == made(8), packed == 0);
                let found = digester.digest(&made(7)).packed;
                assert!(found.abs_diff(packed) <= 1, "{packed} became {found}");
            }
        }
    }

    #[test]
    fn as_many_blocks_are_duplicates_as_were_asked_for() {
        for dedup in [0_u8, 30, 100] {
            let mut maker = Maker::new(1, dedup, 50);
            let mut seen = std::collections::HashSet::new();
            let blocks = 100_000;
            let repeated = (0..blocks).filter(|_| !seen.insert(maker.next())).count();
            // The first of each is none.
            let expected = blocks * usize::from(dedup) / 100;
            assert!(repeated.abs_diff(expected) < 1_000, "{dedup} %: {repeated}");
        }
    }
}
