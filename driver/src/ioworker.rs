//! A small load generator: one queue pair, kept as deep as it is told.
//!
//! It is there for benchmarks and demonstrations; a trace is replayed by the
//! `replayer`.

mod report;
mod verify;

use std::time::Duration;

use fastrand::Rng;
use nvme::{Lba, NamespaceId, ZeroBased};
use traces::{Clock, Tap};

pub use self::report::{IoworkerReport, Tally};
use self::verify::Verifier;
use crate::transport::Transport;
use crate::{
    Command, Completed, Controller, DmaBuffer, DriverError, NamespaceInfo, QueueOptions, QueuePair,
};

/// In which order addresses are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Uniformly at random, from the seed.
    Random,
    /// From the first to the last, then again.
    Sequential,
}

/// When the work is done. What is in flight then is still waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// After so many commands.
    Commands(u64),
    /// When so much time has passed.
    After(Duration),
}

/// What to do. The default reads 4 KiB at random for a second, one at a time.
#[derive(Clone, Copy, Debug)]
pub struct IoworkerOptions {
    /// The namespace.
    pub nsid: NamespaceId,
    /// Bytes of each command: a multiple of the block size, at most the queue
    /// pair's limit of transfers. Addresses are multiples of it.
    pub io_bytes: u32,
    /// The order of addresses.
    pub order: Order,
    /// Reads among 100 commands; the others **write**.
    pub read_percent: u8,
    /// Commands in flight.
    pub depth: u16,
    /// When to stop.
    pub stop: Stop,
    /// Where addresses and kinds come from: the same seed, the same work.
    pub seed: u64,
    /// The first block that may be touched.
    pub first: Lba,
    /// How many blocks from there may be touched; none for all that there are.
    pub blocks: Option<u64>,
    /// Whether every block that is written is stamped with its address and the
    /// seed, and looked at when it is read again.
    pub verify: bool,
    /// How long a command may take.
    pub timeout: Duration,
}

impl Default for IoworkerOptions {
    fn default() -> Self {
        Self {
            nsid: NamespaceId(1),
            io_bytes: 4096,
            order: Order::Random,
            read_percent: 100,
            depth: 1,
            stop: Stop::After(Duration::from_secs(1)),
            seed: 1,
            first: Lba(0),
            blocks: None,
            verify: false,
            timeout: Duration::from_secs(30),
        }
    }
}

/// Without a completion, the time is looked at after so many polls.
const POLLS_PER_LOOK: u32 = 256;
/// And the device's health after so long.
const CHECK_NS: u64 = 10_000_000;

/// One command in flight.
#[derive(Clone, Copy, Debug)]
struct Job {
    is_read: bool,
    lba: Lba,
}

/// A load generator at work. It owns its queue pair and may move to a thread.
#[derive(Debug)]
pub struct Ioworker<T: Tap = ()> {
    options: IoworkerOptions,
    queue_pair: QueuePair<T>,
    buffer: DmaBuffer,
    blocks_per_io: ZeroBased<u16>,
    /// How many addresses there are.
    places: u64,
    next_place: u64,
    rng: Rng,
    jobs: Vec<Job>,
    free: Vec<u16>,
    reaped: Vec<Completed>,
    submitted: u64,
    verifier: Option<Verifier>,
    times: Times,
    empty_polls: u32,
    report: IoworkerReport,
}

/// Times of the caller's clock, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    start: Option<u64>,
    last_completion: u64,
    last_check: u64,
}

impl Ioworker {
    /// A load generator with a queue pair and a buffer of its own.
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`] where the options do not fit the namespace,
    /// and those of [`Controller::create_queue_pair`].
    pub fn create<D: Transport, C: Clock>(
        controller: &mut Controller<D, C>,
        options: IoworkerOptions,
    ) -> Result<Self, DriverError> {
        let namespace = controller.info().namespace(options.nsid);
        let namespace = namespace.ok_or_else(|| DriverError::Invalid {
            what: format!("{} does not exist on this device", options.nsid),
        })?;
        let queue_pair = controller.create_queue_pair(QueueOptions {
            depth: options.depth,
            transfer_bytes_max: usize::try_from(options.io_bytes).ok(),
            ..QueueOptions::default()
        })?;
        let bytes = usize::from(options.depth) * options.io_bytes as usize;
        let buffer = controller.allocate_dma(bytes)?;
        Self::new(queue_pair, buffer, namespace, options)
    }
}

impl<T: Tap> Ioworker<T> {
    /// A load generator on `queue_pair`; `buffer` has `depth` times `io_bytes`
    /// bytes.
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`] where the options do not fit each other, the
    /// namespace, the queue pair or the buffer.
    pub fn new(
        queue_pair: QueuePair<T>,
        mut buffer: DmaBuffer,
        namespace: NamespaceInfo,
        options: IoworkerOptions,
    ) -> Result<Self, DriverError> {
        let (blocks_per_io, places) = geometry(&queue_pair, &buffer, namespace, &options)?;
        let mut rng = Rng::with_seed(options.seed);
        // Zeroes are too easy: some devices do not even store them.
        let mut noise = vec![0; buffer.len()];
        rng.fill(&mut noise);
        buffer.write_at(0, &noise)?;
        let verifier = options.verify.then(|| {
            Verifier::new(
                options.seed,
                namespace.block_bytes as usize,
                blocks_per_io.count(),
                places,
                options.depth,
            )
        });
        let idle = Job {
            is_read: true,
            lba: options.first,
        };
        Ok(Self {
            queue_pair,
            buffer,
            blocks_per_io,
            places,
            next_place: 0,
            rng,
            jobs: vec![idle; usize::from(options.depth)],
            free: (0..options.depth).rev().collect(),
            reaped: Vec::with_capacity(usize::from(options.depth)),
            submitted: 0,
            verifier,
            times: Times::default(),
            empty_polls: 0,
            report: IoworkerReport {
                reads: Tally::new()?,
                writes: Tally::new()?,
                elapsed: Duration::ZERO,
                verified_blocks: 0,
            },
            options,
        })
    }

    /// Works until it is done, and reports.
    ///
    /// # Errors
    ///
    /// Those of [`Ioworker::step`].
    pub fn run(mut self, clock: &impl Clock) -> Result<IoworkerReport, DriverError> {
        while self.step(clock)? {}
        Ok(self.finish().1)
    }

    /// Reaps what is complete and submits what there is room for; never waits.
    /// Returns whether there is more to do.
    ///
    /// # Errors
    ///
    /// [`DriverError::DeviceGone`], [`DriverError::CommandTimeout`],
    /// [`DriverError::DataMismatch`]; a command that completes with an error
    /// status is counted, and the work goes on.
    pub fn step(&mut self, clock: &impl Clock) -> Result<bool, DriverError> {
        let reaped = &mut self.reaped;
        reaped.clear();
        self.queue_pair
            .poll(clock, usize::from(self.options.depth), |done| {
                reaped.push(done);
            })?;
        if self.reaped.is_empty() && self.times.start.is_some() {
            return self.nothing_came(clock);
        }
        self.empty_polls = 0;
        for index in 0..self.reaped.len() {
            if let Some(done) = self.reaped.get(index).copied() {
                self.over(&done)?;
            }
        }
        self.refill(clock)?;
        Ok(self.queue_pair.in_flight() > 0)
    }

    /// Ends the work, done or not; the queue pair and the report.
    #[must_use]
    pub fn finish(mut self) -> (QueuePair<T>, IoworkerReport) {
        let start_ns = self.times.start.unwrap_or(0);
        let elapsed_ns = self.times.last_completion.saturating_sub(start_ns);
        self.report.elapsed = Duration::from_nanos(elapsed_ns);
        (self.queue_pair, self.report)
    }

    fn over(&mut self, done: &Completed) -> Result<(), DriverError> {
        self.times.last_completion = done.complete_ns;
        let Ok(slot) = u16::try_from(done.user) else {
            return Ok(());
        };
        let Some(job) = self.jobs.get(usize::from(slot)).copied() else {
            return Ok(());
        };
        self.free.push(slot);
        let tally = if job.is_read {
            &mut self.report.reads
        } else {
            &mut self.report.writes
        };
        tally.add(done, self.options.io_bytes);
        let place = self.place_of(job.lba);
        if let Some(verifier) = &mut self.verifier
            && done.status.is_success()
        {
            if job.is_read {
                let offset = usize::from(slot) * self.options.io_bytes as usize;
                let looked_at = verifier.check(&self.buffer, offset, slot, job.lba)?;
                self.report.verified_blocks += looked_at;
            } else {
                verifier.written(place);
            }
        }
        Ok(())
    }

    fn refill(&mut self, clock: &impl Clock) -> Result<(), DriverError> {
        if self.free.is_empty() {
            return Ok(());
        }
        let now_ns = clock.now_ns();
        let start_ns = *self.times.start.get_or_insert(now_ns);
        if let Stop::After(duration) = self.options.stop
            && Duration::from_nanos(now_ns.saturating_sub(start_ns)) >= duration
        {
            return Ok(());
        }
        while let Some(slot) = self.free.last().copied() {
            if let Stop::Commands(count) = self.options.stop
                && self.submitted >= count
            {
                break;
            }
            self.submit(slot, now_ns)?;
            self.free.pop();
            self.submitted += 1;
        }
        self.queue_pair.ring();
        Ok(())
    }

    fn submit(&mut self, slot: u16, now_ns: u64) -> Result<(), DriverError> {
        let place = match self.options.order {
            Order::Random => self.rng.u64(0..self.places),
            Order::Sequential => {
                let place = self.next_place;
                self.next_place = (place + 1) % self.places;
                place
            }
        };
        let is_read = self.rng.u8(0..100) < self.options.read_percent;
        let blocks = self.blocks_per_io;
        let lba = Lba(self.options.first.0 + place * u64::from(blocks.count()));
        let io_bytes = self.options.io_bytes as usize;
        let offset = usize::from(slot) * io_bytes;
        if let Some(verifier) = &mut self.verifier {
            if is_read {
                verifier.expect(slot, place);
            } else {
                verifier.stamp(&mut self.buffer, offset, lba)?;
            }
        }
        let data = self.buffer.slice(offset, io_bytes)?;
        let nsid = self.options.nsid;
        let command = if is_read {
            Command::read(nsid, lba, blocks, data)
        } else {
            Command::write(nsid, lba, blocks, data)
        };
        self.queue_pair.submit(command, u64::from(slot), now_ns)?;
        if let Some(job) = self.jobs.get_mut(usize::from(slot)) {
            *job = Job { is_read, lba };
        }
        Ok(())
    }

    /// A poll that found nothing. Now and then it is time to ask why.
    #[cold]
    fn look(&mut self, clock: &impl Clock) -> Result<(), DriverError> {
        let now_ns = clock.now_ns();
        if now_ns.saturating_sub(self.times.last_check) < CHECK_NS {
            return Ok(());
        }
        self.times.last_check = now_ns;
        self.queue_pair.check_device()?;
        let timeout = self.options.timeout;
        let expired = self.queue_pair.expired(now_ns, timeout).next();
        let Some((tag, user, _)) = expired else {
            return Ok(());
        };
        let slot = usize::try_from(user).unwrap_or(usize::MAX);
        let what = match self.jobs.get(slot) {
            Some(job) if job.is_read => format!("Read at {}", job.lba),
            Some(job) => format!("Write at {}", job.lba),
            None => "a command".to_owned(),
        };
        Err(DriverError::CommandTimeout {
            device: self.queue_pair.device().to_owned(),
            command: format!("{what} ({}, {})", self.queue_pair.id(), tag.cid()),
            timeout,
        })
    }

    fn nothing_came(&mut self, clock: &impl Clock) -> Result<bool, DriverError> {
        self.empty_polls += 1;
        if self.empty_polls >= POLLS_PER_LOOK {
            self.empty_polls = 0;
            self.look(clock)?;
        }
        std::hint::spin_loop();
        Ok(self.queue_pair.in_flight() > 0)
    }

    fn place_of(&self, lba: Lba) -> u64 {
        (lba.0 - self.options.first.0) / u64::from(self.blocks_per_io.count())
    }
}

/// Blocks of a command, and how many places for it there are.
fn geometry<T: Tap>(
    queue_pair: &QueuePair<T>,
    buffer: &DmaBuffer,
    namespace: NamespaceInfo,
    options: &IoworkerOptions,
) -> Result<(ZeroBased<u16>, u64), DriverError> {
    let invalid = |what: String| Err(DriverError::Invalid { what });
    let (io_bytes, block_bytes) = (options.io_bytes, namespace.block_bytes);
    let blocks = if io_bytes.is_multiple_of(block_bytes) {
        ZeroBased::<u16>::of(io_bytes / block_bytes)
    } else {
        None
    };
    let Some(blocks) = blocks else {
        return invalid(format!(
            "an I/O size of {io_bytes} bytes: choose a multiple of {block_bytes}, up to 65536 blocks"
        ));
    };
    let depth = usize::from(options.depth);
    if depth == 0 || depth > queue_pair.depth() {
        return invalid(format!(
            "a depth of {depth} on a queue of {}: choose 1 to that",
            queue_pair.depth()
        ));
    }
    if io_bytes as usize > queue_pair.transfer_bytes_max() {
        return invalid(format!(
            "an I/O size of {io_bytes} bytes: this device takes {} at most",
            queue_pair.transfer_bytes_max()
        ));
    }
    if buffer.len() < depth * io_bytes as usize {
        return invalid(format!(
            "a buffer of {} bytes: {depth} commands of {io_bytes} bytes need more",
            buffer.len()
        ));
    }
    if options.read_percent > 100 {
        return invalid(format!("{} % of reads: 100 is all", options.read_percent));
    }
    let there = namespace.blocks.saturating_sub(options.first.0);
    let range = options.blocks.unwrap_or(there).min(there);
    match range / u64::from(blocks.count()) {
        0 => invalid(format!(
            "{range} blocks from {} on: an I/O of {io_bytes} bytes does not fit",
            options.first
        )),
        places => Ok((blocks, places)),
    }
}
