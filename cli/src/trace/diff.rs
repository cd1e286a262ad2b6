//! `vssd trace diff`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use traces::diff::{Diff, DiffOptions, diff};

use super::{duration, open};
use crate::{Answer, terminal};

/// Compare two traces, command by command: a recording and its replay.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: vssd trace diff day.vtr replayed.vtr

I/O commands are matched by namespace, opcode, address and length, within a window. The
exit status is 1 where commands are missing, added, or ended otherwise.")]
pub(crate) struct DiffArguments {
    /// The trace.
    first: PathBuf,
    /// The trace that it is compared with.
    second: PathBuf,
    /// How many commands apart a command may stand in the two.
    #[arg(long, value_name = "COMMANDS", default_value = "65536",
        value_parser = clap::value_parser!(u64).range(1..=1 << 22))]
    window: u64,
    /// A command on another queue is another command.
    #[arg(long)]
    queues: bool,
    /// Slower is: more than so many times as long (and 100 us).
    #[arg(long, value_name = "FACTOR", default_value = "2")]
    slower: f64,
    /// How many differences to list.
    #[arg(long, value_name = "COUNT", default_value = "10")]
    list: usize,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `vssd trace diff`.
pub(crate) fn run(arguments: &DiffArguments) -> Result<Answer> {
    let [first, second] = [open(&arguments.first)?, open(&arguments.second)?];
    let mut options = DiffOptions::default();
    options.window = arguments.window;
    options.queues = arguments.queues;
    options.slower_factor = arguments.slower;
    options.shown = arguments.list;
    let commands = first.totals().commands + second.totals().commands;
    let bar = terminal::progress(commands, "commands");
    bar.set_message("comparing");
    let found = diff(&first, &second, options, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print(&found, arguments.slower);
    }
    Ok(if found.is_same() {
        Answer::Yes
    } else {
        Answer::No
    })
}

fn print(found: &Diff, slower: f64) {
    let count = |what: &str, count: u64| println!("{what:<24}{count:>12}");
    println!("{:<24}{:>12}{:>12}", "", "FIRST", "SECOND");
    println!(
        "{:<24}{:>12}{:>12}",
        "I/O commands", found.first_commands, found.second_commands
    );
    let latency = |what: &str, of: fn(&traces::Latency) -> u64| {
        let text = |side: &Option<traces::Latency>| {
            side.as_ref().map_or("-".to_owned(), |it| duration(of(it)))
        };
        println!(
            "{what:<24}{:>12}{:>12}",
            text(&found.first_latency),
            text(&found.second_latency)
        );
    };
    latency("latency p50", |it| it.p50_ns);
    latency("latency p99", |it| it.p99_ns);
    latency("latency max", |it| it.max_ns);
    println!();
    count("in both", found.matched);
    count("missing in the second", found.missing);
    count("in the second only", found.extra);
    count("ended otherwise", found.other_status);
    count("in another order", found.reordered);
    count(&format!("over {slower} times slower"), found.slower);
    if let Some(error) = &found.time_error {
        println!(
            "{:<24}{:>12}  p50, {} p99, {} at most",
            "off its time",
            duration(error.p50_ns),
            duration(error.p99_ns),
            duration(error.max_ns)
        );
        let sign = if found.drift_ns < 0 { "-" } else { "" };
        let drift = format!("{sign}{}", duration(found.drift_ns.unsigned_abs()));
        println!("{:<24}{drift:>12}", "longer by");
    }
    if !found.shown.is_empty() {
        println!();
    }
    for line in &found.shown {
        println!("{line}");
    }
}
