mod coverage;
mod fuzz;
mod growth;
mod io;
mod kept;
mod memory;
mod payload;
mod queues;
mod special;
mod statuses;
mod withheld;

use nvme::{
    AdminOpcode, AsyncEvent, DoorbellKind, NamespaceId, NvmOpcode, QueueId, Registers,
    ShutdownStatus, Sqe, Status, offset,
};
use traces::Event;

use crate::host::{ADMIN_ENTRIES, Held, Host, io};
use crate::media::{Null, Ram, RawFile, RawFileOptions};
use crate::{Controller, ControllerConfig, VssdError};

const MIB: u64 = 1 << 20;

fn ram() -> Ram {
    Ram::new(16 * MIB).unwrap()
}

/// A medium whose flushes are answered later.
fn file() -> (tempfile::TempDir, RawFile) {
    let dir = tempfile::tempdir().unwrap();
    let options = RawFileOptions {
        create: Some(16 * MIB),
        read_only: false,
    };
    let file = RawFile::open(&dir.path().join("disk"), options).unwrap();
    (dir, file)
}

fn flush() -> Sqe {
    Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1))
}

fn event_request() -> Sqe {
    Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, NamespaceId(0))
}

#[test]
fn a_medium_has_to_be_whole_blocks() {
    for bytes in [0, 100, 4096 + 512] {
        let config = ControllerConfig {
            block_bytes: 4096,
            ..ControllerConfig::default()
        };
        let error = Controller::new(config, Null::new(bytes), (), traces::VirtualClock::new());
        assert!(matches!(error, Err(VssdError::MediaSize { .. })), "{bytes}");
    }
}

#[test]
fn registers_read_as_written_while_enabled_and_after_a_reset() {
    let mut host = Host::enabled(ram());
    let (sq, cq) = (host.admin.sq, host.admin.cq);
    let aqa = u32::from(ADMIN_ENTRIES - 1) * 0x1_0001;
    for enabled in [true, false] {
        if !enabled {
            host.controller.write32(offset::CC, 0);
        }
        assert_eq!(host.csts().rdy(), enabled);
        assert_eq!(host.controller.read32(offset::AQA), aqa);
        assert_eq!(host.controller.read64(offset::ASQ), sq);
        assert_eq!(host.controller.read64(offset::ACQ), cq);
    }
    // A reset of the function takes these, too.
    host.controller.function_reset();
    assert_eq!(host.controller.read64(offset::ASQ), 0);
    assert_eq!(host.controller.read32(offset::CC), 0);
    assert_eq!(host.controller.read32(offset::VS), 0x0002_0100);
    let cap = nvme::Cap::from_bits(host.controller.read64(offset::CAP));
    assert_eq!(
        (cap.mqes(), cap.cqr(), cap.dstrd(), cap.css()),
        (1023, true, 0, 0x41)
    );
    assert_eq!((cap.mpsmin(), cap.mpsmax(), cap.to()), (0, 0, 20));
    // What is not a register is nothing.
    host.controller.write32(0x200, 7);
    assert_eq!(host.controller.read32(0x200), 0);
    assert_eq!(host.controller.read32(u32::MAX - 3), 0);
}

#[test]
fn an_illegal_configuration_is_fatal_until_it_is_reset() {
    type H = Host<Ram>;
    type Prepare = fn(&mut H) -> nvme::Cc;
    let good = H::cc();
    let cases: [(&str, Prepare); 7] = [
        ("MPS", |_| H::cc().with_mps(1)),
        ("CSS", |_| H::cc().with_css(5)),
        ("AMS", |_| H::cc().with_ams(2)),
        ("IOSQES", |_| H::cc().with_iosqes(5)),
        ("IOCQES", |_| H::cc().with_iocqes(5)),
        ("AQA", |host| {
            host.controller.write32(offset::AQA, 0x0007_0000);
            H::cc()
        }),
        ("ASQ", |host| {
            host.controller.write32(offset::ASQ, 0x10);
            H::cc()
        }),
    ];
    for (name, prepare) in cases {
        let mut host = Host::new(ControllerConfig::default(), ram());
        host.tell_admin_queues();
        let cc = prepare(&mut host);
        host.controller.write32(offset::CC, cc.into_bits());
        assert!(host.csts().cfs() && !host.csts().rdy(), "{name}");
        host.controller.write32(offset::CC, 0);
        assert_eq!(host.csts().into_bits(), 0, "{name}");
        host.tell_admin_queues();
        host.controller.write32(offset::CC, good.into_bits());
        assert!(host.csts().rdy(), "{name}");
        let events = &host.controller.tap().events;
        let expected = [
            Event::Connect,
            Event::FatalStatus,
            Event::Reset,
            Event::Enable,
        ];
        assert_eq!(events[..], expected, "{name}");
    }
}

#[test]
fn a_shutdown_is_complete_once_the_flush_is() {
    let (_dir, file) = file();
    let mut host = Host::enabled(file);
    let cc = Host::<RawFile>::cc();
    let shutdown = cc.with_shn(nvme::ShutdownNotification::Normal);
    host.controller.write32(offset::CC, shutdown.into_bits());
    assert_eq!(host.csts().shst(), ShutdownStatus::Occurring);
    assert!(!host.controller.idle());
    host.settle();
    assert_eq!(host.csts().shst(), ShutdownStatus::Complete);
    assert!(host.csts().rdy());
    host.controller.write32(offset::CC, 0);
    assert_eq!(host.csts().into_bits(), 0);
    host.enable();
    let expected = [
        Event::Connect,
        Event::Enable,
        Event::ShutdownNormal,
        Event::Reset,
        Event::Enable,
    ];
    assert_eq!(host.controller.tap().events[..], expected);
    assert!(host.controller.tap().commands.is_empty());
}

#[test]
fn commands_in_flight_at_a_reset_are_recorded_without_completion() {
    let (_dir, file) = file();
    let (mut host, mut pair) = Host::ready(file);
    for _ in 0..4 {
        host.put(&mut pair, flush());
    }
    host.ring(&pair);
    let mut admin = host.admin;
    host.put(&mut admin, event_request());
    host.ring(&admin);
    // One poll: what the medium has is not done by then, as it is not asked.
    let before = host.controller.tap().commands.len();
    host.controller.poll(64);
    assert!(!host.controller.idle());
    host.controller.write32(offset::CC, 0);
    assert!(host.controller.idle());
    let commands = &host.controller.tap().commands[before..];
    assert_eq!(commands.len(), 5);
    let mut sequences: Vec<_> = commands.iter().map(|(record, _)| record.sequence).collect();
    sequences.sort_unstable();
    let first = before as u64;
    assert_eq!(sequences, (first..first + 5).collect::<Vec<_>>());
    assert!(
        commands
            .iter()
            .all(|(record, _)| record.completion.is_none())
    );
    // The drive works again, and the old answers never come.
    host.enable();
    let mut pair = host.create_pair(1, 16);
    assert_eq!(host.status(&mut pair, flush()), Status::SUCCESS);
    assert!(host.peek(&pair).is_none());
}

#[test]
fn a_guest_that_goes_away_leaves_nothing_behind() {
    let (mut host, _) = Host::ready(ram());
    host.controller.disconnected();
    assert!(host.controller.memory().is_empty());
    assert_eq!(host.controller.read32(offset::CC), 0);
    assert_eq!(host.controller.poll(64), 0);
    host.controller.connected();
    let events = &host.controller.tap().events;
    assert_eq!(events[2..], [Event::Disconnect, Event::Connect]);
}

#[test]
fn a_new_observer_counts_from_0() {
    let (mut host, mut pair) = Host::ready(ram());
    let old = host.controller.replace_tap(crate::host::Log::default());
    assert_eq!(old.commands.len(), 2);
    host.run(&mut pair, flush());
    let (record, _) = host.controller.tap().commands[0];
    assert_eq!(record.sequence, 0);
}

#[test]
fn a_full_completion_queue_stops_fetching() {
    let mut host = Host::enabled(ram());
    let small = host.create_pair(1, 4);
    let page = host.pages(1);
    // A second submission queue on the same completion queue.
    let sq = host.pages(1);
    assert_eq!(host.create_sq(2, 1, 64, sq), Status::SUCCESS);
    let mut pair = crate::host::Pair {
        id: QueueId(2),
        sq,
        entries: 64,
        ..small
    };
    let before = host.controller.tap().commands.len();
    let cids: Vec<_> = (0..10)
        .map(|at| host.put(&mut pair, io(NvmOpcode::READ, at, 1, page, 0)))
        .collect();
    host.ring(&pair);
    host.settle();
    // Four entries have room for three.
    assert_eq!(host.controller.tap().commands.len() - before, 3);
    let mut seen = Vec::new();
    pair.entries = 4;
    pair.id = QueueId(1);
    while seen.len() < 10 {
        let cqe = host.reap(&mut pair).expect("an answer");
        assert_eq!(cqe.sqid(), QueueId(2));
        seen.push(cqe.cid());
        host.settle();
    }
    assert_eq!(seen, cids);
    assert!(host.peek(&pair).is_none());
}

#[test]
fn one_interrupt_a_batch_and_none_where_they_are_disabled() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    host.raised.take();
    for at in 0..20 {
        host.put(&mut pair, io(NvmOpcode::READ, at, 1, page, 0));
    }
    host.ring(&pair);
    assert_eq!(host.controller.poll(64), 20);
    assert_eq!(host.raised.take(), [1]);
    // Held back by INTMS, and told once that is lifted.
    host.controller.write32(offset::INTMS, 0b10);
    host.put(&mut pair, io(NvmOpcode::READ, 0, 1, page, 0));
    host.ring(&pair);
    host.settle();
    assert!(host.raised.take().is_empty());
    host.controller.write32(offset::INTMC, 0b10);
    assert_eq!(host.raised.take(), [1]);
    while host.reap(&mut pair).is_some() {}
}

#[test]
fn doorbells_out_of_range_change_nothing_and_are_told() {
    let (mut host, mut pair) = Host::ready(ram());
    let mut admin = host.admin;
    let cid = host.put(&mut admin, event_request());
    host.ring(&admin);
    let before = host.controller.tap().commands.len();
    for value in [64, 65_535, 65_536, u32::MAX] {
        host.doorbell(pair.id, DoorbellKind::SubmissionTail, value);
        host.settle();
    }
    assert_eq!(host.controller.tap().commands.len(), before + 1);
    let cqe = host.reap(&mut admin).expect("the event");
    assert_eq!(cqe.cid(), cid);
    let event = AsyncEvent::INVALID_DOORBELL_VALUE.dword0();
    assert_eq!(cqe.result.get(), event);
    host.admin = admin;
    // The queue goes on with the next value that makes sense.
    assert_eq!(host.status(&mut pair, flush()), Status::SUCCESS);
    // A head that is beyond what was posted is not taken either.
    host.doorbell(pair.id, DoorbellKind::CompletionHead, 9);
    assert_eq!(host.status(&mut pair, flush()), Status::SUCCESS);
}

#[test]
fn doorbells_of_no_queue_change_nothing_and_are_told() {
    for (id, kind) in [
        (1, DoorbellKind::SubmissionTail),
        (9, DoorbellKind::CompletionHead),
        (600, DoorbellKind::SubmissionTail),
    ] {
        let mut host = Host::enabled(ram());
        let mut admin = host.admin;
        host.put(&mut admin, event_request());
        host.ring(&admin);
        host.doorbell(QueueId(id), kind, 1);
        host.settle();
        let cqe = host.reap(&mut admin).expect("the event");
        let event = AsyncEvent::INVALID_DOORBELL_REGISTER.dword0();
        assert_eq!(cqe.result.get(), event);
        host.admin = admin;
        // A queue that is made then starts with nothing in it.
        let mut pair = host.create_pair(1, 8);
        assert_eq!(host.status(&mut pair, flush()), Status::SUCCESS);
    }
}

#[test]
fn a_queue_that_wraps_again_and_again_keeps_its_phase() {
    let mut host = Host::enabled(Null::new(MIB));
    let mut pair = host.create_pair(3, 5);
    for _ in 0..23 {
        assert_eq!(host.status(&mut pair, flush()), Status::SUCCESS);
    }
}

/// Of each command of a batch but the first, before the one in front of it is
/// executed.
#[test]
fn the_medium_hears_where_the_next_command_goes() {
    let (mut host, mut pair) = Host::ready(Held::default());
    let page = host.pages(1);
    let commands = [
        io(NvmOpcode::READ, 8, 1, page, 0),
        io(NvmOpcode::WRITE, 24, 1, page, 0),
        flush(),
        io(NvmOpcode::READ, 40, 8, page, 0),
        // Beyond the end of the drive.
        io(NvmOpcode::READ, 1 << 40, 1, page, 0),
    ];
    for command in commands {
        host.put(&mut pair, command);
    }
    host.ring(&pair);
    host.controller.poll(64);
    let foreseen = host.controller.media().foreseen.take();
    assert_eq!(foreseen, [(24 * 512, true), (40 * 512, false)]);
    // Nothing comes of it but that.
    assert_eq!(host.controller.media().tickets.len(), 4);
}

#[test]
fn queues_take_turns() {
    let mut host = Host::enabled(Null::new(MIB));
    let mut pairs = [host.create_pair(1, 256), host.create_pair(2, 256)];
    let before = host.controller.tap().commands.len();
    for pair in &mut pairs {
        for _ in 0..200 {
            host.put(pair, flush());
        }
        host.ring(pair);
    }
    // Neither queue has to wait for the other to be empty.
    host.controller.poll(128);
    let queues: Vec<_> = host.controller.tap().commands[before..]
        .iter()
        .map(|(record, _)| record.queue.0)
        .collect();
    assert_eq!(queues.len(), 128);
    assert_eq!(queues.iter().filter(|&&queue| queue == 1).count(), 64);
}

#[test]
fn an_identifier_in_use_is_a_conflict() {
    let (_dir, file) = file();
    let (mut host, mut pair) = Host::ready(file);
    let mut sqe = flush();
    sqe.command_id = 77.into();
    host.put_as(&mut pair, sqe);
    host.put_as(&mut pair, sqe);
    host.ring(&pair);
    host.settle();
    let first = host.reap(&mut pair).unwrap();
    let second = host.reap(&mut pair).unwrap();
    assert!(first.status().same_code(Status::COMMAND_ID_CONFLICT));
    assert_eq!(second.status(), Status::SUCCESS);
    // Once it is done, the identifier is free.
    host.put_as(&mut pair, sqe);
    host.ring(&pair);
    host.settle();
    assert_eq!(host.reap(&mut pair).unwrap().status(), Status::SUCCESS);
}

#[test]
fn a_record_tells_what_was_asked_and_how_it_went() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    host.clock.advance(500);
    let cid = host.put(&mut pair, io(NvmOpcode::READ, 40_000, 1, page, 0));
    host.ring(&pair);
    host.settle();
    let cqe = host.reap(&mut pair).unwrap();
    assert!(cqe.status().same_code(Status::LBA_OUT_OF_RANGE));
    assert_eq!(usize::from(cqe.sq_head.get()), 1);
    let (record, ranges) = host.controller.tap().commands.last().unwrap();
    assert_eq!(
        (record.cid, record.queue, record.submit_ns),
        (cid, pair.id, 500)
    );
    assert_eq!(record.lba_range(), Some((nvme::Lba(40_000), 1)));
    let completion = record.completion.unwrap();
    assert_eq!(completion.status, cqe.status());
    assert!(ranges.is_empty());
}
