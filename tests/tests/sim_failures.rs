//! Replays that do not go well: they say so, and say what was done until then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nvme::{NvmOpcode, Status};
use replayer::{End, Pace, Progress, Replay, ReplayError, ReplayOptions, SkipReason};
use traces::{Clock, Event, EventRecord, Gap, Record};
use vssd_tests::sim::replay::{facts, infallible, options, replay};
use vssd_tests::sim::trace::{Io, records, seen};
use vssd_tests::sim::{Device, DeviceOptions};

fn device() -> Device {
    Device::new(DeviceOptions {
        latency_ns: 10_000..=50_000,
        ..DeviceOptions::default()
    })
    .unwrap()
}

/// A device whose blocks 800 to 815 are bad.
fn bad_device() -> Device {
    Device::new(DeviceOptions {
        bad: Some(800 * 512..=815 * 512),
        ..DeviceOptions::default()
    })
    .unwrap()
}

/// Reads of one block each, a millisecond apart.
fn reads(count: u64) -> Vec<Io> {
    (0..count)
        .map(|index| Io::blocks(NvmOpcode::READ, index, 1).at(1, index * 1_000_000))
        .collect()
}

#[test]
fn a_trace_that_writes_needs_the_word() {
    let device = device();
    for (opcode, refused) in [
        (NvmOpcode::READ, false),
        (NvmOpcode::WRITE, true),
        (NvmOpcode::WRITE_ZEROES, true),
    ] {
        let trace = records(&[Io::blocks(opcode, 0, 1)]);
        let outcome = replay(&device, &device.header(), &trace, ReplayOptions::default());
        assert_eq!(outcome.is_err(), refused, "{opcode}");
        if let Err(error) = outcome {
            assert!(error.to_string().contains("--allow-write"), "{error}");
        }
    }
    let trace = records(&[Io::deallocate(vec![nvme::DsmRange::new(nvme::Lba(0), 1)])]);
    replay(&device, &device.header(), &trace, ReplayOptions::default()).unwrap_err();
}

#[test]
fn failures_are_counted_by_status_and_the_answer_is_no() {
    let device = bad_device();
    let mut commands = reads(1_000);
    commands.push(Io::blocks(NvmOpcode::WRITE, 800, 1).at(1, 0));
    let replayed = replay(&device, &device.header(), &records(&commands), options()).unwrap();
    let report = replayed.report;
    assert_eq!(report.end, End::Complete);
    assert!(!report.is_success());
    assert_eq!(
        (report.commands.succeeded, report.commands.failed),
        (984, 17)
    );
    assert_eq!(report.errors.len(), 2);
    assert_eq!(
        (report.errors[0].name.as_str(), report.errors[0].commands),
        ("Read", 16)
    );
    assert!(report.errors[0].status.contains("Unrecovered Read Error"));
    assert!(report.errors[1].status.contains("Write Fault"));
    let text = report.to_string();
    assert!(text.contains("Unrecovered Read Error (281h)"), "{text}");
}

#[test]
fn a_command_fails_where_its_last_piece_does() {
    let device = Device::new(DeviceOptions {
        bad: Some(4096 * 512..=4096 * 512),
        latency_ns: 10_000..=10_000,
        ..DeviceOptions::default()
    })
    .unwrap();
    // In three pieces, of which the last starts at the bad block.
    let trace = records(&[Io::blocks(NvmOpcode::READ, 0, 5_000)]);
    let mut options = options();
    options.depth = Some(1);
    let replayed = replay(&device, &device.header(), &trace, options).unwrap();
    let report = replayed.report;
    assert_eq!(report.sent, 3);
    assert_eq!((report.commands.succeeded, report.commands.failed), (0, 1));
    // From the first submission to the last completion.
    let latency = report.opcodes[0].replayed.unwrap();
    assert!(latency.min_ns >= 30_000, "{latency:?}");
}

#[test]
fn what_failed_alike_when_it_was_recorded_is_no_failure_of_the_replay() {
    let device = bad_device();
    let mut io = Io::blocks(NvmOpcode::READ, 800, 1);
    io.status = Status::UNRECOVERED_READ_ERROR.dnr();
    let replayed = replay(&device, &device.header(), &records(&[io]), options()).unwrap();
    assert_eq!(replayed.report.commands.failed_alike, 1);
    assert!(replayed.report.is_success());
}

#[test]
fn what_was_out_of_range_when_it_was_recorded_is_left_out() {
    let device = device();
    let mut refused = Io::blocks(NvmOpcode::READ, 1 << 40, 8);
    refused.status = Status::LBA_OUT_OF_RANGE.dnr();
    let trace = records(&[refused, Io::blocks(NvmOpcode::READ, 0, 8)]);
    let replayed = replay(&device, &device.header(), &trace, options()).unwrap();
    let report = replayed.report;
    assert!(report.is_success(), "{report}");
    assert_eq!((report.commands.succeeded, report.commands.skipped), (1, 1));
    assert_eq!(report.skipped[0].reason, SkipReason::BeyondEnd);
}

#[test]
fn the_first_failure_ends_the_replay_where_that_is_asked_for() {
    let device = bad_device();
    let mut options = options();
    options.stop_on_error = true;
    let replayed = replay(&device, &device.header(), &records(&reads(1_000)), options).unwrap();
    let End::Failed(why) = &replayed.report.end else {
        panic!("{:?}", replayed.report.end);
    };
    assert!(why.contains("Read of LBA 800 on queue 1 failed"), "{why}");
    assert_eq!(replayed.report.commands.succeeded, 800);
    assert_eq!(replayed.seen.len(), 801);
    assert!(!replayed.report.is_success());
}

#[test]
fn a_command_that_does_not_complete_is_named() {
    let device = device();
    let trace = records(&reads(1_000));
    let facts = facts(&device.header(), &trace);
    let mut controller = device.bring_up().unwrap();
    let mut options = options();
    options.timeout = Duration::from_secs(7);
    options.depth = Some(1);
    let mut hang = |progress: &Progress| {
        if progress.done >= 500 {
            device.hang();
        }
    };
    let start_ns = device.clock().now_ns();
    let report = Replay::new(&facts, options)
        .on_progress(&mut hang)
        .run(&mut controller, &device.clock(), infallible(&trace))
        .unwrap();
    let waited_ns = device.clock().now_ns() - start_ns;
    let End::Failed(why) = &report.end else {
        panic!("{:?}", report.end);
    };
    assert!(
        why.contains("Read of LBA ") && why.contains("queue 1"),
        "{why}"
    );
    assert!(why.contains("has not completed within 7s"), "{why}");
    assert!(report.commands.succeeded >= 500 && report.commands.unfinished > 0);
    // What has not completed is to be sent again.
    let reached = report.resume_at.unwrap();
    assert_eq!(reached.commands, report.commands.succeeded);
    assert!(
        (7_500_000_000..20_000_000_000).contains(&waited_ns),
        "{waited_ns}"
    );
}

#[test]
fn a_device_that_goes_away_leaves_a_report_of_what_was_done() {
    let device = device();
    let trace = records(&reads(1_000));
    let facts = facts(&device.header(), &trace);
    let mut controller = device.bring_up().unwrap();
    let mut unplug = |progress: &Progress| {
        if progress.done >= 300 {
            device.unplug();
        }
    };
    let report = Replay::new(&facts, options())
        .on_progress(&mut unplug)
        .run(&mut controller, &device.clock(), infallible(&trace))
        .unwrap();
    let End::Failed(why) = &report.end else {
        panic!("{:?}", report.end);
    };
    assert!(why.contains("unplugged"), "{why}");
    assert!(
        (300..1_000).contains(&report.commands.succeeded),
        "{}",
        report.commands.succeeded
    );
    // What has not completed is to be sent again.
    let reached = report.resume_at.unwrap();
    assert_eq!(reached.count(), report.commands.succeeded);
}

#[test]
fn a_request_to_stop_ends_it_early_with_nothing_in_flight() {
    let device = device();
    let trace = records(&reads(1_000));
    let facts = facts(&device.header(), &trace);
    let mut controller = device.bring_up().unwrap();
    let stop = AtomicBool::new(false);
    let mut told = Vec::new();
    let mut progress = |progress: &Progress| {
        told.push(*progress);
        if progress.done >= 250 {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let report = Replay::new(&facts, options())
        .stop_on(&stop)
        .on_progress(&mut progress)
        .run(&mut controller, &device.clock(), infallible(&trace))
        .unwrap();
    assert_eq!(report.end, End::Stopped);
    assert!(
        (250..400).contains(&report.commands.succeeded),
        "{}",
        report.commands.succeeded
    );
    assert_eq!(
        seen(&device.take_records()).len() as u64,
        report.commands.succeeded
    );
    // About ten times a second, and at the end.
    let last = told.pop().unwrap();
    assert_eq!((last.total, last.in_flight), (1_000, 0));
    assert!((3..=6).contains(&told.len()), "{told:?}");
    for pair in told.windows(2) {
        assert!(pair[1].elapsed_ns - pair[0].elapsed_ns >= 100_000_000);
    }
    controller.shutdown().unwrap();
}

#[test]
fn a_trace_that_breaks_off_is_replayed_up_to_there() {
    let device = device();
    let trace = records(&reads(100));
    let facts = facts(&device.header(), &trace);
    let mut controller = device.bring_up().unwrap();
    let broken = trace
        .iter()
        .cloned()
        .map(Ok)
        .chain(std::iter::once(Err("the file is damaged at byte 12")));
    let report = Replay::new(&facts, options())
        .run(&mut controller, &device.clock(), broken)
        .unwrap();
    let End::Failed(why) = &report.end else {
        panic!("{:?}", report.end);
    };
    assert!(why.contains("damaged at byte 12"), "{why}");
    assert_eq!(report.commands.succeeded, 100);
}

#[test]
fn what_cannot_be_replayed_is_counted_by_opcode() {
    let device = device();
    let mut admin = Io::new(NvmOpcode::READ).at(0, 0);
    admin.sqe.opcode = nvme::AdminOpcode::IDENTIFY.0;
    let mut vendor = Io::new(NvmOpcode::READ);
    vendor.sqe.opcode = 0xc1;
    let mut never = Io::blocks(NvmOpcode::READ, 9, 1);
    never.latency_ns = None;
    let mut trace = records(&[
        admin.clone(),
        admin,
        vendor,
        Io::blocks(NvmOpcode::COMPARE, 4, 8),
        Io::deallocate(Vec::new()),
        never,
    ]);
    trace.push(Record::Gap(Gap { at_ns: 0, lost: 7 }));
    trace.push(Record::Event(EventRecord {
        at_ns: 0,
        sequence: 6,
        event: Event::Reset,
    }));
    let mut options = options();
    options.pace = Pace::Max;
    let replayed = replay(&device, &device.header(), &trace, options).unwrap();
    let report = replayed.report;
    assert!(report.is_success(), "{report}");
    let skipped: Vec<_> = report
        .skipped
        .iter()
        .map(|skipped| (skipped.name.as_str(), skipped.reason, skipped.commands))
        .collect();
    assert_eq!(
        skipped,
        [
            ("Identify", SkipReason::Admin, 2),
            ("Dataset Management", SkipReason::NoRanges, 1),
            ("0xc1", SkipReason::NotReplayable, 1),
        ]
    );
    assert_eq!(
        (report.commands.recorded, report.commands.succeeded),
        (6, 2)
    );
    // The Compare became a Read of the same blocks, and is told as a Compare.
    assert_eq!(replayed.seen[0].opcode, NvmOpcode::READ);
    assert_eq!(replayed.seen[0].cdw10_15[..3], [4, 0, 7]);
    assert!(report.opcodes.iter().any(|opcode| opcode.name == "Compare"));
    let notes = report.notes.join(" ");
    assert!(notes.contains("Compare"), "{notes}");
    assert!(notes.contains("7 commands"), "the gap is told: {notes}");
}

#[test]
fn a_trace_without_io_is_refused() {
    let device = device();
    let admin = Io::new(NvmOpcode::READ).at(0, 0);
    let refused = replay(&device, &device.header(), &records(&[admin]), options()).unwrap_err();
    assert!(
        matches!(refused.downcast_ref(), Some(ReplayError::Empty)),
        "{refused}"
    );
}

#[test]
fn a_replay_can_be_recorded_by_the_host() {
    let device = device();
    let mut commands = reads(50);
    for (index, io) in (0_u16..).zip(&mut commands) {
        io.queue = 1 + index % 3;
    }
    let trace = records(&commands);
    let facts = facts(&device.header(), &trace);
    let mut controller = device.bring_up().unwrap();
    let mut host_side: Vec<Record> = Vec::new();
    let report = Replay::new(&facts, options())
        .with_tap(&mut host_side)
        .run(&mut controller, &device.clock(), infallible(&trace))
        .unwrap();
    assert!(report.is_success());
    let strip = |records: &[Record]| vssd_tests::sim::trace::untimed(seen(records));
    assert_eq!(strip(&host_side), strip(&device.take_records()));
    let sequence = |record: &Record| match record {
        Record::Command { command, .. } => command.sequence,
        Record::Event(_) | Record::Gap(_) => u64::MAX,
    };
    let mut sequences: Vec<u64> = host_side.iter().map(sequence).collect();
    sequences.sort_unstable();
    assert!(sequences.into_iter().eq(0..50), "one count for all queues");
    let complete = |record: &Record| matches!(record, Record::Command { command, .. } if command.latency_ns() > Some(0));
    assert!(host_side.iter().all(complete));
}
