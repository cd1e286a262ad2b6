use std::panic::{AssertUnwindSafe, catch_unwind};

use nvme::{CommandId, NamespaceId, QueueId, Status};

use crate::{CommandRecord, Completion, Header, Reader, Record, TraceError, Writer, WriterOptions};

/// Commands of which every thousandth takes so long that its block is due long
/// before its neighbours.
fn trace(commands: u64) -> Vec<u8> {
    let options = WriterOptions::default().block_commands(64);
    let mut writer = Writer::new(Vec::new(), &Header::default(), options).unwrap();
    let record = |sequence: u64| CommandRecord {
        sequence,
        submit_ns: sequence * 100,
        completion: Some(Completion {
            complete_ns: sequence * 100 + 50,
            status: Status::SUCCESS,
            result: 0,
        }),
        queue: QueueId(1),
        cid: CommandId(0),
        opcode: 2,
        flags: 0,
        nsid: NamespaceId(1),
        cdw2_3: [0; 2],
        cdw10_15: [0; 6],
    };
    for sequence in (0..commands).filter(|sequence| sequence % 1_000 != 3) {
        writer.command(&record(sequence), &[]).unwrap();
    }
    for sequence in (0..commands).filter(|sequence| sequence % 1_000 == 3) {
        writer.command(&record(sequence), &[]).unwrap();
    }
    writer.finish().unwrap().0
}

#[test]
fn threads_give_the_same_records() {
    let reader = Reader::from_bytes(trace(20_000)).unwrap();
    let plain: Vec<Record> = reader.records().map(Result::unwrap).collect();
    assert_eq!(plain.len(), 20_000);
    for threads in 1..=4 {
        let ahead: Vec<Record> =
            reader.with_threads(threads, |records| records.map(Result::unwrap).collect());
        assert!(ahead == plain, "{threads} threads");
        // Blocks that were dropped to save memory are decoded again.
        let little: Vec<Record> = reader.with_threads(threads, |records| {
            records.holding_at_most(200).map(Result::unwrap).collect()
        });
        assert!(little == plain, "{threads} threads, little memory");
    }
}

#[test]
fn whoever_stops_reading_stops_the_threads() {
    let reader = Reader::from_bytes(trace(20_000)).unwrap();
    let few = reader.with_threads(2, |records| records.take(10).count());
    assert_eq!(few, 10);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        reader.with_threads(2, |mut records| {
            records.next();
            panic!("on purpose");
        })
    }));
    assert!(panicked.is_err());
}

#[test]
fn damage_is_told_in_its_place() {
    let mut bytes = trace(20_000);
    let reader = Reader::from_bytes(bytes.clone()).unwrap();
    let middle = reader.index()[reader.index().len() / 2].offset();
    bytes[usize::try_from(middle).unwrap() + 100] ^= 1;
    let reader = Reader::from_bytes(bytes).unwrap();
    let plain: Vec<Result<Record, TraceError>> = reader.records().collect();
    let ahead: Vec<Result<Record, TraceError>> =
        reader.with_threads(2, |records| records.collect());
    assert_eq!(plain.len(), ahead.len());
    assert!(plain.last().unwrap().is_err());
    assert!(ahead.last().unwrap().is_err());
}
