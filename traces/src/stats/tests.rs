//! Against naive computations on traces made at random.

use std::collections::{BTreeMap, BTreeSet};

use nvme::{CommandId, Lba, NamespaceId, QueueId, ReadWriteCdw12, Sqe, Status};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Overlap, Stats};
use crate::{CommandRecord, Completion, Header, Reader, Writer, WriterOptions};

/// Gap before it, whether it writes, first page, pages, how long it took.
type Drawn = (u64, bool, u64, u64, u64);

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let gap = prop_oneof![Just(0), 1..10_000_u64, 1..30_000_000_u64];
    let command = (gap, any::<bool>(), 0..300_u64, 1..9_u64, 1..20_000_000_u64);
    vec(command, 1..150)
}

fn trace(drawn: &[Drawn], completed: bool) -> Reader {
    let options = WriterOptions::default();
    let mut writer = Writer::new(Vec::new(), &Header::default(), options).unwrap();
    let mut at_ns = 0;
    for (sequence, (gap, writes, page, pages, took)) in (0..).zip(drawn) {
        at_ns += gap;
        let mut sqe = Sqe::new(if *writes { 1 } else { 2 }, NamespaceId(1));
        sqe.set_slba(Lba(page * 8));
        let nlb = u16::try_from(pages * 8 - 1).unwrap();
        sqe.cdw12
            .set(ReadWriteCdw12::new().with_nlb(nlb).into_bits());
        let mut command = CommandRecord::fetched(sequence, at_ns, QueueId(1), &sqe);
        command.cid = CommandId(1);
        command.completion = completed.then(|| Completion {
            complete_ns: at_ns + took,
            status: Status::SUCCESS,
            result: 0,
        });
        writer.command(&command, &[]).unwrap();
    }
    Reader::from_bytes(writer.finish().unwrap().0).unwrap()
}

/// Distances in pages, and what follows what.
fn naive_reuse(drawn: &[Drawn]) -> (Vec<u64>, Overlap, u64) {
    let mut touches: Vec<(u64, bool)> = Vec::new();
    for (_, writes, page, pages, _) in drawn {
        touches.extend((*page..page + pages).map(|page| (page, *writes)));
    }
    let mut last: BTreeMap<u64, usize> = BTreeMap::new();
    let (mut distances, mut overlap) = (Vec::new(), Overlap::default());
    for (now, (page, writes)) in touches.iter().enumerate() {
        if let Some(before) = last.insert(*page, now) {
            let between: BTreeSet<u64> = touches[before + 1..now].iter().map(|it| it.0).collect();
            distances.push(between.len() as u64 + 1);
            match (touches[before].1, writes) {
                (false, false) => overlap.read_after_read += 1,
                (true, false) => overlap.read_after_write += 1,
                (false, true) => overlap.write_after_read += 1,
                (true, true) => overlap.write_after_write += 1,
            }
        }
    }
    distances.sort_unstable();
    (distances, overlap, last.len() as u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reuse_is_exact_while_all_pages_are_in_the_sample(drawn in drawn()) {
        let stats = Stats::of(&trace(&drawn, true), |_| ()).unwrap();
        let reuse = stats.reuse.unwrap();
        let (distances, overlap, pages) = naive_reuse(&drawn);
        prop_assert_eq!(reuse.working_set_bytes, pages * 4096);
        prop_assert_eq!(reuse.overlap, overlap);
        let again = distances.len() as u64;
        let share = again as f64 / (again + pages) as f64;
        prop_assert!((reuse.reused - share).abs() < 1e-9);
        if let Some(middle) = distances.get((distances.len().div_ceil(2)).saturating_sub(1)) {
            let (found, wanted) = (reuse.distance_bytes_p50 as f64, (middle * 4096) as f64);
            prop_assert!((found / wanted - 1.0).abs() < 0.002, "{found} {wanted}");
        }
    }

    #[test]
    fn depth_and_idle_times_are_those_of_every_nanosecond(drawn in drawn()) {
        let stats = Stats::of(&trace(&drawn, true), |_| ()).unwrap();
        let mut at_ns = 0;
        let spans: Vec<(u64, u64)> = drawn
            .iter()
            .map(|(gap, .., took)| {
                at_ns += gap;
                (at_ns, at_ns + took)
            })
            .collect();
        let (begin, end) = (spans[0].0, spans.iter().map(|it| it.1).max().unwrap());
        let sum: u64 = spans.iter().map(|(from, to)| to - from).sum();
        let depth = stats.arrival.depth.unwrap();
        prop_assert!((depth.mean - sum as f64 / (end - begin) as f64).abs() < 1e-6);
        let in_flight = |at: u64| spans.iter().filter(|(from, to)| *from <= at && at < *to).count();
        let deepest = spans.iter().map(|it| in_flight(it.0)).max().unwrap();
        prop_assert_eq!(depth.max, deepest as u64);
        // Idle is from where the last of those before ended.
        let (mut idle, mut stretches, mut busy_until) = (0, 0, spans[0].1);
        for (from, to) in &spans {
            if *from >= busy_until + 1_000_000 {
                idle += from - busy_until;
                stretches += 1;
            }
            busy_until = busy_until.max(*to);
        }
        prop_assert_eq!((stats.arrival.idle.total_ns, stats.arrival.idle.stretches), (idle, stretches));
    }

    #[test]
    fn bursts_are_the_busiest_windows(drawn in drawn()) {
        let stats = Stats::of(&trace(&drawn, false), |_| ()).unwrap();
        let mut at_ns = 0;
        let times: Vec<u64> = drawn.iter().map(|it| { at_ns += it.0; at_ns - drawn[0].0 }).collect();
        for burst in &stats.arrival.bursts {
            let mut windows: BTreeMap<u64, u64> = BTreeMap::new();
            for time in &times {
                *windows.entry(time / burst.window_ns).or_default() += 1;
            }
            prop_assert_eq!(burst.commands_max, *windows.values().max().unwrap());
        }
        prop_assert!(stats.arrival.depth.is_none());
    }

    #[test]
    fn streams_side_by_side_are_sequential(lengths in vec(1..9_u64, 1..40)) {
        // Two streams, in turn, and one that jumps.
        let mut places = [0_u64, 100_000, 0];
        let mut drawn = Vec::new();
        for (number, length) in (0..).zip(&lengths) {
            for (stream, place) in places.iter_mut().enumerate() {
                if stream == 2 {
                    *place = 1_000_000 + number * 1_000;
                }
                drawn.push((1, true, *place, *length, 1));
                *place += length;
            }
        }
        let found = Stats::of(&trace(&drawn, false), |_| ()).unwrap();
        let rounds = lengths.len() as u64;
        prop_assert_eq!(found.sequentiality.writes, 3 * rounds);
        prop_assert_eq!(found.sequentiality.writes_sequential, 0);
        prop_assert_eq!(found.sequentiality.writes_in_streams, 2 * (rounds - 1));
        prop_assert_eq!(found.wear.small_random > 0, lengths.iter().any(|it| *it <= 4));
    }
}

#[test]
fn a_sample_estimates_what_does_not_fit_it() {
    // 60,000 pages, each touched three times in the same order.
    let pages = 60_000_u64;
    let drawn: Vec<Drawn> = (0..3 * pages)
        .map(|number| (10, false, number % pages, 1, 5))
        .collect();
    let reuse = Stats::of(&trace(&drawn, true), |_| ())
        .unwrap()
        .reuse
        .unwrap();
    assert!(reuse.sampled_one_in > 3.0, "{reuse:?}");
    let close = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 0.05;
    assert!(
        close(reuse.working_set_bytes as f64, (pages * 4096) as f64),
        "{reuse:?}"
    );
    assert!(
        close(reuse.distance_bytes_p50 as f64, (pages * 4096) as f64),
        "{reuse:?}"
    );
    assert!(close(reuse.reused, 2.0 / 3.0), "{reuse:?}");
}

/// A trace of one block size of I/O commands: when, namespace, opcode, LBA, dword
/// 12, ranges.
type Plain<'a> = (u64, u32, u8, u64, u32, &'a [nvme::DsmRange]);

fn plain(commands: &[Plain<'_>]) -> Stats {
    let options = WriterOptions::default();
    let mut writer = Writer::new(Vec::new(), &Header::default(), options).unwrap();
    for (sequence, (at_ns, namespace, opcode, lba, cdw12, ranges)) in (0..).zip(commands) {
        let mut sqe = Sqe::new(*opcode, NamespaceId(*namespace));
        sqe.set_slba(Lba(*lba));
        sqe.cdw12.set(*cdw12);
        let command = CommandRecord::fetched(sequence, *at_ns, QueueId(1), &sqe);
        writer.command(&command, ranges).unwrap();
    }
    let reader = Reader::from_bytes(writer.finish().unwrap().0).unwrap();
    Stats::of(&reader, |_| ()).unwrap()
}

#[test]
fn wear_tells_small_from_large_and_aligned_from_not() {
    let fua = ReadWriteCdw12::new().with_fua(true).into_bits();
    let range = |blocks| nvme::DsmRange::new(Lba(8), blocks);
    let found = plain(&[
        // 4 KiB at 4 KiB; 3.5 KiB there; 4 KiB besides; 4.5 KiB there.
        (0, 1, 1, 8, 7, &[]),
        (1, 1, 1, 80, 6, &[]),
        (2, 1, 1, 161, 7, &[]),
        (3, 1, 1, 240, 8, &[]),
        // 16 KiB and 16.5 KiB, and one that goes on, with FUA.
        (4, 1, 1, 800, 31, &[]),
        (5, 1, 1, 1600, 32, &[]),
        (6, 1, 1, 1633, 6 | fua, &[]),
        (7, 1, 0, 0, 0, &[]),
        (8, 1, 9, 0, 0, &[range(8), range(3)]),
        (9, 1, 9, 0, 0, &[range(1)]),
        // A read wears nothing.
        (10, 1, 2, 1, 0, &[]),
        // A Zone Append is a write.
        (11, 2, 0x7d, 0, 7, &[]),
    ]);
    let wear = found.wear;
    assert_eq!(wear.writes, 8);
    assert_eq!(wear.below_page, 2);
    assert_eq!(wear.unaligned, 5);
    assert_eq!(wear.small_random, 6);
    assert_eq!(wear.fua, 1);
    assert_eq!(wear.flushes, 1);
    assert_eq!(wear.discarded_bytes, 12 * 512);
    let written = found.mix["Write"].written_bytes;
    assert_eq!(written, (8 + 7 + 8 + 9 + 32 + 33 + 7) * 512);
    assert_eq!(found.mix["Write"].read_bytes, 0);
    assert_eq!(found.mix["Read"].read_bytes, 512);
    assert_eq!(found.mix["Zone Append"].written_bytes, 4096);
    assert_eq!(found.namespaces[&1].commands, 11);
    assert_eq!(found.namespaces[&2].written_bytes, 4096);
    assert_eq!(found.queues[&1].written_bytes, written + 4096);
    assert_eq!(found.sizes[&4096], 3);
}

#[test]
fn arrival_is_in_seconds_and_shares_of_the_mean() {
    let found = plain(&[
        (0, 1, 0, 0, 0, &[]),
        (1_000_000, 1, 0, 0, 0, &[]),
        (4_000_000, 1, 0, 0, 0, &[]),
        (6_000_000, 1, 0, 0, 0, &[]),
    ])
    .arrival;
    let close = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 1e-9;
    assert!(close(found.iops_mean, 4.0 / 0.006), "{found:?}");
    // Gaps of 1, 3 and 2 ms: a deviation of sqrt(2/3) from the mean of 2.
    assert!(
        close(found.gap_variation, (2.0_f64 / 3.0).sqrt() / 2.0),
        "{found:?}"
    );
    assert_eq!((found.idle.stretches, found.idle.total_ns), (3, 6_000_000));
    assert_eq!(found.idle.longest_ns, 3_000_000);
    // Six windows of a millisecond, with 2/3 of a command each.
    assert_eq!(found.bursts[0].commands_max, 1);
    assert!(close(found.bursts[0].peak_to_mean, 1.5), "{found:?}");
    assert!(close(found.bursts[2].peak_to_mean, 1.0), "{found:?}");
}

#[test]
fn busy_is_while_something_is_in_flight() {
    // Two at once for 1 ms, nothing for 3 ms, one for 1 ms.
    let drawn = [
        (0, false, 0, 1, 1_000_000),
        (0, false, 9, 1, 1_000_000),
        (4_000_000, false, 0, 1, 1_000_000),
    ];
    let depth = Stats::of(&trace(&drawn, true), |_| ()).unwrap();
    let depth = depth.arrival.depth.unwrap();
    assert!((depth.mean_busy - 1.5).abs() < 1e-9, "{depth:?}");
    assert!((depth.mean - 0.6).abs() < 1e-9, "{depth:?}");
}

#[test]
fn sixty_four_streams_are_followed() {
    let rounds = |streams: u64| {
        let of = |number: u64| (1, false, number % streams * 1_000 + number / streams, 1, 1);
        let drawn: Vec<Drawn> = (0..streams * 3).map(of).collect();
        let found = Stats::of(&trace(&drawn, false), |_| ()).unwrap();
        found.sequentiality.reads_in_streams
    };
    assert_eq!(rounds(64), 128);
    assert_eq!(rounds(65), 0);
    // The oldest goes, not all: 70 that jump between two that go on.
    let mut drawn = vec![(1, false, 500_000, 1, 1)];
    drawn.extend((0..60).map(|number| (1, false, number * 100, 1, 1)));
    drawn.push((1, false, 600_000, 1, 1));
    drawn.extend((0..40).map(|number| (1, false, 50_000 + number * 100, 1, 1)));
    drawn.push((1, false, 600_001, 1, 1));
    drawn.push((1, false, 500_001, 1, 1));
    let found = Stats::of(&trace(&drawn, false), |_| ()).unwrap();
    assert_eq!(found.sequentiality.reads_in_streams, 1);
    assert_eq!(found.sequentiality.reads_sequential, 0);
}

#[test]
fn traces_of_nothing_much_have_figures() {
    let all = |stats: &Stats| {
        let json = serde_json::to_string(stats).unwrap();
        // What is no number is null in JSON.
        let nulls = json.matches("null").count();
        let absent = [
            stats.reuse.is_none(),
            stats.arrival.depth.is_none(),
            stats.content.is_none(),
        ];
        let absent = absent.into_iter().filter(|absent| *absent).count();
        assert_eq!(nulls, absent, "{json}");
    };
    let empty = plain(&[]);
    all(&empty);
    assert_eq!((empty.commands, empty.span_ns), (0, 0));
    let one = plain(&[(5, 1, 2, 8, 7, &[])]);
    all(&one);
    assert_eq!((one.commands, one.span_ns), (1, 0));
    assert!(one.arrival.iops_mean.abs() < f64::EPSILON);
    let at_once: Vec<Plain<'_>> = (0..50).map(|lba| (7, 1, 1, lba * 8, 7, &[][..])).collect();
    let at_once = plain(&at_once);
    all(&at_once);
    assert!(at_once.arrival.gap_variation.abs() < f64::EPSILON);
    assert!((at_once.arrival.bursts[0].peak_to_mean - 1.0).abs() < 1e-9);
    let flushes = plain(&[(u64::MAX, 1, 0, 0, 0, &[]), (0, 1, 0, 0, 0, &[])]);
    all(&flushes);
    let largest = plain(&[
        (0, 1, 1, u64::MAX, 0xffff, &[]),
        (u64::MAX, 1, 2, 0, 0, &[]),
    ]);
    all(&largest);
    let mut done = Stats::of(&trace(&[(0, true, 0, 1, 0)], true), |_| ()).unwrap();
    all(&done);
    let depth = done.arrival.depth.take().unwrap();
    assert!(depth.mean.abs() < f64::EPSILON, "{depth:?}");
}
