//! A medium that takes its time, and that breaks where it is told to.

use std::ops::RangeInclusive;

use nvme::{CommandId, QueueId};
use traces::{Clock, VirtualClock};
use vssd::Ticket;
use vssd::media::{Media, MediaError, MediaInfo, Outcome, Ram, Request, Sink, Submission};

/// Bytes of a medium that cannot be read: the range of their offsets.
pub type BadBlocks = RangeInclusive<u64>;

/// A [`Ram`] whose answers come after a while of virtual time, drawn from a
/// seed.
#[derive(Debug)]
pub struct Slow {
    ram: Ram,
    clock: VirtualClock,
    random: fastrand::Rng,
    latency_ns: RangeInclusive<u64>,
    bad: Option<BadBlocks>,
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    due_ns: u64,
    ticket: Ticket,
    outcome: Outcome,
}

impl Slow {
    /// A medium on `ram`, in the time of `clock`, whose answers take
    /// `latency_ns`; 0 is at once.
    #[must_use]
    pub fn new(
        ram: Ram,
        clock: VirtualClock,
        latency_ns: RangeInclusive<u64>,
        seed: u64,
        bad: Option<BadBlocks>,
    ) -> Self {
        Self {
            ram,
            clock,
            random: fastrand::Rng::with_seed(seed),
            latency_ns,
            bad,
            pending: Vec::new(),
        }
    }

    /// When the next answer is due, nanoseconds of virtual time.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        self.pending.iter().map(|pending| pending.due_ns).min()
    }

    /// How `request` fails, if it does.
    fn failure(&self, request: &Request<'_>) -> Option<MediaError> {
        let (offset, error) = match request {
            Request::Read { offset, .. } => (offset, MediaError::Read),
            Request::Write { offset, .. } => (offset, MediaError::Write),
            _ => return None,
        };
        let bad = self.bad.as_ref()?;
        bad.contains(offset).then_some(error)
    }
}

impl Media for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn info(&self) -> MediaInfo {
        self.ram.info()
    }

    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submission {
        let failure = self.failure(&request);
        let (ticket, outcome) = match self.ram.submit(ticket, request) {
            Submission::Done(ticket, outcome) => (ticket, failure.map_or(outcome, Err)),
            Submission::Pending => return Submission::Pending,
        };
        let latency_ns = self.random.u64(self.latency_ns.clone());
        if latency_ns == 0 {
            return Submission::Done(ticket, outcome);
        }
        self.pending.push(Pending {
            due_ns: self.clock.now_ns() + latency_ns,
            ticket,
            outcome,
        });
        Submission::Pending
    }

    fn poll(&mut self, budget: u32, sink: Sink<'_>) -> u32 {
        let now_ns = self.clock.now_ns();
        let mut done = 0;
        while done < budget {
            // The first of those that are due soonest: ties go by submission.
            let due = self.pending.iter().enumerate();
            let next = due.min_by_key(|(_, pending)| pending.due_ns);
            let Some((index, _)) = next.filter(|(_, next)| next.due_ns <= now_ns) else {
                break;
            };
            let Pending {
                ticket, outcome, ..
            } = self.pending.remove(index);
            sink(ticket, outcome);
            done += 1;
        }
        done
    }

    fn pending(&self) -> usize {
        self.pending.len()
    }

    fn cancel(&mut self, _queue: QueueId, _cid: CommandId) -> Option<Ticket> {
        // It took effect when it was submitted.
        None
    }

    fn abandon(&mut self, sink: Sink<'_>) {
        for pending in self.pending.drain(..) {
            sink(pending.ticket, pending.outcome);
        }
    }
}
