//! Addresses over time: the panel that tells most.

use plotters::element::{PathElement, Rectangle};
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use crate::CommandRecord;
use nvme::DsmRange;

use super::PlotOptions;
use super::axis::Axis;
use super::coverage::Coverage;
use super::lba_axis::{LbaAxis, LbaView};
use super::num::{float, index, pixel};
use super::operation::Operation;
use super::panel::{self, Area, Drawn, FAINT_INK, GRID, LABEL_EM, Rect, Theme};
use super::raster::Raster;
use super::units;

/// The background of what was cut out.
const CUT: RGBColor = RGBColor(243, 243, 243);

/// Addresses over time.
#[derive(Clone, Debug)]
pub(super) struct Map {
    rect: Rect,
    axis: LbaAxis,
    raster: Raster,
    block_bytes: f64,
}

impl Map {
    /// The panel at `rect`, for about `commands` commands that touch
    /// `coverage`.
    pub(super) fn new(
        options: &PlotOptions,
        theme: &Theme,
        rect: Rect,
        coverage: &Coverage,
        commands: u64,
    ) -> Self {
        let block_bytes = f64::from(options.block_bytes.max(1));
        let view = LbaView {
            block_bytes,
            capacity_bytes: options.capacity_bytes.map(float),
            whole: options.whole_device,
            height: f64::from(rect.height.max(1)),
            cut_height: theme.length(22.0),
            label_height: theme.length(20.0),
        };
        Self {
            rect,
            axis: LbaAxis::new(coverage, &view),
            raster: Raster::new(index(rect.width), index(rect.height), theme.mark(commands)),
            block_bytes,
        }
    }

    /// Marks a command at `x`, 0 to 1. Returns whether it has an address.
    pub(super) fn add(
        &mut self,
        operation: Operation,
        x: f64,
        command: &CommandRecord,
        ranges: &[DsmRange],
    ) -> bool {
        let mut placed = false;
        for (start, blocks) in command.touched(ranges).extents() {
            let from = float(start.0) * self.block_bytes;
            // The middle of the last block: its end may be the next row.
            let to = from + (float(blocks) - 0.5).max(0.5) * self.block_bytes;
            let axis = &self.axis.axis;
            self.raster
                .mark(operation, x, axis.fraction(from), axis.fraction(to));
            placed = true;
        }
        placed
    }

    /// What the heading says of the axis.
    pub(super) fn remark(&self) -> String {
        let domain = units::bytes(self.axis.domain);
        if self.axis.is_partial() {
            let shown = units::bytes(self.axis.shown);
            format!("{shown} of {domain} shown: the rest is untouched and cut out")
        } else {
            format!("0 to {domain}")
        }
    }

    /// Draws the panel.
    pub(super) fn draw(
        &self,
        area: &Area<'_>,
        theme: &Theme,
        time: (&Axis, Option<&str>),
        heading: (&str, &str),
    ) -> Drawn {
        panel::heading(area, theme, self.rect, heading)?;
        panel::chart(area, theme, self.rect, (time.0, &self.axis.axis), time.1)?;
        self.draw_cuts(area, theme)?;
        let dots = self.raster.dots(1.0);
        if dots.is_empty() {
            panel::message(area, theme, self.rect, "no command has an address")?;
        }
        for (column, row, colour) in dots {
            let at = (self.rect.left + column, self.rect.bottom() - 1 - row);
            area.draw_pixel(at, &colour)?;
        }
        panel::frame(area, self.rect)
    }

    fn draw_cuts(&self, area: &Area<'_>, theme: &Theme) -> Drawn {
        let Rect { left, height, .. } = self.rect;
        let (right, bottom) = (self.rect.right() - 1, self.rect.bottom() - 1);
        let style = panel::style(
            theme.face(LABEL_EM * 0.9, false),
            FAINT_INK,
            (HPos::Center, VPos::Center),
        );
        for cut in &self.axis.cuts {
            let row = |place: f64| bottom - pixel(place * f64::from(height));
            let (low, high) = (row(cut.bottom) - 1, row(cut.top) + 1);
            area.draw(&Rectangle::new([(left, high), (right, low)], CUT.filled()))?;
            for y in [low, high] {
                area.draw(&PathElement::new([(left, y), (right, y)], GRID))?;
            }
            let text = format!("{} untouched", units::bytes(cut.bytes));
            let middle = (left + self.rect.width / 2, i32::midpoint(low, high));
            area.draw_text(&text, &style, middle)?;
        }
        Ok(())
    }
}
