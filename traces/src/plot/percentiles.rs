//! Distributions: latencies, and how late a replay was.

use hdrhistogram::Histogram;
use plotters::element::{DashedPathElement, PathElement};
use plotters::style::{Color, RGBColor, ShapeStyle};

use super::PlotError;
use super::axis::{Axis, nines};
use super::num::float;
use super::panel::{Area, Chart, Drawn, Rect, Theme};

/// Significant decimal digits of a value: finer than a pixel.
const DIGITS: u8 = 3;

/// The distribution of signed durations in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Distribution {
    /// Magnitudes of those below zero.
    negative: Histogram<u64>,
    /// The others.
    positive: Histogram<u64>,
}

impl Distribution {
    /// The distribution of nothing.
    pub(super) fn new() -> Result<Self, PlotError> {
        let histogram = || Histogram::new(DIGITS).map_err(|e| PlotError::Draw(e.to_string()));
        Ok(Self {
            negative: histogram()?,
            positive: histogram()?,
        })
    }

    /// Counts a duration.
    pub(super) fn add(&mut self, value_ns: i64) {
        let histogram = if value_ns < 0 {
            &mut self.negative
        } else {
            &mut self.positive
        };
        record(histogram, value_ns.unsigned_abs());
    }

    /// Counts a duration that is not below zero.
    pub(super) fn add_unsigned(&mut self, value_ns: u64) {
        record(&mut self.positive, value_ns);
    }

    /// How many durations there were.
    pub(super) fn count(&self) -> u64 {
        self.negative.len() + self.positive.len()
    }

    /// The least and the largest, nanoseconds; none where there is none.
    pub(super) fn range(&self) -> Option<(f64, f64)> {
        let mut steps = self.steps().map(|step| step.0);
        let least = steps.next()?;
        Some((least, steps.last().unwrap_or(least)))
    }

    /// The values, rising, each with how often it occurred.
    fn steps(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut negative: Vec<(f64, u64)> = self
            .negative
            .iter_recorded()
            .map(|step| (-float(step.value_iterated_to()), step.count_at_value()))
            .collect();
        negative.reverse();
        let positive = self
            .positive
            .iter_recorded()
            .map(|step| (float(step.value_iterated_to()), step.count_at_value()));
        negative.into_iter().chain(positive)
    }

    /// The value that `fraction` of all do not exceed, nanoseconds.
    pub(super) fn quantile(&self, fraction: f64) -> f64 {
        let rank = float(self.count()) * fraction;
        let mut seen = 0;
        let mut last = 0.0;
        for (value, count) in self.steps() {
            seen += count;
            last = value;
            if float(seen) >= rank {
                break;
            }
        }
        last
    }

    /// The curve: value in nanoseconds, and place on the scale of [`nines`].
    fn curve(&self) -> Vec<(f64, f64)> {
        let total = float(self.count());
        let mut seen = 0;
        let mut curve = Vec::new();
        for (value, count) in self.steps() {
            if curve.is_empty() {
                curve.push((value, 0.0));
            }
            seen += count;
            // Half a command below the top: the last one has a finite place.
            curve.push((value, nines((float(seen) - 0.5) / total)));
        }
        curve
    }

    /// How deep the curve goes on the scale of [`nines`].
    pub(super) fn depth(&self) -> f64 {
        (float(self.count().max(1)) * 2.0).log10()
    }
}

/// Counts `value`, and grows the histogram for it where it can.
fn record(histogram: &mut Histogram<u64>, value: u64) {
    if histogram.record(value).is_err() {
        histogram.saturating_record(value);
    }
}

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stroke {
    /// Wide, solid and pale: what the other is compared with.
    Recorded,
    /// Narrow, dashed and in full colour, over it.
    Replayed,
    /// The only one.
    Alone,
}

/// The axis for the deepest of `distributions`.
pub(super) fn depth_axis<'a>(distributions: impl Iterator<Item = &'a Distribution>) -> Axis {
    let depth = distributions.map(Distribution::depth).fold(1.3, f64::max);
    Axis::percentile(depth * 1.03)
}

/// Draws the curve of `distribution` into `chart`, which is at `rect`.
pub(super) fn draw_curve(
    chart: &Chart<'_>,
    area: &Area<'_>,
    theme: &Theme,
    distribution: &Distribution,
    (colour, stroke): (RGBColor, Stroke),
) -> Drawn {
    let mut points: Vec<(i32, i32)> = Vec::new();
    for point in distribution.curve() {
        let at = chart.backend_coord(&point);
        if points.last() != Some(&at) {
            points.push(at);
        }
    }
    let line = |width: f64, alpha: f64| ShapeStyle {
        color: pale(colour, alpha).to_rgba(),
        filled: false,
        stroke_width: theme.stroke(width),
    };
    match stroke {
        Stroke::Recorded => area.draw(&PathElement::new(points, line(6.0, 0.35))),
        Stroke::Alone => area.draw(&PathElement::new(points, line(2.4, 1.0))),
        Stroke::Replayed => {
            let (dash, space) = (theme.px(9.0), theme.px(5.0));
            let style = line(2.0, 1.0);
            area.draw(&DashedPathElement::new(points, dash, space, style))
        }
    }
}

/// `colour` mixed with white.
pub(super) fn pale(RGBColor(r, g, b): RGBColor, strength: f64) -> RGBColor {
    let mix = |part: u8| super::num::channel(255.0 - (255.0 - f64::from(part)) * strength);
    RGBColor(mix(r), mix(g), mix(b))
}

/// The width of a panel in labels, for axes.
pub(super) fn labels(theme: &Theme, rect: Rect) -> f64 {
    f64::from(rect.width) / theme.length(70.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_and_late_stand_in_one_order() {
        let mut errors = Distribution::new().unwrap();
        for error in [-1000, -10, 0, 10, 20, 30, 40, 50, 60, 5000] {
            errors.add(error);
        }
        assert_eq!(errors.count(), 10);
        assert_eq!(errors.range(), Some((-1000.0, 5003.0)));
        assert!((errors.quantile(0.0) + 1000.0).abs() < 2.0);
        assert!((errors.quantile(0.5) - 20.0).abs() < 1.0);
        assert!((errors.quantile(1.0) - 5000.0).abs() < 5.0);
        let curve = errors.curve();
        assert!(
            curve.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1),
            "{curve:?}"
        );
        assert!(curve.iter().all(|point| point.1 <= errors.depth() + 1e-9));
    }

    #[test]
    fn extremes_are_no_edge() {
        let mut errors = Distribution::new().unwrap();
        assert_eq!(errors.range(), None);
        assert!(errors.curve().is_empty());
        errors.add(i64::MIN);
        errors.add(i64::MAX);
        errors.add_unsigned(u64::MAX);
        assert_eq!(errors.count(), 3);
        assert!(
            errors
                .curve()
                .iter()
                .all(|p| p.0.is_finite() && p.1.is_finite())
        );
    }
}
