//! What happened, counted as it happens.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use nvme::{AdminOpcode, NvmOpcode, Status};
use traces::{CommandRecord, Latency};

use crate::report::{CommandCounts, ErrorReport, OpcodeReport, Pacing, SkippedReport, Stalls};
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
    pub(crate) stalls: Stalls,
    pub(crate) last_complete_ns: u64,
    opcodes: BTreeMap<u8, Tally>,
    errors: BTreeMap<(u8, u16), u64>,
    skipped: BTreeMap<(bool, u8, SkipReason), u64>,
    pacing: Option<Histogram<u64>>,
    /// When what was replayed was recorded: the first submission and the last
    /// completion (or submission).
    recorded_ns: Option<(u64, u64)>,
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
    pub(crate) fn new(facts: &TraceFacts) -> Self {
        Self {
            commands: CommandCounts::default(),
            sent: 0,
            read_bytes: 0,
            written_bytes: 0,
            stalls: Stalls::default(),
            last_complete_ns: 0,
            opcodes: facts
                .opcodes
                .keys()
                .map(|&opcode| (opcode, Tally::new()))
                .collect(),
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
    pub(crate) fn take(&mut self, command: &CommandRecord) {
        self.commands.recorded += 1;
        let end_ns = command
            .completion
            .map_or(command.submit_ns, |completion| completion.complete_ns);
        let (first, last) = self.recorded_ns.unwrap_or((command.submit_ns, end_ns));
        self.recorded_ns = Some((first.min(command.submit_ns), last.max(end_ns)));
    }

    /// The first command for a recorded one was sent, so late.
    pub(crate) fn paced(&mut self, late_ns: u64) {
        add(&mut self.pacing, late_ns);
    }

    pub(crate) fn finish(&mut self, outcome: &Outcome) {
        if outcome.lost {
            self.commands.lost += 1;
            return;
        }
        let tally = self
            .opcodes
            .entry(outcome.opcode)
            .or_insert_with(Tally::new);
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

    /// By opcode, those with the most commands first.
    pub(crate) fn opcodes(&self) -> Vec<OpcodeReport> {
        let latency = |histogram: &Option<Histogram<u64>>| histogram.as_ref().and_then(Latency::of);
        let mut opcodes: Vec<_> = self
            .opcodes
            .iter()
            .filter(|(_, tally)| tally.commands > 0)
            .map(|(&opcode, tally)| OpcodeReport {
                opcode,
                name: NvmOpcode(opcode).to_string(),
                commands: tally.commands,
                failed: tally.failed,
                bytes: tally.bytes,
                recorded: latency(&tally.recorded),
                replayed: latency(&tally.replayed),
            })
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

/// Status field 10:00: without retry delay, "more" and "do not retry".
const fn code_and_type(status: Status) -> u16 {
    status.field() & 0x07ff
}
