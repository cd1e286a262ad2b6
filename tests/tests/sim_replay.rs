//! Traces replayed in virtual time: order, pace, fidelity. The judge is the
//! device, which records what it is told.

use nvme::{DsmRange, Lba, NvmOpcode, QueueId, ReadWriteCdw12};
use proptest::prelude::*;
use replayer::{End, Pace, Replay, TraceFacts};
use traces::{Reader, Record, Writer, WriterOptions};
use vssd_tests::sim::replay::{Replayed, options, replay};
use vssd_tests::sim::trace::{Io, Seen, by_queue, gaps_ns, records, seen, untimed};
use vssd_tests::sim::{Device, DeviceOptions};

/// Size of the devices, blocks of 512 bytes.
const BLOCKS: u64 = (64 << 20) / 512;

fn device(latency_ns: std::ops::RangeInclusive<u64>, seed: u64) -> Device {
    Device::new(DeviceOptions {
        latency_ns,
        seed,
        ..DeviceOptions::default()
    })
    .unwrap()
}

fn replay_at(device: &Device, records: &[Record], pace: Pace) -> Replayed {
    let mut options = options();
    options.pace = pace;
    let replayed = replay(device, &device.header(), records, options).unwrap();
    assert_eq!(replayed.report.end, End::Complete);
    assert!(replayed.report.is_success(), "{}", replayed.report);
    replayed
}

/// A command with everything that a replay keeps.
fn io() -> impl Strategy<Value = Io> {
    let data = prop_oneof![
        Just(NvmOpcode::READ),
        Just(NvmOpcode::WRITE),
        Just(NvmOpcode::WRITE_ZEROES)
    ];
    let extent = (0_u64..BLOCKS - 2048, 1_u32..2048);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<u8>());
    let blocks = (data, extent, flags).prop_map(|(opcode, (lba, blocks), flags)| {
        let (fua, limited_retry, deac, hints) = flags;
        let mut io = Io::blocks(opcode, lba, blocks);
        let zeroes = opcode == NvmOpcode::WRITE_ZEROES;
        let cdw12 = ReadWriteCdw12::from_bits(io.sqe.cdw12.get())
            .with_fua(fua)
            .with_limited_retry(limited_retry)
            .with_deac(deac && zeroes);
        io.sqe.cdw12.set(cdw12.into_bits());
        if !zeroes {
            io.sqe.cdw13.set(u32::from(hints));
        }
        io
    });
    let range = (0_u64..BLOCKS - 5000, 1_u32..5000)
        .prop_map(|(lba, blocks)| DsmRange::new(Lba(lba), blocks));
    let deallocate = prop::collection::vec(range, 1..=256).prop_map(Io::deallocate);
    prop_oneof![
        12 => blocks,
        1 => deallocate,
        1 => Just(Io::new(NvmOpcode::FLUSH)),
    ]
}

/// A trace: commands on queues 1 to 4, bursts among them.
fn workload() -> impl Strategy<Value = Vec<Io>> {
    let gap = prop_oneof![Just(0_u64), 1_u64..2_000_000];
    let latency = prop::option::of(1_u64..500_000);
    let command = (io(), 1_u16..=4, gap, latency);
    prop::collection::vec(command, 1..60).prop_map(|commands| {
        let mut at_ns = 1_000_000;
        let placed = commands
            .into_iter()
            .map(|(mut io, queue, gap, latency_ns)| {
                at_ns += gap;
                io.latency_ns = latency_ns;
                io.at(queue, at_ns)
            });
        placed.collect()
    })
}

/// `workload` as it must arrive: recorded queues by the replay's numbers.
fn expected(workload: &[Io], replayed: &Replayed) -> Vec<Seen> {
    let mut commands = seen(&records(workload));
    for command in &mut commands {
        let queues = &replayed.report.queues;
        let queue = queues
            .iter()
            .find(|queue| queue.recorded.contains(&command.queue.0))
            .unwrap();
        command.queue = QueueId(queue.queue);
    }
    commands
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What the device is told is what was recorded: opcodes, addresses,
    /// lengths, flags, hints, ranges, queues, and the order of each queue.
    #[test]
    fn a_replayed_trace_equals_the_original(
        workload in workload(),
        latency_ns in prop_oneof![Just(0..=0), Just(10_000..=200_000_u64)],
        max in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let pace = if max { Pace::Max } else { Pace::Recorded };
        let replayed = replay_at(&device(latency_ns, seed), &records(&workload), pace);
        let expected = untimed(expected(&workload, &replayed));
        prop_assert_eq!(by_queue(&untimed(replayed.seen.clone())), by_queue(&expected));
        prop_assert_eq!(replayed.report.sent, workload.len() as u64);
    }

    /// At the recorded pace, every command arrives at its time to the
    /// nanosecond, where its queue has a place for it.
    #[test]
    fn recorded_pace_is_exact(mut workload in workload(), seed in any::<u64>()) {
        for io in &mut workload {
            // The queues' depths are unknown then, and large.
            io.latency_ns = None;
        }
        let replayed = replay_at(&device(10_000..=200_000, seed), &records(&workload), Pace::Recorded);
        let expected = expected(&workload, &replayed);
        let first_ns = replayed.seen[0].at_ns;
        let times: Vec<u64> = replayed.seen.iter().map(|seen| seen.at_ns - first_ns).collect();
        let wanted: Vec<u64> = expected.iter().map(|seen| seen.at_ns - 1_000_000).collect();
        let offset = wanted[0];
        let wanted: Vec<u64> = wanted.iter().map(|at_ns| at_ns - offset).collect();
        prop_assert_eq!(times, wanted);
        let pacing = replayed.report.pacing.unwrap();
        prop_assert_eq!((pacing.p50_ns, pacing.max_ns), (0, 0));
        prop_assert_eq!(replayed.report.stalls.unwrap().count, 0);
    }
}

/// A workload that keeps several queues busy, from a seed.
fn busy(seed: u64, commands: usize) -> Vec<Io> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut at_ns = 0;
    (0..commands)
        .map(|_| {
            at_ns += random.u64(0..4) * random.u64(0..20_000);
            let lba = random.u64(0..BLOCKS - 256);
            let opcode = random.choice([NvmOpcode::READ, NvmOpcode::WRITE]).unwrap();
            let mut io = Io::blocks(opcode, lba, random.u32(1..=256));
            io.latency_ns = Some(random.u64(1_000..100_000));
            io.at(random.u16(1..=4), at_ns)
        })
        .collect()
}

#[test]
fn the_same_trace_and_seed_give_the_same_replay_to_the_byte() {
    let trace = records(&busy(3, 2_000));
    for pace in [Pace::Recorded, Pace::Scaled(4.0), Pace::Max] {
        let run = |seed| {
            let replayed = replay_at(&device(5_000..=150_000, seed), &trace, pace);
            let report = serde_json::to_vec(&replayed.report).unwrap();
            (format!("{:?}", replayed.device_side).into_bytes(), report)
        };
        let (trace_1, report_1) = run(1);
        let (trace_2, report_2) = run(1);
        assert!(trace_1 == trace_2, "{pace}: the device saw the same");
        assert!(report_1 == report_2, "{pace}: the report says the same");
        let (other, _) = run(2);
        assert!(trace_1 != other, "{pace}: another seed is another run");
    }
}

#[test]
fn another_seed_may_change_the_order_between_queues_but_not_within_one() {
    let trace = records(&busy(3, 2_000));
    let run = |seed| {
        let replayed = replay_at(&device(5_000..=150_000, seed), &trace, Pace::Max);
        untimed(replayed.seen)
    };
    let (one, other) = (run(1), run(2));
    assert!(one != other, "queues take turns as completions come");
    assert_eq!(by_queue(&one), by_queue(&other));
}

#[test]
fn twice_the_pace_halves_the_times_and_half_the_pace_doubles_them() {
    let commands: Vec<Io> = (0..200_u64)
        .map(|index| {
            Io::blocks(NvmOpcode::READ, index * 8, 8).at(1, 5_000_000 + index * index * 1_000)
        })
        .collect();
    let trace = records(&commands);
    let gaps = |pace| gaps_ns(&replay_at(&device(3_000..=3_000, 1), &trace, pace).seen);
    let recorded = gaps(Pace::Recorded);
    assert_eq!(recorded, gaps_ns(&seen(&trace)));
    let halves: Vec<u64> = recorded.iter().map(|gap| gap / 2).collect();
    assert_eq!(gaps(Pace::Scaled(2.0)), halves);
    let doubles: Vec<u64> = recorded.iter().map(|gap| gap * 2).collect();
    assert_eq!(gaps(Pace::Scaled(0.5)), doubles);
}

#[test]
fn lateness_does_not_add_up() {
    // A burst that the device needs 1 ms for, in a queue of one place, then
    // commands at leisure.
    let mut commands: Vec<Io> = (0..10)
        .map(|index| Io::blocks(NvmOpcode::READ, index, 1).at(1, 0))
        .collect();
    for index in 0..10 {
        commands.push(Io::blocks(NvmOpcode::READ, index, 1).at(1, 5_000_000 + index * 1_000_000));
    }
    let trace = records(&commands);
    let device = device(100_000..=100_000, 1);
    let mut options = options();
    options.depth = Some(1);
    let replayed = replay(&device, &device.header(), &trace, options).unwrap();
    let pacing = replayed.report.pacing.unwrap();
    assert!(
        (900_000..950_000).contains(&pacing.max_ns),
        "the burst is late: {pacing:?}"
    );
    let first_ns = replayed.seen[0].at_ns;
    for (index, seen) in replayed.seen[10..].iter().enumerate() {
        let due_ns = 5_000_000 + index as u64 * 1_000_000;
        assert_eq!(seen.at_ns - first_ns, due_ns, "what follows is not");
    }
    let stalls = replayed.report.stalls.unwrap();
    assert_eq!(stalls.count, 9);
    assert!((900_000..950_000).contains(&stalls.total_ns), "{stalls:?}");
}

#[test]
fn a_burst_is_sent_in_one_go() {
    let commands: Vec<Io> = (0..100)
        .map(|index| Io::blocks(NvmOpcode::READ, index, 1).at(1, 7))
        .collect();
    let replayed = replay_at(
        &device(50_000..=50_000, 1),
        &records(&commands),
        Pace::Recorded,
    );
    assert!(gaps_ns(&replayed.seen).iter().all(|gap| *gap == 0));
    // A list is not waited for: all of it is in flight at once.
    let latency = replayed.report.opcodes[0].replayed.unwrap();
    assert!(latency.max_ns < 55_000, "{latency:?}");
}

#[test]
fn a_trace_from_a_file_read_ahead_is_the_same() {
    let trace = records(&busy(5, 40_000));
    let device = device(0..=0, 1);
    let mut writer = Writer::new(Vec::new(), &device.header(), WriterOptions::default()).unwrap();
    for record in &trace {
        writer.record(record).unwrap();
    }
    let (file, _) = writer.finish().unwrap();
    let reader = Reader::from_bytes(file).unwrap();
    let facts = TraceFacts::scan(reader.header(), reader.records()).unwrap();
    let mut controller = device.bring_up().unwrap();
    drop(device.take_records());
    let report = Replay::new(&facts, options())
        .run_ahead(&mut controller, &device.clock(), reader.records())
        .unwrap();
    assert!(report.is_success(), "{report}");
    assert_eq!(report.commands.succeeded, 40_000);
    let arrived = untimed(seen(&device.take_records()));
    assert!(by_queue(&arrived) == by_queue(&untimed(seen(&trace))));
}

#[test]
fn a_full_queue_does_not_hold_up_another() {
    let mut commands: Vec<Io> = (0..50)
        .map(|index| Io::blocks(NvmOpcode::READ, index, 1).at(1, 0))
        .collect();
    commands.push(Io::blocks(NvmOpcode::WRITE, 0, 1).at(2, 1_000));
    let trace = records(&commands);
    let device = device(100_000..=100_000, 1);
    let mut options = options();
    options.depth = Some(1);
    let replayed = replay(&device, &device.header(), &trace, options).unwrap();
    let first_ns = replayed.seen[0].at_ns;
    let write = replayed
        .seen
        .iter()
        .find(|seen| seen.opcode == NvmOpcode::WRITE)
        .unwrap();
    assert_eq!(write.at_ns - first_ns, 1_000);
}
