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

#[test]
fn the_window_is_so_many_commands() {
    let number = |at: u64| read(0, at, 8 * at, 1);
    let one: Vec<CommandRecord> = (0..100).map(number).collect();
    let apart = |by: usize, window: u64| {
        let mut two = one.clone();
        let moved = two.remove(0);
        two.insert(by, moved);
        let options = DiffOptions {
            window,
            ..DiffOptions::default()
        };
        let found = diff(&trace(&one), &trace(&two), options, |_| ()).unwrap();
        found.missing
    };
    assert_eq!(apart(20, 21), 0);
    assert_eq!(apart(20, 20), 1);
    assert_eq!(apart(20, 19), 1);
}

#[test]
fn a_command_that_comes_later_in_both_is_in_order() {
    // The second pair is found first, as its command is far in one trace only.
    let two = [read(0, 0, 8, 1), read(0, 1, 16, 1), read(0, 2, 24, 1)];
    assert_eq!(compare(&two, &two).reordered, 0);
    let other = [two[1], two[0], two[2]];
    assert_eq!(compare(&two, &other).reordered, 1);
    // One that is missing puts nothing in another order.
    assert_eq!(compare(&two, &two[1..]).reordered, 0);
    assert_eq!(compare(&two[1..], &two).reordered, 0);
}

#[test]
fn slower_is_by_a_factor_and_by_a_time() {
    let slower = |one: u64, two: u64| {
        let of = |latency| [read(0, 0, 8, latency)];
        compare(&of(one), &of(two)).slower
    };
    assert_eq!(slower(50_000, 150_001), 1);
    assert_eq!(slower(50_000, 150_000), 0, "not by more than 100 us");
    assert_eq!(slower(1_000_000, 2_000_000), 0, "not by more than twice");
    assert_eq!(slower(1_000_000, 2_000_001), 1);
    assert_eq!(slower(0, 100_001), 1);
    assert_eq!(slower(150_001, 50_000), 0);
}

#[test]
fn what_makes_a_command_the_same() {
    let base = read(0, 0, 8, 1);
    let matched = |other: CommandRecord, options: DiffOptions| {
        let found = diff(&trace(&[base]), &trace(&[other]), options, |_| ()).unwrap();
        assert_eq!(found.matched + found.missing, 1);
        assert_eq!(found.missing, found.extra);
        found.matched
    };
    let same = DiffOptions::default();
    let queues = DiffOptions {
        queues: true,
        ..same
    };
    let mut other = base;
    other.queue = QueueId(2);
    assert_eq!((matched(other, same), matched(other, queues)), (1, 0));
    assert_eq!(matched(base, queues), 1);
    let changes: [fn(&mut CommandRecord); 4] = [
        |it| it.nsid = NamespaceId(2),
        |it| it.opcode = 1,
        |it| it.cdw10_15[1] = 1,
        |it| it.cdw10_15[2] = 8,
    ];
    for change in changes {
        let mut other = base;
        change(&mut other);
        assert_eq!(matched(other, same), 0, "{other:?}");
    }
}

#[test]
fn ranges_are_part_of_the_command() {
    let discard = |ranges: &[nvme::DsmRange]| {
        let options = WriterOptions::default();
        let mut writer = Writer::new(Vec::new(), &Header::default(), options).unwrap();
        let sqe = Sqe::new(9, NamespaceId(1));
        let command = CommandRecord::fetched(0, 0, QueueId(1), &sqe);
        writer.command(&command, ranges).unwrap();
        Reader::from_bytes(writer.finish().unwrap().0).unwrap()
    };
    let range = nvme::DsmRange::new;
    let one = [range(Lba(8), 8), range(Lba(64), 8)];
    for (other, same) in [
        (one, true),
        ([range(Lba(8), 8), range(Lba(64), 9)], false),
        ([range(Lba(8), 8), range(Lba(65), 8)], false),
        ([one[1], one[0]], false),
    ] {
        let options = DiffOptions::default();
        let found = diff(&discard(&one), &discard(&other), options, |_| ()).unwrap();
        assert_eq!(found.is_same(), same, "{other:?}");
    }
}

#[test]
fn another_outcome_is_a_difference_and_so_many_are_listed() {
    let one = work();
    let mut two = one.clone();
    for command in &mut two[..5] {
        command.completion.as_mut().unwrap().status = Status::INTERNAL_ERROR;
    }
    let list = |two: &[CommandRecord], shown: usize| {
        let options = DiffOptions {
            shown,
            ..DiffOptions::default()
        };
        diff(&trace(&one), &trace(two), options, |_| ()).unwrap()
    };
    assert!(!list(&two, 3).is_same());
    assert_eq!(list(&two, 3).other_status, 5);
    assert_eq!(list(&two, 3).shown.len(), 3);
    assert_eq!(list(&two, 9).shown.len(), 5);
    // A trace without completions says nothing of outcomes.
    for command in &mut two {
        command.completion = None;
    }
    assert!(list(&two, 3).is_same());
}

#[test]
fn traces_of_nothing_much_are_compared() {
    let same = |commands: &[CommandRecord]| {
        let found = compare(commands, commands);
        assert!(found.is_same() && found.shown.is_empty());
        assert_eq!(found.matched, commands.len() as u64);
        assert_eq!(found.drift_ns, 0);
        let json = serde_json::to_string(&found).unwrap();
        assert!(!json.contains("NaN") && !json.contains("inf"), "{json}");
        found
    };
    assert_eq!(same(&[]).time_error, None);
    let mut open = read(0, 5, 8, 1);
    open.completion = None;
    let found = same(&[open]);
    assert_eq!(found.first_latency, None);
    assert_eq!(found.time_error.unwrap().max_ns, 0);
    let at_once: Vec<CommandRecord> = (0..50).map(|lba| read(0, 7, lba, 0)).collect();
    assert_eq!(same(&at_once).first_latency.unwrap().mean_ns, 0.0);
    let found = compare(&[], &at_once);
    assert_eq!((found.missing, found.extra, found.drift_ns), (0, 50, 0));
}
