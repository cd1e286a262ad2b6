//! A medium that takes its time, and that breaks where it is told to.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

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
    lost: Option<BadBlocks>,
    /// By when they are due; ties go by submission.
    pending: BTreeMap<(u64, u64), (Ticket, Outcome)>,
    submitted: u64,
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
            lost: None,
            pending: BTreeMap::new(),
            submitted: 0,
        }
    }

    /// The medium without the writes that start in `lost`, of which it says that
    /// they are done.
    #[must_use]
    pub fn losing(self, lost: Option<BadBlocks>) -> Self {
        Self { lost, ..self }
    }

    /// Whether `request` is a write that is lost.
    fn loses(&self, request: &Request<'_>) -> bool {
        match (request, &self.lost) {
            (Request::Write { offset, .. }, Some(lost)) => lost.contains(offset),
            _ => false,
        }
    }

    /// When the next answer is due, nanoseconds of virtual time.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        self.pending.keys().next().map(|(due_ns, _)| *due_ns)
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
        let (ticket, outcome) = if self.loses(&request) {
            (ticket, Ok(()))
        } else {
            match self.ram.submit(ticket, request) {
                Submission::Done(ticket, outcome) => (ticket, failure.map_or(outcome, Err)),
                Submission::Pending => return Submission::Pending,
            }
        };
        let latency_ns = self.random.u64(self.latency_ns.clone());
        if latency_ns == 0 {
            return Submission::Done(ticket, outcome);
        }
        let due_ns = self.clock.now_ns() + latency_ns;
        self.submitted += 1;
        self.pending
            .insert((due_ns, self.submitted), (ticket, outcome));
        Submission::Pending
    }

    fn poll(&mut self, budget: u32, sink: Sink<'_>) -> u32 {
        let now_ns = self.clock.now_ns();
        let mut done = 0;
        while done < budget {
            let Some(first) = self.pending.first_entry() else {
                break;
            };
            if first.key().0 > now_ns {
                break;
            }
            let (ticket, outcome) = first.remove();
            sink(ticket, outcome);
            done += 1;
        }
        done
    }

    fn pending(&self) -> usize {
        self.pending.len()
    }

    fn cancel(&mut self, _wanted: &mut dyn FnMut(&Ticket) -> bool) -> Option<Ticket> {
        // It took effect when it was submitted.
        None
    }

    fn abandon(&mut self, sink: Sink<'_>) {
        for (ticket, outcome) in std::mem::take(&mut self.pending).into_values() {
            sink(ticket, outcome);
        }
    }
}
