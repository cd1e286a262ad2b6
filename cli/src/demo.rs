//! `vssd demo`: the whole way of a trace, from a guest's boot to the replay's
//! report.

mod driver_guest;
mod kernel_counters;
mod kit;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use qemu::{Drive, DriveCounters, Guest, Kit, KitOptions, Launch};
use replayer::{Pace, Report};
use traces::{Clock as _, MonotonicClock, NamespaceInfo, Reader, WriterOptions};

use crate::Answer;
use crate::device::Device;
use crate::disk::Disk;
use crate::replay;
use crate::serve::{DriveArguments, Serving};
use crate::trace::{compare, pack, plot};
pub(crate) use kit::kit_progress;

/// Record a Linux guest's boot, replay it, and draw both.
#[derive(Debug, Args)]
#[command(after_help = "\
A real Debian guest, in a stock QEMU, boots from a virtual SSD and works on it; every
command that it sends is recorded; the trace is replayed through the polling driver
onto a second virtual SSD; a report lays both side by side. QEMU and the guest come
from Debian's archive and are kept in ~/.cache/vssd.")]
pub(crate) struct DemoArguments {
    /// Do without a virtual machine: the driver is the guest. Takes seconds.
    #[arg(long)]
    no_vm: bool,
    /// Where to leave the traces, the pictures and the report.
    #[arg(short, long, value_name = "DIRECTORY", default_value = "vssd-demo")]
    output: PathBuf,
    /// Remove the guest kit from the cache instead.
    #[arg(long, exclusive = true)]
    remove_kit: bool,
}

/// How long a guest may take, at most, on a slow machine.
const GUEST_TIMEOUT: Duration = Duration::from_secs(280);

/// What the guest does on its drive.
const JOB: &str = include_str!("demo/job.sh");

/// The files of a demonstration.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Runs `vssd demo`.
pub(crate) fn run(arguments: &DemoArguments) -> Result<Answer> {
    if arguments.remove_kit {
        kit_progress(|progress| Kit::remove(&KitOptions::default(), progress))?;
        return Ok(Answer::Yes);
    }
    let clock = MonotonicClock::start();
    let files = Files {
        directory: arguments.output.clone(),
    };
    fs::create_dir_all(&files.directory)
        .with_context(|| format!("cannot create {}", files.directory.display()))?;
    let trace = files.at("recorded.vtr");

    let counters = if arguments.no_vm {
        step(1, "A driver works on a virtual SSD, which records it");
        driver_guest::record(&trace, &files.at("nvme.sock"), clock)?;
        None
    } else {
        Some(record_guest(&files, &trace)?)
    };

    let reader = Reader::open(&trace)?;
    let agreement = counters
        .map(|counters| kernel_counters::compare(&reader, &counters))
        .transpose()?;
    if let Some(agreement) = &agreement {
        println!("\n{agreement}");
    }
    let packed = files.at("recorded.packed.vtr");
    pack::pack(
        &reader,
        &trace,
        &packed,
        WriterOptions::default().overwrite(true),
    )?;

    step(
        2,
        "The trace is replayed through the polling driver onto a second virtual SSD",
    );
    let replayed_trace = files.at("replayed.vtr");
    let replayed = replay_onto_another(&files, &trace, &reader, &replayed_trace)?;
    println!("\n{replayed}");

    step(3, "Pictures and the report");
    let second = Reader::open(&replayed_trace)?;
    let picture = files.at("recorded.png");
    plot::draw(&reader, &plot::options_for(&reader, &trace), &picture)?;
    let both = files.at("comparison.png");
    compare::draw(&reader, &second, &plot::options_for(&reader, &trace), &both)?;
    let page = report::Page {
        trace: &reader,
        packed_bytes: fs::metadata(&packed)?.len(),
        agreement: agreement.as_ref(),
        replayed: &replayed,
        pictures: [&picture, &both],
    };
    let html = files.at("report.html");
    page.write(&html)?;
    list_files(&files, clock.now_ns());

    let well =
        replay::answer(&replayed) == Answer::Yes && agreement.is_none_or(|found| found.is_exact());
    Ok(if well { Answer::Yes } else { Answer::No })
}

fn step(number: u32, what: &str) {
    println!("\n[{number}/3] {what}");
}

/// Boots a Debian guest from a virtual SSD and records it; what the guest's
/// kernel counted.
fn record_guest(files: &Files, trace: &Path) -> Result<DriveCounters> {
    step(
        1,
        "A Debian guest boots from a virtual SSD and works on it, recorded",
    );
    let kit = kit_progress(|progress| Kit::open_or_build(&KitOptions::default(), progress))?;
    let image = files.at("disk.img");
    kit.copy_root_image(&image)?;
    let drive = DriveArguments::plain(files.at("nvme.sock"), Some(trace.to_owned()))
        .labelled("guest", "Debian, boot and demonstration job");
    let serving = Serving::start(&Disk::Image(image), &drive)?;
    let socket = serving.socket().to_owned();
    let mut guest = Launch::job(&kit, JOB)
        .drive(Drive::VfioUser { socket })
        .serial_log(files.at("guest.log"))
        .spawn()?;
    println!("{}\n", guest.command_line());
    let counters = watch(&mut guest)?;
    serving.stop()?;
    Ok(counters)
}

/// Shows what the guest says, to its end.
fn watch(guest: &mut Guest) -> Result<DriveCounters> {
    // An error here is the end, good or bad; `wait` knows which.
    while let Ok(line) = guest.wait_for_line("", GUEST_TIMEOUT) {
        println!("  {line}");
    }
    let outcome = guest.wait(GUEST_TIMEOUT)?;
    ensure!(
        outcome.exit_code == 0,
        "the guest's job failed with exit status {}: see {}",
        outcome.exit_code,
        guest.serial_log().display()
    );
    let counters = outcome
        .drive("nvme0n1")
        .context("the guest counted nothing on nvme0n1")?;
    Ok(counters.clone())
}

/// Replays `trace` onto a virtual SSD in memory, which records it into
/// `replayed`.
fn replay_onto_another(
    files: &Files,
    trace: &Path,
    reader: &Reader,
    replayed: &Path,
) -> Result<Report> {
    let bytes = reader
        .header()
        .namespaces
        .iter()
        .map(NamespaceInfo::bytes)
        .sum();
    let drive = DriveArguments::plain(files.at("second.sock"), Some(replayed.to_owned()))
        .labelled("replay of", "recorded.vtr");
    let serving = Serving::start(&Disk::Ram(bytes), &drive)?;
    let never = AtomicBool::new(false);
    let device = Device::VfioUser(serving.socket().to_owned());
    let done = replay::replay(trace, &device, &replay::Choices::at(Pace::Recorded), &never)?;
    serving.stop()?;
    Ok(done)
}

fn list_files(files: &Files, elapsed_ns: u64) {
    println!(
        "\nDone in {} s. In {}:",
        elapsed_ns / 1_000_000_000,
        files.directory.display()
    );
    for (name, what) in [
        (
            "report.html",
            "record and replay side by side: open it in a browser",
        ),
        (
            "recorded.png",
            "the recording: addresses, IOPS, bandwidth, latency over time",
        ),
        ("comparison.png", "record and replay in one picture"),
        (
            "recorded.vtr",
            "the trace (vssd trace info, vssd trace show)",
        ),
        ("recorded.packed.vtr", "the same, as small as it gets"),
        ("replayed.vtr", "what the second virtual SSD saw"),
    ] {
        println!("  {name:<20} {what}");
    }
}
