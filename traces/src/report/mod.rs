//! A trace as one page: an HTML file with charts that zoom, which needs no
//! other file and no network.
//!
//! ```text
//!   Reader --twice--> Gathered --JSON, base64--> page.html: page.css, page.js
//! ```
//!
//! Memory and the page are bounded whatever the length of the trace: what is
//! over time is in [`BINS`] bins, and of the commands on the map a sample is
//! taken where there are more than [`POINTS_MAX`], evenly, which the page says.

mod gather;
#[cfg(test)]
mod tests;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::gather::Gathered;
use crate::stats::Content;
use crate::summary::Latency;
use crate::{Header, Reader, Summary, TraceError};

/// Bins over time.
pub const BINS: usize = 1200;
/// Commands on the map at most.
pub const POINTS_MAX: u64 = 100_000;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page of the trace `reader`, with this title. `progress` is told how many
/// records were read, now and then and at the end.
///
/// # Errors
/// As [`Reader::block`].
pub fn page(reader: &Reader, title: &str, progress: impl FnMut(u64)) -> Result<String, TraceError> {
    let summary = reader.summary()?;
    let gathered = Gathered::of(reader, &summary, progress)?;
    Ok(markup(reader.header(), &summary, &gathered, title).into_string())
}

fn markup(header: &Header, summary: &Summary, gathered: &Gathered, title: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                (facts(header, summary))
                @if summary.commands > 0 { (charts(gathered)) } @else {
                    p.note { "The trace has no commands." }
                }
                @if summary.commands > 0 {
                    h2 { "Commands" }
                    (opcodes(summary))
                    h2 { "Queues" }
                    (queues(summary))
                }
                @if let Some(content) = &gathered.content {
                    h2 { "What was written" }
                    (written(content))
                }
                @if !gathered.statuses.is_empty() {
                    h2 { "Errors" }
                    (statuses(gathered))
                }
                noscript { p.note { "The charts need JavaScript; the tables do not." } }
                script type="application/json" id="data" { (PreEscaped(gathered.json())) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn facts(header: &Header, summary: &Summary) -> Markup {
    let device = &header.device;
    let names = [
        ("Model", &device.model),
        ("Serial number", &device.serial),
        ("Firmware", &device.firmware),
        ("Written by", &header.tool),
    ];
    html! {
        dl {
            @for (what, name) in names {
                @if !name.is_empty() { dt { (what) } dd { (name) } }
            }
            @for it in &header.namespaces {
                dt { "Namespace " (it.id) }
                dd { (bytes(it.bytes())) ", blocks of " (it.block_bytes) " bytes" }
            }
            @for (key, value) in &header.labels { dt { (key) } dd { (value) } }
            dt { "Span" } dd { (time(summary.span_ns())) }
            dt { "Commands" } dd { (summary.commands) }
            @if summary.lost > 0 { dt { "Lost" } dd.bad { (commands(summary.lost)) } }
        }
    }
}

fn charts(gathered: &Gathered) -> Markup {
    let sampled = gathered.stride > 1;
    html! {
        p.tools {
            button id="reset" type="button" { "Whole trace" }
            span.note {
                "Drag to zoom, on the map both ways; double-click, Escape or 0 for the whole. \
                 Arrow keys move, + and - zoom."
            }
        }
        h2 { "Addresses over time" }
        canvas.chart.map id="map" tabindex="0" aria-label="Addresses over time" {}
        @if sampled {
            p.note { "One command in " (gathered.stride) " is drawn." }
        }
        h2 { "Commands a second" }
        canvas.chart id="iops" aria-label="Commands a second over time" {}
        h2 { "Bandwidth" }
        canvas.chart id="bandwidth" aria-label="Bandwidth over time" {}
        @if gathered.completed {
            h2 { "Latency" }
            canvas.chart id="latency" aria-label="Latency over time" {}
            h2 { "Commands in flight" }
            canvas.chart id="depth" aria-label="Commands in flight over time" {}
            h2 { "How long commands took" }
            canvas.chart id="spread" aria-label="Distribution of latency" {}
        } @else {
            p.note { "The trace has no completions, so that nothing is known of latency." }
        }
        h2 { "Lengths" }
        canvas.chart id="sizes" aria-label="Distribution of lengths" {}
        div id="tip" role="status" {}
    }
}

fn opcodes(summary: &Summary) -> Markup {
    let of = |latency: &Option<Latency>, pick: fn(&Latency) -> u64| {
        latency.as_ref().map_or("-".to_owned(), |it| time(pick(it)))
    };
    html! {
        div.wide { table {
            tr {
                @for head in ["", "commands", "errors", "data", "p50", "p99", "p99.9", "max"] {
                    th { (head) }
                }
            }
            @for it in &summary.opcodes {
                tr {
                    td { (it.name) @if it.admin { " (admin)" } }
                    td { (it.commands) }
                    td { (it.errors) }
                    td { @if it.bytes > 0 { (bytes(it.bytes)) } @else { "-" } }
                    td { (of(&it.latency, |it| it.p50_ns)) }
                    td { (of(&it.latency, |it| it.p99_ns)) }
                    td { (of(&it.latency, |it| it.p999_ns)) }
                    td { (of(&it.latency, |it| it.max_ns)) }
                }
            }
        } }
    }
}

fn queues(summary: &Summary) -> Markup {
    html! {
        div.wide { table {
            tr { th { "" } th { "commands" } }
            @for (queue, commands) in &summary.queues {
                tr { td { "Queue " (queue) } td { (commands) } }
            }
        } }
    }
}

fn statuses(gathered: &Gathered) -> Markup {
    html! {
        div.wide { table {
            tr { th { "" } th { "commands" } }
            @for (status, commands) in &gathered.statuses {
                tr { td { (status) } td { (commands) } }
            }
        } }
    }
}

/// What was written, block by block.
fn written(content: &Content) -> Markup {
    let share = |blocks: u64| format!("{:.1} %", percent(blocks, content.blocks));
    html! {
        p { (bytes(content.bytes)) " in " (content.blocks) " blocks: " (content.line()) "." }
        @if content.writes_without > 0 {
            p.note { "The trace does not tell this of " (commands(content.writes_without)) "." }
        }
        div.wide { table {
            tr { th { "A block packs to" } th { "blocks" } th { "" } }
            @for (sixteenths, blocks) in (0_u64..).zip(content.packed_sixteenths) {
                @if blocks > 0 {
                    tr {
                        td {
                            @match sixteenths {
                                0 => "zeroes",
                                16 => "does not pack",
                                _ => { (sixteenths) "/16" }
                            }
                        }
                        td { (blocks) }
                        td { (share(blocks)) }
                    }
                }
            }
        } }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// How many commands, for people.
fn commands(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} command{plural}")
}

/// Bytes, for people.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let unit = UNITS.get(unit).copied().unwrap_or("");
    if value.fract() == 0.0 {
        format!("{value} {unit}")
    } else {
        format!("{value:.2} {unit}")
    }
}

/// A time, for people.
fn time(ns: u64) -> String {
    if ns < 1_000 {
        return format!("{ns}ns");
    }
    format!("{:.2?}", std::time::Duration::from_nanos(ns))
}
