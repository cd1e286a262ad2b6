//! `vssd trace anonymize`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use traces::edit::Anonymize;

use super::open;
use super::rewrite::Output;

/// Take out of a trace whose it is, and where its data lie.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: vssd trace anonymize day.vtr share.vtr --seed 20261

Serial number, model, labels, time of day, what was written and the data of admin commands go; addresses are
permuted in extents, by a key. Times, lengths, order and errors stay: whoever has the trace
that this was can tell that it is the same.")]
pub(crate) struct AnonymizeArguments {
    /// The trace.
    file: PathBuf,
    #[command(flatten)]
    output: Output,
    /// The key of the permutation: who knows it can take it back.
    #[arg(long, value_name = "NUMBER")]
    seed: u64,
    /// Blocks that stay together.
    #[arg(long, value_name = "BLOCKS", default_value = "2048",
        value_parser = clap::value_parser!(u64).range(1..))]
    extent: u64,
}

/// Runs `vssd trace anonymize`.
pub(crate) fn run(arguments: &AnonymizeArguments) -> Result<()> {
    let reader = open(&arguments.file)?;
    let mut edit = Anonymize::new(reader.header(), arguments.seed, arguments.extent);
    let records = reader.records();
    let output = &arguments.output;
    output.rewrite((&arguments.file, &reader), records, &mut edit, "anonymized")?;
    if reader.has_payload() {
        log::warn!("what was written is left out: an anonymous trace does not have it");
    }
    Ok(())
}
