//! The program under test.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// How to get it, for whoever has not.
const BUILD: &str = "cargo build --release --package vssd-cli";

/// The `vssd` to test: the one that `VSSD_BIN` names, else the optimised one in
/// the target directory that this test was built in, else the one beside it.
///
/// # Panics
///
/// Where there is none; the message says how to build it.
#[must_use]
pub fn vssd_program() -> PathBuf {
    if let Some(path) = env::var_os("VSSD_BIN").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "VSSD_BIN names {}, which is no file",
            path.display()
        );
        return path;
    }
    // target/debug/deps/e2e_boot-0123456789abcdef
    let test = env::current_exe().expect("a test knows its own path");
    let target = test
        .ancestors()
        .nth(3)
        .expect("tests stand in target/PROFILE/deps");
    let candidates = ["release", "debug"].map(|profile| target.join(profile).join("vssd"));
    let found = candidates.iter().find(|path| path.is_file());
    found.cloned().unwrap_or_else(|| {
        panic!(
            "there is no vssd in {}: build it with `{BUILD}`",
            target.display()
        )
    })
}

/// Runs `vssd` to its end.
///
/// # Panics
///
/// Where it cannot be started.
#[must_use]
pub fn vssd(arguments: &[&str]) -> Output {
    Command::new(vssd_program())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("vssd can be started")
}

/// Runs `vssd` to its end, which must be a success, and reads the JSON that it
/// prints.
///
/// # Panics
///
/// Where it fails or prints anything else.
#[must_use]
pub fn vssd_json(arguments: &[&str]) -> Value {
    let output = vssd(arguments);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "vssd {arguments:?} ended with {}\n{stdout}{stderr}",
        output.status
    );
    serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e} in {stdout}"))
}
