//! Text, with a font that comes along.
//!
//! Pictures are made on machines that have no fonts, and shall look the same on
//! all of them: Noto Sans (Apache License 2.0) is part of the binary.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, Glyph, GlyphId, PxScale, ScaleFont, point};

use super::PlotError;
use super::num::float;

/// The two weights in use.
#[derive(Debug)]
pub(super) struct Fonts {
    regular: FontRef<'static>,
    bold: FontRef<'static>,
}

/// The fonts that come along.
pub(super) fn fonts() -> Result<&'static Fonts, PlotError> {
    static FONTS: OnceLock<Option<Fonts>> = OnceLock::new();
    FONTS
        .get_or_init(|| {
            Some(Fonts {
                regular: FontRef::try_from_slice(ttf_noto_sans::REGULAR).ok()?,
                bold: FontRef::try_from_slice(ttf_noto_sans::BOLD).ok()?,
            })
        })
        .as_ref()
        .ok_or(PlotError::Font)
}

/// A typeface: weight and size of the em square in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Face {
    /// Pixels of the em square.
    pub(super) em: f64,
    /// Whether it is bold.
    pub(super) bold: bool,
}

/// One line of text, its glyphs placed from (0, 0), the left end of the
/// baseline.
#[derive(Debug)]
pub(super) struct Line<'a> {
    font: &'a FontRef<'static>,
    glyphs: Vec<Glyph>,
    /// The width in pixels.
    pub(super) width: f32,
    /// The height of capitals in pixels.
    pub(super) cap_height: f32,
}

impl Fonts {
    /// Sets `text` in `face`.
    pub(super) fn set(&self, face: Face, text: &str) -> Line<'_> {
        let font = if face.bold { &self.bold } else { &self.regular };
        let scale = scale(font, face.em);
        let scaled = font.as_scaled(scale);
        let mut width = 0.0;
        let mut glyphs = Vec::new();
        let mut last: Option<GlyphId> = None;
        for character in text.chars() {
            let id = font.glyph_id(character);
            if let Some(last) = last {
                width += scaled.kern(last, id);
            }
            glyphs.push(id.with_scale_and_position(scale, point(width, 0.0)));
            width += scaled.h_advance(id);
            last = Some(id);
        }
        // Noto Sans has capitals of 0.714 em.
        let cap_height = scaled
            .outline_glyph(scaled.scaled_glyph('H'))
            .map_or_else(|| scale.y / 2.0, |outline| outline.px_bounds().height());
        Line {
            font,
            glyphs,
            width,
            cap_height,
        }
    }

    /// The width of `text` in `face`, pixels.
    pub(super) fn width(&self, face: Face, text: &str) -> f64 {
        f64::from(self.set(face, text).width)
    }

    /// `text`, or as much of its beginning as fits into `width` pixels, with
    /// an ellipsis. Control characters become spaces.
    pub(super) fn fit(&self, face: Face, text: &str, width: f64) -> String {
        // No picture is wide enough for more characters than this.
        let clean: String = text
            .chars()
            .take(1000)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if self.width(face, &clean) <= width {
            return clean;
        }
        let mut cut: Vec<char> = clean.chars().collect();
        while cut.pop().is_some() {
            let text: String = cut.iter().chain(&['…']).collect();
            if self.width(face, &text) <= width {
                return text;
            }
        }
        String::new()
    }
}

fn scale(font: &FontRef<'static>, em: f64) -> PxScale {
    let units_per_em = f64::from(font.units_per_em().unwrap_or(1000.0));
    let scale = em * f64::from(font.height_unscaled()) / units_per_em;
    PxScale::from(narrow(scale))
}

impl Line<'_> {
    /// Calls `paint` with each pixel that the text covers, left end of the
    /// baseline at (`x`, `y`), and by how much (0 to 1).
    pub(super) fn paint(&self, x: f64, y: f64, mut paint: impl FnMut(i32, i32, f64)) {
        for glyph in &self.glyphs {
            let mut glyph = glyph.clone();
            glyph.position.x += narrow(x);
            glyph.position.y += narrow(y);
            let Some(outline) = self.font.outline_glyph(glyph) else {
                continue;
            };
            let bounds = outline.px_bounds();
            let left = super::num::pixel(f64::from(bounds.min.x));
            let top = super::num::pixel(f64::from(bounds.min.y));
            outline.draw(|column, row, covered| {
                let column = super::num::pixel(float(u64::from(column)));
                let row = super::num::pixel(float(u64::from(row)));
                paint(left + column, top + row, f64::from(covered).min(1.0));
            });
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a pixel coordinate is exact enough in 24 bits"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACE: Face = Face {
        em: 16.0,
        bold: false,
    };

    #[test]
    fn text_is_cut_where_there_is_no_room() {
        let fonts = fonts().unwrap();
        assert_eq!(fonts.fit(FACE, "short", 200.0), "short");
        let long = "x".repeat(5000);
        let cut = fonts.fit(FACE, &long, 200.0);
        assert!(cut.ends_with('…') && fonts.width(FACE, &cut) <= 200.0);
        assert_eq!(fonts.fit(FACE, "a\nb", 200.0), "a b");
        assert_eq!(fonts.fit(FACE, "abc", 0.0), "");
    }

    #[test]
    fn the_font_has_every_sign_in_use() {
        let fonts = fonts().unwrap();
        for sign in "µ…–·×≥%—".chars() {
            assert_ne!(fonts.regular.glyph_id(sign).0, 0, "{sign}");
            assert_ne!(fonts.bold.glyph_id(sign).0, 0, "{sign}");
        }
    }
}
