use std::cell::RefCell;

use nvme::{DsmAttributes, DsmRange, Lba, NamespaceId, ZeroBased};
use traces::{CommandRecord, EventRecord, VirtualClock};
use zerocopy::IntoBytes;

use super::*;
use crate::transport::Doorbells;
use crate::transport::memory::{DmaArena, anonymous_file};

/// A queue pair and the device's end of its memory.
struct Bench {
    pair: QueuePair,
    arena: DmaArena,
    layout: Layout,
    doorbells: std::os::fd::OwnedFd,
    tail: usize,
    phase: bool,
}

fn bench(depth: u16) -> Bench {
    use std::os::fd::AsFd;
    let arena = DmaArena::new();
    let layout = Layout::new(depth, 16 << 10, 65_536);
    let memory = arena.allocate(layout.bytes(), |_| Ok(())).unwrap();
    let fd = anonymous_file("doorbells", 4096).unwrap();
    let doorbells = Doorbells::map(fd.as_fd(), 0, 4096).unwrap();
    let pair = QueuePair::new(Parts {
        device: "bench".to_owned(),
        id: QueueId(1),
        depth,
        memory: Arc::new(memory),
        layout,
        tail_doorbell: doorbells.register(8).unwrap(),
        head_doorbell: doorbells.register(12).unwrap(),
        gate: Arc::new(Gate::open()),
        link: None,
    });
    Bench {
        pair,
        arena,
        layout,
        doorbells: fd,
        tail: 0,
        phase: true,
    }
}

impl Bench {
    fn tail_doorbell(&self) -> u32 {
        let mut bytes = [0; 4];
        rustix::io::pread(&self.doorbells, &mut bytes, 8).unwrap();
        u32::from_le_bytes(bytes)
    }

    fn post(&mut self, cid: u16, status: Status) {
        let mut cqe = Cqe::default();
        cqe.command_id.set(cid);
        cqe.sq_id.set(1);
        cqe.set_status(status, self.phase);
        let offset = self.layout.cq.start + self.tail * nvme::CQE_BYTES;
        let memory = self.pair.memory();
        let region = &self.arena.regions()[0];
        let at = memory.iova() - region.iova() + offset as u64;
        rustix::io::pwrite(region.fd(), cqe.as_bytes(), at).unwrap();
        self.tail += 1;
    }

    fn reap(&mut self, now: u64) -> Vec<(u64, Status, bool, u64)> {
        let clock = VirtualClock::new();
        clock.advance(now);
        let mut reaped = Vec::new();
        let poll = self.pair.poll(&clock, 64, |done| {
            reaped.push((done.user, done.status, done.lost, done.latency_ns()));
        });
        assert_eq!(poll.unwrap(), reaped.len());
        reaped
    }
}

fn flush() -> Command<'static> {
    Command::flush(NamespaceId(1))
}

#[test]
fn a_full_queue_hands_the_command_back() {
    let mut bench = bench(2);
    let one = bench.pair.submit(flush(), 1, 0).unwrap();
    bench.pair.submit(flush(), 2, 0).unwrap();
    let buffer = bench.arena.allocate(4096, |_| Ok(())).unwrap();
    let read = Command::read(
        NamespaceId(1),
        Lba(77),
        ZeroBased(7),
        buffer.slice(0, 4096).unwrap(),
    );
    let error = bench.pair.submit(read, 3, 0).unwrap_err();
    assert_eq!(error.reason, SubmitReason::QueueFull);
    assert_eq!(error.command.sqe().slba(), Lba(77));
    assert_eq!(bench.tail_doorbell(), 0, "not rung before it is asked for");
    bench.pair.ring();
    assert_eq!(bench.tail_doorbell(), 2);
    bench.post(one.cid().0, Status::SUCCESS);
    assert_eq!(bench.reap(5), [(1, Status::SUCCESS, false, 5)]);
    bench.pair.submit(error.command, 3, 0).unwrap();
    assert_eq!(bench.pair.in_flight(), 2);
    // A ring of three entries wraps.
    bench.pair.ring();
    assert_eq!(bench.tail_doorbell(), 0);
}

#[test]
fn data_that_the_lists_cannot_hold_is_refused() {
    let mut bench = bench(2);
    let buffer = bench.arena.allocate(32 << 10, |_| Ok(())).unwrap();
    let read = |offset, bytes| {
        let data = buffer.slice(offset, bytes).unwrap();
        Command::read(NamespaceId(1), Lba(0), ZeroBased(0), data)
    };
    let mut refuse = |command| bench.pair.submit(command, 0, 0).unwrap_err().reason;
    assert_eq!(
        refuse(read(0, (16 << 10) + 1)),
        SubmitReason::TooLong {
            bytes: (16 << 10) + 1,
            bytes_max: 16 << 10
        }
    );
    assert_eq!(refuse(read(2, 512)), SubmitReason::Misaligned);
    bench.pair.submit(read(4092, 16 << 10), 0, 0).unwrap();
}

#[test]
fn a_completion_of_nothing_is_an_error_and_the_queue_goes_on() {
    let mut bench = bench(4);
    let tag = bench.pair.submit(flush(), 9, 0).unwrap();
    for cid in [3, 4, 0xffff] {
        bench.post(cid, Status::SUCCESS);
        let error = bench
            .pair
            .poll(&VirtualClock::new(), 64, |_| {})
            .unwrap_err();
        assert!(
            matches!(error, DriverError::UnknownCompletion { cid: found, .. } if found.0 == cid)
        );
    }
    bench.post(tag.cid().0, Status::INTERNAL_ERROR);
    assert_eq!(bench.reap(0), [(9, Status::INTERNAL_ERROR, false, 0)]);
}

#[test]
fn a_closed_queue_gives_back_what_completed_and_then_what_is_lost() {
    let mut bench = bench(8);
    let tags: Vec<Tag> = (0..4)
        .map(|user| bench.pair.submit(flush(), user, 100).unwrap())
        .collect();
    let gate = Arc::clone(bench.pair.gate());
    gate.begin_closing();
    let error = bench.pair.submit(flush(), 5, 0).unwrap_err();
    assert_eq!(error.reason, SubmitReason::Closed);
    assert!(
        bench.reap(0).is_empty(),
        "the device may still complete them"
    );
    bench.post(tags[2].cid().0, Status::SUCCESS);
    gate.close();
    let lost = Status::ABORTED_SQ_DELETION;
    assert_eq!(
        bench.reap(130),
        [
            (2, Status::SUCCESS, false, 30),
            (0, lost, true, 30),
            (1, lost, true, 30),
            (3, lost, true, 30),
        ]
    );
    assert_eq!(bench.pair.in_flight(), 0);
    assert!(bench.reap(0).is_empty());
}

#[test]
fn what_takes_too_long_is_found() {
    let mut bench = bench(8);
    let old = bench.pair.submit(flush(), 1, 1_000).unwrap();
    bench.pair.submit(flush(), 2, 5_000).unwrap();
    let timeout = Duration::from_nanos(6_000);
    assert_eq!(bench.pair.expired(6_999, timeout).count(), 0);
    let expired: Vec<_> = bench.pair.expired(7_000, timeout).collect();
    assert_eq!(expired, [(old, 1, timeout)]);
}

/// Keeps what it is shown.
#[derive(Default)]
struct Seen(RefCell<Vec<(CommandRecord, Vec<DsmRange>)>>);

impl Tap for &Seen {
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        self.0.borrow_mut().push((*record, ranges.to_vec()));
    }

    fn event(&mut self, _record: &EventRecord) {}
}

#[test]
fn a_tap_is_shown_every_command_once_with_its_ranges() {
    let mut bench = bench(8);
    let mut buffer = bench.arena.allocate(4096, |_| Ok(())).unwrap();
    let ranges = [DsmRange::new(Lba(5), 6), DsmRange::new(Lba(70), 80)];
    buffer.put(512, &ranges).unwrap();
    let trim = Command::dataset_management(
        NamespaceId(1),
        DsmAttributes::new().with_ad(true),
        buffer.slice(512, 32).unwrap(),
    );
    let before = bench.pair.submit(flush(), 0, 0).unwrap();

    let seen = Seen::default();
    let Bench {
        pair,
        layout,
        arena,
        ..
    } = bench;
    let memory = Arc::clone(pair.memory());
    let mut pair = pair.with_tap(&seen, Sequence::new());
    let trimmed = pair.submit(trim.unwrap(), 1, 10).unwrap();
    // The tap was shown the ranges as they were submitted.
    buffer.fill(512, 32, 0xff).unwrap();
    pair.submit(flush(), 2, 20).unwrap();

    for (index, tag) in [trimmed, before].into_iter().enumerate() {
        let mut cqe = Cqe::default();
        cqe.command_id.set(tag.cid().0);
        cqe.sq_id.set(1);
        cqe.set_status(Status::SUCCESS, true);
        let region = &arena.regions()[0];
        let offset = layout.cq.start + index * nvme::CQE_BYTES;
        let at = memory.iova() - region.iova() + offset as u64;
        rustix::io::pwrite(region.fd(), cqe.as_bytes(), at).unwrap();
    }
    let clock = VirtualClock::new();
    clock.advance(50);
    pair.poll(&clock, 64, |_| {}).unwrap();
    pair.close();
    pair.poll(&clock, 64, |_| {}).unwrap();

    let seen = seen.0.borrow();
    assert_eq!(seen.len(), 2, "not what was in flight before the tap");
    let (record, shown) = &seen[0];
    assert_eq!((record.sequence, record.submit_ns), (0, 10));
    assert_eq!(record.completion.unwrap().complete_ns, 50);
    assert_eq!(shown, &ranges);
    let (record, shown) = &seen[1];
    assert_eq!((record.sequence, record.completion), (1, None));
    assert!(shown.is_empty());
}
