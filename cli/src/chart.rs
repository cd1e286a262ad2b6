//! Charts, as SVG, and what the pages that hold them look like.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::{Cartesian2d, Color as _, DrawingArea, SeriesLabelPosition};
use plotters::prelude::{
    ChartBuilder, Circle, IntoDrawingArea as _, IntoLogRange as _, LineSeries, PathElement,
    RGBColor, SVGBackend, WHITE,
};

/// The style of a page.
pub(crate) const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto; padding: 0 1em }
h1, h2 { line-height: 1.2; font-weight: 600 }
h2 { margin-top: 1.6em }
table { border-collapse: collapse; margin: 1em 0; font-size: 14px }
th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: right; white-space: pre }
th:first-child, td:first-child { text-align: left }
svg { max-width: 100%; height: auto }
.note { color: #666; font-size: 14px }
.bad { color: #b00020; font-weight: 600 }
";

const SIZE: (u32, u32) = (1080, 300);
const GRID: RGBColor = RGBColor(232, 232, 228);
const AXIS: RGBColor = RGBColor(150, 150, 145);
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 104, 180),
    RGBColor(214, 96, 28),
    RGBColor(40, 140, 80),
    RGBColor(150, 80, 160),
    RGBColor(120, 120, 120),
    RGBColor(180, 150, 20),
];

/// One line of a chart.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What a chart is of.
pub(crate) struct Chart<'a> {
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    /// Whether both axes, or the vertical one alone, are logarithmic.
    pub(crate) log_x: bool,
    pub(crate) log_y: bool,
    /// How values of the vertical axis are written.
    pub(crate) label: fn(f64) -> String,
    pub(crate) label_x: fn(f64) -> String,
    /// Whether points are marked.
    pub(crate) marked: bool,
}

/// Draws the lines; empty where there is nothing to draw.
pub(crate) fn draw(chart: &Chart<'_>, lines: &[Line]) -> Result<String> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let bounds = |pick: fn((f64, f64)) -> f64| {
        let all = points().map(pick);
        all.fold((f64::INFINITY, 0.0_f64), |(low, high), v| {
            (low.min(v), high.max(v))
        })
    };
    let (x, y) = (bounds(|point| point.0), bounds(|point| point.1));
    if !x.0.is_finite() || !y.0.is_finite() {
        return Ok(String::new());
    }
    let from = |(low, high): (f64, f64), is_log: bool| {
        let low = if is_log { low.max(1e-3) / 1.3 } else { 0.0 };
        low..(high * if is_log { 1.5 } else { 1.08 }).max(low + 1.0)
    };
    let (x, y) = (
        if chart.log_x {
            from(x, true)
        } else {
            x.0..x.1.max(x.0 + 1.0)
        },
        from(y, chart.log_y),
    );
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let drawn = match (chart.log_x, chart.log_y) {
        (false, false) => plot(&area, chart, lines, x, y),
        (false, true) => plot(&area, chart, lines, x, y.log_scale()),
        (true, false) => plot(&area, chart, lines, x.log_scale(), y),
        (true, true) => plot(&area, chart, lines, x.log_scale(), y.log_scale()),
    };
    drawn?;
    drop(area);
    Ok(svg)
}

fn plot<X, Y>(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    chart: &Chart<'_>,
    lines: &[Line],
    x: X,
    y: Y,
) -> Result<()>
where
    X: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw a chart: {error}");
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut context = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(90)
        .build_cartesian_2d(x, y)
        .map_err(|error| failed(&error))?;
    type Context<'a, 'b, X, Y> =
        plotters::prelude::ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;
    let context: &mut Context<'_, '_, X::CoordDescType, Y::CoordDescType> = &mut context;
    context
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(AXIS)
        .x_desc(chart.x)
        .y_desc(chart.y)
        .x_label_formatter(&|value| (chart.label_x)(*value))
        .y_label_formatter(&|value| (chart.label)(*value))
        .y_labels(6)
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 14))
        .draw()
        .map_err(|error| failed(&error))?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        context
            .draw_series(LineSeries::new(line.points.iter().copied(), style))
            .map_err(|error| failed(&error))?
            .label(line.name.clone())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style));
        if chart.marked {
            let marks = line
                .points
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled()));
            context.draw_series(marks).map_err(|error| failed(&error))?;
        }
    }
    if lines.len() > 1 {
        context
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .label_font(("sans-serif", 14))
            .draw()
            .map_err(|error| failed(&error))?;
    }
    area.present().map_err(|error| failed(&error))
}
