//! What goes into the tap is what is read from the trace, or is counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{Disk, command, plain, record, small};
use nvme::{QueueId, Status};
use recorder::{OnFull, Recorder, RecorderError, RecorderOptions, RingTap};
use traces::{Completion, End, Event, EventRecord, Gap, Header, Reader, Record, Tap};

fn give(tap: &mut RingTap, sequence: u64) {
    let (command, ranges) = command(sequence);
    tap.command(&command, &ranges);
}

fn read(disk: &Disk) -> (Reader, Vec<Record>) {
    let reader = Reader::from_bytes(disk.contents()).unwrap();
    let records = reader.records().map(Result::unwrap).collect();
    (reader, records)
}

/// How many blocks are as long as they may be.
fn full_blocks(reader: &Reader, options: RecorderOptions) -> usize {
    let blocks = reader.index().iter();
    blocks
        .filter(|block| block.commands() == options.writer.block_commands)
        .count()
}

#[test]
fn everything_arrives_unchanged_through_a_ring_that_is_always_full() {
    let disk = Disk {
        delay: Duration::from_millis(2),
        ..Disk::new()
    };
    let (handle, mut tap) =
        Recorder::start_on(disk.clone(), "disk", &Header::default(), small()).unwrap();
    let event = |sequence| EventRecord {
        at_ns: sequence * 1_000,
        sequence,
        event: Event::Reset,
    };
    for sequence in 0..20_000 {
        if sequence % 1_000 == 3 {
            tap.event(&event(sequence));
        }
        give(&mut tap, sequence);
    }
    let summary = handle.stop().unwrap();
    assert_eq!(summary.totals.commands, 20_000);
    assert_eq!(summary.totals.events, 20);
    assert_eq!(summary.totals.lost, 0);
    assert_eq!(summary.bytes, disk.contents().len() as u64);
    let (reader, records) = read(&disk);
    assert!(!reader.is_recovered());
    assert_eq!(reader.totals(), &summary.totals);
    let mut expected = Vec::new();
    for sequence in 0..20_000 {
        if sequence % 1_000 == 3 {
            expected.push(Record::Event(event(sequence)));
        }
        expected.push(record(sequence));
    }
    assert!(records == expected);
}

/// Long runs of plain commands, completed out of order, go to the file in full
/// blocks, encoded where they stand in the ring; what stands between them stays
/// where it was.
#[test]
fn full_blocks_of_plain_commands_arrive_with_what_stands_between() {
    let disk = Disk::new();
    let options = RecorderOptions::default();
    let (handle, mut tap) =
        Recorder::start_on(disk.clone(), "disk", &Header::default(), options).unwrap();
    let event = |sequence| EventRecord {
        at_ns: sequence * 1_000,
        sequence,
        event: Event::Enable,
    };
    let of = |sequence| {
        if sequence % 10_007 == 5 {
            command(sequence)
        } else {
            (plain(sequence), Vec::new())
        }
    };
    let given = 300_000;
    for first in (0..given).step_by(4) {
        if first % 28_000 == 0 {
            tap.event(&event(first));
        }
        for sequence in [first + 2, first, first + 3, first + 1] {
            let (command, ranges) = of(sequence);
            tap.command(&command, &ranges);
        }
    }
    handle.stop().unwrap();
    let mut expected = Vec::new();
    for sequence in 0..given {
        if sequence % 28_000 == 0 {
            expected.push(Record::Event(event(sequence)));
        }
        let (command, ranges) = of(sequence);
        expected.push(Record::Command {
            command,
            ranges,
            payload: None,
        });
    }
    let (reader, records) = read(&disk);
    assert!(records == expected);
    let (full, blocks) = (full_blocks(&reader, options), reader.index().len());
    assert!(full * 4 > blocks * 3, "{full} of {blocks} blocks");
}

/// Commands of few kinds, whose numbers and times pass what half a word holds: some
/// end before they start, some after hours, some never.
#[test]
fn large_numbers_arrive_unchanged() {
    const HALF: u64 = 1 << 32;
    let disk = Disk::new();
    let options = RecorderOptions::default();
    let (handle, mut tap) =
        Recorder::start_on(disk.clone(), "disk", &Header::default(), options).unwrap();
    let of = |number: u64| {
        let sequence = HALF - 40_000 + number + number / 60_000 * HALF;
        let mut command = plain(number);
        command.sequence = sequence;
        command.submit_ns = HALF * 500 + number * 77;
        command.opcode = 1 + u8::from(number.is_multiple_of(5));
        command.queue = QueueId(1 + u16::from(number.is_multiple_of(3)));
        command.flags = 0;
        let ends_ns = |wait_ns| command.submit_ns.wrapping_add(wait_ns);
        let completion = |complete_ns| Completion {
            complete_ns,
            status: Status::SUCCESS,
            result: 0,
        };
        command.completion = match number % 1_000 {
            7 => None,
            8 => Some(completion(ends_ns(HALF * 3_000 + number))),
            9 => Some(completion(ends_ns(number.wrapping_neg()))),
            rest => Some(completion(ends_ns(5_000 + rest))),
        };
        command
    };
    let given = 200_000;
    (0..given).for_each(|number| tap.command(&of(number), &[]));
    handle.stop().unwrap();
    let (reader, records) = read(&disk);
    assert_eq!(records.len() as u64, given);
    for (number, record) in (0..given).zip(&records) {
        let expected = of(number);
        assert!(
            matches!(record, Record::Command { command, .. } if *command == expected),
            "{record:?} instead of {expected:?}"
        );
    }
    let could_be = given / u64::from(options.writer.block_commands);
    assert!(full_blocks(&reader, options) as u64 >= could_be - 1);
}

#[test]
fn what_is_dropped_is_counted_exactly() {
    let disk = Disk {
        delay: Duration::from_millis(5),
        ..Disk::new()
    };
    let options = small().on_full(OnFull::Drop);
    let (handle, mut tap) =
        Recorder::start_on(disk.clone(), "disk", &Header::default(), options).unwrap();
    let given = 200_000;
    for sequence in 0..given {
        give(&mut tap, sequence);
    }
    drop(tap);
    let summary = handle.stop().unwrap();
    let (_, records) = read(&disk);
    let (mut kept, mut lost, mut gaps) = (0, 0, 0);
    for seen in &records {
        match seen {
            Record::Command { command, .. } => {
                assert_eq!(seen, &record(command.sequence));
                kept += 1;
            }
            Record::Gap(Gap { lost: count, at_ns }) => {
                assert!(*count > 0);
                assert!(*at_ns <= given * 1_000 + 5_000);
                lost += count;
                gaps += 1;
            }
            Record::Event(_) => panic!("no event was given"),
        }
    }
    assert!(gaps > 1, "the disk was too fast for this test");
    assert_eq!(kept + lost, given);
    assert_eq!((summary.totals.commands, summary.totals.lost), (kept, lost));
}

#[test]
fn a_gap_stands_where_its_commands_are_missing() {
    let disk = Disk {
        delay: Duration::from_millis(5),
        ..Disk::new()
    };
    let options = small().on_full(OnFull::Drop);
    let (handle, mut tap) =
        Recorder::start_on(disk.clone(), "disk", &Header::default(), options).unwrap();
    for sequence in 0..50_000 {
        give(&mut tap, sequence);
    }
    drop(tap);
    handle.stop().unwrap();
    let mut next = 0;
    for seen in read(&disk).1 {
        match seen {
            Record::Command { command, .. } => {
                assert_eq!(command.sequence, next);
                next += 1;
            }
            Record::Gap(gap) => next += gap.lost,
            Record::Event(_) => panic!("no event was given"),
        }
    }
    assert_eq!(next, 50_000);
}

#[test]
fn stopping_while_commands_come_keeps_all_up_to_some_point() {
    for round in 0..50 {
        let disk = Disk::new();
        let (handle, mut tap) =
            Recorder::start_on(disk.clone(), "disk", &Header::default(), small()).unwrap();
        let (running, over) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for sequence in 0.. {
                    give(&mut tap, sequence);
                    running.store(sequence > round * 100, Ordering::Relaxed);
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            while !running.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            let summary = handle.stop();
            over.store(true, Ordering::Relaxed);
            assert!(summary.unwrap().totals.commands > round * 100);
        });
        for (sequence, seen) in (0..).zip(read(&disk).1) {
            assert_eq!(seen, record(sequence));
        }
    }
}

#[test]
fn a_dropped_handle_and_a_dropped_tap_end_the_recording_whole() {
    for handle_first in [true, false] {
        let disk = Disk::new();
        let (handle, mut tap) =
            Recorder::start_on(disk.clone(), "disk", &Header::default(), small()).unwrap();
        for sequence in 0..1_234 {
            give(&mut tap, sequence);
        }
        if handle_first {
            drop(handle);
            give(&mut tap, 1_234);
        } else {
            drop(tap);
            handle.stop().unwrap();
        }
        let (reader, records) = read(&disk);
        assert_eq!(reader.totals().end, End::Clean);
        assert_eq!(records.len(), 1_234);
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_leaves_a_whole_trace() {
    for (truncates, capacity) in [(true, 40_000), (false, 40_000), (true, 77_777)] {
        let disk = Disk {
            capacity,
            truncates,
            ..Disk::new()
        };
        let (handle, mut tap) =
            Recorder::start_on(disk.clone(), "disk", &Header::default(), small()).unwrap();
        // The guest goes on: none of these may hang or panic.
        for sequence in 0..100_000 {
            give(&mut tap, sequence);
        }
        assert!(!handle.is_recording());
        assert!(handle.failure().is_some());
        let error = handle.stop().unwrap_err();
        assert!(error.to_string().contains("disk ended early"), "{error}");
        let RecorderError::Ended { totals, .. } = error else {
            panic!("{error}");
        };
        let (reader, records) = read(&disk);
        assert_eq!(reader.totals().commands, totals.commands);
        assert_eq!(reader.is_recovered(), !truncates);
        if truncates {
            assert!(matches!(reader.totals().end, End::Stopped(_)));
        }
        assert!(records.len() >= 500);
        for (sequence, seen) in (0..).zip(records) {
            assert_eq!(seen, record(sequence));
        }
    }
}
