//! Many queues, deep queues, many laps, and devices that go away.

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::common::{PATIENCE, Server, bring_up, drain, run, succeed};
use driver::ioworker::{IoSize, Ioworker, IoworkerOptions, Region, Size, buffer_bytes};
use driver::{Command, ControllerOptions, DriverError, QueueOptions, QueuePair, SubmitReason};
use nvme::{DsmRange, Lba, NamespaceId, ZeroBased};
use traces::{Clock, CommandRecord, EventRecord, MonotonicClock, Tap};
use vssd::ControllerConfig;
use vssd::front::vfio_user as front;
use vssd::media::Ram;
use vssd::worker::StopHandle;

const N1: NamespaceId = NamespaceId(1);

fn depth(depth: u16) -> QueueOptions {
    QueueOptions {
        depth,
        ..QueueOptions::default()
    }
}

#[test]
fn a_queue_is_as_deep_as_it_says_and_no_deeper() {
    let config = ControllerConfig {
        queue_entries_max: 2048,
        ..ControllerConfig::default()
    };
    let server = Server::start(config, 16 << 20);
    let mut device = server.connect();
    for wanted in [1, 2, 3, 127, 1024, 2047] {
        let mut pair = device.create_queue_pair(depth(wanted)).unwrap();
        let buffer = device.allocate_dma(usize::from(wanted) * 512).unwrap();
        // Three laps of the ring, each full.
        for _ in 0..3 {
            for user in 0..usize::from(wanted) {
                let data = buffer.slice(user * 512, 512).unwrap();
                let lba = Lba(u64::try_from(user).unwrap());
                let read = Command::read(N1, lba, ZeroBased(0), data);
                pair.submit(read, lba.0, 0).unwrap();
            }
            let error = pair.submit(Command::flush(N1), 0, 0).unwrap_err();
            assert_eq!(error.reason, SubmitReason::QueueFull);
            let mut seen = vec![0; usize::from(wanted)];
            drain(&mut pair, |done| {
                assert!(done.status.is_success(), "{}", done.status);
                seen[usize::try_from(done.user).unwrap()] += 1;
            });
            assert!(seen.iter().all(|count| *count == 1));
        }
        device.delete_queue_pair(pair.id()).unwrap();
        let error = pair.submit(Command::flush(N1), 0, 0).unwrap_err();
        assert_eq!(error.reason, SubmitReason::Closed);
    }
}

#[test]
fn all_queue_pairs_work_at_once_and_identifiers_are_used_again() {
    let server = Server::small();
    let mut device = server.connect();
    let count = device.info().queue_pairs_max;
    assert_eq!(count, 64);
    let mut pairs: Vec<QueuePair> = (0..count)
        .map(|_| device.create_queue_pair(depth(16)).unwrap())
        .collect();
    let error = device.create_queue_pair(depth(16)).unwrap_err();
    assert!(
        matches!(error, DriverError::NoQueueLeft { count: 64, .. }),
        "{error}"
    );
    for pair in &mut pairs {
        for user in 0..16 {
            pair.submit(Command::flush(N1), user, 0).unwrap();
        }
        pair.ring();
    }
    for pair in &mut pairs {
        let mut count = 0;
        drain(pair, |_| count += 1);
        assert_eq!(count, 16);
    }
    let gone = pairs.swap_remove(20);
    device.delete_queue_pair(gone.id()).unwrap();
    let mut again = device.create_queue_pair(depth(16)).unwrap();
    assert_eq!(again.id(), gone.id());
    succeed(&mut again, Command::flush(N1));
}

#[test]
fn a_queue_pair_works_on_a_thread_of_its_own() {
    let server = Server::small();
    let mut device = server.connect();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let mut pair = device.create_queue_pair(depth(8)).unwrap();
            std::thread::spawn(move || {
                for _ in 0..200 {
                    succeed(&mut pair, Command::flush(N1));
                }
            })
        })
        .collect();
    // The controller goes on meanwhile.
    for _ in 0..50 {
        device.check().unwrap();
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_hundred_thousand_commands_wrap_every_ring() {
    let server = Server::start(ControllerConfig::default(), 64 << 20);
    let mut device = server.connect();
    for depth in [1, 7, 100] {
        let options = IoworkerOptions {
            qdepth: depth,
            read_percentage: Some(70),
            io_count: Some(if depth == 100 { 120_000 } else { 20_000 }),
            region: Region {
                start: Size::Blocks(0),
                end: Some(Size::Blocks(8192)),
            },
            io_size: IoSize::One(Size::Bytes(512)),
            verify: true,
            seed: u64::from(depth),
            ..IoworkerOptions::default()
        };
        let worker = Ioworker::create(&mut device, options).unwrap();
        let report = worker.run(&MonotonicClock::start()).unwrap();
        assert_eq!(report.errors(), 0);
        assert!(report.verified_blocks > 1000);
    }
}

#[test]
fn a_deleted_queue_gives_back_what_was_in_flight() {
    let server = Server::small();
    let mut device = server.connect();
    let mut pair = device.create_queue_pair(depth(64)).unwrap();
    for user in 0..64 {
        pair.submit(Command::flush(N1), user, 0).unwrap();
    }
    device.delete_queue_pair(pair.id()).unwrap();
    let mut seen = 0;
    drain(&mut pair, |done| {
        assert!(done.lost);
        seen += 1;
    });
    assert_eq!(seen, 64);
}

#[test]
fn an_abort_is_answered_and_the_command_ends() {
    let server = Server::small();
    let mut device = server.connect();
    let mut pair = device.create_queue_pair(depth(64)).unwrap();
    let tag = pair.submit(Command::flush(N1), 1, 0).unwrap();
    pair.ring();
    // It is aborted, or it was too fast: it ends once in either case.
    let _aborted = device.abort(pair.id(), tag).unwrap();
    let mut ends = 0;
    drain(&mut pair, |_| ends += 1);
    assert_eq!(ends, 1);
}

/// Counts what it is shown.
#[derive(Default)]
struct Counter {
    commands: u64,
    failed: u64,
    next_sequence: Vec<u64>,
}

impl Tap for Counter {
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        assert!(ranges.is_empty());
        let completion = record.completion.unwrap();
        assert!(completion.complete_ns >= record.submit_ns);
        self.commands += 1;
        self.failed += u64::from(!completion.status.is_success());
        self.next_sequence.push(record.sequence);
    }

    fn event(&mut self, _record: &EventRecord) {}
}

#[test]
fn a_tap_on_this_side_sees_every_command() {
    let server = Server::small();
    let mut device = server.connect();
    let pair = device.create_queue_pair(depth(32)).unwrap();
    let pair = pair.with_tap(Counter::default(), driver::Sequence::new());
    let options = IoworkerOptions {
        qdepth: 32,
        io_count: Some(5000),
        ..IoworkerOptions::default()
    };
    let namespace = device.info().namespaces[0];
    let bytes = buffer_bytes(&options, namespace).unwrap();
    let buffer = device.allocate_dma(bytes).unwrap();
    let mut worker = Ioworker::new(pair, buffer, namespace, options).unwrap();
    let clock = MonotonicClock::start();
    while worker.step(&clock).unwrap() {}
    let (mut pair, report) = worker.finish();
    assert_eq!(report.reads.commands, 5000);
    let tap = pair.tap_mut();
    assert_eq!((tap.commands, tap.failed), (5000, 0));
    tap.next_sequence.sort_unstable();
    assert!(tap.next_sequence.iter().copied().eq(0..5000));
}

#[test]
fn a_server_that_stops_is_noticed_by_everybody() {
    let mut server = Server::small();
    let mut device = server.connect();
    let options = IoworkerOptions {
        qdepth: 8,
        time: Some(Duration::from_secs(60)),
        ..IoworkerOptions::default()
    };
    let worker = Ioworker::create(&mut device, options).unwrap();
    let thread = std::thread::spawn(move || worker.run(&MonotonicClock::start()));
    wait_ms(50);
    server.stop();
    let error = thread.join().unwrap().unwrap_err();
    assert!(matches!(error, DriverError::DeviceGone { .. }), "{error}");
    let error = device.check().unwrap_err();
    assert!(matches!(error, DriverError::DeviceGone { .. }), "{error}");
    assert!(matches!(
        device.reset(),
        Err(DriverError::DeviceGone { .. })
    ));
    assert!(matches!(
        device.shutdown(),
        Err(DriverError::DeviceGone { .. })
    ));
}

fn wait_ms(ms: u64) {
    let clock = MonotonicClock::start();
    clock.wait_until(ms * 1_000_000);
}

/// Set for the process that is killed: the socket that it is to serve.
const VICTIM: &str = "VSSD_DRIVER_TEST_SOCKET";

/// Not a test: the other end of the next one, in a process that can be killed.
#[test]
#[ignore = "run by another test"]
fn victim() {
    let path = std::env::var_os(VICTIM).unwrap();
    let mut server = front::Server::bind(path.as_ref(), front::Options::default()).unwrap();
    let media = Ram::new(16 << 20).unwrap();
    let clock = MonotonicClock::start();
    let config = ControllerConfig::default();
    let mut controller = vssd::Controller::new(config, media, (), clock).unwrap();
    let stop = StopHandle::new().unwrap();
    server.run(&mut controller, &stop).unwrap();
}

fn spawn_victim(path: &std::path::Path) -> Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "queues::victim"])
        .env(VICTIM, path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_device_that_is_killed_in_the_middle_is_an_error_and_no_hang() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cntrl");
    for round in 0..3 {
        let mut victim = spawn_victim(&path);
        let clock = MonotonicClock::start();
        let mut device = loop {
            match bring_up(&path, ControllerOptions::default()) {
                Ok(device) => break device,
                Err(DriverError::NobodyListens { .. }) if clock.now_ns() < 10_000_000_000 => {
                    wait_ms(5);
                }
                Err(error) => panic!("{error}"),
            }
        };
        let mut pair = device.create_queue_pair(depth(64)).unwrap();
        let buffer = device.allocate_dma(4096).unwrap();
        let read = Command::read(N1, Lba(0), ZeroBased(7), buffer.slice(0, 4096).unwrap());
        assert!(run(&mut pair, read).status.is_success());
        if round == 0 {
            // In the middle of an admin command.
            device.request_event().unwrap();
        }
        victim.kill().unwrap();
        victim.wait().unwrap();

        // What is submitted now never completes.
        for user in 0..10 {
            pair.submit(read, user, clock.now_ns()).unwrap();
        }
        pair.ring();
        let error = pair.check_device().unwrap_err();
        assert!(matches!(error, DriverError::DeviceGone { .. }), "{error}");
        wait_ms(2);
        let expired = pair.expired(clock.now_ns(), Duration::from_millis(1));
        assert_eq!(expired.count(), 10);
        pair.close();
        let mut lost = 0;
        drain(&mut pair, |done| lost += u32::from(done.lost));
        assert_eq!(lost, 10);

        let started_ns = clock.now_ns();
        let error = device.reset().unwrap_err();
        assert!(matches!(error, DriverError::DeviceGone { .. }), "{error}");
        device.create_queue_pair(depth(1)).unwrap_err();
        let took = Duration::from_nanos(clock.now_ns() - started_ns);
        assert!(took < PATIENCE, "{took:?}");
    }
}
