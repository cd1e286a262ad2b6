//! What recording costs.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use traces::Reader;

use crate::client;
use crate::server::{Cores, Server};
use crate::{Common, median};

const DISK_BYTES: u64 = 256 << 20;
const DEPTH: u16 = 32;

#[derive(Clone, Copy, Debug, Serialize)]
struct Pair {
    plain_iops: f64,
    recorded_iops: f64,
    ratio: f64,
    trace_bytes_a_command: f64,
}

/// 4 KiB random reads from RAM at depth 32, client on one core, server with its
/// recorder on another, with and without `--record` in turn.
pub(crate) fn run(common: &Common) -> Result<()> {
    let cores = Cores::choose()?;
    println!(
        "4 KiB random reads from RAM, depth {DEPTH}; server on core {}, client on core {};\n\
         {} pairs of {} s each\n",
        cores.server, cores.client, common.pairs, common.seconds
    );
    println!(
        "{:>4} {:>14} {:>14} {:>7} {:>16}",
        "PAIR", "PLAIN IOPS", "RECORDED IOPS", "RATIO", "BYTES A COMMAND"
    );
    let mut pairs = Vec::new();
    for number in 0..common.pairs {
        let pair = measure(common, cores, number % 2 == 1)?;
        println!(
            "{:>4} {:>14.0} {:>14.0} {:>7.3} {:>16.1}",
            number + 1,
            pair.plain_iops,
            pair.recorded_iops,
            pair.ratio,
            pair.trace_bytes_a_command
        );
        pairs.push(pair);
    }
    let median = median(pairs.iter().map(|pair| pair.ratio).collect());
    println!("\nmedian ratio, recorded to plain: {median:.3}");
    if let Some(path) = &common.json {
        let all = serde_json::json!({
            "benchmark": "record",
            "pairs": pairs,
            "median_ratio": median,
        });
        std::fs::write(path, format!("{all:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure(common: &Common, cores: Cores, recorded_first: bool) -> Result<Pair> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let trace = directory.path().join("bench.vtr");
    let iops = |record: Option<&Path>| -> Result<f64> {
        let mut arguments = Vec::new();
        let name;
        if let Some(path) = record {
            name = path.display().to_string();
            arguments.extend(["--record", &name]);
        }
        let disk = format!("ram:{DISK_BYTES}");
        let socket = directory.path().join("bench.sock");
        let server = Server::start(&common.vssd, &disk, &arguments, socket, cores)?;
        let work = client::random_reads(DEPTH, common.seconds);
        let report = client::run(server.socket(), DISK_BYTES, work)?;
        server.stop()?;
        Ok(report.iops())
    };
    let (plain_iops, recorded_iops) = if recorded_first {
        let recorded = iops(Some(&trace))?;
        (iops(None)?, recorded)
    } else {
        (iops(None)?, iops(Some(&trace))?)
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
        plain_iops,
        recorded_iops,
        ratio: recorded_iops / plain_iops,
        trace_bytes_a_command,
    })
}
