//! CSV with all of each command.

use std::fs;

use formats::{ImportOptions, Input, Io, Operation};
use traces::{Header, NamespaceInfo, Reader, Record, Writer, WriterOptions};

use crate::common::{export, import, import_all, trace};

const HEAD: &str = "record,sequence,submit_ns,complete_ns,queue,cid,opcode,operation,nsid,slba,\
                    blocks,offset_bytes,length_bytes,fua,flags,cdw2,cdw3,cdw10,cdw11,cdw12,cdw13,\
                    cdw14,cdw15,status,result,ranges,note";

fn ios() -> Vec<Io> {
    let mut write = Io::new(0, Operation::Write, 1 << 42, 4096);
    (write.latency_ns, write.fua, write.queue) = (Some(70), true, 3);
    let mut discard = Io::new(900, Operation::Discard, 0, 512);
    discard.more = vec![formats::ByteRange {
        offset_bytes: 8192,
        length_bytes: 1024,
    }];
    (discard.latency_ns, discard.failed) = (Some(5), true);
    vec![write, discard, Io::new(1_000, Operation::Flush, 0, 0)]
}

fn records(reader: &Reader) -> Vec<Record> {
    reader.records().map(Result::unwrap).collect()
}

#[test]
fn each_field_has_a_column() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.csv");
    let csv = formats::find("csv").unwrap();
    let notes = export(&trace(&ios()), csv, &path);
    assert!(notes.is_empty(), "{notes}");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], HEAD);
    assert!(lines[1].starts_with("trace,,,,"), "{}", lines[1]);
    assert!(lines[1].contains("{\"\"device\"\":"), "{}", lines[1]);
    let columns = HEAD.split(',').count();
    for line in &lines[2..] {
        assert_eq!(line.split(',').count(), columns, "{line}");
    }
    assert_eq!(
        lines[2..],
        [
            "command,0,0,70,3,0,1,write,1,8589934592,8,4398046511104,4096,1,0,0,0,0,2,1073741831,0,0,0,0,0,,",
            "command,1,900,905,1,0,9,dataset_management,1,,,,,0,0,0,0,1,4,0,0,0,0,6,0,0:1:0 0:2:16,",
            "command,2,1000,,1,1,0,flush,1,,,,,0,0,0,0,0,0,0,0,0,0,,,,",
        ]
    );
}

#[test]
fn columns_may_stand_in_another_order_and_some_may_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.csv");
    let csv = formats::find("csv").unwrap();
    let original = trace(&ios());
    export(&original, csv, &path);
    // As a table program writes it: without what is for people, backwards.
    let text = fs::read_to_string(&path).unwrap();
    let for_people = ["record", "operation", "slba", "blocks", "fua"];
    let names: Vec<&str> = HEAD.split(',').collect();
    let rows = text.lines().filter(|line| !line.starts_with("trace,"));
    let rows: Vec<String> = rows
        .map(|row| {
            let fields = names.iter().zip(row.split(','));
            let kept = fields.filter(|(name, _)| !for_people.contains(name));
            let mut kept: Vec<String> = kept.map(|(_, field)| format!("\"{field}\"")).collect();
            kept.reverse();
            kept.join(",")
        })
        .collect();
    fs::write(&path, rows.join("\r\n") + "\r\n").unwrap();
    let input = Input::new(vec![path.clone()]);
    assert_eq!(formats::detect(&input).unwrap().name, "csv");
    let (back, _) = import(&path, csv, &ImportOptions::default()).unwrap();
    assert_eq!(records(&back), records(&original));

    fs::write(&path, rows.join("\n").replacen("cdw12", "cdw99", 1)).unwrap();
    let error = import(&path, csv, &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("--columns"), "{error}");
}

#[test]
fn a_long_header_is_more_than_one_row() {
    let header = Header {
        namespaces: (1..=3_000)
            .map(|id| NamespaceInfo {
                id,
                blocks: 1 << 33,
                block_bytes: 4096,
            })
            .collect(),
        tool: "é\"\\,\n".repeat(30_000),
        ..Header::default()
    };
    let writer = Writer::new(Vec::new(), &header, WriterOptions::default()).unwrap();
    let original = Reader::from_bytes(writer.finish().unwrap().0).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.csv");
    let csv = formats::find("csv").unwrap();
    export(&original, csv, &path);
    let (back, _) = import(&path, csv, &ImportOptions::default()).unwrap();
    assert_eq!(back.header(), original.header());
}

#[test]
fn several_are_one_trace_without_a_header() {
    let directory = tempfile::tempdir().unwrap();
    let csv = formats::find("csv").unwrap();
    let paths = [0, 1].map(|number| directory.path().join(format!("{number}.csv")));
    for (path, at) in paths.iter().zip([0, 400]) {
        let ios = [0, 1].map(|it| Io::new(it * 1_000 + at, Operation::Read, it * 512, 512));
        let reader = trace(&ios);
        export(&reader, csv, path);
    }
    // The second starts a little later on the same clock.
    let text = fs::read_to_string(&paths[1]).unwrap();
    let text = text.replace("command,0,0,", "command,0,400,");
    fs::write(
        &paths[1],
        text.replace("command,1,1000,", "command,1,1400,"),
    )
    .unwrap();
    let options = ImportOptions::default();
    let (back, _) = import_all(paths.to_vec(), csv, &options).unwrap();
    let times: Vec<u64> = records(&back)
        .iter()
        .map(|record| match record {
            Record::Command { command, .. } => command.submit_ns,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(times, [0, 400, 1_000, 1_400]);
}
