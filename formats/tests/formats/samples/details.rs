//! What real files have beside their layout: heads, marks, quotes, large
//! numbers, and requests from before the trace.

use formats::{FormatError, ImportOptions, ImportSummary};
use traces::Reader;

use super::lines::{read, said, text};
use crate::common::import;

/// As [`text`], with all that comes of it.
fn whole(format: &str, text: &str) -> Result<(Reader, ImportSummary), FormatError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sample");
    std::fs::write(&path, text).unwrap();
    let input = formats::Input::new(vec![path.clone()]);
    assert_eq!(formats::detect(&input)?.name, format);
    import(
        &path,
        formats::find(format).unwrap(),
        &ImportOptions::default(),
    )
}

fn columns(columns: &str, lines: &str) -> Result<Vec<String>, String> {
    let mut options = ImportOptions::default();
    options.columns = Some(columns.to_owned());
    read("csv", lines.as_bytes(), &options).map_err(|error| error.to_string())
}

#[test]
fn msr_with_a_head_is_recognised_and_read() {
    let lines = "Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime\r\n\
                 128166372003061629,usr,0,Read,7014609920,24576,41286\r\n";
    let (reader, _) = whole("msr", lines).unwrap();
    assert_eq!(said(&reader), ["0 4128600 Read 13700410+48 1/1"]);
}

#[test]
fn alibaba_counts_from_1970_where_its_times_are_of_this_century() {
    let (reader, _) = whole("alibaba", "419,W,4096,512,1577808144360767\n").unwrap();
    assert_eq!(reader.header().start.unix_ns, 1_577_808_144_360_767_000);
    let (reader, _) = whole("alibaba", "419,W,4096,512,144360767\n").unwrap();
    assert_eq!(reader.header().start.unix_ns, 0);
}

#[test]
fn times_are_as_exact_as_they_are_written() {
    let resolution = |format: &str, lines: &str| {
        let (reader, _) = whole(format, lines).unwrap();
        reader.header().clock.resolution_ns
    };
    assert_eq!(resolution("spc", "0,303567,3584,w,0.000001\n"), 1_000);
    assert_eq!(resolution("spc", "0,303567,3584,w,0.000000001\n"), 1);
    let systor = "1456808403.515625001,0.000390625,R,2,1048576,8192\n";
    assert_eq!(resolution("systor", systor), 1);
}

#[test]
fn marks_of_the_encoding_are_no_part_of_the_first_line() {
    let lines = "419,W,4096,512,7\n419,R,0,512,8\n";
    let expected = ["0 - Write 8+1 1/1", "1000 - Read 0+1 1/1"];
    let utf8 = format!("\u{feff}{lines}");
    let (reader, _) = whole("alibaba", &utf8).unwrap();
    assert_eq!(said(&reader), expected);
    // Windows' shell writes UTF-16.
    let words = utf8.encode_utf16();
    let little: Vec<u8> = words.clone().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = words.flat_map(u16::to_be_bytes).collect();
    for bytes in [little, big] {
        let found = read("alibaba", &bytes, &ImportOptions::default()).unwrap();
        assert_eq!(found, expected);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("words");
        std::fs::write(&path, &bytes).unwrap();
        let input = formats::Input::new(vec![path]);
        assert_eq!(formats::detect(&input).unwrap().name, "alibaba");
    }
}

#[test]
fn names_of_processes_have_blanks() {
    let lines = "89966104466 2559 Web Content 508955232 8 W 6 0 d0bb\n\
                 89966105466 2559 a 1 R 2 b 508955240 8 R 6 0 d0bc\n";
    assert_eq!(
        text("fiu", lines),
        ["0 - Write 508955232+8 1/1", "1000 - Read 508955240+8 1/1"]
    );
}

#[test]
fn what_was_issued_before_the_trace_starts_with_it() {
    let lines = "\
BeginHeader
DiskRead, TimeStamp, Process Name ( PID), ThreadID, IrpPtr, ByteOffset, IOSize, ElapsedTime, DiskNum
EndHeader
DiskRead, 100, a.exe (1), 2, 0xff, 0x1000, 0x200, 400, 0
DiskRead, 700, a.exe (1), 2, 0xff, 0x2000, 0x200, 400, 0
";
    let (reader, summary) = whole("etw", lines).unwrap();
    assert_eq!(
        said(&reader),
        ["0 100000 Read 8+1 1/1", "300000 400000 Read 16+1 1/1"]
    );
    let before = "requests that were issued before the trace count from its start";
    assert_eq!(summary.notes.get(before), 1);
}

#[test]
fn times_are_not_too_large_for_a_fraction() {
    // Milliseconds and microseconds since 1970.
    assert_eq!(
        text(
            "disksim",
            "1577808144360.5 0 1 1 1\n1577808144361.75 0 2 1 0\n"
        ),
        ["0 - Read 1+1 1/1", "1250000 - Write 2+1 1/1"]
    );
    let lines = "1577808144360767.25,R,0,512\n1577808144360768.5,W,512,512\n";
    let found = columns("time=us:1,op=2,offset=3,length=4", lines);
    assert_eq!(found.unwrap(), ["0 - Read 0+1 1/1", "1250 - Write 1+1 1/1"]);
}

#[test]
fn fields_are_quoted_and_left_empty_and_hexadecimal() {
    let lines = "# time,op,path,at,size,took,queue\n\
                 1,write,\"C:\\a, b.txt\",0x1000,512,,2\n\
                 # half of it\n\
                 2,flush,,,,250,\n\
                 3,read,\"say \"\"x\"\"\",4096.0,512,7,1\n";
    let found = columns(
        "time=us:time,op=op,offset=at,length=size,latency=ns:took,queue=queue",
        lines,
    );
    assert_eq!(
        found.unwrap(),
        [
            "0 - Write 8+1 2/1",
            "1000 250 Flush - 1/1",
            "2000 7 Read 8+1 1/1"
        ]
    );
    let signed = columns("time=us:1,op=2,offset=3,length=4", "1,R,-512,512\n");
    let error = signed.unwrap_err();
    assert!(error.contains("\"-512\", but must be a number"), "{error}");
}

#[test]
fn a_file_of_prose_is_told_to_be_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prose.load");
    std::fs::write(&path, "Nothing ; but ; prose\n").unwrap();
    let load = formats::find("blkreplay").unwrap();
    let (_, summary) = import(&path, load, &ImportOptions::default()).unwrap();
    let empty = "files had no request of blkreplay in them";
    assert_eq!(summary.notes.get(empty), 1);
}

/// A loop of flushes as blkparse prints it: each is issued a little after the
/// one before has completed, in 1 ms; the completion of `lost` is not there.
fn flushes(lost: u64) -> String {
    let mut lines = String::new();
    for number in 0..50_u64 {
        let issued_us = number * 1_100;
        let mut event = |at_us: u64, action: &str, end: &str| {
            let (seconds, us) = (at_us / 1_000_000, at_us % 1_000_000);
            lines += &format!("259,0 0 {number} {seconds}.{us:06}000 7 {action} FN 0 + 0 {end}\n");
        };
        event(issued_us, "D", "[sync]");
        if number != lost {
            event(issued_us + 1_000, "C", "[0]");
        }
    }
    lines
}

#[test]
fn a_completion_that_was_lost_is_not_made_up_of_the_next() {
    for lost in [0, 20, 49] {
        let (reader, _) = whole("blkparse", &flushes(lost)).unwrap();
        let expected: Vec<String> = (0..50)
            .map(|number| {
                let took = if number == lost { "-" } else { "1000000" };
                format!("{} {took} Flush - 1/1", number * 1_100_000)
            })
            .collect();
        assert_eq!(said(&reader), expected, "{lost}");
    }
}
