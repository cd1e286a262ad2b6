//! `vssd device` on a `vssd serve`, as people run it.

mod common;

use std::process::Output;

use common::{Served, vssd};
use serde_json::Value;

/// A device, and the program at work on it.
struct Bench(Served);

impl Bench {
    fn start() -> Self {
        Self(Served::start(&["ram:16M"]))
    }

    fn name(&self) -> String {
        format!("vfio-user:{}", self.0.file("s").display())
    }

    /// Runs `vssd device WORDS`, with DEVICE for the device, and FILE: for the
    /// directory of files.
    fn run(&self, words: &str) -> Output {
        let words = words.split(' ').map(|word| match word {
            "DEVICE" => self.name(),
            word => match word.strip_prefix("FILE:") {
                Some(name) => self.0.file(name).display().to_string(),
                None => word.to_owned(),
            },
        });
        let output = vssd().arg("device").args(words).output();
        output.unwrap()
    }

    /// What a command that succeeds prints.
    fn says(&self, words: &str) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{words}: {}: {said}",
            output.status
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.says(words)).unwrap()
    }

    /// The exit status and the complaint of a command that fails.
    fn refuses(&self, words: &str) -> (Option<i32>, String) {
        let output = self.run(words);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    }
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|at| at == line), "{line:?}: {text}");
}

#[test]
fn a_device_is_identified_in_text_and_json() {
    let served = Bench::start();
    has(
        &served.says("identify DEVICE"),
        "Namespace 1          16 MiB: 32768 blocks of 512 bytes",
    );
    let controller = served.says("identify DEVICE --controller");
    has(&controller, "NVME Identify Controller:");
    has(&controller, "cntrltype : 1");
    has(&controller, "sqes      : 0x66");
    assert_eq!(
        served.json("identify DEVICE --controller --json")["cqes"],
        0x44
    );
    let namespace = served.says("identify DEVICE --namespace 1");
    has(&namespace, "nsze    : 0x8000");
    has(&served.says("identify DEVICE --cns 2"), "[   0]:0x1");
    let raw = served.says("identify DEVICE --cns 3 --nsid 1");
    assert!(raw.contains("0000:   01 08 00 00"), "{raw}");
    let list = served.json("ns list DEVICE --json");
    assert_eq!(list["namespaces"][0]["bytes"], 16 << 20);
}

#[test]
fn health_logs_and_features_are_told() {
    let served = Bench::start();
    let smart = served.json("smart DEVICE --json");
    assert_eq!(smart["available_spare"], 100);
    assert_eq!(smart["data_units_read"], 0);
    let effects = served.says("log DEVICE commands");
    assert!(effects.contains("ACS6   [Identify]"), "{effects}");
    served.says("log DEVICE smart -o FILE:smart");
    assert_eq!(std::fs::read(served.0.file("smart")).unwrap().len(), 512);
    let queues = served.json("feature get DEVICE number-of-queues --json");
    assert_eq!(queues["fields"]["number_of_io_submission_queues_nsqa"], 64);
    let all = served.says("feature get DEVICE");
    has(
        &all,
        "get-feature:0x06 (Volatile Write Cache), Current value:0x00000001",
    );
    let set = served.says("feature set DEVICE temperature 0x150");
    has(
        &set,
        "set-feature:0x04 (Temperature Threshold), value:0x00000150, result:0x0",
    );
    let (code, said) = served.refuses("log DEVICE 0xef");
    assert_eq!(code, Some(2));
    assert!(said.contains("Invalid Log Page"), "{said}");
    assert!(
        said.contains(&format!("`vssd device log {} 0`", served.name())),
        "{said}"
    );
    let (code, said) = served.refuses("log DEVICE nonsense");
    assert_eq!(code, Some(2));
    assert!(said.contains("smart-health-information"), "{said}");
}

#[test]
fn nothing_is_lost_without_a_word() {
    let served = Bench::start();
    std::fs::write(served.0.file("data"), [0x5a; 512]).unwrap();
    let write = "raw DEVICE --io --opcode 1 --nsid 1 --write FILE:data";
    let read = "raw DEVICE --io --opcode 2 --nsid 1 --read 512 -o FILE:back";
    served.says(&format!("{write} --yes"));
    for words in [
        "format DEVICE --namespace 1",
        "sanitize start DEVICE block",
        "ns delete DEVICE 1",
        "firmware commit DEVICE --slot 1",
        "firmware download DEVICE FILE:data",
        "raw DEVICE --opcode 0x80 --nsid 1",
        "raw DEVICE --io --opcode 8 --nsid 1",
        write,
    ] {
        let (code, said) = served.refuses(words);
        assert_eq!(code, Some(2), "{words}: {said}");
        assert!(said.contains(&served.name()), "{words}: {said}");
        assert!(said.contains("--yes"), "{words}: {said}");
    }
    served.says(read);
    assert_eq!(std::fs::read(served.0.file("back")).unwrap(), [0x5a; 512]);
}

#[test]
fn raw_commands_have_results_and_statuses() {
    let served = Bench::start();
    let identify = served.says("raw DEVICE --opcode 6 --cdw10 1 --read 16");
    assert!(identify.contains("0000:   36 1b"), "{identify}");
    let beyond = served.run("raw DEVICE --io --opcode 2 --nsid 1 --cdw11 7 --read 512");
    assert_eq!(beyond.status.code(), Some(1));
    let said = String::from_utf8(beyond.stdout).unwrap();
    assert!(said.contains("LBA Out of Range (080h)"), "{said}");
    // Each run resets the controller; so does this one, and the next works.
    let reset = served.says("reset DEVICE");
    assert!(reset.contains("the controller was reset"), "{reset}");
    served.says("reset DEVICE --function");
    served.says("smart DEVICE");
}

#[test]
fn a_format_changes_the_blocks_and_loses_the_data() {
    let served = Bench::start();
    std::fs::write(served.0.file("data"), [0x5a; 512]).unwrap();
    served.says("raw DEVICE --io --opcode 1 --nsid 1 --write FILE:data --yes");
    let done = served.says("format DEVICE --namespace 1 --block-size 4096 --yes");
    assert!(done.contains("formatted namespace 1"), "{done}");
    let list = served.json("ns list DEVICE --json");
    assert_eq!(list["namespaces"][0]["block_bytes"], 4096);
    served.says("raw DEVICE --io --opcode 2 --nsid 1 --read 4096 -o FILE:back");
    let back = std::fs::read(served.0.file("back")).unwrap();
    assert_eq!(back, [0; 4096]);
    let (code, said) = served.refuses("format DEVICE -n 1 --block-size 1234 --yes");
    assert_eq!(code, Some(2));
    assert!(said.contains("1234 bytes"), "{said}");
}

#[test]
fn a_sanitize_is_waited_for() {
    let served = Bench::start();
    let before = served.json("sanitize status DEVICE --json");
    assert_eq!(before["sanitize_status_sstat"], 0);
    std::fs::write(served.0.file("data"), [0x5a; 512]).unwrap();
    served.says("raw DEVICE --io --opcode 1 --nsid 1 --write FILE:data --yes");
    let done = served.says("sanitize start DEVICE block --yes");
    assert!(done.ends_with(": sanitized\n"), "{done}");
    let after = served.says("sanitize status DEVICE --wait");
    assert!(after.contains("(sanitized)"), "{after}");
    served.says("raw DEVICE --io --opcode 2 --nsid 1 --read 512 -o FILE:back");
    assert_eq!(std::fs::read(served.0.file("back")).unwrap(), [0; 512]);
}

#[test]
fn a_self_test_goes_on_until_it_is_aborted() {
    let served = Bench::start();
    served.says("selftest start DEVICE extended --detach");
    let log = served.json("selftest log DEVICE --json");
    assert_eq!(log["current_operation"], 2);
    served.says("selftest abort DEVICE");
    let log = served.json("selftest log DEVICE --json");
    assert_eq!(log["current_operation"], 0);
    assert_eq!(log["results"][0]["self_test_code"], 2);
    assert_eq!(log["results"][0]["operation_result"], 1);
    let (code, said) = served.refuses("selftest start DEVICE short --detach");
    assert_eq!((code, said.contains("leave out --detach")), (Some(2), true));
}

#[test]
fn persistent_events_are_told() {
    let served = Bench::start();
    served.says("feature set DEVICE temperature 0x150");
    let events = served.says("log DEVICE persistent");
    has(
        &events,
        "Event Type                  : 0x4 (Power-on or Reset)",
    );
    has(&events, "  Controller ID             : 0x1");
    has(&events, "Event Type                  : 0xb (Set Feature)");
    has(&events, "Command Dword 11            : 0x150");
}

#[test]
fn namespaces_come_and_go() {
    let served = Bench::start();
    let ids = |words: &str| {
        let list = served.json(words);
        let list = list["namespaces"].as_array().cloned().unwrap();
        list.iter().map(|at| at["nsid"].clone()).collect::<Vec<_>>()
    };
    served.says("ns delete DEVICE 1 --yes");
    assert!(ids("ns list DEVICE --json").is_empty());
    let created = served.says("ns create DEVICE --size 8M --block-size 4096");
    assert!(created.ends_with(": created namespace 1\n"), "{created}");
    served.says("ns create DEVICE --size 4M --detached");
    assert_eq!(ids("ns list DEVICE --json"), [1]);
    assert_eq!(ids("ns list DEVICE --all --json"), [1, 2]);
    served.says("ns attach DEVICE 2");
    served.says("ns detach DEVICE 1");
    assert_eq!(ids("ns list DEVICE --json"), [2]);
    let (code, said) = served.refuses("ns create DEVICE --size 1T");
    assert_eq!(code, Some(2));
    assert!(said.contains("choose a smaller size"), "{said}");
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let words = ["device", "smart", "vfio-user:/nowhere/socket"];
    let output = vssd().args(words).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/nowhere/socket"), "{said}");
}
