//! `vssd trace scale`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use traces::edit::{Factor, Scale};

use super::open;
use super::rewrite::Output;

/// Make a trace faster or slower, or its addresses larger or smaller.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vssd trace scale day.vtr fast.vtr --speed 2x
  vssd trace scale day.vtr small.vtr --lba 0.5x

How long each command took stays as it was; so do lengths.")]
pub(crate) struct ScaleArguments {
    /// The trace.
    file: PathBuf,
    #[command(flatten)]
    output: Output,
    /// How much faster commands follow each other, such as 2x or 0.5x.
    #[arg(long, value_name = "FACTOR", default_value = "1x")]
    speed: Factor,
    /// What addresses are multiplied by.
    #[arg(long, value_name = "FACTOR", default_value = "1x")]
    lba: Factor,
}

/// Runs `vssd trace scale`.
pub(crate) fn run(arguments: &ScaleArguments) -> Result<()> {
    let reader = open(&arguments.file)?;
    let mut scale = Scale {
        speed: arguments.speed,
        lba: arguments.lba,
        origin_ns: reader.header().start.clock_ns,
    };
    let history = format!(
        "{} at {} the speed, {} the addresses",
        arguments.file.display(),
        scale.speed,
        scale.lba
    );
    let records = reader.records().with_payload();
    let output = &arguments.output;
    output.rewrite((&arguments.file, &reader), records, &mut scale, &history)
}
