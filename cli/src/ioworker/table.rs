//! The result for people.

use std::fmt;

use driver::ioworker::{IoworkerReport, Tally};

use super::run::JobReport;
use crate::device::size;

/// A table of what came of a job.
pub(super) struct Table<'a>(pub(super) &'a JobReport);

const HEADS: [&str; 10] = [
    "",
    "commands",
    "IOPS",
    "bandwidth",
    "mean",
    "p50",
    "p99",
    "p99.9",
    "max",
    "errors",
];

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: Vec<Vec<String>> = vec![HEADS.map(str::to_owned).to_vec()];
        for phase in &self.0.phases {
            let several = phase.workers.len() > 1;
            let name = match phase.workers.first() {
                Some(worker) if phase.name.is_empty() && !several => &worker.name,
                _ => &phase.name,
            };
            let name = if name.is_empty() { "all workers" } else { name };
            rows.extend(rows_of(name, &phase.total));
            if several {
                for worker in &phase.workers {
                    let name = format!("  {}", worker.name);
                    let all = Row::all(&worker.report);
                    rows.push(all.cells(&name, &worker.report));
                }
            }
        }
        write_rows(f, &rows)?;
        for phase in &self.0.phases {
            for (status, count) in &phase.total.statuses {
                writeln!(f, "{count} commands ended with {status}")?;
            }
            write_verified(f, &phase.total)?;
        }
        Ok(())
    }
}

/// What was found where data was verified.
fn write_verified(f: &mut fmt::Formatter<'_>, total: &IoworkerReport) -> fmt::Result {
    let (right, skipped) = (total.verified_blocks, total.skipped_blocks);
    let wrong = total.mismatched_blocks;
    if total.expected_errors > 0 {
        writeln!(
            f,
            "{} of them as they had to: the blocks were uncorrectable",
            total.expected_errors
        )?;
    }
    if right + skipped + wrong > 0 {
        writeln!(
            f,
            "{right} blocks were read back, and right; {wrong} were wrong; {skipped} were not \
             looked at, as nobody knows what they hold"
        )?;
    }
    for mismatch in &total.mismatches {
        writeln!(f, "{mismatch}")?;
    }
    Ok(())
}

fn write_rows(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (index, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            line += &if index == 0 {
                format!("{cell:<width$}")
            } else {
                format!("  {cell:>width$}")
            };
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// All commands of a report, and each kind where there are several.
pub(super) fn rows_of(name: &str, report: &IoworkerReport) -> Vec<Vec<String>> {
    let kinds = kinds(report);
    let mut rows = vec![Row::all(report).cells(name, report)];
    if kinds.len() > 1 {
        for (kind, tally) in kinds {
            rows.push(Row::of(tally).cells(&format!("  {kind}"), report));
        }
    }
    rows
}

/// The kinds of commands that there were.
pub(super) fn kinds(report: &IoworkerReport) -> Vec<(&'static str, &Tally)> {
    let named = [("read", &report.reads), ("write", &report.writes)];
    let others = report.others.iter().map(|(op, tally)| (op.name(), tally));
    let all = named.into_iter().chain(others);
    all.filter(|(_, tally)| tally.commands > 0).collect()
}

/// The figures of a row.
struct Row {
    commands: u64,
    bytes: u64,
    errors: u64,
    latency_ns: hdrhistogram::Histogram<u64>,
}

impl Row {
    fn all(report: &IoworkerReport) -> Self {
        Self {
            commands: report.commands(),
            bytes: report.reads.bytes + report.writes.bytes,
            errors: report.errors(),
            latency_ns: report.latency_ns(),
        }
    }

    fn of(tally: &Tally) -> Self {
        Self {
            commands: tally.commands,
            bytes: tally.bytes,
            errors: tally.errors,
            latency_ns: tally.latency_ns.clone(),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "figures for people to read"
    )]
    fn cells(&self, name: &str, report: &IoworkerReport) -> Vec<String> {
        let seconds = report.elapsed.as_secs_f64().max(1e-9);
        let latency = &self.latency_ns;
        let quantile = |quantile| time(latency.value_at_quantile(quantile));
        vec![
            name.to_owned(),
            self.commands.to_string(),
            format!("{:.0}", self.commands as f64 / seconds),
            format!("{}/s", size((self.bytes as f64 / seconds) as u64)),
            time(latency.mean() as u64),
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            time(latency.max()),
            self.errors.to_string(),
        ]
    }
}

/// A time in the unit in which people read it.
#[expect(clippy::cast_precision_loss, reason = "a time for people to read")]
pub(super) fn time(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        0.0..1e3 => format!("{ns:.0} ns"),
        1e3..1e6 => format!("{:.1} us", ns / 1e3),
        1e6..1e9 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}
