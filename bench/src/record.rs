//! What recording costs.

use std::path::Path;

use ::driver::ioworker::{Iops, IoworkerOptions};
use anyhow::{Context as _, Result};
use serde::Serialize;
use traces::Reader;

use crate::client;
use crate::server::{Cores, Server};
use crate::{Common, median};

const DISK_BYTES: u64 = 256 << 20;
const DEPTH: u16 = 32;
/// What a busy guest does, commands a second.
const BUSY: f64 = 100_000.0;

/// What is asked of the server.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Pace {
    /// All that it can do.
    Full,
    /// [`BUSY`].
    Busy,
}

impl Pace {
    fn work(self, seconds: u64) -> IoworkerOptions {
        let iops = match self {
            Self::Full => None,
            Self::Busy => Some(Iops::Fixed(BUSY)),
        };
        IoworkerOptions {
            iops,
            ..client::random_reads(DEPTH, seconds)
        }
    }
}

/// What one run was like.
#[derive(Clone, Copy, Debug, Serialize)]
struct Run {
    iops: f64,
    mean_us: f64,
    /// What the recording thread took of a core.
    recorder: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Pair {
    pace: Pace,
    plain: Run,
    recorded: Run,
    trace_bytes_a_command: f64,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.recorded.iops / self.plain.iops
    }
}

/// 4 KiB random reads from RAM at depth 32, client on one core, server with its
/// recorder on another, with and without `--record` in turn: as many as it can do,
/// then at the pace of a busy guest.
pub(crate) fn run(common: &Common) -> Result<()> {
    let cores = Cores::choose()?;
    println!(
        "4 KiB random reads from RAM, depth {DEPTH}; server on core {}, client on core {};\n\
         {} pairs of {} s each",
        cores.server, cores.client, common.pairs, common.seconds
    );
    let full = pairs(common, cores, Pace::Full)?;
    let ratio = median(full.iter().map(Pair::ratio).collect());
    println!("median ratio of IOPS, recorded to plain: {ratio:.3}");
    let busy = pairs(common, cores, Pace::Busy)?;
    let of = |value: fn(&Pair) -> f64| median(busy.iter().map(value).collect());
    let plain_us = of(|pair| pair.plain.mean_us);
    let recorded_us = of(|pair| pair.recorded.mean_us);
    let recorder = of(|pair| pair.recorded.recorder);
    println!(
        "median ratio of IOPS {:.3}; mean latency {plain_us:.2} us, recorded {recorded_us:.2} us; \
         the recording thread\ntook {:.2} % of a core",
        of(Pair::ratio),
        recorder * 100.0
    );
    if let Some(path) = &common.json {
        let pairs = [full, busy].concat();
        let all = serde_json::json!({
            "benchmark": "record",
            "pairs": pairs,
            "median_ratio": ratio,
            "busy_median_mean_us": [plain_us, recorded_us],
            "busy_median_recorder": recorder,
        });
        std::fs::write(path, format!("{all:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Measures at a pace, and prints what comes of it.
fn pairs(common: &Common, cores: Cores, pace: Pace) -> Result<Vec<Pair>> {
    match pace {
        Pace::Full => println!("\nAs many as it can do:"),
        Pace::Busy => println!("\n{BUSY:.0} a second:"),
    }
    println!(
        "{:>4} {:>14} {:>14} {:>7} {:>9} {:>12} {:>10} {:>16}",
        "PAIR",
        "PLAIN IOPS",
        "RECORDED IOPS",
        "RATIO",
        "PLAIN US",
        "RECORDED US",
        "RECORDER",
        "BYTES A COMMAND"
    );
    let mut pairs = Vec::new();
    for number in 0..common.pairs {
        let pair = measure(common, cores, pace, number % 2 == 1)?;
        println!(
            "{:>4} {:>14.0} {:>14.0} {:>7.3} {:>9.2} {:>12.2} {:>8.2} % {:>16.1}",
            number + 1,
            pair.plain.iops,
            pair.recorded.iops,
            pair.ratio(),
            pair.plain.mean_us,
            pair.recorded.mean_us,
            pair.recorded.recorder * 100.0,
            pair.trace_bytes_a_command
        );
        pairs.push(pair);
    }
    Ok(pairs)
}

fn measure(common: &Common, cores: Cores, pace: Pace, recorded_first: bool) -> Result<Pair> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let trace = directory.path().join("bench.vtr");
    let one = |record: Option<&Path>| -> Result<Run> {
        let mut arguments = Vec::new();
        let name;
        if let Some(path) = record {
            name = path.display().to_string();
            arguments.extend(["--record", &name]);
        }
        let disk = format!("ram:{DISK_BYTES}");
        let socket = directory.path().join("bench.sock");
        let server = Server::start(&common.vssd, &disk, &arguments, socket, cores)?;
        let recorder = || server.cpu_seconds(|thread| thread == "recorder");
        let before = recorder()?;
        let work = pace.work(common.seconds);
        let report = client::run(server.socket(), DISK_BYTES, work)?;
        let recorder = (recorder()? - before) / report.elapsed.as_secs_f64();
        server.stop()?;
        Ok(Run {
            iops: report.iops(),
            mean_us: report.latency_ns().mean() / 1e3,
            recorder,
        })
    };
    let (plain, recorded) = if recorded_first {
        let recorded = one(Some(&trace))?;
        (one(None)?, recorded)
    } else {
        (one(None)?, one(Some(&trace))?)
    };
    // A recording that lost commands would be cheap.
    let reader = Reader::open(&trace)?;
    let totals = reader.totals();
    anyhow::ensure!(
        reader.recovery().is_none() && totals.lost == 0,
        "the recording is not complete: its cost means nothing"
    );
    #[expect(clippy::cast_precision_loss, reason = "a mean for people to read")]
    let trace_bytes_a_command =
        std::fs::metadata(&trace)?.len() as f64 / totals.commands.max(1) as f64;
    Ok(Pair {
        pace,
        plain,
        recorded,
        trace_bytes_a_command,
    })
}
