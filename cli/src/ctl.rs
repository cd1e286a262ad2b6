//! `vssd ctl`: steers a virtual SSD that is being served.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use rpc::Client;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use traces::Resolution;

use crate::Answer;
use crate::device::size;
use crate::disk::parse_bytes;
use crate::live::{RecordStatus, Recorded, Resized, Snapped, Stats};
use crate::serve::Label;
use crate::serve::payload::PayloadChoice;
use crate::stop;
use crate::trace::{duration, parse_resolution};

/// How long a server may take: longer than it gives a medium.
const PATIENCE: Duration = Duration::from_secs(120);

/// Steer a virtual SSD that is being served: recordings, snapshots, its size, numbers.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: record a minute of a guest that runs, then keep its disk as it is now.
  vssd serve disk.img --vfio-user /tmp/vssd.sock --control /tmp/ctl.sock
  vssd ctl /tmp/ctl.sock record start minute.vtr
  sleep 60; vssd ctl /tmp/ctl.sock record stop
  vssd ctl /tmp/ctl.sock snapshot disk-2.qcow2

SOCKET is that of `vssd serve --control` or `vssd vm --control`.")]
pub(crate) struct CtlArguments {
    /// The control socket.
    socket: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start, stop or look at a recording.
    #[command(subcommand)]
    Record(Record),
    /// Print the numbers of the drive since it is served.
    Stats {
        /// Print JSON, with the counts of all times.
        #[arg(long)]
        json: bool,
    },
    /// Keep the disk as it is now: what the guest writes from here on goes into a
    /// new qcow2 image.
    #[command(after_help = "\
The guest waits for as long as it takes to write out what is under way. The image
that the drive had stays as it is, and FILE builds on it: serve FILE the next time.
`vssd disk commit FILE`, with nobody using it, brings the changes into the image
below.

Example: vssd ctl /tmp/ctl.sock snapshot disk-2.qcow2")]
    Snapshot {
        /// The image to make; there is none yet.
        file: PathBuf,
    },
    /// Make the drive larger, while the guest works.
    #[command(after_help = "\
An image or memory grows; a real drive (a logical volume, say) has grown before, and
SIZE is what it has. The namespace that has all of the drive grows with it, and the
guest is told: Linux sees the new size at once, by NVMe and by virtio. Partitions and
file systems are the guest's to grow. Nothing becomes smaller. If the server was
started with --create, give that the new size the next time.

Example: vssd ctl /tmp/ctl.sock resize 128G")]
    Resize {
        /// The size that it is to have, such as 128G.
        #[arg(value_parser = parse_bytes)]
        size: u64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Record {
    /// Record every command from now on, while the guest works.
    #[command(after_help = "\
What is in flight now is not recorded; every command that is fetched from here on
is, until `record stop`, over as many sessions of guests as come.

Example: vssd ctl /tmp/ctl.sock record start day.vtr --label os=windows11")]
    Start {
        /// The trace to make.
        file: PathBuf,
        /// Overwrite a trace that exists.
        #[arg(long)]
        overwrite: bool,
        /// Keep times to 1ns, 100ns or 1us: the coarser, the smaller the trace.
        #[arg(long, value_name = "TIME", default_value = "1ns", value_parser = parse_resolution)]
        resolution: Resolution,
        /// Record what is written, too: a hash of each block, or the data.
        #[arg(long, value_name = "KIND", value_enum, default_value = "none")]
        payload: PayloadChoice,
        /// Say something about the recording, such as os=windows11; may be repeated.
        #[arg(long, value_name = "NAME=VALUE")]
        label: Vec<Label>,
    },
    /// Stop recording, with the trace complete.
    #[command(after_help = "\
Every command that was fetched before stands in the trace. What is in flight is
waited for, up to 5 seconds; what has not ended then (Asynchronous Event Requests
never do) stands in the trace as not completed. The guest notices nothing.")]
    Stop,
    /// Say what is being recorded, and how far behind the trace is.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs `vssd ctl`.
pub(crate) fn run(arguments: &CtlArguments) -> Result<Answer> {
    let mut server = Client::connect(&arguments.socket, Some(PATIENCE))?;
    let text = match &arguments.action {
        Action::Record(record) => run_record(&mut server, record)?,
        Action::Stats { json: true } => json_of(&server.call("stats", &Value::Null)?),
        Action::Stats { json: false } => shown(&ask(&mut server, "stats", &Value::Null)?),
        Action::Snapshot { file } => {
            let params = json!({"file": absolute(file)?});
            told(&ask(&mut server, "snapshot", &params)?)
        }
        Action::Resize { size, json } => {
            let params = json!({"bytes": size});
            if *json {
                json_of(&server.call("resize", &params)?)
            } else {
                grown(&ask(&mut server, "resize", &params)?)
            }
        }
    };
    // The drive has answered: what it said may go to a reader that goes away.
    stop::when_nobody_reads()?;
    println!("{}", text.trim_end());
    Ok(Answer::Yes)
}

/// What there is to say of it.
fn run_record(server: &mut Client, record: &Record) -> Result<String> {
    Ok(match record {
        Record::Start {
            file,
            overwrite,
            resolution,
            payload,
            label,
        } => {
            let labels: Vec<_> = (label.iter())
                .map(|label| (&label.name, &label.value))
                .collect();
            let params = json!({
                "file": absolute(file)?,
                "overwrite": overwrite,
                "resolution_ns": resolution.ns(),
                "payload": payload,
                "labels": labels,
            });
            ask::<RecordStatus>(server, "record_start", &params)?;
            format!("recording into {}", file.display())
        }
        Record::Stop => {
            let recorded: Recorded = ask(server, "record_stop", &Value::Null)?;
            let mut lines = vec![format!(
                "recorded {} commands into {} ({})",
                recorded.commands,
                recorded.file,
                size(recorded.bytes)
            )];
            if recorded.unfinished > 0 {
                lines.push(format!("{} of them had not ended", recorded.unfinished));
            }
            if recorded.lost > 0 {
                lines.push(format!(
                    "{} commands are missing: the trace says so",
                    recorded.lost
                ));
            }
            lines.join("\n")
        }
        Record::Status { json: true } => json_of(&server.call("record_status", &Value::Null)?),
        Record::Status { json: false } => state(&ask(server, "record_status", &Value::Null)?),
    })
}

/// A path that the server understands, which may run elsewhere.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot name {}", path.display()))
}

pub(crate) fn ask<T: DeserializeOwned>(
    server: &mut Client,
    method: &str,
    params: &Value,
) -> Result<T> {
    let answer = server.call(method, params)?;
    serde_json::from_value(answer).context(
        "the server answers something else than expected: is it a vssd of the same version?",
    )
}

fn json_of(value: &Value) -> String {
    format!("{value:#}")
}

fn told(snapped: &Snapped) -> String {
    format!(
        "{} stays as it is now; the drive goes on in {}\n\
         the guest waited for {}; the next time, serve the new image:\n  \
         vssd serve {} --serial {}",
        snapped.snapshot,
        snapped.file,
        duration(snapped.paused_ns),
        snapped.file,
        snapped.serial
    )
}

fn grown(resized: &Resized) -> String {
    let space = match &resized.namespace {
        Some(namespace) => format!(
            "namespace {} has {} blocks of {} bytes, and the guest is told",
            namespace.nsid, namespace.blocks, namespace.block_bytes
        ),
        None => "no namespace has grown with it: what is new is space for another (`vssd device \
                 namespace create`)"
            .to_owned(),
    };
    format!(
        "{} has {} now, and had {}\n{space}",
        resized.disk,
        size(resized.bytes),
        size(resized.before_bytes)
    )
}

/// A recording in a few words.
pub(crate) fn state(status: &RecordStatus) -> String {
    let Some(file) = &status.file else {
        return "nothing is being recorded".to_owned();
    };
    if let Some(error) = &status.error {
        return format!("the recording into {file} has ended: {error}");
    }
    let lost = match status.lost {
        0 => String::new(),
        lost => format!(", {lost} lost"),
    };
    format!(
        "recording into {file} for {}: {} commands, {}, {} behind{lost}",
        duration(status.duration_ns),
        status.commands,
        size(status.bytes),
        status.lag_commands
    )
}

/// The numbers as a table.
fn shown(stats: &Stats) -> String {
    let client = stats.client.as_ref().map_or_else(
        || "nobody is attached".to_owned(),
        |client| format!("used by {}", client.name),
    );
    let mut text = format!(
        "{} ({}, serial {}), {client}, up {}\n{}\n",
        stats.disk,
        stats.model,
        stats.serial,
        duration(stats.at_ns),
        state(&stats.recording)
    );
    if stats.queues.is_empty() {
        text.push_str("no command has come yet\n");
        return text;
    }
    text.push_str(&format!(
        "\n{:>5}  {:<12} {:>12} {:>10} {:>7} {:>9} {:>9} {:>9} {:>9}  {}\n",
        "queue", "command", "count", "data", "errors", "p50", "p99", "p99.9", "max", "depth, most"
    ));
    for queue in &stats.queues {
        let mut depth = format!("{}, {}", queue.depth, queue.depth_max);
        for opcode in &queue.opcodes {
            let [p50, p99, p999, max] = [
                opcode.latency_ns.p50,
                opcode.latency_ns.p99,
                opcode.latency_ns.p999,
                opcode.latency_ns.max,
            ]
            .map(duration);
            let line = format!(
                "{:>5}  {:<12} {:>12} {:>10} {:>7} {p50:>9} {p99:>9} {p999:>9} {max:>9}  {depth}",
                queue.queue,
                opcode.opcode,
                opcode.commands,
                size(opcode.bytes),
                opcode.errors,
            );
            text.push_str(line.trim_end());
            text.push('\n');
            depth.clear();
        }
    }
    text
}
