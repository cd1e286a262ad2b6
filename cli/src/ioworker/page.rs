//! The report as one HTML file that needs no other and no network.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use driver::ioworker::{IoworkerReport, Second};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::run::JobReport;
use super::table::{kinds, rows_of, time};
use crate::chart::{Chart, Line, STYLE, draw};
use crate::device::size;
use crate::terminal::TOOL;

/// Writes the page.
pub(super) fn write(path: &Path, job: &JobReport) -> Result<()> {
    let page = markup(job)?.into_string();
    fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn markup(job: &JobReport) -> Result<Markup> {
    let mut rows = Vec::new();
    for phase in &job.phases {
        let name = if phase.name.is_empty() {
            "all"
        } else {
            &phase.name
        };
        rows.extend(rows_of(name, &phase.total));
    }
    let rate = over_time("IOPS", si, job, |second| second.commands() as f64);
    let bandwidth = over_time("bandwidth", bytes, job, |second| second.bytes as f64);
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "vssd ioworker: " (job.job) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (job.job) }
                p { (job.model) ", " (job.device) }
                @for failure in &job.failures { p.bad { (failure) } }
                @for phase in &job.phases {
                    @for mismatch in &phase.total.mismatches { p.bad { (mismatch) } }
                }
                table {
                    tr {
                        @for head in ["", "commands", "IOPS", "bandwidth", "mean", "p50", "p99", "p99.9", "max", "errors"] {
                            th { (head) }
                        }
                    }
                    @for row in &rows { tr { @for cell in row { td { (cell) } } } }
                }
                h2 { "IOPS" }
                (PreEscaped(rate?))
                h2 { "Bandwidth" }
                (PreEscaped(bandwidth?))
                h2 { "Latency over time" }
                (PreEscaped(latency(job)?))
                h2 { "Latency by percentile" }
                (PreEscaped(percentiles(job)?))
                @if job.phases.len() > 1 {
                    h2 { "Latency against IOPS" }
                    (PreEscaped(sweep(job)?))
                }
                p.note {
                    "Latencies are the driver's: from submission to completion seen. "
                    "Phases follow each other from left to right. " (TOOL)
                }
            }
        }
    })
}

/// The whole seconds of a report: the last one is cut short.
fn whole(report: &IoworkerReport) -> &[Second] {
    let count = usize::try_from(report.elapsed.as_secs()).unwrap_or(usize::MAX);
    let seconds = report.seconds.as_slice();
    seconds.get(..count.max(1)).unwrap_or(seconds)
}

/// All seconds of all phases, each at its time.
fn seconds(job: &JobReport) -> impl Iterator<Item = (f64, &Second)> {
    let all = job.phases.iter().flat_map(|phase| whole(&phase.total));
    (0_u32..).map(f64::from).zip(all)
}

fn chart<'a>(y: &'a str, label: fn(f64) -> String) -> Chart<'a> {
    Chart {
        x: "seconds",
        y,
        log_x: false,
        log_y: false,
        label,
        label_x: |value| format!("{value:.0}"),
        marked: false,
    }
}

fn over_time(
    y: &str,
    label: fn(f64) -> String,
    job: &JobReport,
    value: fn(&Second) -> f64,
) -> Result<String> {
    let points = seconds(job)
        .map(|(at, second)| (at, value(second)))
        .collect();
    let name = y.to_owned();
    draw(&chart(y, label), &[Line { name, points }])
}

fn latency(job: &JobReport) -> Result<String> {
    let line = |name: &str, value: fn(&Second) -> u64| Line {
        name: name.to_owned(),
        points: seconds(job)
            .filter(|(_, second)| second.commands() > 0)
            .map(|(at, second)| (at, value(second).max(1) as f64))
            .collect(),
    };
    let lines = [
        line("mean", Second::latency_ns_mean),
        line("p99", |second| second.latency_ns_p99),
        line("max", |second| second.latency_ns_max),
    ];
    let chart = Chart {
        log_y: true,
        ..chart("latency", nanoseconds)
    };
    draw(&chart, &lines)
}

/// Latency by how many of a command's kind are slower.
fn percentiles(job: &JobReport) -> Result<String> {
    let mut lines = Vec::new();
    for phase in &job.phases {
        for (kind, tally) in kinds(&phase.total) {
            let steps = (0..=50).map(|step| 1.0 - 10_f64.powf(-f64::from(step) / 10.0));
            let most = tally.commands as f64;
            let steps = steps.filter(|quantile| (1.0 - quantile) * most >= 1.0);
            let points = steps.map(|quantile| {
                let latency_ns = tally.latency_ns.value_at_quantile(quantile);
                (1.0 / (1.0 - quantile), latency_ns.max(1) as f64)
            });
            lines.push(Line {
                name: format!("{} {kind}", phase.name).trim().to_owned(),
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

fn sweep(job: &JobReport) -> Result<String> {
    let line = |name: &str, quantile: f64| Line {
        name: name.to_owned(),
        points: (job.phases.iter())
            .map(|phase| {
                let latency_ns = phase.total.latency_ns().value_at_quantile(quantile);
                (phase.total.iops().max(1.0), latency_ns.max(1) as f64)
            })
            .collect(),
    };
    let mut lines = [line("p50", 0.5), line("p99", 0.99), line("p99.9", 0.999)];
    for line in &mut lines {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let chart = Chart {
        x: "IOPS",
        log_x: true,
        log_y: true,
        label_x: si,
        marked: true,
        ..chart("latency", nanoseconds)
    };
    draw(&chart, &lines)
}

fn si(value: f64) -> String {
    match value {
        0.0..1e3 => format!("{value:.0}"),
        1e3..1e6 => format!("{}k", (value / 1e2).round() / 1e1),
        _ => format!("{}M", (value / 1e4).round() / 1e2),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a label"
)]
fn bytes(value: f64) -> String {
    format!("{}/s", size(value as u64))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a label"
)]
fn nanoseconds(value: f64) -> String {
    time(value as u64)
}
