//! Parquet as other tools write it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use formats::{FormatError, ImportOptions, ImportSummary, Input};
use parquet::arrow::ArrowWriter;
use traces::{Reader, Record};

use crate::common::import;

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn read(columns: &[(&str, ArrayRef)]) -> Result<(Reader, ImportSummary), FormatError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ios.parquet");
    write(&path, columns);
    let format = formats::detect(&Input::new(vec![path.clone()])).unwrap();
    assert_eq!(format.name, "parquet");
    import(&path, format, &ImportOptions::default())
}

fn write(path: &Path, columns: &[(&str, ArrayRef)]) {
    let batch = RecordBatch::try_from_iter(columns.to_vec()).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Opcode, offset in blocks, blocks, latency, namespace, whether to force unit
/// access.
fn found(reader: &Reader) -> Vec<(u8, u64, u32, Option<u64>, u32, bool)> {
    let records = reader.records().map(|record| match record.unwrap() {
        Record::Command { command, .. } => {
            let (lba, blocks) = command.lba_range().map_or((0, 0), |it| (it.0.0, it.1));
            let fua = command.fua();
            (
                command.opcode,
                lba,
                blocks,
                command.latency_ns(),
                command.nsid.0,
                fua,
            )
        }
        other => panic!("{other:?}"),
    });
    records.collect()
}

#[test]
fn columns_of_others_are_known_by_their_names_and_types() {
    let columns: [(&str, ArrayRef); 8] = [
        (
            "timestamp",
            Arc::new(TimestampMicrosecondArray::from(vec![
                1_767_225_600_000_000,
                1_767_225_600_000_500,
                1_767_225_600_000_700,
            ])),
        ),
        ("op", text(&["R", "write", "FLUSH"])),
        ("offset", Arc::new(Int64Array::from(vec![4096, 8192, 0]))),
        ("size", Arc::new(UInt32Array::from(vec![4096, 512, 0]))),
        (
            "latency_us",
            Arc::new(Int32Array::from(vec![Some(80), None, Some(7)])),
        ),
        ("disk", text(&["a", "b", "a"])),
        (
            "fua",
            Arc::new(BooleanArray::from(vec![false, true, false])),
        ),
        // Nothing that is wanted.
        ("comment", text(&["x", "y", "z"])),
    ];
    let (reader, summary) = read(&columns).unwrap();
    assert_eq!(
        found(&reader),
        [
            (2, 8, 8, Some(80_000), 1, false),
            (1, 16, 1, None, 2, true),
            (0, 0, 0, Some(7_000), 1, false),
        ]
    );
    assert_eq!(summary.devices, ["a", "b"]);
    assert_eq!(reader.header().start.unix_ns, 1_767_225_600_000_000_000);
    assert_eq!(reader.header().clock.resolution_ns, 1_000);
}

#[test]
fn blocks_and_units_are_in_names() {
    let columns: [(&str, ArrayRef); 4] = [
        ("time_ms", Arc::new(Int64Array::from(vec![5, 7]))),
        ("opcode", Arc::new(Int32Array::from(vec![1, 2]))),
        ("LBA", Arc::new(Int64Array::from(vec![100, 200]))),
        ("nlb", Arc::new(Int64Array::from(vec![8, 16]))),
    ];
    let (reader, _) = read(&columns).unwrap();
    assert_eq!(
        found(&reader),
        [(1, 100, 8, None, 1, false), (2, 200, 16, None, 1, false)]
    );
    assert_eq!(reader.header().clock.resolution_ns, 1_000_000);
}

#[test]
fn what_is_missing_is_named_and_so_is_what_is_there() {
    let columns: [(&str, ArrayRef); 4] = [
        ("time", Arc::new(Float64Array::from(vec![0.5]))),
        ("op", text(&["R"])),
        ("offset", Arc::new(Int64Array::from(vec![0]))),
        ("size", Arc::new(Int64Array::from(vec![512]))),
    ];
    let error = read(&columns).unwrap_err().to_string();
    assert!(error.contains("time of submission"), "{error}");
    assert!(
        error.contains("it has time (Float64), op (Utf8), offset (Int64), size (Int64)"),
        "{error}"
    );
    let strange = [
        (
            "time_ns",
            Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef,
        ),
        ("op", text(&["R", "erase"])),
        ("offset", Arc::new(Int64Array::from(vec![0, 0]))),
        ("size", Arc::new(Int64Array::from(vec![512, 512]))),
    ];
    let error = read(&strange).unwrap_err().to_string();
    assert!(error.contains("row 1: op is \"erase\""), "{error}");
}
