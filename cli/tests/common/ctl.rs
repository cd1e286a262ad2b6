//! `vssd` beside a drive that is served.

use std::process::Output;

use super::common::{Served, vssd};

/// A `vssd` in the directory of `served`, to its end.
fn run(served: &Served, words: &[&str]) -> Output {
    let mut command = vssd();
    command.args(words).current_dir(served.directory.path());
    command.output().unwrap()
}

/// What it prints, where it is to succeed.
pub(crate) fn says(served: &Served, words: &[&str]) -> String {
    let output = run(served, words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it complains of, where it is to fail.
pub(crate) fn complains(served: &Served, words: &[&str]) -> String {
    let output = run(served, words);
    assert_eq!(output.status.code(), Some(2), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}
