//! Latency over time.

use plotters::element::PathElement;
use plotters::style::Color;

use super::axis::Axis;
use super::num::{coordinate, float, index};
use super::operation::Operation;
use super::panel::{self, Area, Drawn, Rect, Theme};
use super::raster::Raster;

/// How opaque the commands' marks are, so that the lines stand out.
const MARK_OPACITY: f64 = 0.42;
/// The width of the lines' bins, pixels, before scaling.
const BIN_WIDTH: f64 = 10.0;

/// Latency over time.
#[derive(Clone, Debug)]
pub(super) struct Latency {
    rect: Rect,
    axis: Axis,
    raster: Raster,
}

impl Latency {
    /// The panel at `rect`, for about `commands` commands that took from
    /// `least` to `most` nanoseconds.
    pub(super) fn new(theme: &Theme, rect: Rect, (least, most): (u64, u64), commands: u64) -> Self {
        let mark = theme.mark(commands);
        Self {
            rect,
            axis: Axis::latency(least, most, f64::from(rect.height) / theme.length(26.0)),
            raster: Raster::new(index(rect.width), index(rect.height), mark),
        }
    }

    /// Marks a command at `x`, 0 to 1.
    pub(super) fn add(&mut self, operation: Operation, x: f64, latency_ns: u64) {
        let place = self.axis.fraction(float(latency_ns.max(1)));
        self.raster.mark(operation, x, place, place);
    }

    /// Draws the panel.
    pub(super) fn draw(&self, area: &Area<'_>, theme: &Theme, time: (&Axis, &str)) -> Drawn {
        let heading = (
            "Latency",
            "each command a dot; lines: median (thick) and 99th percentile (thin)",
        );
        panel::heading(area, theme, self.rect, heading)?;
        panel::chart(area, theme, self.rect, (time.0, &self.axis), Some(time.1))?;
        for (column, row, colour) in self.raster.dots(MARK_OPACITY) {
            let at = (self.rect.left + column, self.rect.bottom() - 1 - row);
            area.draw_pixel(at, &colour)?;
        }
        // Reads last: there are most of them, and their line shall be on top.
        for operation in Operation::ALL.into_iter().rev() {
            self.draw_lines(area, theme, operation)?;
        }
        panel::frame(area, self.rect)
    }

    fn draw_lines(&self, area: &Area<'_>, theme: &Theme, operation: Operation) -> Drawn {
        let step = index(theme.px(BIN_WIDTH)).max(1);
        let mut median: Vec<(i32, i32)> = Vec::new();
        let mut tail: Vec<(i32, i32)> = Vec::new();
        let mut lines = Vec::new();
        for from in (0..self.raster.width()).step_by(step) {
            let to = (from + step).min(self.raster.width());
            let rows = self.raster.quantiles(operation, (from, to), [0.5, 0.99]);
            if let Some([half, most]) = rows {
                for (line, row) in [(&mut median, half), (&mut tail, most)] {
                    let y = self.rect.bottom() - 1 - coordinate(row);
                    for x in [from, to.min(self.raster.width() - 1)] {
                        line.push((self.rect.left + coordinate(x), y));
                    }
                }
            } else {
                // A line ends where nothing was measured.
                lines.push((std::mem::take(&mut median), std::mem::take(&mut tail)));
            }
        }
        lines.push((median, tail));
        let colour = operation.colour();
        for (median, tail) in lines.into_iter().filter(|line| !line.0.is_empty()) {
            area.draw(&PathElement::new(
                tail,
                colour.stroke_width(theme.stroke(1.0)),
            ))?;
            area.draw(&PathElement::new(
                median,
                colour.stroke_width(theme.stroke(2.4)),
            ))?;
        }
        Ok(())
    }
}
