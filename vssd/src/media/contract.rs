//! What every medium has to do, as tests that each medium calls: random requests
//! against a model in memory, several under way at a time.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use nvme::{CommandId, NamespaceId, NvmOpcode, QueueId, Sqe};
use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use traces::CommandRecord;

use super::{Extent, Media, MediaError, Outcome, Request, Submission};
use crate::memory::{Access, SegmentBuffer};
use crate::{DmaTable, Protection, Ticket};

pub(crate) const BLOCK: u64 = 512;
/// Guest memory of one request, bytes: data, and as much between its pieces.
const ROOM: u64 = 256 * 1024;
/// Requests under way at a time, at most.
const REQUESTS: u64 = 32;

/// A request as a test has it; places and lengths are blocks.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Read(u64, u64, bool),
    Write(u64, u64, bool, bool, u8),
    Compare(u64, u64, bool),
    Verify(u64, u64),
    Zero(u64, u64, bool, bool),
    Discard(Vec<(u64, u64)>),
    Flush,
    Poll(u32),
    LetGo,
    /// By so many blocks, and writes what is new.
    Grow(u64, u8),
}

/// Random actions on a medium of `blocks` blocks.
fn actions(blocks: u64) -> impl Strategy<Value = Vec<Action>> {
    let place = move || {
        (0..blocks, 1..129_u64).prop_map(move |(at, count)| {
            // Not all anywhere: requests should meet each other.
            let at = if at % 3 == 0 { at % 64 } else { at };
            (at, count.min(blocks - at))
        })
    };
    let action = prop_oneof![
        6 => (place(), any::<bool>()).prop_map(|((at, n), s)| Action::Read(at, n, s)),
        8 => (place(), any::<bool>(), prop::bool::weighted(0.1), any::<u8>())
            .prop_map(|((at, n), s, durable, fill)| Action::Write(at, n, s, durable, fill)),
        1 => (place(), any::<bool>()).prop_map(|((at, n), same)| Action::Compare(at, n, same)),
        1 => place().prop_map(|(at, n)| Action::Verify(at, n)),
        2 => (place(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|((at, n), free, durable)| Action::Zero(at, n, free, durable)),
        2 => prop::collection::vec(place(), 1..4).prop_map(Action::Discard),
        1 => Just(Action::Flush),
        3 => (0..40_u32).prop_map(Action::Poll),
        1 => Just(Action::LetGo),
        1 => (1..300_u64, any::<u8>()).prop_map(|(more, fill)| Action::Grow(more, fill)),
    ];
    prop::collection::vec(action, 1..120)
}

/// What is expected of a request that is under way.
#[derive(Debug)]
struct Expected {
    /// Where, and whether it changes anything there.
    extents: Vec<Extent>,
    writes: bool,
    /// The guest's data, once a read is done.
    data: Option<Vec<u8>>,
    scattered: bool,
    slot: u64,
    outcome: Outcome,
}

/// A guest and a model beside a medium.
#[derive(Debug)]
pub(crate) struct Tester<M: Media> {
    pub(crate) media: M,
    pub(crate) model: Vec<u8>,
    table: DmaTable,
    _memory: OwnedFd,
    segments: SegmentBuffer,
    under_way: BTreeMap<u64, Expected>,
    free: Vec<u64>,
    next: u64,
    /// How the next write or zeroes are meant.
    durable: bool,
    deallocate: bool,
}

/// A ticket as of a guest's command.
pub(crate) fn ticket(sequence: u64, opcode: NvmOpcode) -> Ticket {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
    sqe.command_id = u16::try_from(sequence % 60_000).unwrap().into();
    let record = CommandRecord::fetched(sequence, 0, QueueId(1), &sqe);
    Ticket::new(record, QueueId(1))
}

impl<M: Media> Tester<M> {
    pub(crate) fn new(media: M) -> Self {
        let memory = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        let bytes = ROOM * REQUESTS;
        rustix::fs::ftruncate(&memory, bytes).unwrap();
        let mut table = DmaTable::default();
        table
            .map(0, bytes, memory.as_fd(), 0, Protection::READ_WRITE)
            .unwrap();
        let size = usize::try_from(media.info().bytes).unwrap();
        Self {
            media,
            model: vec![0; size],
            table,
            _memory: memory,
            segments: SegmentBuffer::with_capacity(1024),
            under_way: BTreeMap::new(),
            free: (0..REQUESTS).collect(),
            next: 0,
            durable: false,
            deallocate: false,
        }
    }

    /// The pieces of a request's memory: one, or of 512 bytes each with as much
    /// between them.
    fn pieces(slot: u64, bytes: u64, scattered: bool) -> Vec<(u64, u64)> {
        if !scattered && bytes > 0 {
            return vec![(slot * ROOM, bytes)];
        }
        (0..bytes / BLOCK)
            .map(|at| (slot * ROOM + at * 2 * BLOCK, BLOCK))
            .collect()
    }

    fn guest_write(&self, slot: u64, data: &[u8], scattered: bool) {
        let mut rest = data;
        for (at, bytes) in Self::pieces(slot, data.len() as u64, scattered) {
            let (now, later) = rest.split_at(usize::try_from(bytes).unwrap());
            self.table.write_bytes(at, now).unwrap();
            rest = later;
        }
    }

    fn guest_read(&self, slot: u64, bytes: usize, scattered: bool) -> Vec<u8> {
        let mut data = Vec::new();
        for (at, bytes) in Self::pieces(slot, bytes as u64, scattered) {
            let mut piece = vec![0; usize::try_from(bytes).unwrap()];
            self.table.read_bytes(at, &mut piece).unwrap();
            data.extend(piece);
        }
        data
    }

    /// Polls once, and looks at what comes back.
    pub(crate) fn poll(&mut self, budget: u32) {
        let mut back = Vec::new();
        let count = self
            .media
            .poll(budget, &mut |ticket, outcome| back.push((ticket, outcome)));
        assert_eq!(usize::try_from(count).unwrap(), back.len());
        assert!(count <= budget, "{count} of {budget}");
        self.take(back);
    }

    fn take(&mut self, back: Vec<(Ticket, Outcome)>) {
        for (ticket, outcome) in back {
            let id = ticket.sequence();
            ticket.settle();
            let expected = self.under_way.remove(&id).expect("it was under way");
            assert_eq!(outcome, expected.outcome, "{expected:?}");
            if let Some(data) = &expected.data {
                let got = self.guest_read(expected.slot, data.len(), expected.scattered);
                let differs = got.iter().zip(data).position(|(got, data)| got != data);
                assert_eq!(differs, None, "{:?}", expected.extents);
            }
            self.free.push(expected.slot);
        }
        assert_eq!(self.media.pending(), self.under_way.len());
    }

    /// Polls until nothing is pending.
    pub(crate) fn settle(&mut self) {
        self.wait(|_| true);
    }

    /// Polls while there is a request under way that is `wanted`.
    fn wait(&mut self, wanted: impl Fn(&Expected) -> bool) {
        for _ in 0..50_000_000_u64 {
            if !self.under_way.values().any(&wanted) {
                return;
            }
            self.await_news();
            self.poll(64);
            std::thread::yield_now();
        }
        panic!("it does not come to an end: {:?}", self.under_way);
    }

    /// Sleeps until the medium tells of something, where it does.
    fn await_news(&self) {
        let Some(wake) = self.media.wake() else {
            return;
        };
        let mut fds = [PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        let patience = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        let told = loop {
            match poll(&mut fds, Some(&patience)) {
                Err(Errno::INTR) => {}
                told => break told.unwrap(),
            }
        };
        assert_eq!(told, 1, "nobody is told of {:?}", self.under_way);
    }

    fn span(extent: Extent) -> std::ops::Range<usize> {
        let start = usize::try_from(extent.offset).unwrap();
        start..start + usize::try_from(extent.bytes).unwrap()
    }

    /// Makes room for a request: what it meets is waited for.
    fn admit(&mut self, extents: &[Extent], writes: bool) -> u64 {
        let meets = |expected: &Expected| {
            (writes || expected.writes)
                && expected.extents.iter().any(|one| {
                    extents.iter().any(|two| {
                        one.offset < two.offset + two.bytes && two.offset < one.offset + one.bytes
                    })
                })
        };
        self.wait(meets);
        while self.free.is_empty() {
            self.poll(64);
        }
        self.free.pop().unwrap()
    }

    /// Does as `action` says.
    pub(crate) fn act(&mut self, action: &Action) {
        let of = |at: u64, count: u64| Extent {
            offset: at * BLOCK,
            bytes: count * BLOCK,
        };
        match *action {
            Action::Poll(budget) => self.poll(budget),
            Action::LetGo => {
                let mut back = Vec::new();
                self.media
                    .let_go(&mut |ticket, outcome| back.push((ticket, outcome)));
                self.take(back);
            }
            Action::Grow(more, fill) => self.grow(more, fill),
            Action::Flush => self.submit(NvmOpcode::FLUSH, &[], false, None, Ok(())),
            Action::Read(at, count, scattered) => {
                self.submit(NvmOpcode::READ, &[of(at, count)], scattered, None, Ok(()));
            }
            Action::Write(at, count, scattered, durable, fill) => {
                let data = pattern(fill, count);
                let opcode = NvmOpcode::WRITE;
                self.durable = durable;
                self.submit(opcode, &[of(at, count)], scattered, Some(data), Ok(()));
            }
            Action::Compare(at, count, same) => {
                let extent = of(at, count);
                self.wait(|expected| expected.writes);
                let mut data = self.model[Self::span(extent)].to_vec();
                let outcome = if same {
                    Ok(())
                } else {
                    *data.last_mut().unwrap() ^= 1;
                    Err(MediaError::Miscompare)
                };
                self.submit(NvmOpcode::COMPARE, &[extent], true, Some(data), outcome);
            }
            Action::Verify(at, count) => {
                self.submit(NvmOpcode::VERIFY, &[of(at, count)], false, None, Ok(()));
            }
            Action::Zero(at, count, deallocate, durable) => {
                (self.durable, self.deallocate) = (durable, deallocate);
                let opcode = NvmOpcode::WRITE_ZEROES;
                self.submit(opcode, &[of(at, count)], false, None, Ok(()));
            }
            Action::Discard(ref list) => {
                let extents: Vec<_> = list.iter().map(|&(at, count)| of(at, count)).collect();
                let opcode = NvmOpcode::DATASET_MANAGEMENT;
                self.submit(opcode, &extents, false, None, Ok(()));
            }
        }
    }

    /// Grows by `more` blocks, with whatever is under way; writes across the end that
    /// was, and the last block.
    fn grow(&mut self, more: u64, fill: u8) {
        let old = self.media.info().bytes;
        let new = old + more * BLOCK;
        if let Err(error) = self.media.grow(new) {
            // The kernel says how large a drive is.
            assert!(error.to_string().contains("it is a drive of"), "{error}");
            assert_eq!(self.media.info().bytes, old);
            return;
        }
        assert_eq!(self.media.info().bytes, new);
        self.model.resize(usize::try_from(new).unwrap(), 0);
        self.act(&Action::Read(old / BLOCK - 1, more.min(128) + 1, false));
        self.act(&Action::Write(old / BLOCK - 1, 2, false, false, fill));
        self.act(&Action::Write(new / BLOCK - 1, 1, false, false, fill));
    }

    /// Has the model take `data`, or zeroes.
    fn change_model(&mut self, extents: &[Extent], data: Option<&[u8]>) {
        for &extent in extents {
            let span = Self::span(extent);
            match data {
                Some(data) => self.model[span].copy_from_slice(data),
                None => self.model[span].fill(0),
            }
        }
    }

    /// Submits a request, and has the model do the same.
    fn submit(
        &mut self,
        opcode: NvmOpcode,
        extents: &[Extent],
        scattered: bool,
        data: Option<Vec<u8>>,
        outcome: Outcome,
    ) {
        let writes = matches!(
            opcode,
            NvmOpcode::WRITE | NvmOpcode::WRITE_ZEROES | NvmOpcode::DATASET_MANAGEMENT
        );
        let slot = self.admit(extents, writes);
        let first = extents.first().copied().unwrap_or_default();
        let access = if opcode == NvmOpcode::READ {
            Access::Write
        } else {
            Access::Read
        };
        let moves = matches!(
            opcode,
            NvmOpcode::READ | NvmOpcode::WRITE | NvmOpcode::COMPARE
        );
        match &data {
            _ if !moves => {}
            Some(data) => self.guest_write(slot, data, scattered),
            None => self.guest_write(slot, &vec![0xee; Self::span(first).len()], scattered),
        }
        if writes {
            self.change_model(extents, data.as_deref());
        }
        let expected = Expected {
            extents: extents.to_vec(),
            writes,
            data: (opcode == NvmOpcode::READ).then(|| self.model[Self::span(first)].to_vec()),
            scattered,
            slot,
            outcome,
        };
        self.segments.start(access);
        let bytes = if moves { first.bytes } else { 0 };
        for (at, bytes) in Self::pieces(slot, bytes, scattered) {
            let piece = self.table.resolve(at, access).unwrap();
            assert!(self.segments.push(piece, bytes));
        }
        let memory = self.segments.segments(&self.table);
        let request = match opcode {
            NvmOpcode::READ => Request::Read {
                offset: first.offset,
                to: memory,
            },
            NvmOpcode::WRITE => Request::Write {
                offset: first.offset,
                from: memory,
                durable: self.durable,
            },
            NvmOpcode::COMPARE => Request::Compare {
                offset: first.offset,
                with: memory,
            },
            NvmOpcode::VERIFY => Request::Verify { extent: first },
            NvmOpcode::WRITE_ZEROES => Request::WriteZeroes {
                extent: first,
                deallocate: self.deallocate,
                durable: self.durable,
            },
            NvmOpcode::DATASET_MANAGEMENT => Request::Discard { extents },
            _ => Request::Flush,
        };
        self.next += 1;
        let id = self.next;
        self.under_way.insert(id, expected);
        match self.media.submit(ticket(id, opcode), request) {
            Submission::Done(ticket, outcome) => self.take(vec![(ticket, outcome)]),
            Submission::Pending => assert_eq!(self.media.pending(), self.under_way.len()),
        }
    }

    /// Reads everything, and compares it to the model.
    pub(crate) fn check_all(&mut self) {
        self.settle();
        let blocks = self.media.info().bytes / BLOCK;
        for at in (0..blocks).step_by(128) {
            self.act(&Action::Read(at, 128.min(blocks - at), false));
        }
        self.settle();
    }

    /// The number of the last request.
    pub(crate) const fn submitted(&self) -> u64 {
        self.next
    }

    /// Abandons what is under way; returns how many that were.
    pub(crate) fn abandon(&mut self) -> usize {
        let mut back = Vec::new();
        self.media.abandon(&mut |ticket, _| back.push(ticket));
        let count = back.len();
        for ticket in back {
            let expected = self.under_way.remove(&ticket.sequence());
            self.free.push(expected.expect("it was under way").slot);
            ticket.settle();
        }
        assert_eq!((self.media.pending(), self.under_way.len()), (0, 0));
        count
    }

    /// Cancels the flush, read or write that was submitted as the `id`th, if it
    /// has not begun.
    pub(crate) fn cancel(&mut self, id: u64) -> bool {
        let cid = CommandId(u16::try_from(id).unwrap());
        let ticket = self.media.cancel(&mut |ticket| ticket.cid() == cid);
        let Some(ticket) = ticket else { return false };
        assert_eq!(ticket.cid(), cid);
        let expected = self.under_way.remove(&ticket.sequence()).unwrap();
        self.free.push(expected.slot);
        ticket.settle();
        true
    }
}

/// Data that differs from block to block.
pub(crate) fn pattern(fill: u8, blocks: u64) -> Vec<u8> {
    (0..blocks * BLOCK)
        .map(|at| fill.wrapping_add(u8::try_from(at / BLOCK % 251).unwrap()) | 1)
        .collect()
}

/// Random requests do what the model does, whatever is under way beside them.
pub(crate) fn matches_the_model<M: Media>(cases: u32, mut make: impl FnMut() -> M) {
    let zeroes = |media: M| {
        let bytes = usize::try_from(media.info().bytes).unwrap();
        (media, vec![0; bytes])
    };
    matches_a_model(cases, || zeroes(make()), |_| {});
}

/// As [`matches_the_model`], on media that are not empty at first; `after` looks at
/// the model once the medium is closed.
pub(crate) fn matches_a_model<M: Media>(
    cases: u32,
    mut make: impl FnMut() -> (M, Vec<u8>),
    after: impl Fn(&[u8]),
) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let first = make();
    let blocks = first.0.info().bytes / BLOCK;
    drop(first);
    let make = std::cell::RefCell::new(make);
    let run = |actions: Vec<Action>| {
        let (media, model) = (make.borrow_mut())();
        let mut tester = Tester::new(media);
        tester.model = model;
        for action in &actions {
            tester.act(action);
        }
        tester.check_all();
        let Tester { media, model, .. } = tester;
        drop(media);
        after(&model);
        Ok(())
    };
    if let Err(error) = runner.run(&actions(blocks), run) {
        panic!("{error}");
    }
}

/// Everything that is abandoned comes back once, and what comes after it works.
pub(crate) fn gives_up_what_is_abandoned<M: Media>(media: M) {
    let mut tester = Tester::new(media);
    for round in 0..20_u8 {
        for at in 0..8 {
            tester.act(&Action::Write(at * 100, 100, at % 2 == 0, at == 3, round));
            tester.act(&Action::Read(1000 + at * 100, 100, at % 2 == 1));
            tester.act(&Action::Discard(vec![(1800, 10), (1900, 10)]));
        }
        tester.act(&Action::Flush);
        if round % 2 == 0 {
            tester.poll(3);
        }
        tester.abandon();
        // Abandoned writes may have been done or not: write them again.
        for at in 0..8 {
            tester.act(&Action::Write(at * 100, 100, false, false, round));
        }
        tester.act(&Action::Discard(vec![(1800, 10), (1900, 10)]));
        tester.check_all();
    }
}

/// Once it has let go, the guest's memory is its own: what it writes there later
/// does not reach the medium, and nothing is written there.
pub(crate) fn lets_go_of_memory<M: Media>(media: M) {
    let mut tester = Tester::new(media);
    for round in 0..20_u8 {
        for at in 0..8 {
            tester.act(&Action::Write(at * 100, 100, at % 2 == 0, false, round));
            tester.act(&Action::Read(1000 + at * 100, 100, at % 2 == 1));
        }
        let mut back = Vec::new();
        tester
            .media
            .let_go(&mut |ticket, outcome| back.push((ticket, outcome)));
        tester.take(back);
        let held = tester.under_way.values().map(|expected| expected.slot);
        let held: Vec<_> = held.collect();
        for slot in held {
            tester.guest_write(slot, &[0x77; 1024], false);
        }
        for expected in tester.under_way.values_mut() {
            // Its memory was written over.
            expected.data = None;
        }
        tester.check_all();
    }
}
