//! What is written, recorded by `vssd serve`, told by `vssd trace` and written
//! again by `vssd replay`, as people run them.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Served, vssd};
use serde_json::Value;

/// Runs the program with these words in `directory`: its standard output.
fn run(directory: &Path, words: &[&str]) -> String {
    let output = tried(directory, words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn tried(directory: &Path, words: &[&str]) -> Output {
    let mut command: Command = vssd();
    command.args(words).current_dir(directory);
    command.output().unwrap()
}

/// What `trace info` says once the session is over and `day.vtr` complete.
fn recorded(directory: &Path) -> Value {
    for _ in 0..1_000 {
        let text = run(directory, &["trace", "info", "day.vtr", "--json"]);
        let info: Value = serde_json::from_str(&text).unwrap();
        if info["recovery"].is_null() {
            return info;
        }
    }
    panic!("the recording does not end");
}

#[test]
fn an_image_is_the_same_after_a_replay_of_what_was_recorded() {
    for kind in ["data", "hash"] {
        let record = ["--record", "day.vtr", "--payload", kind];
        let disk = [&["disk.img", "--create", "4M"][..], &record].concat();
        let source = Served::start(&disk);
        let directory = source.directory.path();
        let load = "--read 0 --io-size 8 --qdepth 1 --count 500 --set ptype=0xbeef --set pvalue=50";
        let words = ["ioworker", "vfio-user:s"].into_iter();
        let words: Vec<&str> = words.chain(load.split(' ')).collect();
        run(directory, &words);
        let info = recorded(directory);
        let trace = directory.join("day.vtr");
        assert_eq!(info["payload"]["commands"], 500, "{info}");
        assert_eq!(info["header"]["payload"]["kind"], kind);
        let text = run(directory, &["trace", "info", "day.vtr"]);
        assert!(text.contains("500 writes"), "{text}");
        let stats = run(directory, &["trace", "stats", "day.vtr"]);
        assert!(stats.contains("duplicates"), "{stats}");
        let page = ["trace", "report", "day.vtr", "-o", "day.html"];
        run(directory, &page);
        let page = std::fs::read_to_string(directory.join("day.html")).unwrap();
        assert!(page.contains("What was written"));

        let target = Served::start(&["disk.img", "--create", "4M"]);
        std::fs::copy(&trace, target.file("day.vtr")).unwrap();
        let replay = [
            "replay",
            "day.vtr",
            "vfio-user:s",
            "--pace",
            "max",
            "--depth",
            "1",
        ];
        let report = run(target.directory.path(), &replay);
        assert!(
            report.contains("Writes carried what was recorded"),
            "{report}"
        );
        let image = |served: &Served| std::fs::read(served.file("disk.img")).unwrap();
        let same = image(&source) == image(&target);
        assert_eq!(same, kind == "data");
    }
}

#[test]
fn what_is_left_out_is_told_and_what_is_not_there_is_refused() {
    let disk = [
        "disk.img",
        "--create",
        "1M",
        "--record",
        "day.vtr",
        "--payload",
        "hash",
    ];
    let served = Served::start(&disk);
    let directory = served.directory.path();
    run(
        directory,
        &["ioworker", "vfio-user:s", "--read", "0", "--count", "20"],
    );
    recorded(directory);
    let output = tried(
        directory,
        &["trace", "anonymize", "day.vtr", "a.vtr", "--seed", "1"],
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("left out"), "{errors}");
    let output = tried(directory, &["trace", "convert", "day.vtr", "day.csv"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("left out"), "{errors}");
    let words = ["replay", "a.vtr", "vfio-user:s", "--data", "recorded"];
    let output = tried(directory, &words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.contains("--payload data"), "{errors}");
}
