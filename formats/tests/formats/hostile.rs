//! Files that are cut, altered or of something else altogether.

use std::fs;

use formats::{FORMATS, ImportOptions, Input};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{export, import, requests, trace};
use crate::samples::{named, qemu, trace_points};

/// Text of formats that are only read.
const SAMPLES: [(&str, &str); 7] = [
    ("trace-points", trace_points::FTRACE),
    ("trace-points", trace_points::BLOCK),
    ("qemu", qemu::LOG),
    ("hfplayer", named::WLC),
    ("iotrace", named::IOTRACE),
    ("wpa", named::WPA),
    ("spdk", named::SPDK),
];

/// Cuts `bytes` and alters some of them.
fn spoil(bytes: &mut Vec<u8>, cut: usize, changes: &[(usize, u8)]) {
    bytes.truncate(bytes.len().saturating_sub(cut));
    let len = bytes.len();
    for (at, value) in changes.iter().filter(|_| len > 0) {
        bytes[at % len] = *value;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_damaged_file_is_an_error_or_a_part(
        ios in requests(30),
        cut in prop_oneof![Just(0_usize), 0_usize..200],
        changes in vec((any::<usize>(), any::<u8>()), 0..6),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let reader = trace(&ios);
        for format in FORMATS.iter().filter(|format| format.is_read() && format.is_written()) {
            let path = directory.path().join(format.name);
            export(&reader, format, &path);
            let mut bytes = fs::read(&path).unwrap();
            spoil(&mut bytes, cut, &changes);
            fs::write(&path, &bytes).unwrap();
            for salvage in [false, true] {
                let mut options = ImportOptions::default();
                options.salvage = salvage;
                // Neither panics, nor grows without bound.
                if let Ok((_, summary)) = import(&path, format, &options) {
                    prop_assert!(summary.totals.commands <= 128 * bytes.len() as u64);
                }
            }
        }
    }

    #[test]
    fn damaged_text_is_an_error_or_a_part(
        cut in prop_oneof![Just(0_usize), 0_usize..1_000],
        changes in vec((any::<usize>(), any::<u8>()), 0..20),
        swaps in vec((any::<usize>(), any::<usize>()), 0..20),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("damaged");
        for (name, text) in SAMPLES {
            // Lines out of order, and fields where others belong.
            let mut lines: Vec<&str> = text.split_inclusive([' ', '\n']).collect();
            let len = lines.len();
            for (one, other) in &swaps {
                lines.swap(one % len, other % len);
            }
            let mut bytes = lines.concat().into_bytes();
            spoil(&mut bytes, cut, &changes);
            fs::write(&path, &bytes).unwrap();
            let format = formats::find(name).unwrap();
            for salvage in [false, true] {
                let mut options = ImportOptions::default();
                options.salvage = salvage;
                if let Ok((_, summary)) = import(&path, format, &options) {
                    prop_assert!(summary.totals.commands <= bytes.len() as u64);
                } else {
                    // All that may be wrong with text is a line of it.
                    prop_assert!(!salvage, "{name} was not salvaged");
                }
            }
        }
    }

    #[test]
    fn noise_is_never_more_than_an_error(bytes in vec(any::<u8>(), 0..4096)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("noise");
        fs::write(&path, &bytes).unwrap();
        let _ = formats::detect(&Input::new(vec![path.clone()]));
        for format in FORMATS.iter().filter(|format| format.is_read()) {
            let mut options = ImportOptions::default();
            let _ = import(&path, format, &options);
            options.salvage = true;
            let _ = import(&path, format, &options);
        }
    }
}

#[test]
fn an_error_names_the_file_the_place_and_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.csv");
    fs::write(
        &path,
        "128166372003061629,usr,0,Read,7014609920,24576,41286\n\
         128166372016382155,usr,0,Erase,2517696512,512,34230\n\
         128166372026382245,usr,0,Write,2517700608,1024,34230\n",
    )
    .unwrap();
    let format = formats::find("msr").unwrap();
    let error = import(&path, format, &ImportOptions::default()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("bad.csv, line 2: the type is \"Erase\""),
        "{error}"
    );
    assert!(error.contains("--salvage"), "{error}");
    let mut options = ImportOptions::default();
    options.salvage = true;
    let (_, summary) = import(&path, format, &options).unwrap();
    assert_eq!(summary.totals.commands, 2);
    assert_eq!(
        summary.notes.to_string(),
        "lines could not be read, and were left out: 1"
    );
}
