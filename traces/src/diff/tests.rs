//! Differences made on purpose, and found.

use nvme::{CommandId, Lba, NamespaceId, QueueId, Sqe, Status};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Diff, DiffOptions, diff};
use crate::{CommandRecord, Completion, Header, Reader, Writer, WriterOptions};

/// A read of 8 blocks.
fn read(sequence: u64, at_ns: u64, lba: u64, latency_ns: u64) -> CommandRecord {
    let mut sqe = Sqe::new(2, NamespaceId(1));
    sqe.set_slba(Lba(lba));
    sqe.cdw12.set(7);
    let mut command = CommandRecord::fetched(sequence, at_ns, QueueId(1), &sqe);
    command.cid = CommandId(u16::try_from(sequence % 60_000).unwrap());
    command.completion = Some(Completion {
        complete_ns: at_ns + latency_ns,
        status: Status::SUCCESS,
        result: 0,
    });
    command
}

fn trace(commands: &[CommandRecord]) -> Reader {
    let options = WriterOptions::default();
    let mut writer = Writer::new(Vec::new(), &Header::default(), options).unwrap();
    for (sequence, command) in (0..).zip(commands) {
        let command = CommandRecord {
            sequence,
            ..*command
        };
        writer.command(&command, &[]).unwrap();
    }
    Reader::from_bytes(writer.finish().unwrap().0).unwrap()
}

fn compare(one: &[CommandRecord], two: &[CommandRecord]) -> Diff {
    diff(&trace(one), &trace(two), DiffOptions::default(), |_| ()).unwrap()
}

fn work() -> Vec<CommandRecord> {
    (0..1000)
        .map(|number| read(number, number * 10_000, number * 37 % 256 * 8, 50_000))
        .collect()
}

#[test]
fn each_kind_of_difference_is_counted() {
    let one = work();
    let mut two = one.clone();
    // One is gone, one is new, one failed, one is slow, two changed places.
    two.remove(900);
    two.insert(500, read(0, 5_000_000, 1 << 30, 50_000));
    two[100].completion.as_mut().unwrap().status = Status::INTERNAL_ERROR;
    let slow = two[200].submit_ns + 5_000_000;
    two[200].completion.as_mut().unwrap().complete_ns = slow;
    two.swap(300, 301);
    let found = compare(&one, &two);
    assert_eq!((found.first_commands, found.second_commands), (1000, 1000));
    assert_eq!(found.matched, 999);
    assert_eq!((found.missing, found.extra), (1, 1));
    assert_eq!(
        (found.other_status, found.slower, found.reordered),
        (1, 1, 1)
    );
    assert!(!found.is_same());
    assert_eq!(found.shown.len(), 3);
    assert!(
        found.shown.iter().any(|line| line.contains("1073741824")),
        "{:?}",
        found.shown
    );
}

#[test]
fn lateness_and_drift_are_of_the_second() {
    let one = work();
    let late = |(number, command): (u64, &CommandRecord)| {
        read(
            0,
            command.submit_ns + 7_000_000 + number * 100,
            number * 37 % 256 * 8,
            50_000,
        )
    };
    let two: Vec<CommandRecord> = (0..).zip(&one).map(late).collect();
    let found = compare(&one, &two);
    assert!(found.is_same());
    assert_eq!(found.drift_ns, 99_900);
    let error = found.time_error.unwrap();
    assert!((99_800..=100_000).contains(&error.max_ns), "{error:?}");
    assert!((49_000..=51_000).contains(&error.p50_ns), "{error:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is left out and wherever it is moved to within the window.
    #[test]
    fn counts_are_those_of_multisets(
        one in vec(0..40_u64, 0..120),
        two in vec(0..40_u64, 0..120),
    ) {
        let of = |lbas: &[u64]| -> Vec<CommandRecord> {
            (0..).zip(lbas).map(|(at, lba)| read(0, at, *lba, 1)).collect()
        };
        let found = compare(&of(&one), &of(&two));
        let count = |lbas: &[u64], lba| lbas.iter().filter(|it| **it == lba).count();
        let common: usize = (0..40).map(|lba| count(&one, lba).min(count(&two, lba))).sum();
        prop_assert_eq!(found.matched, common as u64);
        prop_assert_eq!(found.missing, (one.len() - common) as u64);
        prop_assert_eq!(found.extra, (two.len() - common) as u64);
    }
}

#[test]
fn what_is_farther_apart_than_the_window_is_not_the_same() {
    let mut one = work();
    for (number, command) in (0..).zip(&mut one) {
        *command = read(0, number, 8 * number, 1);
    }
    let mut two = one.clone();
    let moved = two.remove(0);
    two.insert(500, moved);
    let options = DiffOptions {
        window: 400,
        ..DiffOptions::default()
    };
    let found = diff(&trace(&one), &trace(&two), options, |_| ()).unwrap();
    assert_eq!((found.missing, found.extra), (1, 1));
    assert_eq!(compare(&one, &two).missing, 0);
}
