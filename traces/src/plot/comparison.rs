//! A recording and its replay in one picture.

use std::path::Path;

use plotters::style::RGBColor;

use crate::{CommandRecord, Record};
use nvme::DsmRange;

use super::axis::Axis;
use super::bins::Bins;
use super::map::Map;
use super::num::{float, pixel};
use super::operation::Operation;
use super::panel::{self, Area, Drawn, Key, Rect, Theme};
use super::percentiles::{self, Distribution, Stroke};
use super::timeline::bytes;
use super::{Bounds, PlotError, PlotOptions, rates, units};

/// The colour of the recording where operations are not told apart.
const RECORDED: RGBColor = RGBColor(190, 190, 190);
/// The colour of the replay.
const REPLAYED: RGBColor = RGBColor(20, 20, 20);
/// The colour of the pacing error.
const PACING: RGBColor = RGBColor(0, 114, 178);
/// The width of a bin of the rate panel, pixels, before scaling.
const BIN_WIDTH: f64 = 4.0;
/// The distance of labels on a time axis, pixels, before scaling.
const TIME_LABEL: f64 = 90.0;

/// A recording and its replay in one picture: both maps of addresses over time
/// on the same axes, commands a second over each other, latency percentiles by
/// operation, and the distribution of the pacing error.
///
/// Each of the two starts at its own first instant. The memory depends on the
/// size of the picture only.
#[derive(Clone, Debug)]
pub struct Comparison {
    options: PlotOptions,
    theme: Theme,
    span_ns: u64,
    map_time: (Axis, &'static str),
    recorded: Side,
    replayed: Side,
    pacing: Distribution,
    layout: Layout,
}

#[derive(Clone, Debug)]
struct Side {
    bounds: Bounds,
    map: Map,
    bins: Bins,
    latencies: Vec<Distribution>,
}

impl Comparison {
    /// An empty picture for the records that `recorded` and `replayed` were
    /// taken from.
    ///
    /// # Errors
    ///
    /// [`PlotError::Size`]: the size is out of range.
    pub fn new(
        options: &PlotOptions,
        recorded: &Bounds,
        replayed: &Bounds,
    ) -> Result<Self, PlotError> {
        options.check()?;
        let theme = Theme::new(options)?;
        let layout = Layout::new(options, &theme, &keys(recorded, replayed));
        let span_ns = recorded.duration_ns().max(replayed.duration_ns());
        let labels = f64::from(layout.maps[0].width) / theme.length(TIME_LABEL);
        let mut coverage = recorded.coverage.clone();
        coverage.join(&replayed.coverage);
        let bins_max = (layout.rates.width / theme.px(BIN_WIDTH).max(1)).unsigned_abs();
        let side = |bounds: &Bounds, rect| -> Result<Side, PlotError> {
            let commands = recorded.commands().max(replayed.commands());
            Ok(Side {
                map: Map::new(options, &theme, rect, &coverage, commands),
                bins: Bins::new(float(span_ns), bins_max),
                latencies: Operation::ALL
                    .iter()
                    .map(|_| Distribution::new())
                    .collect::<Result<_, _>>()?,
                bounds: bounds.clone(),
            })
        };
        let [left, right] = layout.maps;
        Ok(Self {
            recorded: side(recorded, left)?,
            replayed: side(replayed, right)?,
            pacing: Distribution::new()?,
            options: options.clone(),
            theme,
            span_ns,
            map_time: Axis::time(span_ns, labels),
            layout,
        })
    }

    /// Draws a record of the recording in.
    pub fn add_recorded(&mut self, record: &Record) {
        if let Record::Command {
            command, ranges, ..
        } = record
        {
            self.recorded
                .add(&self.options, &self.map_time.0, command, ranges);
        }
    }

    /// Draws a record of the replay in.
    pub fn add_replayed(&mut self, record: &Record) {
        if let Record::Command {
            command, ranges, ..
        } = record
        {
            self.replayed
                .add(&self.options, &self.map_time.0, command, ranges);
        }
    }

    /// Counts how much later than scheduled a command of the replay was
    /// submitted, nanoseconds; negative is early.
    pub fn add_pacing_error(&mut self, error_ns: i64) {
        self.pacing.add(error_ns);
    }

    /// The picture as PNG.
    ///
    /// # Errors
    ///
    /// [`PlotError`]: a panel could not be drawn.
    pub fn encode(&self) -> Result<Vec<u8>, PlotError> {
        panel::picture(&self.options, &self.theme, |area| {
            self.draw(area).map_err(PlotError::from)
        })
    }

    /// Writes the picture to the PNG file `path`.
    ///
    /// # Errors
    ///
    /// [`PlotError`]: a panel could not be drawn, or the file not be written.
    pub fn save(&self, path: &Path) -> Result<(), PlotError> {
        panel::save(&self.encode()?, path)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let theme = &self.theme;
        let title = if self.options.title.is_empty() {
            "recording and replay"
        } else {
            &self.options.title
        };
        panel::header(area, theme, title, &self.facts())?;
        let keys = keys(&self.recorded.bounds, &self.replayed.bounds);
        panel::legend(area, theme, &keys)?;
        for (side, name) in [(&self.recorded, "Recorded"), (&self.replayed, "Replayed")] {
            let (time, unit) = &self.map_time;
            let label = format!("time, {unit}");
            let remark = format!("address over time, {}", side.map.remark());
            side.map
                .draw(area, theme, (time, Some(&label)), (name, &remark))?;
        }
        self.draw_rates(area)?;
        self.draw_latencies(area)?;
        self.draw_pacing(area)
    }

    fn facts(&self) -> String {
        let mut facts = Vec::new();
        if !self.options.device.is_empty() {
            facts.push(self.options.device.clone());
        }
        for (side, name) in [(&self.recorded, "recorded"), (&self.replayed, "replayed")] {
            facts.push(format!(
                "{name}: {} commands in {}, {} failed",
                units::count(side.bounds.commands()),
                units::duration_ns(side.bounds.duration_ns()),
                units::count(side.bounds.failed()),
            ));
        }
        facts.join("  ·  ")
    }

    fn draw_rates(&self, area: &Area<'_>) -> Drawn {
        let theme = &self.theme;
        let rect = self.layout.rates;
        let bin = units::duration(self.recorded.bins.bin_ns());
        let remark = format!("grey area: recorded, black line: replayed; bins of {bin}");
        panel::heading(area, theme, rect, ("Commands per second", &remark))?;
        let width = f64::from(rect.width);
        let (time, unit) = Axis::time(self.span_ns, width / theme.length(TIME_LABEL));
        let label = format!("time, {unit}");
        let series = (
            (&self.recorded.bins, RECORDED),
            (&self.replayed.bins, REPLAYED),
        );
        rates::draw_overlay(area, theme, rect, (&time, &label), series)
    }

    fn draw_latencies(&self, area: &Area<'_>) -> Drawn {
        let theme = &self.theme;
        let rect = self.layout.latency;
        let remark = "pale: recorded, dashed: replayed";
        panel::heading(area, theme, rect, ("Latency percentiles", remark))?;
        let ranges = [&self.recorded, &self.replayed].map(|side| side.bounds.latency_ns());
        let range = ranges
            .into_iter()
            .flatten()
            .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
        let Some((least, most)) = range else {
            panel::message(area, theme, rect, "no command completed")?;
            return panel::frame(area, rect);
        };
        let x = Axis::latency(least, most, percentiles::labels(theme, rect));
        let all = self
            .recorded
            .latencies
            .iter()
            .chain(&self.replayed.latencies);
        let y = percentiles::depth_axis(all);
        let chart = panel::chart(area, theme, rect, (&x, &y), Some("latency"))?;
        for (side, stroke) in [
            (&self.recorded, Stroke::Recorded),
            (&self.replayed, Stroke::Replayed),
        ] {
            for (operation, latencies) in Operation::ALL.iter().zip(&side.latencies) {
                let look = (operation.colour(), stroke);
                percentiles::draw_curve(&chart, area, theme, latencies, look)?;
            }
        }
        panel::frame(area, rect)
    }

    fn draw_pacing(&self, area: &Area<'_>) -> Drawn {
        let theme = &self.theme;
        let rect = self.layout.pacing;
        let Some((least, most)) = self.pacing.range() else {
            panel::heading(area, theme, rect, ("Pacing error", ""))?;
            panel::message(area, theme, rect, "this replay was not paced")?;
            return panel::frame(area, rect);
        };
        let [half, most_part] = [0.5, 0.99].map(|part| units::duration(self.pacing.quantile(part)));
        let last = units::duration(self.pacing.quantile(1.0));
        let remark = format!("p50 {half}, p99 {most_part}, max {last}");
        panel::heading(area, theme, rect, ("Pacing error", &remark))?;
        let x = Axis::difference(least, most);
        let y = percentiles::depth_axis([&self.pacing].into_iter());
        let name = "submitted later than scheduled by";
        let chart = panel::chart(area, theme, rect, (&x, &y), Some(name))?;
        percentiles::draw_curve(&chart, area, theme, &self.pacing, (PACING, Stroke::Alone))?;
        panel::frame(area, rect)
    }
}

impl Side {
    fn add(
        &mut self,
        options: &PlotOptions,
        time: &Axis,
        command: &CommandRecord,
        ranges: &[DsmRange],
    ) {
        let Some(operation) = Operation::of(command) else {
            return;
        };
        let at_ns = command.submit_ns.saturating_sub(self.bounds.start_ns());
        self.map
            .add(operation, time.fraction(float(at_ns)), command, ranges);
        self.bins
            .add(operation, at_ns, bytes(options, command, ranges));
        if let (Some(latencies), Some(latency_ns)) = (
            self.latencies.get_mut(operation.index()),
            command.latency_ns(),
        ) {
            latencies.add_unsigned(latency_ns);
        }
    }
}

/// Where the panels are.
#[derive(Clone, Copy, Debug)]
struct Layout {
    maps: [Rect; 2],
    rates: Rect,
    latency: Rect,
    pacing: Rect,
}

impl Layout {
    fn new(options: &PlotOptions, theme: &Theme, keys: &[Key]) -> Self {
        let side = |size: u32| i32::try_from(size).unwrap_or(i32::MAX);
        let left = theme.label_width() + theme.px(8.0);
        let right = theme.px(22.0);
        let full = side(options.width) - left - right;
        let half = (full - left - right) / 2;
        let second = left + half + right + left;
        let top = panel::legend_bottom(options, theme, keys);
        let row = theme.heading_height() + theme.px(58.0);
        let room = side(options.height) - top - 3 * row - theme.px(8.0);
        let [maps, rates, tails] =
            [0.46, 0.20, 0.34].map(|share| pixel(f64::from(room) * share).max(8));
        let rect = |left, top, width, height| Rect {
            left,
            top,
            width,
            height,
        };
        let maps_top = top + theme.heading_height();
        let rates_top = maps_top + maps + row;
        let tails_top = rates_top + rates + row;
        Self {
            maps: [
                rect(left, maps_top, half, maps),
                rect(second, maps_top, half, maps),
            ],
            rates: rect(left, rates_top, full, rates),
            latency: rect(left, tails_top, half, tails),
            pacing: rect(second, tails_top, half, tails),
        }
    }
}

/// The legend: operations that occur in either, and how often in each.
fn keys(recorded: &Bounds, replayed: &Bounds) -> Vec<Key> {
    Operation::ALL
        .into_iter()
        .map(|operation| {
            let counts = [recorded, replayed].map(|side| side.tally(operation).commands);
            (operation, counts)
        })
        .filter(|(_, counts)| counts.iter().any(|&count| count > 0))
        .map(|(operation, [recorded, replayed])| Key {
            colour: operation.colour(),
            name: operation.name().to_owned(),
            remark: if recorded == replayed {
                units::count(recorded)
            } else {
                format!("{} → {}", units::count(recorded), units::count(replayed))
            },
        })
        .collect()
}
