//! What was seen of a drive, and what follows from it.

use std::collections::VecDeque;

use vssd::counters::{Histogram, OpcodeClass};

use crate::live::{OpcodeStats, QueueStats, Stats};

/// How many answers are kept: two minutes.
const KEPT: usize = 121;

/// The last minutes of a drive.
#[derive(Debug, Default)]
pub(super) struct Watched {
    seen: VecDeque<Stats>,
    /// What is shown while the picture is held.
    held: Option<VecDeque<Stats>>,
    /// The queue that is looked at; all where none is.
    queue: Option<u16>,
}

/// What a kind of commands did in the last interval, on the queues that are
/// looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// What kind; `all` for all of them.
    pub(super) opcode: &'static str,
    pub(super) iops: f64,
    pub(super) bytes_per_s: f64,
    /// Commands that failed, or never ended.
    pub(super) errors: u64,
    /// Nanoseconds; none where nothing ended.
    pub(super) p50_ns: Option<u64>,
    pub(super) p99_ns: Option<u64>,
    pub(super) max_ns: Option<u64>,
}

impl Watched {
    /// Takes an answer.
    pub(super) fn take(&mut self, stats: Stats) {
        // Another server began again.
        if self
            .seen
            .back()
            .is_some_and(|last| last.at_ns > stats.at_ns)
        {
            self.seen.clear();
        }
        self.seen.push_back(stats);
        if self.seen.len() > KEPT {
            self.seen.pop_front();
        }
    }

    /// Holds the picture, or lets it go on.
    pub(super) fn pause(&mut self) {
        self.held = match self.held.take() {
            Some(_) => None,
            None => Some(self.seen.clone()),
        };
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.held.is_some()
    }

    /// Looks at the next queue, or the one before.
    pub(super) fn choose(&mut self, forward: bool) {
        let mut choices = vec![None];
        choices.extend(self.queues().iter().map(|queue| Some(queue.queue)));
        let at = choices.iter().position(|choice| *choice == self.queue);
        let count = choices.len();
        let step = if forward { 1 } else { count - 1 };
        let next = at.map_or(0, |at| (at + step) % count);
        self.queue = choices.get(next).copied().flatten();
    }

    /// The queue that is looked at.
    pub(super) const fn queue(&self) -> Option<u16> {
        self.queue
    }

    fn shown(&self) -> &VecDeque<Stats> {
        self.held.as_ref().unwrap_or(&self.seen)
    }

    /// The last answer.
    pub(super) fn last(&self) -> Option<&Stats> {
        self.shown().back()
    }

    /// The queues of the last answer.
    pub(super) fn queues(&self) -> &[QueueStats] {
        self.last().map_or(&[], |stats| &stats.queues)
    }

    /// The last interval, by kind of command: those that there ever were.
    pub(super) fn rates(&self) -> Vec<Rates> {
        let shown = self.shown();
        let Some(now) = shown.back() else {
            return Vec::new();
        };
        let then = shown.len().checked_sub(2).and_then(|at| shown.get(at));
        let names = OpcodeClass::ALL.into_iter().map(OpcodeClass::name);
        names
            .filter(|name| self.of(now, Some(name)).next().is_some())
            .map(|name| self.interval(now, then, Some(name)))
            .collect()
    }

    /// The last interval, of all I/O commands together.
    pub(super) fn total(&self) -> Rates {
        let shown = self.shown();
        let then = shown.len().checked_sub(2).and_then(|at| shown.get(at));
        match shown.back() {
            Some(now) => self.interval(now, then, None),
            None => Rates::default(),
        }
    }

    /// The numbers of the queues that are looked at, of one kind or of all I/O
    /// commands.
    fn of<'s>(
        &self,
        stats: &'s Stats,
        opcode: Option<&'s str>,
    ) -> impl Iterator<Item = &'s OpcodeStats> + use<'s> {
        let queue = self.queue;
        let queues = stats.queues.iter();
        let queues = queues.filter(move |at| queue.is_none_or(|wanted| wanted == at.queue));
        queues
            .flat_map(|queue| &queue.opcodes)
            .filter(move |numbers| match opcode {
                Some(wanted) => numbers.opcode == wanted,
                // Who looks at the admin queue wants its commands.
                None => queue == Some(0) || numbers.opcode != OpcodeClass::Admin.name(),
            })
    }

    fn interval(&self, now: &Stats, then: Option<&Stats>, opcode: Option<&'static str>) -> Rates {
        let name = opcode.unwrap_or("all");
        let (Some(then), after) = (then, Sum::of(self.of(now, opcode))) else {
            return Rates {
                opcode: name,
                ..Rates::default()
            };
        };
        let before = Sum::of(self.of(then, opcode));
        let seconds = seconds(now.at_ns.saturating_sub(then.at_ns));
        let latencies = after.latencies.since(&before.latencies);
        let errors = after.errors.saturating_sub(before.errors);
        Rates {
            opcode: name,
            iops: float(after.commands.saturating_sub(before.commands)) / seconds,
            bytes_per_s: float(after.bytes.saturating_sub(before.bytes)) / seconds,
            errors,
            p50_ns: latencies.quantile_ns(0.5),
            p99_ns: latencies.quantile_ns(0.99),
            max_ns: latencies.quantile_ns(1.0),
        }
    }

    /// A number of each interval, the newest last: of one kind of commands, or of
    /// all I/O commands.
    pub(super) fn history(
        &self,
        opcode: Option<&'static str>,
        number: impl Fn(&Rates) -> u64,
    ) -> Vec<u64> {
        let shown = self.shown();
        shown
            .iter()
            .zip(shown.iter().skip(1))
            .map(|(then, now)| number(&self.interval(now, Some(then), opcode)))
            .collect()
    }
}

/// Numbers of several queues together.
#[derive(Debug, Default)]
struct Sum {
    commands: u64,
    bytes: u64,
    errors: u64,
    latencies: Histogram,
}

impl Sum {
    fn of<'s>(numbers: impl Iterator<Item = &'s OpcodeStats>) -> Self {
        let mut sum = Self::default();
        for opcode in numbers {
            sum.commands += opcode.commands;
            sum.bytes += opcode.bytes;
            sum.errors += opcode.errors + opcode.abandoned;
            for &(ns, count) in &opcode.latency_buckets {
                sum.latencies.record(ns, count);
            }
        }
        sum
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is shown in three digits")]
fn float(number: u64) -> f64 {
    number as f64
}

fn seconds(ns: u64) -> f64 {
    float(ns.max(1)) / 1e9
}
