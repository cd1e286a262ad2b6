//! A picture in memory, for plotters to draw on.
//!
//! plotters' own bitmap is not used for two reasons: it places letters at whole
//! pixels, which looks ragged at the sizes of labels, and it fails without a
//! font on the machine.

use std::convert::Infallible;

use plotters::backend::DrawingBackend;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind, FontStyle,
    rasterizer,
};

use super::num::{channel, index, pixel};
use super::text::{Face, Fonts};

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// A picture of 8-bit RGB pixels.
#[derive(Debug)]
pub(super) struct Canvas<'a> {
    pixels: &'a mut [[u8; 3]],
    width: u32,
    height: u32,
    fonts: &'static Fonts,
}

impl<'a> Canvas<'a> {
    /// Draws on `pixels`, `width` to a row.
    pub(super) fn new(
        pixels: &'a mut [[u8; 3]],
        width: u32,
        height: u32,
        fonts: &'static Fonts,
    ) -> Self {
        Self {
            pixels,
            width,
            height,
            fonts,
        }
    }

    fn blend(&mut self, (x, y): BackendCoord, (r, g, b): (u8, u8, u8), alpha: f64) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
            return;
        };
        if x >= self.width || y >= self.height {
            return;
        }
        let at = y as usize * self.width as usize + x as usize;
        if let Some(pixel) = self.pixels.get_mut(at) {
            if alpha >= 1.0 {
                *pixel = [r, g, b];
                return;
            }
            for (below, above) in pixel.iter_mut().zip([r, g, b]) {
                let mixed = f64::from(*below) * (1.0 - alpha) + f64::from(above) * alpha;
                *below = channel(mixed);
            }
        }
    }
}

fn face<S: BackendTextStyle>(style: &S) -> Face {
    Face {
        em: style.size(),
        bold: matches!(style.style(), FontStyle::Bold),
    }
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        self.blend(point, color.rgb, color.alpha);
        Ok(())
    }

    /// A path wider than a pixel is drawn by segments: plotters makes one
    /// polygon of it, which goes wrong where steps are shorter than it is wide.
    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        let color = style.color();
        let width = i32::try_from(style.stroke_width()).unwrap_or(1).max(1);
        let mut last: Option<BackendCoord> = None;
        for to in path {
            if let Some(from) = last {
                self.draw_stroke(from, to, width, color)?;
            }
            last = Some(to);
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        pos: BackendCoord,
    ) -> Drawn {
        let color = style.color();
        let fonts = self.fonts;
        let line = fonts.set(face(style), text);
        let width = f64::from(line.width);
        let cap_height = f64::from(line.cap_height);
        let anchor = style.anchor();
        let x = f64::from(pos.0)
            - match anchor.h_pos {
                HPos::Left => 0.0,
                HPos::Right => width,
                HPos::Center => width / 2.0,
            };
        let y = f64::from(pos.1)
            + match anchor.v_pos {
                VPos::Top => cap_height,
                VPos::Center => cap_height / 2.0,
                VPos::Bottom => 0.0,
            };
        // A baseline at a whole pixel keeps the feet of letters sharp.
        line.paint(x, y.round(), |x, y, covered| {
            self.blend((x, y), color.rgb, color.alpha * covered);
        });
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let line = self.fonts.set(face(style), text);
        let size = |length: f32| u32::try_from(index(pixel(f64::from(length)))).unwrap_or(0);
        Ok((size(line.width), size(line.cap_height)))
    }
}

impl Canvas<'_> {
    fn draw_stroke(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        width: i32,
        color: BackendColor,
    ) -> Drawn {
        let (before, after) = ((width - 1) / 2, width / 2);
        let (left, right) = (from.0.min(to.0), from.0.max(to.0));
        let (top, bottom) = (from.1.min(to.1), from.1.max(to.1));
        if left == right || top == bottom {
            // Both ends are drawn out by half the width, which closes corners.
            for y in top - before..=bottom + after {
                for x in left - before..=right + after {
                    self.blend((x, y), color.rgb, color.alpha);
                }
            }
            return Ok(());
        }
        let steep = bottom - top > right - left;
        for shift in -before..=after {
            let (dx, dy) = if steep { (shift, 0) } else { (0, shift) };
            rasterizer::draw_line(
                self,
                (from.0 + dx, from.1 + dy),
                (to.0 + dx, to.1 + dy),
                &color,
            )?;
        }
        Ok(())
    }
}
