//! Replays to several devices at the same time.

use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use indicatif::MultiProgress;
use replayer::Report;

use super::drive::{Drive, OthersDidNotStart};
use super::go::Work;
use super::live::Live;
use super::start_line::StartLine;

/// Replays to all `drives`, each on a thread of its own; they start together.
pub(super) fn replay(
    work: &Work<'_>,
    drives: Vec<Drive>,
    stopped: &AtomicBool,
) -> Vec<Result<Report>> {
    let line = StartLine::new(drives.len());
    let bars = (drives.len() > 1).then(MultiProgress::new);
    thread::scope(|scope| {
        let threads: Vec<_> = drives
            .into_iter()
            .map(|drive| {
                let whose = bars.as_ref().map(|bars| (bars, &drive.device));
                let live = Live::new(work, &drive.from, whose);
                let at = (&line, stopped);
                let builder = thread::Builder::new().name(format!("replay to {}", drive.device));
                builder.spawn_scoped(scope, move || drive.replay(work, at, &live))
            })
            .collect();
        if threads.iter().any(Result::is_err) {
            line.call_off();
        }
        let join = |thread: std::io::Result<thread::ScopedJoinHandle<'_, _>>| {
            let result = thread.context("cannot start a thread")?.join();
            result.unwrap_or_else(|_| Err(anyhow!("a replay's thread ended badly")))
        };
        threads.into_iter().map(join).collect()
    })
}

/// All reports, or why there are none: of those that could not start, what kept
/// the first is the reason.
pub(super) fn reports(results: Vec<Result<Report>>) -> Result<Vec<Report>> {
    let is_reason = |result: &Result<Report>| {
        result
            .as_ref()
            .err()
            .is_some_and(|error| !error.is::<OthersDidNotStart>())
    };
    let (reasons, others): (Vec<_>, Vec<_>) = results.into_iter().partition(is_reason);
    reasons.into_iter().chain(others).collect()
}
