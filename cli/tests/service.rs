//! The systemd unit that disks are served by, as systemd itself judges it, and
//! what the program asks of the kernel beside what the unit lets it ask.
#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const UNIT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../packaging/systemd/vssd@.service"
);

/// What `program` prints; nothing where it is not installed, which has been said
/// then.
fn output(program: &str, arguments: &[&str], place: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(place);
    let Ok(output) = command.output() else {
        eprintln!("SKIPPED, for {program} is not installed");
        return None;
    };
    let said = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}{error}");
    // A directive that it does not know is only complained of.
    assert!(error.is_empty(), "{arguments:?}: {error}");
    Some(said)
}

/// The unit in a directory of its own, with the program that has just been built.
fn unit() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(UNIT).unwrap();
    let program = format!("ExecStart={} serve ", env!("CARGO_BIN_EXE_vssd"));
    assert!(text.contains("\nExecStart=vssd serve "));
    let here = text.replace("ExecStart=vssd serve ", &program);
    fs::write(directory.path().join("vssd@.service"), here).unwrap();
    (directory, text)
}

#[test]
fn systemd_understands_the_unit() {
    let (directory, _) = unit();
    output(
        "systemd-analyze",
        &["verify", "--man=no", "./vssd@disk.service"],
        directory.path(),
    );
}

#[test]
fn systemd_finds_little_to_say_against_the_sandbox() {
    let (directory, _) = unit();
    // Of 100; it was 6 when this was written. Under 20 is `SAFE`.
    let arguments = [
        "security",
        "--offline=true",
        "--threshold=15",
        "--no-pager",
        "./vssd@.service",
    ];
    if let Some(said) = output("systemd-analyze", &arguments, directory.path()) {
        assert!(said.contains("SAFE"), "{said}");
    }
}

/// The system calls that `SystemCallFilter=` in `unit` allows.
fn allowed(unit: &str) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="));
    for line in lines {
        let (is_refused, names) = match line.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, line),
        };
        for name in names.split_whitespace() {
            for call in calls_of(name)? {
                if is_refused {
                    all.remove(&call);
                } else {
                    all.insert(call);
                }
            }
        }
    }
    // systemd allows these in any list.
    all.extend(calls_of("@default")?);
    Some(all)
}

/// The system calls of a set, and of those it is made of.
fn calls_of(name: &str) -> Option<Vec<String>> {
    if !name.starts_with('@') {
        return Some(vec![name.to_owned()]);
    }
    let listed = output(
        "systemd-analyze",
        &["syscall-filter", name, "--no-pager"],
        Path::new("/"),
    )?;
    let lines = listed.lines().skip(1).map(str::trim);
    let mut all = Vec::new();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        all.extend(calls_of(line)?);
    }
    Some(all)
}

/// A `vssd serve` that strace writes about, until it is dropped.
struct Traced {
    strace: Child,
    log: PathBuf,
}

impl Traced {
    /// Has it end by `signal`. It is the process that the first line is about.
    fn end(&self, signal: &str) {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        if let Some(process) = text.split_whitespace().next() {
            drop(Command::new("kill").args([signal, process]).status());
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if matches!(self.strace.try_wait(), Ok(None)) {
            self.end("-KILL");
            drop(self.strace.kill());
            drop(self.strace.wait());
        }
    }
}

/// The system calls of a `vssd serve` with `words`, while a driver works on it.
fn asked_for(words: &[&str]) -> Option<BTreeSet<String>> {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("calls");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o"])
        .arg(&log)
        .args([env!("CARGO_BIN_EXE_vssd"), "serve", "--vfio-user", "s"])
        .args(words)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let Ok(strace) = strace.spawn() else {
        eprintln!("SKIPPED, for strace is not installed");
        return None;
    };
    let mut traced = Traced { strace, log };
    let mut said = traced.strace.stdout.take().unwrap();
    // What it prints comes when the socket is there.
    if std::io::Read::read_exact(&mut said, &mut [0]).is_err() {
        let calls = calls_in(&traced.log);
        assert!(calls.is_empty(), "vssd serve {words:?} has ended by itself");
        eprintln!("SKIPPED, for strace may not trace here");
        return None;
    }
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    let load = Command::new(env!("CARGO_BIN_EXE_vssd"))
        .args(["ioworker", "vfio-user:s", "--read", "50"])
        .args(["--io-size", "4KiB", "--time", "1s"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&load.stderr);
    assert!(load.status.success(), "{error}");
    traced.end("-TERM");
    assert!(traced.strace.wait().unwrap().success());
    Some(calls_in(&traced.log))
}

/// The names in what strace has written.
fn calls_in(log: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let (_, call) = line.split_once(' ')?;
        let (name, _) = call.trim_start().split_once('(')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
    });
    lines.collect()
}

#[test]
fn what_serving_asks_of_the_kernel_is_allowed() {
    let Some(allowed) = allowed(&fs::read_to_string(UNIT).unwrap()) else {
        return;
    };
    let own = tempfile::tempdir().unwrap();
    let group = fs::metadata(own.path()).unwrap().gid().to_string();
    let kinds: [&[&str]; 3] = [
        &[
            "raw.img", "--create", "64M", "--record", "day.vtr", "--core", "0",
        ],
        &["disk.qcow2", "--create", "64M", "--socket-group", &group],
        &["ram:64M", "--control", "c", "--poll", "interrupt"],
    ];
    let mut all = BTreeSet::new();
    for words in kinds {
        let Some(asked) = asked_for(words) else {
            return;
        };
        let refused: Vec<_> = asked.difference(&allowed).collect();
        assert!(refused.is_empty(), "{words:?} asks for {refused:?}");
        all.extend(asked);
    }
    // Each of these is allowed by name, for this.
    for special in ["io_uring_enter", "sched_setaffinity"] {
        assert!(all.contains(special), "{special} is not asked for");
    }
    assert!(all.contains("chown") || all.contains("fchownat"));
    assert!(!allowed.contains("mount") && !allowed.contains("setuid"));
}
