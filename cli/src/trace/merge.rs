//! `vssd trace merge`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use traces::Reader;
use traces::edit::{self, MergeOptions};

use super::open;
use super::rewrite::Output;
use crate::terminal;

/// Lay several traces over each other, by time.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: vssd trace merge one.vtr two.vtr both.vtr

Traces that all know their time of day are aligned by it, others by their starts.")]
pub(crate) struct MergeArguments {
    /// The traces.
    #[arg(required = true, num_args = 1.., value_name = "IN")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
    /// Align the traces by their starts, whatever the time of day.
    #[arg(long)]
    from_starts: bool,
    /// Take queues of the same number for one queue; else all get numbers of
    /// their own.
    #[arg(long)]
    same_queues: bool,
    /// Give each trace's namespaces identifiers of their own.
    #[arg(long)]
    namespaces_apart: bool,
}

/// Runs `vssd trace merge`.
pub(crate) fn run(arguments: &MergeArguments) -> Result<()> {
    let files: Vec<&Path> = arguments.files.iter().map(PathBuf::as_path).collect();
    let readers = files
        .iter()
        .map(|file| open(file))
        .collect::<Result<Vec<Reader>>>()?;
    let mut options = MergeOptions::default();
    options.from_starts = arguments.from_starts;
    options.same_queues = arguments.same_queues;
    options.namespaces_apart = arguments.namespaces_apart;
    let names: Vec<String> = files.iter().map(|it| it.display().to_string()).collect();
    let history = format!("merge of {}", names.join(", "));
    arguments.output.write(&files, |new| {
        let commands = readers.iter().map(|reader| reader.totals().commands).sum();
        let bar = terminal::progress(commands, "commands");
        bar.set_message("merging");
        let writer = |header: &_| new.writer(&mut Clone::clone(header), &history);
        let (_, totals) = edit::merge(&readers, options, writer, |done| bar.set_position(done))?;
        bar.finish_and_clear();
        Ok(totals)
    })
}
