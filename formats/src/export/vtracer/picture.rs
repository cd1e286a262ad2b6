//! The picture in front of a vTracer recording: when what part of the drive was
//! touched, time to the right and addresses upwards.
//!
//! Neither the length of the trace nor the size of the drive is known at first:
//! where one outgrows the picture, two columns or rows become one.

use std::io;

use crate::Operation;

/// Points in a row of the chart.
const COLUMNS: usize = 640;
/// Rows of the chart.
const ROWS: usize = 320;
/// White around it, points.
const MARGIN: usize = 12;
/// Kinds of requests that have a colour of their own.
const KINDS: usize = 3;
/// Reads, writes, and discards and zeroes.
const COLOURS: [[u8; 3]; KINDS] = [[31, 119, 180], [214, 69, 0], [44, 140, 60]];
const FRAME: [u8; 3] = [170, 170, 170];

/// How many requests of each kind fell on a point.
type Point = [u32; KINDS];

/// A chart that grows with the trace, in constant memory.
#[derive(Debug)]
pub(super) struct Picture {
    /// Row by row, the lowest addresses first.
    points: Vec<Point>,
    us_per_column: u64,
    bytes_per_row: u64,
    /// How much of it is in use: columns and rows.
    used: (usize, usize),
}

impl Picture {
    pub(super) fn new() -> Self {
        Self {
            points: vec![[0; KINDS]; COLUMNS * ROWS],
            us_per_column: 1,
            bytes_per_row: 4096,
            used: (1, 1),
        }
    }

    /// Adds a request that touched `length` bytes at `offset`; a flush touches
    /// none.
    pub(super) fn add(&mut self, us: u64, operation: Operation, offset: u64, length: u64) {
        let kind = match operation {
            Operation::Flush => return,
            Operation::Read => 0,
            Operation::Write => 1,
            Operation::Discard | Operation::WriteZeroes => 2,
        };
        let last = offset.saturating_add(length.max(1) - 1);
        let narrower = too_small(us, self.us_per_column, COLUMNS);
        let lower = too_small(last, self.bytes_per_row, ROWS);
        if narrower > 1 || lower > 1 {
            self.shrink(narrower, lower);
        }
        let column = place(us, self.us_per_column);
        let (first, last) = (
            place(offset, self.bytes_per_row),
            place(last, self.bytes_per_row),
        );
        self.used = (self.used.0.max(column + 1), self.used.1.max(last + 1));
        for row in first..=last {
            if let Some(point) = self.points.get_mut(row * COLUMNS + column)
                && let Some(count) = point.get_mut(kind)
            {
                *count = count.saturating_add(1);
            }
        }
    }

    /// Makes one column of `narrower`, and one row of `lower`.
    fn shrink(&mut self, narrower: u64, lower: u64) {
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                let point = self.points.get_mut(row * COLUMNS + column);
                let point = point.map(std::mem::take).unwrap_or_default();
                // Never after the point itself, so that nothing moves twice.
                let (row, column) = (scaled(row, lower), scaled(column, narrower));
                if let Some(sum) = self.points.get_mut(row * COLUMNS + column) {
                    *sum = add(*sum, point);
                }
            }
        }
        self.us_per_column = self.us_per_column.saturating_mul(narrower);
        self.bytes_per_row = self.bytes_per_row.saturating_mul(lower);
        let (columns, rows) = self.used;
        self.used = (
            scaled(columns - 1, narrower) + 1,
            scaled(rows - 1, lower) + 1,
        );
    }

    /// It, as a PNG.
    pub(super) fn png(&self) -> io::Result<Vec<u8>> {
        const WIDTH: usize = COLUMNS + 2 * MARGIN;
        const HEIGHT: usize = ROWS + 2 * MARGIN;
        let mut pixels = Vec::with_capacity(WIDTH * HEIGHT * 3);
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                pixels.extend_from_slice(&self.colour(x, y));
            }
        }
        let [width, height] = [WIDTH, HEIGHT].map(|it| u32::try_from(it).unwrap_or(0));
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder
            .write_header()
            .and_then(|mut writer| {
                writer.write_image_data(&pixels)?;
                writer.finish()
            })
            .map_err(io::Error::other)?;
        Ok(png)
    }

    /// The colour of the point `x`, `y` of the whole picture, from the top left.
    fn colour(&self, x: usize, y: usize) -> [u8; 3] {
        const WHITE: [u8; 3] = [255; 3];
        let inside = |at: usize, size: usize| (MARGIN..MARGIN + size).contains(&at);
        if inside(x, COLUMNS) && inside(y, ROWS) {
            // What is in use fills the picture.
            let (columns, rows) = self.used;
            let row = (ROWS - 1 - (y - MARGIN)) * rows / ROWS;
            let column = (x - MARGIN) * columns / COLUMNS;
            let point = self.points.get(row * COLUMNS + column);
            return point.map_or(WHITE, |point| shade(*point));
        }
        // A frame of one point around it.
        let beside = |at: usize, size: usize| (MARGIN - 1..=MARGIN + size).contains(&at);
        if beside(x, COLUMNS) && beside(y, ROWS) {
            FRAME
        } else {
            WHITE
        }
    }
}

/// Which column or row `at` is in, where each is `unit`.
fn place(at: u64, unit: u64) -> usize {
    usize::try_from(at / unit.max(1)).unwrap_or(usize::MAX)
}

/// The power of two by which `unit` is too small for `at` to be one of `count`.
fn too_small(at: u64, unit: u64, count: usize) -> u64 {
    let mut factor = 1;
    while place(at, unit.saturating_mul(factor)) >= count {
        factor *= 2;
    }
    factor
}

/// The place of `at` where `factor` become one.
fn scaled(at: usize, factor: u64) -> usize {
    usize::try_from(factor).map_or(0, |factor| at / factor.max(1))
}

fn add(one: Point, other: Point) -> Point {
    let mut sum = one;
    for (sum, more) in sum.iter_mut().zip(other) {
        *sum = sum.saturating_add(more);
    }
    sum
}

/// The colour of the kind that a point has most of, stronger with each doubling
/// of their number.
fn shade(point: Point) -> [u8; 3] {
    let most = point.into_iter().zip(COLOURS).max_by_key(|it| it.0);
    let (count, colour) = most.unwrap_or_default();
    if count == 0 {
        return [255; 3];
    }
    let weight = (130 + 18 * (u32::BITS - count.leading_zeros())).min(255);
    colour.map(|channel| {
        let towards = (255 - u32::from(channel)) * weight / 255;
        u8::try_from(255 - towards).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, MARGIN, Picture, ROWS};
    use crate::Operation;

    /// The points that are not white, as the picture's file has them.
    fn points(picture: &Picture) -> Vec<(usize, usize, [u8; 3])> {
        let png = picture.png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let width = usize::try_from(info.width).unwrap();
        let mut points = Vec::new();
        for (at, pixel) in pixels.chunks_exact(3).enumerate() {
            let (x, y) = (at % width, at / width);
            let inside =
                (MARGIN..MARGIN + COLUMNS).contains(&x) && (MARGIN..MARGIN + ROWS).contains(&y);
            if inside && pixel != [255; 3] {
                let colour = [pixel[0], pixel[1], pixel[2]];
                points.push((x - MARGIN, ROWS - 1 - (y - MARGIN), colour));
            }
        }
        points
    }

    #[test]
    fn requests_stand_at_their_time_and_place_whatever_comes_later() {
        let mut picture = Picture::new();
        picture.add(0, Operation::Read, 0, 4096);
        picture.add(7, Operation::Flush, 0, 0);
        // All there is, as large as it gets.
        assert_eq!(points(&picture).len(), COLUMNS * ROWS);
        // An hour later, at the end of a terabyte.
        let (hour_us, terabyte) = (3_600_000_000, 1 << 40);
        picture.add(hour_us, Operation::Write, terabyte - 512, 512);
        picture.add(hour_us / 2, Operation::Discard, 0, terabyte);
        let points = points(&picture);
        let (first, last) = (points.iter().min().unwrap(), points.iter().max().unwrap());
        assert_eq!((first.0, first.1), (0, 0));
        assert_eq!((last.0, last.1), (COLUMNS - 1, ROWS - 1));
        assert_ne!(first.2, last.2);
        let middle = last.0 / 2;
        let discarded = points
            .iter()
            .filter(|it| it.0.abs_diff(middle) <= 1)
            .count();
        assert_eq!(discarded, last.1 + 1);
        // The end of time, and of addresses.
        picture.add(u64::MAX, Operation::Write, u64::MAX - 1, u64::MAX);
    }
}
