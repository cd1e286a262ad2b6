//! Several traces as one, over and over, in part, for a while, and on from
//! where a replay ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nvme::{NvmOpcode, QueueId};
use replayer::{
    End, Filter, Order, Outlook, Pace, Playlist, Position, Replay, ReplayOptions, Report,
    TraceFacts,
};
use traces::{Header, NamespaceInfo, Reader, Writer, WriterOptions};
use vssd_tests::sim::replay::options;
use vssd_tests::sim::trace::{Io, Seen, records, seen};
use vssd_tests::sim::{Device, DeviceOptions};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

fn device() -> Device {
    Device::new(DeviceOptions {
        latency_ns: 2_000..=2_000,
        ..DeviceOptions::default()
    })
    .unwrap()
}

/// A trace in a file, of a device with blocks of 512 bytes.
fn trace(commands: &[Io], block_bytes: u32) -> Reader {
    let header = Header {
        namespaces: vec![NamespaceInfo {
            id: 1,
            blocks: (64 << 20) / u64::from(block_bytes),
            block_bytes,
        }],
        ..Header::default()
    };
    let mut writer = Writer::new(Vec::new(), &header, WriterOptions::default()).unwrap();
    for record in records(commands) {
        writer.record(&record).unwrap();
    }
    Reader::from_bytes(writer.finish().unwrap().0).unwrap()
}

fn read(lba: u64, queue: u16, at_ns: u64) -> Io {
    let mut io = Io::blocks(NvmOpcode::READ, lba, 1).at(queue, at_ns);
    io.latency_ns = Some(10 * US);
    io
}

/// Address and time since the first command, of every command.
fn arrivals(seen: &[Seen]) -> Vec<(u64, u64)> {
    let start_ns = seen[0].at_ns;
    let each = seen.iter();
    each.map(|seen| (seen.cdw10_15[0].into(), seen.at_ns - start_ns))
        .collect()
}

/// Replays `list` so many times, from a place on.
fn play(
    list: &Playlist<'_>,
    passes: Option<u64>,
    from: Position,
    options: ReplayOptions,
) -> (Report, Vec<Seen>) {
    let device = device();
    let facts = TraceFacts::scan(list.header(), list.once()).unwrap();
    let mut controller = device.bring_up().unwrap();
    drop(device.take_records());
    let report = Replay::new(&facts, options)
        .run(&mut controller, &device.clock(), list.play(passes, from))
        .unwrap();
    controller.shutdown().unwrap();
    (report, seen(&device.take_records()))
}

#[test]
fn traces_follow_each_other_and_start_again_without_a_gap() {
    let readers = [
        trace(&[read(1, 1, 5_000 * MS), read(2, 1, 5_001 * MS)], 512),
        trace(&[read(3, 1, 7 * MS), read(4, 2, 9 * MS)], 512),
    ];
    let list = Playlist::new(&readers, Order::InTurn, Filter::default()).unwrap();
    let (report, seen) = play(&list, Some(2), Position::default(), options());
    assert!(report.is_success(), "{report}");
    // A trace is over with its last completion, 10 us after a submission.
    let pass = 3 * MS + 20 * US;
    let once = [(1, 0), (2, MS), (3, MS + 10 * US), (4, 3 * MS + 10 * US)];
    let again = once.map(|(lba, at)| (lba, at + pass));
    assert_eq!(arrivals(&seen), [once, again].concat());
}

#[test]
fn merged_traces_run_at_the_same_time_on_queues_of_their_own() {
    let readers = [
        trace(&[read(1, 1, 5_000 * MS), read(2, 1, 5_002 * MS)], 512),
        trace(&[read(3, 1, 7 * MS), read(4, 1, 8 * MS)], 512),
    ];
    let list = Playlist::new(&readers, Order::Merged, Filter::default()).unwrap();
    let (report, seen) = play(&list, Some(1), Position::default(), options());
    assert!(report.is_success(), "{report}");
    let mut arrived = arrivals(&seen);
    arrived.sort_unstable();
    assert_eq!(arrived, [(1, 0), (2, 2 * MS), (3, 0), (4, MS)]);
    let queue = |lba| {
        let it = seen.iter().find(|seen| seen.cdw10_15[0] == lba);
        it.unwrap().queue
    };
    assert_eq!((queue(1), queue(3)), (queue(2), queue(4)));
    assert_ne!(queue(1), queue(3));
}

#[test]
fn traces_that_disagree_on_blocks_are_not_replayed_together() {
    let readers = [trace(&[read(1, 1, 0)], 512), trace(&[read(1, 1, 0)], 4096)];
    let error = Playlist::new(&readers, Order::Merged, Filter::default()).unwrap_err();
    assert!(error.to_string().contains("512 bytes"), "{error}");
}

#[test]
fn what_a_filter_leaves_out_is_as_if_it_had_never_been() {
    let commands: Vec<Io> = (0..100)
        .map(|index| read(index, 1 + u16::from(index % 2 == 1), index * MS))
        .collect();
    let readers = [trace(&commands, 512)];
    let mut filter = Filter::default();
    filter.from = Some(Duration::from_millis(20));
    filter.to = Some(Duration::from_millis(60));
    filter.queues = Some([QueueId(2)].into());
    filter.lbas = Some(30..=1_000);
    let list = Playlist::new(&readers, Order::InTurn, filter).unwrap();
    let (report, seen) = play(&list, Some(1), Position::default(), options());
    assert!(report.is_success(), "{report}");
    let expected: Vec<(u64, u64)> = (0..15).map(|i| (31 + 2 * i, 2 * i * MS)).collect();
    assert_eq!(arrivals(&seen), expected);
    assert_eq!(report.commands.recorded, 15);
    assert_eq!(report.queues.len(), 1, "only the queues that are left");
}

#[test]
fn time_ends_an_endless_replay_and_that_is_a_success() {
    let commands: Vec<Io> = (0..10).map(|index| read(index, 1, index * MS)).collect();
    let readers = [trace(&commands, 512)];
    let list = Playlist::new(&readers, Order::InTurn, Filter::default()).unwrap();
    let mut options = options();
    options.duration = Some(Duration::from_millis(95));
    let (report, seen) = play(&list, None, Position::default(), options);
    assert!(report.is_success(), "{report}");
    assert_eq!(report.end, End::Complete);
    // A pass takes 9.01 ms: ten of them, and the first five of the next.
    assert_eq!(seen.len(), 105, "{report}");
    assert_eq!(report.commands.recorded, 105);
    assert_eq!(report.resume_at.unwrap().commands, 105);
}

#[test]
fn a_replay_goes_on_where_another_was_stopped() {
    let commands: Vec<Io> = (0..50)
        .map(|index| read(index, 1 + u16::from(index % 3 == 0), index * 20 * MS))
        .collect();
    let readers = [trace(&commands, 512)];
    let list = Playlist::new(&readers, Order::InTurn, Filter::default()).unwrap();
    for pace in [Pace::Recorded, Pace::Scaled(2.0), Pace::Think] {
        let device = device();
        let facts = TraceFacts::scan(list.header(), list.once()).unwrap();
        let mut controller = device.bring_up().unwrap();
        drop(device.take_records());
        let stop = AtomicBool::new(false);
        let mut done = |progress: &replayer::Progress| {
            stop.store(progress.done >= 70, Ordering::Relaxed);
        };
        let mut options = options();
        options.pace = pace;
        let first = Replay::new(&facts, options.clone())
            .stop_on(&stop)
            .on_progress(&mut done)
            .run(
                &mut controller,
                &device.clock(),
                list.play(Some(3), Position::default()),
            )
            .unwrap();
        assert_eq!(first.end, End::Stopped, "{first}");
        let before = seen(&device.take_records());
        let at = Position::default().after(&first.resume_at.unwrap(), facts.commands);
        assert_eq!(at.passes, 1, "{pace}: {at:?}");
        device.clock().advance(MS);
        let (rest, after) = play(&list, Some(3), at, options);
        assert!(rest.is_success(), "{rest}");
        let mut lbas: Vec<u64> = [before, after]
            .concat()
            .iter()
            .map(|seen| seen.cdw10_15[0].into())
            .collect();
        assert_eq!(lbas.len(), 150, "{pace}: every command once");
        lbas.sort_unstable();
        let expected: Vec<u64> = (0..150).map(|index| index / 3).collect();
        assert_eq!(lbas, expected, "{pace}");
    }
}

/// A medium that takes 10 ms for everything.
fn slow_device() -> Device {
    Device::new(DeviceOptions {
        latency_ns: 10 * MS..=10 * MS,
        ..DeviceOptions::default()
    })
    .unwrap()
}

/// Replays `list` so many times, from a place on, until so many commands are done:
/// the report, and the addresses that the device saw.
fn play_until(
    (list, passes): (&Playlist<'_>, u64),
    from: Position,
    device: &Device,
    done: u64,
) -> (Report, Vec<u64>) {
    let facts = TraceFacts::scan(list.header(), list.once()).unwrap();
    let mut controller = device.bring_up().unwrap();
    drop(device.take_records());
    let stop = AtomicBool::new(false);
    let mut look = |progress: &replayer::Progress| {
        stop.store(progress.done >= done, Ordering::Relaxed);
    };
    let mut options = options();
    options.pace = Pace::Max;
    options.depth = Some(1);
    let records = list.play(Some(passes), from);
    let report = Replay::new(&facts, options)
        .stop_on(&stop)
        .on_progress(&mut look)
        .run(&mut controller, &device.clock(), records)
        .unwrap();
    controller.shutdown().unwrap();
    let seen = seen(&device.take_records());
    let lbas = seen.iter().map(|seen| seen.cdw10_15[0].into());
    (report, lbas.collect())
}

#[test]
fn a_replay_whose_queues_stand_apart_goes_on_with_what_each_has_left() {
    // One queue has three times the work of the other, and is behind.
    let commands: Vec<Io> = (0..40)
        .map(|index| read(index, 1 + u16::from(index % 4 == 0), index * US))
        .collect();
    let readers = [trace(&commands, 512)];
    let list = Playlist::new(&readers, Order::InTurn, Filter::default()).unwrap();
    let device = slow_device();
    let (mut at, mut lbas, mut stops) = (Position::default(), Vec::new(), 0);
    loop {
        let (report, seen) = play_until((&list, 3), at.clone(), &device, 20);
        lbas.extend(seen);
        let Some(reached) = report.resume_at else {
            break;
        };
        assert!(!reached.beyond.is_empty() || stops > 0, "{reached:?}");
        at = at.after(&reached, 40);
        stops += 1;
        assert_eq!(at.commands(40), lbas.len() as u64);
    }
    assert!(stops >= 2, "{stops}");
    lbas.sort_unstable();
    let expected: Vec<u64> = (0..120).map(|index| index / 3).collect();
    assert_eq!(lbas, expected);
}

#[test]
fn a_command_that_was_begun_is_sent_to_its_end() {
    // Sixteen parts, of 1 MiB each; and one more.
    let commands = [0, 1 << 15].map(|lba| {
        let mut io = Io::blocks(NvmOpcode::READ, lba, 1 << 15);
        io.latency_ns = Some(10 * US);
        io
    });
    let readers = [trace(&commands, 512)];
    let list = Playlist::new(&readers, Order::InTurn, Filter::default()).unwrap();
    let device = slow_device();
    let (report, lbas) = play_until((&list, 1), Position::default(), &device, 0);
    assert_eq!(report.end, End::Stopped);
    let expected: Vec<u64> = (0..16).map(|part| part << 11).collect();
    assert_eq!(lbas, expected);
    assert_eq!(
        (report.commands.succeeded, report.commands.unfinished),
        (1, 1)
    );
    assert_eq!(report.resume_at.unwrap().commands, 1);
}

#[test]
fn the_outlook_says_what_is_written_where() {
    let mut write = Io::blocks(NvmOpcode::WRITE, 1_000, 8).at(1, 0);
    write.latency_ns = Some(10);
    let mut zeroes = Io::blocks(NvmOpcode::WRITE_ZEROES, 5_000, 100).at(2, 3_000 * MS);
    zeroes.latency_ns = Some(10);
    let readers = [trace(&[write, read(90_000, 1, MS), zeroes], 512)];
    let list = Playlist::new(&readers, Order::InTurn, Filter::default()).unwrap();
    let facts = TraceFacts::scan_extents(list.header(), list.once()).unwrap();
    let device = device();
    let controller = device.bring_up().unwrap();
    let look = |change: fn(&mut ReplayOptions)| {
        let mut options = ReplayOptions::default();
        change(&mut options);
        Outlook::new(&facts, &options, controller.info()).unwrap()
    };
    let outlook = look(|_| {});
    let [write] = outlook.writes.as_slice() else {
        panic!("{outlook:?}");
    };
    assert_eq!((write.commands, write.bytes), (2, 108 * 512));
    assert_eq!((write.first, write.last), (Some(1_000), Some(5_099)));
    assert_eq!(outlook.length_ns, Some(3_000 * MS + 10));
    let text = outlook.to_string();
    assert!(
        text.contains("2 commands change 54.0 KiB in LBA 1000..5099"),
        "{text}"
    );
    let moved = look(|options| options.mapping = replayer::Mapping::Offset(50));
    assert_eq!(moved.writes[0].first, Some(1_050));
    let packed = look(|options| options.mapping = replayer::Mapping::Compact);
    assert_eq!(
        (packed.writes[0].first, packed.writes[0].last),
        (Some(0), Some(107))
    );
    let capped = look(|options| options.iops_max = std::num::NonZeroU32::new(1));
    assert_eq!(capped.length_ns, Some(3_000 * MS + 10));
    let fast = look(|options| options.pace = Pace::Max);
    assert_eq!(fast.length_ns, None);
}
