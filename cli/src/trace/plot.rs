//! `vssd trace plot`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use traces::plot::{Bounds, PlotOptions, Timeline};
use traces::{NamespaceInfo, Reader};

use super::open;
use crate::terminal;

/// Draw a trace: addresses, IOPS, bandwidth and latency over time.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd trace plot day.vtr -o day.png")]
pub(crate) struct PlotArguments {
    /// The trace.
    file: PathBuf,
    /// The picture to write, a PNG file.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 1600)]
    width: u32,
    /// Pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 1200)]
    height: u32,
    /// Show all addresses, those that nothing touches too.
    #[arg(long)]
    whole_device: bool,
}

/// Runs `vssd trace plot`.
pub(crate) fn run(arguments: &PlotArguments) -> Result<()> {
    let reader = open(&arguments.file)?;
    let options = PlotOptions {
        width: arguments.width,
        height: arguments.height,
        whole_device: arguments.whole_device,
        ..options_for(&reader, &arguments.file)
    };
    draw(&reader, &options, &arguments.output)?;
    println!("{}", arguments.output.display());
    Ok(())
}

/// What a picture of this trace says besides its records.
pub(crate) fn options_for(reader: &Reader, path: &Path) -> PlotOptions {
    let header = reader.header();
    let namespace = header.namespaces.first();
    PlotOptions {
        title: path
            .file_name()
            .map_or(String::new(), |name| name.to_string_lossy().into_owned()),
        device: header.device.model.clone(),
        block_bytes: namespace.map_or(512, |namespace| namespace.block_bytes),
        capacity_bytes: namespace.map(NamespaceInfo::bytes),
        ..PlotOptions::default()
    }
}

/// The bounds of a trace.
fn bounds_of(reader: &Reader) -> Result<Bounds> {
    let mut bounds = Bounds::new();
    for record in reader.records() {
        bounds.observe(&record?);
    }
    Ok(bounds)
}

/// Draws a trace into the PNG file `output`.
pub(crate) fn draw(reader: &Reader, options: &PlotOptions, output: &Path) -> Result<()> {
    let bar = terminal::progress(reader.totals().commands, "commands");
    bar.set_message("drawing");
    let mut timeline = Timeline::new(options, &bounds_of(reader)?)?;
    for record in reader.records() {
        timeline.add(&record?);
        bar.inc(1);
    }
    timeline.save(output)?;
    bar.finish_and_clear();
    Ok(())
}
