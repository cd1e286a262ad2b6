//! The numbers in Prometheus' text format, named after its conventions.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Encoder as _, TextEncoder};
use vssd::counters::{ClassStats, Histogram as Latencies, OpcodeClass, QueueStats};

use super::super::desk::Desk;
use super::super::stats::record_status;
use crate::live::RecordStatus;

/// Buckets are powers of two of nanoseconds, from this one on: a microsecond.
const SHORTEST_BITS: u32 = 10;
/// To this one: 17 seconds.
const LONGEST_BITS: u32 = 34;
const NS_PER_S: f64 = 1e9;

/// All numbers of a drive.
pub(super) fn text(desk: &Desk) -> String {
    let mut families = Vec::new();
    about(desk, &mut families);
    if let Some(counters) = desk.counters.as_deref() {
        let queues: Vec<QueueStats> = counters.queues().collect();
        by_queue_and_opcode(&queues, &mut families);
        durations(&queues, &mut families);
        depths(&queues, &mut families);
    }
    recording(&record_status(desk), &mut families);
    // What has nothing to show yet is left out.
    families.retain(|family| !family.get_metric().is_empty());
    let mut text = Vec::new();
    let encoded = TextEncoder::new().encode(&families, &mut text);
    debug_assert!(encoded.is_ok(), "{encoded:?}");
    String::from_utf8(text).unwrap_or_default()
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let labels = pairs.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    labels.collect()
}

/// As Prometheus has all numbers.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts are exact up to 2^53, which a drive does not reach"
)]
fn float(number: u64) -> f64 {
    number as f64
}

fn counter(of: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(float(value));
    let mut metric = Metric::from_label(labels(of));
    metric.set_counter(counter);
    metric
}

fn gauge(of: &[(&str, &str)], value: u64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(float(value));
    let mut metric = Metric::from_label(labels(of));
    metric.set_gauge(gauge);
    metric
}

fn about(desk: &Desk, families: &mut Vec<MetricFamily>) {
    let shown = desk.shown().clone();
    let info = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("model", &shown.model),
        ("serial", &shown.serial),
        ("disk", &shown.disk),
    ];
    families.push(family(
        "vssd_info",
        "What drive it is.",
        MetricType::GAUGE,
        vec![gauge(&info, 1)],
    ));
    let connected = u64::from(shown.client.is_some());
    families.push(family(
        "vssd_client_connected",
        "Whether a guest or a driver is attached.",
        MetricType::GAUGE,
        vec![gauge(&[], connected)],
    ));
}

/// A number of a class.
type OfClass = fn(&ClassStats) -> u64;

fn by_queue_and_opcode(queues: &[QueueStats], families: &mut Vec<MetricFamily>) {
    let counted: [(&str, &str, OfClass); 4] = [
        (
            "vssd_commands_total",
            "Commands that have ended; queue 0 is the admin queue.",
            |class| class.commands,
        ),
        (
            "vssd_command_errors_total",
            "Commands that ended with an error.",
            |class| class.errors,
        ),
        (
            "vssd_commands_abandoned_total",
            "Commands that never ended: the guest reset the drive, or left.",
            |class| class.abandoned,
        ),
        (
            "vssd_bytes_total",
            "Data of commands that succeeded.",
            |class| class.bytes,
        ),
    ];
    for (name, help, value) in counted {
        let metrics = queues.iter().flat_map(|queue| {
            let id = queue.queue.0.to_string();
            let of = move |class: &ClassStats| {
                let labels = [("queue", id.as_str()), ("opcode", class.class.name())];
                counter(&labels, value(class))
            };
            queue.classes.iter().map(of)
        });
        families.push(family(name, help, MetricType::COUNTER, metrics.collect()));
    }
}

/// Over all queues, as there are many buckets.
fn durations(queues: &[QueueStats], families: &mut Vec<MetricFamily>) {
    let metrics = OpcodeClass::ALL.into_iter().filter_map(|wanted| {
        let mut latencies = Latencies::default();
        let mut sum_ns = 0;
        let classes = queues.iter().flat_map(|queue| &queue.classes);
        for class in classes.filter(|class| class.class == wanted) {
            latencies.add(&class.latencies);
            sum_ns += class.latency_ns_sum;
        }
        let count = latencies.count();
        (count > 0).then(|| {
            let buckets = (SHORTEST_BITS..=LONGEST_BITS).map(|bits| {
                let bound_ns = 1_u64 << bits;
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(float(bound_ns) / NS_PER_S);
                bucket.set_cumulative_count(latencies.count_up_to(bound_ns - 1));
                bucket
            });
            let mut histogram = Histogram::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(count);
            histogram.set_sample_sum(float(sum_ns) / NS_PER_S);
            let mut metric = Metric::from_label(labels(&[("opcode", wanted.name())]));
            metric.set_histogram(histogram);
            metric
        })
    });
    families.push(family(
        "vssd_command_duration_seconds",
        "From fetching a command to its completion.",
        MetricType::HISTOGRAM,
        metrics.collect(),
    ));
}

fn depths(queues: &[QueueStats], families: &mut Vec<MetricFamily>) {
    let of = |value: fn(&QueueStats) -> u64| -> Vec<Metric> {
        let metrics = queues.iter().map(|queue| {
            let id = queue.queue.0.to_string();
            gauge(&[("queue", &id)], value(queue))
        });
        metrics.collect()
    };
    families.push(family(
        "vssd_queue_depth_commands",
        "Commands that were fetched and have not ended.",
        MetricType::GAUGE,
        of(|queue| queue.depth),
    ));
    families.push(family(
        "vssd_queue_depth_max_commands",
        "The most of them at a time.",
        MetricType::GAUGE,
        of(|queue| queue.depth_max),
    ));
}

fn recording(status: &RecordStatus, families: &mut Vec<MetricFamily>) {
    let gauges = [
        (
            "vssd_recording_active",
            "Whether every command is recorded.",
            u64::from(status.recording),
        ),
        (
            "vssd_recording_failed",
            "Whether a recording ended before its time.",
            u64::from(status.error.is_some()),
        ),
        (
            "vssd_recording_commands",
            "Commands that the present recording was given.",
            status.commands,
        ),
        (
            "vssd_recording_lag_commands",
            "Those of them that wait to be written.",
            status.lag_commands,
        ),
        (
            "vssd_recording_lost_commands",
            "Those of them that were lost.",
            status.lost,
        ),
        (
            "vssd_recording_bytes",
            "Size of the present recording's file.",
            status.bytes,
        ),
    ];
    for (name, help, value) in gauges {
        families.push(family(
            name,
            help,
            MetricType::GAUGE,
            vec![gauge(&[], value)],
        ));
    }
}
