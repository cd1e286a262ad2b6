//! Frame of reference and bit packing: the codec of recording.
//!
//! Values go in groups of 128. A group is the number of bits that its largest
//! value takes once the smallest is subtracted, the smallest as a varint, and
//! the differences, packed from the lowest bit of the first byte up. They are
//! packed by code of their width, with no branch a value.

use crate::error::Flaw;
use crate::format::{Fields, put_varint};

/// Values a group.
pub(crate) const GROUP: usize = 128;

/// Appends one group of at most [`GROUP`] values, the smallest and the largest
/// of which are known.
pub(crate) fn encode_group(values: &[u64], min: u64, max: u64, out: &mut Vec<u8>) {
    let width = width(min, max);
    let [width_byte, ..] = width.to_le_bytes();
    out.push(width_byte);
    put_varint(out, min);
    if width > 0 {
        pack(values, min, width, out);
    }
}

/// The bits that a group takes a value, by its extremes.
pub(crate) fn width(min: u64, max: u64) -> u32 {
    u64::BITS - (max - min).leading_zeros()
}

/// Values that are packed at a time: these take as many bytes as one takes bits.
const EIGHT: usize = 8;

fn pack(values: &[u64], min: u64, width: u32, out: &mut Vec<u8>) {
    let pack = PACK[width as usize];
    let (eights, rest) = values.as_chunks();
    pack(eights, min, out);
    if !rest.is_empty() {
        let mut last = [min; EIGHT];
        last[..rest.len()].copy_from_slice(rest);
        let bytes = (rest.len() * width as usize).div_ceil(8);
        let end = out.len() + bytes;
        pack(&[last], min, out);
        out.truncate(end);
    }
}

/// Appends groups of eight values, less the smallest.
type Pack = fn(&[[u64; EIGHT]], u64, &mut Vec<u8>);

/// [`pack_eights`] for each width, with which all shifts are known.
const PACK: [Pack; 65] = {
    macro_rules! widths {
        ($($width:literal)*) => { [$(pack_eights::<$width>),*] };
    }
    widths! {
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
        33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62
        63 64
    }
};

fn pack_eights<const WIDTH: usize>(values: &[[u64; EIGHT]], min: u64, out: &mut Vec<u8>) {
    out.reserve(values.len() * WIDTH);
    for eight in values {
        let mut words = [0_u64; EIGHT];
        for (place, value) in eight.iter().enumerate() {
            let bits = value - min;
            let (word, shift) = (place * WIDTH / 64, place * WIDTH % 64);
            words[word] |= bits << shift;
            if shift + WIDTH > 64 {
                words[word + 1] = bits >> (64 - shift);
            }
        }
        let bytes: [u8; EIGHT * 8] = zerocopy::transmute!(words.map(u64::to_le_bytes));
        out.extend_from_slice(&bytes[..WIDTH]);
    }
}

/// Appends all values, group by group.
pub(crate) fn encode(values: &[u64], out: &mut Vec<u8>) {
    for group in values.chunks(GROUP) {
        let (min, max) = extremes(group);
        encode_group(group, min, max, out);
    }
}

/// The bytes that [`encode`] appends.
pub(crate) fn encoded_bytes(values: &[u64]) -> usize {
    let bytes = |group: &[u64]| {
        let (min, max) = extremes(group);
        let width = width(min, max) as usize;
        1 + varint_bytes(min) + (group.len() * width).div_ceil(8)
    };
    values.chunks(GROUP).map(bytes).sum()
}

fn varint_bytes(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

/// The smallest and the largest.
#[inline]
pub(crate) fn extremes(group: &[u64]) -> (u64, u64) {
    let first = group.first().copied().unwrap_or(0);
    // Most groups are one value over and over. To see that takes several values
    // an instruction; to compare them takes several instructions a value.
    let differs = group.iter().fold(0, |bits, value| bits | (value ^ first));
    if differs == 0 {
        return (first, first);
    }
    // Lanes that do not wait for each other.
    let (fours, rest) = group.as_chunks::<4>();
    let (mut min, mut max) = ([first; 4], [first; 4]);
    for four in fours {
        for ((min, max), value) in min.iter_mut().zip(&mut max).zip(four) {
            *min = (*min).min(*value);
            *max = (*max).max(*value);
        }
    }
    let all = min.iter().chain(&max).chain(rest);
    all.fold((first, first), |(min, max), value| {
        (min.min(*value), max.max(*value))
    })
}

/// Reads values group by group.
#[derive(Debug)]
pub(crate) struct Groups<'a> {
    fields: Fields<'a>,
}

impl<'a> Groups<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let fields = Fields::new(bytes);
        Self { fields }
    }

    /// Reads the next group, as many values as `values` has places.
    pub(crate) fn read(&mut self, values: &mut [u64]) -> Result<(), Flaw> {
        let width = u32::from(self.fields.u8()?);
        if width > u64::BITS {
            return Err(Flaw::damaged("packed values are wider than 64 bits"));
        }
        let min = self.fields.varint()?;
        let bytes = (values.len() * width as usize).div_ceil(8);
        unpack(self.fields.slice(bytes)?, min, width, values);
        Ok(())
    }

    /// Reads all of the next `count` values.
    pub(crate) fn read_all(&mut self, count: usize) -> Result<Vec<u64>, Flaw> {
        let mut values = vec![0; count];
        for group in values.chunks_mut(GROUP) {
            self.read(group)?;
        }
        self.finish()?;
        Ok(values)
    }

    /// Whether all bytes were values.
    pub(crate) fn finish(&self) -> Result<(), Flaw> {
        if self.fields.is_empty() {
            Ok(())
        } else {
            Err(Flaw::damaged("bytes are left after the packed values"))
        }
    }
}

/// A group of the widest values.
const GROUP_BYTES: usize = GROUP * 8;

fn unpack(packed: &[u8], min: u64, width: u32, values: &mut [u64]) {
    if width == 0 {
        values.fill(min);
        return;
    }
    let mask = u64::MAX >> (u64::BITS - width);
    // Room behind, so that each value is part of one load.
    let mut bytes = [0; GROUP_BYTES + 16];
    bytes[..packed.len()].copy_from_slice(packed);
    let mut bit = 0_usize;
    for value in values {
        let (at, shift) = (bit / 8 % GROUP_BYTES, bit % 8);
        // Up to 57 bits are in eight bytes wherever they start.
        let bits = if width <= 57 {
            load(&bytes, at) >> shift
        } else {
            // Zero where nothing of the value is in the ninth byte.
            let above = u64::from(bytes[at + 8]) << 8 << (56 - shift);
            load(&bytes, at) >> shift | above
        };
        *value = min.wrapping_add(bits & mask);
        // Widens.
        bit += width as usize;
    }
}

/// The eight bytes from `at` on.
#[inline]
fn load(bytes: &[u8; GROUP_BYTES + 16], at: usize) -> u64 {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    u64::from_le_bytes(word.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{GROUP, Groups, encode};

    #[test]
    fn every_width_and_every_length_comes_back() {
        let mut random = 1_u64;
        for width in 0..=u64::BITS {
            for len in (1..GROUP).step_by(9).chain([GROUP, 3 * GROUP + 1]) {
                let mut next = || {
                    random = random.wrapping_mul(0x5851_f42d_4c95_7f2d) + 1;
                    (random ^ random >> 32)
                        .checked_shr(u64::BITS - width)
                        .unwrap_or(0)
                };
                let values: Vec<u64> = (0..len).map(|_| next()).collect();
                let mut bytes = Vec::new();
                encode(&values, &mut bytes);
                let read = Groups::new(&bytes).read_all(len).unwrap();
                assert_eq!(read, values, "{width} bits, {len} values");
                for cut in 0..bytes.len() {
                    Groups::new(&bytes[..cut]).read_all(len).unwrap_err();
                }
                bytes.push(0);
                Groups::new(&bytes).read_all(len).unwrap_err();
            }
        }
    }
}
