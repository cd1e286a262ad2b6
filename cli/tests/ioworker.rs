//! `vssd ioworker` on a `vssd serve`, as people run it: data that is verified,
//! and a load that is recorded.

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Served, vssd};
use serde_json::Value;

/// A device, and the program at work on it.
struct Bench(Served);

impl Bench {
    fn start() -> Self {
        Self(Served::start(&["disk.img", "--create", "16M"]))
    }

    /// `vssd ioworker` on the device with these words, not yet started.
    fn ioworker(&self, words: &[&str]) -> Command {
        let mut command = vssd();
        command
            .args(["ioworker", "vfio-user:s"])
            .args(words)
            .current_dir(self.0.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.ioworker(words).output().unwrap()
    }

    fn json(&self, file: &str) -> Value {
        let mut command = vssd();
        command.args(["trace", "info", file, "--json"]);
        let output = command
            .current_dir(self.0.directory.path())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The standard output of a run that ends with this status.
fn said(output: &Output, code: i32) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{errors}{text}");
    text.into_owned()
}

/// A job that writes 1 MiB in order, and reads it for a while.
const JOB: &str = r#"
[defaults]
verify = true
region = "0..1MiB"

[[worker]]
phase = "fill"
read_percentage = 0
lba_random = 0
passes = 1
qdepth = 1

[[worker]]
phase = "read"
workers = 2
time = "4s"
iops = 1000
"#;

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "another process has to get that far"
)]
fn a_file_that_is_corrupted_under_a_job_is_found() {
    let served = Bench::start();
    std::fs::write(served.0.file("job.toml"), JOB).unwrap();
    let clean = served.run(&["--job", "job.toml", "--json"]);
    let clean: Value = serde_json::from_str(&said(&clean, 0)).unwrap();
    let read = &clean["phases"][1]["total"];
    assert!(read["verified_blocks"].as_u64().unwrap() > 10_000, "{read}");
    assert_eq!(
        (&read["skipped_blocks"], &read["mismatched_blocks"]),
        (&0.into(), &0.into())
    );

    let disk = OpenOptions::new()
        .read(true)
        .write(true)
        .open(served.0.file("disk.img"));
    let disk = disk.unwrap();
    for json in [true, false] {
        // The last block is empty until the device is full.
        disk.write_all_at(&[0; 512], 2047 * 512).unwrap();
        let words = ["--job", "job.toml", "--json"];
        let child = served
            .ioworker(&words[..if json { 3 } else { 2 }])
            .spawn()
            .unwrap();
        let mut block = [0; 512];
        for _ in 0..1200 {
            disk.read_exact_at(&mut block, 2047 * 512).unwrap();
            if block != [0; 512] {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_ne!(block, [0; 512], "nothing was written");
        disk.read_exact_at(&mut block, 1234 * 512).unwrap();
        block[100] ^= 1;
        disk.write_all_at(&block, 1234 * 512).unwrap();
        let text = said(&child.wait_with_output().unwrap(), 1);
        if json {
            let report: Value = serde_json::from_str(&text).unwrap();
            let read = &report["phases"][1]["total"];
            assert!(read["verified_blocks"].as_u64().unwrap() > 10_000, "{read}");
            assert!(read["mismatched_blocks"].as_u64().unwrap() > 0, "{read}");
            assert!(read["errors"].as_u64().unwrap() > 0, "{read}");
            let mismatch = &read["mismatches"][0];
            assert_eq!(mismatch["lba"], 1234, "{mismatch}");
            assert_eq!(mismatch["found_lba"], 1234, "{mismatch}");
            assert_ne!(mismatch["expected_crc"], mismatch["found_crc"]);
            // Eight blocks a command.
            assert_eq!(mismatch["writer_command"], 1234 / 8, "{mismatch}");
            assert_eq!(mismatch["writer_queue"], 1, "{mismatch}");
        } else {
            assert!(
                text.contains(" blocks were read back, and right; "),
                "{text}"
            );
            let line = text
                .lines()
                .find(|line| line.starts_with("LBA 1234 is wrong: "));
            let line = line.unwrap_or_else(|| panic!("{text}"));
            assert!(line.contains("by command 154 of queue 1, cid "), "{line}");
            assert!(
                line.contains("Write nsid 1 lba 1232 blocks 8: Success"),
                "{line}"
            );
        }
    }
}

#[test]
fn a_worker_that_would_spoil_the_verification_is_refused() {
    let served = Bench::start();
    let job = "[[worker]]\nverify = true\nio_count = 1\nregion = \"0..100\"\n\
        [[worker]]\nname = \"spoiler\"\nread_percentage = 0\nio_count = 1\nregion = ";
    std::fs::write(served.0.file("bad.toml"), format!("{job}\"99..200\"")).unwrap();
    let output = served.run(&["--job", "bad.toml"]);
    said(&output, 2);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains("spoiler: it changes blocks 99..200"),
        "{complaint}"
    );
    std::fs::write(served.0.file("good.toml"), format!("{job}\"100..200\"")).unwrap();
    said(&served.run(&["--job", "good.toml"]), 0);
}

#[test]
fn a_load_is_recorded_whole() {
    let served = Bench::start();
    let mix = r#"op_percentage={ read = 50, write = 40, trim = 10 }"#;
    let words = [
        "--set",
        mix,
        "-n",
        "3000",
        "--workers",
        "3",
        "--json",
        "--record",
        "load.vtr",
    ];
    let report: Value = serde_json::from_str(&said(&served.run(&words), 0)).unwrap();
    let total = &report["phases"][0]["total"];
    assert_eq!(total["commands"], 9000);
    let info = served.json("load.vtr");
    let summary = &info["summary"];
    assert_eq!(summary["commands"], total["commands"], "{summary}");
    assert_eq!(
        (&summary["end"], &summary["lost"]),
        (&"clean".into(), &0.into()),
        "{summary}"
    );
    let queues = summary["queues"].as_object().unwrap();
    let counts: Vec<_> = queues
        .values()
        .map(|count| count.as_u64().unwrap())
        .collect();
    assert_eq!(counts, [3000; 3], "{summary}");
    assert_eq!(info["header"]["device"]["model"], "vssd virtual NVMe SSD");
    assert_eq!(info["header"]["namespaces"][0]["blocks"], 32768);

    let words = ["-n", "10", "--record", "load.vtr"];
    said(&served.run(&words), 2);
    assert_eq!(served.json("load.vtr")["summary"]["commands"], 9000);
    said(&served.run(&[&words[..], &["--overwrite"]].concat()), 0);
    assert_eq!(served.json("load.vtr")["summary"]["commands"], 10);
}
