//! When commands come, and how many are in flight.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::Serialize;

use crate::CommandRecord;

/// When commands come.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Arrival {
    /// Commands a second, from the first submission to the last.
    pub iops_mean: f64,
    /// The spread of the gaps between submissions, as their standard deviation
    /// to their mean: 0 for a clockwork, 1 at random, more in bursts.
    pub gap_variation: f64,
    /// The busiest stretches of a millisecond, a tenth of a second and a
    /// second.
    pub bursts: Vec<Burst>,
    /// How many are in flight; none in a trace without completions.
    pub depth: Option<Depth>,
    /// When nothing is in flight; in a trace without completions, when nothing
    /// is submitted.
    pub idle: Idle,
}

/// The busiest stretch of a length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Burst {
    /// The length, nanoseconds.
    pub window_ns: u64,
    /// Commands submitted in the busiest.
    pub commands_max: u64,
    /// That, to the mean of all.
    pub peak_to_mean: f64,
}

/// Commands in flight.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Depth {
    /// Over time.
    pub mean: f64,
    /// While any is.
    pub mean_busy: f64,
    /// At most.
    pub max: u64,
}

/// Stretches with nothing to do, of at least a millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Idle {
    /// How many.
    pub stretches: u64,
    /// All together, nanoseconds.
    pub total_ns: u64,
    /// The longest, nanoseconds.
    pub longest_ns: u64,
}

const WINDOWS_NS: [u64; 3] = [1_000_000, 100_000_000, 1_000_000_000];
const IDLE_NS: u64 = 1_000_000;
/// Commands in flight that are followed at most.
const IN_FLIGHT_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Gatherer {
    first_ns: Option<u64>,
    last_ns: u64,
    commands: u64,
    /// Mean and sum of squares of the gaps, as they grow (Welford).
    gap_mean: f64,
    gap_squares: f64,
    windows: [Window; 3],
    in_flight: BinaryHeap<Reverse<u64>>,
    completed: bool,
    /// Up to where `depth_ns` reaches.
    walked_ns: u64,
    /// Commands times nanoseconds in flight.
    depth_ns: u128,
    busy_ns: u64,
    depth_max: u64,
    idle: Idle,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    number: u64,
    commands: u64,
    commands_max: u64,
}

impl Gatherer {
    pub(super) fn add(&mut self, command: &CommandRecord) {
        // Times of host-side traces may go back by a little.
        let at_ns = command.submit_ns.max(self.last_ns);
        let first_ns = *self.first_ns.get_or_insert(at_ns);
        self.commands += 1;
        if self.commands == 1 {
            self.walked_ns = at_ns;
        } else {
            self.gap(at_ns - self.last_ns);
        }
        self.last_ns = at_ns;
        for (window, length_ns) in self.windows.iter_mut().zip(WINDOWS_NS) {
            let number = (at_ns - first_ns) / length_ns;
            if number != window.number {
                (window.number, window.commands) = (number, 0);
            }
            window.commands += 1;
            window.commands_max = window.commands_max.max(window.commands);
        }
        self.walk(at_ns);
        if let Some(completion) = command.completion {
            self.completed = true;
            if self.in_flight.len() < IN_FLIGHT_MAX {
                self.in_flight
                    .push(Reverse(completion.complete_ns.max(at_ns)));
            }
            self.depth_max = self.depth_max.max(self.in_flight.len() as u64);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    fn gap(&mut self, gap_ns: u64) {
        let (gap, count) = (gap_ns as f64, (self.commands - 1) as f64);
        let away = gap - self.gap_mean;
        self.gap_mean += away / count;
        self.gap_squares += away * (gap - self.gap_mean);
    }

    /// Lets time pass up to `now_ns`.
    fn walk(&mut self, now_ns: u64) {
        while let Some(&Reverse(done_ns)) = self.in_flight.peek()
            && done_ns <= now_ns
        {
            self.pass(done_ns);
            self.in_flight.pop();
        }
        self.pass(now_ns);
    }

    fn pass(&mut self, to_ns: u64) {
        let passed_ns = to_ns.saturating_sub(self.walked_ns);
        let depth = self.in_flight.len();
        self.depth_ns += depth as u128 * u128::from(passed_ns);
        if depth > 0 {
            self.busy_ns += passed_ns;
        } else if passed_ns >= IDLE_NS {
            self.idle.stretches += 1;
            self.idle.total_ns += passed_ns;
            self.idle.longest_ns = self.idle.longest_ns.max(passed_ns);
        }
        self.walked_ns = self.walked_ns.max(to_ns);
    }

    /// The result, and the time from the first to the last submission.
    #[expect(clippy::cast_precision_loss, reason = "means")]
    pub(super) fn finish(mut self) -> (Arrival, u64) {
        let first_ns = self.first_ns.unwrap_or(0);
        let span_ns = self.last_ns - first_ns;
        // What is in flight still takes its time.
        let begun_ns = first_ns;
        while let Some(Reverse(done_ns)) = self.in_flight.peek().copied() {
            self.pass(done_ns);
            self.in_flight.pop();
        }
        let whole_ns = self.walked_ns - begun_ns;
        let seconds = span_ns as f64 / 1e9;
        let gaps = self.commands.saturating_sub(1).max(1) as f64;
        let bursts = self
            .windows
            .iter()
            .zip(WINDOWS_NS)
            .map(|(window, window_ns)| {
                let windows = (span_ns as f64 / window_ns as f64).max(1.0);
                let mean = self.commands as f64 / windows;
                Burst {
                    window_ns,
                    commands_max: window.commands_max,
                    peak_to_mean: window.commands_max as f64 / mean.max(f64::MIN_POSITIVE),
                }
            });
        let arrival = Arrival {
            iops_mean: if span_ns > 0 {
                self.commands as f64 / seconds
            } else {
                0.0
            },
            gap_variation: if self.gap_mean > 0.0 {
                (self.gap_squares / gaps).sqrt() / self.gap_mean
            } else {
                0.0
            },
            bursts: bursts.collect(),
            depth: self.completed.then(|| Depth {
                mean: self.depth_ns as f64 / (whole_ns as f64).max(1.0),
                mean_busy: self.depth_ns as f64 / (self.busy_ns as f64).max(1.0),
                max: self.depth_max,
            }),
            idle: self.idle,
        };
        (arrival, span_ns)
    }
}
