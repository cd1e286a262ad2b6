//! What users unpack, looked at with their own tools.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A program of a line, linked as `how` tells the C compiler.
fn compile(directory: &Path, how: &[&str]) -> PathBuf {
    let source = directory.join("p.c");
    fs::write(&source, "int main(void) { return 42; }").unwrap();
    let program = directory.join("p");
    let mut cc = Command::new("cc");
    check(cc.args(how).arg("-o").arg(&program).arg(&source)).unwrap();
    program
}

#[test]
fn a_program_that_wants_libraries_or_another_machine_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let host = build::host().unwrap();
    let fit = |how: &[&str], triple: &str| {
        let told = build::refuse_unfit(&compile(directory.path(), how), triple);
        told.map_err(|error| format!("{error:#}"))
    };
    assert_eq!(fit(&["-static"], &host), Ok(()));
    assert_eq!(fit(&["-static-pie"], &host), Ok(()));
    let error = fit(&[], &host).unwrap_err();
    assert!(error.contains("+crt-static"), "{error}");
    let other = if host.starts_with("x86_64") {
        "aarch64"
    } else {
        "x86_64"
    };
    let error = fit(&["-static"], &format!("{other}-unknown-linux-gnu")).unwrap_err();
    assert!(error.contains("is not for"), "{error}");
    let error = build::refuse_unfit(&root().join("README.md"), &host).unwrap_err();
    assert!(format!("{error:#}").contains("no program"), "{error:#}");
    let error = build::refuse_unfit(&directory.path().join("none"), &host).unwrap_err();
    assert!(format!("{error:#}").contains("cannot read"), "{error:#}");
}

#[test]
fn what_is_missing_for_another_target_is_told_before_it_is_built() {
    let host = build::host().unwrap();
    let told = |triple: &str| format!("{:#}", build::program(triple, &host).unwrap_err());
    let error = told("no-such-thing");
    assert!(error.contains("rustc --print target-list"), "{error}");
    // Nobody has installed the library of this one.
    let error = told("powerpc64-unknown-linux-gnu");
    assert!(
        error.contains("rustup target add powerpc64-unknown-linux-gnu"),
        "{error}"
    );
}

#[test]
fn the_archive_is_the_same_each_time_and_installs_by_unpacking() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), &["-static"]);
    let [one, two] = ["one.tar.zst", "two.tar.zst"].map(|name| {
        let path = directory.path().join(name);
        let mut entries = contents(&program).unwrap();
        if name.starts_with("two") {
            entries.reverse();
        }
        let bytes = archive::write(&path, "vssd-1", entries, 1_700_000_000).unwrap();
        assert_eq!(bytes, fs::metadata(&path).unwrap().len());
        path
    });
    assert_eq!(fs::read(&one).unwrap(), fs::read(two).unwrap());

    let tar = Path::new("one.tar");
    let plain = zstd::decode_all(fs::File::open(&one).unwrap()).unwrap();
    fs::write(directory.path().join(tar), plain).unwrap();
    let prefix = directory.path().join("usr");
    fs::create_dir(&prefix).unwrap();
    let mut unpack = Command::new("tar");
    unpack.current_dir(directory.path()).args([
        "-xpf",
        "one.tar",
        "--strip-components=1",
        "-C",
        "usr",
    ]);
    check(&mut unpack).unwrap();
    let status = Command::new(prefix.join("bin/vssd")).status().unwrap();
    assert_eq!(status.code(), Some(42));
    let unit = prefix.join("lib/systemd/system/vssd@.service");
    let metadata = fs::metadata(&unit).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o644);
    let listed = output(Command::new("stat").args(["-c", "%Y"]).arg(unit)).unwrap();
    assert_eq!(listed, b"1700000000\n");
}

#[test]
fn everything_that_is_there_for_it_is_packed() {
    let directory = tempfile::tempdir().unwrap();
    let entries = contents(&compile(directory.path(), &["-static"])).unwrap();
    let names: BTreeSet<_> = (entries.iter())
        .filter_map(|entry| Some(Path::new(entry.path()).file_name()?.to_owned()))
        .collect();
    let mut folders = vec![root().join("packaging")];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.file_name().unwrap();
                assert!(names.contains(name), "{} is left out", path.display());
            }
        }
    }
}
