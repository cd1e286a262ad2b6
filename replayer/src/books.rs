//! What happened, counted as it happens.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use nvme::{AdminOpcode, NvmOpcode, Status};
use traces::{CommandRecord, Latency};

use crate::report::{
    CommandCounts, DepthReport, ErrorReport, OpcodeReport, Pacing, SizeReport, SkippedReport,
    Stalls,
};
use crate::series::Series;
use crate::{SkipReason, TraceFacts};

/// Longer latencies than a day count as one.
const LATENCY_NS_MAX: u64 = 86_400_000_000_000;

/// The counts of a replay as it goes.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) commands: CommandCounts,
    pub(crate) sent: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    /// Writes that carried what was recorded, and those that did not.
    pub(crate) paid_writes: u64,
    pub(crate) unpaid_writes: u64,
    pub(crate) stalls: Stalls,
    pub(crate) last_complete_ns: u64,
    pub(crate) depth: Depth,
    pub(crate) start_ns: u64,
    pub(crate) series: Series,
    /// By opcode and class of size.
    tallies: BTreeMap<(u8, u8), Tally>,
    errors: BTreeMap<(u8, u16), u64>,
    skipped: BTreeMap<(bool, u8, SkipReason), u64>,
    pacing: Option<Histogram<u64>>,
    /// When what was replayed was recorded: the first submission and the last
    /// completion (or submission).
    recorded_ns: Option<(u64, u64)>,
    /// The time that commands were in flight when recorded, summed.
    recorded_in_flight_ns: u128,
    recorded_depth: u32,
}

/// Classes of size: up to these, and what is larger.
const SIZES: [u64; 6] = [0, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// The class of what is larger.
const CLASS_MAX: u8 = 6;

/// The class of a command of `bytes` bytes.
fn class_of(bytes: u64) -> u8 {
    let class = SIZES.partition_point(|most| *most < bytes);
    u8::try_from(class).unwrap_or(CLASS_MAX)
}

#[derive(Debug)]
struct Tally {
    commands: u64,
    failed: u64,
    bytes: u64,
    // None where the histogram's bounds are refused, which constants are not.
    recorded: Option<Histogram<u64>>,
    replayed: Option<Histogram<u64>>,
}

impl Tally {
    fn new() -> Self {
        Self {
            commands: 0,
            failed: 0,
            bytes: 0,
            recorded: histogram(),
            replayed: histogram(),
        }
    }
}

fn histogram() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).ok()
}

fn add(histogram: &mut Option<Histogram<u64>>, ns: u64) {
    if let Some(histogram) = histogram {
        histogram.saturating_record(ns);
    }
}

/// How many commands are in flight, over time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Depth {
    now: u64,
    max: u64,
    since_ns: u64,
    /// Commands times nanoseconds.
    area: u128,
}

impl Depth {
    pub(crate) fn add(&mut self, at_ns: u64) {
        self.pass(at_ns);
        self.now += 1;
        self.max = self.max.max(self.now);
    }

    pub(crate) fn remove(&mut self, at_ns: u64) {
        self.pass(at_ns);
        self.now = self.now.saturating_sub(1);
    }

    pub(crate) const fn max(self) -> u64 {
        self.max
    }

    /// The time that commands spent in flight, summed, nanoseconds.
    pub(crate) const fn in_flight_ns(self) -> u128 {
        self.area
    }

    fn pass(&mut self, at_ns: u64) {
        // Both widen.
        let passed_ns = at_ns.saturating_sub(self.since_ns);
        self.area += u128::from(self.now) * u128::from(passed_ns);
        self.since_ns = self.since_ns.max(at_ns);
    }
}

/// A recorded command that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) opcode: u8,
    pub(crate) recorded_latency_ns: Option<u64>,
    pub(crate) recorded_status: Option<Status>,
    pub(crate) latency_ns: u64,
    pub(crate) bytes: u64,
    /// The first status of its pieces that is no success, else success.
    pub(crate) status: Status,
    pub(crate) lost: bool,
}

impl Books {
    /// Empty books, with room for what the trace is known to hold.
    /// So many bytes are on their way to the device, or from it.
    pub(crate) fn moved(&mut self, writes: bool, bytes: usize) {
        let sum = if writes {
            &mut self.written_bytes
        } else {
            &mut self.read_bytes
        };
        // Widens.
        *sum += bytes as u64;
    }

    /// Which data the writes carried; none where none carried recorded ones.
    pub(crate) fn payload_note(&self) -> Option<String> {
        let (paid, all) = (self.paid_writes, self.paid_writes + self.unpaid_writes);
        (paid > 0).then(|| match self.unpaid_writes {
            0 => "Writes carried what was recorded.".to_owned(),
            _ => format!(
                "{paid} of {all} writes carried what was recorded; of the others the trace does not \
                 tell it, or they cover more than was recorded."
            ),
        })
    }

    pub(crate) fn new(facts: &TraceFacts) -> Self {
        Self {
            commands: CommandCounts::default(),
            sent: 0,
            read_bytes: 0,
            written_bytes: 0,
            paid_writes: 0,
            unpaid_writes: 0,
            stalls: Stalls::default(),
            last_complete_ns: 0,
            depth: Depth::default(),
            start_ns: 0,
            series: Series::default(),
            // All that the trace is known to need: none is made on the way.
            tallies: facts
                .opcodes
                .keys()
                .flat_map(|&opcode| (0..=CLASS_MAX).map(move |class| (opcode, class)))
                .map(|key| (key, Tally::new()))
                .collect(),
            recorded_in_flight_ns: 0,
            recorded_depth: facts.depth,
            errors: BTreeMap::new(),
            skipped: BTreeMap::new(),
            pacing: histogram(),
            recorded_ns: None,
        }
    }

    pub(crate) fn skip(&mut self, command: &CommandRecord, reason: SkipReason) {
        self.commands.recorded += 1;
        self.commands.skipped += 1;
        let key = (command.is_admin(), command.opcode, reason);
        *self.skipped.entry(key).or_default() += 1;
    }

    /// A command that will be replayed.
    pub(crate) fn take(&mut self, command: &CommandRecord, is_widened: bool) {
        self.commands.recorded += 1;
        self.commands.widened += u64::from(is_widened);
        let end_ns = command
            .completion
            .map_or(command.submit_ns, |completion| completion.complete_ns);
        self.recorded_in_flight_ns += u128::from(command.latency_ns().unwrap_or(0));
        let (first, last) = self.recorded_ns.unwrap_or((command.submit_ns, end_ns));
        self.recorded_ns = Some((first.min(command.submit_ns), last.max(end_ns)));
    }

    /// The first command for a recorded one, which was due, is sent.
    pub(crate) fn paced(&mut self, due_ns: u64, now_ns: u64) {
        add(&mut self.pacing, now_ns.saturating_sub(due_ns));
        let since = |ns: u64| ns.saturating_sub(self.start_ns);
        self.series.sent(since(due_ns), since(now_ns));
    }

    pub(crate) fn finish(&mut self, outcome: &Outcome) {
        if outcome.lost {
            self.commands.lost += 1;
            return;
        }
        let since_ns = self.last_complete_ns.saturating_sub(self.start_ns);
        self.series.completed(since_ns, outcome.bytes);
        let key = (outcome.opcode, class_of(outcome.bytes));
        let tally = self.tallies.entry(key).or_insert_with(Tally::new);
        tally.commands += 1;
        tally.bytes += outcome.bytes;
        add(&mut tally.replayed, outcome.latency_ns);
        if let Some(ns) = outcome.recorded_latency_ns {
            add(&mut tally.recorded, ns);
        }
        if outcome.status.is_success() {
            self.commands.succeeded += 1;
            return;
        }
        tally.failed += 1;
        let alike = |recorded: Status| recorded.same_code(outcome.status);
        if outcome.recorded_status.is_some_and(alike) {
            self.commands.failed_alike += 1;
        } else {
            self.commands.failed += 1;
        }
        let key = (outcome.opcode, code_and_type(outcome.status));
        *self.errors.entry(key).or_default() += 1;
    }

    /// Recorded commands that are dealt with.
    pub(crate) const fn done(&self) -> u64 {
        let counts = &self.commands;
        counts.succeeded + counts.failed_alike + counts.failed + counts.lost + counts.skipped
    }

    /// Replayed commands that are over.
    pub(crate) const fn finished(&self) -> u64 {
        self.done() - self.commands.skipped
    }

    pub(crate) fn recorded_span_ns(&self) -> u64 {
        self.recorded_ns.map_or(0, |(first, last)| last - first)
    }

    pub(crate) fn pacing(&self) -> Option<Pacing> {
        let histogram = self.pacing.as_ref().filter(|pacing| !pacing.is_empty())?;
        let max_ns = histogram.max();
        let quantile = |quantile| histogram.value_at_quantile(quantile).min(max_ns);
        Some(Pacing {
            p50_ns: quantile(0.5),
            p99_ns: quantile(0.99),
            p999_ns: quantile(0.999),
            max_ns,
        })
    }

    /// How many commands were in flight, in a replay of `length_ns`.
    pub(crate) fn depth_report(&self, length_ns: u64) -> DepthReport {
        let recorded = self.recorded_depth > 0;
        DepthReport {
            recorded_mean: recorded
                .then(|| ratio(self.recorded_in_flight_ns, self.recorded_span_ns())),
            recorded_max: recorded.then_some(self.recorded_depth),
            mean: ratio(self.depth.in_flight_ns(), length_ns),
            max: self.depth.max(),
        }
    }

    /// By opcode, those with the most commands first.
    pub(crate) fn opcodes(&self) -> Vec<OpcodeReport> {
        let mut by_opcode: BTreeMap<u8, Vec<(u8, &Tally)>> = BTreeMap::new();
        let used = self.tallies.iter().filter(|(_, tally)| tally.commands > 0);
        for (&(opcode, class), tally) in used {
            by_opcode.entry(opcode).or_default().push((class, tally));
        }
        let mut opcodes: Vec<_> = by_opcode
            .into_iter()
            .map(|(opcode, classes)| opcode_report(opcode, &classes))
            .collect();
        opcodes.sort_by_key(|opcode| Reverse(opcode.commands));
        opcodes
    }

    pub(crate) fn errors(&self) -> Vec<ErrorReport> {
        let mut errors: Vec<_> = self
            .errors
            .iter()
            .map(|(&(opcode, code), &commands)| ErrorReport {
                name: NvmOpcode(opcode).to_string(),
                code,
                status: Status::from_field(code).to_string(),
                commands,
            })
            .collect();
        errors.sort_by_key(|error| Reverse(error.commands));
        errors
    }

    pub(crate) fn skipped(&self) -> Vec<SkippedReport> {
        let mut skipped: Vec<_> = self
            .skipped
            .iter()
            .map(|(&(admin, opcode, reason), &commands)| SkippedReport {
                name: if admin {
                    AdminOpcode(opcode).to_string()
                } else {
                    NvmOpcode(opcode).to_string()
                },
                reason,
                commands,
            })
            .collect();
        skipped.sort_by_key(|skipped| Reverse(skipped.commands));
        skipped
    }
}

#[expect(clippy::cast_precision_loss, reason = "a mean for people")]
fn ratio(sum: u128, count: u64) -> f64 {
    sum as f64 / count.max(1) as f64
}

fn opcode_report(opcode: u8, classes: &[(u8, &Tally)]) -> OpcodeReport {
    let latency = |histogram: &Option<Histogram<u64>>| histogram.as_ref().and_then(Latency::of);
    let sizes = classes.iter().map(|(class, tally)| SizeReport {
        bytes_max: SIZES.get(usize::from(*class)).copied(),
        commands: tally.commands,
        recorded: latency(&tally.recorded),
        replayed: latency(&tally.replayed),
    });
    let mut all = Tally::new();
    for (_, tally) in classes {
        all.commands += tally.commands;
        all.failed += tally.failed;
        all.bytes += tally.bytes;
        merge(&mut all.recorded, tally.recorded.as_ref());
        merge(&mut all.replayed, tally.replayed.as_ref());
    }
    OpcodeReport {
        opcode,
        name: NvmOpcode(opcode).to_string(),
        commands: all.commands,
        failed: all.failed,
        bytes: all.bytes,
        recorded: latency(&all.recorded),
        replayed: latency(&all.replayed),
        recorded_curve: curve(all.recorded.as_ref()),
        replayed_curve: curve(all.replayed.as_ref()),
        sizes: sizes.collect(),
    }
}

fn merge(all: &mut Option<Histogram<u64>>, one: Option<&Histogram<u64>>) {
    if let (Some(all), Some(one)) = (all, one) {
        // Their bounds are the same.
        let _ = all.add(one);
    }
}

/// Quantiles, closer to each other towards the tail, as far as there are
/// values for them.
fn curve(histogram: Option<&Histogram<u64>>) -> Vec<(f64, u64)> {
    let Some(histogram) = histogram.filter(|histogram| !histogram.is_empty()) else {
        return Vec::new();
    };
    let count = ratio(histogram.len().into(), 1);
    (0..=30)
        .map(|step| 1.0 - 10_f64.powf(-f64::from(step) / 6.0))
        .filter(|quantile| (1.0 - quantile) * count >= 1.0)
        .map(|quantile| (quantile, histogram.value_at_quantile(quantile)))
        .collect()
}

/// Status field 10:00: without retry delay, "more" and "do not retry".
const fn code_and_type(status: Status) -> u16 {
    status.field() & 0x07ff
}
