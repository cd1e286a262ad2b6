use std::collections::{HashMap, VecDeque};

use super::{OLD, Pairs};
use crate::{Io, Item, Operation};

const US: u64 = 1_000;

fn flush(at_us: u64) -> Io {
    Io::new(at_us * US, Operation::Flush, 0, 0)
}

/// What comes of events: `(time in us, whether it is a completion)`. The
/// latency of each request by its time, and how many completions are nobody's.
fn paired(events: &[(u64, bool)]) -> (HashMap<u64, Option<u64>>, usize) {
    let mut pairs = Pairs::default();
    let mut out = VecDeque::new();
    let mut strange = 0;
    for (at_us, completes) in events {
        if *completes {
            let known = pairs.complete(&flush(*at_us), false, &mut out);
            strange += usize::from(!known);
        } else {
            pairs.issue(flush(*at_us), &mut out);
        }
    }
    pairs.finish(&mut out);
    let mut found = HashMap::new();
    for item in out {
        let Item::Io(io) = item else {
            panic!("{item:?}");
        };
        let took_us = io.latency_ns.map(|ns| ns / US);
        assert_eq!(found.insert(io.submit_ns / US, took_us), None, "twice");
    }
    (found, strange)
}

/// Flushes of `each_us`, `(issue, latency)`, in the order of time, without the
/// completions of those in `lost`.
fn events(flushes: &[(u64, u64)], lost: &[usize]) -> Vec<(u64, bool)> {
    let mut events = Vec::new();
    for (number, (at_us, took_us)) in flushes.iter().enumerate() {
        events.push((*at_us, false));
        if !lost.contains(&number) {
            events.push((at_us + took_us, true));
        }
    }
    events.sort_unstable();
    events
}

/// A loop of flushes: each a little after the one before has completed.
fn one_after_the_other(count: u64) -> Vec<(u64, u64)> {
    (0..count).map(|it| (it * 1_050, 1_000 + it % 7)).collect()
}

/// Two in flight at all times.
fn two_at_a_time(count: u64) -> Vec<(u64, u64)> {
    (0..count).map(|it| (it * 500, 950 + it % 7)).collect()
}

#[test]
fn a_lost_completion_costs_one_request_its_end_and_no_other() {
    // In the middle, at the start where nobody knows what flushes take, at the
    // end, and several at once.
    for lost in [&[50][..], &[0], &[99], &[50, 51, 52], &[0, 40, 41, 80]] {
        let flushes = one_after_the_other(100);
        let (found, strange) = paired(&events(&flushes, lost));
        assert_eq!((found.len(), strange), (100, 0));
        for (number, (at_us, took_us)) in flushes.iter().enumerate() {
            let expected = (!lost.contains(&number)).then_some(*took_us);
            assert_eq!(found[at_us], expected, "{number} of {lost:?}");
        }
    }
}

#[test]
fn what_overlaps_completes_in_order() {
    // Groups, which are clear.
    let groups = [(0, 90), (10, 90), (20, 90), (1_000, 50), (1_001, 60)];
    let (found, strange) = paired(&events(&groups, &[]));
    assert_eq!(strange, 0);
    for (at_us, took_us) in groups {
        assert_eq!(found[&at_us], Some(took_us));
    }
    // An endless chain, after one that tells what they take.
    let mut flushes = vec![(0, 950)];
    flushes.extend(two_at_a_time(1_000).iter().map(|it| (it.0 + 5_000, it.1)));
    let (found, strange) = paired(&events(&flushes, &[]));
    assert_eq!(strange, 0);
    for (at_us, took_us) in &flushes {
        assert_eq!(found[at_us], Some(*took_us), "{at_us}");
    }
    // A loss in it costs no more than a few their times.
    let (found, strange) = paired(&events(&flushes, &[500]));
    let wrong = flushes.iter().filter(|it| found[&it.0] != Some(it.1));
    assert!(wrong.count() <= 4);
    assert_eq!((found.len(), strange), (flushes.len(), 0));
}

#[test]
fn what_never_completes_is_given_up_in_time() {
    let mut pairs = Pairs::default();
    let mut out = VecDeque::new();
    let mut given_up = pairs.issue(flush(0), &mut out);
    let mut latest = 0;
    while given_up == 0 {
        latest += 1;
        assert!(latest <= OLD + 1);
        let mut io = Io::new(latest, Operation::Read, latest * 4096, 512);
        given_up += pairs.issue(io.clone(), &mut out);
        io.submit_ns += 1;
        assert!(pairs.complete(&io, false, &mut out));
    }
    assert!(out.contains(&Item::Io(flush(0))));
    // One that is issued again completes once; a second completion is nobody's.
    let write = Io::new(1, Operation::Write, 0, 512);
    pairs.issue(write.clone(), &mut out);
    assert!(pairs.requeue(&write, &mut out));
    assert!(!pairs.requeue(&write, &mut out));
    pairs.issue(write.clone(), &mut out);
    assert!(pairs.complete(&write, true, &mut out));
    assert!(!pairs.complete(&write, true, &mut out));
}

#[test]
fn each_of_a_crowd_of_one_key_comes_out_once() {
    let mut pairs = Pairs::default();
    let mut out = VecDeque::new();
    for at_us in 0..60_000 {
        pairs.issue(flush(at_us), &mut out);
    }
    for at_us in 60_000..120_000 {
        assert!(pairs.complete(&flush(at_us), false, &mut out));
        pairs.issue(flush(at_us), &mut out);
    }
    pairs.finish(&mut out);
    assert_eq!(out.len(), 120_000);
}
