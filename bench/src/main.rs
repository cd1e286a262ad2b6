//! `cargo xtask bench`: what things cost.
//!
//! A machine moves by tens of percent within an hour, so no figure of one run
//! means much by itself. Every benchmark here alternates between two sides in
//! one run, and what it reports is the median of the pairs' ratios.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

mod client;
mod record;
mod server;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", about = "Measure, side by side in one run")]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// IOPS with and without --record.
    Record(Common),
}

/// What every benchmark takes.
#[derive(Debug, Args)]
struct Common {
    /// The program to measure.
    #[arg(long, value_name = "VSSD")]
    vssd: PathBuf,
    /// Pairs of runs.
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// Length of a run.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Where to write the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    match Arguments::parse().benchmark {
        Benchmark::Record(common) => record::run(&common),
    }
}
