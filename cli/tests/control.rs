//! A drive that is looked at and steered while a driver works on it.

mod common;
#[path = "common/ctl.rs"]
mod ctl;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Served, vssd};
use ctl::{complains, says};
use serde_json::Value;
use traces::{CommandRecord, Reader, Record};

/// A load on the drive, in the background.
fn load(served: &Served, words: &[&str]) -> Child {
    let mut command = vssd();
    command
        .args(["ioworker", "vfio-user:s", "--io-size", "4KiB"])
        .args(words)
        .current_dir(served.directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn stats(served: &Served) -> Value {
    serde_json::from_str(&says(served, &["ctl", "c", "stats", "--json"])).unwrap()
}

/// The I/O commands that have ended.
fn ended(stats: &Value) -> u64 {
    let queues = stats["queues"].as_array().unwrap().iter();
    let io = queues.filter(|queue| queue["queue"] != 0);
    io.flat_map(|queue| queue["opcodes"].as_array().unwrap())
        .map(|opcode| opcode["commands"].as_u64().unwrap())
        .sum()
}

#[expect(clippy::disallowed_methods, reason = "another process works")]
fn wait_a_moment() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Waits until the load has done `more` commands from now on.
fn wait_for_commands(served: &Served, more: u64) {
    let from = ended(&stats(served));
    for _ in 0..1200 {
        if ended(&stats(served)) >= from + more {
            return;
        }
        wait_a_moment();
    }
    panic!("the load does not work");
}

/// The I/O commands of a trace, in the order in which they were sent.
fn commands(served: &Served, name: &str) -> Vec<CommandRecord> {
    let reader = Reader::open(served.file(name)).unwrap();
    assert!(!reader.is_recovered(), "{name} is not whole");
    assert_eq!(reader.totals().lost, 0);
    let mut commands: Vec<_> = (reader.records().map(Result::unwrap))
        .filter_map(|record| match record {
            Record::Command { command, .. } if !command.is_admin() => Some(command),
            _ => None,
        })
        .collect();
    commands.sort_by_key(|command| command.sequence);
    commands
}

#[test]
fn recordings_hold_exactly_what_the_driver_sent_in_between() {
    let served = Served::start(&["disk.img", "--create", "64M", "--control", "c"]);
    let load_words = [
        "--read", "50", "--iops", "2000", "--time", "60s", "--record", "host.vtr",
    ];
    let mut load = load(&served, &load_words);
    wait_for_commands(&served, 1);
    for name in ["a.vtr", "b.vtr"] {
        let said = says(
            &served,
            &["ctl", "c", "record", "start", name, "--label", "os=none"],
        );
        assert!(said.contains(name), "{said}");
        let again = complains(&served, &["ctl", "c", "record", "start", "other.vtr"]);
        assert!(
            again.contains("record stop") && again.contains(name),
            "{again}"
        );
        wait_for_commands(&served, 500);
        let status = says(&served, &["ctl", "c", "record", "status"]);
        assert!(
            status.contains("recording into") && status.contains(name),
            "{status}"
        );
        let said = says(&served, &["ctl", "c", "record", "stop"]);
        assert!(said.starts_with("recorded "), "{said}");
    }
    let exists = complains(&served, &["ctl", "c", "record", "start", "a.vtr"]);
    assert!(exists.contains("--overwrite"), "{exists}");
    wait_for_commands(&served, 100);
    interrupt(&load);
    assert!(load.wait().unwrap().success());

    for name in ["a.vtr", "b.vtr"] {
        let reader = Reader::open(served.file(name)).unwrap();
        let mut numbers: Vec<u64> = (reader.records().map(Result::unwrap))
            .filter_map(|record| match record {
                Record::Command { command, .. } => Some(command.sequence),
                _ => None,
            })
            .collect();
        numbers.sort_unstable();
        let all: Vec<u64> = (0..).take(numbers.len()).collect();
        assert_eq!(numbers, all, "{name} has a hole");
    }
    // The driver wrote down what it sent, by itself.
    let sent = commands(&served, "host.vtr");
    let key = |command: &CommandRecord| (command.opcode, command.lba_range());
    let sent: Vec<_> = sent.iter().map(key).collect();
    let mut from = 0;
    for name in ["a.vtr", "b.vtr"] {
        let recorded = commands(&served, name);
        assert!(recorded.len() >= 500, "{name} has {}", recorded.len());
        assert!((recorded.iter()).all(|command| command.completion.is_some()));
        let recorded: Vec<_> = recorded.iter().map(key).collect();
        let at = sent[from..].windows(recorded.len());
        let at = at.into_iter().position(|window| window == recorded);
        from += at.unwrap_or_else(|| panic!("{name} is not what was sent")) + recorded.len();
    }
    let label = says(&served, &["trace", "info", "a.vtr"]);
    assert!(label.contains("os = none"), "{label}");
}

/// Ends a load as Ctrl-C does.
fn interrupt(load: &Child) {
    let pid = load.id().to_string();
    let status = Command::new("kill").args(["-INT", &pid]).status();
    assert!(status.unwrap().success());
}

/// Ends a server, and waits until it has put everything away.
fn stop(served: &mut Served) {
    interrupt(&served.child);
    assert!(served.child.wait().unwrap().success());
}

#[test]
fn a_server_that_was_killed_keeps_its_traces_and_goes_on() {
    let disk = [
        "disk.img", "--create", "64M", "--record", "day.vtr", "--keep",
    ];
    let mut served = Served::start(&disk);
    assert!(load(&served, &["--count", "700"]).wait().unwrap().success());
    while Reader::open(served.file("day.vtr")).map_or(true, |reader| reader.is_recovered()) {
        wait_a_moment();
    }
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    let directory = std::mem::replace(&mut served.directory, tempfile::tempdir().unwrap());

    let mut again = Served::start_in(directory, "--vfio-user", &disk);
    assert!(load(&again, &["--count", "300"]).wait().unwrap().success());
    stop(&mut again);
    assert_eq!(commands(&again, "day.vtr").len(), 700);
    assert_eq!(commands(&again, "day-2.vtr").len(), 300);
}

#[test]
fn a_snapshot_stays_as_it_is_and_the_driver_notices_nothing() {
    let mut served = Served::start(&["disk.img", "--create", "32M", "--control", "c"]);
    let verified = [
        "--read",
        "50",
        "--iops",
        "2000",
        "--time",
        "60s",
        "--set",
        "verify=true",
    ];
    // Nobody has to be there for it.
    says(&served, &["ctl", "c", "snapshot", "0.qcow2"]);
    let load = load(&served, &verified);
    let mut kept = Vec::new();
    for (below, above) in [("0.qcow2", "1.qcow2"), ("1.qcow2", "2.qcow2")] {
        wait_for_commands(&served, 500);
        let said = says(&served, &["ctl", "c", "snapshot", above]);
        assert!(
            said.contains("stays as it is") && said.contains("--serial"),
            "{said}"
        );
        kept.push((below, std::fs::read(served.file(below)).unwrap()));
        assert!(served.file(above).with_extension("qcow2.vssd").exists());
        let disk = stats(&served)["disk"].as_str().unwrap().to_owned();
        assert!(disk.ends_with(above), "{disk}");
    }
    let exists = complains(&served, &["ctl", "c", "snapshot", "1.qcow2"]);
    assert!(exists.contains("exists"), "{exists}");
    wait_for_commands(&served, 500);
    interrupt(&load);
    let output = load.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(" and right; 0 were wrong"), "{said}");
    for (name, then) in kept {
        assert_eq!(
            std::fs::read(served.file(name)).unwrap(),
            then,
            "{name} has changed"
        );
    }
    // Where QEMU is, it has the last word.
    let top = served.file("2.qcow2");
    stop(&mut served);
    match Command::new("qemu-img").arg("check").arg(&top).output() {
        Ok(checked) => {
            let said = String::from_utf8_lossy(&checked.stdout);
            assert!(said.contains("No errors were found"), "{said}");
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_a_line() {
    let served = Served::start(&["ram:16M", "--control", "c"]);
    let mode = std::fs::metadata(served.file("c"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let cases: [(&[&str], &str); 6] = [
        (&["ctl", "c", "snapshot", "a.qcow2"], "serve an image"),
        (&["ctl", "c", "record", "stop"], "record start"),
        (
            &["ctl", "c", "record", "start", "no/a.vtr"],
            "create it first",
        ),
        (&["ctl", "nobody", "stats"], "--control"),
        (&["top", "c"], "--once"),
        (&["top", "nobody", "--once"], "--control"),
    ];
    for (words, expected) in cases {
        let said = complains(&served, words);
        assert!(said.contains(expected), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // The protocol is a line there, and one back.
    let mut client = UnixStream::connect(served.file("c")).unwrap();
    client
        .write_all(b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"reboot\"}\n{\"id\"\n!")
        .unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    let codes: Vec<Value> = (said.lines())
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["error"]["code"].clone())
        .collect();
    assert_eq!(codes, [-32601, -32700]);
    assert!(says(&served, &["ctl", "c", "stats"]).contains("no command has come yet"));
}

#[test]
fn a_read_only_image_has_no_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let served = Served::start(&[image.to_str().unwrap(), "--read-only", "--control", "c"]);
    let said = complains(&served, &["ctl", "c", "snapshot", "a.qcow2"]);
    assert!(said.contains("read-only"), "{said}");
    assert!(!served.file("a.qcow2").exists());
}

/// What the drive answers to a GET of `path`: the head and the body.
fn get(at: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn prometheus_understands_the_metrics_and_they_agree_with_the_statistics() {
    // Free a moment ago, and most likely still.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = free.local_addr().unwrap().to_string();
    let taken = ["serve", "ram:16M", "--metrics", &at];
    let refused = vssd().args(taken).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("another address or port"), "{said}");
    drop(free);
    let served = Served::start(&["ram:16M", "--control", "c", "--metrics", &at]);
    let short = ["--read", "70", "--count", "300", "--iops", "3000"];
    assert!(load(&served, &short).wait().unwrap().success());
    let stats = stats(&served);
    let (head, body) = get(&at, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(get(&at, "/").0.starts_with("HTTP/1.1 404"));

    let lines = body.lines().map(|line| Ok(line.to_owned()));
    let scrape = prometheus_parse::Scrape::parse(lines).unwrap();
    let sum = |name: &str, opcode: &str| -> f64 {
        let samples = scrape.samples.iter().filter(|sample| sample.metric == name);
        let ours = samples.filter(|sample| sample.labels.get("opcode") == Some(opcode));
        ours.map(|sample| match &sample.value {
            prometheus_parse::Value::Counter(value) => *value,
            prometheus_parse::Value::Histogram(buckets) => buckets.last().unwrap().count,
            other => panic!("{other:?}"),
        })
        .sum()
    };
    let mut commands = 0.0;
    for opcode in ["read", "write"] {
        let queues = stats["queues"].as_array().unwrap().iter();
        let numbers = queues.flat_map(|queue| queue["opcodes"].as_array().unwrap());
        let (counted, bytes) = numbers
            .filter(|numbers| numbers["opcode"] == opcode)
            .map(|numbers| (&numbers["commands"], &numbers["bytes"]))
            .map(|(commands, bytes)| (commands.as_f64().unwrap(), bytes.as_f64().unwrap()))
            .fold((0.0, 0.0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
        assert_eq!(bytes, counted * 4096.0);
        assert_eq!(sum("vssd_commands_total", opcode), counted);
        assert_eq!(sum("vssd_bytes_total", opcode), bytes);
        assert_eq!(sum("vssd_command_duration_seconds", opcode), counted);
        commands += counted;
    }
    assert_eq!(commands, 300.0);
    // Where Prometheus is, it has the last word.
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    if let Ok(mut promtool) = promtool {
        promtool
            .stdin
            .take()
            .unwrap()
            .write_all(body.as_bytes())
            .unwrap();
        let checked = promtool.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{said}");
    }
}

#[test]
fn top_prints_a_second_as_text() {
    let served = Served::start(&["ram:16M", "--control", "c"]);
    let mut load = load(
        &served,
        &["--read", "100", "--iops", "1000", "--time", "60s"],
    );
    wait_for_commands(&served, 1);
    let said = says(&served, &["top", "c", "--once"]);
    for part in [
        "IOPS",
        "read",
        "queues",
        "Read",
        "nothing is being recorded",
    ] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
    assert!(!said.contains("quit"), "{said}");
    drop(load.kill());
    drop(load.wait());
}

/// A worker that waits for a virtio client, without end, is reached.
#[test]
fn a_virtio_disk_without_a_guest_is_recorded_and_grows() {
    let served = Served::start_as("--vhost-user", &["ram:16M", "--control", "c"]);
    let said = says(&served, &["ctl", "c", "record", "start", "a.vtr"]);
    assert!(said.contains("recording into a.vtr"), "{said}");
    let said = says(&served, &["ctl", "c", "resize", "32M"]);
    assert!(said.contains("ram has 32 MiB now"), "{said}");
    let said = says(&served, &["ctl", "c", "record", "stop"]);
    assert!(said.contains("recorded 0 commands"), "{said}");
    let reader = Reader::open(served.file("a.vtr")).unwrap();
    assert!(!reader.is_recovered());
}

#[test]
fn a_drive_grows_under_load_and_nothing_is_lost() {
    for disk in [&["ram:16M"][..], &["disk.qcow2", "--create", "16M"]] {
        let more = ["--control", "c", "--workers", "2"];
        let served = Served::start(&[disk, &more].concat());
        let verified = [
            "--read",
            "50",
            "--time",
            "60s",
            "--set",
            "verify=true",
            "--workers",
            "2",
        ];
        let load = load(&served, &verified);
        says(&served, &["ctl", "c", "record", "start", "a.vtr"]);
        for size in ["17M", "18M", "64M"] {
            wait_for_commands(&served, 500);
            let said = says(&served, &["ctl", "c", "resize", size]);
            assert!(said.contains("namespace 1 has"), "{said}");
        }
        wait_for_commands(&served, 500);
        says(&served, &["ctl", "c", "record", "stop"]);
        interrupt(&load);
        let output = load.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains(" and right; 0 were wrong"), "{said}");
        assert!(commands(&served, "a.vtr").len() > 1500);
    }
}
