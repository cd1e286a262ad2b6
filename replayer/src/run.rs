//! The replay as it runs: one thread, which polls.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use driver::Controller;
use driver::transport::Transport;
use traces::{Clock, Record, Tap};

use crate::jobs::Core;
use crate::lanes::{Lane, Waiting};
use crate::source::Source;
use crate::{Pace, Progress, ReplayError, ReplayOptions};

/// Commands that are due and wait for a place, at most: enough that a full
/// queue does not hold up the others.
const BACKLOG_MAX: usize = 1024;
/// Completions that are taken from a queue before the next has its turn.
const POLL_BUDGET: usize = 256;
/// The longest nap, so that a request to stop is heard.
const NAP_NS: u64 = 20_000_000;
/// How often progress is told, and time-outs and the device are looked at.
const CHECK_NS: u64 = 100_000_000;
/// Waits for a completion start with this.
const WAIT_NS_MIN: u64 = 100;
/// And get no longer than this.
const WAIT_NS_MAX: u64 = 1_000_000;
/// A wait is at most this part of how long nothing has completed: what it adds
/// to a latency is under two in a hundred.
const WAIT_PART: u64 = 64;
/// After so long without a completion, others may have the processor. To give
/// it away costs up to a time slice where others want it.
const RELAX_NS: u64 = 50_000;
/// And after so long where a command is due within a time slice.
const RELAX_PACED_NS: u64 = 1_000_000;
const TIME_SLICE_NS: u64 = 3_000_000;

/// A replay as it runs.
///
/// ```text
///   source --(due)--> backlog of a lane --(a place is free)--> queue pair
///                                                                  |
///   books <--(all pieces are over)-- job <--(poll)-----------------+
/// ```
pub(crate) struct Run<'r, T: Transport, C: Clock, K, P: Tap, I> {
    pub(crate) controller: &'r mut Controller<T, C>,
    pub(crate) clock: &'r K,
    pub(crate) options: &'r ReplayOptions,
    pub(crate) total: u64,
    pub(crate) stop: &'r AtomicBool,
    pub(crate) progress: &'r mut dyn FnMut(&Progress),
    pub(crate) source: Source<I>,
    pub(crate) lanes: Vec<Lane<P>>,
    pub(crate) core: Core,
    pub(crate) state: State,
}

/// Where a run stands.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) start_ns: u64,
    next_check_ns: u64,
    /// Since when nothing completed, though commands are in flight.
    quiet_ns: Option<u64>,
    backlogged: usize,
    /// No more is sent; what is in flight is waited for.
    ending: bool,
}

impl<T, C, K, P, I, E> Run<'_, T, C, K, P, I>
where
    T: Transport,
    C: Clock,
    K: Clock,
    P: Tap,
    I: Iterator<Item = Result<Record, E>>,
    E: Display,
{
    /// Replays to the end, or to what keeps it from getting there. Whatever
    /// is still in flight then is given up.
    pub(crate) fn run(&mut self) -> Result<(), ReplayError> {
        self.state.start_ns = self.clock.now_ns();
        self.state.next_check_ns = self.state.start_ns;
        self.source.start(self.options.pace, self.state.start_ns);
        let mut first_error = None;
        loop {
            if let Err(error) = self.feed() {
                // What was sent before is waited for.
                first_error.get_or_insert(error);
                self.end();
            }
            let reaped = self.poll()?;
            if let Some(failure) = self.core.failure.take() {
                first_error.get_or_insert(failure);
                self.end();
            }
            self.check()?;
            if reaped > 0 {
                self.state.quiet_ns = None;
            } else if self.in_flight() > 0 {
                self.wait_for_completion();
            } else if self.state.backlogged == 0 {
                let Some(due_ns) = self.source.due_ns() else {
                    break;
                };
                let nap_ns = self.clock.now_ns().saturating_add(NAP_NS);
                self.clock.wait_until(due_ns.min(nap_ns));
            }
        }
        self.tell(self.clock.now_ns());
        let error = first_error.or_else(|| self.source.take_error());
        error.map_or(Ok(()), Err)
    }

    fn in_flight(&self) -> usize {
        self.lanes.iter().map(|lane| lane.pair.in_flight()).sum()
    }

    /// Takes what is due from the trace, and sends what there is a place for.
    fn feed(&mut self) -> Result<(), ReplayError> {
        let now_ns = self.clock.now_ns();
        while self.state.backlogged < BACKLOG_MAX {
            let Some(next) = self.source.take_due(now_ns, &mut self.core.books) else {
                break;
            };
            if let Some(lane) = self.lanes.get_mut(next.lane) {
                self.state.backlogged += 1;
                lane.backlog.push_back(Waiting {
                    plan: next.plan,
                    due_ns: next.due_ns,
                    job: None,
                });
            }
        }
        for lane in &mut self.lanes {
            let before = lane.backlog.len();
            let sent = send_backlog(lane, &mut self.core, self.clock);
            self.state.backlogged -= before - lane.backlog.len();
            // One doorbell for a burst.
            lane.pair.ring();
            sent?;
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<usize, ReplayError> {
        let mut reaped = 0;
        for lane in &mut self.lanes {
            let queue = lane.pair.id();
            let core = &mut self.core;
            reaped += lane
                .pair
                .poll(self.clock, POLL_BUDGET, |done| core.completed(queue, &done))
                .map_err(ReplayError::driver("reaping completions"))?;
        }
        Ok(reaped)
    }

    /// Nothing completed, and there is nothing else to do: lets time pass, and
    /// others run.
    fn wait_for_completion(&mut self) {
        let now_ns = self.clock.now_ns();
        let since_ns = *self.state.quiet_ns.get_or_insert(now_ns);
        let quiet_ns = now_ns.saturating_sub(since_ns);
        // With a full backlog, what is due next has to wait anyway.
        let has_room = self.state.backlogged < BACKLOG_MAX;
        let due_ns = self.source.due_ns().filter(|_| has_room);
        let due_ns = due_ns.unwrap_or(u64::MAX);
        let is_due_soon = due_ns.saturating_sub(now_ns) < TIME_SLICE_NS;
        let relax_ns = if is_due_soon {
            RELAX_PACED_NS
        } else {
            RELAX_NS
        };
        if quiet_ns >= relax_ns {
            self.controller.transport_mut().relax();
        }
        let wait_ns = (quiet_ns / WAIT_PART).clamp(WAIT_NS_MIN, WAIT_NS_MAX);
        self.clock
            .wait_until(due_ns.min(now_ns.saturating_add(wait_ns)));
    }

    /// Now and then: tells of progress, and looks whether to stop, whether
    /// the device is there, and whether anything took too long.
    fn check(&mut self) -> Result<(), ReplayError> {
        let now_ns = self.clock.now_ns();
        if now_ns < self.state.next_check_ns {
            return Ok(());
        }
        self.state.next_check_ns = now_ns.saturating_add(CHECK_NS);
        self.tell(now_ns);
        if self.stop.load(Ordering::Relaxed) {
            self.end();
        }
        for lane in &self.lanes {
            lane.pair
                .check_device()
                .map_err(ReplayError::driver("waiting for completions"))?;
            let mut expired = lane.pair.expired(now_ns, self.options.timeout);
            if let Some((_, user, _)) = expired.next() {
                return Err(ReplayError::TimedOut {
                    command: self.core.jobs.name_of(user),
                    queue: lane.pair.id(),
                    timeout: self.options.timeout,
                });
            }
        }
        Ok(())
    }

    fn tell(&mut self, now_ns: u64) {
        let waiting = self.lanes.iter().filter_map(|lane| lane.backlog.front());
        let due_ns = waiting.map(|waiting| waiting.due_ns).min();
        let paced = self.options.pace != Pace::Max;
        let in_flight = self.in_flight();
        (self.progress)(&Progress {
            done: self.core.books.done(),
            total: self.total,
            failed: self.core.books.commands.failed,
            elapsed_ns: now_ns.saturating_sub(self.state.start_ns),
            lag_ns: due_ns
                .filter(|_| paced)
                .map_or(0, |due_ns| now_ns.saturating_sub(due_ns)),
            in_flight,
        });
    }

    /// Sends no more. A command that was sent in part is given up.
    fn end(&mut self) {
        if self.state.ending {
            return;
        }
        self.state.ending = true;
        let mut left = u64::from(self.source.end());
        for lane in &mut self.lanes {
            for waiting in lane.backlog.drain(..) {
                left += u64::from(waiting.job.is_none());
            }
        }
        self.core.books.commands.unfinished += left;
        self.state.backlogged = 0;
    }
}

/// Sends what waits at `lane`, in order, until it or the queue is empty or
/// full.
fn send_backlog<P: Tap>(
    lane: &mut Lane<P>,
    core: &mut Core,
    clock: &impl Clock,
) -> Result<(), ReplayError> {
    while let Some(waiting) = lane.backlog.front_mut() {
        let has_place = lane.pair.in_flight() < lane.pair.depth();
        let has_page = !waiting.plan.has_ranges() || core.buffers.has_range_page();
        let now_ns = clock.now_ns();
        if !(has_place && has_page) {
            if lane.stalled_ns.is_none() {
                lane.stalled_ns = Some(now_ns);
                core.books.stalls.count += 1;
            }
            return Ok(());
        }
        if let Some(since_ns) = lane.stalled_ns.take() {
            core.books.stalls.total_ns += now_ns.saturating_sub(since_ns);
        }
        let job = match waiting.job {
            Some(job) => job,
            None => {
                let Some(job) = core.start(&waiting.plan, now_ns) else {
                    return Ok(());
                };
                core.books.paced(now_ns.saturating_sub(waiting.due_ns));
                waiting.job = Some(job);
                lane.commands += 1;
                job
            }
        };
        core.send(&mut lane.pair, &mut waiting.plan, job, now_ns)?;
        if waiting.plan.pieces() == 0 {
            lane.backlog.pop_front();
        }
    }
    Ok(())
}
