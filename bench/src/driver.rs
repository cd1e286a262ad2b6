//! What the driver does, and what it takes for that.

use std::fs::File;
use std::path::Path;
use std::process::{self, Stdio};

use ::driver::transport::vfio_user::VfioUser;
use ::driver::{Command, Controller, ControllerOptions, DriverError, QueueOptions, QueuePair};
use anyhow::{Context as _, Result, bail, ensure};
use nvme::{Lba, ZeroBased};
use serde::Serialize;
use traces::{Clock as _, MonotonicClock};

use crate::client;
use crate::server::{Cores, Server, pin};
use crate::{ClientArguments, Common, median};

const DISK_BYTES: u64 = 256 << 20;
const DEPTHS: [u16; 3] = [1, 32, 128];
/// Commands of the two runs whose difference counts instructions: what both do
/// besides falls out.
const COUNTS: [u64; 2] = [20_000, 60_000];

#[derive(Clone, Debug, Serialize)]
struct Row {
    depth: u16,
    iops: f64,
    mean_us: f64,
    p99_us: f64,
    /// fio's, with io_uring; none where there is no fio.
    fio_iops: Option<f64>,
    /// Ours to fio's.
    ratio: Option<f64>,
    /// Of the driver; none where there is no valgrind.
    instructions_per_io: Option<f64>,
}

/// 4 KiB random reads by the driver on one core from a virtual SSD on another,
/// beside fio on the same file by the kernel, and the driver's instructions for
/// each command.
pub(crate) fn run(common: &Common) -> Result<()> {
    let cores = Cores::choose()?;
    println!(
        "4 KiB random reads of a file in memory; {} runs of {} s each, in turn: by the driver \
         from\na vssd (client on core {}, server on core {}), and by fio with io_uring from the \
         kernel (core {}).\nInstructions are the driver's for each command, its polls in vain \
         among them, by callgrind.\n",
        common.pairs, common.seconds, cores.client, cores.server, cores.client
    );
    let directory =
        tempfile::tempdir_in("/dev/shm").context("cannot make a directory in memory")?;
    let disk = directory.path().join("disk");
    let file = File::create(&disk).context("cannot make the disk")?;
    file.set_len(DISK_BYTES).context("cannot make the disk")?;
    println!(
        "{:>5} {:>10} {:>9} {:>9} {:>10} {:>6} {:>15}",
        "DEPTH", "IOPS", "MEAN us", "P99 us", "FIO IOPS", "RATIO", "INSTRUCTIONS/IO"
    );
    let mut rows = Vec::new();
    for depth in DEPTHS {
        let row = measure(common, cores, &disk, depth)?;
        let text = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        println!(
            "{:>5} {:>10.0} {:>9.2} {:>9.2} {:>10} {:>6} {:>15}",
            row.depth,
            row.iops,
            row.mean_us,
            row.p99_us,
            text(row.fio_iops, 0),
            text(row.ratio, 2),
            text(row.instructions_per_io, 0)
        );
        rows.push(row);
    }
    if let Some(path) = &common.json {
        let all = serde_json::json!({ "benchmark": "driver", "rows": rows });
        std::fs::write(path, format!("{all:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure(common: &Common, cores: Cores, disk: &Path, depth: u16) -> Result<Row> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let disk_text = disk.display().to_string();
    let socket = directory.path().join("bench.sock");
    let mut reports = Vec::new();
    let mut others = Vec::new();
    for _ in 0..common.pairs {
        let server = Server::start(&common.vssd, &disk_text, &[], socket.clone(), cores)?;
        let work = client::random_reads(depth, common.seconds);
        reports.push(client::run(server.socket(), DISK_BYTES, work)?);
        server.stop()?;
        others.extend(fio(disk, depth, common.seconds, cores)?);
    }
    let of = |value: fn(&driver::ioworker::IoworkerReport) -> f64| {
        median(reports.iter().map(value).collect())
    };
    let iops = of(driver::ioworker::IoworkerReport::iops);
    let fio_iops = (!others.is_empty()).then(|| median(others));
    #[expect(clippy::cast_precision_loss, reason = "microseconds for people")]
    let p99_us = of(|report| report.reads.latency_ns.value_at_quantile(0.99) as f64 / 1e3);
    Ok(Row {
        depth,
        iops,
        mean_us: of(|report| report.reads.latency_ns.mean() / 1e3),
        p99_us,
        fio_iops,
        ratio: fio_iops.map(|fio| iops / fio),
        instructions_per_io: instructions(common, cores, &disk_text, depth)?,
    })
}

/// fio's IOPS; none where there is no fio.
fn fio(disk: &Path, depth: u16, seconds: u64, cores: Cores) -> Result<Option<f64>> {
    pin(cores.client)?;
    let mut command = process::Command::new("fio");
    command
        .args([
            "--name=bench",
            "--rw=randread",
            "--bs=4k",
            "--ioengine=io_uring",
        ])
        .args(["--time_based", "--output-format=json", "--norandommap"])
        .arg(format!("--filename={}", disk.display()))
        .arg(format!("--iodepth={depth}"))
        .arg(format!("--runtime={seconds}"))
        .stderr(Stdio::null());
    let Ok(output) = command.output() else {
        return Ok(None);
    };
    ensure!(output.status.success(), "fio ended with {}", output.status);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let iops = report.pointer("/jobs/0/read/iops");
    Ok(iops.and_then(serde_json::Value::as_f64))
}

/// How many instructions the driver spends on a command; none where there is no
/// valgrind.
fn instructions(common: &Common, cores: Cores, disk: &str, depth: u16) -> Result<Option<f64>> {
    let mut collected = Vec::new();
    for count in COUNTS {
        let directory = tempfile::tempdir().context("cannot make a directory")?;
        let socket = directory.path().join("bench.sock");
        let server = Server::start(&common.vssd, disk, &[], socket, cores)?;
        let client = std::env::current_exe().context("this program has no path")?;
        let output = process::Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .args(["--toggle-collect=bench::driver::counted_*"])
            .arg(client)
            .arg("client")
            .arg(server.socket())
            .args([depth.to_string(), count.to_string()])
            .stdout(Stdio::null())
            .output();
        let Ok(output) = output else {
            return Ok(None);
        };
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the client under valgrind: {said}");
        let total = said.lines().find_map(|line| line.split_once("Collected :"));
        let Some((_, total)) = total else {
            bail!("valgrind does not say what it collected: {said}");
        };
        collected.push(total.trim().parse::<u64>()?);
        server.stop()?;
    }
    let [few, many] = COUNTS;
    let more = collected.last().zip(collected.first());
    let more = more.map_or(0, |(last, first)| last.saturating_sub(*first));
    #[expect(clippy::cast_precision_loss, reason = "a mean for people to read")]
    let each = more as f64 / (many - few) as f64;
    Ok(Some(each))
}

/// The driver's part of the client, which is counted: submission.
#[inline(never)]
fn counted_submit(pair: &mut QueuePair, read: Command<'_>, slot: u64, now_ns: u64) -> bool {
    pair.submit(read, slot, now_ns).is_ok()
}

/// The driver's part of the client, which is counted: doorbell and completions.
#[inline(never)]
fn counted_poll(
    pair: &mut QueuePair,
    clock: &MonotonicClock,
    budget: usize,
    done: &mut Vec<(u64, bool)>,
) -> Result<usize, DriverError> {
    pair.poll(clock, budget, |completed| {
        done.push((completed.user, completed.status.is_success()));
    })
}

/// The client that is counted: so many reads at a depth, and nothing else.
pub(crate) fn client(arguments: &ClientArguments) -> Result<()> {
    const BLOCKS: u16 = 8;
    let clock = MonotonicClock::start();
    let transport = VfioUser::connect(&arguments.socket)?;
    let mut controller = Controller::initialise(transport, ControllerOptions::default(), clock)?;
    let first = controller.info().namespaces.first().copied();
    let namespace = first.context("the drive has no namespace")?;
    let depth = usize::from(arguments.depth);
    let mut pair = controller.create_queue_pair(QueueOptions {
        depth: arguments.depth,
        ..QueueOptions::default()
    })?;
    let data = controller.allocate_dma(depth * 4096)?;
    let places = namespace.blocks / u64::from(BLOCKS);
    let mut random = fastrand::Rng::with_seed(1);
    let mut free: Vec<u64> = (0..u64::from(arguments.depth)).collect();
    let (mut left, mut failed) = (arguments.count, 0_u64);
    let mut done = Vec::with_capacity(depth);
    let mut now_ns = clock.now_ns();
    while left > 0 || pair.in_flight() > 0 {
        while let Some(slot) = free.pop_if(|_| left > 0) {
            left -= 1;
            let lba = Lba(random.u64(..places) * u64::from(BLOCKS));
            let at = usize::try_from(slot)? * 4096;
            let blocks = ZeroBased(BLOCKS - 1);
            let read = Command::read(namespace.nsid, lba, blocks, data.slice(at, 4096)?);
            ensure!(counted_submit(&mut pair, read, slot, now_ns), "no room");
        }
        counted_poll(&mut pair, &clock, depth, &mut done)?;
        now_ns = clock.now_ns();
        for (slot, is_success) in done.drain(..) {
            free.push(slot);
            failed += u64::from(!is_success);
        }
    }
    ensure!(failed == 0, "{failed} commands failed");
    controller.shutdown()?;
    Ok(())
}
