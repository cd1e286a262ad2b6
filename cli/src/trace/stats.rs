//! `vssd trace stats`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use traces::stats::{Stats, Volume};

use super::{duration, open};
use crate::device::size;
use crate::terminal;

/// Say what kind of work a trace is.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd trace stats day.vtr

Reuse, working set and overlap are estimates from a sample of pages of 4 KiB; how large a
sample is told.")]
pub(crate) struct StatsArguments {
    /// The trace.
    file: PathBuf,
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `vssd trace stats`.
pub(crate) fn run(arguments: &StatsArguments) -> Result<()> {
    let reader = open(&arguments.file)?;
    let bar = terminal::progress(reader.totals().commands, "commands");
    bar.set_message("reading");
    let stats = Stats::of(&reader, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&stats)?);
    } else {
        print(&stats);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shares for people")]
fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    };
    format!("{:.1} %", share * 100.0)
}

fn row(what: &str, text: &str) {
    println!("{what:<16}{text}");
}

fn print(stats: &Stats) {
    row("Commands", &commands(stats));
    if stats.commands == 0 {
        return;
    }
    volumes(
        "Mix",
        stats.mix.iter().map(|(name, it)| (name.clone(), it)),
        stats.commands,
    );
    sizes(stats);
    locality(stats);
    arrival(stats);
    wear(stats);
    content(stats);
    let of = |what: &str, number: String| format!("{what} {number}");
    let queues = stats
        .queues
        .iter()
        .map(|(id, it)| (of("queue", id.to_string()), it));
    volumes("Queues", queues, stats.commands);
    if stats.namespaces.len() > 1 {
        let namespaces = stats.namespaces.iter();
        let namespaces = namespaces.map(|(id, it)| (of("namespace", id.to_string()), it));
        volumes("Namespaces", namespaces, stats.commands);
    }
}

/// How many I/O commands, and how fast they came, where that can be told.
fn commands(stats: &Stats) -> String {
    match (stats.commands, stats.span_ns) {
        (0, _) => "none but of the admin queue, if any".to_owned(),
        (1, _) => "1".to_owned(),
        (commands, 0) => format!("{commands}, all at the same time"),
        (commands, span_ns) => format!(
            "{commands} in {}, {:.0} a second",
            duration(span_ns),
            stats.arrival.iops_mean
        ),
    }
}

/// The most of a kind that are listed.
const LISTED: usize = 16;

fn volumes<'a>(what: &str, of: impl Iterator<Item = (String, &'a Volume)>, commands: u64) {
    let mut of: Vec<(String, &Volume)> = of.collect();
    let count = of.len();
    if count > LISTED {
        of.sort_by_key(|(_, it)| std::cmp::Reverse(it.commands));
        of.truncate(LISTED);
    }
    for (index, (name, it)) in of.iter().enumerate() {
        let mut text = format!(
            "{name}: {} ({})",
            it.commands,
            percent(it.commands, commands)
        );
        if it.read_bytes > 0 {
            text += &format!(", {} read", size(it.read_bytes));
        }
        if it.written_bytes > 0 {
            text += &format!(", {} written", size(it.written_bytes));
        }
        row(if index == 0 { what } else { "" }, &text);
    }
    if count > LISTED {
        row("", &format!("and {} more", count - LISTED));
    }
}

fn sizes(stats: &Stats) {
    let all: u64 = stats.sizes.values().sum();
    let mut sizes: Vec<(u64, u64)> = stats.sizes.iter().map(|(size, it)| (*size, *it)).collect();
    sizes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let most = sizes.iter().take(6);
    let most: Vec<String> = most
        .map(|(bytes, count)| format!("{} {}", size(*bytes), percent(*count, all)))
        .collect();
    if !most.is_empty() {
        row("Sizes", &most.join(", "));
    }
}

fn locality(stats: &Stats) {
    let it = &stats.sequentiality;
    let share = |what: &str, all: u64, sequential: u64, in_streams: u64| {
        let (sequential, in_streams) = (percent(sequential, all), percent(in_streams, all));
        (all > 0).then(|| format!("{what} {sequential} ({in_streams} in streams)"))
    };
    let shares = [
        share("reads", it.reads, it.reads_sequential, it.reads_in_streams),
        share(
            "writes",
            it.writes,
            it.writes_sequential,
            it.writes_in_streams,
        ),
    ];
    let shares: Vec<String> = shares.into_iter().flatten().collect();
    if !shares.is_empty() {
        row("Sequential", &shares.join(", "));
    }
    let Some(reuse) = &stats.reuse else { return };
    let sampled = if reuse.sampled_one_in > 1.0 {
        format!(", by one page in {:.0}", reuse.sampled_one_in)
    } else {
        String::new()
    };
    row(
        "Working set",
        &format!("{}{sampled}", size(reuse.working_set_bytes)),
    );
    let it = &reuse.overlap;
    let all = it.read_after_read + it.read_after_write + it.write_after_read + it.write_after_write;
    if all == 0 {
        row("Reuse", "none: nothing is touched twice");
        return;
    }
    row(
        "Reuse",
        &format!(
            "{:.1} % of touches; a cache for half of them: {}, 90 %: {}, 99 %: {}",
            reuse.reused * 100.0,
            size(reuse.distance_bytes_p50),
            size(reuse.distance_bytes_p90),
            size(reuse.distance_bytes_p99)
        ),
    );
    row(
        "Overlap",
        &format!(
            "read after write {}, write after write {}, write after read {}",
            percent(it.read_after_write, all),
            percent(it.write_after_write, all),
            percent(it.write_after_read, all)
        ),
    );
}

fn arrival(stats: &Stats) {
    let it = &stats.arrival;
    let bursts = it.bursts.iter().map(|burst| {
        let window = std::time::Duration::from_nanos(burst.window_ns);
        format!(
            "{} in {window:.0?} ({:.0}x)",
            burst.commands_max, burst.peak_to_mean
        )
    });
    if stats.span_ns > 0 {
        row(
            "Bursts",
            &format!(
                "{}; gaps vary by {:.1} of their mean",
                bursts.collect::<Vec<_>>().join(", "),
                it.gap_variation
            ),
        );
    }
    match &it.depth {
        Some(depth) => row(
            "Queue depth",
            &format!(
                "{:.2} on average, {:.2} while busy, {} at most",
                depth.mean, depth.mean_busy, depth.max
            ),
        ),
        None => row("Queue depth", "not known: the trace has no completions"),
    }
    let idle = match it.idle.stretches {
        0 => "never for 1 ms and more".to_owned(),
        1 => format!("{} in one stretch", duration(it.idle.total_ns)),
        stretches => format!(
            "{} of {}, in {stretches} stretches of 1 ms and more, the longest {}",
            duration(it.idle.total_ns),
            duration(stats.span_ns),
            duration(it.idle.longest_ns)
        ),
    };
    row("Idle", &idle);
}

fn content(stats: &Stats) {
    let Some(it) = &stats.content else { return };
    let of = format!("{} in {} blocks", size(it.bytes), it.blocks);
    row("Content", &format!("{of}: {}", it.line()));
    if it.writes_without > 0 {
        let (without, all) = (it.writes_without, it.writes + it.writes_without);
        row("", &format!("not known of {without} of {all} writes"));
    }
}

fn wear(stats: &Stats) {
    let it = &stats.wear;
    if it.writes > 0 {
        row(
            "Writes",
            &format!(
                "{} below 4 KiB, {} not aligned to 4 KiB, {} small and random, {} FUA",
                percent(it.below_page, it.writes),
                percent(it.unaligned, it.writes),
                percent(it.small_random, it.writes),
                percent(it.fua, it.writes)
            ),
        );
    }
    row(
        "Upkeep",
        &format!(
            "{} flushes, {} discarded",
            it.flushes,
            size(it.discarded_bytes)
        ),
    );
}
