//! `vssd trace pack`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use traces::{Effort, Reader, Resolution, Writer, WriterOptions};

use super::{open, parse_resolution};
use crate::device::size;
use crate::terminal;

/// Write a trace again, as small as it gets. Nothing is left out but what a
/// coarser --resolution cuts off its times.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd trace pack day.vtr day.packed.vtr")]
pub(crate) struct PackArguments {
    /// The trace.
    file: PathBuf,
    /// The file to write.
    output: PathBuf,
    /// Overwrite the output where it exists.
    #[arg(long)]
    overwrite: bool,
    /// Keep times to 1ns, 100ns or 1us.
    #[arg(long, value_name = "TIME", default_value = "1ns", value_parser = parse_resolution)]
    resolution: Resolution,
}

/// Runs `vssd trace pack`.
pub(crate) fn run(arguments: &PackArguments) -> Result<()> {
    let reader = open(&arguments.file)?;
    let options = WriterOptions::default()
        .overwrite(arguments.overwrite)
        .resolution(arguments.resolution);
    pack(&reader, &arguments.file, &arguments.output, options)
}

/// Packs the trace `file`, open in `reader`, into `output`, and says what that
/// gained.
pub(crate) fn pack(
    reader: &Reader,
    file: &Path,
    output: &Path,
    options: WriterOptions,
) -> Result<()> {
    let options = options.effort(Effort::Packed);
    let writer = Writer::create(output, reader.header(), options)?;
    let bar = terminal::progress(reader.totals().commands, "commands");
    bar.set_message("packing");
    let (_, totals) = traces::pack(reader, writer, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    let [before, after] = [file, output].map(fs::metadata);
    let before = before.context("cannot look at the trace")?.len();
    let after = after.context("cannot look at what was written")?.len();
    #[expect(clippy::cast_precision_loss, reason = "for a person")]
    let each = after as f64 / totals.commands.max(1) as f64;
    println!(
        "{}: {} commands, {} packed to {}, {each:.2} bytes a command",
        output.display(),
        totals.commands,
        size(before),
        size(after)
    );
    Ok(())
}
