//! Pictures of traces.
//!
//! ```text
//!   records --first pass--> Bounds ------------------------\
//!           --second pass-> Timeline   (one trace)     -> PNG
//!                           Comparison (record, replay)
//! ```
//!
//! [`Timeline`] is the picture that storage people expect: addresses over time,
//! coloured by operation, and rates and latency under it. [`Comparison`] lays a
//! recording and its replay side by side. Both take records as they come, in
//! any order, and need the same memory for ten commands as for ten million;
//! what they must know beforehand, the ends of the axes, is [`Bounds`].
//!
//! The module reads no trace files, and needs no fonts or displays.

mod axis;
mod bins;
mod bounds;
mod canvas;
mod comparison;
mod coverage;
mod lanes;
mod latency;
mod lba_axis;
mod map;
mod num;
mod operation;
mod panel;
mod percentiles;
mod raster;
mod rates;
mod text;
mod timeline;
mod units;

#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};

use plotters::drawing::DrawingAreaErrorKind;

use crate::Record;

pub use bounds::{Bounds, Tally};
pub use comparison::Comparison;
pub use operation::Operation;
pub use timeline::Timeline;

/// Why a picture was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// The size is out of range.
    #[error(
        "cannot draw a picture of {width}x{height} pixels: give a size from {}x{} to {}x{}",
        PlotOptions::WIDTH_MIN,
        PlotOptions::HEIGHT_MIN,
        PlotOptions::SIZE_MAX,
        PlotOptions::SIZE_MAX
    )]
    Size {
        /// The width asked for, pixels.
        width: u32,
        /// The height asked for, pixels.
        height: u32,
    },
    /// The font that comes along cannot be read.
    #[error("cannot read the built-in font: this build is damaged, build vssd again")]
    Font,
    /// A panel could not be drawn.
    #[error("cannot draw the picture: {0}; try another size")]
    Draw(String),
    /// The picture could not be encoded.
    #[error("cannot encode the picture as PNG: {0}")]
    Encode(#[from] png::EncodingError),
    /// The file could not be written.
    #[error("cannot write {}: {source}; choose another path with -o", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl From<DrawingAreaErrorKind<Infallible>> for PlotError {
    fn from(error: DrawingAreaErrorKind<Infallible>) -> Self {
        Self::Draw(error.to_string())
    }
}

/// What a picture shows besides its records, and its size.
#[derive(Clone, Debug, PartialEq)]
pub struct PlotOptions {
    /// The width, pixels.
    pub width: u32,
    /// The height, pixels.
    pub height: u32,
    /// The headline: the name of the trace.
    pub title: String,
    /// The device, as it names itself; may be empty.
    pub device: String,
    /// The size of a logical block, bytes.
    pub block_bytes: u32,
    /// The size of the namespace, bytes, where it is known.
    pub capacity_bytes: Option<u64>,
    /// Show all addresses of the namespace. Otherwise, large stretches that no
    /// command touched are cut out of the axis, and the axis says so.
    pub whole_device: bool,
}

impl Default for PlotOptions {
    fn default() -> Self {
        Self {
            width: 1600,
            height: 1200,
            title: String::new(),
            device: String::new(),
            block_bytes: 512,
            capacity_bytes: None,
            whole_device: false,
        }
    }
}

impl PlotOptions {
    /// The least width, pixels.
    pub const WIDTH_MIN: u32 = 640;
    /// The least height, pixels.
    pub const HEIGHT_MIN: u32 = 600;
    /// The largest width and height, pixels.
    pub const SIZE_MAX: u32 = 8192;

    fn check(&self) -> Result<(), PlotError> {
        let width = Self::WIDTH_MIN..=Self::SIZE_MAX;
        let height = Self::HEIGHT_MIN..=Self::SIZE_MAX;
        if width.contains(&self.width) && height.contains(&self.height) {
            Ok(())
        } else {
            Err(PlotError::Size {
                width: self.width,
                height: self.height,
            })
        }
    }
}

/// Draws a [`Timeline`] of the records that `records` yields, to the PNG file
/// `path`. `records` is called twice: once for the [`Bounds`], once to draw.
///
/// Where reading can fail, drive [`Bounds`] and [`Timeline`] directly.
///
/// # Errors
///
/// [`PlotError`]: the size is out of range, or the file cannot be written.
pub fn draw_trace<I>(
    mut records: impl FnMut() -> I,
    options: &PlotOptions,
    path: &Path,
) -> Result<(), PlotError>
where
    I: IntoIterator<Item: Borrow<Record>>,
{
    let mut bounds = Bounds::new();
    for record in records() {
        bounds.observe(record.borrow());
    }
    let mut timeline = Timeline::new(options, &bounds)?;
    for record in records() {
        timeline.add(record.borrow());
    }
    timeline.save(path)
}

/// Draws a [`Comparison`] of the records that `recorded` and `replayed` yield,
/// to the PNG file `path`. Both are called twice. `pacing_errors_ns` are the
/// replay's actual minus scheduled submission times, nanoseconds.
///
/// # Errors
///
/// [`PlotError`]: the size is out of range, or the file cannot be written.
pub fn draw_comparison<I, J>(
    mut recorded: impl FnMut() -> I,
    mut replayed: impl FnMut() -> J,
    pacing_errors_ns: impl IntoIterator<Item = i64>,
    options: &PlotOptions,
    path: &Path,
) -> Result<(), PlotError>
where
    I: IntoIterator<Item: Borrow<Record>>,
    J: IntoIterator<Item: Borrow<Record>>,
{
    let mut bounds = (Bounds::new(), Bounds::new());
    for record in recorded() {
        bounds.0.observe(record.borrow());
    }
    for record in replayed() {
        bounds.1.observe(record.borrow());
    }
    let mut comparison = Comparison::new(options, &bounds.0, &bounds.1)?;
    for record in recorded() {
        comparison.add_recorded(record.borrow());
    }
    for record in replayed() {
        comparison.add_replayed(record.borrow());
    }
    for error in pacing_errors_ns {
        comparison.add_pacing_error(error);
    }
    comparison.save(path)
}
