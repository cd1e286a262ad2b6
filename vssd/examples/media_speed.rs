//! What a medium in a file costs and gives: 4 KiB random reads and writes at
//! several depths, host and controller on one thread, synchronous calls beside
//! io_uring.
//!
//! ```text
//! cargo run --release -p vssd --example media_speed -- FILE [MEBIBYTES [MILLISECONDS]]
//! ```
//!
//! FILE is made, written, and removed. Reads come from the page cache, and then,
//! where `/proc/sys/vm/drop_caches` may be written, from the drive.

#![expect(unsafe_code, reason = "the host's side of the rings is shared memory")]
#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use nvme::{
    AdminOpcode, Aqa, Cc, CreateCqCdw11, CreateQueueCdw10, CreateSqCdw11, Lba, NamespaceId,
    NvmOpcode, Registers, Sqe, offset,
};
use rustix::fs::MemfdFlags;
use rustix::time::{ClockId, clock_gettime};
use traces::{Clock, MonotonicClock};
use vssd::media::{RawFile, RawFileOptions, Uring};
use vssd::{Controller, ControllerConfig, Media, Protection};
use zerocopy::IntoBytes;

const PAGE: usize = 4096;
const ENTRIES: u16 = 256;
const SQ: usize = 2 * PAGE;
const CQ: usize = SQ + 256 * 64;
const DATA: usize = CQ + PAGE;
const HOST_BYTES: usize = DATA + 256 * PAGE;

/// The host's memory.
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

/// A host with one queue pair, and the controller in the same thread.
struct Bench<M: Media> {
    controller: Controller<M, (), MonotonicClock>,
    host: Shared,
    clock: MonotonicClock,
    tail: u16,
    head: u16,
    phase: u32,
    random: u64,
    blocks: u64,
}

impl<M: Media> Bench<M> {
    fn new(media: M) -> Self {
        let memory = rustix::fs::memfd_create("host", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&memory, HOST_BYTES as u64).unwrap();
        let host = Shared(MmapOptions::new().map_raw(&memory).unwrap());
        let clock = MonotonicClock::start();
        let blocks = media.info().bytes / PAGE as u64;
        let config = ControllerConfig::default();
        let mut controller = Controller::new(config, media, (), clock).unwrap();
        let (rw, bytes) = (Protection::READ_WRITE, HOST_BYTES as u64);
        controller.dma_map(0, bytes, memory.as_fd(), 0, rw).unwrap();
        let aqa = Aqa::new().with_asqs(15).with_acqs(15);
        controller.write32(offset::AQA, aqa.into_bits());
        controller.write64(offset::ASQ, 0);
        controller.write64(offset::ACQ, PAGE as u64);
        let cc = Cc::new().with_en(true).with_iosqes(6).with_iocqes(4);
        controller.write32(offset::CC, cc.into_bits());
        let cdw10 = CreateQueueCdw10::new().with_qid(1).with_qsize(ENTRIES - 1);
        let cq = CreateCqCdw11::new().with_pc(true).into_bits();
        let sq = CreateSqCdw11::new().with_pc(true).with_cqid(1).into_bits();
        let queues = [
            (AdminOpcode::CREATE_CQ, CQ, cq),
            (AdminOpcode::CREATE_SQ, SQ, sq),
        ];
        for (slot, (opcode, base, cdw11)) in (0_u32..).zip(queues) {
            let mut sqe = Sqe::new(opcode.0, NamespaceId(0));
            sqe.cdw10 = cdw10.into_bits().into();
            sqe.cdw11 = cdw11.into();
            sqe.prp1 = (base as u64).into();
            host.put(slot as usize * 64, &sqe);
            controller.write32(0x1000, slot + 1);
            controller.poll(1);
        }
        Self {
            controller,
            host,
            clock,
            tail: 0,
            head: 0,
            phase: 1,
            random: 0x9e37_79b9_7f4a_7c15,
            blocks,
        }
    }

    fn put(&mut self, cid: u16, opcode: NvmOpcode, block: u64) {
        let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
        sqe.command_id = cid.into();
        sqe.prp1 = ((DATA + usize::from(cid) * PAGE) as u64).into();
        sqe.set_slba(Lba(block * 8));
        sqe.cdw12 = 7.into();
        self.host.put(SQ + usize::from(self.tail) * 64, &sqe);
        self.tail = (self.tail + 1) % ENTRIES;
    }

    /// Keeps `depth` commands under way until `next` has no more; how many there
    /// were.
    fn run(
        &mut self,
        depth: u16,
        mut next: impl FnMut(&mut u64) -> Option<(NvmOpcode, u64)>,
    ) -> u64 {
        let mut free: Vec<u16> = (0..depth).collect();
        let (mut sent, mut done) = (0_u64, 0_u64);
        loop {
            let before = sent;
            while let Some(cid) = free.pop() {
                let mut random = self.random;
                let Some((opcode, block)) = next(&mut random) else {
                    free.push(cid);
                    break;
                };
                self.random = random;
                self.put(cid, opcode, block);
                sent += 1;
            }
            if sent > before {
                self.controller.write32(0x1000 + 8, self.tail.into());
            }
            if sent == done {
                return done;
            }
            self.controller.poll(256);
            let before = done;
            loop {
                let at = CQ + usize::from(self.head) * 16 + 12;
                let word = self.host.word(at).load(Ordering::Acquire);
                if word >> 16 & 1 != self.phase {
                    break;
                }
                assert_eq!(word >> 17, 0, "the command succeeds");
                free.push(u16::try_from(word & 0xffff).unwrap());
                self.head = (self.head + 1) % ENTRIES;
                self.phase ^= u32::from(self.head == 0);
                done += 1;
            }
            if done > before {
                self.controller.write32(0x1000 + 12, self.head.into());
            }
        }
    }

    fn measure(&mut self, depth: u16, opcode: NvmOpcode, duration: Duration) -> String {
        let end = u64::try_from(duration.as_nanos()).unwrap();
        let (clock, blocks) = (self.clock, self.blocks);
        let (start, cpu) = (clock.now_ns(), cpu_time());
        let done = self.run(depth, |random| {
            *random ^= *random << 13;
            *random ^= *random >> 7;
            *random ^= *random << 17;
            (clock.now_ns() - start < end).then_some((opcode, *random % blocks))
        });
        let seconds = Duration::from_nanos(clock.now_ns() - start).as_secs_f64();
        let each = (cpu_time() - cpu).as_secs_f64() * 1e6 / done as f64;
        format!("{:9.1} k/s {each:6.2} us", done as f64 / seconds / 1e3)
    }
}

/// Processor time of this process, the kernel's workers for it included.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

fn all<M: Media>(name: &str, open: impl Fn() -> M, duration: Duration) {
    let mut bench = Bench::new(open());
    let mut all = 0..bench.blocks;
    bench.run(32, |_| all.next().map(|block| (NvmOpcode::WRITE, block)));
    for (what, opcode, drop) in [
        ("write", NvmOpcode::WRITE, false),
        ("read, cached", NvmOpcode::READ, false),
        ("read, drive", NvmOpcode::READ, true),
    ] {
        for depth in [1, 32, 128] {
            if drop {
                let mut flush = Some((NvmOpcode::FLUSH, 0));
                bench.run(1, |_| flush.take());
                if std::fs::write("/proc/sys/vm/drop_caches", "1").is_err() {
                    continue;
                }
            }
            let figures = bench.measure(depth, opcode, duration);
            println!("{name:6} {what:13} depth {depth:3}: {figures}");
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("give the path of a file to make");
    let path = Path::new(&path);
    let number =
        |text: Option<String>, otherwise| text.map_or(otherwise, |text| text.parse().unwrap());
    let bytes = number(arguments.next(), 1024) << 20;
    let duration = Duration::from_millis(number(arguments.next(), 1500));
    let options = RawFileOptions {
        create: Some(bytes),
        read_only: false,
    };
    all("sync", || RawFile::open(path, options).unwrap(), duration);
    std::fs::remove_file(path).unwrap();
    all("uring", || Uring::open(path, options).unwrap(), duration);
    std::fs::remove_file(path).unwrap();
}
