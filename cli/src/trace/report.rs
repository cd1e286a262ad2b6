//! `vssd trace report`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use traces::report;

use super::open;
use crate::device::size;
use crate::terminal;

/// Show a trace as a page with charts that zoom.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: vssd trace report day.vtr -o day.html

The page is one file that opens without a network.")]
pub(crate) struct ReportArguments {
    /// The trace.
    file: PathBuf,
    /// The page to write, an HTML file.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Overwrite the page where it exists.
    #[arg(long)]
    overwrite: bool,
}

/// Runs `vssd trace report`.
pub(crate) fn run(arguments: &ReportArguments) -> Result<()> {
    let output = &arguments.output;
    if output.exists() && !arguments.overwrite {
        bail!(
            "{} is there already: choose another name, or add --overwrite",
            output.display()
        );
    }
    let reader = open(&arguments.file)?;
    let bar = terminal::progress(reader.totals().commands, "commands");
    bar.set_message("reading");
    let name = arguments.file.file_name().unwrap_or_default();
    let page = report::page(&reader, &name.to_string_lossy(), |done| {
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    fs::write(output, &page).with_context(|| format!("cannot write {}", output.display()))?;
    // Widens.
    println!("{}: {}", output.display(), size(page.len() as u64));
    Ok(())
}
