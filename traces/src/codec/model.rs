//! Modelled coding: the codec of packing.
//!
//! A number is its length in bits, which is small and repeats, and the bits
//! below the first, of which the upper and the lowest (addresses are aligned)
//! may repeat and the middle does not. What may repeat goes through an
//! adaptive binary arithmetic coder, four bits at a time; the middle goes as
//! it is. What the coder expects depends on the numbers before and on the
//! lengths of other columns' numbers in the same row, as the [`Shape`] says.

use super::coder::{Coder, Decoder, Encoder, Meter};
use crate::error::Flaw;
use crate::format::{Fields, put_varint};

/// What a column's model looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Uppermost bits below the first that are modelled.
    pub(crate) top: u8,
    /// Lowest bits that are modelled.
    pub(crate) low: u8,
    /// Which numbers before count.
    pub(crate) history: History,
    /// How slowly the model forgets: what it has seen of a bit counts up to
    /// four times this.
    pub(crate) memory: u8,
    /// Columns whose numbers' lengths count, by number.
    pub(crate) beside: Vec<u8>,
}

/// Which of a column's own numbers a model looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum History {
    /// None.
    None = 0,
    /// The length of the last.
    Length = 1,
    /// The lengths of the last two.
    Lengths = 2,
    /// The last.
    Number = 3,
    /// The last two.
    Numbers = 4,
    /// The last three.
    ThreeNumbers = 5,
}

impl History {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Length,
            2 => Self::Lengths,
            3 => Self::Number,
            4 => Self::Numbers,
            5 => Self::ThreeNumbers,
            _ => return None,
        })
    }
}

const TOP_MAX: u8 = 16;
const LOW_MAX: u8 = 8;
const BESIDE_MAX: usize = 3;
/// Bits to a group of nodes; the table has two to this power groups at most.
const TABLE_BITS_MAX: u8 = 16;
/// Nodes a group: those that four bits in a row walk through.
const NODES: usize = 16;
/// A model is given up where its first numbers take more than the best one's by
/// more than one part in this many.
const HOPELESS: u64 = 128;
/// 2^64 over the golden ratio: spreads contexts over the table.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is known of a bit: in the upper 22 bits the chance that it is 1, in
/// the lower ten how often it was seen.
#[derive(Clone, Copy, Debug)]
struct Bit(u32);

impl Bit {
    const NEW: Self = Self(1 << 31);
    const CERTAIN: u32 = (1 << 22) - 1;

    /// The chance of a 1, of 65,536; never quite 0 or 1.
    #[inline]
    fn chance(self) -> u32 {
        (self.0 >> 16).clamp(24, 65_536 - 24)
    }

    /// Moves the chance towards `bit`, by less the more was seen.
    #[inline]
    fn learn(&mut self, bit: bool, seen_max: u32) {
        let (chance, seen) = (self.0 >> 10, self.0 & 0x3ff);
        let rate = u64::from(STEPS[seen as usize]);
        // All ones where the bit is 0: without a branch, as it is hard to
        // foretell.
        let flip = u32::from(bit).wrapping_sub(1);
        // How far it is from certain: the same step towards either end.
        let distance = (chance ^ !flip) & Self::CERTAIN;
        let step = (u64::from(distance) * rate) >> 16;
        // At most 22 bits.
        let [a, b, c, d, ..] = step.to_le_bytes();
        let step = u32::from_le_bytes([a, b, c, d]);
        let chance = chance.wrapping_add((step ^ flip).wrapping_sub(flip));
        self.0 = chance << 10 | (seen + 1).min(seen_max);
    }
}

/// How far a bit's chance moves, of 65,536, by how often it was seen.
static STEPS: [u32; 1 << 10] = steps();

const fn steps() -> [u32; 1 << 10] {
    let mut steps = [0; 1 << 10];
    let mut seen = 0;
    let mut divisor = 3;
    while seen < steps.len() {
        steps[seen] = 131_072 / divisor;
        seen += 1;
        divisor += 2;
    }
    steps
}

/// The bits that four bits in a row walk through; a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Group([Bit; NODES]);

impl Group {
    /// Codes the `STEPS` lowest bits of `bits`, uppermost first.
    #[inline]
    fn walk<const STEPS: u32, C: Coder>(&mut self, coder: &mut C, bits: u64, seen_max: u32) -> u64 {
        let mut node = 1_usize;
        for step in (0..STEPS).rev() {
            let slot = &mut self.0[node & (NODES - 1)];
            let bit = coder.bit(slot.chance(), bits >> step & 1 == 1);
            slot.learn(bit, seen_max);
            node = node << 1 | usize::from(bit);
        }
        // Widens; the first 1 is not of the bits.
        node as u64 ^ 1 << STEPS
    }
}

/// The model: groups of bits, found by context. It is reset for each column.
#[derive(Debug, Default)]
pub(crate) struct Model {
    groups: Vec<Group>,
    shift: u32,
    seen_max: u32,
}

impl Model {
    fn reset(&mut self, table_bits: u8, memory: u8) {
        self.groups.clear();
        self.groups
            .resize(1 << table_bits, Group([Bit::NEW; NODES]));
        self.shift = u64::BITS - u32::from(table_bits);
        self.seen_max = u32::from(memory) * 4;
    }

    /// Codes the `count` lowest bits of `bits`, uppermost first, four at a
    /// time; `kind` tells apart what is coded in one context.
    #[inline]
    fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        context: u64,
        kind: u64,
        count: u32,
        bits: u64,
    ) -> u64 {
        let mut done = 0_u64;
        let mut left = count;
        while left > 0 {
            let step = (left - 1) % 4 + 1;
            // What was coded so far, with a 1 in front.
            let prefix = 1 << (count - left) | done;
            let hash = (context ^ (kind << 32 | prefix)).wrapping_mul(SPREAD);
            let hash = (hash ^ hash >> 29).wrapping_mul(SPREAD);
            // The shift leaves as many bits as the table has; it has one
            // group or more.
            let index = usize::try_from(hash >> self.shift).unwrap_or(0);
            let Some(group) = self.groups.get_mut(index) else {
                return done;
            };
            left -= step;
            let bits = bits >> left;
            let seen_max = self.seen_max;
            // As many steps as are known to the compiler.
            let walked = match step {
                1 => group.walk::<1, C>(coder, bits, seen_max),
                2 => group.walk::<2, C>(coder, bits, seen_max),
                3 => group.walk::<3, C>(coder, bits, seen_max),
                _ => group.walk::<4, C>(coder, bits, seen_max),
            };
            done = done << step | walked;
        }
        done
    }
}

/// Kinds of what is coded: the length, then from here the bits below the first
/// of numbers of each length, then the lowest bits.
const KIND_TOP: u64 = 1;
const KIND_LOW: u64 = 129;

/// Codes a number in `context` and gives it back; a decoder ignores `number`.
#[inline]
fn code<C: Coder>(
    coder: &mut C,
    model: &mut Model,
    shape: &Shape,
    context: u64,
    number: u64,
) -> u64 {
    // 7 bits of length, TOP_MAX and LOW_MAX below.
    coder.make_room();
    let length = u64::BITS - number.leading_zeros();
    let length = model.code(coder, context, 0, 7, u64::from(length));
    // A length above 64 is not written; read, it ends as one of 64.
    let length = u32::try_from(length).unwrap_or(0).min(u64::BITS);
    if length < 2 {
        return u64::from(length);
    }
    let below = length - 1;
    let top = below.min(u32::from(shape.top));
    let low = (below - top).min(u32::from(shape.low));
    let plain = below - top - low;
    let kind = u64::from(length);
    let mut value = 1;
    if top > 0 {
        let bits = model.code(
            coder,
            context,
            KIND_TOP + kind,
            top,
            number >> (low + plain),
        );
        value = value << top | bits;
    }
    if plain > 0 {
        let mask = u64::MAX >> (u64::BITS - plain);
        value = value << plain | coder.plain(plain, number >> low & mask);
    }
    if low > 0 {
        value = value << low | model.code(coder, 0, KIND_LOW + kind, low, number);
    }
    value
}

/// A column's last numbers.
#[derive(Debug, Default)]
struct Past([u64; 3]);

impl Past {
    fn push(&mut self, number: u64) {
        let [last, before, _] = self.0;
        self.0 = [number, last, before];
    }

    /// The context of the next row.
    #[inline]
    fn context(&self, shape: &Shape, beside: &[&[u8]], row: usize) -> u64 {
        let add = |context: u64, item: u64| (context ^ item.wrapping_add(1)).wrapping_mul(SPREAD);
        let length = |number: u64| u64::from(u64::BITS - number.leading_zeros());
        let [last, before, third] = self.0;
        let mut context = match shape.history {
            History::None => 0,
            History::Length => add(0, length(last)),
            History::Lengths => add(add(0, length(last)), length(before)),
            History::Number => add(0, last),
            History::Numbers => add(add(0, last), before),
            History::ThreeNumbers => add(add(add(0, last), before), third),
        };
        for lengths in beside {
            let length = lengths.get(row).copied().unwrap_or(0);
            context = add(context, u64::from(length));
        }
        context
    }
}

/// The length of each number in bits: what other columns' models look at.
pub(crate) fn lengths(numbers: &[u64]) -> Vec<u8> {
    // At most 64.
    let length = |number: &u64| (u64::BITS - number.leading_zeros()).to_le_bytes()[0];
    numbers.iter().map(length).collect()
}

/// What a model looks at: the shape, and the lengths of the columns in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) beside: &'a [&'a [u8]],
}

/// Codes `numbers`, the first of which is of `row`, with `coder`.
fn code_all<C: Coder>(
    (row, numbers): (usize, &[u64]),
    view: View<'_>,
    past: &mut Past,
    model: &mut Model,
    coder: &mut C,
) {
    for (row, &number) in (row..).zip(numbers) {
        let context = past.context(view.shape, view.beside, row);
        code(coder, model, view.shape, context, number);
        past.push(number);
    }
}

/// About how many bits numbers take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits {
    /// The first quarter of them.
    pub(crate) early: u64,
    /// All of them.
    pub(crate) all: u64,
}

/// About how many bits `numbers` take; none where they start so much worse than
/// `best` that they will not end better.
pub(crate) fn bits(
    numbers: &[u64],
    view: View<'_>,
    model: &mut Model,
    best: Option<Bits>,
) -> Option<Bits> {
    model.reset(table_bits(numbers.len()), view.shape.memory);
    let mut meter = Meter::default();
    let mut past = Past::default();
    let quarter = numbers.len() / 4;
    let (head, tail) = numbers.split_at(quarter);
    code_all((0, head), view, &mut past, model, &mut meter);
    let early = meter.bits();
    if best.is_some_and(|best| early > best.early + best.early / HOPELESS) {
        return None;
    }
    code_all((quarter, tail), view, &mut past, model, &mut meter);
    let all = meter.bits();
    Some(Bits { early, all })
}

/// Appends `numbers`. `beside` are the lengths of the columns in the shape.
pub(crate) fn encode(numbers: &[u64], view: View<'_>, model: &mut Model, out: &mut Vec<u8>) {
    let View { shape, .. } = view;
    let table_bits = table_bits(numbers.len());
    model.reset(table_bits, shape.memory);
    let mut coder = Encoder::new();
    code_all((0, numbers), view, &mut Past::default(), model, &mut coder);
    let (coded, plain) = coder.finish();
    let beside_count = u8::try_from(shape.beside.len()).unwrap_or(u8::MAX);
    out.extend_from_slice(&[
        shape.top,
        shape.low,
        shape.history as u8,
        shape.memory,
        table_bits,
        beside_count,
    ]);
    out.extend_from_slice(&shape.beside);
    // Widens.
    put_varint(out, coded.len() as u64);
    out.extend_from_slice(&coded);
    out.extend_from_slice(&plain);
}

/// A table that `count` numbers fill well enough.
fn table_bits(count: usize) -> u8 {
    let bits = usize::BITS - count.leading_zeros();
    u8::try_from(bits)
        .unwrap_or(u8::MAX)
        .clamp(6, TABLE_BITS_MAX)
}

/// What a column looks at, and its numbers' bytes, not decoded.
#[derive(Debug)]
pub(crate) struct Modelled<'a> {
    pub(crate) shape: Shape,
    table_bits: u8,
    coded: &'a [u8],
    plain: &'a [u8],
}

impl<'a> Modelled<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let mut fields = Fields::new(bytes);
        let [top, low, history, memory, table_bits, beside] = fields.bytes()?;
        let history = History::from_number(history)
            .ok_or_else(|| Flaw::TooNew(format!("a model's history {history}")))?;
        let fits = top <= TOP_MAX
            && low <= LOW_MAX
            && (1..=TABLE_BITS_MAX).contains(&table_bits)
            && usize::from(beside) <= BESIDE_MAX;
        if !fits {
            return Err(Flaw::damaged("a model is larger than any may be"));
        }
        let beside = fields.slice(usize::from(beside))?.to_vec();
        let coded = fields.length()?;
        let coded = fields.slice(coded)?;
        Ok(Self {
            shape: Shape {
                top,
                low,
                history,
                memory,
                beside,
            },
            table_bits,
            coded,
            plain: fields.rest(),
        })
    }

    /// Reads `count` numbers.
    pub(crate) fn decode(
        &self,
        beside: &[&[u8]],
        count: usize,
        model: &mut Model,
    ) -> Result<Vec<u64>, Flaw> {
        model.reset(self.table_bits, self.shape.memory);
        let mut coder = Decoder::new(self.coded, self.plain);
        let mut past = Past::default();
        let mut numbers = Vec::with_capacity(count);
        for row in 0..count {
            let context = past.context(&self.shape, beside, row);
            let number = code(&mut coder, model, &self.shape, context, 0);
            past.push(number);
            numbers.push(number);
        }
        if !coder.is_spent() {
            return Err(Flaw::damaged(
                "a modelled column has bytes too few or too many",
            ));
        }
        Ok(numbers)
    }
}
