//! What all panels share: type, lines, places, and the way to a file.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use plotters::chart::{ChartBuilder, ChartContext, LabelAreaPosition};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{PathElement, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, RGBColor, TRANSPARENT, TextStyle};

use super::axis::Axis;
use super::canvas::Canvas;
use super::num::pixel;
use super::text::{Face, Fonts, fonts};
use super::{PlotError, PlotOptions};

/// A picture, or a part of one, in pixels.
pub(super) type Area<'a> = DrawingArea<Canvas<'a>, Shift>;
/// A panel with its axes.
pub(super) type Chart<'a> = ChartContext<'a, Canvas<'a>, Cartesian2d<Axis, Axis>>;
/// What drawing yields.
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<Infallible>>;

/// The colour of text.
pub(super) const INK: RGBColor = RGBColor(32, 32, 32);
/// The colour of text that matters less.
pub(super) const FAINT_INK: RGBColor = RGBColor(96, 96, 96);
/// The colour of frames.
pub(super) const FRAME: RGBColor = RGBColor(150, 150, 150);
/// The colour of grid lines.
pub(super) const GRID: RGBColor = RGBColor(228, 228, 228);

/// Pixels of the title's em square, before scaling; and so on.
pub(super) const TITLE_EM: f64 = 25.0;
pub(super) const FACTS_EM: f64 = 16.0;
pub(super) const HEADING_EM: f64 = 16.0;
pub(super) const LABEL_EM: f64 = 14.5;

/// The middle row of the legend's first line, and so on, before scaling.
const LEGEND_TOP: f64 = 92.0;
const LEGEND_LINE: f64 = 26.0;
const SWATCH: f64 = 14.0;
const SWATCH_GAP: f64 = 7.0;

/// Where a panel is: the pixels inside its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) width: i32,
    pub(super) height: i32,
}

impl Rect {
    pub(super) const fn right(&self) -> i32 {
        self.left + self.width
    }

    pub(super) const fn bottom(&self) -> i32 {
        self.top + self.height
    }
}

/// Sizes: everything grows with the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    scale: f64,
    fonts: &'static Fonts,
}

impl Theme {
    /// The theme for a picture of the size that `options` ask for.
    pub(super) fn new(options: &PlotOptions) -> Result<Self, PlotError> {
        let scale = (f64::from(options.width) / 1600.0).min(f64::from(options.height) / 1200.0);
        Ok(Self {
            scale: scale.clamp(0.7, 4.0),
            fonts: fonts()?,
        })
    }

    /// `length`, which is meant for a picture of 1600 by 1200, in pixels.
    pub(super) fn px(&self, length: f64) -> i32 {
        pixel(length * self.scale)
    }

    /// The like, not rounded.
    pub(super) fn length(&self, length: f64) -> f64 {
        length * self.scale
    }

    /// The width of a line of this picture, at least a pixel.
    pub(super) fn stroke(&self, width: f64) -> u32 {
        u32::try_from(self.px(width)).unwrap_or(1).max(1)
    }

    /// The room for labels left of a panel, pixels.
    pub(super) fn label_width(&self) -> i32 {
        self.px(92.0)
    }

    /// The room for a heading above a panel, pixels.
    pub(super) fn heading_height(&self) -> i32 {
        self.px(34.0)
    }

    /// The size of the smallest mark among `commands` commands, pixels.
    pub(super) fn mark(&self, commands: u64) -> usize {
        let size = match commands {
            0..100_000 => 3.0,
            100_000..1_000_000 => 2.0,
            _ => 1.0,
        };
        usize::try_from(self.px(size)).unwrap_or(1).max(1)
    }

    /// The typeface of `em` pixels, before scaling.
    pub(super) fn face(&self, em: f64, bold: bool) -> Face {
        Face {
            em: self.length(em),
            bold,
        }
    }

    /// The width of `text` in pixels.
    pub(super) fn width(&self, face: Face, text: &str) -> f64 {
        self.fonts.width(face, text)
    }
}

/// How text looks.
pub(super) fn style(face: Face, colour: RGBColor, anchor: (HPos, VPos)) -> TextStyle<'static> {
    let weight = if face.bold {
        FontStyle::Bold
    } else {
        FontStyle::Normal
    };
    TextStyle {
        font: ("sans-serif", face.em).into_font().style(weight),
        color: colour.to_backend_color(),
        pos: Pos::new(anchor.0, anchor.1),
    }
}

/// A panel with its grid and its labels, in a frame. `time_unit` labels the
/// horizontal axis; without it, the panel has no labels there.
pub(super) fn chart<'a>(
    area: &Area<'a>,
    theme: &Theme,
    rect: Rect,
    (x, y): (&Axis, &Axis),
    x_name: Option<&str>,
) -> Result<Chart<'a>, DrawingAreaErrorKind<Infallible>> {
    let left = theme.label_width();
    let bottom = if x_name.is_some() { theme.px(56.0) } else { 0 };
    let outer = area.clone().shrink(
        (rect.left - left, rect.top),
        (rect.width + left, rect.height + bottom),
    );
    let mut chart = ChartBuilder::on(&outer)
        .set_label_area_size(LabelAreaPosition::Left, left)
        .set_label_area_size(LabelAreaPosition::Bottom, bottom)
        .build_cartesian_2d(x.clone(), y.clone())?;
    let label = style(
        theme.face(LABEL_EM, false),
        FAINT_INK,
        (HPos::Center, VPos::Top),
    );
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(TRANSPARENT)
        .label_style(label.clone())
        .set_tick_mark_size(LabelAreaPosition::Left, theme.px(3.0))
        .set_tick_mark_size(LabelAreaPosition::Bottom, theme.px(6.0))
        .draw()?;
    if let Some(name) = x_name {
        let at = (rect.left + rect.width / 2, rect.bottom() + theme.px(34.0));
        area.draw_text(name, &label, at)?;
    }
    frame(area, rect)?;
    Ok(chart)
}

/// A frame around `rect`.
pub(super) fn frame(area: &Area<'_>, rect: Rect) -> Drawn {
    let corners = [
        (rect.left - 1, rect.top - 1),
        (rect.right(), rect.top - 1),
        (rect.right(), rect.bottom()),
        (rect.left - 1, rect.bottom()),
        (rect.left - 1, rect.top - 1),
    ];
    area.draw(&PathElement::new(corners, FRAME))
}

/// The heading of a panel: its name, and what else is to say.
pub(super) fn heading(
    area: &Area<'_>,
    theme: &Theme,
    rect: Rect,
    (name, remark): (&str, &str),
) -> Drawn {
    let anchor = (HPos::Left, VPos::Bottom);
    let y = rect.top - theme.px(9.0);
    let bold = theme.face(HEADING_EM, true);
    area.draw_text(name, &style(bold, INK, anchor), (rect.left, y))?;
    let x = theme.width(bold, name) + theme.length(12.0);
    let plain = theme.face(LABEL_EM, false);
    let remark = theme.fonts.fit(plain, remark, f64::from(rect.width) - x);
    let at = (rect.left + pixel(x), y);
    area.draw_text(&remark, &style(plain, FAINT_INK, anchor), at)
}

/// A message in the middle of `rect`.
pub(super) fn message(area: &Area<'_>, theme: &Theme, rect: Rect, text: &str) -> Drawn {
    let face = theme.face(HEADING_EM, false);
    let text = theme.fonts.fit(face, text, f64::from(rect.width));
    let middle = (rect.left + rect.width / 2, rect.top + rect.height / 2);
    area.draw_text(
        &text,
        &style(face, FAINT_INK, (HPos::Center, VPos::Center)),
        middle,
    )
}

/// The title and the line of facts under it.
pub(super) fn header(area: &Area<'_>, theme: &Theme, title: &str, facts: &str) -> Drawn {
    let (width, _) = area.dim_in_pixel();
    let left = theme.px(18.0);
    let room = f64::from(width) - theme.length(36.0);
    let anchor = (HPos::Left, VPos::Top);
    let face = theme.face(TITLE_EM, true);
    let title = theme.fonts.fit(face, title, room);
    area.draw_text(&title, &style(face, INK, anchor), (left, theme.px(20.0)))?;
    let face = theme.face(FACTS_EM, false);
    let facts = theme.fonts.fit(face, facts, room);
    area.draw_text(
        &facts,
        &style(face, FAINT_INK, anchor),
        (left, theme.px(53.0)),
    )
}

/// An entry of a legend.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// The colour of its swatch.
    pub(super) colour: RGBColor,
    /// Its name.
    pub(super) name: String,
    /// What else is to say.
    pub(super) remark: String,
}

/// The places of the swatches of `keys`: left end and middle row. As many lines
/// as it takes.
fn legend_places(width: u32, theme: &Theme, keys: &[Key]) -> Vec<(f64, i32)> {
    let margin = theme.length(18.0);
    let (mut x, mut y) = (margin, theme.px(LEGEND_TOP));
    keys.iter()
        .map(|key| {
            let name = theme.width(theme.face(FACTS_EM, true), &key.name);
            let remark = theme.width(theme.face(FACTS_EM, false), &key.remark);
            let total = theme.length(SWATCH + 2.0 * SWATCH_GAP) + name + remark;
            if x + total > f64::from(width) - margin && x > margin {
                x = margin;
                y += theme.px(LEGEND_LINE);
            }
            let place = (x, y);
            x += total + theme.length(26.0);
            place
        })
        .collect()
}

/// The first free row below the legend.
pub(super) fn legend_bottom(options: &PlotOptions, theme: &Theme, keys: &[Key]) -> i32 {
    let places = legend_places(options.width, theme, keys);
    places.last().map_or(theme.px(LEGEND_TOP), |place| place.1) + theme.px(16.0)
}

/// The legend, under the facts.
pub(super) fn legend(area: &Area<'_>, theme: &Theme, keys: &[Key]) -> Drawn {
    let (width, _) = area.dim_in_pixel();
    let bold = theme.face(FACTS_EM, true);
    let plain = theme.face(FACTS_EM, false);
    let swatch = theme.px(SWATCH);
    let gap = theme.length(SWATCH_GAP);
    let anchor = (HPos::Left, VPos::Center);
    for (key, (x, y)) in keys.iter().zip(legend_places(width, theme, keys)) {
        let (left, top) = (pixel(x), y - swatch / 2);
        let corners = [(left, top), (left + swatch - 1, top + swatch - 1)];
        area.draw(&Rectangle::new(corners, key.colour.filled()))?;
        let text = x + theme.length(SWATCH) + gap;
        area.draw_text(&key.name, &style(bold, INK, anchor), (pixel(text), y))?;
        let text = text + theme.width(bold, &key.name) + gap;
        area.draw_text(
            &key.remark,
            &style(plain, FAINT_INK, anchor),
            (pixel(text), y),
        )?;
    }
    Ok(())
}

/// Makes a picture: a white sheet for `draw` to draw on, as PNG.
pub(super) fn picture(
    options: &PlotOptions,
    theme: &Theme,
    draw: impl FnOnce(&Area<'_>) -> Result<(), PlotError>,
) -> Result<Vec<u8>, PlotError> {
    let (width, height) = (options.width, options.height);
    let mut pixels = vec![[255_u8; 3]; width as usize * height as usize];
    {
        let canvas = Canvas::new(&mut pixels, width, height, theme.fonts);
        let area = canvas.into_drawing_area();
        draw(&area)?;
        area.present()?;
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels.as_flattened())?;
    writer.finish()?;
    Ok(file)
}

/// Writes `bytes` to the file `path`.
pub(super) fn save(bytes: &[u8], path: &Path) -> Result<(), PlotError> {
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(bytes)?;
        file.flush()
    };
    write().map_err(|source| PlotError::Write {
        path: path.to_owned(),
        source,
    })
}
