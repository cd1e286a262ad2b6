//! `vssd replay`: traces into devices.

mod choices;
mod drive;
mod go;
mod item;
mod live;
mod page;
mod resume;
mod start_line;
mod together;

use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use driver::ioworker::parse_duration;
use replayer::{Mapping, Outlook, Pace, Report};

pub(crate) use self::choices::Choices;
use self::go::Work;
use self::item::{Item, LbaRange, NamespacePair, Share};
use crate::device::Device;
use crate::serve::payload::PayloadChoice;
use crate::{Answer, stop};

/// Replay traces into devices.
#[derive(Debug, Args)]
#[command(
    override_usage = "vssd replay [OPTIONS] <TRACE>... <DEVICE>...",
    next_line_help = false,
    after_help = "\
Examples:
  vssd replay day.vtr vfio-user:/tmp/other.sock --pace 2x --map wrap
  vssd replay day.vtr 0000:01:00.0 --dry-run
  vssd replay day.vtr 0000:01:00.0 --allow-write --loops 100 --resume day.state --html day.html
  vssd replay one.vtr two.vtr vfio-user:/tmp/other.sock --merge --only read,write

Writes carry what was recorded where the trace holds it (--payload of `vssd serve`), else
a pattern; --verify, --dedup and --compressibility make one. The exit
status is 1 where a command failed that had not failed when it was recorded."
)]
pub(crate) struct ReplayArguments {
    /// Traces, one after the other, and devices: vfio-user:SOCKET, or PCI
    /// addresses. Each device gets all of it.
    #[arg(required = true, value_name = "TRACE|DEVICE")]
    items: Vec<Item>,
    /// One more device.
    #[arg(long, value_name = "DEVICE")]
    device: Vec<Device>,
    /// Replay the traces at the same time, not one after the other.
    #[arg(long)]
    merge: bool,

    /// recorded, max, times faster (2x, 0.5x), closed (--depth in flight), or
    /// think (wait for what was waited for).
    #[arg(long, default_value = "recorded", help_heading = "When")]
    pace: Pace,
    /// Never more commands a second than this.
    #[arg(long, value_name = "RATE", help_heading = "When")]
    iops: Option<std::num::NonZeroU32>,
    /// Commands in flight in each queue; at pace closed, in all. By default,
    /// as many as were recorded.
    #[arg(long, value_name = "COMMANDS", help_heading = "When")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    depth: Option<u16>,
    /// Over and over, so many times.
    #[arg(long, value_name = "TIMES", help_heading = "When")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    loops: Option<u64>,
    /// For so long (2h, 30min), over and over if need be.
    #[arg(long, value_name = "TIME", help_heading = "When", value_parser = parse_duration)]
    duration: Option<Duration>,

    /// Where addresses go: identity, wrap (around the end), scale (to the
    /// device's size), compact (what is touched, together), offset:BLOCKS.
    #[arg(
        long,
        value_name = "MAPPING",
        default_value = "identity",
        help_heading = "Where"
    )]
    map: Mapping,
    /// Queues; by default, as many as were recorded.
    #[arg(long, value_name = "COUNT", help_heading = "Where")]
    queues: Option<u16>,
    /// Recorded namespaces that go to others: 1=2,2=1.
    #[arg(
        long,
        value_name = "FROM=TO",
        value_delimiter = ',',
        help_heading = "Where"
    )]
    namespace_map: Vec<NamespacePair>,

    /// Only these: read, write, flush, trim, zeroes, compare, verify, or 0x.. .
    #[arg(
        long,
        value_name = "KINDS",
        value_delimiter = ',',
        help_heading = "What"
    )]
    only: Vec<item::Kind>,
    /// From so long after the start of the trace.
    #[arg(long, value_name = "TIME", help_heading = "What", value_parser = parse_duration)]
    from: Option<Duration>,
    /// Until so long after its start.
    #[arg(long, value_name = "TIME", help_heading = "What", value_parser = parse_duration)]
    to: Option<Duration>,
    /// Only what touches these recorded blocks: FIRST..LAST.
    #[arg(long, value_name = "RANGE", help_heading = "What")]
    lba: Option<LbaRange>,
    /// Only from these recorded queues.
    #[arg(
        long,
        value_name = "QUEUES",
        value_delimiter = ',',
        help_heading = "What"
    )]
    queue: Vec<u16>,
    /// Only of these recorded namespaces.
    #[arg(long, value_name = "IDS", value_delimiter = ',', help_heading = "What")]
    source_namespace: Vec<u32>,
    /// What writes carry: recorded (by default, where the trace has it; hashes
    /// become data with the same duplicates) or pattern.
    #[arg(long, value_name = "WHAT", help_heading = "What",
          conflicts_with_all = ["verify", "dedup", "compressibility"])]
    data: Option<item::DataName>,
    /// How many blocks of a made pattern are written more than once, such as
    /// 30%.
    #[arg(
        long,
        value_name = "PERCENT",
        help_heading = "What",
        conflicts_with = "verify"
    )]
    dedup: Option<Share>,
    /// How much of what is written can be compressed away, such as 50%.
    #[arg(long, value_name = "PERCENT", help_heading = "What")]
    compressibility: Option<Share>,
    /// Hold what is read against what was written before.
    #[arg(long, help_heading = "What")]
    verify: bool,

    /// Say what would be written where, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write to a real drive, and lose what is on it.
    #[arg(long)]
    allow_write: bool,
    /// End at the first command that fails.
    #[arg(long)]
    stop_on_error: bool,
    /// Where it ends early (Ctrl-C), note where that was on each device; go on
    /// from there if the file exists.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Record the replay, as the driver sees it, into this trace; where it is
    /// day.vtr, that of a second device into day-2.vtr, and so on.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Record what is written, too: hashes of its blocks, or the data.
    #[arg(long, value_name = "KIND", requires = "record", default_value = "none")]
    payload: PayloadChoice,
    /// Overwrite a trace that exists.
    #[arg(long, requires = "record")]
    overwrite: bool,
    /// Answer JSON-RPC clients on this socket meanwhile: list_all_qpair,
    /// get_iostat, get_cmdlog.
    #[arg(long, value_name = "SOCKET")]
    monitor: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the report as a page with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl ReplayArguments {
    /// The traces and the devices.
    fn sides(&self) -> Result<(Vec<&Path>, Vec<Device>)> {
        let traces: Vec<&Path> = self.items.iter().filter_map(Item::trace).collect();
        let devices = self.items.iter().filter_map(Item::device).cloned();
        let devices: Vec<Device> = devices.chain(self.device.iter().cloned()).collect();
        if traces.is_empty() {
            bail!("there is no trace among the arguments: vssd replay TRACE DEVICE");
        }
        if devices.is_empty() {
            bail!(
                "there is no device among the arguments: write vfio-user:SOCKET, with the socket \
                 of a `vssd serve`, or a drive's PCI address"
            );
        }
        for (index, device) in devices.iter().enumerate() {
            if devices.iter().skip(index + 1).any(|other| other == device) {
                bail!("{device} is named twice");
            }
        }
        Ok((traces, devices))
    }
}

/// Runs `vssd replay`.
pub(crate) fn run(arguments: &ReplayArguments) -> Result<Answer> {
    let (traces, devices) = arguments.sides()?;
    let choices = Choices::of(arguments);
    let readers = go::open(&traces)?;
    let work = Work::new(&traces, &readers, &choices)?;
    if arguments.dry_run {
        return dry_run(&work, &devices, arguments.json);
    }
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    stop::on_signal(1, move |_| flag.store(true, Ordering::Relaxed))?;
    let reports = go::all(&work, &devices, &stopped)?;
    if let Some(path) = &arguments.html {
        page::write(path, &work.name(), &reports)?;
    }
    // The devices are shut down: the report may go to a reader that goes away.
    stop::when_nobody_reads()?;
    print(devices.len() > 1, &reports, arguments.json)?;
    let is_success = reports.iter().all(|(_, report)| report.is_success());
    Ok(if is_success { Answer::Yes } else { Answer::No })
}

/// Prints the reports, with the names of the devices where there are several.
fn print(named: bool, reports: &[(Device, Report)], json: bool) -> Result<()> {
    match reports {
        [(_, report)] if json && !named => println!("{}", serde_json::to_string_pretty(report)?),
        [(_, report)] if !named => println!("{report}"),
        reports if json => {
            let named = reports.iter().map(|(device, report)| {
                let device = device.to_string();
                serde_json::json!({ "device": device, "report": report })
            });
            let named: Vec<_> = named.collect();
            println!("{}", serde_json::to_string_pretty(&named)?);
        }
        reports => {
            for (device, report) in reports {
                println!("{device}\n{report}\n");
            }
        }
    }
    Ok(())
}

fn dry_run(work: &Work<'_>, devices: &[Device], json: bool) -> Result<Answer> {
    let mut looks: Vec<Outlook> = Vec::new();
    for device in devices {
        let mut controller = device.open(work.clock)?;
        let look = Outlook::new(&work.facts, &work.choices.options, controller.info());
        controller.shutdown()?;
        looks.push(look.with_context(|| format!("to {device}"))?);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&looks)?);
    } else {
        for (device, look) in devices.iter().zip(&looks) {
            println!("{device}: {look}");
        }
    }
    Ok(Answer::Yes)
}

/// Whether a replay went well.
pub(crate) fn answer(report: &Report) -> Answer {
    if report.is_success() {
        Answer::Yes
    } else {
        Answer::No
    }
}

/// Replays the trace `file` into `device`, with a progress bar, until it is
/// over or `stopped` is true.
pub(crate) fn replay(
    file: &Path,
    device: &Device,
    choices: &Choices,
    stopped: &AtomicBool,
) -> Result<Report> {
    let readers = go::open(&[file])?;
    let work = Work::new(&[file], &readers, choices)?;
    let reports = go::all(&work, slice::from_ref(device), stopped)?;
    let report = reports.into_iter().next();
    report
        .map(|(_, report)| report)
        .context("there is no report")
}
