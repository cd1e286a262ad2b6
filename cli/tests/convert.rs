//! `vssd trace convert`, as its user meets it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const MSR: &str = "\
128166372003061629,usr,0,Read,7014609920,24576,41286
128166372016382155,web,1,Write,2517696512,512,34230
128166372026382245,usr,0,Write,2517700608,1024,34230
";

fn convert(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vssd"))
        .args(["trace", "convert"])
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("usr.csv"), MSR).unwrap();
    directory
}

#[test]
fn a_trace_goes_in_and_comes_out_as_it_was() {
    let directory = directory();
    let (code, out, _) = told(&convert(directory.path(), &["usr.csv", "usr.vtr"]));
    assert_eq!(code, Some(0));
    assert!(
        out.starts_with("usr.vtr: 3 commands of usr.csv (msr), "),
        "{out}"
    );
    assert!(
        out.contains("namespace 1: usr.0\n  namespace 2: web.1"),
        "{out}"
    );

    // It is there already.
    let (code, _, errors) = told(&convert(directory.path(), &["usr.csv", "usr.vtr"]));
    assert_eq!(code, Some(2));
    assert!(errors.contains("usr.vtr is there already: choose another name, or add --overwrite"));

    // Plain CSV holds all of it, and is read again.
    let whole = convert(directory.path(), &["usr.vtr", "whole.csv"]);
    assert_eq!(told(&whole).0, Some(0));
    let again = convert(directory.path(), &["whole.csv", "again.vtr"]);
    assert!(
        told(&again)
            .1
            .starts_with("again.vtr: 3 commands of whole.csv (csv), ")
    );
    let back = convert(directory.path(), &["again.vtr", "back.csv", "--to", "msr"]);
    assert_eq!(told(&back).0, Some(0));
    let back = fs::read_to_string(directory.path().join("back.csv")).unwrap();
    // Names of hosts are not in a trace.
    let expected = MSR.replace("usr,0", "vssd,0").replace("web,1", "vssd,1");
    assert_eq!(back, expected);
}

#[test]
fn one_device_is_chosen_by_name() {
    let directory = directory();
    let chosen = convert(
        directory.path(),
        &["usr.csv", "web.vtr", "--device", "web.1"],
    );
    let (code, out, errors) = told(&chosen);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("web.vtr: 1 commands"), "{out}");
    assert!(
        errors.contains("requests of other devices were left out: 2"),
        "{errors}"
    );

    let strange = convert(directory.path(), &["usr.csv", "no.vtr", "--device", "db.7"]);
    let (code, _, errors) = told(&strange);
    assert_eq!(code, Some(2));
    assert!(
        errors.contains("no device \"db.7\": it has usr.0, web.1"),
        "{errors}"
    );
    // Nothing is left of what could not be done.
    let mut names: Vec<String> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["usr.csv", "web.vtr"]);
}

#[test]
fn what_is_of_no_format_is_told_with_how_it_starts() {
    let directory = directory();
    fs::write(directory.path().join("notes.txt"), "dear diary\n").unwrap();
    let (code, _, errors) = told(&convert(directory.path(), &["notes.txt", "out.vtr"]));
    assert_eq!(code, Some(2));
    assert!(
        errors.contains(
            "notes.txt is of no format known here (it starts \"dear diary\"): name one with --from"
        ),
        "{errors}"
    );
}

#[test]
fn what_is_whole_of_a_damaged_trace_is_kept() {
    let directory = directory();
    let file = |name: &str| directory.path().join(name);
    assert_eq!(
        told(&convert(directory.path(), &["usr.csv", "usr.vtr"])).0,
        Some(0)
    );
    let mut bytes = fs::read(file("usr.vtr")).unwrap();
    // The header of the file, whose magic is how it is known.
    bytes[1] ^= 1;
    fs::write(file("bad.vtr"), &bytes).unwrap();
    let (code, _, errors) = told(&convert(directory.path(), &["bad.vtr", "good.vtr"]));
    assert_eq!(code, Some(2), "{errors}");
    let salvaged = convert(directory.path(), &["bad.vtr", "good.vtr", "--salvage"]);
    let (code, out, errors) = told(&salvaged);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.starts_with("good.vtr: 3 commands, "), "{out}");
    assert!(
        errors.contains("1 block, 3 records are whole") && errors.contains("the header is damaged"),
        "{errors}"
    );
    let reader = traces::Reader::open(file("good.vtr")).unwrap();
    assert_eq!(reader.totals().commands, 3);
    // Into another format as well.
    let salvaged = convert(
        directory.path(),
        &["bad.vtr", "good.csv", "--to", "msr", "--salvage"],
    );
    assert_eq!(told(&salvaged).0, Some(0));
}
