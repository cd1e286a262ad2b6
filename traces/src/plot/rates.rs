//! Commands and bytes a second over time.

use plotters::element::Rectangle;
use plotters::series::{AreaSeries, LineSeries};
use plotters::style::{Color, RGBColor};

use super::axis::Axis;
use super::bins::{Bin, Bins};
use super::operation::Operation;
use super::panel::{self, Area, Drawn, Rect, Theme};
use super::units;

/// The labels of a rate axis.
const LABELS: f64 = 4.0;
/// The room above the highest rate.
const HEADROOM: f64 = 1.06;

/// Commands a second, the operations stacked.
pub(super) fn draw_commands(
    area: &Area<'_>,
    theme: &Theme,
    rect: Rect,
    time: &Axis,
    bins: &Bins,
) -> Drawn {
    let peak = bins.peak(Bin::total);
    let remark = format!(
        "stacked by operation, bins of {}, peak {}",
        units::duration(bins.bin_ns()),
        units::rounded(peak)
    );
    panel::heading(area, theme, rect, ("Commands per second", &remark))?;
    let axis = Axis::linear(peak * HEADROOM, LABELS, units::rounded);
    let mut chart = panel::chart(area, theme, rect, (time, &axis), None)?;
    for (from, to, bin) in bins.iter() {
        let mut below = 0;
        for (operation, count) in Operation::ALL.iter().zip(bin.commands) {
            if count == 0 {
                continue;
            }
            let above = below + count;
            let corners = [(from, bins.per_second(below)), (to, bins.per_second(above))];
            chart.draw_series([Rectangle::new(corners, operation.colour().filled())])?;
            below = above;
        }
    }
    panel::frame(area, rect)
}

/// Bytes read and written a second.
pub(super) fn draw_bandwidth(
    area: &Area<'_>,
    theme: &Theme,
    rect: Rect,
    (time, time_name): (&Axis, Option<&str>),
    bins: &Bins,
) -> Drawn {
    let read = bins.peak(|bin| bin.read_bytes);
    let written = bins.peak(|bin| bin.written_bytes);
    let remark = format!(
        "read peak {}/s, write peak {}/s",
        units::bytes(read),
        units::bytes(written)
    );
    let (unit, size) = units::byte_unit(read.max(written));
    let name = format!("Bandwidth, {unit}/s");
    panel::heading(area, theme, rect, (&name, &remark))?;
    let axis = Axis::linear(read.max(written) * HEADROOM / size, LABELS, |value| {
        units::trimmed(value, 2)
    });
    let mut chart = panel::chart(area, theme, rect, (time, &axis), time_name)?;
    let mut series = |operation: Operation, rate: fn(&Bin) -> u64| -> Drawn {
        for stroke in bins.strokes(rate) {
            let steps = stroke.into_iter().map(|(x, y)| (x, y / size));
            let area = AreaSeries::new(steps, 0.0, operation.colour().mix(0.25));
            let line = operation.colour().stroke_width(theme.stroke(1.6));
            chart.draw_series(area.border_style(line))?;
        }
        Ok(())
    };
    series(Operation::Read, |bin| bin.read_bytes)?;
    series(Operation::Write, |bin| bin.written_bytes)?;
    panel::frame(area, rect)
}

/// Commands a second of a recording, and of its replay over it.
pub(super) fn draw_overlay(
    area: &Area<'_>,
    theme: &Theme,
    rect: Rect,
    (time, time_name): (&Axis, &str),
    (recorded, replayed): ((&Bins, RGBColor), (&Bins, RGBColor)),
) -> Drawn {
    let peak = recorded.0.peak(Bin::total).max(replayed.0.peak(Bin::total));
    let axis = Axis::linear(peak * HEADROOM, LABELS, units::rounded);
    let mut chart = panel::chart(area, theme, rect, (time, &axis), Some(time_name))?;
    let steps = recorded.0.steps(Bin::total);
    chart.draw_series(AreaSeries::new(steps, 0.0, recorded.1.filled()))?;
    let steps = replayed.0.steps(Bin::total);
    let line = replayed.1.stroke_width(theme.stroke(1.6));
    chart.draw_series(LineSeries::new(steps, line))?;
    panel::frame(area, rect)
}
