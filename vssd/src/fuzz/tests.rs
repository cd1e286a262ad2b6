//! The corpora that fuzzers left, on any machine.

use std::path::Path;

/// Runs every input of a target's corpus.
fn replay(target: &str, run: fn(&[u8])) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} has no inputs", path.display());
    for input in inputs {
        let data = std::fs::read(&input).unwrap();
        let run = std::panic::AssertUnwindSafe(|| run(&data));
        let done = std::panic::catch_unwind(run);
        assert!(done.is_ok(), "{} fails", input.display());
    }
}

#[test]
fn commands_of_the_corpus_complete() {
    replay("sqe", super::sqe);
}

#[test]
fn walks_of_the_corpus_end() {
    replay("transfer", super::transfer);
}

#[test]
fn guests_of_the_corpus_find_a_drive_that_goes_on() {
    replay("controller", super::controller);
}

#[test]
fn messages_of_the_corpus_are_answered_or_refused() {
    replay("vfio_user", super::vfio_user);
}

#[test]
fn clients_of_the_corpus_find_a_disk_that_goes_on() {
    replay("vhost_user", super::vhost_user);
}

#[test]
fn profiles_of_the_corpus_are_used_or_refused() {
    replay("profile", super::profile);
}
