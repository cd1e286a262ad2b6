//! One trace in one picture.

use std::path::Path;

use crate::{CommandRecord, Record};
use nvme::DsmRange;

use super::axis::Axis;
use super::bins::Bins;
use super::lanes::Lanes;
use super::latency::Latency;
use super::map::Map;
use super::num::{float, pixel};
use super::operation::Operation;
use super::panel::{self, Area, Drawn, Key, Rect, Theme};
use super::{Bounds, PlotError, PlotOptions, rates, units};

/// The width of a bin of the rate panels, pixels, before scaling.
const BIN_WIDTH: f64 = 4.0;
/// The distance of labels on the time axis, pixels, before scaling.
const TIME_LABEL: f64 = 130.0;

/// One trace in one picture: addresses over time, coloured by operation, and
/// below, on the same time axis, commands a second, bandwidth, and latency.
///
/// Its memory depends on the size of the picture only: records may come in any
/// number, in any order.
#[derive(Clone, Debug)]
pub struct Timeline {
    options: PlotOptions,
    theme: Theme,
    bounds: Bounds,
    time: Axis,
    time_unit: &'static str,
    map: Map,
    lanes: Lanes,
    bins: Bins,
    commands_rect: Rect,
    bandwidth_rect: Rect,
    latency: Option<Latency>,
}

impl Timeline {
    /// An empty picture, for the records that `bounds` were taken from. Others
    /// may be added; what is out of bounds is drawn at the nearest edge.
    ///
    /// # Errors
    ///
    /// [`PlotError::Size`]: the size is out of range.
    pub fn new(options: &PlotOptions, bounds: &Bounds) -> Result<Self, PlotError> {
        options.check()?;
        let theme = Theme::new(options)?;
        let layout = Layout::new(options, &theme, bounds);
        let width = f64::from(layout.map.width);
        let labels = width / theme.length(TIME_LABEL);
        let (time, time_unit) = Axis::time(bounds.duration_ns(), labels);
        let commands = bounds.commands();
        let bins_max = layout.map.width / theme.px(BIN_WIDTH).max(1);
        Ok(Self {
            map: Map::new(options, &theme, layout.map, &bounds.coverage, commands),
            lanes: Lanes::new(layout.lanes, bounds),
            bins: Bins::new(float(bounds.duration_ns()), bins_max.unsigned_abs()),
            latency: layout
                .latency
                .zip(bounds.latency_ns())
                .map(|(rect, range)| Latency::new(&theme, rect, range, commands)),
            commands_rect: layout.commands,
            bandwidth_rect: layout.bandwidth,
            options: options.clone(),
            bounds: bounds.clone(),
            theme,
            time,
            time_unit,
        })
    }

    /// Draws `record` in.
    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Command {
                command, ranges, ..
            } => self.add_command(command, ranges),
            Record::Event(event) => self.lanes.add_event(self.x(event.at_ns), event.event),
            Record::Gap(gap) => self.lanes.add_gap(self.x(gap.at_ns), gap.lost),
        }
    }

    fn add_command(&mut self, command: &CommandRecord, ranges: &[DsmRange]) {
        let x = self.x(command.submit_ns);
        let Some(operation) = Operation::of(command) else {
            self.lanes.add_admin(x);
            return;
        };
        if !self.map.add(operation, x, command, ranges) {
            self.lanes.add_unplaced(operation, x);
        }
        let at_ns = command.submit_ns.saturating_sub(self.bounds.start_ns());
        let bytes = bytes(&self.options, command, ranges);
        self.bins.add(operation, at_ns, bytes);
        if let (Some(panel), Some(latency_ns)) = (&mut self.latency, command.latency_ns()) {
            panel.add(operation, x, latency_ns);
        }
        if command
            .completion
            .is_some_and(|completion| !completion.status.is_success())
        {
            self.lanes.add_failed(x);
        }
    }

    fn x(&self, at_ns: u64) -> f64 {
        let at_ns = at_ns.saturating_sub(self.bounds.start_ns());
        self.time.fraction(float(at_ns))
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
            "trace"
        } else {
            &self.options.title
        };
        panel::header(area, theme, title, &facts(&self.options, &self.bounds))?;
        if self.bounds.is_empty() {
            let text = "This trace holds no commands.";
            return panel::message(area, theme, self.map_rect(area), text);
        }
        panel::legend(area, theme, &keys(&self.options, &self.bounds))?;
        let time = &self.time;
        let time_name = format!("time since the start of the trace, {}", self.time_unit);
        let remark = self.map.remark();
        let heading = ("Address over time", remark.as_str());
        self.map.draw(area, theme, (time, None), heading)?;
        self.lanes.draw(area, theme)?;
        rates::draw_commands(area, theme, self.commands_rect, time, &self.bins)?;
        let name = self.latency.is_none().then_some(time_name.as_str());
        rates::draw_bandwidth(area, theme, self.bandwidth_rect, (time, name), &self.bins)?;
        if let Some(latency) = &self.latency {
            latency.draw(area, theme, (time, &time_name))?;
        }
        Ok(())
    }

    fn map_rect(&self, area: &Area<'_>) -> Rect {
        let (_, height) = area.dim_in_pixel();
        Rect {
            height: i32::try_from(height).unwrap_or(0) - 2 * self.commands_rect.left,
            top: self.commands_rect.left,
            ..self.commands_rect
        }
    }
}

/// Where the panels are.
#[derive(Clone, Copy, Debug)]
struct Layout {
    map: Rect,
    lanes: Rect,
    commands: Rect,
    bandwidth: Rect,
    latency: Option<Rect>,
}

impl Layout {
    fn new(options: &PlotOptions, theme: &Theme, bounds: &Bounds) -> Self {
        let side = |size: u32| i32::try_from(size).unwrap_or(i32::MAX);
        let heading = theme.heading_height();
        let left = theme.label_width() + theme.px(8.0);
        let width = side(options.width) - left - theme.px(22.0);
        let has_latency = bounds.latency_ns().is_some();
        let lanes_height = Lanes::height(theme, bounds);
        let lanes_gap = if lanes_height > 0 { theme.px(8.0) } else { 0 };
        let top = panel::legend_bottom(options, theme, &keys(options, bounds));
        let panels = if has_latency { 4 } else { 3 };
        let room = side(options.height)
            - top
            - panels * heading
            - lanes_height
            - lanes_gap
            - theme.px(66.0);
        let shares = if has_latency {
            [0.50, 0.14, 0.14, 0.22]
        } else {
            [0.62, 0.19, 0.19, 0.0]
        };
        let [map, commands, bandwidth, latency] =
            shares.map(|share| pixel(f64::from(room) * share).max(8));
        let rect = |top, height| Rect {
            left,
            top,
            width,
            height,
        };
        let map = rect(top + heading, map);
        let lanes = rect(map.bottom() + lanes_gap, lanes_height);
        let commands = rect(lanes.bottom() + heading, commands);
        let bandwidth = rect(commands.bottom() + heading, bandwidth);
        let latency = rect(bandwidth.bottom() + heading, latency);
        Self {
            map,
            lanes,
            commands,
            bandwidth,
            latency: has_latency.then_some(latency),
        }
    }
}

/// The bytes that a command addresses; saturates.
pub(super) fn bytes(options: &PlotOptions, command: &CommandRecord, ranges: &[DsmRange]) -> u64 {
    let extents = command.touched(ranges).extents();
    extents
        .map(|(_, blocks)| blocks.saturating_mul(u64::from(options.block_bytes)))
        .fold(0, u64::saturating_add)
}

/// The line under the title.
fn facts(options: &PlotOptions, bounds: &Bounds) -> String {
    let mut facts = Vec::new();
    if !options.device.is_empty() {
        facts.push(options.device.clone());
    }
    if let Some(capacity) = options.capacity_bytes {
        facts.push(units::bytes(float(capacity)));
    }
    facts.push(units::duration_ns(bounds.duration_ns()));
    facts.push(match bounds.commands() {
        1 => "1 I/O command".to_owned(),
        count => format!("{} I/O commands", units::count(count)),
    });
    let incomplete = if bounds.latency_ns().is_none() && bounds.commands() > 0 {
        facts.push("latency not recorded".to_owned());
        0
    } else {
        bounds.incomplete()
    };
    let counts = [
        (bounds.admin(), "admin"),
        (bounds.failed(), "failed"),
        (incomplete, "never completed"),
        (bounds.lost(), "lost"),
    ];
    for (count, what) in counts.into_iter().filter(|&(count, _)| count > 0) {
        facts.push(format!("{} {what}", units::count(count)));
    }
    facts.join("  ·  ")
}

/// The legend: operations that occur, how often, and how much they address.
fn keys(options: &PlotOptions, bounds: &Bounds) -> Vec<Key> {
    Operation::ALL
        .into_iter()
        .map(|operation| (operation, bounds.tally(operation)))
        .filter(|(_, tally)| tally.commands > 0)
        .map(|(operation, tally)| {
            let bytes = float(tally.blocks) * f64::from(options.block_bytes);
            let count = units::count(tally.commands);
            Key {
                colour: operation.colour(),
                name: operation.name().to_owned(),
                remark: if tally.blocks > 0 {
                    format!("{count} ({})", units::bytes(bytes))
                } else {
                    count
                },
            }
        })
        .collect()
}
