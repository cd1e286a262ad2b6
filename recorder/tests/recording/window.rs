//! A recording that begins and ends while a device works holds exactly what was
//! fetched in between.

use crate::common::{Disk, command};
use nvme::DsmRange;
use recorder::{Recorder, RecorderOptions, Window};
use traces::{CommandRecord, Completion, Event, EventRecord, Header, Reader, Record, Tap};

/// A device whose commands end in no order.
struct Device {
    random: u64,
    next: u64,
    in_flight: Vec<(CommandRecord, Vec<DsmRange>)>,
}

impl Device {
    fn chance(&mut self, below: usize) -> usize {
        // Knuth's MMIX generator, of which the upper half is good enough.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap() % below
    }

    /// Fetches a command, or ends one and tells `tap`.
    fn step(&mut self, tap: &mut impl Tap) {
        let fetches = self.in_flight.len() < 2 || self.chance(40) > self.in_flight.len();
        if fetches {
            let (mut record, ranges) = command(self.next);
            record.completion = None;
            self.next += 1;
            self.in_flight.push((record, ranges));
            return;
        }
        let index = self.chance(self.in_flight.len());
        let (mut record, ranges) = self.in_flight.swap_remove(index);
        record.completion = Some(Completion {
            complete_ns: record.submit_ns + 7,
            status: nvme::Status::SUCCESS,
            result: 1,
        });
        tap.command(&record, &ranges);
    }
}

/// What the trace on `disk` has: commands by their numbers, and whether each
/// ended.
fn recorded(disk: &Disk) -> Vec<(u64, CommandRecord, Vec<DsmRange>)> {
    let reader = Reader::from_bytes(disk.contents()).unwrap();
    assert!(!reader.is_recovered());
    let mut all: Vec<_> = reader
        .records()
        .filter_map(|record| match record.unwrap() {
            Record::Command {
                command, ranges, ..
            } => Some((command.sequence, command, ranges)),
            _ => None,
        })
        .collect();
    all.sort_by_key(|(sequence, ..)| *sequence);
    all
}

#[test]
fn exactly_what_was_fetched_in_between_is_recorded() {
    for seed in 0..40 {
        let mut device = Device {
            random: seed,
            next: 0,
            in_flight: Vec::new(),
        };
        for _ in 0..device.chance(300) {
            device.step(&mut ());
        }
        let disk = Disk::new();
        let options = RecorderOptions::default();
        let started = Recorder::start_on(disk.clone(), "disk", &Header::default(), options);
        let (handle, tap) = started.unwrap();
        let first = device.next;
        let mut window = Window::open(tap, first);
        let count = window.count();
        for _ in 0..device.chance(3000) {
            device.step(&mut window);
        }
        let end = device.next;
        window.close(end);
        // Others come and go while those in flight are waited for, but for three
        // that never end.
        let mut parked = device
            .in_flight
            .split_off(device.in_flight.len().saturating_sub(3));
        parked.retain(|(record, _)| (first..end).contains(&record.sequence));
        let waited = window.outstanding();
        assert!(waited <= end - first);
        while window.outstanding() > parked.len() as u64 {
            device.step(&mut window);
        }
        let unfinished = parked.iter().map(|(record, ranges)| (record, &ranges[..]));
        let (tap, missing) = window.end(unfinished);
        drop(tap);
        assert_eq!(missing, 0);
        let summary = handle.stop().unwrap();
        assert_eq!(summary.totals.commands, end - first, "seed {seed}");
        assert_eq!(count.get(), end - first);
        assert_eq!(summary.totals.lost, 0);
        let got = recorded(&disk);
        for (number, (sequence, got, ranges)) in (0..).zip(&got) {
            assert_eq!(*sequence, number, "seed {seed}");
            let (expected, expected_ranges) = command(first + number);
            assert_eq!(got.submit_ns, expected.submit_ns);
            assert_eq!((got.opcode, got.cid), (expected.opcode, expected.cid));
            assert_eq!(ranges, &expected_ranges);
            let is_parked = (parked.iter()).any(|(record, _)| record.sequence == first + number);
            assert_eq!(got.completion.is_none(), is_parked, "seed {seed}");
        }
    }
}

#[test]
fn what_cannot_be_told_of_is_counted_as_lost() {
    let disk = Disk::new();
    let options = RecorderOptions::default();
    let (handle, tap) =
        Recorder::start_on(disk.clone(), "disk", &Header::default(), options).unwrap();
    let mut window = Window::open(tap, 10);
    let event = |sequence| EventRecord {
        at_ns: 5,
        sequence,
        event: Event::Reset,
    };
    window.event(&event(10));
    for sequence in [3, 11, 10, 12, 14, 15] {
        let (record, ranges) = command(sequence);
        window.command(&record, &ranges);
        if sequence == 12 {
            window.close(14);
        }
    }
    // After the end.
    window.event(&event(14));
    assert_eq!(window.outstanding(), 1);
    let (mut tap, missing) = window.end(std::iter::empty());
    tap.miss(missing, 99);
    drop(tap);
    let summary = handle.stop().unwrap();
    let totals = &summary.totals;
    assert_eq!((totals.commands, totals.events), (3, 1));
    assert_eq!((totals.gaps, totals.lost), (1, 1));
}
