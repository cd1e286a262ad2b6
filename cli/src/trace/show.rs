//! `vssd trace show`.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use traces::show;

use super::open;

/// Print a trace, a line a command, in the order of submission.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd trace show day.vtr | less -S")]
pub(crate) struct ShowArguments {
    /// The trace.
    file: PathBuf,
    /// Stop after this many records.
    #[arg(long, value_name = "RECORDS")]
    count: Option<u64>,
    /// Leave out the heading.
    #[arg(long)]
    no_heading: bool,
}

/// Runs `vssd trace show`.
pub(crate) fn run(arguments: &ShowArguments) -> Result<()> {
    let reader = open(&arguments.file)?;
    let origin_ns = reader.header().start.clock_ns;
    let mut out = BufWriter::new(io::stdout().lock());
    if !arguments.no_heading {
        writeln!(out, "{}", show::heading())?;
    }
    let count = arguments.count.unwrap_or(u64::MAX);
    for (_, record) in (0..count).zip(reader.records()) {
        writeln!(out, "{}", show::line(&record?, origin_ns))?;
    }
    out.flush()?;
    Ok(())
}
