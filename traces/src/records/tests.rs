//! The merge's bound on memory.

use crate::{CommandRecord, Header, Reader, Record, Writer, WriterOptions};

fn command(sequence: u64) -> CommandRecord {
    let sqe = nvme::Sqe::new(2, nvme::NamespaceId(1));
    CommandRecord::fetched(sequence, sequence, nvme::QueueId(1), &sqe)
}

#[test]
fn blocks_that_all_overlap_are_merged_in_bounded_memory() {
    // Block k holds k, k + 50, k + 100 ...: every block is due all the time.
    let options = WriterOptions::default().block_commands(20);
    let mut writer = Writer::new(Vec::new(), &Header::default(), options).unwrap();
    for block in 0..50 {
        for row in 0..20 {
            writer.command(&command(row * 50 + block), &[]).unwrap();
        }
    }
    let (bytes, _) = writer.finish().unwrap();
    let reader = Reader::from_bytes(bytes).unwrap();
    let mut records = reader.records().holding_at_most(100);
    for sequence in 0..1_000 {
        let Some(Ok(Record::Command { command, .. })) = records.next() else {
            panic!("record {sequence} is missing");
        };
        assert_eq!(command.sequence, sequence);
        assert!(
            records.held_commands() <= 100,
            "{}",
            records.held_commands()
        );
    }
    assert!(records.next().is_none());
}
