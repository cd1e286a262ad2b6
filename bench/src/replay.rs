//! How faithfully a trace is replayed, beside fio.
//!
//! Both replay the same trace onto the same file in memory, in turn: `vssd
//! replay` into a `vssd serve` of it, fio's `read_iolog` through the kernel.
//! What each is judged by is not its own word: for ours the recording that the
//! server makes, which has the server's own delay in it, for fio its log of each
//! request (`write_lat_log`), whose times are whole milliseconds. What our
//! replay says of itself stands below.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use traces::{Clock as _, CommandRecord, MonotonicClock, Reader, Record};

use crate::server::{Cores, Server, pin};
use crate::{ReplayArguments, median, windows_boot};

/// fio's ways to send requests that keep their times at all.
const ENGINES: [(&str, &str); 2] = [("psync", "1"), ("libaio", "64")];

/// How a replay went.
#[derive(Clone, Debug, Serialize)]
struct Run {
    tool: String,
    /// Requests that were found in the log, of those in the trace.
    requests: u64,
    /// From the first request sent to the last, seconds.
    seconds: f64,
    /// That, less the recording's, percent of it.
    drift_percent: f64,
    /// How far from its time a request was sent, either way, microseconds.
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

/// When a request was sent, and what it was.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at_ns: u64,
    what: What,
}

/// fio's direction (0 read, 1 write, 2 trim), offset and length in bytes.
type What = (u8, u64, u64);

pub(crate) fn run(arguments: &ReplayArguments) -> Result<()> {
    let directory =
        tempfile::tempdir_in("/dev/shm").context("cannot make a directory in memory")?;
    let trace = trace(arguments, directory.path())?;
    let reader = Reader::open(&trace)?;
    let recorded = requests(&reader)?;
    let (Some(first), Some(last)) = (recorded.first(), recorded.last()) else {
        bail!("the trace has no reads, writes or discards: name another with --trace");
    };
    let length_ns = last.at_ns - first.at_ns;
    println!(
        "{}: {} requests in {:.2} s, replayed at the recorded pace onto a file in memory, {} \
         times\neach, in turn. Ours is judged by the server's recording, fio by its log of \
         requests (in ms).\n",
        trace.file_name().unwrap_or_default().display(),
        recorded.len(),
        seconds(length_ns),
        arguments.runs
    );
    println!(
        "{:<14} {:>8} {:>9} {:>9} {:>10} {:>10} {:>10}",
        "TOOL", "REQUESTS", "SECONDS", "DRIFT", "P50 us", "P99 us", "MAX us"
    );
    let mut runs = Vec::new();
    for _ in 0..arguments.runs {
        round(
            arguments,
            &reader,
            (&trace, directory.path()),
            &recorded,
            &mut runs,
        )?;
    }
    conclude(&runs);
    if let Some(path) = &arguments.json {
        let all = serde_json::json!({ "benchmark": "replay", "runs": runs });
        fs::write(path, format!("{all:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A run of each.
fn round(
    arguments: &ReplayArguments,
    reader: &Reader,
    (trace, directory): (&Path, &Path),
    recorded: &[Sent],
    runs: &mut Vec<Run>,
) -> Result<()> {
    let cores = Cores::choose()?;
    let disk = directory.join("disk");
    let namespaces = reader.header().namespaces.iter();
    let bytes = namespaces.map(traces::NamespaceInfo::bytes).max();
    let fresh = || File::create(&disk)?.set_len(bytes.unwrap_or(0));
    let mut tell = |sent: &[Sent], tool: &str| {
        let run = judge(tool, recorded, sent);
        println!(
            "{:<14} {:>8} {:>9.3} {:>8.3}% {:>10.1} {:>10.1} {:>10.1}",
            run.tool,
            run.requests,
            run.seconds,
            run.drift_percent,
            run.p50_us,
            run.p99_us,
            run.max_us
        );
        runs.push(run);
    };
    tell(&spin(recorded, cores)?, "this machine");
    fresh()?;
    let (sent, own) = ours(arguments, trace, &disk, directory, cores)?;
    tell(&sent, "vssd replay");
    println!("{:<14} {own}", "  by itself");
    let Some(iolog) = iolog(arguments, trace, directory)? else {
        return Ok(());
    };
    let span = recorded.last().map_or(0, |it| it.at_ns);
    let limit = Duration::from_nanos(span) * 3 + Duration::from_secs(30);
    for (engine, depth) in ENGINES {
        fresh()?;
        match fio(&iolog, &disk, (engine, depth), directory, limit)? {
            Some(sent) => tell(&sent, &format!("fio {engine} {depth}")),
            None => {
                println!("fio {engine} {depth} did not end in {limit:.0?}, and was stopped");
            }
        }
    }
    Ok(())
}

/// Medians, ours beside the best of fio's.
fn conclude(runs: &[Run]) {
    let of = |tool: &str, value: fn(&Run) -> f64| {
        let of_tool = runs.iter().filter(|run| run.tool == tool);
        median(of_tool.map(value).collect())
    };
    let p99 = |run: &Run| run.p99_us;
    let best = ENGINES
        .iter()
        .map(|(engine, depth)| of(&format!("fio {engine} {depth}"), p99))
        .filter(|it| it.is_finite())
        .min_by(f64::total_cmp);
    let (ours, machine) = (of("vssd replay", p99), of("this machine", p99));
    println!(
        "\nmedian p99: vssd replay {ours:.1} us, where this machine allows {machine:.1} us to a \
         thread that\nonly waits for each time"
    );
    if let Some(best) = best {
        println!(
            "the best of fio: {best:.0} us, {:.0} times ours",
            best / ours
        );
    }
}

/// The trace to replay, as `.vtr`.
fn trace(arguments: &ReplayArguments, directory: &Path) -> Result<PathBuf> {
    let source = match &arguments.trace {
        Some(path) => path.clone(),
        None => windows_boot().context(
            "there is no win10_boot.trace.png in ../shared/data or $VSSD_TEST_DATA: name a trace \
             with --trace",
        )?,
    };
    let trace = directory.join("trace.vtr");
    convert(arguments, &source, &trace, &[])?;
    Ok(trace)
}

/// The trace as fio reads it; none where there is no fio.
fn iolog(arguments: &ReplayArguments, trace: &Path, directory: &Path) -> Result<Option<PathBuf>> {
    let fio = Command::new("fio").arg("--version").output();
    if fio.is_err() {
        println!("there is no fio here to compare with\n");
        return Ok(None);
    }
    let iolog = directory.join("trace.iolog");
    if !iolog.exists() {
        convert(arguments, trace, &iolog, &["--to", "fio"])?;
    }
    Ok(Some(iolog))
}

fn convert(arguments: &ReplayArguments, from: &Path, to: &Path, more: &[&str]) -> Result<()> {
    let output = Command::new(&arguments.vssd)
        .args(["trace", "convert"])
        .args([from, to])
        .args(more)
        .output()
        .with_context(|| format!("cannot run {}", arguments.vssd.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the trace is not converted: {said}"
    );
    Ok(())
}

/// A thread that does nothing but wait for each time: what the machine allows.
fn spin(recorded: &[Sent], cores: Cores) -> Result<Vec<Sent>> {
    pin(cores.client)?;
    let clock = MonotonicClock::start();
    let first_ns = recorded.first().map_or(0, |it| it.at_ns);
    let start_ns = clock.now_ns();
    let sent = recorded.iter().map(|it| {
        let due_ns = start_ns + (it.at_ns - first_ns);
        let at_ns = loop {
            let now_ns = clock.now_ns();
            if now_ns >= due_ns {
                break now_ns;
            }
            std::hint::spin_loop();
        };
        Sent { at_ns, ..*it }
    });
    Ok(sent.collect())
}

/// What the server saw of our replay, and what that says of itself.
fn ours(
    arguments: &ReplayArguments,
    trace: &Path,
    disk: &Path,
    directory: &Path,
    cores: Cores,
) -> Result<(Vec<Sent>, String)> {
    let seen = directory.join("seen.vtr");
    let (disk, record) = (disk.display().to_string(), seen.display().to_string());
    let socket = directory.join("replay.sock");
    let options = ["--record", &record, "--no-state"];
    let _ = fs::remove_file(&seen);
    let server = Server::start(&arguments.vssd, &disk, &options, socket, cores)?;
    cores.release()?;
    let output = Command::new(&arguments.vssd)
        .arg("replay")
        .arg(trace)
        .arg(format!("vfio-user:{}", server.socket().display()))
        .arg("--json")
        .output()
        .context("cannot start the replay")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the replay failed: {said}");
    server.stop()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let late = |what: &str| {
        let ns = report.pointer(&format!("/pacing/{what}_ns"));
        microseconds(ns.and_then(serde_json::Value::as_u64).unwrap_or(0))
    };
    let own = format!(
        "sent {:.1} us late at p50, {:.1} us at p99, {:.1} us at most",
        late("p50"),
        late("p99"),
        late("max")
    );
    Ok((requests(&Reader::open(&seen)?)?, own))
}

/// What fio sent; none where it did not end in time.
fn fio(
    iolog: &Path,
    disk: &Path,
    (engine, depth): (&str, &str),
    directory: &Path,
    limit: Duration,
) -> Result<Option<Vec<Sent>>> {
    let logs = tempfile::tempdir_in(directory)?;
    let mut child = Command::new("fio")
        .args(["--name=replay", "--log_offset=1", "--replay_no_stall=0"])
        .arg(format!("--read_iolog={}", iolog.display()))
        .arg(format!("--replay_redirect={}", disk.display()))
        .arg(format!("--ioengine={engine}"))
        .arg(format!("--iodepth={depth}"))
        .arg("--write_lat_log=log")
        .current_dir(logs.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start fio")?;
    let clock = MonotonicClock::start();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if u128::from(clock.now_ns()) > limit.as_nanos() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        rest();
    };
    ensure!(status.success(), "fio {engine} ended with {status}");
    let log = fs::read_to_string(logs.path().join("log_lat.1.log")).context("fio left no log")?;
    let mut sent = log.lines().map(logged).collect::<Result<Vec<_>>>()?;
    sent.sort_by_key(|it| it.at_ns);
    Ok(Some(sent))
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn rest() {
    std::thread::sleep(Duration::from_millis(100));
}

/// `<ms at completion>, <latency ns>, <direction>, <bytes>, <offset>, ...`.
fn logged(line: &str) -> Result<Sent> {
    let fields: Vec<u64> = line
        .split(',')
        .take(5)
        .map(|field| field.trim().parse())
        .collect::<Result<_, _>>()
        .with_context(|| format!("fio logged {line:?}"))?;
    let [at_ms, latency_ns, direction, bytes, offset] = fields.as_slice() else {
        bail!("fio logged {line:?}");
    };
    Ok(Sent {
        at_ns: (at_ms * 1_000_000).saturating_sub(*latency_ns),
        what: (u8::try_from(*direction)?, *offset, *bytes),
    })
}

/// The reads, writes and discards of a trace, in the order of their times, one
/// for each range.
fn requests(reader: &Reader) -> Result<Vec<Sent>> {
    let mut requests = Vec::new();
    for record in reader.records() {
        let Record::Command {
            command, ranges, ..
        } = record?
        else {
            continue;
        };
        let block = u64::from(reader.header().block_bytes(command.nsid));
        let mut add = |direction, lba: u64, blocks: u32| {
            requests.push(Sent {
                at_ns: command.submit_ns,
                what: (direction, lba * block, u64::from(blocks) * block),
            });
        };
        if let (Some(direction), Some((lba, blocks))) = (direction(&command), command.lba_range()) {
            add(direction, lba.0, blocks);
        }
        for range in &ranges {
            add(2, range.lba().0, range.blocks.get());
        }
    }
    requests.sort_by_key(|it| it.at_ns);
    Ok(requests)
}

fn direction(command: &CommandRecord) -> Option<u8> {
    match command.nvm_opcode()? {
        nvme::NvmOpcode::READ => Some(0),
        nvme::NvmOpcode::WRITE => Some(1),
        _ => None,
    }
}

/// Compares what was sent with what was recorded, request by request. Both
/// count from the first that they share.
fn judge(tool: &str, recorded: &[Sent], sent: &[Sent]) -> Run {
    let mut places: HashMap<What, VecDeque<u64>> = HashMap::new();
    for it in recorded {
        places.entry(it.what).or_default().push_back(it.at_ns);
    }
    let pairs: Vec<(u64, u64)> = sent
        .iter()
        .filter_map(|it| Some((places.get_mut(&it.what)?.pop_front()?, it.at_ns)))
        .collect();
    let (Some(&(due_0, sent_0)), Some(&(due_end, sent_end))) = (pairs.first(), pairs.last()) else {
        return Run {
            tool: tool.to_owned(),
            requests: 0,
            seconds: 0.0,
            drift_percent: f64::NAN,
            p50_us: f64::NAN,
            p99_us: f64::NAN,
            max_us: f64::NAN,
        };
    };
    let mut errors: Vec<u64> = pairs
        .iter()
        .map(|(due, sent)| (due.saturating_sub(due_0)).abs_diff(sent.saturating_sub(sent_0)))
        .collect();
    errors.sort_unstable();
    let at = |hundredths: usize| {
        let index = (errors.len() * hundredths / 100).min(errors.len() - 1);
        microseconds(errors.get(index).copied().unwrap_or(0))
    };
    let (asked, took) = (seconds(due_end - due_0), seconds(sent_end - sent_0));
    Run {
        tool: tool.to_owned(),
        // Widens.
        requests: pairs.len() as u64,
        seconds: took,
        drift_percent: (took - asked) / asked * 100.0,
        p50_us: at(50),
        p99_us: at(99),
        max_us: at(100),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::{Sent, judge};

    #[test]
    fn lateness_is_found_request_by_request() {
        let at = |at_ns, lba| Sent {
            at_ns,
            what: (0, lba, 512),
        };
        let recorded = [at(1_000, 1), at(2_000, 2), at(3_000, 1), at(101_000, 4)];
        // The second came 500 ns late, the last 1 ms; one is of another trace.
        let sent = [
            at(70_000, 1),
            at(71_500, 2),
            at(71_600, 9),
            at(72_000, 1),
            at(1_170_000, 4),
        ];
        let run = judge("it", &recorded, &sent);
        assert_eq!(run.requests, 4);
        assert!((run.max_us - 1_000.0).abs() < 1e-9, "{run:?}");
        assert!((run.p50_us - 0.5).abs() < 1e-9, "{run:?}");
        assert!((run.drift_percent - 1_000.0).abs() < 1e-9, "{run:?}");
    }
}
