//! Does the trace have what the guest's kernel counted?

use std::fmt;

use anyhow::Result;
use nvme::NvmOpcode;
use qemu::DriveCounters;
use traces::{Event, Reader, Record};

/// A row: what the guest's kernel counted, and what the trace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// What was counted.
    pub(crate) name: &'static str,
    /// By the guest's kernel.
    pub(crate) kernel: u64,
    /// In the trace.
    pub(crate) trace: u64,
}

/// Both sides.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    /// The rows.
    pub(crate) rows: [Row; 4],
    /// Flushes that carry no data, which the kernel counts as writes too.
    pub(crate) empty_flushes: u64,
}

impl Agreement {
    /// Whether every row agrees.
    pub(crate) fn is_exact(&self) -> bool {
        self.rows.iter().all(|row| row.kernel == row.trace)
    }

    /// What the kernel's way of counting needs said.
    pub(crate) fn note(&self) -> String {
        format!(
            "The kernel counts a flush that carries no data as a write of no sectors, too; its \
             {} of those are taken off its writes. Its writes include Write Zeroes.",
            self.empty_flushes
        )
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:>14} {:>14}",
            "COMMANDS", "GUEST KERNEL", "TRACE"
        )?;
        for row in &self.rows {
            let verdict = if row.kernel == row.trace {
                ""
            } else {
                "  differs"
            };
            writeln!(
                f,
                "{:<12} {:>14} {:>14}{verdict}",
                row.name, row.kernel, row.trace
            )?;
        }
        write!(f, "{}", self.note())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    reads: u64,
    writes: u64,
    discards: u64,
    flushes: u64,
}

/// What was sent since the last time that the controller was enabled: what the
/// kernel's driver sent, without the firmware before it.
fn since_enabled(
    records: impl Iterator<Item = Result<Record, traces::TraceError>>,
) -> Result<Counts> {
    let mut counts = Counts::default();
    for record in records {
        match record? {
            Record::Event(event) if event.event == Event::Enable => counts = Counts::default(),
            Record::Command { command, .. } => match command.nvm_opcode() {
                Some(NvmOpcode::READ) => counts.reads += 1,
                Some(NvmOpcode::WRITE | NvmOpcode::WRITE_ZEROES) => counts.writes += 1,
                Some(NvmOpcode::DATASET_MANAGEMENT) => counts.discards += 1,
                Some(NvmOpcode::FLUSH) => counts.flushes += 1,
                _ => {}
            },
            _ => {}
        }
    }
    Ok(counts)
}

/// Lays `counters` beside the trace.
pub(crate) fn compare(reader: &Reader, counters: &DriveCounters) -> Result<Agreement> {
    let counts = since_enabled(reader.records())?;
    let row = |name, kernel, trace| Row {
        name,
        kernel,
        trace,
    };
    Ok(Agreement {
        rows: [
            row("reads", counters.reads, counts.reads),
            row(
                "writes",
                counters.writes.saturating_sub(counters.empty_flushes),
                counts.writes,
            ),
            row("discards", counters.discards, counts.discards),
            row("flushes", counters.flushes, counts.flushes),
        ],
        empty_flushes: counters.empty_flushes,
    })
}
