//! What a written block says of itself.

use nvme::Lba;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// It begins with this.
const MAGIC: [u8; 4] = *b"VSSD";

/// The first bytes of a written block; the rest is the writer's pattern.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Stamp {
    magic: [u8; 4],
    /// CRC32C of what follows, so that a damaged stamp is not taken for
    /// another block's.
    crc: U32,
    lba: U64,
    token: U64,
    /// The run that wrote it.
    run: U64,
}

impl Stamp {
    pub(super) fn new(lba: Lba, token: u64, run: u64) -> Self {
        let mut stamp = Self {
            magic: MAGIC,
            crc: U32::ZERO,
            lba: U64::new(lba.0),
            token: U64::new(token),
            run: U64::new(run),
        };
        stamp.crc.set(stamp.sum());
        stamp
    }

    /// The stamp of a block, where it has a whole one.
    pub(super) fn of(block: &[u8]) -> Option<Self> {
        let (stamp, _) = Self::read_from_prefix(block).ok()?;
        (stamp.magic == MAGIC && stamp.crc.get() == stamp.sum()).then_some(stamp)
    }

    /// Puts it at the start of a block.
    pub(super) fn put(&self, block: &mut [u8]) {
        if let Some(place) = block.get_mut(..size_of::<Self>()) {
            place.copy_from_slice(self.as_bytes());
        }
    }

    pub(super) const fn lba(&self) -> Lba {
        Lba(self.lba.get())
    }

    pub(super) const fn token(&self) -> u64 {
        self.token.get()
    }

    pub(super) const fn run(&self) -> u64 {
        self.run.get()
    }

    fn sum(&self) -> u32 {
        let words = [self.lba, self.token, self.run];
        crc32c::crc32c(words.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_known_again_unless_a_bit_is_wrong() {
        let mut block = [0xa5; 512];
        Stamp::new(Lba(7), 8, 9).put(&mut block);
        let stamp = Stamp::of(&block).unwrap();
        assert_eq!((stamp.lba(), stamp.token(), stamp.run()), (Lba(7), 8, 9));
        for bit in 0..size_of::<Stamp>() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(Stamp::of(&block).is_none(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(Stamp::of(&block[..31]).is_none());
    }
}
