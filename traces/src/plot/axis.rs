//! Axes: from values to places, and which values are labelled.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::lba_axis::Segment;
use super::num::{float, pixel};
use super::units;

/// What is left before and after the first and the last instant, as a part of
/// the time between them.
const TIME_MARGIN: f64 = 0.006;
/// What a trace that took no time is shown in, nanoseconds.
const INSTANT_NS: f64 = 1e6;

/// A labelled value.
#[derive(Clone, Debug)]
pub(super) struct Tick {
    /// Where.
    pub(super) value: f64,
    /// What stands there; nothing for a line without a label.
    pub(super) label: String,
}

/// An axis: how values map to places, and its labelled values. Values out of
/// range map to the nearer end, so nothing can be drawn outside a panel.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    scale: Scale,
    ticks: Vec<Tick>,
}

#[derive(Clone, Debug)]
enum Scale {
    /// Equal steps for equal differences.
    Linear { from: f64, to: f64 },
    /// Equal steps for equal ratios.
    Log { from: f64, to: f64 },
    /// Logarithmic to both sides of zero, linear within `linear` of it.
    SignedLog { from: f64, to: f64, linear: f64 },
    /// Linear in pieces, with the space between them cut out.
    Pieces(Vec<Segment>),
}

impl Axis {
    /// From 0 to `to`, with about `steps` labels written by `label`.
    pub(super) fn linear(to: f64, steps: f64, label: impl Fn(f64) -> String) -> Self {
        let to = if to.is_finite() && to > 0.0 { to } else { 1.0 };
        let step = units::round_step(to / steps.max(1.0));
        let ticks = (0..100_u32)
            .map(|index| f64::from(index) * step)
            .take_while(|&value| value <= to * (1.0 + 1e-9))
            .map(|value| Tick {
                value,
                label: label(value),
            })
            .collect();
        Self {
            scale: Scale::Linear { from: 0.0, to },
            ticks,
        }
    }

    /// Time from 0 to `span_ns` nanoseconds, with a margin on both sides that
    /// keeps the first and the last mark off the frame; and the unit of its
    /// labels. What took no time stands in the middle.
    pub(super) fn time(span_ns: u64, steps: f64) -> (Self, &'static str) {
        let (span_ns, margin_ns) = if span_ns == 0 {
            (0.0, INSTANT_NS / 2.0)
        } else {
            (float(span_ns), float(span_ns) * TIME_MARGIN)
        };
        let shown = span_ns + 2.0 * margin_ns;
        let (unit, size) = units::time_unit(shown);
        let axis = Self::linear((shown - margin_ns) / size, steps, |value| {
            units::trimmed(value, 3)
        });
        let ticks = axis.ticks.into_iter().map(|tick| Tick {
            value: tick.value * size,
            label: tick.label,
        });
        let axis = Self {
            scale: Scale::Linear {
                from: -margin_ns,
                to: span_ns + margin_ns,
            },
            ticks: ticks.collect(),
        };
        (axis, unit)
    }

    /// Durations in nanoseconds around `least` to `most`, logarithmic. At most
    /// about `steps` labels.
    pub(super) fn latency(least: u64, most: u64, steps: f64) -> Self {
        let from = units::round_down(float(least.max(1)));
        let mut to = units::round_up(float(most.max(1)));
        if to < from * 10.0 {
            to = from * 10.0;
        }
        let decades = (to / from).log10();
        let factors: &[f64] = if decades * 3.0 <= steps {
            &[1.0, 2.0, 5.0]
        } else if decades * 2.0 <= steps {
            &[1.0, 3.0]
        } else {
            &[1.0]
        };
        let every = (decades / steps.max(1.0)).ceil().max(1.0);
        let mut ticks = Vec::new();
        for decade in 0..=20_u32 {
            for factor in factors {
                let value = 10_f64.powi(decade.cast_signed()) * factor;
                if value >= from * (1.0 - 1e-9) && value <= to * (1.0 + 1e-9) {
                    let labelled = f64::from(decade) % every == 0.0;
                    ticks.push(Tick {
                        value,
                        label: if labelled {
                            units::duration(value)
                        } else {
                            String::new()
                        },
                    });
                }
            }
        }
        Self {
            scale: Scale::Log { from, to },
            ticks,
        }
    }

    /// Differences in nanoseconds, `least` (below 0, or 0) to `most`:
    /// logarithmic to both sides, and linear within 100 ns of zero.
    pub(super) fn difference(least: f64, most: f64) -> Self {
        const LINEAR: f64 = 100.0;
        let end = |magnitude: f64| units::round_up(magnitude.max(LINEAR * 10.0));
        let to = end(most);
        let from = if least < 0.0 { -end(-least) } else { 0.0 };
        let zero = Tick {
            value: 0.0,
            label: "0".to_owned(),
        };
        let mut ticks = vec![zero];
        for decade in 3..=20 {
            let value = 10_f64.powi(decade);
            for value in [value, -value] {
                if (from..=to).contains(&value) {
                    ticks.push(Tick {
                        value,
                        label: units::duration(value),
                    });
                }
            }
        }
        Self {
            scale: Scale::SignedLog {
                from,
                to,
                linear: LINEAR,
            },
            ticks,
        }
    }

    /// Fractions of a whole on the scale of nines: 50 %, 90 %, 99 %, … up
    /// to the first that is `nines` nines deep. See [`nines`].
    pub(super) fn percentile(depth: f64) -> Self {
        let mut ticks = Vec::new();
        let mut push = |fraction: f64, label: String| {
            let value = nines(fraction);
            if value <= depth * (1.0 + 1e-9) {
                ticks.push(Tick { value, label });
            }
        };
        push(0.5, "p50".to_owned());
        push(0.9, "p90".to_owned());
        for deep in 2..=9_usize {
            let fraction = 1.0 - 10_f64.powi(-i32::try_from(deep).unwrap_or(0));
            push(fraction, format!("p{:.*}", deep - 2, fraction * 100.0));
        }
        Self {
            scale: Scale::Linear {
                from: 0.0,
                to: depth,
            },
            ticks,
        }
    }

    /// Linear in pieces: see [`super::lba_axis`].
    pub(super) fn pieces(segments: Vec<Segment>, ticks: Vec<Tick>) -> Self {
        Self {
            scale: Scale::Pieces(segments),
            ticks,
        }
    }

    /// Where `value` lies, from 0 to 1.
    pub(super) fn fraction(&self, value: f64) -> f64 {
        let fraction = match &self.scale {
            Scale::Linear { from, to } => (value - from) / (to - from),
            Scale::Log { from, to } => (value.max(*from) / from).log10() / (to / from).log10(),
            Scale::SignedLog { from, to, linear } => {
                let bend = |value: f64| value.signum() * (1.0 + value.abs() / linear).log10();
                (bend(value) - bend(*from)) / (bend(*to) - bend(*from))
            }
            Scale::Pieces(segments) => fraction_in(segments, value),
        };
        if fraction.is_nan() {
            0.0
        } else {
            fraction.clamp(0.0, 1.0)
        }
    }

    /// The labelled values.
    #[cfg(test)]
    pub(super) fn ticks(&self) -> &[Tick] {
        &self.ticks
    }
}

fn fraction_in(segments: &[Segment], value: f64) -> f64 {
    let mut place = 0.0;
    for segment in segments {
        if value < segment.from {
            return place;
        }
        if value <= segment.to {
            let inside = (value - segment.from) / (segment.to - segment.from);
            return segment.bottom + inside * (segment.top - segment.bottom);
        }
        place = segment.top;
    }
    place
}

/// The place of `fraction` on the scale of nines: 0 for 0, 1 for 90 %, 2 for
/// 99 %, 3 for 99.9 %.
pub(super) fn nines(fraction: f64) -> f64 {
    -(1.0 - fraction).max(1e-12).log10()
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + pixel(f64::from(limit.1 - limit.0) * self.fraction(*value))
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.ticks.iter().map(|tick| tick.value).collect()
        }
    }

    fn range(&self) -> Range<f64> {
        match &self.scale {
            Scale::Linear { from, to }
            | Scale::Log { from, to }
            | Scale::SignedLog { from, to, .. } => *from..*to,
            Scale::Pieces(segments) => {
                let from = segments.first().map_or(0.0, |segment| segment.from);
                let to = segments.last().map_or(1.0, |segment| segment.to);
                from..to
            }
        }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.ticks
            .iter()
            .find(|tick| tick.value.to_bits() == value.to_bits())
            .map(|tick| tick.label.clone())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks()
            .iter()
            .map(|tick| tick.label.as_str())
            .collect()
    }

    #[test]
    fn time_is_labelled_in_a_unit_that_suits_it() {
        let (axis, unit) = Axis::time(62_100_000_000, 8.0);
        assert_eq!(unit, "s");
        assert_eq!(labels(&axis), ["0", "10", "20", "30", "40", "50", "60"]);
        let (axis, unit) = Axis::time(1500, 5.0);
        assert_eq!(unit, "µs");
        assert_eq!(labels(&axis), ["0", "0.5", "1", "1.5"]);
    }

    #[test]
    fn latency_spans_at_least_a_decade() {
        let axis = Axis::latency(3_000, 3_000, 6.0);
        assert_eq!(labels(&axis), ["2 µs", "5 µs", "10 µs", "20 µs"]);
        assert!(axis.fraction(0.0).abs() < 1e-9);
        assert!((axis.fraction(1e30) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn differences_run_to_both_sides_of_zero() {
        let axis = Axis::difference(-5_000.0, 2_000_000.0);
        assert!(axis.fraction(-5_000.0) < axis.fraction(0.0));
        assert!(axis.fraction(0.0) < axis.fraction(1_000.0));
        assert!(labels(&axis).contains(&"-1 µs"));
        assert!(labels(&axis).contains(&"1 ms"));
    }

    #[test]
    fn percentiles_stand_on_the_scale_of_nines() {
        let axis = Axis::percentile(3.0);
        assert_eq!(labels(&axis), ["p50", "p90", "p99", "p99.9"]);
    }
}
