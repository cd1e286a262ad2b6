//! The replay as it runs: one thread, which polls.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use driver::Controller;
use driver::transport::Transport;
use traces::{Clock, Record, Tap};

use crate::jobs::Core;
use crate::lanes::Lane;
use crate::source::Source;
use crate::{Pace, Progress, ReplayError, ReplayOptions};

/// Commands that are due and wait for a place, at most: enough that a full
/// queue does not hold up the others.
const BACKLOG_MAX: usize = 1024;
/// Commands that are read ahead where each waits for completions.
const WINDOW_MAX: usize = 8192;
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
    /// Commands that were taken from the trace.
    taken: u64,
    /// When the replay ends, whatever is left.
    end_ns: Option<u64>,
    /// It did.
    pub(crate) timed_out: bool,
    /// The order of the commands that were taken from the trace and not sent.
    pub(crate) left: Vec<u64>,
    /// No more is begun; what is in flight is waited for.
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
        let result = self.go();
        // Whatever is left is counted.
        self.give_up();
        result
    }

    fn go(&mut self) -> Result<(), ReplayError> {
        self.state.start_ns = self.clock.now_ns();
        self.core.books.start_ns = self.state.start_ns;
        self.state.next_check_ns = self.state.start_ns;
        self.state.end_ns = self.options.duration.map(|duration| {
            let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
            self.state.start_ns.saturating_add(ns)
        });
        self.source.start(self.options.pace, self.state.start_ns);
        if self.stop.load(Ordering::Relaxed) {
            self.end();
        }
        let mut first_error = None;
        loop {
            let turn_ns = self.clock.now_ns();
            if let Err(error) = self.feed(turn_ns) {
                // What was sent before is waited for.
                first_error.get_or_insert(error);
                self.give_up();
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
            } else {
                // From the start of the turn: what has become due since then is
                // still to be sent.
                let Some(due_ns) = self.due_ns(turn_ns) else {
                    break;
                };
                self.clock
                    .wait_until(due_ns.min(turn_ns.saturating_add(NAP_NS)));
            }
        }
        self.tell(self.clock.now_ns());
        let error = first_error.or_else(|| self.source.take_error());
        error.map_or(Ok(()), Err)
    }

    fn in_flight(&self) -> usize {
        self.lanes.iter().map(|lane| lane.pair.in_flight()).sum()
    }

    /// Whether there is room to take one more from the trace.
    fn has_room(&self) -> bool {
        let state = &self.state;
        match self.options.pace {
            Pace::Think => state.backlogged < WINDOW_MAX,
            Pace::Closed => {
                let open = state.taken.saturating_sub(self.core.books.finished());
                open < u64::from(self.options.depth.unwrap_or(1).max(1))
            }
            _ => state.backlogged < BACKLOG_MAX,
        }
    }

    /// When there is something to send after `now_ns`; none where there is
    /// nothing left, or only what waits for a completion.
    fn due_ns(&self, now_ns: u64) -> Option<u64> {
        let read = match self.options.pace {
            // It is read ahead of its time.
            Pace::Think => None,
            _ => self.source.due_ns().filter(|_| self.has_room()),
        };
        let lanes = self.lanes.iter();
        let waiting = lanes.filter_map(|lane| lane.next_due_ns(&self.core, now_ns));
        let next_ns = read.into_iter().chain(waiting).min()?;
        Some(
            self.state
                .end_ns
                .map_or(next_ns, |end_ns| next_ns.min(end_ns)),
        )
    }

    /// Takes what is due at `now_ns` from the trace, and sends what there is a place
    /// for.
    fn feed(&mut self, now_ns: u64) -> Result<(), ReplayError> {
        if self.state.end_ns.is_some_and(|end_ns| now_ns >= end_ns) && !self.state.ending {
            self.state.timed_out = true;
            self.end();
        }
        let until_ns = match self.options.pace {
            Pace::Think => u64::MAX,
            _ => now_ns,
        };
        while self.has_room() {
            let Some(next) = self.source.take_due(until_ns, &mut self.core) else {
                break;
            };
            let lane = self.lanes.get_mut(next.place.lane);
            let backlog = lane.and_then(|lane| lane.backlogs.get_mut(next.place.backlog));
            if let Some(backlog) = backlog {
                self.state.backlogged += 1;
                self.state.taken += 1;
                backlog.waiting.push_back(next.waiting);
            }
        }
        if self.state.backlogged == 0 {
            return Ok(());
        }
        let sent = if self.core.cap.is_on() {
            self.send_in_order()
        } else {
            self.send_by_lane()
        };
        self.state.backlogged = self.lanes.iter().map(Lane::waiting).sum();
        sent
    }

    fn send_by_lane(&mut self) -> Result<(), ReplayError> {
        for lane in &mut self.lanes {
            for backlog in 0..lane.backlogs.len() {
                while lane.send_one(backlog, &mut self.core, self.clock)? {}
            }
            // One doorbell for a burst.
            lane.pair.ring();
        }
        Ok(())
    }

    /// Sends what is first in the order of the trace, lane by lane, for as long
    /// as the cap allows.
    fn send_in_order(&mut self) -> Result<(), ReplayError> {
        loop {
            let now_ns = self.clock.now_ns();
            if self.core.cap.next_ns() > now_ns {
                return Ok(());
            }
            let ready = self.lanes.iter().enumerate().filter_map(|(index, lane)| {
                let (order, backlog) = lane.first_ready(&self.core, now_ns)?;
                Some((order, index, backlog))
            });
            let Some((_, lane, backlog)) = ready.min() else {
                return Ok(());
            };
            let Some(lane) = self.lanes.get_mut(lane) else {
                return Ok(());
            };
            let sent = lane.send_one(backlog, &mut self.core, self.clock);
            lane.pair.ring();
            if !sent? {
                return Ok(());
            }
        }
    }

    fn poll(&mut self) -> Result<usize, ReplayError> {
        let mut reaped = 0;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let place = (index, lane.pair.id());
            let core = &mut self.core;
            reaped += lane
                .pair
                .poll(self.clock, POLL_BUDGET, |done| core.completed(place, &done))
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
        let due_ns = self.due_ns(now_ns).unwrap_or(u64::MAX);
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
        let lines = self.lanes.iter().flat_map(|lane| &lane.backlogs);
        let waiting = lines.filter_map(|line| line.waiting.front());
        let due_ns = waiting.filter_map(|first| self.core.due_ns(first)).min();
        let paced = self.options.pace.has_deadlines();
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

    /// Begins no more. A command that was sent in part is sent to its end.
    fn end(&mut self) {
        if self.state.ending {
            return;
        }
        self.state.ending = true;
        let left = &mut self.state.left;
        left.extend(self.source.end());
        for line in self.lanes.iter_mut().flat_map(|lane| &mut lane.backlogs) {
            line.waiting.retain(|waiting| {
                if waiting.job.is_none() {
                    left.push(waiting.order);
                }
                waiting.job.is_some()
            });
        }
        // Widens.
        let left = left.len() as u64;
        let commands = &mut self.core.books.commands;
        if self.state.timed_out {
            // As it was told to: they were not to be replayed.
            commands.recorded = commands.recorded.saturating_sub(left);
        } else {
            commands.unfinished += left;
        }
        self.state.backlogged = self.lanes.iter().map(Lane::waiting).sum();
    }

    /// Sends no more, not even the rest of a command.
    fn give_up(&mut self) {
        self.end();
        // Their jobs are there for the report.
        for line in self.lanes.iter_mut().flat_map(|lane| &mut lane.backlogs) {
            line.waiting.clear();
        }
        self.state.backlogged = 0;
    }
}
