//! Several files that are one trace.

use std::fs;
use std::path::{Path, PathBuf};

use formats::{ImportOptions, Input, Io, Operation};
use proptest::prelude::*;
use traces::{Reader, Record};

use crate::common::{export, import_all, requests, trace};

fn records(reader: &Reader) -> Vec<Record> {
    reader.records().map(Result::unwrap).collect()
}

fn read(format: &str, paths: Vec<PathBuf>) -> Reader {
    let options = ImportOptions::default();
    import_all(paths, formats::find(format).unwrap(), &options)
        .unwrap()
        .0
}

/// `text` in the files `0`, `1`, ... of `directory`, each line in the one that
/// `of` says.
fn distribute(
    directory: &Path,
    text: &str,
    files: usize,
    of: impl Fn(usize) -> usize,
) -> Vec<PathBuf> {
    let mut texts = vec![String::new(); files];
    for (number, line) in text.split_inclusive('\n').enumerate() {
        texts[of(number)] += line;
    }
    let paths: Vec<PathBuf> = (0..files)
        .map(|it| directory.join(it.to_string()))
        .collect();
    for (path, text) in paths.iter().zip(&texts) {
        fs::write(path, text).unwrap();
    }
    paths
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn segments_are_read_as_if_they_were_put_together(ios in requests(60), at in 0_usize..200) {
        let directory = tempfile::tempdir().unwrap();
        let whole = directory.path().join("whole");
        for name in ["msr", "systor", "alibaba", "tencent", "spc", "mqsim", "blkparse"] {
            export(&trace(&ios), formats::find(name).unwrap(), &whole);
            let text = fs::read_to_string(&whole).unwrap();
            if text.is_empty() {
                continue;
            }
            let together = read(name, vec![whole.clone()]);
            let lines = text.lines().count();
            let [first, second] = [at % lines, at * 7 % lines];
            let cut = [first.min(second), first.max(second)];
            let of = |line| cut.iter().filter(|it| line >= **it).count();
            let paths = distribute(directory.path(), &text, 3, of);
            prop_assert_eq!(records(&read(name, paths)), records(&together), "{}", name);
        }
    }

    #[test]
    fn files_of_processors_are_one_trace(ios in requests(60), seed in any::<u64>()) {
        let directory = tempfile::tempdir().unwrap();
        let whole = directory.path().join("whole");
        export(&trace(&ios), formats::find("blkparse").unwrap(), &whole);
        let text = fs::read_to_string(&whole).unwrap();
        let together = read("blkparse", vec![whole.clone()]);
        // A completion comes on any of them.
        let of = |line: usize| usize::try_from(seed.rotate_left(u32::try_from(line).unwrap()) % 3).unwrap();
        let paths = distribute(directory.path(), &text, 3, of);
        let merged = read("blkparse", paths);
        // Events of one time come in the order of the files.
        let sorted = |reader: &Reader| {
            let mut found: Vec<_> = records(reader).into_iter().map(|record| match record {
                Record::Command { command, .. } => {
                    let range = command.lba_range().map(|(lba, _)| lba.0);
                    (command.submit_ns, command.opcode, range, command.latency_ns())
                }
                other => panic!("{other:?}"),
            }).collect();
            found.sort_unstable();
            found
        };
        prop_assert_eq!(sorted(&merged), sorted(&together));
    }
}

#[test]
fn files_of_devices_are_merged_by_time_and_not_read_one_after_the_other() {
    const COUNT: u64 = 3_000;
    let directory = tempfile::tempdir().unwrap();
    for name in ["alibaba", "btrecord", "vscsi", "parquet", "csv", "vtracer"] {
        let format = formats::find(name).unwrap();
        let write = |device: u64| {
            let path = directory.path().join(format!("{name}.{device}"));
            // All clocks start at the same time.
            let mut ios = vec![Io::new(0, Operation::Read, 0, 512)];
            ios.extend((0..COUNT).map(|it| {
                let at_ns = it * 1_000_000 + (device + 1) * 7_000;
                Io::new(at_ns, Operation::Read, it % 1_000 * 4096, 4096)
            }));
            export(&trace(&ios), format, &path);
            path
        };
        let paths = (0..3).map(write).collect();
        // As they come, before anything is put in order.
        let options = ImportOptions::default();
        let mut opened = format.open(&Input::new(paths), &options).unwrap();
        let (mut latest_ns, mut found) = (0, 0);
        while let Some(item) = opened.next().unwrap() {
            assert!(item.submit_ns() >= latest_ns, "{name}: {found}");
            latest_ns = item.submit_ns();
            found += 1;
        }
        assert_eq!(found, 3 * (COUNT + 1), "{name}");
    }
}

#[test]
fn each_file_has_a_head_and_a_version_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let times = |reader: &Reader| -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        for record in records(reader) {
            let Record::Command { command, .. } = record else {
                panic!("{record:?}");
            };
            found.push((command.submit_ns, command.lba_range().unwrap().0.0));
        }
        found
    };
    let old = write(
        "old",
        "fio version 2 iolog\na add\na open\na read 0 512\na wait 30 0\na read 512 512\n",
    );
    let new = write(
        "new",
        "fio version 3 iolog\n10000 b add\n10000 b read 1024 512\n40000 b read 1536 512\n",
    );
    assert_eq!(
        times(&read("fio", vec![new, old])),
        [(0, 0), (10_000_000, 2), (30_000_000, 1), (40_000_000, 3)]
    );

    // Columns stand in another order, and between other signs.
    let one = write("1.csv", "when,op,at,size\n1,R,0,512\n3,R,1024,512\n");
    let other = write("2.csv", "op;size;at;when\nR;512;512;2\nR;512;1536;4\n");
    let mut options = ImportOptions::default();
    options.columns = Some("time=ns:when,op=op,offset=at,length=size".to_owned());
    let csv = formats::find("csv").unwrap();
    let (merged, _) = import_all(vec![one, other], csv, &options).unwrap();
    assert_eq!(times(&merged), [(0, 0), (1, 1), (2, 2), (3, 3)]);

    // Without times, one comes after the other.
    let one = write("1.txt", "@Write 1 1\r\n@Write 2 1\r\n");
    let other = write("2.txt", "@Write 3 1\r\n");
    let found = times(&read("jesd219", vec![one, other]));
    assert_eq!(found, [(0, 1), (0, 2), (0, 3)]);
}

#[test]
fn an_error_names_its_file_among_several() {
    let directory = tempfile::tempdir().unwrap();
    let good = directory.path().join("good.csv");
    let bad = directory.path().join("bad.csv");
    fs::write(&good, "1,R,0,512,10\n1,R,0,512,30\n").unwrap();
    fs::write(&bad, "2,R,0,512,20\n2,X,0,512,40\n").unwrap();
    let alibaba = formats::find("alibaba").unwrap();
    let mut options = ImportOptions::default();
    let both = vec![good, bad];
    let error = import_all(both.clone(), alibaba, &options).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("bad.csv, line 2: the operation"), "{error}");
    options.salvage = true;
    let (merged, summary) = import_all(both, alibaba, &options).unwrap();
    assert_eq!(records(&merged).len(), 3);
    assert_eq!(summary.devices, ["1", "2"]);
}
