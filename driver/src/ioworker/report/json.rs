//! The report as plain figures, for machines.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use super::{IoworkerReport, Second, Tally};
use crate::ioworker::Op;
use crate::verify::{Content, Expected, Mismatch};

/// What there is to say of latencies, nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatencySummary {
    /// The shortest.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// The longest.
    pub max: u64,
    /// By percentage: so many commands were no slower.
    pub percentiles: BTreeMap<String, u64>,
}

/// The percentiles of a report.
const PERCENTILES: [&str; 8] = ["1", "10", "50", "90", "99", "99.9", "99.99", "99.999"];

impl LatencySummary {
    /// Of these latencies.
    #[must_use]
    pub fn of(latency_ns: &Histogram<u64>) -> Self {
        let percentile = |name: &&str| {
            let quantile = name.parse::<f64>().unwrap_or(0.0) / 100.0;
            ((*name).to_owned(), latency_ns.value_at_quantile(quantile))
        };
        Self {
            min: if latency_ns.is_empty() {
                0
            } else {
                latency_ns.min()
            },
            mean: latency_ns.mean(),
            max: latency_ns.max(),
            percentiles: PERCENTILES.iter().map(percentile).collect(),
        }
    }
}

/// A [`Tally`] as plain figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TallySummary {
    /// Commands that completed.
    pub commands: u64,
    /// Bytes of those that succeeded.
    pub bytes: u64,
    /// Commands that failed.
    pub errors: u64,
    /// Commands a second.
    pub iops: f64,
    /// Their latencies.
    pub latency_ns: LatencySummary,
}

/// One of the last commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedSummary {
    op: Op,
    lba: u64,
    blocks: u32,
    submit_ns: u64,
    latency_ns: u64,
    status: String,
}

/// A [`Mismatch`] as plain figures. A command is named by its queue, its number
/// among the queue pair's commands, and its identifier where that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MismatchSummary {
    lba: u64,
    expected: String,
    expected_crc: Option<u32>,
    expected_token: Option<u64>,
    writer_queue: u16,
    writer_command: u64,
    writer_cid: Option<u16>,
    writer_submit_ns: Option<u64>,
    writer: String,
    found: String,
    found_crc: u32,
    found_lba: Option<u64>,
    found_token: Option<u64>,
    reader: String,
}

impl MismatchSummary {
    /// Of this mismatch.
    #[must_use]
    pub fn of(mismatch: &Mismatch) -> Self {
        let (expected_crc, expected_token) = match mismatch.expected {
            Expected::Written { crc, token } | Expected::WrittenOrFilled { crc, token, .. } => {
                (Some(crc), Some(token))
            }
            Expected::Zeroes | Expected::ReadError => (None, None),
        };
        let (found_lba, found_token) = match &mismatch.found.content {
            Content::Stamped { lba, token, .. } => (Some(lba.0), Some(*token)),
            Content::Filled(_) | Content::Other => (None, None),
        };
        let writer = &mismatch.writer;
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            lba: mismatch.lba.0,
            expected: mismatch.expected.to_string(),
            expected_crc,
            expected_token,
            writer_queue: writer.queue.0,
            writer_command: writer.number,
            writer_cid: writer.cid.map(|cid| cid.0),
            writer_submit_ns: writer.submitted.map(ns),
            writer: writer.to_string(),
            found: mismatch.found.to_string(),
            found_crc: mismatch.found.crc,
            found_lba,
            found_token,
            reader: mismatch.reader.to_string(),
        }
    }
}

/// An [`IoworkerReport`] as plain figures; what `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportSummary {
    /// Seconds from the first submission to the last completion.
    pub elapsed_s: f64,
    /// Commands of all kinds.
    pub commands: u64,
    /// Commands that failed.
    pub errors: u64,
    /// Commands a second.
    pub iops: f64,
    /// Bytes a second, of reads and writes.
    pub bytes_per_second: f64,
    /// Latencies of all commands.
    pub latency_ns: LatencySummary,
    /// What came of each kind of command that there was.
    pub ops: BTreeMap<Op, TallySummary>,
    /// How many commands ended with each error status.
    pub statuses: BTreeMap<String, u64>,
    /// Seconds of a processor that the worker's thread used.
    pub cpu_s: Option<f64>,
    /// The same, as a percentage of the time.
    pub cpu_percent: Option<f64>,
    /// Blocks that were looked at and right.
    pub verified_blocks: u64,
    /// Blocks that were read, but of which nothing was certain.
    pub skipped_blocks: u64,
    /// Blocks that were looked at and wrong.
    pub mismatched_blocks: u64,
    /// The first of those.
    pub mismatches: Vec<MismatchSummary>,
    /// Reads that failed as they had to.
    pub expected_errors: u64,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// The last commands, the oldest first.
    pub last_commands: Vec<LoggedSummary>,
}

impl ReportSummary {
    pub(super) fn of(report: &IoworkerReport) -> Self {
        let named = [(Op::Read, &report.reads), (Op::Write, &report.writes)];
        let others = report.others.iter().map(|(op, tally)| (*op, tally));
        let tally = |(op, tally): (Op, &Tally)| {
            let summary = TallySummary {
                commands: tally.commands,
                bytes: tally.bytes,
                errors: tally.errors,
                iops: report.per_second(tally.commands),
                latency_ns: LatencySummary::of(&tally.latency_ns),
            };
            (tally.commands > 0).then_some((op, summary))
        };
        let elapsed_s = report.elapsed.as_secs_f64();
        let cpu_s = report.cpu.map(|cpu| cpu.as_secs_f64());
        let logged = report.last_commands.iter().map(|logged| LoggedSummary {
            op: logged.op,
            lba: logged.lba.0,
            blocks: logged.blocks,
            submit_ns: logged.submit_ns,
            latency_ns: logged.latency_ns,
            status: logged.status.to_string(),
        });
        let statuses = report.statuses.iter();
        Self {
            elapsed_s,
            commands: report.commands(),
            errors: report.errors(),
            iops: report.iops(),
            bytes_per_second: report.bytes_per_second(),
            latency_ns: LatencySummary::of(&report.latency_ns()),
            ops: named.into_iter().chain(others).filter_map(tally).collect(),
            statuses: statuses
                .map(|(status, count)| (status.to_string(), *count))
                .collect(),
            cpu_s,
            cpu_percent: cpu_s
                .filter(|_| elapsed_s > 0.0)
                .map(|cpu| cpu / elapsed_s * 100.0),
            verified_blocks: report.verified_blocks,
            skipped_blocks: report.skipped_blocks,
            mismatched_blocks: report.mismatched_blocks,
            mismatches: report.mismatches.iter().map(MismatchSummary::of).collect(),
            expected_errors: report.expected_errors,
            seconds: report.seconds.clone(),
            last_commands: logged.collect(),
        }
    }
}

impl Serialize for IoworkerReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.summary().serialize(serializer)
    }
}
