//! What the charts of a page show.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{BINS, POINTS_MAX, commands};
use crate::plot::Operation;
use crate::stats::{Content, ContentGatherer};
use crate::summary::event_name;
use crate::{CommandRecord, Reader, Record, Summary, TraceError};

/// Reads, writes, discards and all else, in this order.
pub(super) const KINDS: usize = 4;
/// Buckets of latency: four for each doubling.
const BUCKETS: usize = 256;
/// Events and gaps that are marked at most.
const MARKS_MAX: usize = 1000;
/// Different lengths that are told apart.
const SIZES_MAX: usize = 4096;
/// Commands in flight that are followed at most.
const IN_FLIGHT_MAX: usize = 1 << 20;

/// What the charts of a page show.
#[derive(Debug)]
pub(super) struct Gathered {
    /// The first submission, and how long a bin is, ns.
    start_ns: u64,
    bin_ns: u64,
    /// By bin and kind.
    pub(super) commands: Vec<[u32; KINDS]>,
    pub(super) bytes: Vec<[f64; KINDS]>,
    /// Counts of latencies, by bin and bucket.
    latencies: Vec<[u16; BUCKETS]>,
    pub(super) latency_max: Vec<u64>,
    /// Commands in flight at most, by bin.
    pub(super) depth: Vec<u32>,
    /// All latencies by kind and bucket.
    pub(super) spread: [[u64; BUCKETS]; KINDS],
    /// Lengths of reads and writes.
    pub(super) sizes: BTreeMap<u64, u64>,
    pub(super) statuses: BTreeMap<String, u64>,
    /// Time and what happened.
    pub(super) marks: Vec<(u64, String)>,
    pub(super) completed: bool,
    /// What was written, where the trace tells.
    pub(super) content: Option<Content>,
    gathering: ContentGatherer,
    /// One command in so many is on the map.
    pub(super) stride: u64,
    pub(super) points: Points,
    in_flight: BinaryHeap<Reverse<u64>>,
}

/// Commands on the map, a column each.
#[derive(Debug, Default)]
pub(super) struct Points {
    /// Since the start, ns.
    pub(super) at: Vec<f64>,
    /// First byte.
    pub(super) place: Vec<f64>,
    /// Bytes.
    length: Vec<f32>,
    /// ns; negative where it never completed.
    pub(super) latency: Vec<f32>,
    kind: Vec<u8>,
}

impl Gathered {
    pub(super) fn of(
        reader: &Reader,
        summary: &Summary,
        mut progress: impl FnMut(u64),
    ) -> Result<Self, TraceError> {
        let mut gathered = Self::new(reader, summary);
        reader.with_records(|records| {
            for (read, record) in (0_u64..).zip(records.with_payload()) {
                gathered.add(reader, &record?, read);
                if read.is_multiple_of(1 << 14) {
                    progress(read);
                }
            }
            Ok::<_, TraceError>(())
        })?;
        gathered.content = std::mem::take(&mut gathered.gathering).finish();
        let totals = reader.totals();
        progress(totals.commands + totals.events + totals.gaps);
        Ok(gathered)
    }

    fn new(reader: &Reader, summary: &Summary) -> Self {
        let starts = reader.index().iter().map(crate::BlockInfo::min_submit_ns);
        let ends = reader.index().iter().map(crate::BlockInfo::max_submit_ns);
        let start_ns = starts.min().unwrap_or(0);
        let span_ns = ends.max().unwrap_or(0).saturating_sub(start_ns);
        // Widens.
        let bin_ns = span_ns / BINS as u64 + 1;
        Self {
            start_ns,
            bin_ns,
            commands: vec![[0; KINDS]; BINS],
            bytes: vec![[0.0; KINDS]; BINS],
            latencies: vec![[0; BUCKETS]; BINS],
            latency_max: vec![0; BINS],
            depth: vec![0; BINS],
            spread: [[0; BUCKETS]; KINDS],
            sizes: BTreeMap::new(),
            statuses: BTreeMap::new(),
            marks: Vec::new(),
            content: None,
            gathering: ContentGatherer::default(),
            completed: summary.unfinished < summary.commands,
            stride: summary.commands.div_ceil(POINTS_MAX).max(1),
            points: Points::default(),
            in_flight: BinaryHeap::new(),
        }
    }

    fn bin(&self, at_ns: u64) -> usize {
        let bin = at_ns.saturating_sub(self.start_ns) / self.bin_ns;
        usize::try_from(bin).unwrap_or(BINS).min(BINS - 1)
    }

    fn add(&mut self, reader: &Reader, record: &Record, number: u64) {
        match record {
            Record::Command {
                command,
                ranges,
                payload,
            } => {
                self.gathering.add(command, payload.as_deref());
                let block = u64::from(reader.header().block_bytes(command.nsid));
                let bytes = |blocks: u64| blocks.saturating_mul(block);
                let touched = command.touched(ranges);
                let place = touched.extents().next();
                let place = place.map(|(lba, blocks)| (bytes(lba.0), bytes(blocks)));
                let discarded = ranges.iter().map(|it| u64::from(it.blocks.get()));
                let moved = discarded.sum::<u64>() + u64::from(command.data_blocks());
                self.command(command, place, bytes(moved), number);
            }
            Record::Event(event) => self.mark(event.at_ns, event_name(event.event).to_owned()),
            Record::Gap(gap) => self.mark(gap.at_ns, format!("lost: {}", commands(gap.lost))),
        }
    }

    fn mark(&mut self, at_ns: u64, what: String) {
        if self.marks.len() < MARKS_MAX {
            self.marks.push((at_ns.saturating_sub(self.start_ns), what));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a chart needs no more")]
    fn command(
        &mut self,
        command: &CommandRecord,
        place: Option<(u64, u64)>,
        moved_bytes: u64,
        number: u64,
    ) {
        let bin = self.bin(command.submit_ns);
        let kind = kind(command);
        let length = place.map_or(0, |(_, length)| length);
        self.commands[bin][kind] += 1;
        self.bytes[bin][kind] += moved_bytes as f64;
        if kind < 2 && (self.sizes.len() < SIZES_MAX || self.sizes.contains_key(&length)) {
            *self.sizes.entry(length).or_default() += 1;
        }
        self.follow(command, bin);
        let latency_ns = command.latency_ns();
        if let Some(latency_ns) = latency_ns {
            let bucket = bucket(latency_ns);
            self.spread[kind][bucket] += 1;
            let count = &mut self.latencies[bin][bucket];
            *count = count.saturating_add(1);
            self.latency_max[bin] = self.latency_max[bin].max(latency_ns);
        }
        if let Some(completion) = command.completion.filter(|it| !it.status.is_success()) {
            *self
                .statuses
                .entry(completion.status.to_string())
                .or_default() += 1;
        }
        if let Some((start, length)) = place.filter(|_| number.is_multiple_of(self.stride)) {
            let points = &mut self.points;
            points
                .at
                .push(command.submit_ns.saturating_sub(self.start_ns) as f64);
            points.place.push(start as f64);
            points.length.push(length as f32);
            points.latency.push(latency_ns.map_or(-1.0, |ns| ns as f32));
            points.kind.push(u8::try_from(kind).unwrap_or(0));
        }
    }

    /// Counts what is in flight when `command` is submitted.
    fn follow(&mut self, command: &CommandRecord, bin: usize) {
        while let Some(&Reverse(done_ns)) = self.in_flight.peek()
            && done_ns <= command.submit_ns
        {
            self.in_flight.pop();
        }
        if let Some(completion) = command.completion
            && self.in_flight.len() < IN_FLIGHT_MAX
        {
            self.in_flight.push(Reverse(completion.complete_ns));
        }
        let depth = u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX);
        self.depth[bin] = self.depth[bin].max(depth);
    }

    /// Percentiles of the latencies of a bin, ns; none where there are none.
    pub(super) fn percentile(&self, bin: usize, share: f64) -> Option<f64> {
        let counts = &self.latencies[bin];
        let all: u64 = counts.iter().map(|it| u64::from(*it)).sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among counts"
        )]
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Some(middle(bucket));
            }
        }
        None
    }

    /// All of it as JSON, in which no `<` can end the element that it stands in.
    pub(super) fn json(&self) -> String {
        let column =
            |kind: usize| -> Vec<u32> { self.commands.iter().map(|it| it[kind]).collect() };
        let volume = |kind: usize| -> Vec<f64> { self.bytes.iter().map(|it| it[kind]).collect() };
        let percentiles = |share: f64| -> Value {
            let of_bins = (0..BINS).map(|bin| self.percentile(bin, share).map(f64::round));
            of_bins.collect()
        };
        let kinds = 0..KINDS;
        let value = json!({
            "binNs": self.bin_ns,
            "bins": BINS,
            "commands": kinds.clone().map(column).collect::<Vec<_>>(),
            "bytes": kinds.clone().map(volume).collect::<Vec<_>>(),
            "p50": percentiles(0.5),
            "p99": percentiles(0.99),
            "max": self.latency_max,
            "depth": self.depth,
            "completed": self.completed,
            "bucketNs": (0..BUCKETS).map(middle).map(f64::round).collect::<Vec<_>>(),
            "spread": self.spread.iter().map(<[u64; BUCKETS]>::as_slice).collect::<Vec<_>>(),
            "sizes": self.sizes.iter().collect::<Vec<_>>(),
            "marks": self.marks,
            "points": {
                "at": encoded(&self.points.at, |it| it.to_le_bytes()),
                "place": encoded(&self.points.place, |it| it.to_le_bytes()),
                "length": encoded(&self.points.length, |it| it.to_le_bytes()),
                "latency": encoded(&self.points.latency, |it| it.to_le_bytes()),
                "kind": encoded(&self.points.kind, |it| [it]),
            },
        });
        value.to_string().replace('<', "\\u003c")
    }
}

fn kind(command: &CommandRecord) -> usize {
    match Operation::of(command) {
        Some(Operation::Read) => 0,
        Some(Operation::Write) => 1,
        Some(Operation::Discard) => 2,
        _ => 3,
    }
}

/// The bucket of a latency: two bits below its highest.
fn bucket(ns: u64) -> usize {
    let ns = ns.max(4);
    let bits = ns.ilog2();
    let below = (ns >> (bits - 2)) & 3;
    // At most 63 * 4 + 3.
    usize::try_from(u64::from(bits) * 4 + below).unwrap_or(BUCKETS - 1)
}

/// The middle of a bucket, ns.
#[expect(clippy::cast_precision_loss, reason = "a chart needs no more")]
fn middle(bucket: usize) -> f64 {
    let (bits, below) = (bucket / 4, bucket % 4);
    (bits as f64).exp2() * (1.0 + (below as f64 + 0.5) / 4.0)
}

fn encoded<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|it| bytes(*it)).collect();
    STANDARD.encode(bytes)
}
