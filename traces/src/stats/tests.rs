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
