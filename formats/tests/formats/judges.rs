//! The formats' own programs, where this machine has them.

#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

use std::fs;
use std::path::Path;
use std::process::Command;

use formats::{ImportOptions, Io, Operation};
use traces::{Reader, Record};

use crate::common::{export, import, trace};

/// Whether `program` is here; says so where it is not.
fn is_here(program: &str) -> bool {
    let here = Command::new(program).arg("--version").output().is_ok()
        || Command::new(program).arg("-V").output().is_ok();
    if !here {
        eprintln!("left out: there is no {program} here; apt-get install {program}");
    }
    here
}

/// Reads and writes of all kinds.
fn work() -> Vec<Io> {
    (0..200_u64)
        .map(|number| {
            let operation = match number % 10 {
                0..5 => Operation::Read,
                5..8 => Operation::Write,
                8 => Operation::Flush,
                _ => Operation::Discard,
            };
            let place = number * 7919 % 1000 * 4096;
            let length = (number % 4 + 1) * 4096;
            let mut io = match operation {
                Operation::Flush => Io::new(number * 100_000, operation, 0, 0),
                _ => Io::new(number * 100_000, operation, place, length),
            };
            io.latency_ns = Some(30_000);
            io.queue = u16::try_from(number % 3 + 1).unwrap();
            io.fua = number % 50 == 5;
            io
        })
        .collect()
}

/// Time, latency, opcode, place, queue, force unit access.
type Seen = (u64, Option<u64>, u8, Option<(u64, u32)>, u16, bool);

fn seen(reader: &Reader) -> Vec<Seen> {
    let mut seen: Vec<Seen> = reader
        .records()
        .map(|record| match record.unwrap() {
            Record::Command {
                command, ranges, ..
            } => {
                let of_range = |it: &nvme::DsmRange| (it.lba().0, it.blocks.get());
                let own = command.lba_range().map(|(lba, blocks)| (lba.0, blocks));
                (
                    command.submit_ns,
                    command.latency_ns(),
                    command.opcode,
                    own.or(ranges.first().map(of_range)),
                    command.queue.0,
                    command.fua(),
                )
            }
            other => panic!("{other:?}"),
        })
        .collect();
    seen.sort_unstable();
    seen
}

fn read_back(path: &Path, format: &str) -> Reader {
    let format = formats::find(format).unwrap();
    import(path, format, &ImportOptions::default()).unwrap().0
}

#[test]
fn blkparse_reads_what_is_written_for_it() {
    if !is_here("blkparse") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // One file is one processor's.
    let mut work = work();
    work.iter_mut().for_each(|io| io.queue = 1);
    let original = trace(&work);
    let binary = directory.path().join("disk.blktrace.0");
    let notes = export(&original, formats::find("blktrace").unwrap(), &binary);
    assert!(notes.is_empty(), "{notes}");
    let output = Command::new("blkparse")
        .args(["-q", "-i", "disk"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = directory.path().join("disk.txt");
    fs::write(&text, &output.stdout).unwrap();
    let by_blkparse = seen(&read_back(&text, "blkparse"));
    assert!(
        by_blkparse == seen(&original),
        "{} of 200",
        by_blkparse.len()
    );
    assert_eq!(seen(&read_back(&binary, "blktrace")), by_blkparse);
    // By the base of its name, too.
    assert_eq!(
        seen(&read_back(&directory.path().join("disk"), "blktrace")),
        by_blkparse
    );
}

/// fio's counts of reads and writes, after a replay of `log`. It leaves out the
/// discards of a log, without a word.
fn replayed_by_fio(directory: &Path, log: &str) -> [u64; 2] {
    let output = Command::new("fio")
        .args(["--name=replay", "--ioengine=null", "--output-format=json"])
        .args(["--replay_no_stall=1", "--replay_redirect=disk"])
        .arg(format!("--read_iolog={log}"))
        .current_dir(directory)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let count = |what: &str| {
        let part = text.split(&format!("\"{what}\" : {{")).nth(1).unwrap();
        let number = part.split("\"total_ios\" : ").nth(1).unwrap();
        number.split(',').next().unwrap().trim().parse().unwrap()
    };
    ["read", "write"].map(count)
}

#[test]
fn fio_replays_what_is_written_for_it() {
    if !is_here("fio") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("disk"), vec![0; 8 << 20]).unwrap();
    let original = trace(&work());
    for format in ["fio", "fio2"] {
        let log = directory.path().join(format);
        export(&original, formats::find(format).unwrap(), &log);
        assert_eq!(
            replayed_by_fio(directory.path(), format),
            [100, 60],
            "{format}"
        );
    }
}

#[test]
fn fio_keeps_the_first_gap() {
    if !is_here("fio") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("disk"), vec![0; 1 << 20]).unwrap();
    let ios = [0, 700_000_000].map(|at_ns| Io::new(at_ns, Operation::Read, 4096, 4096));
    let log = directory.path().join("log");
    export(&trace(&ios), formats::find("fio").unwrap(), &log);
    let output = Command::new("fio")
        .args(["--name=replay", "--ioengine=psync", "--output-format=json"])
        .args(["--replay_redirect=disk", "--read_iolog=log"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let runtime = text.split("\"job_runtime\" : ").nth(1).unwrap();
    let runtime_ms: u64 = runtime.split(',').next().unwrap().trim().parse().unwrap();
    // It can only take longer.
    assert!(runtime_ms >= 690, "{runtime_ms} ms");
}

#[test]
fn what_fio_writes_is_read() {
    if !is_here("fio") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("fio")
        .args(["--name=work", "--filename=disk", "--size=4m", "--rw=randrw"])
        .args([
            "--bs=4k",
            "--io_size=256k",
            "--write_iolog=log",
            "--ioengine=psync",
        ])
        .args(["--output-format=terse", "--randseed=7"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = directory.path().join("log");
    let read = seen(&read_back(&log, "fio"));
    // Against the text, taken apart here.
    let text = fs::read_to_string(&log).unwrap();
    let mut lines: Vec<(u64, u8, u64)> = text
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [time, _, action, offset, "4096"] = fields.as_slice() else {
                return None;
            };
            let opcode = if *action == "read" { 2 } else { 1 };
            Some((time.parse().unwrap(), opcode, offset.parse().unwrap()))
        })
        .collect();
    let origin = lines.iter().map(|it| it.0).min().unwrap();
    lines
        .iter_mut()
        .for_each(|it| it.0 = (it.0 - origin) * 1_000);
    lines.sort_unstable();
    let mut found: Vec<(u64, u8, u64)> = read
        .iter()
        .map(|it| (it.0, it.2, it.3.unwrap().0 * 512))
        .collect();
    found.sort_unstable();
    assert_eq!(found, lines);
    assert_eq!(found.len(), 64);
}

#[test]
fn python_opens_the_archive_of_a_vtracer_recording() {
    if !is_here("python3") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording.png");
    export(&trace(&work()), formats::find("vtracer").unwrap(), &path);
    let script = "import sys, zipfile\n\
                  archive = zipfile.ZipFile(sys.argv[1])\n\
                  assert archive.testzip() is None\n\
                  print(sorted(archive.namelist()))\n\
                  print(sum(archive.read(it).count(b'\\n') for it in archive.namelist()))\n";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "['tmp/pynvme_trace/0/1', 'tmp/pynvme_trace/0/2', 'tmp/pynvme_trace/0/3']\n200\n"
    );
}
