//! Paces other than the clock's: a cap on the rate, a closed loop, think times.
//! The judge is the device, which records what it is told.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use nvme::{NvmOpcode, QueueId};
use proptest::prelude::*;
use replayer::{End, Pace, Replay, ReplayError};
use traces::{Clock, CommandRecord, Record};
use vssd_tests::sim::replay::{Replayed, facts, infallible, options, replay};
use vssd_tests::sim::trace::{Io, gaps_ns, records, seen};
use vssd_tests::sim::{Device, DeviceOptions, SimClock};

fn device(latency_ns: std::ops::RangeInclusive<u64>, seed: u64) -> Device {
    Device::new(DeviceOptions {
        latency_ns,
        seed,
        ..DeviceOptions::default()
    })
    .unwrap()
}

fn read(lba: u64, queue: u16, at_ns: u64, latency_ns: u64) -> Io {
    let mut io = Io::blocks(NvmOpcode::READ, lba, 1).at(queue, at_ns);
    io.latency_ns = Some(latency_ns);
    io
}

fn lba(command: &CommandRecord) -> u64 {
    command.lba_range().unwrap().0.0
}

/// The commands that the device saw, in the order in which it fetched them.
fn fetched(replayed: &Replayed) -> Vec<CommandRecord> {
    let commands = replayed
        .device_side
        .iter()
        .filter_map(|record| match record {
            Record::Command { command, .. } if !command.is_admin() => Some(*command),
            _ => None,
        });
    let mut commands: Vec<_> = commands.collect();
    commands.sort_by_key(|command| command.sequence);
    commands
}

/// The most commands that the device had at a time.
fn depth_max(commands: &[CommandRecord]) -> usize {
    let end_ns = |command: &CommandRecord| command.completion.unwrap().complete_ns;
    let at = |now_ns| {
        let has = commands
            .iter()
            .filter(|it| it.submit_ns <= now_ns && now_ns < end_ns(it));
        has.count()
    };
    commands.iter().map(|it| at(it.submit_ns)).max().unwrap()
}

#[test]
fn a_cap_spreads_bursts_and_keeps_the_order_between_queues() {
    // Bursts of 20 on two queues, 100 ms apart: 5 ms each at 4,000 a second.
    let commands: Vec<Io> = (0..60_u64)
        .map(|index| {
            read(
                index,
                2 - u16::from(index % 3 == 0),
                index / 20 * 100_000_000,
                10,
            )
        })
        .collect();
    let trace = records(&commands);
    for pace in [Pace::Recorded, Pace::Max, Pace::Think] {
        let device = device(20_000..=70_000, 4);
        let mut options = options();
        options.pace = pace;
        options.iops_max = NonZeroU32::new(4_000);
        options.depth = Some(64);
        let replayed = replay(&device, &device.header(), &trace, options).unwrap();
        assert!(replayed.report.is_success(), "{}", replayed.report);
        let gaps = gaps_ns(&replayed.seen);
        assert!(gaps.iter().all(|gap| *gap >= 250_000), "{pace}: {gaps:?}");
        let lbas: Vec<u64> = fetched(&replayed).iter().map(lba).collect();
        // Thinking, queues have times of their own.
        assert!(pace == Pace::Think || lbas.is_sorted(), "{pace}: {lbas:?}");
        if pace == Pace::Recorded {
            let tight = gaps.iter().filter(|gap| **gap == 250_000).count();
            assert_eq!(tight, 57, "each burst goes out as fast as it may: {gaps:?}");
            let pacing = replayed.report.pacing.unwrap();
            assert_eq!(pacing.max_ns, 0, "the cap's times are the times");
        }
    }
}

#[test]
fn a_closed_loop_keeps_its_depth_whatever_the_times() {
    let commands: Vec<Io> = (0..400_u64)
        .map(|index| {
            read(
                index,
                1 + u16::try_from(index % 3).unwrap(),
                index * 1_000_000_000,
                10,
            )
        })
        .collect();
    let trace = records(&commands);
    let run = |depth| {
        let device = device(100_000..=100_000, 1);
        let mut options = options();
        options.pace = Pace::Closed;
        options.depth = Some(depth);
        let replayed = replay(&device, &device.header(), &trace, options).unwrap();
        assert!(replayed.report.is_success(), "{}", replayed.report);
        let commands = fetched(&replayed);
        let lbas: Vec<u64> = commands.iter().map(lba).collect();
        // Queues take turns at a moment, and no further apart than that.
        let out_of_order = (0..).zip(&lbas).map(|(at, lba)| lba.abs_diff(at)).max();
        assert!(out_of_order.unwrap() < 2 * u64::from(depth), "{lbas:?}");
        assert_eq!(depth_max(&commands), usize::from(depth));
        replayed.report.replayed_ns
    };
    for depth in [1, 4, 16] {
        let ideal_ns = 400 * 100_000 / u64::from(depth);
        let took_ns = run(depth);
        assert!(
            (ideal_ns..ideal_ns + ideal_ns / 20).contains(&took_ns),
            "at depth {depth}: {took_ns} ns"
        );
    }
}

#[test]
fn a_closed_loop_without_a_depth_is_refused() {
    let device = device(0..=0, 1);
    let mut options = options();
    options.pace = Pace::Closed;
    let trace = records(&[read(1, 1, 0, 10)]);
    let refused = replay(&device, &device.header(), &trace, options).unwrap_err();
    assert!(refused.to_string().contains("--depth"), "{refused}");
}

#[test]
fn without_times_of_completion_nobody_knows_what_was_waited_for() {
    let device = device(0..=0, 1);
    let mut options = options();
    options.pace = Pace::Think;
    let mut io = read(1, 1, 0, 10);
    io.latency_ns = None;
    let refused = replay(&device, &device.header(), &records(&[io]), options).unwrap_err();
    assert!(matches!(
        refused.downcast_ref::<ReplayError>(),
        Some(ReplayError::NoCompletions)
    ));
}

/// For each command, in the order of the trace: which one it waited for, if
/// any, and for how long after.
fn waits(trace: &[CommandRecord]) -> Vec<Option<(usize, u64)>> {
    let end_ns = |command: &CommandRecord| command.completion.unwrap().complete_ns;
    let of = |index: usize| {
        let command = &trace[index];
        let before = (0..index).filter(|other| {
            let other = &trace[*other];
            other.queue == command.queue && end_ns(other) <= command.submit_ns
        });
        let last = before.max_by_key(|other| end_ns(&trace[*other]))?;
        Some((last, command.submit_ns - end_ns(&trace[last])))
    };
    (0..trace.len()).map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// On a device of another speed, every command comes as long after the
    /// completion that it waited for as it came when it was recorded.
    #[test]
    fn think_times_are_kept_on_a_device_of_another_speed(
        commands in prop::collection::vec((1_u16..=3, 0_u64..300_000, 1_u64..400_000), 2..80),
        slow in any::<bool>(),
        folded in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut at_ns = 0;
        let commands: Vec<Io> = commands.iter().zip(0..).map(|((queue, gap, latency), index)| {
            at_ns += gap;
            // A nanosecond apart, so that completions have an order.
            read(index, *queue, at_ns, latency * 1_000 + index)
        }).collect();
        let trace = records(&commands);
        let recorded: Vec<CommandRecord> = trace.iter().map(|record| match record {
            Record::Command { command, .. } => *command,
            _ => unreachable!(),
        }).collect();
        let latency_ns = if slow { 300_000..=3_000_000 } else { 1_000..=20_000 };
        let device = device(latency_ns, seed);
        let mut options = options();
        options.pace = Pace::Think;
        options.depth = Some(256);
        options.queues = folded.then_some(1);
        let replayed = replay(&device, &device.header(), &trace, options).unwrap();
        prop_assert!(replayed.report.is_success(), "{}", replayed.report);
        prop_assert_eq!(replayed.report.stalls.unwrap().count, 0);

        let arrived: BTreeMap<u64, CommandRecord> =
            fetched(&replayed).iter().map(|command| (lba(command), *command)).collect();
        let at = |index: usize| arrived[&(index as u64)];
        let start_ns = arrived.values().map(|command| command.submit_ns).min().unwrap();
        let mut before: BTreeMap<QueueId, u64> = BTreeMap::new();
        for (index, wait) in waits(&recorded).into_iter().enumerate() {
            let due_ns = match wait {
                Some((on, think_ns)) => at(on).completion.unwrap().complete_ns + think_ns,
                None => start_ns + recorded[index].submit_ns - recorded[0].submit_ns,
            };
            let got_ns = at(index).submit_ns;
            prop_assert!(got_ns >= due_ns, "{index} came {} ns early", due_ns - got_ns);
            // A completion is seen a little after it was posted, and commands
            // of one queue keep their order.
            let last_ns = before.insert(recorded[index].queue, got_ns).unwrap_or(0);
            let late_ns = got_ns - due_ns.max(last_ns);
            prop_assert!(late_ns < 100_000, "{index} came {late_ns} ns late");
        }
    }
}

/// Time that goes by while it is asked for, nanoseconds a time.
struct Passing(SimClock, u64);

impl Clock for Passing {
    fn now_ns(&self) -> u64 {
        self.0.advance(self.1);
        self.0.now_ns()
    }

    fn wait_until(&self, deadline_ns: u64) {
        self.0.wait_until(deadline_ns);
    }
}

#[test]
fn what_becomes_due_while_the_replay_looks_is_sent() {
    // Nothing is in flight while one thinks, for up to 20 us.
    let mut at_ns = 0;
    let commands: Vec<Io> = (0..500)
        .map(|index| {
            at_ns += 10_000 + index * 40;
            read(index, 1, at_ns, 10_000)
        })
        .collect();
    let trace = records(&commands);
    for step_ns in [37, 101, 503, 1_009, 3_001] {
        let device = device(2_000..=9_000, step_ns);
        let facts = facts(&device.header(), &trace);
        let mut controller = device.bring_up().unwrap();
        let mut options = options();
        options.pace = Pace::Think;
        let clock = Passing(device.clock(), step_ns);
        let report = Replay::new(&facts, options)
            .run(&mut controller, &clock, infallible(&trace))
            .unwrap();
        assert_eq!(report.end, End::Complete, "{step_ns}: {report}");
        assert_eq!(report.commands.succeeded, 500);
    }
}

#[test]
fn a_slow_queue_does_not_hold_up_the_thinking_of_another() {
    // Queue 1 does one command after the other; queue 2 has a rhythm.
    let mut commands: Vec<Io> = (0..20)
        .map(|index| read(index, 1, index * 1_000, 900))
        .collect();
    commands.extend((0..20).map(|index| read(100 + index, 2, 500 + index * 1_000, 900)));
    commands.sort_by_key(|io| io.at_ns);
    let trace = records(&commands);
    // On a queue of its own for each, and folded onto one.
    for queues in [None, Some(1)] {
        let device = device(1_000_000..=1_000_000, 1);
        let mut options = options();
        options.pace = Pace::Think;
        options.queues = queues;
        let replayed = replay(&device, &device.header(), &trace, options).unwrap();
        // Both work at the same time: 20 ms and not 40.
        let took_ns = replayed.report.replayed_ns;
        assert!((20_000_000..21_000_000).contains(&took_ns), "{took_ns}");
        assert_eq!(seen(&replayed.device_side).len(), 40);
    }
}
