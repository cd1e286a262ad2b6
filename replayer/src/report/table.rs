//! The report for people.

use std::fmt;

use traces::Latency;

use super::text::{count, size, time};
use super::{End, Report, SizeReport};

/// Columns of text: so many of words, aligned left, then of numbers and their
/// heads, aligned right, then perhaps one of words.
#[derive(Debug)]
struct Table {
    words: usize,
    ends_in_words: bool,
    rows: Vec<Vec<String>>,
}

impl Table {
    const fn new(words: usize, ends_in_words: bool) -> Self {
        Self {
            words,
            ends_in_words,
            rows: Vec::new(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (index, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let is_last = self.ends_in_words && index + 1 == columns;
                line += &if index < self.words || is_last {
                    format!("  {cell:<width$}")
                } else {
                    format!("  {cell:>width$}")
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

const NONE: &str = "-";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            End::Complete if self.is_success() => f.write_str("Replayed: every command completed."),
            End::Complete => f.write_str("Replayed, with failures."),
            End::Stopped => f.write_str("Stopped before the end of the trace."),
            End::Failed(why) => write!(f, "Failed before the end of the trace: {why}"),
        }?;
        for section in [
            self.overview(),
            self.latencies(),
            self.sizes(),
            self.pacing_lines(),
            self.verified_lines(),
            self.failures(),
            self.skips(),
            self.notes.join("\n"),
        ] {
            if !section.is_empty() {
                write!(f, "\n\n{}", section.trim_end())?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn overview(&self) -> String {
        let counts = &self.commands;
        let mut table = Table::new(1, false);
        let mut row = |name: &str, value: String| table.rows.push(vec![name.to_owned(), value]);
        row("commands in the trace", count(counts.recorded));
        row("replayed", count(counts.succeeded));
        for (name, commands) in [
            ("failed as when recorded", counts.failed_alike),
            ("failed", counts.failed),
            ("lost", counts.lost),
            ("unfinished", counts.unfinished),
            ("skipped", counts.skipped),
            ("widened to whole blocks", counts.widened),
        ] {
            if commands > 0 {
                row(name, count(commands));
            }
        }
        row("commands sent", count(self.sent));
        row("read", size(self.read_bytes));
        row("written", size(self.written_bytes));
        let capped = |iops: u32| format!("{}, at most {} a second", self.pace, count(iops.into()));
        row("pace", self.iops_max.map_or(self.pace.clone(), capped));
        row("time when recorded", time(self.recorded_ns));
        row("time of the replay", time(self.replayed_ns));
        if let Some(rate) = self.commands_per_second() {
            row("commands a second", count(rate));
        }
        let mut text = table.to_string();
        for queue in &self.queues {
            let recorded: Vec<String> = queue.recorded.iter().map(u16::to_string).collect();
            text += &format!(
                "  queue {}: {} commands of recorded queue{} {}; depth {}\n",
                queue.queue,
                count(queue.commands),
                if recorded.len() == 1 { "" } else { "s" },
                recorded.join(", "),
                queue.depth
            );
        }
        text
    }

    fn latencies(&self) -> String {
        type Quantile = (&'static str, fn(&Latency) -> u64);
        const QUANTILES: [Quantile; 5] = [
            ("p50", |latency| latency.p50_ns),
            ("p90", |latency| latency.p90_ns),
            ("p99", |latency| latency.p99_ns),
            ("p99.9", |latency| latency.p999_ns),
            ("max", |latency| latency.max_ns),
        ];
        if self.opcodes.is_empty() {
            return String::new();
        }
        let mut table = Table::new(2, false);
        let mut head = Vec::from(["", "", "commands", "bytes"].map(str::to_owned));
        head.extend(QUANTILES.iter().map(|(name, _)| (*name).to_owned()));
        table.rows.push(head);
        let quantiles = |latency: &Option<Latency>| {
            QUANTILES.map(|(_, quantile)| {
                let ns = latency.as_ref().map(quantile);
                ns.map_or_else(|| NONE.to_owned(), time)
            })
        };
        for opcode in &self.opcodes {
            let (commands, bytes) = (count(opcode.commands), size(opcode.bytes));
            let mut recorded = vec![opcode.name.clone(), "recorded".to_owned()];
            recorded.extend([commands, bytes]);
            recorded.extend(quantiles(&opcode.recorded));
            let mut replayed = vec![String::new(), "replayed".to_owned()];
            replayed.extend([String::new(), String::new()]);
            replayed.extend(quantiles(&opcode.replayed));
            table.rows.extend([recorded, replayed]);
        }
        format!("Latency\n{table}")
    }

    /// By size, where an opcode has more than one.
    fn sizes(&self) -> String {
        let mut table = Table::new(2, false);
        let head = ["", "", "commands", "p50", "p99", "p99.9", "max"];
        table.rows.push(Vec::from(head.map(str::to_owned)));
        let cells = |latency: &Option<Latency>| {
            let ns = |quantile: fn(&Latency) -> u64| {
                let ns = latency.as_ref().map(quantile);
                ns.map_or_else(|| NONE.to_owned(), time)
            };
            [
                ns(|latency| latency.p50_ns),
                ns(|latency| latency.p99_ns),
                ns(|latency| latency.p999_ns),
                ns(|latency| latency.max_ns),
            ]
        };
        for opcode in self.opcodes.iter().filter(|it| it.sizes.len() > 1) {
            for class in &opcode.sizes {
                let name = format!("{} {}", opcode.name, size_class(class));
                let mut recorded = vec![name, "recorded".to_owned(), count(class.commands)];
                recorded.extend(cells(&class.recorded));
                let mut replayed = vec![String::new(), "replayed".to_owned(), String::new()];
                replayed.extend(cells(&class.replayed));
                table.rows.extend([recorded, replayed]);
            }
        }
        if table.rows.len() < 2 {
            return String::new();
        }
        format!("Latency by size\n{table}")
    }

    fn pacing_lines(&self) -> String {
        let mut lines = Vec::new();
        if let Some(drift_ns) = self.drift_ns {
            let sign = if drift_ns < 0 { "shorter" } else { "longer" };
            let ns = time(drift_ns.unsigned_abs());
            lines.push(format!("Length: {ns} {sign} than the trace at this pace"));
        }
        let depth = &self.depth;
        let recorded = match (depth.recorded_mean, depth.recorded_max) {
            (Some(mean), Some(max)) => format!("recorded mean {mean:.2}, max {max}; "),
            _ => String::new(),
        };
        lines.push(format!(
            "In flight: {recorded}replayed mean {:.2}, max {}",
            depth.mean, depth.max
        ));
        if let Some(pacing) = &self.pacing {
            lines.push(format!(
                "Behind schedule: p50 {}, p99 {}, p99.9 {}, max {}",
                time(pacing.p50_ns),
                time(pacing.p99_ns),
                time(pacing.p999_ns),
                time(pacing.max_ns)
            ));
        }
        if let Some(timer) = self.timer.filter(|_| self.pacing.is_some()) {
            lines.push(format!(
                "The machine's own timer: p50 {}, p99 {}, max {} late",
                time(timer.p50_ns),
                time(timer.p99_ns),
                time(timer.max_ns)
            ));
        }
        if let Some(stalls) = self.stalls.filter(|stalls| stalls.count > 0) {
            lines.push(format!(
                "Full queues: {} times, {} in all",
                count(stalls.count),
                time(stalls.total_ns)
            ));
        }
        lines.join("\n")
    }

    fn failures(&self) -> String {
        let mut table = Table::new(1, true);
        for error in &self.errors {
            let status = error.status.clone();
            let row = vec![error.name.clone(), count(error.commands), status];
            table.rows.push(row);
        }
        titled("Failed", &table)
    }

    fn verified_lines(&self) -> String {
        let Some(verified) = &self.verified else {
            return String::new();
        };
        let mut text = format!(
            "Verified: {} blocks right, {} wrong, {} not known\n",
            count(verified.right_blocks),
            count(verified.wrong_blocks),
            count(verified.skipped_blocks)
        );
        for mismatch in &verified.mismatches {
            text += &format!("  {mismatch}\n");
        }
        text
    }

    fn skips(&self) -> String {
        let mut table = Table::new(1, true);
        for skip in &self.skipped {
            let reason = skip.reason.text().to_owned();
            let row = vec![skip.name.clone(), count(skip.commands), reason];
            table.rows.push(row);
        }
        titled("Skipped", &table)
    }
}

fn size_class(class: &SizeReport) -> String {
    match class.bytes_max {
        Some(bytes) => format!("up to {}", size(bytes)),
        None => "above".to_owned(),
    }
}

/// The table under its title; nothing where it is empty.
fn titled(title: &str, table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    format!("{title}\n{table}")
}

#[cfg(test)]
mod tests;
