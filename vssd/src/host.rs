//! A toy host: just enough of a driver, in the same thread, for tests.

#[cfg(test)]
mod held;

#[cfg(test)]
pub(crate) use held::Held;

use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use nvme::{
    AdminOpcode, Aqa, CQE_BYTES, Cc, CommandId, Cqe, CreateCqCdw11, CreateQueueCdw10,
    CreateSqCdw11, Csts, DOORBELL_BASE, Doorbell, DoorbellKind, DsmRange, Lba, NamespaceId,
    NvmOpcode, QueueId, SQE_BYTES, Sqe, Status, offset,
};
use rustix::fs::MemfdFlags;
use traces::{CommandRecord, Event, EventRecord, PayloadPlace, Tap, VirtualClock};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use crate::front::Function;
use crate::{Controller, ControllerConfig, Interrupts, Media, Protection};

pub(crate) const PAGE: u64 = 4096;
/// Where the host's memory starts, in I/O virtual addresses.
pub(crate) const BASE: u64 = 0x10_0000;
/// Pages of the host's memory.
pub(crate) const PAGES: u64 = 1024;
/// Entries of the admin queues.
pub(crate) const ADMIN_ENTRIES: u16 = 8;

/// An observer that keeps everything.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) commands: Vec<(CommandRecord, Vec<DsmRange>)>,
    pub(crate) events: Vec<Event>,
    /// What was written, where that is wanted.
    pub(crate) written: Option<Vec<(PayloadPlace, Vec<u8>)>>,
}

impl Tap for Log {
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        self.commands.push((*record, ranges.to_vec()));
    }

    fn event(&mut self, record: &EventRecord) {
        self.events.push(record.event);
    }

    fn wants_payload(&self) -> bool {
        self.written.is_some()
    }

    fn payload(&mut self, place: &PayloadPlace, bytes: usize, copy: &mut dyn FnMut(&mut [u8])) {
        // In two parts, as a ring that begins anew would have it.
        let mut data = vec![0xee; bytes];
        let (first, second) = data.split_at_mut(bytes / 3);
        copy(first);
        copy(second);
        if let Some(written) = &mut self.written {
            written.push((*place, data));
        }
    }
}

/// Interrupts that were raised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raised(Arc<Mutex<Vec<u16>>>);

impl Raised {
    pub(crate) fn take(&self) -> Vec<u16> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Interrupts for Raised {
    fn notify(&mut self, vector: u16) {
        self.0.lock().unwrap().push(vector);
    }

    fn branch(&self) -> Option<Box<dyn Interrupts + Send>> {
        Some(Box::new(self.clone()))
    }
}

/// A queue pair, as the host sees it. Both have the same identifier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) id: QueueId,
    pub(crate) sq: u64,
    pub(crate) cq: u64,
    pub(crate) entries: u16,
    pub(crate) tail: u16,
    pub(crate) head: u16,
    pub(crate) phase: bool,
}

/// The host: its memory, its queues, and the controller it drives.
pub(crate) struct Host<M: Media, D = Controller<M, Log, VirtualClock>> {
    pub(crate) controller: D,
    pub(crate) clock: VirtualClock,
    pub(crate) memory: OwnedFd,
    pub(crate) raised: Raised,
    pub(crate) admin: Pair,
    next_page: u64,
    next_cid: u16,
    medium: PhantomData<M>,
}

impl<M: Media> Host<M> {
    /// A host whose memory is mapped in one piece, and a controller that is not
    /// enabled.
    pub(crate) fn new(config: ControllerConfig, media: M) -> Self {
        Self::prepared(config, media, |_| {})
    }

    /// A host whose controller has something done to it before it attaches.
    pub(crate) fn prepared(
        config: ControllerConfig,
        media: M,
        prepare: impl FnOnce(&mut Controller<M, Log, VirtualClock>),
    ) -> Self {
        let clock = VirtualClock::new();
        let mut controller = Controller::new(config, media, Log::default(), clock.clone()).unwrap();
        prepare(&mut controller);
        Self::over(controller, clock)
    }

    /// A host with an enabled controller.
    pub(crate) fn enabled(media: M) -> Self {
        let mut host = Self::new(ControllerConfig::default(), media);
        host.enable();
        host
    }

    /// A host with an enabled controller and an I/O queue pair.
    pub(crate) fn ready(media: M) -> (Self, Pair) {
        let mut host = Self::enabled(media);
        let pair = host.create_pair(1, 64);
        (host, pair)
    }
}

impl<M: Media, D: Function> Host<M, D> {
    /// A host that attaches to a controller, or to what stands for one.
    pub(crate) fn over(controller: D, clock: VirtualClock) -> Self {
        let memory = rustix::fs::memfd_create("host", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&memory, PAGES * PAGE).unwrap();
        let mut host = Self {
            controller,
            medium: PhantomData,
            clock,
            memory,
            raised: Raised::default(),
            admin: Pair {
                id: QueueId::ADMIN,
                sq: 0,
                cq: 0,
                entries: ADMIN_ENTRIES,
                tail: 0,
                head: 0,
                phase: true,
            },
            next_page: 0,
            next_cid: 0,
        };
        host.controller.connected();
        host.controller
            .set_interrupts(Box::new(host.raised.clone()));
        host.map(BASE, PAGES * PAGE, 0);
        host.admin.sq = host.pages(1);
        host.admin.cq = host.pages(1);
        host
    }

    pub(crate) fn map(&mut self, iova: u64, len: u64, file_offset: u64) {
        self.controller
            .dma_map(
                iova,
                len,
                self.memory.as_fd(),
                file_offset,
                Protection::READ_WRITE,
            )
            .unwrap();
    }

    /// `count` fresh pages, contiguous.
    pub(crate) fn pages(&mut self, count: u64) -> u64 {
        let page = self.next_page;
        self.next_page += count;
        assert!(self.next_page <= PAGES, "the host ran out of memory");
        BASE + page * PAGE
    }

    /// Writes the host's memory, where `iova` is mapped in the one piece.
    pub(crate) fn write(&self, iova: u64, data: &[u8]) {
        rustix::io::pwrite(&self.memory, data, iova - BASE).unwrap();
    }

    pub(crate) fn read(&self, iova: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        rustix::io::pread(&self.memory, &mut data, iova - BASE).unwrap();
        data
    }

    pub(crate) fn csts(&mut self) -> Csts {
        Csts::from_bits(self.controller.read32(offset::CSTS))
    }

    /// The CC that enables a controller.
    pub(crate) fn cc() -> Cc {
        Cc::new().with_en(true).with_iosqes(6).with_iocqes(4)
    }

    /// Tells the admin queues and enables.
    pub(crate) fn enable(&mut self) {
        self.tell_admin_queues();
        self.controller.write32(offset::CC, Self::cc().into_bits());
        assert!(self.csts().rdy());
    }

    pub(crate) fn tell_admin_queues(&mut self) {
        let last = ADMIN_ENTRIES - 1;
        let aqa = Aqa::new().with_asqs(last).with_acqs(last);
        self.write(self.admin.cq, &[0; 4096]);
        self.controller.write32(offset::AQA, aqa.into_bits());
        self.controller.write64(offset::ASQ, self.admin.sq);
        self.controller.write64(offset::ACQ, self.admin.cq);
        self.admin.tail = 0;
        self.admin.head = 0;
        self.admin.phase = true;
    }

    /// Puts a command into a queue, without ringing. The CID is a fresh one.
    pub(crate) fn put(&mut self, pair: &mut Pair, mut sqe: Sqe) -> CommandId {
        self.next_cid = self.next_cid.wrapping_add(1);
        sqe.command_id = U16::new(self.next_cid);
        self.put_as(pair, sqe);
        CommandId(self.next_cid)
    }

    pub(crate) fn put_as(&mut self, pair: &mut Pair, sqe: Sqe) {
        let at = pair.sq + u64::from(pair.tail) * SQE_BYTES as u64;
        self.write(at, sqe.as_bytes());
        pair.tail = (pair.tail + 1) % pair.entries;
    }

    pub(crate) fn doorbell(&mut self, id: QueueId, kind: DoorbellKind, value: u32) {
        let at = DOORBELL_BASE + Doorbell { queue: id, kind }.offset(0);
        self.controller.write32(at, value);
    }

    pub(crate) fn ring(&mut self, pair: &Pair) {
        self.doorbell(pair.id, DoorbellKind::SubmissionTail, pair.tail.into());
    }

    /// The next completion of a queue, without telling that it was consumed.
    pub(crate) fn peek(&self, pair: &Pair) -> Option<Cqe> {
        let at = pair.cq + u64::from(pair.head) * CQE_BYTES as u64;
        let mut cqe = Cqe::new_zeroed();
        cqe.as_mut_bytes()
            .copy_from_slice(&self.read(at, CQE_BYTES));
        (cqe.phase() == pair.phase).then_some(cqe)
    }

    /// Takes the next completion of a queue.
    pub(crate) fn reap(&mut self, pair: &mut Pair) -> Option<Cqe> {
        let cqe = self.peek(pair)?;
        pair.head = (pair.head + 1) % pair.entries;
        pair.phase ^= pair.head == 0;
        self.doorbell(pair.id, DoorbellKind::CompletionHead, pair.head.into());
        Some(cqe)
    }

    /// Polls until nothing is in flight.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20_000_000 {
            let done = self.controller.poll(1024);
            if done == 0 && self.controller.idle() {
                return;
            }
            if done == 0 {
                std::thread::yield_now();
            }
        }
        panic!("the controller does not come to rest");
    }

    /// Executes one command and returns its completion.
    pub(crate) fn run(&mut self, pair: &mut Pair, sqe: Sqe) -> Cqe {
        let cid = self.put(pair, sqe);
        self.ring(pair);
        self.settle();
        let cqe = self.reap(pair).expect("the command completes");
        assert_eq!((cqe.cid(), cqe.sqid()), (cid, pair.id));
        cqe
    }

    pub(crate) fn status(&mut self, pair: &mut Pair, sqe: Sqe) -> Status {
        self.run(pair, sqe).status()
    }

    /// Executes an admin command.
    pub(crate) fn admin(&mut self, sqe: Sqe) -> Cqe {
        let mut admin = self.admin;
        let cqe = self.run(&mut admin, sqe);
        self.admin = admin;
        cqe
    }

    pub(crate) fn admin_status(&mut self, sqe: Sqe) -> Status {
        self.admin(sqe).status()
    }

    pub(crate) fn create_cq(&mut self, id: u16, entries: u16, base: u64) -> Status {
        let cdw11 = CreateCqCdw11::new()
            .with_pc(true)
            .with_ien(true)
            .with_iv(id);
        self.admin_status(create(
            AdminOpcode::CREATE_CQ,
            id,
            entries,
            base,
            cdw11.into(),
        ))
    }

    pub(crate) fn create_sq(&mut self, id: u16, cq: u16, entries: u16, base: u64) -> Status {
        let cdw11 = CreateSqCdw11::new().with_pc(true).with_cqid(cq);
        self.admin_status(create(
            AdminOpcode::CREATE_SQ,
            id,
            entries,
            base,
            cdw11.into(),
        ))
    }

    pub(crate) fn create_pair(&mut self, id: u16, entries: u16) -> Pair {
        let sq = self.pages(u64::from(entries).div_ceil(64));
        let cq = self.pages(u64::from(entries).div_ceil(256));
        let bytes = usize::from(entries) * CQE_BYTES;
        self.write(cq, &vec![0; bytes]);
        assert_eq!(self.create_cq(id, entries, cq), Status::SUCCESS);
        assert_eq!(self.create_sq(id, id, entries, sq), Status::SUCCESS);
        Pair {
            id: QueueId(id),
            sq,
            cq,
            entries,
            tail: 0,
            head: 0,
            phase: true,
        }
    }
}

/// A Create I/O Queue command.
pub(crate) fn create(opcode: AdminOpcode, id: u16, entries: u16, base: u64, cdw11: u32) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(0));
    let cdw10 = CreateQueueCdw10::new()
        .with_qid(id)
        .with_qsize(entries.wrapping_sub(1));
    sqe.cdw10 = U32::new(cdw10.into_bits());
    sqe.cdw11 = U32::new(cdw11);
    sqe.prp1 = U64::new(base);
    sqe
}

/// An I/O command on `blocks` blocks, with its data at `prp1` and `prp2`.
pub(crate) fn io(opcode: NvmOpcode, lba: u64, blocks: u32, prp1: u64, prp2: u64) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
    sqe.set_slba(Lba(lba));
    sqe.cdw12 = U32::new(blocks - 1);
    sqe.prp1 = U64::new(prp1);
    sqe.prp2 = U64::new(prp2);
    sqe
}

/// A Dataset Management command with its ranges at `prp1`.
pub(crate) fn dsm(ranges: usize, prp1: u64) -> Sqe {
    let mut sqe = Sqe::new(NvmOpcode::DATASET_MANAGEMENT.0, NamespaceId(1));
    sqe.cdw10 = U32::new(u32::try_from(ranges - 1).unwrap());
    sqe.cdw11 = U32::new(nvme::DsmAttributes::new().with_ad(true).into_bits());
    sqe.prp1 = U64::new(prp1);
    sqe
}
