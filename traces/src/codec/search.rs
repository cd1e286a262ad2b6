//! What suits a column: its transform, its codec, and the shape of its model.

use super::bitpack;
use super::column::{Codec, Column};
use super::model::{self, Bits, History, Model, Shape, View};
use super::transform::{Applied, Cells, Table, Transform, apply};

/// The columns that a model may look at: number and lengths.
pub(super) type Beside<'a> = &'a [(u8, &'a [u8])];

/// How a column is best told.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) transform: Transform,
    pub(super) codec: Codec,
    pub(super) shape: Shape,
}

/// A column to choose for.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) table: &'a Table,
    pub(super) column: Column,
    pub(super) beside: Beside<'a>,
}

/// Numbers that a search looks at.
const SAMPLE: usize = 2_048;
/// A transform is dropped where its numbers take more than the best one's by more
/// than one part in this many before a model was searched for.
const HOPELESS: u64 = 32;
/// Numbers that take less than one bit in so many together are small enough.
const SMALL: u64 = 2;

/// The transforms that may suit a column; the last one suits any values.
fn transforms(column: Column) -> &'static [Transform] {
    match column {
        Column::Lba => &[
            Transform::Recent,
            Transform::StreamEnd,
            Transform::Delta,
            Transform::None,
        ],
        Column::Submit => &[Transform::Rise, Transform::Delta],
        Column::Sequence => &[Transform::Rise],
        Column::Cid => &[
            Transform::Generation,
            Transform::QueueDelta,
            Transform::None,
        ],
        Column::RangeLba => &[Transform::Delta, Transform::None],
        _ => &[Transform::None],
    }
}

/// The numbers of `column` under `transform`; none where it cannot tell them.
pub(super) fn numbers(
    table: &Table,
    column: Column,
    transform: Transform,
) -> Option<(Applied, Vec<u64>)> {
    let first = table[column.index()].get(0);
    let base = match column {
        Column::Sequence => first.wrapping_sub(1),
        _ => first,
    };
    let mut applied = Applied::new(transform, base);
    let mut numbers = apply(table, column, &applied)?;
    let may_be_scaled = matches!(column, Column::Submit | Column::Latency);
    if may_be_scaled && transform != Transform::Delta {
        let divisor = numbers
            .iter()
            .fold(0, |a, b| greatest_common_divisor(a, *b));
        if divisor > 1 {
            applied.scale = divisor;
            numbers.iter_mut().for_each(|number| *number /= divisor);
        }
    }
    Some((applied, numbers))
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    if a == 1 {
        return 1;
    }
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl Shape {
    /// The lengths of the columns that it looks at.
    pub(super) fn lengths<'a>(&self, beside: Beside<'a>) -> Vec<&'a [u8]> {
        let of = |number: &u8| {
            let found = beside.iter().find(|(there, _)| there == number);
            found.map_or(&[][..], |(_, lengths)| lengths)
        };
        self.beside.iter().map(of).collect()
    }

    /// Whether all columns that it looks at are there.
    pub(super) fn looks_only_at(&self, beside: Beside<'_>) -> bool {
        let is_there = |number: &u8| beside.iter().any(|(there, _)| there == number);
        self.beside.iter().all(is_there)
    }
}

/// A shape, and the bits that a sample takes with it.
struct Candidate {
    shape: Shape,
    bits: Bits,
}

impl Search<'_> {
    /// What any values can be told with.
    pub(super) fn safest(&self) -> Choice {
        Choice {
            transform: self.transforms().last().copied().unwrap_or(Transform::None),
            codec: Codec::Modelled,
            shape: self.start(),
        }
    }

    fn transforms(&self) -> &'static [Transform] {
        transforms(self.column)
    }

    /// What tells a sample in the fewest bits.
    pub(super) fn best(&self, model: &mut Model) -> Choice {
        let sample = self.sample();
        let mut tries: Vec<(Transform, Vec<u64>, Candidate)> = Vec::new();
        for &transform in self.transforms() {
            if let Some((_, numbers)) = numbers(&sample, self.column, transform) {
                let shape = self.start();
                if let Some(bits) = self.bits(&shape, &numbers, model, None) {
                    tries.push((transform, numbers, Candidate { shape, bits }));
                }
            }
        }
        tries.sort_by_key(|(_, _, first)| first.bits.all);
        let mut best: Option<(u64, Choice)> = None;
        for (transform, numbers, first) in tries {
            let Some(start) = self.worth_a_search(first, &numbers, best.as_ref(), model) else {
                continue;
            };
            // Widens.
            let is_small = start.bits.all * SMALL < numbers.len() as u64;
            let found = if is_small {
                start
            } else {
                self.search(start, &numbers, model)
            };
            // Widens.
            let packed = bitpack::encoded_bytes(&numbers) as u64 * 8;
            let bits = found.bits.all.min(packed);
            if best.as_ref().is_none_or(|(least, _)| bits < *least) {
                let codec = if packed <= found.bits.all {
                    Codec::Bitpack
                } else {
                    Codec::Modelled
                };
                let shape = found.shape;
                best = Some((
                    bits,
                    Choice {
                        transform,
                        codec,
                        shape,
                    },
                ));
            }
        }
        best.map_or_else(|| self.safest(), |(_, choice)| choice)
    }

    /// Where to search from for another transform: from the shape that suits
    /// the best one so far, or from `first`. None where both are so much worse
    /// that a search would not make up for it.
    fn worth_a_search(
        &self,
        first: Candidate,
        numbers: &[u64],
        best: Option<&(u64, Choice)>,
        model: &mut Model,
    ) -> Option<Candidate> {
        let Some((least, choice)) = best else {
            return Some(first);
        };
        let shape = choice.shape.clone();
        let start = match self.bits(&shape, numbers, model, Some(first.bits)) {
            Some(bits) if bits.all < first.bits.all => Candidate { shape, bits },
            _ => first,
        };
        (start.bits.all <= least + least / HOPELESS).then_some(start)
    }

    /// The first rows of the table.
    fn sample(&self) -> Table {
        std::array::from_fn(|index| match &self.table[index] {
            Cells::Each(cells) => Cells::Each(cells.iter().take(SAMPLE).copied().collect()),
            Cells::Constant(cell) => Cells::Constant(*cell),
        })
    }

    /// Where a search starts.
    fn start(&self) -> Shape {
        let first = self.beside.first().map(|(number, _)| *number);
        Shape {
            top: 4,
            low: 0,
            history: History::None,
            memory: 32,
            beside: first.into_iter().collect(),
        }
    }

    /// Changes one thing at a time and keeps what helps.
    fn search(&self, best: Candidate, numbers: &[u64], model: &mut Model) -> Candidate {
        let mut climb = Climb {
            search: self,
            numbers,
            model,
            best,
        };
        climb.along(&[8, 12, 16], |shape, top| shape.top = top);
        climb.along(&[2], |shape, top| shape.top = top);
        climb.beside();
        climb.along(&[History::Length, History::Lengths], |shape, history| {
            shape.history = history;
        });
        let whole = [History::Number, History::Numbers, History::ThreeNumbers];
        climb.along(&whole, |shape, history| shape.history = history);
        if matches!(self.column, Column::Lba | Column::RangeLba) {
            climb.along(&[3, 4], |shape, low| shape.low = low);
        }
        climb.along(&[100, 255], |shape, memory| shape.memory = memory);
        climb.along(&[10], |shape, memory| shape.memory = memory);
        climb.best
    }

    fn bits(
        &self,
        shape: &Shape,
        numbers: &[u64],
        model: &mut Model,
        best: Option<Bits>,
    ) -> Option<Bits> {
        let beside = &shape.lengths(self.beside);
        model::bits(numbers, View { shape, beside }, model, best)
    }
}

/// A search for a shape, and the best so far.
struct Climb<'a> {
    search: &'a Search<'a>,
    numbers: &'a [u64],
    model: &'a mut Model,
    best: Candidate,
}

impl Climb<'_> {
    /// Keeps `shape` if it is better; whether it is.
    fn consider(&mut self, shape: Shape) -> bool {
        if shape == self.best.shape {
            return false;
        }
        let best = self.best.bits;
        let bits = self
            .search
            .bits(&shape, self.numbers, self.model, Some(best));
        match bits {
            Some(bits) if bits.all < best.all => {
                self.best = Candidate { shape, bits };
                true
            }
            _ => false,
        }
    }

    /// Sets one value after the other, for as long as that helps.
    fn along<T: Copy>(&mut self, values: &[T], set: impl Fn(&mut Shape, T)) {
        for &value in values {
            let mut shape = self.best.shape.clone();
            set(&mut shape, value);
            if !self.consider(shape) {
                return;
            }
        }
    }

    /// Looks at no column beside, then at each one, then at each together with
    /// the best one.
    fn beside(&mut self) {
        let numbers = self.search.beside.iter().map(|(number, _)| *number);
        let alone = numbers.clone().map(|number| vec![number]);
        for beside in std::iter::once(Vec::new()).chain(alone) {
            let shape = self.best.shape.clone();
            self.consider(Shape { beside, ..shape });
        }
        let Some(&first) = self.best.shape.beside.first() else {
            return;
        };
        for second in numbers.filter(|number| *number != first) {
            let shape = self.best.shape.clone();
            let beside = vec![first, second];
            self.consider(Shape { beside, ..shape });
        }
    }
}
