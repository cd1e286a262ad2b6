//! Talking to a person: logs, progress bars, closed pipes.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use log::{Level, LevelFilter};

/// This program, as the traces that it writes name it.
pub(crate) const TOOL: &str = concat!("vssd ", env!("CARGO_PKG_VERSION"));

/// Sends logs to standard error: warnings and errors by name, the rest as
/// plain lines. `RUST_LOG` overrides `verbose`.
pub(crate) fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .parse_default_env()
        .format(|out, record| match record.level() {
            Level::Error => writeln!(out, "error: {}", record.args()),
            Level::Warn => writeln!(out, "warning: {}", record.args()),
            Level::Info => writeln!(out, "{}", record.args()),
            Level::Debug | Level::Trace => writeln!(out, "[{}] {}", record.target(), record.args()),
        })
        .init();
}

/// An error with its causes, without those whose text it has already told.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// A progress bar of `length` steps on standard error; nothing where that is
/// not a terminal.
pub(crate) fn progress(length: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let template = format!(
        "{{msg:>12}} [{{bar:40}}] {{human_pos}}/{{human_len}} {unit}  {{per_sec}}  {{eta}} left"
    );
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// A bar for a download of `bytes`; nothing where standard error is not a
/// terminal.
pub(crate) fn download(bytes: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(bytes).with_message(what.to_owned());
    let template = "{msg}\n  [{bar:40}] {binary_bytes}/{binary_total_bytes}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// A bar for something that tells how far it is in percent; nothing where
/// standard error is not a terminal.
pub(crate) fn percent(what: &str) -> ProgressBar {
    let bar = ProgressBar::new(100).with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{msg:>12} [{bar:40}] {percent}%") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// The wall clock, for the header: nanoseconds since 1970, 0 before that.
#[expect(
    clippy::disallowed_methods,
    reason = "a recording says when it was made"
)]
pub(crate) fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::describe;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow!("no such file").context("cannot open a: no such file");
        assert_eq!(describe(&error), "cannot open a: no such file");
        let error = Err::<(), _>(anyhow!("no such file")).context("cannot open a");
        assert_eq!(describe(&error.unwrap_err()), "cannot open a: no such file");
    }
}
