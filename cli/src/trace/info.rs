//! `vssd trace info`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use traces::{End, Header, Latency, Reader, Summary};

use super::{duration, open};
use crate::device::size;

/// Say what a trace amounts to: device, span, commands, latencies.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd trace info day.vtr")]
pub(crate) struct InfoArguments {
    /// The trace.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `vssd trace info`.
pub(crate) fn run(arguments: &InfoArguments) -> Result<()> {
    let reader = open(&arguments.file)?;
    let summary = reader.summary()?;
    let bytes = fs::metadata(&arguments.file)
        .with_context(|| format!("cannot look at {}", arguments.file.display()))?
        .len();
    if arguments.json {
        let recovery = reader.recovery().map(|recovery| {
            json!({
                "blocks": recovery.blocks,
                "records": recovery.records,
                "incomplete_bytes": recovery.incomplete_bytes,
                "reason": recovery.reason,
            })
        });
        let all = json!({
            "file": arguments.file,
            "file_bytes": bytes,
            "header": reader.header(),
            "recovery": recovery,
            "payload": reader.totals().payload,
            "summary": summary,
        });
        println!("{all:#}");
    } else {
        print(&reader, &summary, bytes);
    }
    Ok(())
}

fn row(name: &str, value: &str) {
    println!("{name:<12} {value}");
}

fn print(reader: &Reader, summary: &Summary, bytes: u64) {
    print_device(reader.header());
    row("Span", &duration(summary.span_ns()));
    row("Commands", &commands(summary));
    row("Size", &stored(summary, bytes));
    row("Data", &moved(summary));
    if let Some(payload) = payload(reader) {
        row("Payload", &payload);
    }
    let queues: Vec<String> = summary
        .queues
        .iter()
        .map(|(queue, count)| match queue {
            0 => format!("admin {count}"),
            _ => format!("{queue}: {count}"),
        })
        .collect();
    if !queues.is_empty() {
        row("Queues", &queues.join(", "));
    }
    let events: Vec<String> = summary
        .events
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !events.is_empty() {
        row("Events", &events.join(", "));
    }
    if summary.gaps > 0 {
        row(
            "Lost",
            &format!("{} commands in {} gaps", summary.lost, summary.gaps),
        );
    }
    row("End", &ending(reader, &summary.end));
    if summary.commands > 0 {
        print_opcodes(summary);
    }
}

/// What the trace holds of what was written; none where it was not to hold any.
fn payload(reader: &Reader) -> Option<String> {
    let info = reader.header().payload.as_ref()?;
    let totals = &reader.totals().payload;
    let mut text = format!(
        "{} of {} writes, {} written, {} in the file",
        info.kind,
        totals.commands,
        size(totals.bytes),
        size(totals.stored_bytes)
    );
    if totals.lost > 0 {
        text += &format!("; of {} writes it was lost", totals.lost);
    }
    Some(text)
}

fn print_device(header: &Header) {
    let device = &header.device;
    let names = [
        ("", &device.model),
        ("serial ", &device.serial),
        ("firmware ", &device.firmware),
    ];
    let known: Vec<String> = names
        .iter()
        .filter(|(_, name)| !name.is_empty())
        .map(|(what, name)| format!("{what}{name}"))
        .collect();
    let device = if known.is_empty() {
        "not known".to_owned()
    } else {
        known.join(", ")
    };
    row("Device", &device);
    for namespace in &header.namespaces {
        let bytes = namespace.bytes();
        row(
            &format!("Namespace {}", namespace.id),
            &format!("{}, blocks of {} bytes", size(bytes), namespace.block_bytes),
        );
    }
    if header.start.unix_ns > 0 {
        let start = i128::from(header.start.unix_ns);
        if let Ok(start) = jiff::Timestamp::from_nanosecond(start) {
            row(
                "Start",
                &start.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            );
        }
    }
    row("Tool", &header.tool);
    for (name, value) in &header.labels {
        row("Label", &format!("{name} = {value}"));
    }
}

fn commands(summary: &Summary) -> String {
    let mut text = summary.commands.to_string();
    if summary.errors > 0 {
        text += &format!(", {} with an error status", summary.errors);
    }
    if summary.unfinished > 0 {
        text += &format!(", {} that never completed", summary.unfinished);
    }
    text
}

fn stored(summary: &Summary, bytes: u64) -> String {
    if summary.commands == 0 {
        return format!("{} on disk", size(bytes));
    }
    #[expect(clippy::cast_precision_loss, reason = "for a person")]
    let each = bytes as f64 / summary.commands as f64;
    format!("{} on disk, {each:.1} bytes a command", size(bytes))
}

fn moved(summary: &Summary) -> String {
    format!(
        "read {}, written {}, discarded {}, zeroed {}",
        size(summary.read_bytes),
        size(summary.written_bytes),
        size(summary.discarded_bytes),
        size(summary.zeroed_bytes)
    )
}

fn ending(reader: &Reader, end: &End) -> String {
    match (reader.recovery(), end) {
        (Some(recovery), _) => format!("cut off: {recovery}"),
        (None, End::Clean) => "clean".into(),
        (None, End::Stopped(why)) => format!("stopped: {why}"),
        (None, End::Cut) => "cut off".into(),
    }
}

fn print_opcodes(summary: &Summary) {
    println!();
    println!(
        "{:<24} {:>10} {:>8} {:>12} {:>10} {:>10} {:>10}",
        "COMMAND", "COUNT", "ERRORS", "DATA", "p50", "p99", "MAX"
    );
    for opcode in &summary.opcodes {
        let data = if opcode.bytes == 0 {
            "-".into()
        } else {
            size(opcode.bytes)
        };
        let [p50, p99, max] = latencies(opcode.latency.as_ref());
        println!(
            "{:<24} {:>10} {:>8} {data:>12} {p50:>10} {p99:>10} {max:>10}",
            opcode.name, opcode.commands, opcode.errors
        );
    }
}

fn latencies(latency: Option<&Latency>) -> [String; 3] {
    latency.map_or(["-".into(), "-".into(), "-".into()], |latency| {
        [latency.p50_ns, latency.p99_ns, latency.max_ns].map(duration)
    })
}
