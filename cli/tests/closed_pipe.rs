//! A reader that goes away is no failure: `vssd ... | head`.

mod common;

use std::process::{Command, Stdio};

use common::{Served, vssd};

/// Runs `command` with nobody to read what it prints.
fn ends_quietly(command: &mut Command) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = (command.stdout(writer).stderr(Stdio::piped()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}: {said}",
        output.status
    );
    assert!(said.is_empty(), "{command:?}: {said}");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    ends_quietly(vssd().args(["generate", "completions", "bash"]));
}

#[test]
fn what_a_drive_said_may_go_to_nobody() {
    let served = Served::start(&["ram:64M", "--control", "c"]);
    let (here, control) = (served.directory.path(), served.file("c"));
    for words in ["stats", "stats --json", "record status"] {
        let words = words.split(' ');
        ends_quietly(vssd().arg("ctl").arg(&control).args(words));
    }
    for form in [&[][..], &["--json"]] {
        let load = ["ioworker", "vfio-user:s", "--count", "10"];
        ends_quietly(vssd().args(load).args(form).current_dir(here));
    }
}
