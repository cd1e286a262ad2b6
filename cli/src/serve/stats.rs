//! The numbers of a drive, for who asks.

use traces::{Record, show};
use vssd::counters::{ClassStats, Counters, Histogram};

use super::desk::Desk;
use crate::live::{ClientStats, Latency, OpcodeStats, QueueStats, RecordStatus, Stats};

/// All there is to know without asking the worker.
pub(super) fn stats(desk: &Desk) -> Stats {
    let shown = desk.shown().clone();
    Stats {
        at_ns: desk.now_ns(),
        disk: shown.disk,
        model: shown.model,
        serial: shown.serial,
        client: shown.client.map(|client| ClientStats {
            name: client.name,
            since_unix_ns: client.since_unix_ns,
        }),
        queues: desk.counters.as_deref().map(queues).unwrap_or_default(),
        recording: record_status(desk),
    }
}

fn queues(counters: &Counters) -> Vec<QueueStats> {
    let queues = counters.queues().map(|queue| QueueStats {
        queue: queue.queue.0,
        depth: queue.depth,
        depth_max: queue.depth_max,
        opcodes: queue.classes.iter().map(opcode).collect(),
        last: (counters.last_commands(queue.queue).into_iter())
            .map(|command| {
                let ranges = Vec::new();
                let record = Record::Command {
                    command,
                    ranges,
                    payload: None,
                };
                show::line(&record, 0)
            })
            .collect(),
    });
    queues.collect()
}

fn opcode(class: &ClassStats) -> OpcodeStats {
    OpcodeStats {
        opcode: class.class.name().to_owned(),
        commands: class.commands,
        errors: class.errors,
        abandoned: class.abandoned,
        bytes: class.bytes,
        latency_ns: Latency {
            sum: class.latency_ns_sum,
            max: class.latency_ns_max,
            ..percentiles(&class.latencies, class.latency_ns_max)
        },
        latency_buckets: class.latencies.buckets().collect(),
    }
}

/// Percentiles of `latencies`, none above `max`.
fn percentiles(latencies: &Histogram, max: u64) -> Latency {
    let of = |quantile| latencies.quantile_ns(quantile).unwrap_or(0).min(max);
    Latency {
        p50: of(0.5),
        p99: of(0.99),
        p999: of(0.999),
        ..Latency::default()
    }
}

/// The recording that goes on, or has failed.
pub(super) fn record_status(desk: &Desk) -> RecordStatus {
    let running = desk.running();
    let Some(running) = &*running else {
        return RecordStatus::default();
    };
    // First what is behind: what comes in between is a lag, and not an advance.
    let progress = running.handle.progress();
    let commands = running.given.get();
    RecordStatus {
        recording: running.handle.is_recording(),
        file: Some(running.path.display().to_string()),
        commands,
        lag_commands: commands.saturating_sub(progress.commands + progress.lost),
        lost: progress.lost,
        bytes: progress.bytes,
        since_unix_ns: running.since_unix_ns,
        duration_ns: desk.now_ns().saturating_sub(running.since_ns),
        error: running.handle.failure().map(str::to_owned),
    }
}
