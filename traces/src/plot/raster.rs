//! Marks by the million: counted by pixel and operation, coloured at the end.

use plotters::style::{Color, RGBAColor, RGBColor};

use super::num::{cell, coordinate, float};
use super::operation::Operation;

/// How opaque a pixel is that holds one mark where others hold many.
const ALPHA_MIN: f64 = 0.6;
/// How opaque a pixel is that holds the most.
const ALPHA_MAX: f64 = 0.95;

/// How many marks of each operation cover each pixel of a panel. Its size does
/// not depend on the number of marks, and a mark's cost does not depend on its
/// height: only its two ends are noted, and summed up at the end.
#[derive(Clone, Debug)]
pub(super) struct Raster {
    width: usize,
    height: usize,
    /// The size of the smallest mark, pixels.
    mark: usize,
    /// For each operation, the columns one after the other; in a column, from
    /// the bottom: how many more marks cover this pixel than the one below.
    /// One row more than the height, for the ends of marks at the top.
    steps: Vec<i32>,
    /// How many marks there are of each operation.
    marks: [u64; Operation::COUNT],
}

/// A pixel of a raster, from the bottom left, and its colour.
pub(super) type Dot = (i32, i32, RGBAColor);

impl Raster {
    /// A raster of `width` to `height` pixels, with no marks. The smallest mark
    /// will be `mark` pixels wide and high.
    pub(super) fn new(width: usize, height: usize, mark: usize) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self {
            width,
            height,
            mark: mark.clamp(1, width.min(height)),
            steps: vec![0; Operation::COUNT * width * (height + 1)],
            marks: [0; Operation::COUNT],
        }
    }

    /// A mark at `x` from `bottom` to `top`, all from 0 to 1.
    pub(super) fn mark(&mut self, operation: Operation, x: f64, bottom: f64, top: f64) {
        if let Some(marks) = self.marks.get_mut(operation.index()) {
            *marks += 1;
        }
        let first_row = cell(bottom, self.height);
        let last_row = cell(top, self.height).max(first_row);
        // What is lower than a mark must be grows around its middle.
        let lacking = self.mark.saturating_sub(last_row - first_row + 1);
        let first_row = first_row
            .saturating_sub(lacking / 2)
            .min(self.height - self.mark);
        let last_row = (last_row + lacking - lacking / 2)
            .max(first_row + self.mark - 1)
            .min(self.height - 1);
        let first_column = cell(x, self.width)
            .saturating_sub((self.mark - 1) / 2)
            .min(self.width - self.mark);
        for column in first_column..first_column + self.mark {
            let start = self.column_start(operation, column);
            if let Some(step) = self.steps.get_mut(start + first_row) {
                *step = step.saturating_add(1);
            }
            if let Some(step) = self.steps.get_mut(start + last_row + 1) {
                *step = step.saturating_sub(1);
            }
        }
    }

    fn column_start(&self, operation: Operation, column: usize) -> usize {
        (operation.index() * self.width + column) * (self.height + 1)
    }

    /// The operations that have marks.
    fn operations(&self) -> impl Iterator<Item = Operation> + use<> {
        let all = Operation::ALL.into_iter().zip(self.marks);
        all.filter(|(_, marks)| *marks > 0)
            .map(|(operation, _)| operation)
    }

    /// The counts of one column, from the bottom.
    fn column(&self, operation: Operation, column: usize) -> impl Iterator<Item = u32> + '_ {
        let start = self.column_start(operation, column);
        let steps = self.steps.get(start..start + self.height).unwrap_or(&[]);
        steps.iter().scan(0_i32, |count, step| {
            *count = count.saturating_add(*step);
            Some(u32::try_from(*count).unwrap_or(0))
        })
    }

    /// The row below which `fraction` of the marks of `operation` lie, in the
    /// columns `from..to`; none where there are no marks.
    pub(super) fn quantiles<const N: usize>(
        &self,
        operation: Operation,
        (from, to): (usize, usize),
        fractions: [f64; N],
    ) -> Option<[usize; N]> {
        if !self.operations().any(|marked| marked == operation) {
            return None;
        }
        let mut rows = vec![0_u64; self.height];
        for column in from..to.min(self.width) {
            for (row, count) in rows.iter_mut().zip(self.column(operation, column)) {
                *row += u64::from(count);
            }
        }
        let total: u64 = rows.iter().sum();
        if total == 0 {
            return None;
        }
        Some(fractions.map(|fraction| {
            let rank = float(total) * fraction;
            let mut seen = 0;
            rows.iter()
                .position(|row| {
                    seen += row;
                    float(seen) >= rank
                })
                .unwrap_or(self.height - 1)
        }))
    }

    /// The width, pixels.
    pub(super) const fn width(&self) -> usize {
        self.width
    }

    /// The pixels that hold marks. How opaque one is grows with the logarithm
    /// of its count, up to `opacity`.
    ///
    /// Where operations meet in a pixel, it has the colour of one of them, not
    /// of their mixture, which would be in no legend: they share such pixels
    /// out, by the logarithm of their counts there and in all, so that what is
    /// rare shows among what is not.
    pub(super) fn dots(&self, opacity: f64) -> Vec<Dot> {
        let reference = self.reference();
        let mut dots = Vec::new();
        let mut counts = vec![[0_u32; Operation::COUNT]; self.height];
        for column in 0..self.width {
            counts.fill([0; Operation::COUNT]);
            for operation in self.operations() {
                for (count, of) in counts.iter_mut().zip(self.column(operation, column)) {
                    if let Some(slot) = count.get_mut(operation.index()) {
                        *slot = of;
                    }
                }
            }
            for (row, count) in counts.iter().enumerate() {
                if let Some(colour) = self.colour(count, noise(column, row)) {
                    let alpha = alpha(count, reference) * opacity;
                    let colour = colour.mix(alpha);
                    dots.push((coordinate(column), coordinate(row), colour));
                }
            }
        }
        dots
    }

    /// The colour of a pixel with `counts`; `choice` is a number from 0 to 1.
    fn colour(&self, counts: &[u32; Operation::COUNT], choice: f64) -> Option<RGBColor> {
        let weights = Operation::ALL.iter().zip(counts).zip(self.marks);
        let weights: Vec<(Operation, f64)> = weights
            .filter(|((_, count), _)| **count > 0)
            .map(|((operation, count), all)| {
                let weight = f64::from(*count).ln_1p() / float(all.max(1)).ln_1p();
                (*operation, weight)
            })
            .collect();
        let total: f64 = weights.iter().map(|weight| weight.1).sum();
        let mut passed = 0.0;
        for (operation, weight) in &weights {
            passed += weight;
            if passed >= choice * total {
                return Some(operation.colour());
            }
        }
        weights.last().map(|last| last.0.colour())
    }

    /// The count at which a pixel is as opaque as can be: that of the densest
    /// two per cent.
    fn reference(&self) -> f64 {
        let mut by_magnitude = [0_u64; 33];
        for operation in self.operations() {
            for column in 0..self.width {
                for count in self.column(operation, column).filter(|&count| count > 0) {
                    let magnitude = (32 - count.leading_zeros()) as usize;
                    if let Some(slot) = by_magnitude.get_mut(magnitude) {
                        *slot += 1;
                    }
                }
            }
        }
        let total: u64 = by_magnitude.iter().sum();
        let mut above = 0;
        for (magnitude, pixels) in by_magnitude.iter().enumerate().rev() {
            above += pixels;
            if above * 50 > total {
                return float(1 << magnitude);
            }
        }
        1.0
    }
}

/// How opaque a pixel with `counts` is. A count of `reference` or more is as
/// opaque as can be; where no pixel holds more than a few, one mark is so too.
fn alpha(counts: &[u32; Operation::COUNT], reference: f64) -> f64 {
    if reference <= 4.0 {
        return ALPHA_MAX;
    }
    let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    let depth = float(total).ln_1p() / reference.ln_1p();
    ALPHA_MIN + (ALPHA_MAX - ALPHA_MIN) * depth.min(1.0)
}

/// A number from 0 to 1 for each pixel, such that neighbours differ much: the
/// interleaved gradient noise that renderers dither with.
fn noise(column: usize, row: usize) -> f64 {
    let (x, y) = (float(column as u64), float(row as u64));
    (52.982_918_9 * (0.067_110_56 * x + 0.005_837_15 * y).fract()).fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(raster: &Raster) -> Vec<(i32, i32)> {
        raster.dots(1.0).iter().map(|dot| (dot.0, dot.1)).collect()
    }

    #[test]
    fn a_mark_covers_its_extent_and_at_least_a_pixel() {
        let mut raster = Raster::new(10, 10, 1);
        raster.mark(Operation::Write, 0.05, 0.0, 0.0);
        raster.mark(Operation::Write, 0.95, 0.5, 0.75);
        assert_eq!(covered(&raster), [(0, 0), (9, 5), (9, 6), (9, 7)]);
    }

    #[test]
    fn marks_stay_inside_and_keep_their_size() {
        for (x, bottom, top) in [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (9.0, -1.0, f64::NAN)] {
            let mut raster = Raster::new(20, 20, 3);
            raster.mark(Operation::Read, x, bottom, top);
            assert_eq!(covered(&raster).len(), 9, "{x} {bottom} {top}");
        }
    }

    #[test]
    fn rare_marks_show_among_many_in_their_own_colour() {
        let mut raster = Raster::new(30, 30, 3);
        for _ in 0..1000 {
            raster.mark(Operation::Read, 0.5, 0.0, 1.0);
        }
        raster.mark(Operation::Write, 0.5, 0.5, 0.5);
        let dots = raster.dots(1.0);
        let of = |operation: Operation| {
            let colour = operation.colour().rgb();
            dots.iter().filter(|dot| dot.2.rgb() == colour).count()
        };
        assert!((2..=9).contains(&of(Operation::Write)), "{dots:?}");
        assert_eq!(of(Operation::Write) + of(Operation::Read), dots.len());
    }

    #[test]
    fn the_more_marks_the_more_opaque() {
        let mut raster = Raster::new(3, 1, 1);
        for (column, count) in [(0.1, 1), (0.5, 30), (0.9, 1000)] {
            for _ in 0..count {
                raster.mark(Operation::Read, column, 0.0, 0.0);
            }
        }
        let alphas: Vec<f64> = raster.dots(1.0).iter().map(|dot| dot.2.alpha()).collect();
        assert!(alphas.is_sorted_by(|a, b| a < b), "{alphas:?}");
    }

    #[test]
    fn quantiles_are_those_of_the_marks() {
        let mut raster = Raster::new(10, 100, 1);
        for row in 0..100_u32 {
            let y = (f64::from(row) + 0.5) / 100.0;
            raster.mark(Operation::Read, 0.0, y, y);
        }
        let rows = raster.quantiles(Operation::Read, (0, 1), [0.5, 0.99, 1.0]);
        assert_eq!(rows, Some([49, 98, 99]));
        assert_eq!(raster.quantiles(Operation::Read, (1, 10), [0.5]), None);
        assert_eq!(raster.quantiles(Operation::Write, (0, 1), [0.5]), None);
    }
}
