//! vTracer's recordings, as they are written.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use formats::{ImportOptions, Input, Io, Operation};
use traces::{Reader, Record};
use zip::ZipArchive;

use crate::common::{export, import, trace};

const MINUTE_NS: u64 = 60_000_000_000;

/// An hour on two queues, with a discard of two ranges and a flush.
fn hour() -> Vec<Io> {
    let mut ios = vec![
        Io::new(0, Operation::Read, 4096, 512),
        Io::new(5 * MINUTE_NS - 1_000, Operation::Write, 8192, 4096),
        Io::new(5 * MINUTE_NS, Operation::Discard, 0, 1024),
        Io::new(5 * MINUTE_NS + 7_000, Operation::Flush, 0, 0),
        Io::new(60 * MINUTE_NS, Operation::WriteZeroes, 512, 512),
    ];
    ios[1].queue = 2;
    ios[2].more = vec![formats::ByteRange {
        offset_bytes: 1 << 40,
        length_bytes: 1 << 33,
    }];
    ios
}

fn members(path: &Path) -> Vec<(String, String)> {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut members = Vec::new();
    for at in 0..archive.len() {
        let mut member = archive.by_index(at).unwrap();
        let mut text = String::new();
        member.read_to_string(&mut text).unwrap();
        members.push((member.name().unwrap().into_owned(), text));
    }
    members
}

#[test]
fn a_recording_is_a_picture_and_an_archive_of_five_minutes_each() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hour.png");
    let original = trace(&hour());
    let format = formats::find("vtracer").unwrap();
    let notes = export(&original, format, &path);
    assert_eq!(notes.to_string(), "");
    let said = |segment: u64, queue: u16, text: &str| {
        let name = format!("tmp/pynvme_trace/{segment}/{queue}");
        (name, text.to_owned())
    };
    assert_eq!(
        members(&path),
        [
            said(0, 1, "0 read 8 1\n"),
            said(0, 2, "299999999 write 16 8\n"),
            said(
                1,
                1,
                "0 trims 0 2\n0 trims 2147483648 16777216\n7 flush 0 0\n"
            ),
            said(12, 1, "0 write_zeroes 1 1\n"),
        ]
    );
    let mut picture = png::Decoder::new(std::io::BufReader::new(File::open(&path).unwrap()))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; picture.output_buffer_size().unwrap()];
    let info = picture.next_frame(&mut pixels).unwrap();
    assert!(info.width >= 640 && info.height >= 320);
    assert!(pixels.iter().any(|it| *it != 255));

    let input = Input::new(vec![path.clone()]);
    assert_eq!(formats::detect(&input).unwrap().name, "vtracer");
    let (back, _) = import(&path, format, &ImportOptions::default()).unwrap();
    let records = |reader: &Reader| -> Vec<Record> {
        let mut records: Vec<Record> = reader.records().map(Result::unwrap).collect();
        // What it does not hold: numbers go by time and queue.
        for record in &mut records {
            if let Record::Command { command, .. } = record {
                command.cid.0 = 0;
            }
        }
        records
    };
    assert_eq!(records(&back), records(&original));
}

#[test]
fn an_empty_trace_is_a_recording_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("empty.png");
    let format = formats::find("vtracer").unwrap();
    export(&trace(&[]), format, &path);
    let input = Input::new(vec![path.clone()]);
    assert_eq!(formats::detect(&input).unwrap().name, "vtracer");
    let (back, _) = import(&path, format, &ImportOptions::default()).unwrap();
    assert_eq!(back.totals().commands, 0);
}

#[test]
fn discards_that_cannot_be_told_apart_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("discards.png");
    let mut ios = [0, 1, 2].map(|at| Io::new(at * 300, Operation::Discard, at * 4096, 512));
    ios[2].queue = 2;
    let format = formats::find("vtracer").unwrap();
    let notes = export(&trace(&ios), format, &path);
    let joined = "discards at one time on one queue became one of several ranges";
    assert_eq!(notes.get(joined), 1, "{notes}");
    let (back, _) = import(&path, format, &ImportOptions::default()).unwrap();
    assert_eq!(back.totals().commands, 2);
    // A recording that is cut has no archive any more.
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
    let error = import(&path, format, &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("no zip archive"), "{error}");
}
