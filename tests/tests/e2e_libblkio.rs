//! libblkio, the client library that QEMU's block layer, fio and others use, on a
//! virtio disk of ours.
#![expect(
    unsafe_code,
    reason = "libblkio takes its buffers and gives its completions by pointers"
)]

use std::fs;
use std::mem::MaybeUninit;
use std::time::Duration;

use blkio::{Blkio, Blkioq, MemoryRegion, ReqFlags};
use nvme::NvmOpcode;
use traces::{Reader, Record};
use vssd_tests::e2e::{Scratch, Serve};

const DISK: usize = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// A client with one queue.
struct Client {
    // Before the rest, as it uses their memory.
    queue: Blkioq,
    region: MemoryRegion,
    _disk: Blkio,
}

impl Client {
    /// `polls`: looks for completions by itself; otherwise, it waits to be told.
    fn connect(socket: &str, polls: bool) -> Self {
        let mut disk = Blkio::new("virtio-blk-vhost-user").unwrap();
        disk.set_str("path", socket).unwrap();
        disk.connect().unwrap();
        assert_eq!(disk.get_u64("capacity").unwrap(), 8 << 20);
        let queues = [i32::from(!polls), i32::from(polls)];
        disk.set_i32("num-queues", queues[0]).unwrap();
        disk.set_i32("num-poll-queues", queues[1]).unwrap();
        let region = disk.alloc_mem_region(2 * DISK).unwrap();
        let mut queues = disk.start().unwrap();
        disk.map_mem_region(&region).unwrap();
        let queue = queues.queues.pop().or(queues.poll_queues.pop());
        Self {
            queue: queue.unwrap(),
            region,
            _disk: disk,
        }
    }

    fn at(&self, offset: usize) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.region.addr + offset)
    }

    fn put(&mut self, offset: usize, data: &[u8]) {
        assert!(offset + data.len() <= self.region.len);
        // SAFETY: it is inside the region, and no request is under way.
        unsafe { self.at(offset).copy_from(data.as_ptr(), data.len()) };
    }

    fn get(&self, offset: usize, bytes: usize) -> Vec<u8> {
        assert!(offset + bytes <= self.region.len);
        let mut data = vec![0; bytes];
        // SAFETY: it is inside the region, and no request is under way.
        unsafe { data.as_mut_ptr().copy_from(self.at(offset), bytes) };
        data
    }

    /// Sends what was queued, and waits for all `count`; what each returned.
    fn finish(&mut self, count: usize) -> Vec<(usize, i32)> {
        let mut room = [const { MaybeUninit::uninit() }; 64];
        let mut patience = PATIENCE;
        let done = self
            .queue
            .do_io(&mut room[..count], count, Some(&mut patience), None)
            .unwrap();
        assert_eq!(done, count);
        let mut all: Vec<_> = room[..done]
            .iter()
            .map(|completion| {
                // SAFETY: do_io wrote as many as it says.
                let completion = unsafe { completion.assume_init_ref() };
                (completion.user_data, completion.ret)
            })
            .collect();
        all.sort_unstable();
        all
    }
}

/// What the disk is to hold: no two blocks are alike.
fn content(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut data = vec![0; DISK];
    random.fill(&mut data);
    data
}

fn data_is_right(polls: bool) {
    let scratch = Scratch::new();
    let image = scratch.path("disk.img");
    let trace = scratch.path("disk.vtr");
    fs::write(&image, content(1)).unwrap();
    let server = Serve::virtio(&image, scratch.dir(), "disk")
        .record(&trace)
        .start();
    let mut client = Client::connect(server.socket().to_str().unwrap(), polls);
    let none = ReqFlags::empty();

    // 32 at a time, of a size that is no power of two.
    let mut data = content(2);
    client.put(0, &data);
    const PIECE: usize = 48 << 10;
    let pieces: Vec<usize> = (0..DISK / PIECE).map(|number| number * PIECE).collect();
    for some in pieces.chunks(32) {
        for (number, &piece) in some.iter().enumerate() {
            let from = client.at(piece);
            let start = u64::try_from(piece).unwrap();
            client.queue.write(start, from, PIECE, number, none);
        }
        let all: Vec<_> = (0..some.len()).map(|number| (number, 0)).collect();
        assert_eq!(client.finish(some.len()), all);
    }
    let written = pieces.len() * PIECE;
    data[written..].copy_from_slice(&content(1)[written..]);

    client.queue.discard(1 << 20, 1 << 20, 0, none);
    client.queue.write_zeroes(3 << 20, 1 << 20, 1, none);
    assert_eq!(client.finish(2), [(0, 0), (1, 0)]);
    data[1 << 20..2 << 20].fill(0);
    data[3 << 20..4 << 20].fill(0);
    client.queue.flush(7, none);
    assert_eq!(client.finish(1), [(7, 0)]);
    let kept = fs::read(&image).unwrap();
    assert!(kept == data, "the image is not what was written");

    for (number, start) in (0..DISK).step_by(1 << 20).enumerate() {
        let to = client.at(DISK + start);
        let at = u64::try_from(start).unwrap();
        client.queue.read(at, to, 1 << 20, number, none);
    }
    client.finish(8);
    assert!(client.get(DISK, DISK) == data, "what was read is not it");

    // Beyond the end: an error, and the disk goes on.
    let to = client.at(0);
    client.queue.read(8 << 20, to, 4096, 0, none);
    assert!(client.finish(1)[0].1 < 0);
    client.queue.read(0, to, 4096, 0, none);
    assert_eq!(client.finish(1), [(0, 0)]);

    drop(client);
    server.wait_for_log("recorded ", 1);
    assert_eq!(server.complaints(), [""; 0]);
    let reader = Reader::open(&trace).unwrap();
    let count = |opcode: NvmOpcode| {
        let records = reader.records().map(Result::unwrap);
        records
            .filter(|record| match record {
                Record::Command { command, .. } => command.nvm_opcode() == Some(opcode),
                _ => false,
            })
            .count()
    };
    assert_eq!(count(NvmOpcode::WRITE), pieces.len());
    assert_eq!(count(NvmOpcode::READ), 8 + 2);
    assert_eq!(count(NvmOpcode::FLUSH), 1);
    assert_eq!(count(NvmOpcode::DATASET_MANAGEMENT), 1);
    assert_eq!(count(NvmOpcode::WRITE_ZEROES), 1);
}

#[test]
fn data_is_right_for_a_client_that_polls() {
    data_is_right(true);
}

#[test]
fn data_is_right_for_a_client_that_waits() {
    data_is_right(false);
}
