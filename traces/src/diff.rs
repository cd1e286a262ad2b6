//! Two traces, command by command: a recording and its replay, or two
//! recordings of the same work.

use std::collections::{HashMap, VecDeque};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::summary::Latency;
use crate::{CommandRecord, Reader, Record, Records, TraceError, show};

/// How two traces are compared.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DiffOptions {
    /// How many commands apart in their traces two commands may stand and be
    /// taken for the same.
    pub window: u64,
    /// Whether the same command on another queue is another command.
    pub queues: bool,
    /// A command is slower where it took more than this many times as long.
    pub slower_factor: f64,
    /// And so much longer at least, nanoseconds.
    pub slower_ns: u64,
    /// How many differences are kept to be shown.
    pub shown: usize,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self {
            window: 1 << 16,
            queues: false,
            slower_factor: 2.0,
            slower_ns: 100_000,
            shown: 10,
        }
    }
}

/// How two traces differ in their I/O commands.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Diff {
    /// I/O commands of the first trace.
    pub first_commands: u64,
    /// Of the second.
    pub second_commands: u64,
    /// Found in both.
    pub matched: u64,
    /// In the first trace only.
    pub missing: u64,
    /// In the second trace only.
    pub extra: u64,
    /// Found in both, after commands that they came before in the first.
    pub reordered: u64,
    /// Completed in both, with another status.
    pub other_status: u64,
    /// Found in both, and slower in the second.
    pub slower: u64,
    /// How long those found in both took in the first; none where none
    /// completed.
    pub first_latency: Option<Latency>,
    /// In the second.
    pub second_latency: Option<Latency>,
    /// How far from its time in the first a command was submitted in the
    /// second, both counted from the first command found in both; nanoseconds,
    /// either way.
    pub time_error: Option<Latency>,
    /// How much longer the second is from the first to the last command found
    /// in both, nanoseconds.
    pub drift_ns: i64,
    /// The first differences, as lines of text.
    pub shown: Vec<String>,
}

impl Diff {
    /// Whether both have the same commands with the same outcome, whatever
    /// their times and order.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.missing == 0 && self.extra == 0 && self.other_status == 0
    }
}

/// What makes a command the same: queue (or 0), namespace, opcode, command
/// dwords 10 to 12, and a hash of its ranges.
type Key = (u16, u32, u8, [u32; 3], u64);

/// Commands of one trace that the other has not shown yet.
#[derive(Default)]
struct Unmatched {
    by_key: HashMap<Key, VecDeque<u64>>,
    in_order: VecDeque<(u64, Key, CommandRecord)>,
    gone: u64,
}

struct Differ {
    options: DiffOptions,
    diff: Diff,
    sides: [Unmatched; 2],
    latencies: [Histogram<u64>; 2],
    errors: Histogram<u64>,
    /// Times of the first pair.
    origin: Option<[u64; 2]>,
    last: [u64; 2],
    /// The farthest command of each that was matched.
    farthest: [u64; 2],
}

/// Compares the I/O commands of two traces, in constant memory. `progress` is
/// told how many commands of both were read.
///
/// # Errors
/// As [`Reader::block`].
pub fn diff(
    first: &Reader,
    second: &Reader,
    options: DiffOptions,
    mut progress: impl FnMut(u64),
) -> Result<Diff, TraceError> {
    let mut differ = Differ::new(options);
    let mut records = [first.records(), second.records()];
    let mut open = [true, true];
    let mut read = [0_u64; 2];
    while open != [false, false] {
        for side in 0..2 {
            let Some(command) = next_io(&mut records[side])? else {
                open[side] = false;
                continue;
            };
            differ.take(side, read[side], command);
            read[side] += 1;
            if read[side].is_multiple_of(1 << 14) {
                progress(read[0] + read[1]);
            }
        }
    }
    progress(read[0] + read[1]);
    Ok(differ.finish(read))
}

/// The next I/O command, with a hash of its ranges.
fn next_io(records: &mut Records<'_>) -> Result<Option<(CommandRecord, u64)>, TraceError> {
    for record in records {
        if let Record::Command {
            command, ranges, ..
        } = record?
            && !command.is_admin()
        {
            let hash = ranges.iter().fold(0_u64, |hash, range| {
                let mixed = hash ^ range.lba().0.rotate_left(17) ^ u64::from(range.blocks.get());
                mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
            });
            return Ok(Some((command, hash)));
        }
    }
    Ok(None)
}

/// An empty histogram of nanoseconds, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

/// Adds `ns`. The histogram grows as it must.
fn record(histogram: &mut Histogram<u64>, ns: u64) {
    let _ = histogram.record(ns);
}

impl Differ {
    fn new(options: DiffOptions) -> Self {
        Self {
            options,
            diff: Diff {
                first_commands: 0,
                second_commands: 0,
                matched: 0,
                missing: 0,
                extra: 0,
                reordered: 0,
                other_status: 0,
                slower: 0,
                first_latency: None,
                second_latency: None,
                time_error: None,
                drift_ns: 0,
                shown: Vec::new(),
            },
            sides: [Unmatched::default(), Unmatched::default()],
            latencies: [histogram(), histogram()],
            errors: histogram(),
            origin: None,
            last: [0; 2],
            farthest: [0; 2],
        }
    }

    /// Takes the command number `index` of a side.
    fn take(&mut self, side: usize, index: u64, (command, hash): (CommandRecord, u64)) {
        let [low, high, length, ..] = command.cdw10_15;
        let queue = if self.options.queues {
            command.queue.0
        } else {
            0
        };
        let key = (
            queue,
            command.nsid.0,
            command.opcode,
            [low, high, length],
            hash,
        );
        let other = 1 - side;
        if let Some((place, before)) = self.sides[other].take(&key) {
            let (pair, at) = if side == 0 {
                ([command, before], [index, place])
            } else {
                ([before, command], [place, index])
            };
            self.pair(pair, at);
        } else {
            self.sides[side].put(index, key, command);
        }
        for side in 0..2 {
            while let Some(command) = self.sides[side].expired(index, self.options.window) {
                self.alone(side, &command);
            }
        }
    }

    fn pair(&mut self, pair: [CommandRecord; 2], at: [u64; 2]) {
        self.diff.matched += 1;
        // Behind another pair in one trace, and before it in the other.
        let behind = [0, 1].map(|side: usize| at[side] < self.farthest[side]);
        self.diff.reordered += u64::from(behind[0] != behind[1]);
        self.farthest = [0, 1].map(|side: usize| self.farthest[side].max(at[side]));
        let times = [pair[0].submit_ns, pair[1].submit_ns];
        let origin = *self.origin.get_or_insert(times);
        let since = [0, 1].map(|side: usize| times[side].saturating_sub(origin[side]));
        record(&mut self.errors, since[0].abs_diff(since[1]));
        self.last = [0, 1].map(|side: usize| self.last[side].max(since[side]));
        let latencies = [pair[0].latency_ns(), pair[1].latency_ns()];
        for (histogram, latency) in self.latencies.iter_mut().zip(latencies) {
            if let Some(latency_ns) = latency {
                record(histogram, latency_ns);
            }
        }
        // A command that never completed may be of a trace without completions,
        // which says nothing about how any ended.
        if let [Some(one), Some(two)] = pair.map(|command| command.completion)
            && one.status != two.status
        {
            self.diff.other_status += 1;
            let how = format!("ended as {}, not {}", two.status, one.status);
            self.show(&pair[0], &how);
        }
        if let [Some(one), Some(two)] = latencies {
            #[expect(clippy::cast_precision_loss, reason = "a factor needs no more")]
            let factor = two as f64 / one.max(1) as f64;
            if factor > self.options.slower_factor
                && two.saturating_sub(one) > self.options.slower_ns
            {
                self.diff.slower += 1;
            }
        }
    }

    fn alone(&mut self, side: usize, command: &CommandRecord) {
        if side == 0 {
            self.diff.missing += 1;
            self.show(command, "missing in the second");
        } else {
            self.diff.extra += 1;
            self.show(command, "in the second only");
        }
    }

    fn show(&mut self, command: &CommandRecord, what: &str) {
        if self.diff.shown.len() < self.options.shown {
            let record = Record::Command {
                command: *command,
                ranges: Vec::new(),
                payload: None,
            };
            self.diff
                .shown
                .push(format!("{what}: {}", show::line(&record, 0).trim_end()));
        }
    }

    fn finish(mut self, read: [u64; 2]) -> Diff {
        for side in 0..2 {
            while let Some(command) = self.sides[side].expired(u64::MAX, 0) {
                self.alone(side, &command);
            }
        }
        let [first_ns, second_ns] = self.last;
        let difference = i64::try_from(first_ns.abs_diff(second_ns)).unwrap_or(i64::MAX);
        Diff {
            first_commands: read[0],
            second_commands: read[1],
            first_latency: Latency::of(&self.latencies[0]),
            second_latency: Latency::of(&self.latencies[1]),
            time_error: Latency::of(&self.errors),
            drift_ns: if second_ns >= first_ns {
                difference
            } else {
                -difference
            },
            ..self.diff
        }
    }
}

impl Unmatched {
    fn put(&mut self, index: u64, key: Key, command: CommandRecord) {
        self.by_key.entry(key).or_default().push_back(index);
        self.in_order.push_back((index, key, command));
    }

    /// The earliest command with `key`, and its number.
    fn take(&mut self, key: &Key) -> Option<(u64, CommandRecord)> {
        let places = self.by_key.get_mut(key)?;
        let index = places.pop_front()?;
        if places.is_empty() {
            self.by_key.remove(key);
        }
        let at = self
            .in_order
            .binary_search_by_key(&index, |(index, ..)| *index)
            .ok()?;
        let (_, _, command) = *self.in_order.get(at)?;
        // Taken from the front at once, from within when its turn comes.
        self.gone += 1;
        self.sweep();
        Some((index, command))
    }

    /// Lets go of those at the front that were taken.
    fn sweep(&mut self) {
        while self.gone > 0
            && let Some((index, key, _)) = self.in_order.front()
            && self
                .by_key
                .get(key)
                .is_none_or(|it| it.front() != Some(index))
        {
            self.in_order.pop_front();
            self.gone -= 1;
        }
    }

    /// The earliest command, where it is `window` or more before `now`.
    fn expired(&mut self, now: u64, window: u64) -> Option<CommandRecord> {
        self.sweep();
        let &(index, key, command) = self.in_order.front()?;
        if now.saturating_sub(index) < window {
            return None;
        }
        self.in_order.pop_front();
        if let Some(places) = self.by_key.get_mut(&key) {
            places.pop_front();
            if places.is_empty() {
                self.by_key.remove(&key);
            }
        }
        Some(command)
    }
}

#[cfg(test)]
mod tests;
