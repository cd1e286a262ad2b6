//! The report: one HTML file that needs no other and no network.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use traces::Reader;

use super::kernel_counters::Agreement;
use crate::device::size;
use crate::trace::duration;

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 2em auto; padding: 0 1em }
h1, h2 { line-height: 1.2; font-weight: 600 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: .25em 1em; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left }
pre { background: #f6f6f4; padding: 1em; overflow-x: auto; font-size: 13px; line-height: 1.35 }
img { max-width: 100%; border: 1px solid #ddd }
.note { color: #666; font-size: 14px }
.bad { color: #b00020; font-weight: 600 }
";

/// What the report is made of.
pub(super) struct Page<'a> {
    /// The recording.
    pub(super) trace: &'a Reader,
    /// The size of its packed form.
    pub(super) packed_bytes: u64,
    /// What the guest's kernel counted, where there was one.
    pub(super) agreement: Option<&'a Agreement>,
    /// The replay.
    pub(super) replayed: &'a replayer::Report,
    /// The recording, and both.
    pub(super) pictures: [&'a Path; 2],
}

impl Page<'_> {
    /// Writes the page to `path`.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let page = self.markup()?.into_string();
        fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
    }

    fn markup(&self) -> Result<Markup> {
        let [recorded, both] = self.pictures;
        let (recorded, both) = (embed(recorded)?, embed(both)?);
        Ok(html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    title { "vssd: record and replay" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { "Record and replay, side by side" }
                    (self.facts()?)
                    @if let Some(agreement) = self.agreement {
                        h2 { "What the guest's kernel counted, and what the trace has" }
                        (counts(agreement))
                    }
                    h2 { "The recording" }
                    img src=(recorded) alt="addresses, IOPS, bandwidth and latency over time";
                    h2 { "The replay" }
                    pre { (self.replayed) }
                    img src=(both) alt="recording and replay in one picture";
                    p.note {
                        "Latencies in the table are the driver's: from submission to completion "
                        "seen. Those in the picture, and its pacing error, are the two virtual "
                        "SSDs', which look for commands less often the longer none came."
                    }
                }
            }
        })
    }

    fn facts(&self) -> Result<Markup> {
        let summary = self.trace.summary()?;
        let header = self.trace.header();
        #[expect(clippy::cast_precision_loss, reason = "for a person")]
        let each = self.packed_bytes as f64 / summary.commands.max(1) as f64;
        Ok(html! {
            table {
                (fact("Drive", &format!("{}, serial {}", header.device.model, header.device.serial)))
                @for (name, value) in &header.labels {
                    (fact(name, value))
                }
                (fact("Recorded", &duration(summary.span_ns())))
                (fact("Commands", &summary.commands.to_string()))
                (fact("Read, written, discarded", &format!(
                    "{}, {}, {}",
                    size(summary.read_bytes), size(summary.written_bytes), size(summary.discarded_bytes)
                )))
                (fact("Trace, packed", &format!("{}: {each:.2} bytes a command", size(self.packed_bytes))))
            }
        })
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { tr { td { (name) } td { (value) } } }
}

fn counts(agreement: &Agreement) -> Markup {
    html! {
        table {
            tr { th { "Commands" } th { "guest kernel" } th { "trace" } th { } }
            @for row in &agreement.rows {
                tr {
                    td { (row.name) }
                    td { (row.kernel) }
                    td { (row.trace) }
                    td { @if row.kernel != row.trace { span.bad { "differs" } } @else { "equal" } }
                }
            }
        }
        p.note { (agreement.note()) }
    }
}

/// A picture as a URL that holds all of it.
fn embed(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
}
