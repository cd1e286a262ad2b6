//! MSR Cambridge, from its published layout.

use std::fs;

use formats::ImportOptions;
use traces::Record;

use crate::common::import;

#[test]
fn a_line_is_a_request_with_its_latency() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("usr_0.csv");
    fs::write(
        &path,
        "128166372003061629,usr,0,Read,7014609920,24576,41286\n\
         128166372016382155,usr,1,Write,2517696512,512,34230\n",
    )
    .unwrap();
    let (reader, summary) = import(
        &path,
        formats::find("msr").unwrap(),
        &ImportOptions::default(),
    )
    .unwrap();
    assert_eq!(summary.devices, ["usr.0", "usr.1"]);
    assert!(summary.notes.is_empty(), "{}", summary.notes);
    let records: Vec<Record> = reader.records().map(Result::unwrap).collect();
    let [
        Record::Command { command: read, .. },
        Record::Command { command: write, .. },
    ] = records.as_slice()
    else {
        panic!("{records:?}");
    };
    assert_eq!(
        read.lba_range().map(|(lba, blocks)| (lba.0, blocks)),
        Some((7_014_609_920 / 512, 48))
    );
    assert_eq!(read.latency_ns(), Some(4_128_600));
    assert_eq!(
        write.submit_ns - read.submit_ns,
        (16_382_155 - 3_061_629) * 100
    );
    assert_eq!((read.nsid.0, write.nsid.0), (1, 2));
    // 2007-02-22, 17:00:00.3061629 UTC.
    assert_eq!(reader.header().start.unix_ns, 1_172_163_600_306_162_900);
    assert_eq!(reader.header().clock.resolution_ns, 100);
    let sizes: Vec<u64> = reader
        .header()
        .namespaces
        .iter()
        .map(|it| it.blocks)
        .collect();
    assert_eq!(sizes, [7_014_609_920 / 512 + 48, 2_517_696_512 / 512 + 1]);
}
