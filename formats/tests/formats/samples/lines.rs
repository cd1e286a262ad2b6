//! Formats of lines and rows, from their published layouts: what each line says,
//! in the words of [`said`].

use std::fs;

use formats::{FormatError, ImportOptions};
use traces::{Reader, Record};

use crate::common::import;

/// `time latency opcode first+blocks queue/namespace`, times in ns.
pub(super) fn said(reader: &Reader) -> Vec<String> {
    reader
        .records()
        .map(|record| match record.unwrap() {
            Record::Command {
                command, ranges, ..
            } => {
                let of_range = |it: &nvme::DsmRange| (it.lba().0, it.blocks.get());
                let own = command.lba_range().map(|(lba, blocks)| (lba.0, blocks));
                let place = own.or(ranges.first().map(of_range));
                format!(
                    "{} {} {} {} {}/{}",
                    command.submit_ns,
                    command
                        .latency_ns()
                        .map_or("-".to_owned(), |it| it.to_string()),
                    command.opcode_name(),
                    place.map_or("-".to_owned(), |(lba, blocks)| format!("{lba}+{blocks}")),
                    command.queue.0,
                    command.nsid.0,
                )
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

pub(super) fn read(
    format: &str,
    bytes: &[u8],
    options: &ImportOptions,
) -> Result<Vec<String>, FormatError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sample");
    fs::write(&path, bytes).unwrap();
    let found = import(&path, formats::find(format).unwrap(), options)?;
    Ok(said(&found.0))
}

pub(super) fn text(format: &str, text: &str) -> Vec<String> {
    read(format, text.as_bytes(), &ImportOptions::default()).unwrap()
}

#[test]
fn systor_has_seconds_and_bytes_and_lines_without_a_type() {
    let lines = "1456808403.515625000,0.000390625,R,2,1048576,8192\n\
                 1456808403.515626000,,,2,0,0\n\
                 1456808403.515725000,,W,1,4096,512\n";
    assert_eq!(
        text("systor", lines),
        ["0 390625 Read 2048+16 1/1", "100000 - Write 8+1 1/2"]
    );
}

#[test]
fn alibaba_has_microseconds_and_tencent_sectors() {
    let lines = "419,W,8792731648,16384,1577808144360767\n725,R,4096,512,1577808144360779\n";
    assert_eq!(
        text("alibaba", lines),
        ["0 - Write 17173304+32 1/1", "12000 - Read 8+1 1/2"]
    );
    let lines = "1538323200,12910952,8,0,1063\n1538323201,6160447,24,1,1063\n";
    assert_eq!(
        text("tencent", lines),
        [
            "0 - Read 12910952+8 1/1",
            "1000000000 - Write 6160447+24 1/1"
        ]
    );
}

#[test]
fn fiu_and_spc_have_sectors() {
    let lines = "89966104466 2559 httpd 508955232 8 W 6 0 d0bb\n\
                 89966105466 2559 httpd 508955240 8 R 6 0 d0bc\n";
    assert_eq!(
        text("fiu", lines),
        ["0 - Write 508955232+8 1/1", "1000 - Read 508955240+8 1/1"]
    );
    let lines = "0,303567,3584,w,0.000000\n1,55590,3072,r,0.000026,more\n";
    assert_eq!(
        text("spc", lines),
        ["0 - Write 303567+7 1/1", "26000 - Read 55590+6 1/2"]
    );
}

#[test]
fn simulators_have_five_fields_and_units_of_their_own() {
    assert_eq!(
        text("disksim", "0.5 0 100 8 1\n2.25 0 108 8 0\n"),
        ["0 - Read 100+8 1/1", "1750000 - Write 108+8 1/1"]
    );
    assert_eq!(
        text("mqsim", "100 0 100 8 1\n350 0 108 8 0\n"),
        ["0 - Read 100+8 1/1", "250 - Write 108+8 1/1"]
    );
}

#[test]
fn blkreplay_has_prose_before_and_durations() {
    let lines = "This is a load; it was recorded somewhere\n\
                 start ; sector ; length ; op ; replay_delay ; replay_duration\n\
                 0.000000000 ; 2048 ; 8 ; R ; 0.000000000 ; 0.000250000\n\
                 0.001000000 ; 4096 ; 16 ; W ; 0.000000000 ; 0.000000000\n";
    assert_eq!(
        text("blkreplay", lines),
        ["0 250000 Read 2048+8 1/1", "1000000 - Write 4096+16 1/1"]
    );
}

#[test]
fn windows_logs_a_read_when_it_is_done() {
    let lines = "\
BeginHeader
            DiskRead,  TimeStamp,     Process Name ( PID),   ThreadID, CPU,             IrpPtr,   ByteOffset,     IOSize, ElapsedTime,  DiskNum, IrpFlags, DiskSvcTime, I/O Pri,  VolSnap, FileObject, FileName
           DiskFlush,  TimeStamp,     Process Name ( PID),   ThreadID, CPU,             IrpPtr, ElapsedTime,  DiskNum, IrpFlags, DiskSvcTime, I/O Pri
        DiskReadInit,  TimeStamp,     Process Name ( PID),   ThreadID, CPU,             IrpPtr
EndHeader
            DiskRead,       5000,        explorer.exe (4242),       1234,   0, 0xffffc00000000000, 0x0000100000, 0x00001000,         400,        0, 0x060043,         390,  Normal, Original,        0x0, \"C:\\a.txt\"
           DiskFlush,       5100,              System (   4),       1234,   1, 0xffffc00000000000,         300,        0, 0x060043,         300,  Normal
        DiskReadInit,       5200,        explorer.exe (4242),       1234,   0, 0xffffc00000000000
";
    assert_eq!(
        text("etw", lines),
        ["0 400000 Read 2048+8 1/1", "200000 300000 Flush - 1/1"]
    );
}

#[test]
fn the_master_trace_has_no_times() {
    assert_eq!(
        text("jesd219", "@Write 64 8\r\n@Trims 0 16\r\n@Flush\r\n"),
        [
            "0 - Write 64+8 1/1",
            "0 - Dataset Management 0+16 1/1",
            "0 - Flush - 1/1"
        ]
    );
}

#[test]
fn columns_are_what_the_user_says() {
    let mut options = ImportOptions::default();
    let lines = "When,What,Where,How much,Took\n1.5,\"1\",8,4096,0.25\n2,2,16,512,1\n";
    let mut of = |columns: &str| {
        options.columns = Some(columns.to_owned());
        read("csv", lines.as_bytes(), &options).map_err(|error| error.to_string())
    };
    let expected = vec![
        "0 250000 Read 8+8 1/1".to_owned(),
        "500000 1000000 Write 16+1 1/1".to_owned(),
    ];
    let numbers = "time=ms:1,op=2(1=read 2=write),offset=sectors:3,length=4,latency=ms:5";
    assert_eq!(of(numbers), Ok(expected.clone()));
    let names =
        "time=ms:when,op=what(1=read 2=write),offset=sectors:where,length=How much,latency=ms:took";
    assert_eq!(of(names), Ok(expected));
    let wrong = [
        ("time=1", "says nothing of op"),
        ("time=0,op=2,offset=3,length=4", "counted from 1"),
        ("time=1,op=2,offset=3,length=4", "op=COLUMN(1=read)"),
        ("time=1,op=2,offset=3,length=4,size=5", "no field \"size\""),
        (
            "time=h:1,op=2,offset=3,length=4",
            "\"h\" is no unit of time",
        ),
        (
            "time=Then,op=2,offset=3,length=4",
            "no column \"Then\", but When, What",
        ),
    ];
    for (columns, problem) in wrong {
        let error = of(columns).unwrap_err();
        assert!(error.contains(problem), "{columns}: {error}");
    }
    let error = read("csv", lines.as_bytes(), &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("--columns"), "{error}");
}

/// `numbers`, each with how many bytes it takes, one after the other.
fn row(numbers: &[(u64, usize)]) -> Vec<u8> {
    let bytes = |(value, len): &(u64, usize)| value.to_le_bytes()[..*len].to_vec();
    numbers.iter().flat_map(bytes).collect()
}

#[test]
fn vscsi_is_told_apart_by_its_first_rows() {
    // Number, length, pieces, command, version, block, time.
    let first = |command, block, time| {
        row(&[
            (1, 4),
            (4096, 4),
            (1, 4),
            (command, 2),
            (0x100, 2),
            (block, 8),
            (time, 8),
        ])
    };
    let bytes = [first(0x28, 100, 7), first(0x2a, 200, 9)].concat();
    let options = ImportOptions::default();
    assert_eq!(
        read("vscsi", &bytes, &options).unwrap(),
        ["0 - Read 100+8 1/1", "2000 - Write 200+8 1/1"]
    );
    // Command, version, number, length, pieces, block, time, response.
    let second = |command, block, time, took| {
        row(&[
            (command, 2),
            (0x200, 2),
            (1, 4),
            (4096, 4),
            (1, 4),
            (block, 8),
            (time, 8),
            (took, 8),
        ])
    };
    let bytes = [second(0x28, 100, 7, 3), second(0x2a, 200, 9, 4)].concat();
    assert_eq!(
        read("vscsi", &bytes, &options).unwrap(),
        ["0 3000 Read 100+8 1/1", "2000 4000 Write 200+8 1/1"]
    );
}

#[test]
fn oracle_general_has_seconds_and_objects() {
    let line = |time, object, size| row(&[(time, 4), (object, 8), (size, 4), (u64::MAX, 8)]);
    let bytes = [line(10, 100, 4096), line(12, 200, 512)].concat();
    assert_eq!(
        read("oracle", &bytes, &ImportOptions::default()).unwrap(),
        ["0 - Read 100+8 1/1", "2000000000 - Read 200+1 1/1"]
    );
}

#[test]
fn bunches_of_btrecord_share_a_time() {
    let packet = |sector, bytes, reads| row(&[(sector, 8), (bytes, 8), (reads, 4), (0, 4)]);
    let mut bytes = row(&[(0x10000, 8), (0, 8), (9, 8), (9, 8)]);
    bytes.extend(row(&[(2, 8), (1_000, 8)]));
    bytes.extend([packet(8, 4096, 1), packet(16, 512, 0)].concat());
    bytes.extend(row(&[(1, 8), (5_000, 8)]));
    bytes.extend(packet(24, 512, 1));
    assert_eq!(
        read("btrecord", &bytes, &ImportOptions::default()).unwrap(),
        [
            "0 - Read 8+8 1/1",
            "0 - Write 16+1 1/1",
            "4000 - Read 24+1 1/1"
        ]
    );
}

#[test]
fn a_request_that_never_completes_stands_in_its_place() {
    let mut bytes = event(7, false, [500, 8, 512, 7, 1]);
    for number in 1..100_000 {
        bytes.extend(event(7, false, [number * 1_000, 64, 512, 7, 1]));
        bytes.extend(event(7, false, [number * 1_000 + 500, 64, 512, 8, 1]));
    }
    let said = read("blktrace", &bytes, &ImportOptions::default()).unwrap();
    assert_eq!(said[0], "0 - Read 8+1 3/1");
    assert_eq!(said.len(), 100_000);
    // Queued, and handed on to a device below.
    let queued = event(7, false, [1_000, 64, 4096, 1, 1]);
    assert!(
        read("blktrace", &queued, &ImportOptions::default())
            .unwrap()
            .is_empty()
    );
}

/// An event of blktrace: version, time, sector, bytes, action, and category.
fn event(
    version: u64,
    swapped: bool,
    [time, sector, bytes, action, category]: [u64; 5],
) -> Vec<u8> {
    let word = action | category << 16;
    let mut fields = vec![
        (0x6561_7400 | version, 4),
        (1, 4),
        (time, 8),
        (sector, 8),
        (bytes, 4),
    ];
    if version == 7 {
        fields.extend([(word, 4), (0, 4), (8 << 20, 4), (2, 4), (0, 2), (0, 2)]);
    } else {
        fields.extend([(0, 4), (word, 8), (8 << 20, 4), (2, 4), (0, 2), (0, 2)]);
        fields.extend([(0, 8), (0, 4)]);
    }
    fields
        .iter()
        .flat_map(|(value, len)| {
            let mut bytes = value.to_le_bytes()[..*len].to_vec();
            if swapped {
                bytes.reverse();
            }
            bytes
        })
        .collect()
}

#[test]
fn blktrace_is_read_in_both_versions_and_byte_orders() {
    const WRITE: u64 = 1 << 1;
    const FLUSH: u64 = 1 << 2;
    const FUA: u64 = 1 << 15;
    for (version, swapped) in [(7, false), (7, true), (8, false), (8, true)] {
        let of = |fields| event(version, swapped, fields);
        let bytes = [
            // Queued, issued, done; a write with a flush before it; one that
            // is issued twice; one that never completes.
            of([1_000, 64, 4096, 1, 1]),
            of([2_000, 64, 4096, 7, 1]),
            of([9_000, 64, 4096, 8, 1]),
            of([10_000, 8, 512, 7, WRITE | FLUSH | FUA]),
            of([11_000, 8, 512, 8, WRITE | FLUSH | FUA]),
            of([12_000, 80, 512, 7, WRITE]),
            of([12_500, 80, 512, 6, WRITE]),
            of([13_000, 80, 512, 7, WRITE]),
            of([15_000, 80, 512, 8, WRITE]),
            of([16_000, 88, 512, 7, 1]),
        ]
        .concat();
        assert_eq!(
            read("blktrace", &bytes, &ImportOptions::default()).unwrap(),
            [
                "0 7000 Read 64+8 3/1",
                "8000 - Flush - 3/1",
                "8000 1000 Write 8+1 3/1",
                "11000 2000 Write 80+1 3/1",
                "14000 - Read 88+1 3/1",
            ],
            "version {version}, swapped {swapped}"
        );
    }
}
