//! Queues that come and go between threads, under a host that does all that
//! hosts do.

mod store;

use std::collections::HashMap;
use std::sync::Arc;

use fastrand::Rng;
use nvme::{
    AdminOpcode, CommandId, NSID_ALL, NamespaceId, NvmOpcode, Registers as _, Sqe, Status, offset,
};
use traces::{MonotonicClock, VirtualClock};
use zerocopy::little_endian::{U32, U64};

use self::store::{Shared, Store};
use super::*;
use crate::ControllerConfig;
use crate::front::Function as _;
use crate::host::{BASE, Host, PAGE, PAGES, Pair, io};
use crate::media::{Ram, RawFileOptions, Uring};

type Several<M> = Lanes<M, Shared, MonotonicClock>;

/// Bytes of a block.
const BLOCK: usize = 512;
/// Blocks of a queue's own part of the medium.
const PART: u64 = 256;

/// Queues are spread at each occasion, and seldom for long.
const EAGER: LanePolicy = LanePolicy {
    window_ns: 1_000,
    spread_at: 0,
    gather_at: 0,
    return_at: 0,
    settle_ns: 0,
    all: true,
    turns_a_look: 1,
};

fn host(threads: usize, policy: LanePolicy, store: Store) -> Host<Store, Several<Store>> {
    let log = store.log();
    host_on(threads, policy, store, log)
}

fn host_on<M: Parallel + Send + 'static>(
    threads: usize,
    policy: LanePolicy,
    media: M,
    log: Shared,
) -> Host<M, Several<M>> {
    let config = ControllerConfig::default();
    let controller = Controller::new(config, media, log, MonotonicClock::start()).unwrap();
    let owner = StopHandle::new().unwrap();
    let begin: Arc<dyn Fn(usize) + Send + Sync> = Arc::new(|_| {});
    let lanes = Lanes::alone(controller)
        .with_threads(threads, policy, &owner, &begin)
        .unwrap();
    let mut host = Host::over(lanes, VirtualClock::new());
    host.enable();
    host
}

/// What is expected of a command.
#[derive(Clone, Debug)]
enum Expected {
    Done,
    /// It reads this byte in all places.
    Data(u64, u8),
    /// It fails so.
    Failure(Status),
}

/// A queue pair, and what is in flight in it.
struct Client {
    pair: Pair,
    /// The first of its own blocks.
    base: u64,
    /// What each of them holds.
    blocks: Vec<u8>,
    /// A page for each command in flight.
    pages: Vec<u64>,
    /// By command, the block it is about and the page it has.
    in_flight: HashMap<CommandId, (u64, u64, Expected)>,
}

impl Client {
    fn new<M: Parallel + Send + 'static>(host: &mut Host<M, Several<M>>, id: u16) -> Self {
        let pair = host.create_pair(id, 32);
        let pages = (0..6).map(|_| host.pages(1)).collect();
        Self {
            pair,
            base: u64::from(id) * PART,
            blocks: vec![0; usize::try_from(PART).unwrap()],
            pages,
            in_flight: HashMap::new(),
        }
    }

    /// Asks for something that no command in flight is about.
    fn ask<M: Parallel + Send + 'static>(
        &mut self,
        host: &mut Host<M, Several<M>>,
        random: &mut Rng,
    ) {
        let Some(page) = self.pages.pop() else {
            return;
        };
        let block = random.u64(..PART);
        if self.in_flight.values().any(|(other, ..)| *other == block) {
            self.pages.push(page);
            return;
        }
        let at = usize::try_from(block).unwrap();
        let lba = self.base + block;
        // Past the page cache, memory that is not aligned is a matter of its own.
        let memory = page + 4 * random.u64(..2);
        let (sqe, expected) = match random.u8(..100) {
            0 => {
                let sqe = io(NvmOpcode::READ, 1 << 40, 1, page, 0);
                let status = Status::LBA_OUT_OF_RANGE.dnr().more();
                (sqe, Expected::Failure(status))
            }
            1 => {
                self.blocks[at] = 0;
                let sqe = io(NvmOpcode::WRITE_ZEROES, lba, 1, 0, 0);
                (sqe, Expected::Done)
            }
            2 => (io(NvmOpcode::FLUSH, 0, 1, 0, 0), Expected::Done),
            // This is none that a lane executes.
            3 if random.u8(..8) == 0 => {
                host.write(page, &[0; 4096]);
                let mut report = io(NvmOpcode::RESERVATION_REPORT, 0, 1, page, 0);
                report.cdw10 = U32::new(15);
                report.cdw11 = U32::new(0);
                report.cdw12 = U32::new(0);
                (report, Expected::Done)
            }
            4..=50 => {
                let byte = random.u8(..);
                self.blocks[at] = byte;
                host.write(memory, &[byte; BLOCK]);
                (io(NvmOpcode::WRITE, lba, 1, memory, 0), Expected::Done)
            }
            _ => {
                host.write(memory, &[0xee; BLOCK]);
                let expected = Expected::Data(memory, self.blocks[at]);
                (io(NvmOpcode::READ, lba, 1, memory, 0), expected)
            }
        };
        let cid = host.put(&mut self.pair, sqe);
        self.in_flight.insert(cid, (block, page, expected));
    }

    /// Takes what has completed, and holds it against what was expected.
    fn reap<M: Parallel + Send + 'static>(&mut self, host: &mut Host<M, Several<M>>) -> usize {
        let mut reaped = 0;
        while let Some(cqe) = host.reap(&mut self.pair) {
            let known = self.in_flight.remove(&cqe.cid());
            let (block, page, expected) = known.expect("it was asked for, and has not completed");
            match expected {
                Expected::Done => assert_eq!(cqe.status(), Status::SUCCESS, "block {block}"),
                Expected::Failure(status) => assert_eq!(cqe.status(), status),
                Expected::Data(at, byte) => {
                    assert_eq!(cqe.status(), Status::SUCCESS);
                    assert_eq!(host.read(at, BLOCK), [byte; BLOCK], "block {block}");
                }
            }
            self.pages.push(page);
            reaped += 1;
        }
        reaped
    }
}

/// Something that all queues have to be home for.
fn disturb<M: Parallel + Send + 'static>(
    host: &mut Host<M, Several<M>>,
    random: &mut Rng,
    spare: u64,
) {
    match random.u8(..5) {
        0 => {
            let mut identify = Sqe::new(AdminOpcode::IDENTIFY.0, NamespaceId(0));
            identify.cdw10 = U32::new(1);
            identify.prp1 = U64::new(spare);
            assert_eq!(host.admin_status(identify), Status::SUCCESS);
        }
        1 => host.controller.write32(offset::INTMS, 1 << 20),
        2 => {
            let iova = BASE + 2 * PAGES * PAGE;
            host.map(iova, PAGE, 0);
            assert_eq!(host.controller.dma_unmap(iova, PAGE), PAGE);
        }
        3 => {
            let pair = host.create_pair(40, 2);
            let mut delete = Sqe::new(AdminOpcode::DELETE_SQ.0, NamespaceId(0));
            delete.cdw10 = U32::new(pair.id.0.into());
            assert_eq!(host.admin_status(delete), Status::SUCCESS);
            delete.opcode = AdminOpcode::DELETE_CQ.0;
            assert_eq!(host.admin_status(delete), Status::SUCCESS);
        }
        _ => {
            let home = host.controller.home();
            assert!(home.next_sequence() > 0);
        }
    }
}

/// Times that queues are to be seen away.
const DEPARTURES: u32 = 20;

/// Works until `commands` have completed and queues were away often enough, which may
/// take more commands on a busy machine; how often they were seen away.
fn work<M: Parallel + Send + 'static>(
    host: &mut Host<M, Several<M>>,
    clients: &mut [Client],
    commands: usize,
    seed: u64,
) -> u32 {
    let mut random = Rng::with_seed(seed);
    let spare = host.pages(1);
    let (mut reaped, mut departures, mut were_out) = (0, 0, false);
    let is_done = |reaped, departures| {
        reaped >= commands && (departures > DEPARTURES || reaped > 100 * commands)
    };
    while !is_done(reaped, departures) || clients.iter().any(|client| !client.in_flight.is_empty())
    {
        for client in &mut *clients {
            if !is_done(reaped, departures) {
                for _ in 0..random.u8(..4) {
                    client.ask(host, &mut random);
                }
                host.ring(&client.pair);
            }
            reaped += client.reap(host);
        }
        host.controller.poll(random.u32(1..64));
        let are_out = host.controller.are_out();
        departures += u32::from(are_out && !were_out);
        were_out = are_out;
        if !is_done(reaped, departures) && random.u16(..200) == 0 {
            disturb(host, &mut random, spare);
        }
        if !are_out {
            std::thread::yield_now();
        }
    }
    departures
}

#[test]
fn all_commands_complete_once_and_right_while_queues_come_and_go() {
    for (seed, threads, delay) in [(1, 1, 0), (2, 3, 0), (3, 2, 40), (4, 3, 400)] {
        let store = Store::new(delay);
        let log = store.log();
        let mut host = host(threads, EAGER, store);
        let mut clients: Vec<_> = (1..=6).map(|id| Client::new(&mut host, id)).collect();
        let departures = work(&mut host, &mut clients, 20_000, seed);
        assert!(departures > DEPARTURES, "{departures}");
        host.controller.home();
        let commands = log.take();
        let mut sequence: Vec<_> = commands.iter().map(|record| record.sequence).collect();
        sequence.sort_unstable();
        let all: Vec<_> = (0..host.controller.controller().next_sequence()).collect();
        assert_eq!(sequence, all);
        assert!(commands.iter().all(|record| record.completion.is_some()));
    }
}

/// What is not aligned there waits for the requests of all threads.
#[test]
#[expect(clippy::print_stderr, reason = "a test says what it leaves out")]
fn past_the_page_cache_nobody_waits_for_one_who_stands_still() {
    let dir = tempfile::tempdir().unwrap();
    let options = RawFileOptions {
        create: Some(1 << 20),
        read_only: false,
    };
    let medium = match Uring::open_direct(&dir.path().join("disk"), options) {
        Ok(medium) => medium,
        Err(error) => {
            eprintln!("left out: nothing goes past the page cache here: {error}");
            return;
        }
    };
    let mut host = host_on(2, EAGER, medium, Shared::default());
    let mut clients: Vec<_> = (1..=6).map(|id| Client::new(&mut host, id)).collect();
    let departures = work(&mut host, &mut clients, 4000, 6);
    assert!(departures > DEPARTURES, "{departures}");
}

/// Grows while queues are away and commands are in flight, works in what is new, and
/// finds what was there before.
fn grows<M: Parallel + Send + 'static>(medium: M) {
    let mut host = host_on(2, EAGER, medium, Shared::default());
    let mut clients: Vec<_> = (1..=6).map(|id| Client::new(&mut host, id)).collect();
    work(&mut host, &mut clients, 2000, 7);
    let mut random = Rng::with_seed(8);
    while !host.controller.are_out() {
        host.controller.poll(64);
    }
    for client in &mut clients {
        (0..4).for_each(|_| client.ask(&mut host, &mut random));
        host.ring(&client.pair);
    }
    let old = host.controller.controller().media().info().bytes;
    let grown = host.controller.home().grow(2 * old).unwrap().unwrap();
    let block_bytes = u64::try_from(BLOCK).unwrap();
    assert_eq!(grown.blocks, 2 * old / block_bytes);
    work(&mut host, &mut clients, 1000, 9);
    let mut before = Vec::new();
    for client in &mut clients {
        let blocks = vec![0; client.blocks.len()];
        before.push((client.base, std::mem::replace(&mut client.blocks, blocks)));
        client.base += old / block_bytes;
    }
    // So that it is lanes who find what is new.
    while !host.controller.are_out() {
        host.controller.poll(64);
    }
    work(&mut host, &mut clients, 2000, 10);
    for (client, before) in clients.iter_mut().zip(before) {
        (client.base, client.blocks) = before;
    }
    work(&mut host, &mut clients, 2000, 11);
}

#[test]
fn a_medium_grows_while_lanes_work_on_it() {
    grows(Ram::new(1 << 20).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let options = RawFileOptions {
        create: Some(1 << 20),
        read_only: false,
    };
    grows(Uring::open(&dir.path().join("disk"), options).unwrap());
}

#[test]
fn what_lanes_counted_is_in_the_logs() {
    let mut host = host(2, EAGER, Store::new(3));
    let mut clients: Vec<_> = (1..=4).map(|id| Client::new(&mut host, id)).collect();
    work(&mut host, &mut clients, 4000, 5);
    let page = host.pages(1);
    let mut get = Sqe::new(AdminOpcode::GET_LOG_PAGE.0, NSID_ALL);
    get.cdw10 = U32::new(u32::from(nvme::LogPageId::SMART.0) | 127 << 16);
    get.prp1 = U64::new(page);
    assert_eq!(host.admin_status(get), Status::SUCCESS);
    let smart = host.read(page, 512);
    let number = |at: usize| u128::from_le_bytes(smart[at..at + 16].try_into().unwrap());
    let commands = host.controller.home().tap().take();
    let succeeded = |opcode: NvmOpcode| {
        let succeeded = commands.iter().filter(|record| {
            let ended = record.completion.is_some_and(|it| it.status.is_success());
            ended && !record.is_admin() && NvmOpcode(record.opcode) == opcode
        });
        u128::try_from(succeeded.count()).unwrap()
    };
    // NVMe Base 2.1 §5.1.12.1.3: host reads and writes, error entries.
    assert_eq!(number(64), succeeded(NvmOpcode::READ));
    assert_eq!(number(80), succeeded(NvmOpcode::WRITE));
    let failed = commands.iter().filter(|record| {
        record.completion.is_some_and(|it| !it.status.is_success()) && !record.is_admin()
    });
    let failed = u128::try_from(failed.count()).unwrap();
    assert!(failed > 0);
    assert_eq!(number(176), failed);
}

#[test]
fn a_reset_abandons_what_lanes_have_and_all_goes_on() {
    let store = Store::new(u32::MAX);
    let log = store.log();
    let mut host = host(2, EAGER, store);
    let mut clients: Vec<_> = (1..=4).map(|id| Client::new(&mut host, id)).collect();
    while !host.controller.are_out() {
        host.controller.poll(64);
    }
    let mut random = Rng::with_seed(9);
    let mut asked = 0;
    for client in &mut clients {
        for _ in 0..40 {
            client.ask(&mut host, &mut random);
        }
        host.ring(&client.pair);
        asked += client.in_flight.len();
    }
    // Nothing is answered but what the medium has not seen.
    while log.fetched() < asked {
        host.controller.poll(64);
    }
    assert!(host.controller.are_out());
    host.controller.write32(offset::INTMS, 0);
    // All is home, and the medium has what it had.
    assert!(!host.controller.are_out() && !host.controller.idle());
    host.controller.function_reset();
    let ended = log.take();
    let abandoned = ended.iter().filter(|record| record.completion.is_none());
    assert!(abandoned.count() > 0);
    assert!(host.controller.controller().idle());
    host.controller.home().media().answer_after(0);
    host.enable();
    let page = host.pages(1);
    let mut pair = host.create_pair(1, 8);
    for byte in [1, 2] {
        host.write(page, &[byte; BLOCK]);
        for (opcode, expected) in [(NvmOpcode::WRITE, byte), (NvmOpcode::READ, byte)] {
            let cid = host.put(&mut pair, io(opcode, 5, 1, page, 0));
            host.ring(&pair);
            let cqe = loop {
                host.controller.poll(64);
                if let Some(cqe) = host.reap(&mut pair) {
                    break cqe;
                }
            };
            assert_eq!((cqe.cid(), cqe.status()), (cid, Status::SUCCESS));
            assert_eq!(host.read(page, BLOCK), [expected; BLOCK]);
        }
    }
}

#[test]
fn a_doorbell_that_is_trapped_reaches_a_lane() {
    let mut host = host(1, EAGER, Store::new(0));
    let mut first = Client::new(&mut host, 1);
    let mut second = Client::new(&mut host, 2);
    while !host.controller.are_out() {
        host.controller.poll(64);
    }
    let mut random = Rng::with_seed(2);
    for client in [&mut first, &mut second] {
        client.ask(&mut host, &mut random);
        host.ring(&client.pair);
        while client.reap(&mut host) == 0 {
            host.controller.poll(64);
        }
    }
    // None was taken for a doorbell that no queue has.
    assert_eq!(host.controller.home().device.errors.count(), 0);
}

#[test]
fn one_thread_that_is_enough_has_all_queues() {
    let policy = LanePolicy {
        window_ns: 100_000,
        settle_ns: 0,
        ..LanePolicy::default()
    };
    let mut host = host(2, policy, Store::new(0));
    let mut clients: Vec<_> = (1..=2).map(|id| Client::new(&mut host, id)).collect();
    for _ in 0..20_000 {
        host.controller.poll(64);
        assert!(!host.controller.are_out());
    }
    // Too much for one: each turn finds something.
    let mut random = Rng::with_seed(3);
    while !host.controller.are_out() {
        for client in &mut clients {
            client.ask(&mut host, &mut random);
            host.ring(&client.pair);
        }
        host.controller.poll(64);
        for client in &mut clients {
            client.reap(&mut host);
        }
    }
    // And then nothing.
    while host.controller.are_out() {
        host.controller.poll(64);
        for client in &mut clients {
            client.reap(&mut host);
        }
    }
}
