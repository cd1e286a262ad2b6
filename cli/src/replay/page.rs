//! The report as one HTML file that needs no other and no network.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use replayer::{Bucket, Report};

use crate::chart::{Chart, Line, STYLE, draw};
use crate::device::{Device, size};
use crate::terminal::TOOL;
use crate::trace::duration;

/// Writes the page.
pub(super) fn write(path: &Path, name: &str, reports: &[(Device, Report)]) -> Result<()> {
    let mut sections = Vec::new();
    for (device, report) in reports {
        sections.push(section(&device.to_string(), report)?);
    }
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "vssd replay: " (name) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Replay of " (name) }
                @for section in &sections { (section) }
                p.note {
                    "Latencies when recorded are those of the recording; those of the replay are "
                    "the driver's, from submission to completion seen. " (TOOL)
                }
            }
        }
    };
    fs::write(path, page.into_string()).with_context(|| format!("cannot write {}", path.display()))
}

fn section(device: &str, report: &Report) -> Result<Markup> {
    let paced = report.pacing.is_some();
    Ok(html! {
        h2 { (device) }
        @if !report.is_success() { p.bad { "Not everything went as it was recorded." } }
        pre { (report) }
        h2 { "Commands over time" }
        (PreEscaped(rate(report, paced)?))
        h2 { "Bandwidth" }
        (PreEscaped(bandwidth(report)?))
        @if paced {
            h2 { "Furthest behind schedule" }
            (PreEscaped(lateness(report)?))
        }
        h2 { "Latency by percentile" }
        (PreEscaped(latency(report)?))
    })
}

fn chart<'a>(y: &'a str, label: fn(f64) -> String) -> Chart<'a> {
    Chart {
        x: "seconds",
        y,
        log_x: false,
        log_y: false,
        label,
        label_x: |value| format!("{}", (value * 10.0).round() / 10.0),
        marked: false,
    }
}

#[expect(clippy::cast_precision_loss, reason = "for a picture")]
const fn real(value: u64) -> f64 {
    value as f64
}

/// A line of one value a stretch, each at the stretch's start.
fn over_time(report: &Report, name: &str, value: impl Fn(&Bucket, f64) -> f64) -> Line {
    let seconds = real(report.series.bucket_ns) / 1e9;
    let buckets = report.series.buckets.iter();
    let points = (0_u32..).zip(buckets).map(|(index, bucket)| {
        let at = f64::from(index) * seconds;
        (at, value(bucket, seconds))
    });
    Line {
        name: name.to_owned(),
        points: points.collect(),
    }
}

fn rate(report: &Report, paced: bool) -> Result<String> {
    let mut lines = Vec::new();
    if paced {
        let due = |bucket: &Bucket, seconds| real(bucket.due) / seconds;
        lines.push(over_time(report, "recorded, at this pace", due));
    }
    let sent = |bucket: &Bucket, seconds| real(bucket.sent) / seconds;
    lines.push(over_time(report, "replayed", sent));
    draw(
        &chart("commands a second", |value| format!("{value:.0}")),
        &lines,
    )
}

fn bandwidth(report: &Report) -> Result<String> {
    let bytes = |bucket: &Bucket, seconds| real(bucket.bytes) / seconds;
    let lines = [over_time(report, "replayed", bytes)];
    draw(&chart("bandwidth", bytes_a_second), &lines)
}

fn lateness(report: &Report) -> Result<String> {
    let late = |bucket: &Bucket, _| real(bucket.late_ns_max);
    draw(
        &chart("behind", nanoseconds),
        &[over_time(report, "replayed", late)],
    )
}

/// Latency by how many of an opcode's commands are slower.
fn latency(report: &Report) -> Result<String> {
    let mut lines = Vec::new();
    for opcode in &report.opcodes {
        let curves = [
            ("recorded", &opcode.recorded_curve),
            ("replayed", &opcode.replayed_curve),
        ];
        for (which, curve) in curves.into_iter().filter(|(_, curve)| !curve.is_empty()) {
            let points = curve
                .iter()
                .map(|(quantile, ns)| (1.0 / (1.0 - quantile), real((*ns).max(1))));
            lines.push(Line {
                name: format!("{} {which}", opcode.name),
                points: points.collect(),
            });
        }
    }
    let chart = Chart {
        x: "percentile",
        log_x: true,
        log_y: true,
        label_x: |nines| format!("{}", ((1.0 - 1.0 / nines) * 1e7).round() / 1e5),
        ..chart("latency", nanoseconds)
    };
    draw(&chart, &lines)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a label"
)]
fn bytes_a_second(value: f64) -> String {
    format!("{}/s", size(value as u64))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a label"
)]
fn nanoseconds(value: f64) -> String {
    duration(value as u64)
}
