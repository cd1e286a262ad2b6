//! `vssd replay` to several drives at a time, as people run it.

mod asked;
mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use asked::{call, connect};
use common::{Served, vssd};
use nvme::{CommandId, Lba, NamespaceId, NvmOpcode, QueueId, Sqe, Status};
use serde_json::{Value, json};
use traces::{CommandRecord, Completion, Header, NamespaceInfo, Reader, Record};
use traces::{Writer, WriterOptions};

/// Commands of a trace that takes a while.
const MANY: u64 = 1_000;
/// How many of them go out in a second, so that nothing is caught up.
const RATE: &str = "400";
/// How far ahead one drive is of the other: more than is sent until a signal is
/// heard.
const AHEAD: u64 = 150;

/// A trace of `count` reads of a block each, from block 0 on, on two queues by
/// turns, a microsecond apart.
fn trace(path: &Path, count: u64) {
    let header = Header {
        namespaces: vec![NamespaceInfo {
            id: 1,
            blocks: 1 << 17,
            block_bytes: 512,
        }],
        ..Header::default()
    };
    let mut writer = Writer::create(path, &header, WriterOptions::default()).unwrap();
    for index in 0..count {
        let mut sqe = Sqe::new(NvmOpcode::READ.0, NamespaceId(1));
        sqe.set_slba(Lba(index));
        let queue = QueueId(if index % 2 == 0 { 1 } else { 2 });
        let at_ns = index * 1_000;
        let mut command = CommandRecord::fetched(index, at_ns, queue, &sqe);
        command.cid = CommandId(u16::try_from(index % 1_000).unwrap());
        command.completion = Some(Completion {
            complete_ns: at_ns + 500,
            status: Status::SUCCESS,
            result: 0,
        });
        let record = Record::Command {
            command,
            ranges: Vec::new(),
            payload: None,
        };
        writer.record(&record).unwrap();
    }
    writer.finish().unwrap();
}

/// A drive that records what it is told.
fn drive() -> Served {
    Served::start(&["disk.img", "--create", "64M", "--record", "seen.vtr"])
}

/// How the command line calls it.
fn device(served: &Served) -> String {
    format!("vfio-user:{}", served.file("s").display())
}

/// How often a drive was told to read each block. Each connection has a file of its
/// own, which is complete soon after it.
fn told(served: &Served) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for name in ["seen.vtr", "seen-2.vtr", "seen-3.vtr", "seen-4.vtr"] {
        let path = served.file(name);
        if !path.exists() {
            break;
        }
        for record in complete(&path).records() {
            if let Record::Command { command, .. } = record.unwrap()
                && let Some((lba, _)) = command.lba_range()
            {
                *counts.entry(lba.0).or_default() += 1;
            }
        }
    }
    counts
}

fn complete(path: &Path) -> Reader {
    for _ in 0..100_000 {
        match Reader::open(path) {
            Ok(reader) if reader.recovery().is_none() => return reader,
            _ => std::thread::yield_now(),
        }
    }
    panic!("{} does not end", path.display());
}

fn replay(directory: &Path, words: &[&str]) -> Command {
    let mut command = vssd();
    let all = ["replay", "day.vtr", "--pace", "max"];
    command.args(all).args(words).current_dir(directory);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(directory: &Path, words: &[&str]) -> Output {
    replay(directory, words).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What it complains of, where it is to be refused.
fn refused(directory: &Path, words: &[&str]) -> String {
    let output = run(directory, words);
    assert_eq!(output.status.code(), Some(2), "{words:?}");
    errors(&output)
}

fn signal(process: &Child, name: &str) {
    let pid = process.id().to_string();
    let status = Command::new("kill").args([name, &pid]).status();
    assert!(status.unwrap().success());
}

#[test]
fn each_device_has_a_recording_of_its_own() {
    let [one, two] = [drive(), drive()];
    let devices = [device(&one), device(&two)];
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    trace(&at("day.vtr"), 500);
    let words = [&devices[0], &devices[1], "--record", "run.vtr"];

    // Where one of them cannot be replayed to, there is no recording of the other.
    let nobody = [&devices[0], "vfio-user:nobody", "--record", "run.vtr"];
    let said = refused(directory.path(), &nobody);
    assert!(said.contains("nobody"), "{said}");
    assert!(!at("run.vtr").exists());
    symlink("nowhere", at("run-2.vtr")).unwrap();
    let said = refused(directory.path(), &words);
    assert!(said.contains("run-2.vtr"), "{said}");
    assert!(!at("run.vtr").exists());
    std::fs::remove_file(at("run-2.vtr")).unwrap();
    std::fs::write(at("run-2.vtr"), "not to be lost").unwrap();
    let said = refused(directory.path(), &words);
    assert!(said.contains("run-2.vtr exists"), "{said}");
    assert!(!at("run.vtr").exists());

    let output = run(directory.path(), &[&words[..], &["--overwrite"]].concat());
    let said = errors(&output);
    assert!(output.status.success(), "{said}");
    let mut serials = Vec::new();
    for (name, device) in ["run.vtr", "run-2.vtr"].iter().zip(&devices) {
        let line = format!("{device}: 500 commands are in {name}");
        assert!(said.contains(&line), "{said}");
        let header = complete(&at(name)).header().clone();
        assert_eq!(header.labels["device"], *device);
        assert_eq!(header.labels["replay of"], "day.vtr");
        serials.push(header.device.serial);
        let mut diff = vssd();
        diff.args(["trace", "diff", "day.vtr", name]);
        let diff = diff.current_dir(directory.path()).output().unwrap();
        assert!(diff.status.success(), "{}", errors(&diff));
    }
    assert_ne!(serials[0], serials[1]);
}

/// The addresses of the last commands of a device, by queue pair, as the
/// monitoring socket tells them; none where it has no queue pairs for I/O.
fn latest(client: &mut UnixStream, device: &str) -> Option<Vec<u64>> {
    let list = call(client, "list_all_qpair", &json!([]));
    let mut lbas = None;
    for queue in list.as_array().unwrap() {
        if queue["ctrlr"] != *device || queue["qid"] == 1 {
            continue;
        }
        let lbas = lbas.get_or_insert_with(Vec::new);
        let log = call(client, "get_cmdlog", &json!([queue["qpair"]]));
        if let Some(line) = log.get(0).and_then(Value::as_str) {
            let dwords = line.split_once('\n').unwrap().1.replace('\n', ", ");
            let dword = dwords.split(", ").nth(10).unwrap();
            lbas.push(u64::from_str_radix(dword.trim_start_matches("0x"), 16).unwrap());
        }
    }
    lbas
}

/// How far a replay has to get.
#[derive(Clone, Copy)]
enum Until {
    /// To a block after this one.
    After(u64),
    /// To its end.
    End,
}

/// Asks `client` until the replay to a device, which has begun, is so far.
#[expect(
    clippy::disallowed_methods,
    reason = "another process has to get that far"
)]
fn wait(client: &mut UnixStream, device: &str, until: Until) {
    for _ in 0..10_000 {
        let is_there = match (latest(client, device), until) {
            (Some(lbas), Until::After(block)) => lbas.iter().any(|lba| *lba > block),
            (lbas, Until::End) => lbas.is_none(),
            (None, Until::After(_)) => false,
        };
        if is_there {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the replay to {device} does not get there");
}

/// A replay to two drives.
struct Pair {
    drives: [Served; 2],
    names: [String; 2],
    directory: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        let drives = [drive(), drive()];
        let names = drives.each_ref().map(device);
        let directory = tempfile::tempdir().unwrap();
        trace(&directory.path().join("day.vtr"), MANY);
        Self {
            drives,
            names,
            directory,
        }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn words<'w>(&'w self, more: &[&'w str]) -> Vec<&'w str> {
        let [one, two] = &self.names;
        [&[one, two, "--resume", "state"], more].concat()
    }

    /// Replays, and stops that once the second drive is `AHEAD` of the first, or at
    /// its end. The first stands still once it was told to read a block after `from`.
    fn interrupt(&self, from: u64, at_end: bool) {
        let words = self.words(&["--iops", RATE, "--monitor", "m"]);
        let process = replay(self.directory.path(), &words).spawn().unwrap();
        let mut client = connect(&self.directory.path().join("m"));
        let [one, two] = &self.names;
        wait(&mut client, one, Until::After(from));
        signal(&self.drives[0].child, "-STOP");
        let last = latest(&mut client, one).unwrap().into_iter().max();
        let after = Until::After(last.unwrap() + AHEAD);
        wait(&mut client, two, if at_end { Until::End } else { after });
        signal(&process, "-INT");
        signal(&self.drives[0].child, "-CONT");
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    }
}

#[test]
fn each_device_goes_on_where_it_stood() {
    let pair = Pair::new();
    let [one, two] = &pair.names;
    pair.interrupt(20, false);
    let place = |index: usize| {
        let text = std::fs::read_to_string(pair.state()).unwrap();
        let state: Value = serde_json::from_str(&text).unwrap();
        let position = &state["devices"][index]["position"];
        let reached = position["reached"]["commands"].as_u64().unwrap();
        position["passes"].as_u64().unwrap() * MANY + reached
    };
    let before = [place(0), place(1)];
    assert!(0 < before[0] && before[0] < before[1], "{before:?}");
    assert!(before[1] < MANY, "{before:?}");

    // Others are not meant.
    let directory = pair.directory.path();
    let third = drive();
    for devices in [&[&**one][..], &[one, &device(&third)]] {
        let said = refused(directory, &[devices, &["--resume", "state"]].concat());
        assert!(
            said.contains("other devices") && said.contains(two.as_str()),
            "{said}"
        );
    }
    let said = refused(directory, &pair.words(&["--only", "read"]));
    assert!(said.contains("other filters"), "{said}");
    assert!(told(&third).is_empty());

    // The second comes to its end, the first does not.
    pair.interrupt(before[0] + 20, true);
    assert!(before[0] < place(0) && place(0) < MANY, "{}", place(0));
    assert_eq!(place(1), MANY);

    let rest = run(directory, &[two, one, "--resume", "state", "--json"]);
    let said = errors(&rest);
    assert!(rest.status.success(), "{said}");
    assert!(
        said.contains(&format!("{two}: nothing is left to replay")),
        "{said}"
    );
    let reports: Value = serde_json::from_slice(&rest.stdout).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), 1, "{reports}");
    assert_eq!(reports[0]["device"], **one);
    assert!(!pair.state().exists(), "it is complete");

    for served in &pair.drives {
        let counts = told(served);
        assert_eq!(counts.len() as u64, MANY);
        let other: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
        assert!(other.is_empty(), "{other:?}");
    }
}
