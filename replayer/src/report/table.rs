//! The report for people.

use std::fmt;

use traces::Latency;

use super::{End, Report};

/// Columns of text: the first is aligned left, the others right.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
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
                if index == 0 {
                    line += &format!("  {cell:<width$}");
                } else {
                    line += &format!("  {cell:>width$}");
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A time in the unit in which people read it.
fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} us", scaled(ns, 1_000)),
        1_000_000..1_000_000_000 => format!("{} ms", scaled(ns, 1_000_000)),
        _ => format!("{} s", scaled(ns, 1_000_000_000)),
    }
}

/// A size in the unit in which people read it.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    for (name, unit) in UNITS {
        if bytes >= unit {
            return format!("{} {name}", scaled(bytes, unit));
        }
    }
    format!("{bytes} B")
}

/// `value / unit` with three digits or more: 1.23, 12.3, 123, 1234.
fn scaled(value: u64, unit: u64) -> String {
    let hundredths = u128::from(value) * 100 / u128::from(unit.max(1));
    let (whole, part) = (hundredths / 100, hundredths % 100);
    match whole {
        0..10 => format!("{whole}.{part:02}"),
        10..100 => format!("{whole}.{}", part / 10),
        _ => whole.to_string(),
    }
}

/// A number with thin groups: 50,129.
fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const NONE: &str = "-";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            End::Complete if self.is_success() => {
                writeln!(f, "Replayed: every command completed.")?
            }
            End::Complete => writeln!(f, "Replayed, with failures.")?,
            End::Stopped => writeln!(f, "Stopped before the end of the trace.")?,
            End::Failed(why) => writeln!(f, "Failed before the end of the trace: {why}")?,
        }
        writeln!(f)?;
        self.fmt_overview(f)?;
        writeln!(f, "\nLatency, recorded | replayed")?;
        self.fmt_latencies(f)?;
        self.fmt_pacing(f)?;
        self.fmt_failures(f)?;
        for note in &self.notes {
            writeln!(f, "\n{note}")?;
        }
        Ok(())
    }
}

impl Report {
    fn fmt_overview(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.commands;
        let mut table = Table::default();
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        row("commands in the trace", count(counts.recorded));
        row("replayed", count(counts.succeeded));
        for (name, commands) in [
            ("failed as when recorded", counts.failed_alike),
            ("failed", counts.failed),
            ("lost", counts.lost),
            ("unfinished", counts.unfinished),
            ("skipped", counts.skipped),
        ] {
            if commands > 0 {
                row(name, count(commands));
            }
        }
        row("commands sent", count(self.sent));
        row("read", size(self.read_bytes));
        row("written", size(self.written_bytes));
        row("pace", self.pace.clone());
        row("time when recorded", time(self.recorded_ns));
        row("time of the replay", time(self.replayed_ns));
        if let Some(rate) = self.commands_per_second() {
            row("commands a second", count(rate));
        }
        write!(f, "{table}")?;
        for queue in &self.queues {
            let recorded: Vec<String> = queue.recorded.iter().map(u16::to_string).collect();
            writeln!(
                f,
                "  queue {}: {} commands of recorded queue {}, depth {}",
                queue.queue,
                count(queue.commands),
                recorded.join(", "),
                queue.depth
            )?;
        }
        Ok(())
    }

    fn fmt_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        type Quantile = (&'static str, fn(&Latency) -> u64);
        const QUANTILES: [Quantile; 5] = [
            ("p50", |latency| latency.p50_ns),
            ("p90", |latency| latency.p90_ns),
            ("p99", |latency| latency.p99_ns),
            ("p99.9", |latency| latency.p999_ns),
            ("max", |latency| latency.max_ns),
        ];
        let mut table = Table::default();
        let head = ["", "commands", "bytes"].map(str::to_owned);
        let mut head = Vec::from(head);
        for (name, _) in QUANTILES {
            head.extend([name.to_owned(), "|".to_owned(), name.to_owned()]);
        }
        table.rows.push(head);
        for opcode in &self.opcodes {
            let mut row = vec![
                opcode.name.clone(),
                count(opcode.commands),
                size(opcode.bytes),
            ];
            for (_, quantile) in QUANTILES {
                let text = |latency: &Option<Latency>| {
                    latency
                        .as_ref()
                        .map_or_else(|| NONE.to_owned(), |latency| time(quantile(latency)))
                };
                row.extend([
                    text(&opcode.recorded),
                    "|".to_owned(),
                    text(&opcode.replayed),
                ]);
            }
            table.rows.push(row);
        }
        write!(f, "{table}")
    }

    fn fmt_pacing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pacing) = &self.pacing {
            writeln!(
                f,
                "\nBehind schedule: p50 {}, p99 {}, p99.9 {}, max {}",
                time(pacing.p50_ns),
                time(pacing.p99_ns),
                time(pacing.p999_ns),
                time(pacing.max_ns)
            )?;
        }
        match &self.stalls {
            Some(stalls) if stalls.count > 0 => writeln!(
                f,
                "Full queues: {} times, {} in all",
                count(stalls.count),
                time(stalls.total_ns)
            ),
            _ => Ok(()),
        }
    }

    fn fmt_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut failed = Table::default();
        for error in &self.errors {
            failed.row([
                error.name.clone(),
                count(error.commands),
                error.status.clone(),
            ]);
        }
        if !failed.rows.is_empty() {
            write!(f, "\nFailed\n{failed}")?;
        }
        let mut skipped = Table::default();
        for skip in &self.skipped {
            skipped.row([
                skip.name.clone(),
                count(skip.commands),
                skip.reason.text().to_owned(),
            ]);
        }
        if !skipped.rows.is_empty() {
            write!(f, "\nSkipped\n{skipped}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
