//! The queues of a replay, and what waits for a place in them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use driver::transport::Transport;
use driver::{Controller, QueueOptions, QueuePair, Sequence};
use nvme::{DsmRange, QueueId};
use traces::{Clock, CommandRecord, EventRecord, Tap};

use crate::facts::QueueFacts;
use crate::plan::Plan;
use crate::report::QueueReport;
use crate::{ReplayError, ReplayOptions, TraceFacts};

/// The depth of a queue that the trace tells nothing of.
const DEPTH_UNKNOWN: u32 = 128;

/// A queue pair of the target, and what waits for a place in it.
#[derive(Debug)]
pub(crate) struct Lane<P: Tap> {
    pub(crate) pair: QueuePair<Shared<P>>,
    /// What is due, in order.
    pub(crate) backlog: VecDeque<Waiting>,
    /// Since when the first of them waits for a place; none while it does not.
    pub(crate) stalled_ns: Option<u64>,
    pub(crate) commands: u64,
    recorded: Vec<u16>,
}

/// A recorded command that is due.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) plan: Plan,
    pub(crate) due_ns: u64,
    /// Its place among the jobs, once a part of it was sent.
    pub(crate) job: Option<u32>,
}

/// Which lane each recorded queue goes to.
pub(crate) type LaneOf = BTreeMap<QueueId, usize>;

/// What the queue pairs of a replay are to be.
#[derive(Debug)]
pub(crate) struct Layout {
    lanes: Vec<(Vec<QueueId>, u16)>,
    pub(crate) lane_of: LaneOf,
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
        let mut lane_of = BTreeMap::new();
        for (index, (&queue, facts)) in facts.queues.iter().enumerate() {
            let lane = index % count;
            lane_of.insert(queue, lane);
            if let Some((queues, depth)) = lanes.get_mut(lane) {
                queues.push(queue);
                *depth = depth.saturating_add(depth_of(facts));
            }
        }
        let lanes = lanes
            .into_iter()
            .map(|(queues, depth)| {
                let depth = options.depth.map_or(depth, u32::from).max(1);
                let depth = u16::try_from(depth).unwrap_or(u16::MAX).min(depth_max);
                (queues, depth)
            })
            .collect();
        Self { lanes, lane_of }
    }

    /// How many commands can be in flight altogether.
    pub(crate) fn in_flight_max(&self) -> usize {
        self.lanes
            .iter()
            .map(|(_, depth)| usize::from(*depth))
            .sum()
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
            lanes.push(Lane {
                pair: pair.with_tap(Shared(Rc::clone(&tap)), sequence.clone()),
                backlog: VecDeque::new(),
                stalled_ns: None,
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
}
