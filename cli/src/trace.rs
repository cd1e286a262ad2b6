//! `vssd trace`: looking at traces and working on them.

mod anonymize;
pub(crate) mod compare;
mod convert;
mod cut;
mod diff;
mod info;
mod merge;
pub(crate) mod pack;
pub(crate) mod plot;
mod remap;
mod report;
mod rewrite;
mod scale;
mod show;
mod stats;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use traces::{Reader, Resolution};

use crate::Answer;

/// Look at traces and work on them.
#[derive(Debug, Args)]
pub(crate) struct TraceArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say what a trace amounts to.
    Info(info::InfoArguments),
    /// Print a trace, a line a command.
    Show(show::ShowArguments),
    /// Draw a trace: addresses, IOPS, bandwidth and latency over time.
    Plot(plot::PlotArguments),
    /// Show a trace as a page with charts that zoom.
    Report(report::ReportArguments),
    /// Write a trace again, as small as it gets.
    Pack(pack::PackArguments),
    /// Keep a part of a trace.
    Cut(cut::CutArguments),
    /// Lay several traces over each other.
    Merge(merge::MergeArguments),
    /// Make a trace faster or slower, or its addresses larger or smaller.
    Scale(scale::ScaleArguments),
    /// Move a trace: other addresses, block size, namespaces or queues.
    Remap(remap::RemapArguments),
    /// Take out of a trace whose it is.
    Anonymize(anonymize::AnonymizeArguments),
    /// Compare two traces, command by command.
    Diff(diff::DiffArguments),
    /// Say what kind of work a trace is.
    Stats(stats::StatsArguments),
    /// Convert traces of other tools to .vtr and back.
    Convert(convert::ConvertArguments),
    /// List the formats that are read and written.
    Formats(convert::FormatsArguments),
}

/// Runs `vssd trace`.
pub(crate) fn run(arguments: &TraceArguments) -> Result<Answer> {
    match &arguments.what {
        What::Info(info) => info::run(info)?,
        What::Show(show) => show::run(show)?,
        What::Plot(plot) => plot::run(plot)?,
        What::Report(report) => report::run(report)?,
        What::Pack(pack) => pack::run(pack)?,
        What::Cut(cut) => cut::run(cut)?,
        What::Merge(merge) => merge::run(merge)?,
        What::Scale(scale) => scale::run(scale)?,
        What::Remap(remap) => remap::run(remap)?,
        What::Anonymize(anonymize) => anonymize::run(anonymize)?,
        What::Diff(diff) => return diff::run(diff),
        What::Stats(stats) => stats::run(stats)?,
        What::Convert(convert) => convert::run(convert)?,
        What::Formats(formats) => convert::list(formats)?,
    }
    Ok(Answer::Yes)
}

/// Opens a trace; says so where it was cut off and only a part could be
/// recovered.
pub(crate) fn open(path: &Path) -> Result<Reader> {
    let reader = Reader::open(path)?;
    if let Some(recovery) = reader.recovery() {
        log::warn!("{}: {recovery}", path.display());
    }
    Ok(reader)
}

/// A `--resolution`.
pub(crate) fn parse_resolution(text: &str) -> Result<Resolution, String> {
    Ok(match text {
        "1ns" => Resolution::Nanosecond,
        "100ns" => Resolution::HundredNanoseconds,
        "1us" => Resolution::Microsecond,
        _ => return Err("it is 1ns, 100ns or 1us".to_owned()),
    })
}

/// Opens what is whole of a damaged trace, and says what is not.
pub(crate) fn salvage(path: &Path) -> Result<Reader> {
    let reader = Reader::salvage(path)?;
    if let Some(salvaged) = reader.salvaged() {
        log::warn!("{}: {salvaged}", path.display());
    }
    Ok(reader)
}

/// A duration as people write it: `1.42ms`.
pub(crate) fn duration(ns: u64) -> String {
    if ns < 1_000 {
        return format!("{ns}ns");
    }
    format!("{:.2?}", Duration::from_nanos(ns))
}
