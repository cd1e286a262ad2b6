//! Marks by the million: counted by pixel and operation, coloured at the end.

use plotters::style::{Color, RGBAColor};

use super::num::{cell, channel, coordinate};
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
        }
    }

    /// A mark at `x` from `bottom` to `top`, all from 0 to 1.
    pub(super) fn mark(&mut self, operation: Operation, x: f64, bottom: f64, top: f64) {
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
            let rank = super::num::float(total) * fraction;
            let mut seen = 0;
            rows.iter()
                .position(|row| {
                    seen += row;
                    super::num::float(seen) >= rank
                })
                .unwrap_or(self.height - 1)
        }))
    }

    /// The width, pixels.
    pub(super) const fn width(&self) -> usize {
        self.width
    }

    /// The pixels that hold marks. How opaque one is grows with the logarithm
    /// of its count, up to `opacity`; its colour is the mean of its
    /// operations', by the logarithm of theirs, so that one write among a
    /// thousand reads can still be told.
    pub(super) fn dots(&self, opacity: f64) -> Vec<Dot> {
        let reference = self.reference();
        let mut dots = Vec::new();
        let mut counts = vec![[0_u32; Operation::COUNT]; self.height];
        for column in 0..self.width {
            counts.fill([0; Operation::COUNT]);
            for operation in Operation::ALL {
                for (count, of) in counts.iter_mut().zip(self.column(operation, column)) {
                    if let Some(slot) = count.get_mut(operation.index()) {
                        *slot = of;
                    }
                }
            }
            for (row, count) in counts.iter().enumerate() {
                if let Some(colour) = mix(count, reference, opacity) {
                    dots.push((coordinate(column), coordinate(row), colour));
                }
            }
        }
        dots
    }

    /// The count at which a pixel is as opaque as can be: that of the densest
    /// two per cent.
    fn reference(&self) -> f64 {
        let mut by_magnitude = [0_u64; 33];
        for operation in Operation::ALL {
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
                return super::num::float(1 << magnitude);
            }
        }
        1.0
    }
}

fn mix(counts: &[u32; Operation::COUNT], reference: f64, opacity: f64) -> Option<RGBAColor> {
    let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    if total == 0 {
        return None;
    }
    let mut weight = 0.0;
    let mut sum = [0.0; 3];
    for (operation, &count) in Operation::ALL.iter().zip(counts) {
        let share = f64::from(count).ln_1p();
        let (r, g, b) = operation.colour().rgb();
        for (sum, part) in sum.iter_mut().zip([r, g, b]) {
            *sum += share * f64::from(part);
        }
        weight += share;
    }
    let [r, g, b] = sum.map(|sum| channel(sum / weight));
    // A count of `reference` or more is as opaque as can be; where no pixel
    // holds more than a few, one mark is so too.
    let depth = super::num::float(total).ln_1p() / reference.max(2.0).ln_1p();
    let alpha = if reference <= 4.0 {
        ALPHA_MAX
    } else {
        ALPHA_MIN + (ALPHA_MAX - ALPHA_MIN) * depth.min(1.0)
    };
    Some(plotters::style::RGBColor(r, g, b).mix(alpha * opacity))
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
    fn one_write_among_many_reads_shows() {
        let mut raster = Raster::new(2, 1, 1);
        for _ in 0..1000 {
            raster.mark(Operation::Read, 0.0, 0.0, 0.0);
            raster.mark(Operation::Read, 1.0, 0.0, 0.0);
        }
        raster.mark(Operation::Write, 1.0, 0.0, 0.0);
        let dots = raster.dots(1.0);
        assert_eq!(dots[0].2.rgb(), Operation::Read.colour().rgb());
        assert!(dots[1].2.rgb().0 > dots[0].2.rgb().0 + 15, "{dots:?}");
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
