use std::sync::atomic::AtomicBool;

use nvme::{CommandId, Lba, Sqe, Status};
use traces::Completion;

use super::*;

/// A command whose every field follows from its number.
fn numbered(number: u64) -> CommandRecord {
    let [a, b, c, d, ..] = number.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    let mut record = CommandRecord::fetched(number, number * 3, QueueId(1), &Sqe::default());
    record.cid = CommandId(u16::from_le_bytes([a, b]));
    record.opcode = a;
    record.flags = b ^ a;
    record.nsid = NamespaceId(low ^ 7);
    record.cdw10_15 = [low + 1, low + 2, low + 3, low + 4, low + 5, 0];
    record.completion = Some(Completion {
        complete_ns: number * 5,
        status: Status::from_field(u16::from_le_bytes([a, b]) & 0x7fff),
        result: low + 6,
    });
    record
}

#[test]
fn the_last_commands_are_told_whole_while_more_come() {
    let counters = Arc::new(Counters::new(1).unwrap());
    let mut tap = CountingTap::new(Arc::clone(&counters));
    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (counters, done) = (Arc::clone(&counters), Arc::clone(&done));
        move || {
            let mut seen = 0_u64;
            while !done.load(Ordering::Relaxed) {
                for record in counters.last_commands(QueueId(1)) {
                    assert_eq!(record, numbered(record.sequence));
                    seen += 1;
                }
            }
            seen
        }
    });
    for number in 0..2_000_000 {
        tap.command(&numbered(number), &[]);
        if number % 4096 == 0 {
            std::thread::yield_now();
        }
    }
    done.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    let last = counters.last_commands(QueueId(1));
    let numbers: Vec<u64> = last.iter().map(|record| record.sequence).collect();
    assert_eq!(
        numbers,
        (2_000_000 - 16..2_000_000).rev().collect::<Vec<_>>()
    );
    assert_eq!(last[0], numbered(1_999_999));
}

/// A read of `blocks` blocks that took `latency_ns`.
fn read(queue: u16, blocks: u32, latency_ns: u64, status: Status) -> CommandRecord {
    let mut sqe = Sqe::new(NvmOpcode::READ.0, NamespaceId(2));
    sqe.cdw12.set(blocks - 1);
    let mut record = CommandRecord::fetched(0, 1000, QueueId(queue), &sqe);
    record.completion = Some(Completion {
        complete_ns: 1000 + latency_ns,
        status,
        result: 0,
    });
    record
}

#[test]
fn commands_are_counted_by_queue_and_class() {
    let counters = Arc::new(Counters::new(4).unwrap());
    let mut tap = CountingTap::new(Arc::clone(&counters));
    assert!(tap.is_stale());
    tap.describe([(NamespaceId(1), 512), (NamespaceId(2), 4096)].into_iter());
    let mut run = |record: CommandRecord, ranges: &[DsmRange]| {
        tap.fetched(&record);
        tap.command(&record, ranges);
    };
    run(read(1, 8, 500, Status::SUCCESS), &[]);
    run(read(1, 2, 100_000, Status::SUCCESS), &[]);
    run(read(1, 2, 7, Status::UNRECOVERED_READ_ERROR), &[]);
    let mut unfinished = read(1, 1, 0, Status::SUCCESS);
    unfinished.completion = None;
    run(unfinished, &[]);
    let mut discard = read(3, 1, 10, Status::SUCCESS);
    discard.opcode = NvmOpcode::DATASET_MANAGEMENT.0;
    run(
        discard,
        &[DsmRange::new(Lba(0), 3), DsmRange::new(Lba(9), 4)],
    );
    // What is for a queue that there is no room for is not counted.
    run(read(9, 1, 10, Status::SUCCESS), &[]);

    let [one, three] = <[QueueStats; 2]>::try_from(counters.queues().collect::<Vec<_>>()).unwrap();
    assert_eq!((one.queue, one.depth, one.depth_max), (QueueId(1), 0, 1));
    let [reads] = &one.classes[..] else {
        panic!("{:?}", one.classes)
    };
    assert_eq!(reads.class, OpcodeClass::Read);
    assert_eq!((reads.commands, reads.errors, reads.abandoned), (4, 1, 1));
    assert_eq!(reads.bytes, 10 * 4096);
    assert_eq!(reads.latency_ns_sum, 500 + 100_000 + 7);
    assert_eq!(reads.latency_ns_max, 100_000);
    assert_eq!(reads.latencies.count(), 3);
    assert_eq!(three.queue, QueueId(3));
    assert_eq!(three.classes[0].class, OpcodeClass::Discard);
    assert_eq!(three.classes[0].bytes, 7 * 4096);

    let mut format = read(0, 1, 10, Status::SUCCESS);
    assert!(!tap.is_stale());
    format.opcode = AdminOpcode::FORMAT_NVM.0;
    tap.command(&format, &[]);
    assert!(tap.is_stale());
}

#[test]
fn the_depth_is_what_was_fetched_and_has_not_ended() {
    let counters = Arc::new(Counters::new(1).unwrap());
    let mut tap = CountingTap::new(Arc::clone(&counters));
    let record = read(1, 1, 10, Status::SUCCESS);
    for _ in 0..5 {
        tap.fetched(&record);
    }
    for _ in 0..3 {
        tap.command(&record, &[]);
    }
    let queue = counters.queues().next().unwrap();
    assert_eq!((queue.depth, queue.depth_max), (2, 5));
}
