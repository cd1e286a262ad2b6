//! `vssd replay` as a user runs it, into virtual SSDs that `vssd serve` has. No
//! guest is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nvme::NvmOpcode;
use rustix::process::{Pid, Signal, kill_process};
use traces::{Header, NamespaceInfo, Reader, Record, Writer, WriterOptions};
use vssd_tests::e2e::{Scratch, Serve, pause, vssd, vssd_json, vssd_program};
use vssd_tests::sim::trace::{Io, records};

const MS: u64 = 1_000_000;

/// A trace of `count` commands, `gap_ns` apart, each at an address of its own
/// from `first` on; every third one writes.
fn trace(path: &Path, first: u64, count: u64, gap_ns: u64) {
    let header = Header {
        namespaces: vec![NamespaceInfo {
            id: 1,
            blocks: 1 << 21,
            block_bytes: 512,
        }],
        ..Header::default()
    };
    let commands: Vec<Io> = (0..count)
        .map(|index| {
            let opcode = [NvmOpcode::WRITE, NvmOpcode::READ, NvmOpcode::READ];
            let opcode = opcode[usize::try_from(index % 3).unwrap()];
            let queue = 1 + u16::try_from(index % 2).unwrap();
            let mut io = Io::blocks(opcode, first + index * 8, 8).at(queue, index * gap_ns);
            io.latency_ns = Some(20_000);
            io
        })
        .collect();
    let mut writer = Writer::create(path, &header, WriterOptions::default()).unwrap();
    for record in records(&commands) {
        writer.record(&record).unwrap();
    }
    writer.finish().unwrap();
}

/// How often each address was accessed in a recording, of which each
/// connection has a file of its own.
fn addresses(path: &Path) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    let again = path.with_file_name("seen-2.vtr");
    for path in [path, &again].into_iter().filter(|path| path.is_file()) {
        let reader = Reader::open(path).unwrap();
        for record in reader.records() {
            if let Record::Command { command, .. } = record.unwrap()
                && let Some((lba, _)) = command.lba_range()
            {
                *counts.entry(lba.0).or_default() += 1;
            }
        }
    }
    counts
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_dry_run_says_what_would_be_written_and_writes_nothing() {
    let scratch = Scratch::new();
    let (day, seen) = (scratch.path("day.vtr"), scratch.path("seen.vtr"));
    trace(&day, 1_000, 30, MS);
    let server = Serve::new("ram:1G", scratch.dir(), "drive")
        .record(&seen)
        .start();
    let device = server.device();
    let looks = vssd_json(&["replay", text(&day), &device, "--dry-run", "--json"]);
    let write = &looks[0]["writes"][0];
    assert_eq!(write["commands"], 10);
    assert_eq!(write["first"], 1_000);
    assert_eq!(write["last"], 1_000 + 27 * 8 + 7);
    drop(server.terminate());
    assert!(addresses(&seen).is_empty());
}

#[test]
fn an_interrupted_replay_goes_on_where_it_was() {
    let scratch = Scratch::new();
    let [day, seen, state] = ["day.vtr", "seen.vtr", "state"].map(|name| scratch.path(name));
    trace(&day, 0, 400, 5 * MS);
    let server = Serve::new("ram:1G", scratch.dir(), "drive")
        .record(&seen)
        .start();
    let device = server.device();
    let arguments = [
        "replay",
        text(&day),
        &device,
        "--resume",
        text(&state),
        "--loops",
        "2",
    ];
    let mut first = Command::new(vssd_program())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    pause(Duration::from_millis(1_500));
    kill_process(Pid::from_child(&first), Signal::INT).unwrap();
    let status = first.wait().unwrap();
    assert_eq!(status.code(), Some(1), "it was not complete");
    assert!(state.is_file(), "it noted where it was");

    let other = scratch.path("other.vtr");
    trace(&other, 8, 10, MS);
    let refused = vssd(&["replay", text(&other), &device, "--resume", text(&state)]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("other traces"), "{said}");

    let rest = vssd(&arguments);
    assert!(rest.status.success(), "{rest:?}");
    assert!(!state.exists(), "it is complete");
    drop(server.terminate());
    let counts = addresses(&seen);
    assert_eq!(counts.len(), 400);
    assert!(counts.values().all(|count| *count == 2), "{counts:?}");
}

#[test]
fn two_traces_run_at_once_on_two_devices() {
    let scratch = Scratch::new();
    let names = ["one.vtr", "two.vtr", "a.vtr", "b.vtr", "report.html"];
    let [one, two, seen_a, seen_b, page] = names.map(|name| scratch.path(name));
    trace(&one, 0, 60, 10 * MS);
    trace(&two, 100_000, 60, 10 * MS);
    let serve = |name: &str, seen: &PathBuf| {
        Serve::new("ram:1G", scratch.dir(), name)
            .record(seen)
            .start()
    };
    let servers = [serve("first", &seen_a), serve("second", &seen_b)];
    let devices = servers.each_ref().map(|server| server.device());
    let reports = vssd_json(&[
        "replay",
        text(&one),
        text(&two),
        &devices[0],
        &devices[1],
        "--merge",
        "--verify",
        "--compressibility",
        "50%",
        "--html",
        text(&page),
        "--json",
    ]);
    for (report, device) in reports.as_array().unwrap().iter().zip(&devices) {
        assert_eq!(report["device"], **device);
        let report = &report["report"];
        assert_eq!(report["commands"]["succeeded"], 120);
        assert_eq!(report["queues"].as_array().unwrap().len(), 4);
        assert_eq!(report["verified"]["wrong_blocks"], 0);
        assert!(report["timer"]["p50_ns"].is_number(), "{report}");
        // Both take 0.6 s: one after the other would be 1.2 s.
        let took_ns = report["recorded_ns"].as_u64().unwrap();
        assert!(took_ns < 700 * MS, "{took_ns}");
    }
    for server in servers {
        drop(server.terminate());
    }
    let counts = addresses(&seen_a);
    assert_eq!(counts.len(), 120);
    assert_eq!(counts, addresses(&seen_b));
    let page = std::fs::read_to_string(&page).unwrap();
    for part in [
        "<svg",
        "Latency by percentile",
        "recorded, at this pace",
        &devices[1],
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        !page.contains("http://") || !page.contains("src="),
        "nothing is loaded"
    );
}

#[test]
fn where_one_device_cannot_start_none_does() {
    let scratch = Scratch::new();
    let (day, seen) = (scratch.path("day.vtr"), scratch.path("seen.vtr"));
    trace(&day, 0, 30, MS);
    let server = Serve::new("ram:1G", scratch.dir(), "drive")
        .record(&seen)
        .start();
    let nowhere = format!("vfio-user:{}", scratch.path("nobody.sock").display());
    let output = vssd(&["replay", text(&day), &server.device(), &nowhere]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nobody.sock"), "{said}");
    drop(server.terminate());
    assert!(addresses(&seen).is_empty());
}
