//! How many 4 KiB random reads a second the controller serves, with nothing
//! between it and the host: two threads, one queue pair, memory they share.
//!
//! ```text
//! cargo run --release -p vssd --example queue_speed -- [SECONDS]
//! ```

#![expect(unsafe_code, reason = "the host's side of the rings is shared memory")]
#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use nvme::{
    AdminOpcode, Aqa, Cc, CreateCqCdw11, CreateQueueCdw10, CreateSqCdw11, Lba, NamespaceId,
    NvmOpcode, Registers, Sqe, offset,
};
use rustix::fs::MemfdFlags;
use traces::{Clock, MonotonicClock, Tap};
use vssd::media::{Null, Ram};
use vssd::{Controller, ControllerConfig, Media, Protection};
use zerocopy::IntoBytes;

const PAGE: usize = 4096;
const MEDIA_BYTES: u64 = 1 << 30;
const ENTRIES: u16 = 256;
/// Where things stand in the host's memory, bytes.
const ADMIN_SQ: usize = 0;
const ADMIN_CQ: usize = PAGE;
const SQ: usize = 2 * PAGE;
const CQ: usize = SQ + 256 * 64;
const DATA: usize = CQ + PAGE;
const HOST_BYTES: usize = DATA + 256 * PAGE;

/// An observer as cheap as one can be that looks.
#[derive(Default)]
struct Count(u64);

impl Tap for Count {
    fn command(&mut self, record: &traces::CommandRecord, _ranges: &[nvme::DsmRange]) {
        self.0 += u64::from(record.completion.is_some());
    }

    fn event(&mut self, _record: &traces::EventRecord) {}
}

/// Memory that the two threads share.
struct Shared(MmapRaw);

impl Shared {
    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at + 4 <= self.0.len() && at.is_multiple_of(4));
        let word = self.0.as_mut_ptr().wrapping_add(at).cast();
        // SAFETY: inside the mapping, aligned, and only reached as an atomic.
        unsafe { AtomicU32::from_ptr(word) }
    }

    fn put(&self, at: usize, sqe: &Sqe) {
        for (index, word) in sqe.as_bytes().chunks(4).enumerate() {
            let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
            self.word(at + index * 4).store(word, Ordering::Relaxed);
        }
    }
}

fn pin(core: usize) {
    // SAFETY: an all-zero set is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours, and the core is far below its size.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set outlives the call, and its size is right.
    let done = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    assert_eq!(done, 0, "core {core} is there");
}

fn admin<M: Media, T: Tap>(
    controller: &mut Controller<M, T, MonotonicClock>,
    host: &Shared,
    slot: u32,
    sqe: &Sqe,
) {
    host.put(ADMIN_SQ + slot as usize * 64, sqe);
    controller.write32(0x1000, slot + 1);
    controller.poll(1);
    let status = host
        .word(ADMIN_CQ + slot as usize * 16 + 12)
        .load(Ordering::Acquire);
    assert_eq!(status >> 17, 0, "the command succeeds");
}

fn set_up<M: Media, T: Tap>(controller: &mut Controller<M, T, MonotonicClock>, host: &Shared) {
    let aqa = Aqa::new().with_asqs(15).with_acqs(15);
    controller.write32(offset::AQA, aqa.into_bits());
    controller.write64(offset::ASQ, ADMIN_SQ as u64);
    controller.write64(offset::ACQ, ADMIN_CQ as u64);
    let cc = Cc::new().with_en(true).with_iosqes(6).with_iocqes(4);
    controller.write32(offset::CC, cc.into_bits());
    let cdw10 = CreateQueueCdw10::new().with_qid(1).with_qsize(ENTRIES - 1);
    let cq = CreateCqCdw11::new().with_pc(true).into_bits();
    let sq = CreateSqCdw11::new().with_pc(true).with_cqid(1).into_bits();
    let queues = [
        (AdminOpcode::CREATE_CQ, CQ, cq),
        (AdminOpcode::CREATE_SQ, SQ, sq),
    ];
    for (slot, (opcode, base, cdw11)) in (0..).zip(queues) {
        let mut sqe = Sqe::new(opcode.0, NamespaceId(0));
        sqe.cdw10 = cdw10.into_bits().into();
        sqe.cdw11 = cdw11.into();
        sqe.prp1 = (base as u64).into();
        admin(controller, host, slot, &sqe);
    }
}

/// Keeps `depth` commands in flight, each what `next` says, until that says no
/// more; returns how many completed.
fn run_host(
    host: &Shared,
    doorbells: &Shared,
    depth: u16,
    mut next: impl FnMut() -> Option<(NvmOpcode, u64)>,
) -> u64 {
    let (mut tail, mut head, mut phase) = (0_u16, 0_u16, 1_u32);
    let mut put = |cid: u16, opcode: NvmOpcode, block: u64| {
        let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
        sqe.command_id = cid.into();
        sqe.prp1 = ((DATA + usize::from(cid) * PAGE) as u64).into();
        sqe.set_slba(Lba(block * 8));
        sqe.cdw12 = 7.into();
        host.put(SQ + usize::from(tail) * 64, &sqe);
        tail = (tail + 1) % ENTRIES;
        u32::from(tail)
    };
    let mut rung = 0;
    let (mut sent, mut done) = (0_u64, 0_u64);
    let mut free: Vec<u16> = (0..depth).collect();
    loop {
        let before = done;
        loop {
            let at = CQ + usize::from(head) * 16 + 12;
            let word = host.word(at).load(Ordering::Acquire);
            if word >> 16 & 1 != phase {
                break;
            }
            assert_eq!(word >> 17, 0, "the command succeeds");
            free.push(u16::try_from(word & 0xffff).unwrap());
            head = (head + 1) % ENTRIES;
            phase ^= u32::from(head == 0);
            done += 1;
        }
        if done > before {
            doorbells.word(12).store(head.into(), Ordering::Release);
        }
        let mut tail = rung;
        while let Some(cid) = free.pop() {
            let Some((opcode, block)) = next() else {
                free.push(cid);
                break;
            };
            tail = put(cid, opcode, block);
            sent += 1;
        }
        if tail != rung {
            rung = tail;
            doorbells.word(8).store(rung, Ordering::Release);
        }
        if sent == done {
            return done;
        }
        std::hint::spin_loop();
    }
}

/// Writes the whole medium once, so that there is memory behind it, then reads
/// at random for `duration`; returns how many reads completed.
fn measure<M: Media + Send, T: Tap + Send>(
    media: M,
    tap: T,
    depth: u16,
    duration: Duration,
) -> u64 {
    let memory = rustix::fs::memfd_create("host", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, HOST_BYTES as u64).unwrap();
    let host = Shared(MmapOptions::new().map_raw(&memory).unwrap());
    let clock = MonotonicClock::start();
    let mut controller = Controller::new(ControllerConfig::default(), media, tap, clock).unwrap();
    let (rw, bytes) = (Protection::READ_WRITE, HOST_BYTES as u64);
    controller.dma_map(0, bytes, memory.as_fd(), 0, rw).unwrap();
    set_up(&mut controller, &host);
    let page = MmapOptions::new()
        .offset(controller.doorbells().file_offset())
        .len(PAGE)
        .map_raw(&controller.doorbells().fd());
    let doorbells = Shared(page.unwrap());
    let blocks = MEDIA_BYTES / PAGE as u64;
    let end = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            while !stop.load(Ordering::Relaxed) {
                controller.poll(256);
            }
        });
        pin(0);
        // One ring, so the queue's places go on from where they are: a number
        // of commands that the ring divides leaves them at the start.
        let mut filling = 0..blocks;
        run_host(&host, &doorbells, 64, || {
            filling.next().map(|block| (NvmOpcode::WRITE, block))
        });
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut count = 0_u64;
        let start = clock.now_ns();
        let done = run_host(&host, &doorbells, depth, || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            count += 1;
            let over = count.is_multiple_of(64) && clock.now_ns() - start >= end;
            (!over).then_some((NvmOpcode::READ, random % blocks))
        });
        stop.store(true, Ordering::Relaxed);
        done
    })
}

/// What a read costs in processor time, nanoseconds: host and controller take
/// turns on one thread, so that nothing else on the machine counts.
fn cost_ns<M: Media, T: Tap>(media: M, tap: T, depth: u16, scattered: bool) -> f64 {
    let memory = rustix::fs::memfd_create("host", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, HOST_BYTES as u64).unwrap();
    let host = Shared(MmapOptions::new().map_raw(&memory).unwrap());
    let clock = MonotonicClock::start();
    let mut controller = Controller::new(ControllerConfig::default(), media, tap, clock).unwrap();
    let rw = Protection::READ_WRITE;
    let piece = if scattered { PAGE } else { HOST_BYTES };
    for at in (0..HOST_BYTES as u64).step_by(piece) {
        controller
            .dma_map(at, piece as u64, memory.as_fd(), at, rw)
            .unwrap();
    }
    // As many maps as a guest behind a virtual IOMMU has.
    for at in 0..if scattered { 10_000 } else { 0 } {
        let iova = (1 << 40) + at * 2 * PAGE as u64;
        controller
            .dma_map(iova, PAGE as u64, memory.as_fd(), 0, rw)
            .unwrap();
    }
    set_up(&mut controller, &host);
    let mut tail = 0_u16;
    let mut spent = Duration::ZERO;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let turns = (1 << 20) / u32::from(depth);
    let blocks = MEDIA_BYTES / PAGE as u64;
    for (opcode, turns) in [(NvmOpcode::WRITE, turns), (NvmOpcode::READ, turns)] {
        spent = Duration::ZERO;
        for turn in 0..turns {
            for cid in 0..depth {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let number = u64::from(turn) * u64::from(depth) + u64::from(cid);
                let write = opcode == NvmOpcode::WRITE;
                let block = if write { number } else { random } % blocks;
                let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
                sqe.command_id = cid.into();
                sqe.prp1 = ((DATA + usize::from(cid) * PAGE) as u64).into();
                sqe.set_slba(Lba(block * 8));
                sqe.cdw12 = 7.into();
                host.put(SQ + usize::from(tail) * 64, &sqe);
                tail = (tail + 1) % ENTRIES;
            }
            controller.write32(0x1000 + 8, tail.into());
            let before = cpu_time();
            let mut done = 0;
            while done < u32::from(depth) {
                done += controller.poll(256);
            }
            spent += cpu_time() - before;
            controller.write32(0x1000 + 12, tail.into());
        }
    }
    spent.as_secs_f64() * 1e9 / f64::from(turns) / f64::from(depth)
}

/// Processor time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

fn ram() -> Ram {
    Ram::new(MEDIA_BYTES).unwrap()
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let duration = Duration::from_secs_f64(seconds.unwrap_or(2.0));
    println!("processor time of a 4 KiB random read, ns");
    for depth in [1, 32, 128] {
        println!(
            "depth {depth:3}: null {:4.0}   of 10,000 maps {:4.0}   ram {:4.0}   ram, observed {:4.0}",
            cost_ns(Null::new(MEDIA_BYTES), (), depth, false),
            cost_ns(Null::new(MEDIA_BYTES), (), depth, true),
            cost_ns(ram(), (), depth, false),
            cost_ns(ram(), Count::default(), depth, false)
        );
    }
    println!("4 KiB random reads, thousands a second");
    for depth in [1, 32, 128] {
        let rate = |done: u64| done as f64 / duration.as_secs_f64() / 1000.0;
        let null = measure(Null::new(MEDIA_BYTES), (), depth, duration);
        let plain = measure(ram(), (), depth, duration);
        let seen = measure(ram(), Count::default(), depth, duration);
        println!(
            "depth {depth:3}: null {:7.0}   ram {:7.0}   ram, observed {:7.0}",
            rate(null),
            rate(plain),
            rate(seen)
        );
    }
}
