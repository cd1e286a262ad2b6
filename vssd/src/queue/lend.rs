//! Queues on their way to another thread that serves them, and back.
//!
//! What is lent is whole: submission queues go with the completion queue that
//! they share, a virtqueue by itself, and nothing of it is in flight. Whoever
//! has it alone knows where its ends are.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

use nvme::QueueId;

use super::Queues;
use super::ring::{CompletionQueue, Priority, SubmissionQueue};
use crate::virtio::Ring;

/// What can be lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lendable {
    /// A completion queue, and the submission queues that complete to it.
    Completion(QueueId),
    /// A virtqueue.
    Ring(u16),
}

/// How much there was to do for what can be lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) what: Lendable,
    /// Commands that were fetched since this was asked last.
    pub(crate) commands: u64,
}

/// What was lent.
#[derive(Debug)]
pub(crate) enum Lent {
    Group(Box<Group>),
    Ring(u16, Box<Ring>),
}

/// A completion queue and all that complete to it.
#[derive(Debug)]
pub(crate) struct Group {
    completion: CompletionQueue,
    submission: Vec<(QueueId, Priority, SubmissionQueue)>,
}

impl Queues {
    /// What can be lent, with what there was to do for it since this was asked
    /// last.
    pub(crate) fn loads(&mut self) -> Vec<Load> {
        if self.rings.are_active() {
            return self.rings.loads();
        }
        let mut loads: Vec<Load> = Vec::new();
        for sq in self.submission.iter_mut().skip(1).flatten() {
            let commands = u64::from(std::mem::take(&mut sq.fetched));
            let what = Lendable::Completion(sq.completion);
            match loads.iter_mut().find(|load| load.what == what) {
                Some(load) => load.commands = load.commands.saturating_add(commands),
                None if sq.completion.is_admin() => {}
                None => loads.push(Load { what, commands }),
            }
        }
        loads
    }

    /// Whether another thread serves one of NVMe's queues.
    pub(crate) const fn has_lent(&self) -> bool {
        !self.lent.is_empty()
    }

    fn users_mut(&mut self, completion: QueueId) -> impl Iterator<Item = &mut SubmissionQueue> {
        let queues = self.submission.iter_mut().skip(1).flatten();
        queues.filter(move |sq| sq.completion == completion)
    }

    /// Fetches nothing for `what` any more, or again.
    pub(crate) fn pause(&mut self, what: Lendable, paused: bool) {
        match what {
            Lendable::Completion(completion) => {
                let users = self.users_mut(completion);
                users.for_each(|sq| sq.paused = paused);
            }
            Lendable::Ring(index) => self.rings.pause(index, paused),
        }
    }

    /// Whether nothing of it is in flight.
    pub(crate) fn is_at_rest(&self, what: Lendable) -> bool {
        match what {
            Lendable::Completion(id) => self.cq(id).is_none_or(|cq| cq.reserved == 0),
            Lendable::Ring(index) => self.rings.in_flight(index) == 0,
        }
    }

    /// Gives away what is paused and at rest; none where it is gone.
    pub(crate) fn lend(&mut self, what: Lendable) -> Option<Lent> {
        self.pause(what, false);
        let completion = match what {
            Lendable::Completion(completion) => completion,
            Lendable::Ring(index) => {
                let ring = self.rings.lend(index)?;
                return Some(Lent::Ring(index, Box::new(ring)));
            }
        };
        let slot = self.completion.get_mut(usize::from(completion.0))?;
        let completion = slot.take()?;
        self.fresh.retain(|&fresh| fresh != completion.id);
        self.lent
            .push((completion.id, nvme::DoorbellKind::CompletionHead));
        let mut submission = Vec::new();
        for (slot, number) in self.submission.iter_mut().zip(0_u16..).skip(1) {
            let id = QueueId(number);
            if let Some(sq) = slot.take_if(|sq| sq.completion == completion.id) {
                submission.push((id, Priority::Urgent, sq));
                self.lent.push((id, nvme::DoorbellKind::SubmissionTail));
            }
        }
        for (id, priority, _) in &mut submission {
            self.live.retain(|live| live != id);
            for (class, of) in self.by_priority.iter_mut().zip(Priority::ALL) {
                if class.contains(id) {
                    class.retain(|live| live != id);
                    *priority = of;
                }
            }
        }
        Some(Lent::Group(Box::new(Group {
            completion,
            submission,
        })))
    }

    /// Takes what was lent, or what somebody lends.
    pub(crate) fn put(&mut self, lent: Lent) {
        let group = match lent {
            Lent::Ring(index, ring) => return self.rings.put_back(index, *ring),
            Lent::Group(group) => *group,
        };
        let Group {
            completion,
            submission,
        } = group;
        let id = completion.id;
        self.lent
            .retain(|lent| *lent != (id, nvme::DoorbellKind::CompletionHead));
        if completion.fresh {
            self.fresh.push(id);
        }
        if let Some(slot) = self.completion.get_mut(usize::from(id.0)) {
            *slot = Some(completion);
        }
        for (id, priority, sq) in submission {
            self.lent
                .retain(|lent| *lent != (id, nvme::DoorbellKind::SubmissionTail));
            if let Some(slot) = self.submission.get_mut(usize::from(id.0)) {
                *slot = Some(sq);
            }
            self.live.push(id);
            if let Some(class) = self.by_priority.get_mut(priority.index()) {
                class.push(id);
            }
        }
    }

    /// Takes back all that `from` was lent.
    pub(crate) fn take_back(&mut self, from: &mut Self) {
        let groups = from.completion.iter().flatten().map(|cq| cq.id);
        let groups: Vec<_> = groups.map(Lendable::Completion).collect();
        let rings = from.rings.started().map(Lendable::Ring);
        for what in groups.into_iter().chain(rings.collect::<Vec<_>>()) {
            if let Some(lent) = from.lend(what) {
                self.put(lent);
            }
        }
        self.bad_doorbells = self.bad_doorbells.saturating_add(from.take_bad_doorbells());
        from.lent.clear();
    }
}
