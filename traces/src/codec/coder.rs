//! A binary arithmetic coder, and the plain bits that go beside it.

/// Bits that may be coded without making room anew.
const BITS_MAX: usize = 64;
/// The most bytes that a bit settles.
const BYTES_A_BIT: usize = 4;

/// One end of the arithmetic coder and of the plain bits beside it.
pub(super) trait Coder {
    /// Makes room for [`BITS_MAX`] more bits, so that coding one is a few
    /// instructions and no call.
    fn make_room(&mut self) {}

    /// Codes a bit that is 1 with a chance of `chance` in 65,536; gives back
    /// the bit.
    fn bit(&mut self, chance: u32, bit: bool) -> bool;
    /// Codes the lowest `count` (1 to 63) bits of `bits` as they are; gives
    /// them back.
    fn plain(&mut self, count: u32, bits: u64) -> u64;
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Encoder {
    low: u32,
    high: u32,
    /// Room for what is coded, of which `len` bytes are used.
    coded: Vec<u8>,
    len: usize,
    plain: Vec<u8>,
    word: u64,
    filled: u32,
}

impl Coder for Encoder {
    #[inline]
    fn make_room(&mut self) {
        if self.coded.len() < self.len + BITS_MAX * BYTES_A_BIT {
            let more = self.coded.len().max(BITS_MAX * BYTES_A_BIT);
            self.coded.resize(self.coded.len() + more, 0);
        }
    }

    #[inline]
    fn bit(&mut self, chance: u32, bit: bool) -> bool {
        let middle = middle(self.low, self.high, chance);
        if bit {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
        while (self.low ^ self.high) >> 24 == 0 {
            let [first, ..] = self.high.to_be_bytes();
            if let Some(place) = self.coded.get_mut(self.len) {
                *place = first;
            }
            self.len += 1;
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
        }
        bit
    }

    #[inline]
    fn plain(&mut self, count: u32, bits: u64) -> u64 {
        self.word |= bits << self.filled;
        self.filled += count;
        if self.filled >= u64::BITS {
            self.plain.extend_from_slice(&self.word.to_le_bytes());
            self.filled -= u64::BITS;
            self.word = bits.checked_shr(count - self.filled).unwrap_or(0);
        }
        bits
    }
}

/// What a modelled bit costs beside its space, in 256ths of a bit: the time that
/// coding it takes is worth that much.
const EFFORT: u64 = 4;

/// Writes nothing and counts bits, and a little for each that is modelled.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Modelled bits, in 256ths.
    coded: u64,
    plain: u64,
}

impl Meter {
    pub(super) fn bits(&self) -> u64 {
        self.coded / 256 + self.plain
    }
}

impl Coder for Meter {
    #[inline]
    fn bit(&mut self, chance: u32, bit: bool) -> bool {
        let chance = if bit { chance } else { 65_536 - chance };
        // Below 2^10.
        let index = (chance >> 6) as usize;
        self.coded += COSTS.get(index).copied().map_or(0, u64::from) + EFFORT;
        bit
    }

    #[inline]
    fn plain(&mut self, count: u32, bits: u64) -> u64 {
        self.plain += u64::from(count);
        bits
    }
}

/// What a bit costs, in 256ths of one, by its chance in 1,024.
static COSTS: [u32; 1 << 10] = costs();

const fn costs() -> [u32; 1 << 10] {
    let mut costs = [0; 1 << 10];
    let mut index = 0;
    while index < costs.len() {
        costs[index] = cost(2 * index as u64 + 1);
        index += 1;
    }
    costs
}

/// 256 times the binary logarithm of 2,048 / `chance`, digit by digit: what is
/// squared doubles its logarithm.
const fn cost(chance: u64) -> u32 {
    let whole = chance.ilog2();
    // From 1 to 2, with 30 bits behind the point.
    let mut value = (chance << 30) >> whole;
    let mut log = whole;
    let mut digit = 0;
    while digit < 8 {
        value = (value * value) >> 30;
        log <<= 1;
        if value >= 2 << 30 {
            value >>= 1;
            log |= 1;
        }
        digit += 1;
    }
    (11 << 8) - log
}

/// `yes` or `no`, without a branch.
#[inline]
fn select(bit: bool, yes: (u32, u32), no: (u32, u32)) -> (u32, u32) {
    let mask = u32::from(bit).wrapping_neg();
    (
        (yes.0 & mask) | (no.0 & !mask),
        (yes.1 & mask) | (no.1 & !mask),
    )
}

/// Where the interval is split: from `low` up to here is a 1.
#[inline]
fn middle(low: u32, high: u32, chance: u32) -> u32 {
    let share = (u64::from(high - low) * u64::from(chance)) >> 16;
    // Below the interval's width.
    let [a, b, c, d, ..] = share.to_le_bytes();
    low + u32::from_le_bytes([a, b, c, d])
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            low: 0,
            high: u32::MAX,
            coded: Vec::new(),
            len: 0,
            plain: Vec::new(),
            word: 0,
            filled: 0,
        }
    }

    /// The coded bytes and the plain ones.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        self.coded.truncate(self.len);
        // The fewest bytes that, with zeroes after them, lie in the interval.
        for count in 0..=4 {
            let kept = self.high & u32::MAX.checked_shl(32 - 8 * count).unwrap_or(0);
            if kept >= self.low {
                let bytes = kept.to_be_bytes();
                self.coded.extend(bytes.iter().take(count as usize));
                break;
            }
        }
        let rest = self.word.to_le_bytes();
        let bytes = self.filled.div_ceil(8) as usize;
        self.plain.extend(rest.iter().take(bytes));
        (self.coded, self.plain)
    }
}

/// The reading end.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    low: u32,
    high: u32,
    code: u32,
    coded: &'a [u8],
    plain: &'a [u8],
    word: u64,
    filled: u32,
    /// Whether more was asked for than there was.
    overrun: bool,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(coded: &'a [u8], plain: &'a [u8]) -> Self {
        let mut decoder = Self {
            low: 0,
            high: u32::MAX,
            code: 0,
            coded,
            plain,
            word: 0,
            filled: 0,
            overrun: false,
        };
        for _ in 0..4 {
            decoder.shift();
        }
        decoder
    }

    /// Takes a byte; past the end, zeroes.
    #[inline]
    fn shift(&mut self) {
        let byte = match self.coded.split_first() {
            Some((first, rest)) => {
                self.coded = rest;
                *first
            }
            None => 0,
        };
        self.code = self.code << 8 | u32::from(byte);
    }

    /// Whether it took exactly the bytes that it was given.
    pub(super) fn is_spent(&self) -> bool {
        !self.overrun && self.coded.is_empty() && self.plain.is_empty()
    }

    #[inline]
    fn plain_byte(&mut self) -> u64 {
        match self.plain.split_first() {
            Some((first, rest)) => {
                self.plain = rest;
                u64::from(*first)
            }
            None => {
                self.overrun = true;
                0
            }
        }
    }
}

impl Coder for Decoder<'_> {
    #[inline]
    fn bit(&mut self, chance: u32, _bit: bool) -> bool {
        let middle = middle(self.low, self.high, chance);
        let bit = self.code <= middle;
        // Selected rather than branched on: the bit is hard to foretell.
        (self.low, self.high) =
            select(bit, (self.low, middle), (middle.wrapping_add(1), self.high));
        while (self.low ^ self.high) >> 24 == 0 {
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
            self.shift();
        }
        bit
    }

    #[inline]
    fn plain(&mut self, count: u32, _bits: u64) -> u64 {
        let mut bits = 0;
        let mut done = 0;
        while done < count {
            if self.filled == 0 {
                self.word = self.plain_byte();
                self.filled = 8;
            }
            let take = self.filled.min(count - done);
            bits |= (self.word & ((1 << take) - 1)) << done;
            self.word >>= take;
            self.filled -= take;
            done += take;
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::COSTS;

    #[test]
    fn a_bit_costs_the_logarithm_of_its_chance() {
        for (index, cost) in (0_u32..).zip(COSTS) {
            let chance = (f64::from(index) + 0.5) / 1_024.0;
            let wanted = -chance.log2() * 256.0;
            let wrong = f64::from(cost) - wanted;
            assert!((0.0..=1.0).contains(&wrong), "{index}: {cost}, {wanted}");
        }
    }
}
