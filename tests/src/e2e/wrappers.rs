//! Programs that start others: where a server is to see what others do not.

use std::process::{Command, ExitStatus, Stdio};

/// A command that runs another one where it can mount what others do not see; none
/// where that is not allowed.
#[must_use]
pub fn own_mounts() -> Option<Vec<&'static str>> {
    let ways: [&[&str]; 2] = [
        &["unshare", "--mount"],
        &["unshare", "--user", "--map-root-user", "--mount"],
    ];
    let works = |way: &[&str]| {
        let (program, arguments) = way.split_first()?;
        let tried = Command::new(program)
            .args(arguments)
            .args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"])
            .stderr(Stdio::null())
            .status();
        tried.ok().filter(ExitStatus::success)
    };
    ways.iter()
        .find(|way| works(way).is_some())
        .map(|way| way.to_vec())
}

/// A command that runs another one, whose calls of `calls` (as strace names them) fail
/// with `error`, all of them from number `from` on and then each `every`th; none where
/// strace is not to be had. The process is the one that was started.
#[must_use]
pub fn failing_calls(calls: &str, error: &str, (from, every): (u32, u32)) -> Option<Vec<String>> {
    let tried = Command::new("strace")
        .args(["-D", "-f", "-qq", "-e", "trace=none", "true"])
        .stderr(Stdio::null())
        .status();
    tried.ok().filter(ExitStatus::success)?;
    let words = [
        "strace",
        // As a grandchild, so that signals reach whom they are for.
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={calls}"),
        "-e",
        &format!("inject={calls}:error={error}:when={from}+{every}"),
    ];
    Some(words.map(str::to_owned).to_vec())
}
