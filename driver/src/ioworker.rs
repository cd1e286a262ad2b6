//! The load generator: one queue pair, kept as busy as it is told.
//!
//! ```text
//!   IoworkerOptions -- Plan: chances as tables, addresses, the rate
//!                        |
//!   step: poll -> Books (tallies, series, log) -> refill from the Plan
//!                        |
//!                  IoworkerReport
//! ```
//!
//! Its inputs and outputs have the names and the meaning of pynvme's
//! ioworker. A trace is replayed by the `replayer`.
//!
//! While it works, nothing is allocated or locked, and the clock is read once
//! for each batch of completions.

mod address;
mod books;
mod chance;
mod live;
mod needs;
mod options;
mod pattern;
mod plan;
mod rate;
mod report;
mod source;
mod together;
mod units;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use nvme::{DsmRange, Lba, NamespaceId, QueueId, ZeroBased};
use traces::{Clock, Tap};

pub use self::live::Live;
pub use self::needs::{buffer_bytes, extent};
pub use self::options::{IoSize, Iops, IoworkerOptions, Op, Region, Skew, Step};
pub use self::pattern::fill_random;
pub use self::plan::Io;
pub use self::report::{
    IoworkerReport, LatencySummary, LoggedCommand, MismatchSummary, ReportSummary, Second, Tally,
    TallySummary,
};
pub use self::together::run_together;
pub use self::units::{Size, parse_duration};
pub use self::verify::{Verdict, Verified, Verifier};

use self::books::Books;
use self::needs::{supported, verifier};
use self::plan::{Plan, refuse};
use self::source::Source;
use crate::transport::Transport;
use crate::verify::VerifyTable;
use crate::{
    Completed, Controller, DmaBuffer, DriverError, NamespaceInfo, QueueOptions, QueuePair, Sequence,
};

/// Without a completion, the time is looked at after so many polls.
const POLLS_PER_LOOK: u32 = 256;
/// And the device's health after so long.
const CHECK_NS: u64 = 10_000_000;
/// A worker that waits for its next command looks up this often.
const NAP_NS: u64 = 10_000_000;
/// Slots begin at multiples of this, and so does written data.
const PAGE: usize = 4096;
/// Written data begins at so many different pages of the pattern.
const PATTERN_STARTS: usize = 16;

/// A load generator at work. It owns its queue pair and may move to a thread.
#[derive(Debug)]
pub struct Ioworker<T: Tap = ()> {
    nsid: NamespaceId,
    qdepth: u16,
    time: Option<Duration>,
    timeout: Duration,
    queue_pair: QueuePair<T>,
    buffer: DmaBuffer,
    block_bytes: usize,
    layout: Layout,
    plan: Plan,
    rng: Rng,
    jobs: Vec<Io>,
    free: Vec<u16>,
    reaped: Vec<Completed>,
    submitted: u64,
    is_over: bool,
    verifier: Option<Verifier>,
    times: Times,
    empty_polls: u32,
    books: Books,
    live: Arc<Live>,
}

/// Times of the caller's clock, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    start: Option<u64>,
    last_completion: u64,
    last_check: u64,
}

/// What stands where in the buffer: a place for each slot, then the pattern.
#[derive(Clone, Copy, Debug)]
struct Layout {
    stride: usize,
    pattern: usize,
    bytes: usize,
}

impl Layout {
    fn new(plan: &Plan, options: &IoworkerOptions, block_bytes: usize) -> Self {
        let longest = plan.blocks_max as usize * block_bytes;
        let stride = longest.next_multiple_of(PAGE);
        let pattern = stride * usize::from(options.qdepth);
        Self {
            stride,
            pattern,
            bytes: pattern + stride + (PATTERN_STARTS - 1) * PAGE,
        }
    }
}

impl Ioworker {
    /// A load generator with a queue pair and a buffer of its own. Where it is
    /// to verify and has no table, it gets one for all blocks that it may
    /// touch.
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`], which names the option, where the options do
    /// not fit each other, the namespace or the device, and those of
    /// [`Controller::create_queue_pair`] and [`VerifyTable::of_controller`].
    pub fn create<D: Transport, C: Clock>(
        controller: &mut Controller<D, C>,
        options: IoworkerOptions,
    ) -> Result<Self, DriverError> {
        Self::create_with_tap(controller, options, (), Sequence::new())
    }
}

impl<T: Tap> Ioworker<T> {
    /// As [`Ioworker::create`], with a tap that is shown every command; see
    /// [`QueuePair::with_tap`].
    ///
    /// # Errors
    ///
    /// Those of [`Ioworker::create`].
    pub fn create_with_tap<D: Transport, C: Clock>(
        controller: &mut Controller<D, C>,
        mut options: IoworkerOptions,
        tap: T,
        sequence: Sequence,
    ) -> Result<Self, DriverError> {
        let info = controller.info();
        let Some(namespace) = info.namespace(options.nsid) else {
            return refuse(
                "nsid",
                format!("{} does not exist on this device", options.nsid),
            );
        };
        let plan = Plan::new(&options, namespace)?;
        supported(&plan, info)?;
        let depth_max = info.depth_max;
        if options.qdepth > depth_max {
            return refuse(
                "qdepth",
                format!("{}: this device takes {depth_max}", options.qdepth),
            );
        }
        let longest = plan.blocks_max as usize * namespace.block_bytes as usize;
        if let Some(most) = info.mdts_bytes.filter(|most| *most < longest) {
            return refuse(
                "io_size",
                format!("{longest} bytes: this device takes {most} at most"),
            );
        }
        if options.verify && options.verify_table.is_none() {
            let table = VerifyTable::of_controller(controller, options.nsid, plan.extent())?;
            options.verify_table = Some(Arc::new(table));
        }
        let queue_pair = controller.create_queue_pair(QueueOptions {
            depth: options.qdepth,
            transfer_bytes_max: Some(longest.max(PAGE)),
            priority: options.qprio,
            ..QueueOptions::default()
        })?;
        let layout = Layout::new(&plan, &options, namespace.block_bytes as usize);
        let buffer = controller.allocate_dma(layout.bytes)?;
        let queue_pair = queue_pair.with_tap(tap, sequence);
        Self::with_plan(queue_pair, buffer, namespace, options, plan)
    }

    /// A load generator on `queue_pair`; `buffer` has as many bytes as
    /// [`buffer_bytes`] says.
    ///
    /// # Errors
    ///
    /// [`DriverError::Invalid`], which names the option, where the options do
    /// not fit each other, the namespace, the queue pair or the buffer.
    pub fn new(
        queue_pair: QueuePair<T>,
        buffer: DmaBuffer,
        namespace: NamespaceInfo,
        options: IoworkerOptions,
    ) -> Result<Self, DriverError> {
        let plan = Plan::new(&options, namespace)?;
        Self::with_plan(queue_pair, buffer, namespace, options, plan)
    }

    fn with_plan(
        queue_pair: QueuePair<T>,
        mut buffer: DmaBuffer,
        namespace: NamespaceInfo,
        options: IoworkerOptions,
        plan: Plan,
    ) -> Result<Self, DriverError> {
        let block_bytes = namespace.block_bytes as usize;
        let layout = Layout::new(&plan, &options, block_bytes);
        let (depth, most) = (queue_pair.depth(), queue_pair.transfer_bytes_max());
        if usize::from(options.qdepth) > depth {
            return refuse(
                "qdepth",
                format!("{}: the queue takes {depth}", options.qdepth),
            );
        }
        let longest = plan.blocks_max as usize * block_bytes;
        if longest > most {
            return refuse(
                "io_size",
                format!("{longest} bytes: the queue pair takes {most}"),
            );
        }
        if buffer.len() < layout.bytes {
            let why = format!("{} bytes: the work takes {}", buffer.len(), layout.bytes);
            return refuse("the buffer", why);
        }
        let mut rng = Rng::with_seed(options.seed);
        let mut data = vec![0; layout.bytes - layout.pattern];
        if let Err((field, why)) = pattern::fill(&mut data, options.ptype, options.pvalue, &mut rng)
        {
            return refuse(field, why);
        }
        buffer.write_at(layout.pattern, &data)?;
        let verifier = match options.verify {
            true => Some(verifier(&options, &plan, namespace, data, &queue_pair)?),
            false => None,
        };
        let idle = Io {
            op: Op::Read,
            lba: Lba(plan.addresses.start()),
            blocks: ZeroBased(0),
        };
        let depth = usize::from(options.qdepth);
        Ok(Self {
            nsid: options.nsid,
            qdepth: options.qdepth,
            time: options.time,
            timeout: options.timeout,
            queue_pair,
            buffer,
            block_bytes,
            layout,
            rng,
            jobs: vec![idle; depth],
            free: (0..options.qdepth).rev().collect(),
            reaped: Vec::with_capacity(depth),
            submitted: 0,
            is_over: false,
            verifier,
            times: Times::default(),
            empty_polls: 0,
            books: Books::new(&plan, &options, namespace.block_bytes)?,
            live: Arc::default(),
            plan,
        })
    }

    /// What others see of the worker while it works.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// The queue that it works on.
    #[must_use]
    pub const fn queue(&self) -> QueueId {
        self.queue_pair.id()
    }

    /// Works until it is done, and reports.
    ///
    /// # Errors
    ///
    /// Those of [`Ioworker::step`].
    pub fn run(mut self, clock: &impl Clock) -> Result<IoworkerReport, DriverError> {
        let before = together::cpu_of_thread();
        while self.step(clock)? {
            if self.is_timed() && self.queue_pair.in_flight() == 0 {
                self.nap(clock);
            }
        }
        let mut report = self.finish().1;
        report.cpu = Some(together::cpu_of_thread().saturating_sub(before));
        Ok(report)
    }

    /// Reaps what is complete and submits what there is room and time for;
    /// never waits. Returns whether there is more to do.
    ///
    /// # Errors
    ///
    /// [`DriverError::DeviceGone`], [`DriverError::CommandTimeout`]; a command
    /// that completes with an error status or with wrong data is counted, and
    /// the work goes on.
    pub fn step(&mut self, clock: &impl Clock) -> Result<bool, DriverError> {
        let reaped = &mut self.reaped;
        reaped.clear();
        self.queue_pair
            .poll(clock, usize::from(self.qdepth), |done| reaped.push(done))?;
        if self.reaped.is_empty() && self.times.start.is_some() {
            self.nothing_came(clock)?;
            if self.is_over || self.free.is_empty() {
                return Ok(self.queue_pair.in_flight() > 0);
            }
        } else {
            self.empty_polls = 0;
        }
        for index in 0..self.reaped.len() {
            if let Some(done) = self.reaped.get(index).copied() {
                self.over(&done)?;
            }
        }
        self.books.show(&self.live);
        self.refill(clock)?;
        Ok(self.queue_pair.in_flight() > 0 || !self.is_over)
    }

    /// Ends the work, done or not; the queue pair and the report.
    #[must_use]
    pub fn finish(self) -> (QueuePair<T>, IoworkerReport) {
        let start_ns = self.times.start.unwrap_or(0);
        let elapsed_ns = self.times.last_completion.saturating_sub(start_ns);
        let mut report = self.books.finish(Duration::from_nanos(elapsed_ns));
        if let Some(verifier) = self.verifier {
            report.take_verified(verifier.verified);
        }
        (self.queue_pair, report)
    }

    fn over(&mut self, done: &Completed) -> Result<(), DriverError> {
        self.times.last_completion = done.complete_ns;
        let Ok(slot) = u16::try_from(done.user) else {
            return Ok(());
        };
        let Some(io) = self.jobs.get(usize::from(slot)).copied() else {
            return Ok(());
        };
        self.free.push(slot);
        self.books.add(io, done, self.times.start.unwrap_or(0));
        if let Some(verifier) = &mut self.verifier {
            let offset = usize::from(slot) * self.layout.stride;
            let verdict = verifier.end(slot, io, done, (&self.buffer, offset))?;
            if verdict != Verdict::AsItSays {
                self.books.correct(io, verdict);
            }
        }
        Ok(())
    }

    fn refill(&mut self, clock: &impl Clock) -> Result<(), DriverError> {
        if self.free.is_empty() || self.is_over {
            return Ok(());
        }
        let now_ns = clock.now_ns();
        let start_ns = *self.times.start.get_or_insert(now_ns);
        let elapsed_ns = now_ns.saturating_sub(start_ns);
        let is_late = |time| Duration::from_nanos(elapsed_ns) >= time;
        if self.time.is_some_and(is_late) || self.live.is_stopped() {
            self.is_over = true;
            return Ok(());
        }
        let submitted = self.submitted;
        let allowed = self.plan.rate.as_mut();
        let allowed = allowed.map_or(u64::MAX, |rate| rate.allowed(elapsed_ns, submitted));
        while let Some(slot) = self.free.last().copied() {
            if self.plan.count.is_some_and(|count| self.submitted >= count) {
                self.is_over = true;
                break;
            }
            if self.submitted >= allowed {
                break;
            }
            let io = if self.plan.sequence.is_empty() {
                self.plan.draw(&mut self.rng)
            } else {
                match self.due(elapsed_ns) {
                    Some(io) => io,
                    None => break,
                }
            };
            self.submit(slot, io, now_ns)?;
            self.free.pop();
            self.submitted += 1;
        }
        self.queue_pair.ring();
        Ok(())
    }

    /// The next command of the sequence, where its time has come.
    fn due(&mut self, elapsed_ns: u64) -> Option<Io> {
        let index = usize::try_from(self.submitted).unwrap_or(usize::MAX);
        let Some(Step(at_us, op, _, lba, blocks)) = self.plan.sequence.get(index).copied() else {
            self.is_over = true;
            return None;
        };
        let blocks = ZeroBased::<u16>::of(blocks)?;
        let lba = Lba(lba);
        (at_us.saturating_mul(1000) <= elapsed_ns).then_some(Io { op, lba, blocks })
    }

    #[inline]
    fn submit(&mut self, slot: u16, io: Io, now_ns: u64) -> Result<(), DriverError> {
        let Io { op, lba, blocks } = io;
        let offset = usize::from(slot) * self.layout.stride;
        // One start of the pattern after the other: commands that follow each
        // other do not write the same.
        let turn = usize::try_from(self.submitted % PATTERN_STARTS as u64).unwrap_or(0);
        if let Some(verifier) = &mut self.verifier {
            let number = self.queue_pair.cmdlog().submitted();
            let data = (&mut self.buffer, offset);
            verifier.begin((slot, number), io, data, turn * PAGE)?;
        }
        if op == Op::Trim {
            self.buffer
                .put(offset, &DsmRange::new(lba, blocks.count()))?;
        }
        let source = Source {
            nsid: self.nsid,
            buffer: &self.buffer,
            block_bytes: self.block_bytes,
            slot: offset,
            written: match self.verifier {
                Some(_) => offset,
                None => self.layout.pattern + turn * PAGE,
            },
        };
        let command = source.command(io)?;
        if let Err(error) = self.queue_pair.submit(command, u64::from(slot), now_ns) {
            if let Some(verifier) = &self.verifier {
                verifier.take_back(io);
            }
            return Err(error.into());
        }
        if let Some(job) = self.jobs.get_mut(usize::from(slot)) {
            // Not as a whole, which would be read before its fields are written.
            *job = Io { op, lba, blocks };
        }
        Ok(())
    }

    /// Whether commands wait for their time.
    const fn is_timed(&self) -> bool {
        self.plan.rate.is_some() || !self.plan.sequence.is_empty()
    }

    /// Waits, with nothing in flight, for the time of the next command.
    fn nap(&self, clock: &impl Clock) {
        let now_ns = clock.now_ns();
        let elapsed_ns = now_ns.saturating_sub(self.times.start.unwrap_or(now_ns));
        let wait_ns = match &self.plan.rate {
            Some(rate) => rate.wait_ns(elapsed_ns, self.submitted),
            None => {
                let index = usize::try_from(self.submitted).unwrap_or(usize::MAX);
                let next = self.plan.sequence.get(index);
                next.map_or(0, |step| {
                    step.0.saturating_mul(1000).saturating_sub(elapsed_ns)
                })
            }
        };
        clock.wait_until(now_ns.saturating_add(wait_ns.min(NAP_NS)));
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
        let timeout = self.timeout;
        let expired = self.queue_pair.expired(now_ns, timeout).next();
        let Some((tag, user, _)) = expired else {
            return Ok(());
        };
        let slot = usize::try_from(user).unwrap_or(usize::MAX);
        let what = match self.jobs.get(slot) {
            Some(io) => format!("{} at {}", io.op.opcode(), io.lba),
            None => "a command".to_owned(),
        };
        Err(DriverError::CommandTimeout {
            device: self.queue_pair.device().to_owned(),
            command: format!("{what} ({}, {})", self.queue_pair.id(), tag.cid()),
            timeout,
        })
    }

    fn nothing_came(&mut self, clock: &impl Clock) -> Result<(), DriverError> {
        self.empty_polls += 1;
        if self.empty_polls >= POLLS_PER_LOOK {
            self.empty_polls = 0;
            self.look(clock)?;
        }
        std::hint::spin_loop();
        Ok(())
    }
}
