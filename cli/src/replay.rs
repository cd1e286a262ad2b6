//! `vssd replay`: a trace into a device.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use clap::Args;
use recorder::{Recorder, RecorderOptions};
use replayer::{AllowWrite, Mapping, Pace, Progress, ReplayOptions, Report, TraceFacts};
use traces::{Clock as _, Header, MonotonicClock, Start};

use crate::device::Device;
use crate::{Answer, stop, terminal, trace};

/// Replay a trace into a device.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vssd replay day.vtr vfio-user:/tmp/other.sock
  vssd replay day.vtr vfio-user:/tmp/other.sock --pace 2x --map wrap --json
  vssd replay day.vtr 0000:01:00.0 --allow-write

Writes carry a pattern, not the recorded data, which a trace does not hold. The exit
status is 1 where a command failed that had not failed when it was recorded.")]
pub(crate) struct ReplayArguments {
    /// The trace.
    file: PathBuf,
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// How fast: recorded, max, or times faster, such as 2x or 0.5x.
    #[arg(long, default_value = "recorded")]
    pace: Pace,
    /// Where addresses go: identity, wrap (around the end), or scale (to the
    /// device's size).
    #[arg(long, value_name = "MAPPING", default_value = "identity")]
    map: Mapping,
    /// Commands in flight in each queue; by default, as many as were recorded.
    #[arg(long, value_name = "COMMANDS")]
    depth: Option<u16>,
    /// Queues; by default, as many as were recorded.
    #[arg(long, value_name = "COUNT")]
    queues: Option<u16>,
    /// End at the first command that fails.
    #[arg(long)]
    stop_on_error: bool,
    /// Write to a real drive, and lose what is on it.
    #[arg(long)]
    allow_write: bool,
    /// Record the replay, as the driver sees it, into this trace.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Overwrite a trace that exists.
    #[arg(long, requires = "record")]
    overwrite: bool,
    /// Answer JSON-RPC clients on this socket while it runs: list_all_qpair,
    /// get_iostat, get_cmdlog.
    #[arg(long, value_name = "SOCKET")]
    monitor: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// How a trace is replayed.
#[derive(Clone, Debug)]
pub(crate) struct Choices {
    options: ReplayOptions,
    record: Option<PathBuf>,
    overwrite: bool,
    monitor: Option<PathBuf>,
}

impl Choices {
    /// Into a virtual device at this pace, with everything else as it comes.
    pub(crate) fn at(pace: Pace) -> Self {
        let mut options = ReplayOptions::default();
        options.pace = pace;
        options.allow_write = Some(AllowWrite::VirtualDevice);
        Self {
            options,
            record: None,
            overwrite: false,
            monitor: None,
        }
    }

    fn of(arguments: &ReplayArguments) -> Self {
        let mut choices = Self::at(arguments.pace);
        if arguments.device.is_real() {
            choices.options.allow_write = arguments.allow_write.then_some(AllowWrite::UserSaidSo);
        }
        choices.options.mapping = arguments.map;
        choices.options.depth = arguments.depth;
        choices.options.queues = arguments.queues;
        choices.options.stop_on_error = arguments.stop_on_error;
        choices.record.clone_from(&arguments.record);
        choices.overwrite = arguments.overwrite;
        choices.monitor.clone_from(&arguments.monitor);
        choices
    }
}

/// Runs `vssd replay`.
pub(crate) fn run(arguments: &ReplayArguments) -> Result<Answer> {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    stop::on_signal(1, move |_| flag.store(true, Ordering::Relaxed))?;
    let report = replay(
        &arguments.file,
        &arguments.device,
        &Choices::of(arguments),
        &stopped,
    )?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(answer(&report))
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
    let reader = trace::open(file)?;
    let facts = TraceFacts::scan(reader.header(), reader.records())?;
    let clock = MonotonicClock::start();
    let mut controller = device.open(clock)?;
    let _server = match &choices.monitor {
        None => None,
        Some(path) => Some(crate::monitor::start(path, &mut controller, clock)?),
    };

    let bar = terminal::progress(facts.commands, "commands");
    bar.set_message("replaying");
    let mut show = |progress: &Progress| bar.set_position(progress.done);
    let replay = replayer::Replay::new(&facts, choices.options)
        .stop_on(stopped)
        .on_progress(&mut show);
    let report = match &choices.record {
        None => replay.run_ahead(&mut controller, &clock, reader.records()),
        Some(path) => {
            let header = header_of_replay(reader.header(), file, clock);
            let options = RecorderOptions::default().overwrite(choices.overwrite);
            let (handle, tap) = Recorder::start(path, &header, options)?;
            let report = replay
                .with_tap(tap)
                .run_ahead(&mut controller, &clock, reader.records());
            // The replay's report is worth having without its recording.
            if let Err(error) = handle.stop() {
                log::error!("{error}");
            }
            report
        }
    };
    bar.finish_and_clear();
    let report = report.with_context(|| format!("cannot replay {}", file.display()))?;
    // The report tells of a device that has gone; it need not be told twice.
    if let Err(error) = controller.shutdown() {
        log::warn!("{error}");
    }
    Ok(report)
}

/// What a recording of a replay says of itself.
fn header_of_replay(recorded: &Header, file: &Path, clock: MonotonicClock) -> Header {
    let mut header = recorded.clone();
    header.tool = terminal::TOOL.to_owned();
    header.start = Start {
        unix_ns: terminal::unix_ns(),
        clock_ns: clock.now_ns(),
    };
    header
        .labels
        .insert("replay of".into(), file.display().to_string());
    header
}
