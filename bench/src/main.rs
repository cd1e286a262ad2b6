//! `cargo xtask bench`: what things cost.
//!
//! A machine moves by tens of percent within an hour, so no figure of one run
//! means much by itself. Every benchmark here alternates between two sides in
//! one run, and what it reports is the median of the pairs' ratios.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

mod client;
mod codec;
mod driver;
mod fronts;
mod record;
mod replay;
mod server;

use std::path::{Path, PathBuf};

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
    /// IOPS of the fronts, recording or not, beside qemu-storage-daemon; what an
    /// idle server takes.
    Fronts(FrontsArguments),
    /// IOPS with and without --record.
    Record(Common),
    /// IOPS and instructions of the driver, beside fio on the same data.
    Driver(Common),
    /// Bytes a command and speed of the trace format, beside others.
    Codec(CodecArguments),
    /// How faithfully a trace is replayed, beside fio.
    Replay(ReplayArguments),
    /// The driver's side of that, to be counted.
    #[command(hide = true)]
    Client(ClientArguments),
}

/// What the counted client is to do.
#[derive(Debug, Args)]
struct ClientArguments {
    socket: PathBuf,
    depth: u16,
    count: u64,
}

/// What the benchmark of the format takes.
#[derive(Debug, Args)]
struct CodecArguments {
    /// The program, which this benchmark does not run.
    #[arg(long, hide = true)]
    vssd: Option<PathBuf>,
    /// More traces to measure.
    #[arg(long = "trace", value_name = "FILE")]
    traces: Vec<PathBuf>,
    /// Commands of the synthetic trace, in millions; others' formats get the
    /// first one only.
    #[arg(long, default_value_t = 10)]
    millions: u64,
    /// Runs, of which the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where to write the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What the benchmark of replays takes.
#[derive(Debug, Args)]
struct ReplayArguments {
    /// The program to measure.
    #[arg(long, value_name = "VSSD")]
    vssd: PathBuf,
    /// The trace, in any format that vssd reads; by default, a boot of Windows.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Runs of each.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Where to write the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What the benchmark of the fronts takes.
#[derive(Debug, Args)]
struct FrontsArguments {
    #[command(flatten)]
    common: Common,
    /// The qemu-storage-daemon to measure beside; by default, that of Debian's
    /// backports, which is fetched.
    #[arg(long, value_name = "PROGRAM")]
    storage_daemon: Option<PathBuf>,
    /// Measure only rows that contain this, such as "vhost-user null".
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Write the table as Markdown, too.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
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
        Benchmark::Fronts(arguments) => fronts::run(&arguments),
        Benchmark::Record(common) => record::run(&common),
        Benchmark::Driver(common) => driver::run(&common),
        Benchmark::Codec(arguments) => codec::run(&arguments),
        Benchmark::Replay(arguments) => replay::run(&arguments),
        Benchmark::Client(arguments) => driver::client(&arguments),
    }
}

/// The boot of Windows that pynvme's users have, where it is: in the directory
/// `VSSD_TEST_DATA`, or in `shared/data` beside the checkout or above it.
fn windows_boot() -> Option<PathBuf> {
    let named = std::env::var_os("VSSD_TEST_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|above| above.join("shared/data"));
    named
        .into_iter()
        .chain(beside)
        .map(|directory| directory.join("win10_boot.trace.png"))
        .find(|path| path.is_file())
}

/// The middle of `values`; the upper one of two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        let middle = median(vec![3.0, 1.0, 2.0]);
        assert!((middle - 2.0).abs() < f64::EPSILON);
    }
}
