//! Real crashes and a real full disk.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{command, record};
use recorder::{Recorder, RecorderOptions};
use traces::{End, Header, Reader, Tap};

/// Set for the process that records until it is killed: where to.
const VICTIM: &str = "RECORDER_TEST_VICTIM";

/// Not a test by itself: the process that `kill -9` below ends.
#[test]
#[expect(clippy::disallowed_methods, reason = "a real process in real time")]
#[expect(clippy::print_stdout, reason = "tells the test how far it is")]
fn a_victim_records_until_it_is_killed() {
    let Some(path) = std::env::var_os(VICTIM) else {
        return;
    };
    let mut options = RecorderOptions::default();
    options.block_open_max = Duration::from_millis(50);
    let (_handle, mut tap) = Recorder::start(path, &Header::default(), options).unwrap();
    // More than a block, so that the last one is not full.
    for sequence in 0..20_000 {
        let (command, ranges) = command(sequence);
        tap.command(&command, &ranges);
    }
    println!("\nall given");
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a real process in real time")]
fn kill_9_costs_at_most_what_was_recorded_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("killed.vtr");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "crash::a_victim_records_until_it_is_killed",
            "--exact",
            "--nocapture",
        ])
        .env(VICTIM, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let told = lines.by_ref().find(|line| line == "all given");
    assert!(told.is_some());
    // Twice the time that a block may stay open, and some for a busy machine.
    std::thread::sleep(Duration::from_millis(500));
    victim.kill().unwrap();
    victim.wait().unwrap();
    let reader = Reader::open(&path).unwrap();
    assert!(reader.is_recovered());
    assert_eq!(reader.totals().end, End::Cut);
    let recovery = reader.recovery().unwrap();
    assert_eq!(recovery.records, 20_000, "{recovery}");
    let mut count = 0;
    for (sequence, seen) in (0..).zip(reader.records()) {
        assert_eq!(seen.unwrap(), record(sequence));
        count += 1;
    }
    assert_eq!(count, recovery.records);
}

/// A file system of a few hundred KiB, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where this process may not mount.
    fn mount(at: &Path, bytes: usize) -> Option<Self> {
        let flags = rustix::mount::MountFlags::empty();
        let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        rustix::mount::mount("tmpfs", at, "tmpfs", flags, size.as_c_str()).ok()?;
        Some(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
fn a_disk_that_is_really_full_ends_the_recording_and_not_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path(), 512 * 1024) else {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    };
    let path = disk.0.join("full.vtr");
    let (handle, mut tap) =
        Recorder::start(&path, &Header::default(), RecorderOptions::default()).unwrap();
    for sequence in 0..200_000 {
        let (command, ranges) = command(sequence);
        tap.command(&command, &ranges);
    }
    let error = handle.stop().unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
    assert!(error.contains("the trace is good up to there"), "{error}");
    let reader = Reader::open(&path).unwrap();
    let totals = reader.totals();
    if !reader.is_recovered() {
        assert!(matches!(&totals.end, End::Stopped(reason) if reason.contains("No space")));
    }
    assert!(totals.commands > 0);
    for (sequence, seen) in (0..totals.commands).zip(reader.records()) {
        assert_eq!(seen.unwrap(), record(sequence));
    }
}
