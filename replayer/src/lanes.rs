//! The queues of a replay, and what waits for a place in them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use driver::transport::Transport;
use driver::{Controller, QueueOptions, QueuePair, Sequence};
use nvme::{DsmRange, QueueId};
use traces::{Clock, CommandRecord, EventRecord, PayloadPlace, Tap};

use crate::facts::QueueFacts;
use crate::jobs::Core;
use crate::plan::Plan;
use crate::report::QueueReport;
use crate::think::After;
use crate::{Pace, ReplayError, ReplayOptions, TraceFacts};

/// The depth of a queue that the trace tells nothing of.
const DEPTH_UNKNOWN: u32 = 128;

/// A queue pair of the target, and what waits for a place in it.
#[derive(Debug)]
pub(crate) struct Lane<P: Tap> {
    pub(crate) pair: QueuePair<Shared<P>>,
    /// Its place among the lanes.
    index: usize,
    /// What waits: one line, or one for each recorded queue where commands wait
    /// for completions.
    pub(crate) backlogs: Vec<Backlog>,
    pub(crate) commands: u64,
    recorded: Vec<u16>,
}

/// Commands that go out in order.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) waiting: VecDeque<Waiting>,
    /// Since when the first of them waits for a place; none while it does not.
    pub(crate) stalled_ns: Option<u64>,
}

/// A recorded command that is taken from the trace.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) plan: Plan,
    pub(crate) due_ns: u64,
    /// What it waits for, at a pace where commands do.
    pub(crate) after: Option<After>,
    /// Its node, at such a pace.
    pub(crate) node: Option<u32>,
    /// Its place in the order of the replay, from 0.
    pub(crate) order: u64,
    /// Its place among the jobs, once a part of it was sent.
    pub(crate) job: Option<u32>,
}

/// Where the commands of a recorded queue go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) lane: usize,
    /// Which of the lane's backlogs, where each recorded queue has its own.
    pub(crate) backlog: usize,
    /// The number of the recorded queue among all.
    pub(crate) stream: usize,
}

/// Where each recorded queue goes.
pub(crate) type PlaceOf = BTreeMap<QueueId, Place>;

/// What the queue pairs of a replay are to be.
#[derive(Debug)]
pub(crate) struct Layout {
    lanes: Vec<(Vec<QueueId>, u16)>,
    pub(crate) place_of: PlaceOf,
    /// Whether each recorded queue has a backlog of its own.
    has_streams: bool,
}

impl Layout {
    /// One queue pair for each recorded queue, or fewer, on which recorded
    /// queues take turns, where there are only `queues_max`.
    pub(crate) fn new(
        facts: &TraceFacts,
        options: &ReplayOptions,
        queues_max: u16,
        depth_max: u16,
    ) -> Self {
        let count = options.queues.unwrap_or(u16::MAX).min(queues_max).max(1);
        let count = usize::from(count).min(facts.queues.len().max(1));
        let mut lanes = vec![(Vec::new(), 0_u32); count];
        let mut place_of = BTreeMap::new();
        let has_streams = options.pace == Pace::Think;
        for (index, (&queue, facts)) in facts.queues.iter().enumerate() {
            let lane = index % count;
            let backlog = if has_streams { index / count } else { 0 };
            place_of.insert(
                queue,
                Place {
                    lane,
                    backlog,
                    stream: index,
                },
            );
            if let Some((queues, depth)) = lanes.get_mut(lane) {
                queues.push(queue);
                *depth = depth.saturating_add(depth_of(facts));
            }
        }
        let lanes = lanes
            .into_iter()
            .map(|(queues, depth)| {
                // Closed, the trace decides which queues are the deep ones.
                let depth = options.depth.map_or(depth, u32::from).max(1);
                let depth = u16::try_from(depth).unwrap_or(u16::MAX).min(depth_max);
                (queues, depth)
            })
            .collect();
        Self {
            lanes,
            place_of,
            has_streams,
        }
    }

    /// How many commands can be in flight altogether.
    pub(crate) fn in_flight_max(&self) -> usize {
        self.lanes
            .iter()
            .map(|(_, depth)| usize::from(*depth))
            .sum()
    }

    /// The depths of the queue pairs.
    pub(crate) fn depths(&self) -> impl Iterator<Item = u16> + '_ {
        self.lanes.iter().map(|(_, depth)| *depth)
    }

    /// Creates the queue pairs. All of them show their commands to `tap`.
    pub(crate) fn create<T: Transport, C: Clock, P: Tap>(
        &self,
        controller: &mut Controller<T, C>,
        transfer_bytes_max: usize,
        tap: P,
    ) -> Result<Vec<Lane<P>>, ReplayError> {
        let tap = Rc::new(RefCell::new(tap));
        let sequence = Sequence::new();
        let mut lanes: Vec<Lane<P>> = Vec::with_capacity(self.lanes.len());
        for (queues, depth) in &self.lanes {
            let options = QueueOptions {
                depth: *depth,
                transfer_bytes_max: Some(transfer_bytes_max),
                ..QueueOptions::default()
            };
            let pair = match controller.create_queue_pair(options) {
                Ok(pair) => pair,
                Err(source) => {
                    for lane in &lanes {
                        // The first error is the one to report.
                        let _ = controller.delete_queue_pair(lane.pair.id());
                    }
                    return Err(ReplayError::Driver {
                        operation: "creating a queue pair",
                        source,
                    });
                }
            };
            let backlogs = if self.has_streams { queues.len() } else { 1 };
            let backlogs = (0..backlogs).map(|_| Backlog::default());
            lanes.push(Lane {
                index: lanes.len(),
                pair: pair.with_tap(Shared(Rc::clone(&tap)), sequence.clone()),
                backlogs: backlogs.collect(),
                commands: 0,
                recorded: queues.iter().map(|queue| queue.0).collect(),
            });
        }
        Ok(lanes)
    }
}

fn depth_of(facts: &QueueFacts) -> u32 {
    match facts.depth {
        0 => DEPTH_UNKNOWN,
        depth => depth,
    }
}

impl<P: Tap> Lane<P> {
    /// Sends the next piece of what is first in a backlog. Returns false where
    /// there is none, it is not due, or it has no place.
    pub(crate) fn send_one(
        &mut self,
        backlog: usize,
        core: &mut Core,
        clock: &impl Clock,
    ) -> Result<bool, ReplayError> {
        let Some(backlog) = self.backlogs.get_mut(backlog) else {
            return Ok(false);
        };
        let Some(waiting) = backlog.waiting.front_mut() else {
            return Ok(false);
        };
        let now_ns = clock.now_ns();
        match core.due_ns(waiting) {
            Some(due_ns) if due_ns <= now_ns => waiting.due_ns = due_ns,
            _ => return Ok(false),
        }
        let may_ns = core.cap.next_ns();
        if may_ns > now_ns {
            return Ok(false);
        }
        let has_place = self.pair.in_flight() < self.pair.depth();
        if !(has_place && core.has_memory(self.index, &waiting.plan)) {
            if backlog.stalled_ns.is_none() {
                backlog.stalled_ns = Some(now_ns);
                core.books.stalls.count += 1;
            }
            return Ok(false);
        }
        if let Some(since_ns) = backlog.stalled_ns.take() {
            core.books.stalls.total_ns += now_ns.saturating_sub(since_ns);
        }
        let job = match waiting.job {
            Some(job) => job,
            None => {
                let Some(job) = core.start(waiting, now_ns) else {
                    return Ok(false);
                };
                core.books.paced(waiting.due_ns.max(may_ns), now_ns);
                waiting.job = Some(job);
                self.commands += 1;
                job
            }
        };
        let pair = (self.index, &mut self.pair);
        core.send(pair, &mut waiting.plan, job, now_ns)?;
        if waiting.plan.pieces() == 0 {
            backlog.waiting.pop_front();
        }
        Ok(true)
    }

    /// The order of what could be sent next at `now_ns`, and its backlog.
    pub(crate) fn first_ready(&self, core: &Core, now_ns: u64) -> Option<(u64, usize)> {
        if self.pair.in_flight() >= self.pair.depth() {
            return None;
        }
        let lines = self.backlogs.iter().enumerate();
        let ready = lines.filter_map(|(index, backlog)| {
            let first = backlog.waiting.front()?;
            let is_due = core.due_ns(first).is_some_and(|due_ns| due_ns <= now_ns);
            let has_memory = core.has_memory(self.index, &first.plan);
            (is_due && has_memory).then_some((first.order, index))
        });
        ready.min()
    }

    /// When the next of what waits is due after `now_ns`, if that is known.
    pub(crate) fn next_due_ns(&self, core: &Core, now_ns: u64) -> Option<u64> {
        let firsts = self.backlogs.iter().filter_map(|it| it.waiting.front());
        let due = firsts.filter_map(|first| core.due_ns(first));
        let due = due.map(|due_ns| due_ns.max(core.cap.next_ns()));
        due.filter(|due_ns| *due_ns > now_ns).min()
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.backlogs.iter().map(|it| it.waiting.len()).sum()
    }

    pub(crate) fn report(&self) -> QueueReport {
        QueueReport {
            queue: self.pair.id().0,
            recorded: self.recorded.clone(),
            depth: self.pair.depth(),
            commands: self.commands,
        }
    }
}

/// One tap for several queue pairs of one thread.
#[derive(Debug)]
pub(crate) struct Shared<P>(Rc<RefCell<P>>);

impl<P: Tap> Tap for Shared<P> {
    const ENABLED: bool = P::ENABLED;

    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        self.0.borrow_mut().command(record, ranges);
    }

    fn event(&mut self, record: &EventRecord) {
        self.0.borrow_mut().event(record);
    }

    fn wants_payload(&self) -> bool {
        self.0.borrow().wants_payload()
    }

    fn payload(&mut self, place: &PayloadPlace, bytes: usize, copy: &mut dyn FnMut(&mut [u8])) {
        self.0.borrow_mut().payload(place, bytes, copy);
    }
}
