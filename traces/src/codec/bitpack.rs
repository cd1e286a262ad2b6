//! Frame of reference and bit packing: the codec of recording.
//!
//! Values go in groups of 128. A group is the number of bits that its largest
//! value takes once the smallest is subtracted, the smallest as a varint, and
//! the differences, packed from the lowest bit of the first byte up. There is
//! no branch a value but for a full word, so that a value costs about a
//! nanosecond.

use crate::error::Flaw;
use crate::format::{Fields, put_varint};

/// Values a group.
pub(crate) const GROUP: usize = 128;

/// Appends one group of at most [`GROUP`] values, the smallest and the largest
/// of which are known.
pub(crate) fn encode_group(values: &[u64], min: u64, max: u64, out: &mut Vec<u8>) {
    let width = u64::BITS - (max - min).leading_zeros();
    let [width_byte, ..] = width.to_le_bytes();
    out.push(width_byte);
    put_varint(out, min);
    if width > 0 {
        pack(values, min, width, out);
    }
}

fn pack(values: &[u64], min: u64, width: u32, out: &mut Vec<u8>) {
    let mut word = 0_u64;
    let mut filled = 0;
    for &value in values {
        let bits = value - min;
        word |= bits << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&word.to_le_bytes());
            filled -= u64::BITS;
            // What did not fit; a shift by the whole width leaves nothing.
            word = bits.checked_shr(width - filled).unwrap_or(0);
        }
    }
    let rest = word.to_le_bytes();
    out.extend_from_slice(&rest[..filled.div_ceil(8) as usize]);
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
        let width = (u64::BITS - (max - min).leading_zeros()) as usize;
        1 + varint_bytes(min) + (group.len() * width).div_ceil(8)
    };
    values.chunks(GROUP).map(bytes).sum()
}

fn varint_bytes(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

/// The smallest and the largest.
fn extremes(group: &[u64]) -> (u64, u64) {
    group.iter().fold((u64::MAX, 0), |(min, max), value| {
        (min.min(*value), max.max(*value))
    })
}

/// Reads `count` values.
pub(crate) fn decode(bytes: &[u8], count: usize) -> Result<Vec<u64>, Flaw> {
    let mut fields = Fields::new(bytes);
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let group = GROUP.min(count - values.len());
        let width = u32::from(fields.u8()?);
        if width > u64::BITS {
            return Err(Flaw::damaged("packed values are wider than 64 bits"));
        }
        let min = fields.varint()?;
        let packed = fields.slice((group * width as usize).div_ceil(8))?;
        unpack(packed, min, width, group, &mut values);
    }
    if fields.is_empty() {
        Ok(values)
    } else {
        Err(Flaw::damaged("bytes are left after the packed values"))
    }
}

fn unpack(packed: &[u8], min: u64, width: u32, count: usize, values: &mut Vec<u64>) {
    if width == 0 {
        values.resize(values.len() + count, min);
        return;
    }
    let mask = u64::MAX >> (u64::BITS - width);
    let mut words = packed.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    });
    let mut word = 0_u64;
    let mut left = 0;
    for _ in 0..count {
        let mut bits = word;
        if left < width {
            let next = words.next().unwrap_or(0);
            bits |= next << left;
            // What the value leaves of the new word.
            word = next.checked_shr(width - left).unwrap_or(0);
            left += u64::BITS - width;
        } else {
            word = word.checked_shr(width).unwrap_or(0);
            left -= width;
        }
        values.push(min.wrapping_add(bits & mask));
    }
}
