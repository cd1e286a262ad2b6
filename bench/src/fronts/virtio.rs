//! The client of vhost-user servers: libblkio, which is not ours.
#![expect(
    unsafe_code,
    reason = "libblkio takes its buffers and gives its completions by pointers"
)]

use std::fmt::Display;
use std::mem::MaybeUninit;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use blkio::{Blkio, Blkioq, Completion, ReqFlags};
use traces::{Clock as _, MonotonicClock};

use super::work::Work;

/// How many completions are taken at a time.
const BATCH: usize = 128;
/// How often the clock is looked at, in turns of all queues.
const TURNS_A_LOOK: u32 = 64;
/// Entries of a virtqueue.
const ENTRIES: i32 = 256;
/// How much of the disk a request of the fill has, bytes.
const FILL_BYTES: usize = 128 << 10;

/// Random requests, all aligned to their size, to the disk at `socket`; first
/// each block is written once, so that reads find memory that is really there.
/// Returns the IOPS. The client polls, and so does a server that can.
pub(crate) fn run(socket: &Path, work: Work) -> Result<f64> {
    let mut disk = Blkio::new("virtio-blk-vhost-user").map_err(failed("make a client"))?;
    disk.set_str("path", &socket.display().to_string())
        .map_err(failed("name the socket"))?;
    disk.connect().map_err(failed("connect"))?;
    disk.set_i32("num-queues", 0)
        .and_then(|()| disk.set_i32("num-poll-queues", work.queues.into()))
        .and_then(|()| disk.set_i32("queue-size", ENTRIES))
        .map_err(failed("choose queues"))?;
    let depth = usize::from(work.depth);
    let bytes = work.bytes.max(FILL_BYTES);
    let region = disk
        .alloc_mem_region(depth * usize::from(work.queues) * bytes)
        .map_err(failed("get memory"))?;
    let mut queues = disk.start().map_err(failed("start"))?.poll_queues;
    disk.map_mem_region(&region)
        .map_err(failed("share memory"))?;
    let capacity = disk.get_u64("capacity").map_err(failed("ask the size"))?;
    let mut slots = Slots {
        address: region.addr,
        bytes,
        depth,
    };
    let first = queues.first_mut().ok_or_else(|| anyhow!("no queue"))?;
    fill(first, capacity, slots)?;
    slots.bytes = work.bytes;
    drive(&mut queues, capacity, slots, work)
}

/// Where the buffers of requests are.
#[derive(Clone, Copy, Debug)]
struct Slots {
    address: usize,
    /// Of a buffer.
    bytes: usize,
    /// Buffers of a queue.
    depth: usize,
}

impl Slots {
    fn buffer(self, queue: usize, slot: usize) -> *mut u8 {
        let address = self.address + (queue * self.depth + slot) * self.bytes;
        std::ptr::with_exposed_provenance_mut(address)
    }
}

/// Writes the whole disk.
fn fill(queue: &mut Blkioq, capacity: u64, slots: Slots) -> Result<()> {
    let mut completions = Completions::new();
    let step = u64::try_from(FILL_BYTES)?;
    for start in (0..capacity / step).map(|number| number * step) {
        queue.write(start, slots.buffer(0, 0), FILL_BYTES, 0, ReqFlags::empty());
        completions.take(queue, 1, |_| {})?;
    }
    Ok(())
}

/// Keeps all queues at their depth until the time is over.
fn drive(queues: &mut [Blkioq], capacity: u64, slots: Slots, work: Work) -> Result<f64> {
    let mut random = fastrand::Rng::with_seed(1);
    let step = u64::try_from(work.bytes)?;
    let mut start = |queue: &mut Blkioq, index: usize, slot: usize| {
        let at = random.u64(0..capacity / step) * step;
        let buffer = slots.buffer(index, slot);
        if work.writes {
            queue.write(at, buffer, work.bytes, slot, ReqFlags::empty());
        } else {
            queue.read(at, buffer, work.bytes, slot, ReqFlags::empty());
        }
    };
    let mut completions = Completions::new();
    for (index, queue) in queues.iter_mut().enumerate() {
        (0..slots.depth).for_each(|slot| start(queue, index, slot));
    }
    let clock = MonotonicClock::start();
    let began_ns = clock.now_ns();
    let end_ns = began_ns + work.time_ns();
    let mut done = 0_usize;
    let mut now_ns = began_ns;
    let mut again = Vec::with_capacity(BATCH);
    while now_ns < end_ns {
        for _ in 0..TURNS_A_LOOK {
            for (index, queue) in queues.iter_mut().enumerate() {
                // What was started in the last turn is sent by this one.
                done += completions.take(queue, 0, |slot| again.push(slot))?;
                again.drain(..).for_each(|slot| start(queue, index, slot));
            }
        }
        now_ns = clock.now_ns();
    }
    for queue in queues {
        completions.take(queue, slots.depth, |_| {})?;
    }
    #[expect(clippy::cast_precision_loss, reason = "IOPS for people")]
    let iops = done as f64 * 1e9 / (now_ns - began_ns) as f64;
    Ok(iops)
}

/// Room for completions.
struct Completions(Box<[MaybeUninit<Completion>; BATCH]>);

impl Completions {
    fn new() -> Self {
        Self(Box::new([const { MaybeUninit::uninit() }; BATCH]))
    }

    /// Sends what was queued, waits for `least` completions, and hands the slots
    /// of all that have come to `each`. Returns how many.
    fn take(
        &mut self,
        queue: &mut Blkioq,
        least: usize,
        mut each: impl FnMut(usize),
    ) -> Result<usize> {
        let count = queue
            .do_io(&mut self.0[..], least, None, None)
            .map_err(failed("do I/O"))?;
        for completion in self.0.iter().take(count) {
            // SAFETY: do_io wrote the first `count` completions.
            let completion = unsafe { completion.assume_init_ref() };
            ensure!(
                completion.ret == 0,
                "a request failed (errno {}): the figures would mean nothing",
                -completion.ret
            );
            each(completion.user_data);
        }
        Ok(count)
    }
}

/// libblkio's errors have no source.
fn failed<E: Display>(what: &str) -> impl Fn(E) -> anyhow::Error + '_ {
    move |error| anyhow!("libblkio cannot {what}: {error}")
}
