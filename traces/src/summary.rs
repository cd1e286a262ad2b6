//! What a trace amounts to.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use nvme::{DsmRange, NvmOpcode};
use serde::Serialize;

use crate::error::TraceError;
use crate::totals::End;
use crate::{Block, CommandRecord, Event, Reader};

/// The sums and distributions over all records of a trace, as
/// `vssd trace info` shows them; serialises to JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Commands.
    pub commands: u64,
    /// Commands that never completed.
    pub unfinished: u64,
    /// Commands that completed with a status other than success.
    pub errors: u64,
    /// Commands by opcode, those with the most first.
    pub opcodes: Vec<OpcodeSummary>,
    /// Commands by submission queue.
    pub queues: BTreeMap<u16, u64>,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes deallocated by Dataset Management.
    pub discarded_bytes: u64,
    /// Bytes zeroed by Write Zeroes.
    pub zeroed_bytes: u64,
    /// Commands with force unit access.
    pub fua: u64,
    /// The first submission or event, nanoseconds of the trace's clock.
    pub first_ns: u64,
    /// The last completion, submission or event, nanoseconds of the trace's
    /// clock.
    pub last_ns: u64,
    /// Events by name.
    pub events: BTreeMap<&'static str, u64>,
    /// Gaps: places where commands were lost.
    pub gaps: u64,
    /// Commands lost in all gaps together.
    pub lost: u64,
    /// Records of kinds that only later versions of the format know.
    pub unknown_records: u64,
    /// How the recording ended.
    pub end: End,
}

/// The commands of one opcode.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct OpcodeSummary {
    /// Whether they came from the admin queue.
    pub admin: bool,
    /// The opcode.
    pub opcode: u8,
    /// Its name, or its number in hexadecimal.
    pub name: String,
    /// How many.
    pub commands: u64,
    /// How many completed with a status other than success.
    pub errors: u64,
    /// Bytes that they moved, zeroed or deallocated.
    pub bytes: u64,
    /// From submission to completion; none where none completed.
    pub latency: Option<Latency>,
}

/// A distribution of latencies, nanoseconds; percentiles are within 0.1 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// The shortest.
    pub min_ns: u64,
    /// The mean.
    pub mean_ns: f64,
    /// The median.
    pub p50_ns: u64,
    /// Nine in ten took at most this.
    pub p90_ns: u64,
    /// 99 in 100 took at most this.
    pub p99_ns: u64,
    /// 999 in 1,000 took at most this.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Latency {
    /// The distribution in `histogram`, whose unit is a nanosecond; none where
    /// it is empty.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self {
            min_ns: histogram.min(),
            mean_ns: histogram.mean(),
            p50_ns: histogram.value_at_quantile(0.5),
            p90_ns: histogram.value_at_quantile(0.9),
            p99_ns: histogram.value_at_quantile(0.99),
            p999_ns: histogram.value_at_quantile(0.999),
            max_ns: histogram.max(),
        })
    }
}

/// What is known of an opcode so far.
#[derive(Debug)]
struct Tally {
    name: String,
    commands: u64,
    errors: u64,
    bytes: u64,
    /// None where the histogram's precision is refused, which a constant is
    /// not.
    latency: Option<Histogram<u64>>,
}

/// The longest latency that is told apart, a day: longer ones count as this.
const LATENCY_NS_MAX: u64 = 24 * 3_600 * 1_000_000_000;

impl Summary {
    pub(crate) fn of(reader: &Reader) -> Result<Self, TraceError> {
        let mut summary = Self {
            commands: 0,
            unfinished: 0,
            errors: 0,
            opcodes: Vec::new(),
            queues: BTreeMap::new(),
            read_bytes: 0,
            written_bytes: 0,
            discarded_bytes: 0,
            zeroed_bytes: 0,
            fua: 0,
            first_ns: u64::MAX,
            last_ns: 0,
            events: BTreeMap::new(),
            gaps: 0,
            lost: 0,
            unknown_records: 0,
            end: reader.totals().end.clone(),
        };
        let mut tallies = BTreeMap::new();
        let blocks = reader.index().iter().enumerate();
        for (index, info) in blocks.filter(|(_, info)| !info.is_payload()) {
            let last = info.max_submit_ns().max(info.last_complete_ns());
            summary.first_ns = summary.first_ns.min(info.min_submit_ns());
            summary.last_ns = summary.last_ns.max(last);
            summary.add(&reader.block(index)?, reader, &mut tallies);
        }
        summary.first_ns = summary.first_ns.min(summary.last_ns);
        summary.opcodes = tallies.into_iter().map(OpcodeSummary::from).collect();
        summary
            .opcodes
            .sort_by_key(|opcode| std::cmp::Reverse(opcode.commands));
        Ok(summary)
    }

    /// From the first submission or event to the last completion, nanoseconds.
    #[must_use]
    pub fn span_ns(&self) -> u64 {
        self.last_ns - self.first_ns
    }

    fn add(&mut self, block: &Block, reader: &Reader, tallies: &mut BTreeMap<(bool, u8), Tally>) {
        self.unknown_records += u64::from(block.unknown_records());
        for event in block.events() {
            *self.events.entry(event_name(event.event)).or_default() += 1;
        }
        for gap in block.gaps() {
            self.gaps += 1;
            self.lost = self.lost.saturating_add(gap.lost);
        }
        for (index, command) in block.commands().iter().enumerate() {
            let block_bytes = u64::from(reader.header().block_bytes(command.nsid));
            let blocks = blocks_of(command, block.ranges(index));
            let bytes = blocks.saturating_mul(block_bytes);
            self.add_bytes(command, bytes);
            let tally = tallies
                .entry((command.is_admin(), command.opcode))
                .or_insert_with(|| Tally::new(command));
            tally.add(command, bytes);
            self.commands += 1;
            self.fua += u64::from(command.fua());
            self.unfinished += u64::from(command.completion.is_none());
            self.errors += u64::from(failed(command));
            *self.queues.entry(command.queue.0).or_default() += 1;
        }
    }

    fn add_bytes(&mut self, command: &CommandRecord, bytes: u64) {
        let sum = match command.nvm_opcode() {
            Some(NvmOpcode::READ) => &mut self.read_bytes,
            Some(NvmOpcode::WRITE | NvmOpcode::ZONE_APPEND) => &mut self.written_bytes,
            Some(NvmOpcode::WRITE_ZEROES) => &mut self.zeroed_bytes,
            Some(NvmOpcode::DATASET_MANAGEMENT) => &mut self.discarded_bytes,
            _ => return,
        };
        *sum = sum.saturating_add(bytes);
    }
}

impl Tally {
    fn new(command: &CommandRecord) -> Self {
        Self {
            name: command.opcode_name(),
            commands: 0,
            errors: 0,
            bytes: 0,
            // Grows with the values: 512 opcodes with a day each are a lot.
            latency: Histogram::new(3).ok(),
        }
    }

    fn add(&mut self, command: &CommandRecord, bytes: u64) {
        self.commands += 1;
        self.errors += u64::from(failed(command));
        self.bytes = self.bytes.saturating_add(bytes);
        if let (Some(latency), Some(ns)) = (&mut self.latency, command.latency_ns()) {
            // Grows; there is nothing to fail up to a day.
            let _ = latency.record(ns.min(LATENCY_NS_MAX));
        }
    }
}

impl From<((bool, u8), Tally)> for OpcodeSummary {
    fn from(((admin, opcode), tally): ((bool, u8), Tally)) -> Self {
        Self {
            admin,
            opcode,
            name: tally.name,
            commands: tally.commands,
            errors: tally.errors,
            bytes: tally.bytes,
            latency: tally.latency.as_ref().and_then(Latency::of),
        }
    }
}

fn failed(command: &CommandRecord) -> bool {
    command
        .completion
        .is_some_and(|completion| !completion.status.is_success())
}

/// How many blocks the command names, in its own dwords or in its ranges.
fn blocks_of(command: &CommandRecord, ranges: &[DsmRange]) -> u64 {
    match command.data_blocks() {
        0 => ranges
            .iter()
            .map(|range| u64::from(range.blocks.get()))
            .sum(),
        blocks => u64::from(blocks),
    }
}

/// The name of an event, for people and for JSON.
pub(crate) fn event_name(event: Event) -> &'static str {
    match event {
        Event::Connect => "connect",
        Event::Disconnect => "disconnect",
        Event::Enable => "enable",
        Event::Reset => "reset",
        Event::FunctionReset => "function reset",
        Event::ShutdownNormal => "shutdown",
        Event::ShutdownAbrupt => "abrupt shutdown",
        Event::FatalStatus => "fatal status",
    }
}
