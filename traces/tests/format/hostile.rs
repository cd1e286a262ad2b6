//! Files that are cut, flipped or made up: an error or fewer records, never a
//! panic and never a wrong record.

use std::sync::LazyLock;

use crate::common::{any_record, in_submission_order, written};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use traces::{Effort, Reader, Record, TraceError, WriterOptions};

/// A small trace of a few blocks with everything in it, and its records.
fn small(effort: Effort) -> (Vec<u8>, Vec<Record>) {
    static RECORDS: LazyLock<Vec<Record>> = LazyLock::new(|| {
        let mut runner = TestRunner::deterministic();
        let tree = vec(any_record(), 300).new_tree(&mut runner);
        let mut records = tree.unwrap().current();
        // Every byte of the file is flipped below: keep it short.
        records.retain(|record| match record {
            Record::Command { ranges, .. } => ranges.len() < 20,
            _ => true,
        });
        records.truncate(70);
        records
    });
    let options = WriterOptions::default().effort(effort).block_commands(25);
    (written(&RECORDS, options), in_submission_order(&RECORDS))
}

/// Reads what can be read, in both ways, and checks that it is good.
fn check(bytes: Vec<u8>, good: &[Record]) -> Result<usize, TraceError> {
    let reader = Reader::from_bytes(bytes)?;
    for block in reader.blocks() {
        drop(block);
    }
    drop(reader.summary());
    let mut count = 0;
    for record in reader.records() {
        let record = record?;
        assert!(good.contains(&record), "made up: {record:?}");
        count += 1;
    }
    Ok(count)
}

#[test]
fn every_truncation_gives_an_error_or_the_first_blocks() {
    for effort in [Effort::Fast, Effort::Packed] {
        let (bytes, good) = small(effort);
        let mut most = 0;
        for len in 0..bytes.len() {
            let result = check(bytes[..len].to_vec(), &good);
            let count = result.unwrap_or(0);
            assert!(
                count >= most,
                "{len} bytes give fewer records than {}",
                len - 1
            );
            most = count;
        }
        assert_eq!(most, good.len(), "all blocks are whole without the index");
    }
}

#[test]
fn every_flipped_byte_gives_an_error_or_fewer_records() {
    for effort in [Effort::Fast, Effort::Packed] {
        let (bytes, good) = small(effort);
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            if let Err(error) = check(bytes, &good) {
                let text = error.to_string();
                assert!(text.contains("the trace"), "{text}");
            }
        }
    }
}

/// The same trace with a payload byte of a block changed and every checksum
/// made right again: what a hostile writer would do.
fn forged(bytes: &[u8], block: usize, at: usize, value: u8) -> Vec<u8> {
    let reader = Reader::from_bytes(bytes.to_vec()).unwrap();
    let info = reader.index()[block];
    let start = usize::try_from(info.offset()).unwrap();
    let end = start + usize::try_from(info.stored_bytes()).unwrap();
    // Without index and trailer: the trace opens by recovery.
    let mut bytes = bytes[..end].to_vec();
    let at = start + 88 + at % (end - start - 88);
    bytes[at] = value;
    let crc = crc32fast::hash(&bytes[start + 88..]);
    bytes[start + 8..start + 12].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&bytes[start..start + 84]);
    bytes[start + 84..start + 88].copy_from_slice(&crc.to_le_bytes());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_forged_block_is_refused_or_decodes(
        packed in any::<bool>(),
        at in any::<usize>(),
        value in any::<u8>(),
    ) {
        let effort = if packed { Effort::Packed } else { Effort::Fast };
        let (bytes, _) = small(effort);
        if let Ok(reader) = Reader::from_bytes(forged(&bytes, 0, at, value)) {
            for record in reader.records() {
                drop(record);
            }
            drop(reader.summary());
        }
    }

    #[test]
    fn anything_after_a_header_is_survived(tail in vec(any::<u8>(), 0..500)) {
        let mut bytes = written(&[], WriterOptions::default());
        let index = u64::from_le_bytes(*bytes.last_chunk().unwrap());
        bytes.truncate(usize::try_from(index).unwrap());
        bytes.extend(tail);
        prop_assert_eq!(check(bytes, &[]).unwrap(), 0);
    }

    #[test]
    fn anything_at_all_is_survived(bytes in vec(any::<u8>(), 0..500)) {
        prop_assert!(check(bytes, &[]).is_err());
    }
}

#[test]
fn what_is_wrong_is_told_with_the_file_and_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.vtr");
    let (bytes, _) = small(Effort::Fast);
    let block = Reader::from_bytes(bytes.clone()).unwrap().index()[1];
    let start = usize::try_from(block.offset()).unwrap();

    let mut flipped = bytes.clone();
    flipped[start + 100] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    let reader = Reader::open(&path).unwrap();
    reader.block(0).unwrap();
    let error = reader.block(1).unwrap_err().to_string();
    assert!(error.contains("a.vtr is damaged at byte"), "{error}");
    assert!(error.contains(&format!("byte {start}")), "{error}");

    std::fs::write(&path, &bytes[..start + 50]).unwrap();
    let reader = Reader::open(&path).unwrap();
    let recovery = reader.recovery().unwrap();
    assert_eq!((recovery.blocks, recovery.incomplete_bytes), (1, 50));
    let told = recovery.to_string();
    assert!(told.contains("recovered 1 block, "), "{told}");
    assert!(
        told.contains("the last 50 bytes are an incomplete block"),
        "{told}"
    );

    let mut newer = bytes;
    newer[8] = 2;
    std::fs::write(&path, &newer).unwrap();
    let error = Reader::open(&path).unwrap_err().to_string();
    assert!(error.contains("update vssd"), "{error}");

    std::fs::write(&path, "fio version 3 iolog\n").unwrap();
    let error = Reader::open(&path).unwrap_err().to_string();
    assert!(error.contains("not a .vtr trace"), "{error}");
}

#[test]
fn a_damaged_block_in_the_middle_of_a_trace_without_an_index_is_not_passed_over() {
    let (bytes, good) = small(Effort::Fast);
    let reader = Reader::from_bytes(bytes.clone()).unwrap();
    let (first, last) = (reader.index()[0], *reader.index().last().unwrap());
    assert!(reader.index().len() > 2);
    let end = usize::try_from(last.offset() + last.stored_bytes()).unwrap();
    let mut bytes = bytes[..end].to_vec();
    let at = usize::try_from(first.offset() + first.stored_bytes()).unwrap() + 90;
    bytes[at] ^= 1;
    let reader = Reader::from_bytes(bytes.clone()).unwrap();
    assert!(reader.is_recovered());
    reader.block(1).unwrap_err();
    reader.block(2).unwrap();
    check(bytes, &good).unwrap_err();
}
