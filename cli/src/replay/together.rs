//! The same traces to several devices at the same time.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use indicatif::MultiProgress;
use replayer::{Position, Report};

use super::go::{self, Work};
use super::live::Live;
use super::start_line::StartLine;
use crate::device::Device;

/// Replays to all `devices`, each on a thread of its own; they start together.
pub(super) fn all(
    work: &Work<'_>,
    devices: &[Device],
    stopped: &AtomicBool,
) -> Result<Vec<Report>> {
    let line = StartLine::new(devices.len());
    let bars = MultiProgress::new();
    let results: Vec<Result<Report>> = thread::scope(|scope| {
        let threads: Vec<_> = devices
            .iter()
            .map(|device| {
                let (line, bars) = (&line, &bars);
                let builder = thread::Builder::new().name(format!("replay to {device}"));
                builder.spawn_scoped(scope, move || one(work, device, stopped, (line, bars)))
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
    });
    // Of those that could not start, what kept the first is the reason.
    let is_reason = |result: &Result<Report>| {
        result
            .as_ref()
            .err()
            .is_some_and(|error| !error.is::<OthersDidNotStart>())
    };
    let (reasons, others): (Vec<_>, Vec<_>) = results.into_iter().partition(is_reason);
    reasons.into_iter().chain(others).collect()
}

#[derive(Debug)]
struct OthersDidNotStart;

impl fmt::Display for OthersDidNotStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another device could not be replayed to")
    }
}

impl std::error::Error for OthersDidNotStart {}

/// Calls a start off where it goes before it has arrived.
struct Leaving<'l>(&'l StartLine);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.call_off();
    }
}

fn one(
    work: &Work<'_>,
    device: &Device,
    stopped: &AtomicBool,
    (line, bars): (&StartLine, &MultiProgress),
) -> Result<Report> {
    let _leaving = Leaving(line);
    let live = Live::new(work, Position::default(), Some((bars, device)));
    let mut is_off = false;
    let mut ready = || {
        is_off = !line.arrive();
        if is_off {
            stopped.store(true, Ordering::Relaxed);
        }
    };
    let report = go::to(
        work,
        device,
        (Position::default(), stopped),
        &live,
        &mut ready,
    )?;
    if is_off {
        return Err(OthersDidNotStart.into());
    }
    Ok(report)
}
