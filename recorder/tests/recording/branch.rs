//! Several threads that tell one recording.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use recorder::{OnFull, Recorder, RecorderError, RecorderOptions, RingTap, Window};
use traces::{Branch as _, Header, Reader, Record, Tap};

use crate::common::{Disk, command, small};
use crate::payload;

const COMMANDS: u64 = 30_000;

/// Numbers commands over all threads, and gives each to a tap.
fn give<T: Tap>(next: &AtomicU64, tap: &mut T, until: u64) {
    loop {
        let sequence = next.fetch_add(1, Ordering::Relaxed);
        if sequence >= until {
            return;
        }
        let (command, ranges) = command(sequence);
        tap.command(&command, &ranges);
    }
}

/// All tell at the same time.
fn tell<T: Tap + Send + 'static>(taps: Vec<T>, next: &Arc<AtomicU64>, until: u64) -> Vec<T> {
    let tell = |mut tap: T| {
        let next = Arc::clone(next);
        thread::spawn(move || {
            give(&next, &mut tap, until);
            tap
        })
    };
    let threads: Vec<_> = taps.into_iter().map(tell).collect();
    let taps = threads.into_iter().map(|thread| thread.join().unwrap());
    taps.collect()
}

/// The commands on `disk`, which are whole, and how many are said to be lost.
fn recorded(disk: &Disk) -> (Vec<u64>, u64) {
    let reader = Reader::from_bytes(disk.contents()).unwrap();
    assert!(!reader.is_recovered());
    let (mut sequences, mut lost) = (Vec::new(), 0);
    for record in reader.records() {
        match record.unwrap() {
            Record::Command {
                command: found,
                ranges,
                ..
            } => {
                assert!((found, ranges) == command(found.sequence));
                sequences.push(found.sequence);
            }
            Record::Gap(gap) => lost += gap.lost,
            other => panic!("{other:?}"),
        }
    }
    // They are read in the order of their numbers, whoever told them.
    assert!(sequences.is_sorted());
    (sequences, lost)
}

#[test]
fn all_that_any_of_them_tells_is_recorded() {
    let disk = Disk::new();
    let (handle, mut first) =
        Recorder::start_on(disk.clone(), "disk", &Header::default(), small()).unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let branches = vec![first.branch(), first.branch()];
    // Two of them go, and another comes.
    drop(tell(branches, &next, COMMANDS / 2));
    next.store(COMMANDS / 2, Ordering::Relaxed);
    let branches = vec![first.branch(), first];
    let branches = tell(branches, &next, COMMANDS);
    drop(branches);
    let summary = handle.stop().unwrap();
    assert_eq!(summary.totals.commands, COMMANDS);
    let (sequences, lost) = recorded(&disk);
    assert_eq!(lost, 0);
    assert!(sequences.into_iter().eq(0..COMMANDS));
}

#[test]
fn what_each_of_them_drops_is_counted() {
    let disk = Disk {
        delay: Duration::from_millis(5),
        ..Disk::new()
    };
    let options = small().on_full(OnFull::Drop);
    let (handle, mut first) =
        Recorder::start_on(disk.clone(), "disk", &Header::default(), options).unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let gone = first.branch();
    let staying = first.branch();
    drop(tell(vec![gone], &next, COMMANDS));
    next.store(COMMANDS, Ordering::Relaxed);
    let taps = tell(vec![first, staying], &next, 3 * COMMANDS);
    drop(taps);
    let summary = handle.stop().unwrap();
    let (sequences, lost) = recorded(&disk);
    assert!(lost > 0);
    assert_eq!(sequences.len() as u64 + lost, 3 * COMMANDS);
    assert_eq!(summary.totals.lost, lost);
}

#[test]
fn what_commands_wrote_goes_with_them() {
    let disk = Disk::new();
    let options = RecorderOptions::default().payload_bytes(1 << 22);
    let (handle, mut first) =
        Recorder::start_on(disk.clone(), "disk", &payload::header(), options).unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let tell = |mut tap: RingTap| {
        let next = Arc::clone(&next);
        thread::spawn(move || {
            loop {
                let sequence = next.fetch_add(1, Ordering::Relaxed);
                if sequence >= 600 {
                    return tap;
                }
                payload::write(&mut tap, sequence);
            }
        })
    };
    let threads = [first.branch(), first.branch(), first].map(tell);
    drop(threads.map(|thread| thread.join().unwrap()));
    let summary = handle.stop().unwrap();
    assert_eq!(summary.totals.payload.lost, 0);
    assert_eq!(payload::count(&disk), (600, 0));
}

#[test]
fn a_full_disk_stops_none_of_them() {
    let disk = Disk {
        capacity: 40_000,
        ..Disk::new()
    };
    let (handle, mut first) =
        Recorder::start_on(disk.clone(), "disk", &Header::default(), small()).unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let branches = vec![first.branch(), first.branch(), first];
    // They would wait for room for ever.
    let _taps = tell(branches, &next, 10 * COMMANDS);
    assert!(matches!(handle.stop(), Err(RecorderError::Ended { .. })));
}

#[test]
fn all_parts_of_a_window_open_and_close_together() {
    let disk = Disk::new();
    let (handle, tap) =
        Recorder::start_on(disk.clone(), "disk", &Header::default(), small()).unwrap();
    let next = Arc::new(AtomicU64::new(100));
    let mut window = Window::open(tap, 100);
    let count = window.count();
    drop(tell(vec![window.branch(), window.branch()], &next, 1_000));
    next.store(1_000, Ordering::Relaxed);
    assert_eq!(count.get(), 900);
    let mut part = window.branch();
    window.close(1_010);
    assert_eq!(window.outstanding(), 10);
    let tell_one = |window: &mut Window, sequence| {
        let (command, ranges) = command(sequence);
        window.command(&command, &ranges);
    };
    // One that was fetched before it was opened, and one after it was closed.
    tell_one(&mut part, 99);
    tell_one(&mut part, 1_010);
    assert_eq!(window.outstanding(), 10);
    for sequence in 1_000..1_010 {
        let teller = if sequence % 2 == 0 {
            &mut part
        } else {
            &mut window
        };
        tell_one(teller, sequence);
    }
    assert_eq!((window.outstanding(), count.get()), (0, 910));
    drop(part);
    let (tap, missing) = window.end(std::iter::empty());
    assert_eq!(missing, 0);
    drop(tap);
    assert_eq!(handle.stop().unwrap().totals.commands, 910);
}
