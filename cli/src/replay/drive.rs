//! A device that is ready to be replayed to.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use recorder::{Recorder, RecorderHandle, RecorderOptions, RingTap};
use replayer::{Outlook, Position, Progress, Replay, ReplayOptions, Report, TimerJitter};

use super::go::Work;
use super::live::Live;
use super::start_line::StartLine;
use crate::device::{Device, Opened};
use crate::recording;

/// A device that is ready to be replayed to.
pub(super) struct Drive {
    /// Its place among the devices of the command line, from 0.
    pub(super) index: usize,
    pub(super) device: Device,
    pub(super) controller: Opened,
    options: ReplayOptions,
    /// Where the replay to it begins.
    pub(super) from: Position,
    recording: Option<Recording>,
}

/// A recording; where it is not kept, nothing of it stays.
struct Recording {
    path: PathBuf,
    handle: Option<RecorderHandle>,
    tap: RingTap,
}

/// Why a replay did not start that could have.
#[derive(Debug)]
pub(super) struct OthersDidNotStart;

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

impl Drive {
    /// Brings the device up and looks whether the replay has a place on it, from
    /// `from` on.
    pub(super) fn open(
        work: &Work<'_>,
        (index, device): (usize, &Device),
        from: Position,
    ) -> Result<Self> {
        let options = work.choices.options_for(device.is_real());
        let drive = Self {
            index,
            device: device.clone(),
            controller: device.open(work.clock)?,
            options,
            from,
            recording: None,
        };
        match Outlook::new(&work.facts, &drive.options, drive.controller.info()) {
            Ok(outlook) => log::info!("{device}: {outlook}"),
            Err(error) => {
                drive.shut_down();
                return Err(error).with_context(|| work.cannot_replay_to(device));
            }
        }
        Ok(drive)
    }

    /// Records the replay into `path`.
    pub(super) fn record(&mut self, work: &Work<'_>, path: PathBuf) -> Result<()> {
        let mut header = recording::header(self.controller.info(), work.clock);
        header.payload = work.choices.payload.info();
        header.labels = [
            ("replay of".to_owned(), work.name()),
            ("device".to_owned(), self.device.to_string()),
        ]
        .into();
        let options = RecorderOptions::default().overwrite(work.choices.overwrite);
        let (handle, tap) = Recorder::start(&path, &header, options)?;
        self.recording = Some(Recording {
            path,
            handle: Some(handle),
            tap,
        });
        Ok(())
    }

    /// Replays once all others are at `line`, until it is over or `stopped` is
    /// true.
    pub(super) fn replay(
        mut self,
        work: &Work<'_>,
        (line, stopped): (&StartLine, &AtomicBool),
        live: &Live,
    ) -> Result<Report> {
        let _leaving = Leaving(line);
        let mut has_started = false;
        let mut ready = || {
            has_started = line.arrive();
            if !has_started {
                stopped.store(true, Ordering::Relaxed);
            }
        };
        let mut show = |progress: &Progress| live.show(progress);
        let (controller, clock) = (&mut self.controller, &work.clock);
        let replay = Replay::new(&work.facts, self.options.clone())
            .stop_on(stopped)
            .on_progress(&mut show)
            .on_ready(&mut ready)
            .with_timer(TimerJitter::measure(clock));
        let records = work.play(self.from.clone());
        let report = match &mut self.recording {
            None => replay.run_ahead(controller, clock, records),
            Some(recording) => replay
                .with_tap(&mut recording.tap)
                .run_ahead(controller, clock, records),
        };
        live.end();
        let report = report.with_context(|| work.cannot_replay_to(&self.device));
        let report = match report {
            Ok(_) if !has_started => Err(OthersDidNotStart.into()),
            report => report,
        };
        if report.is_ok()
            && let Some(recording) = self.recording.take()
        {
            recording.keep(&self.device);
        }
        self.shut_down();
        report
    }

    /// Shuts the device down, so that it saves what it caches.
    pub(super) fn shut_down(mut self) {
        // A report tells of a device that has gone; it need not be told twice.
        if let Err(error) = self.controller.shutdown() {
            log::warn!("{error}");
        }
    }
}

impl Recording {
    /// The replay's report is worth having without its recording: what is wrong
    /// with that is only told.
    fn keep(mut self, device: &Device) {
        match self.handle.take().map(RecorderHandle::stop) {
            Some(Ok(summary)) => log::info!(
                "{device}: {} commands are in {}",
                summary.totals.commands,
                summary.path
            ),
            Some(Err(error)) => log::error!("{error}"),
            None => {}
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else {
            return;
        };
        // Nothing is in it, and it would be in the way of the next attempt.
        drop(handle.stop());
        if fs::symlink_metadata(&self.path).is_ok_and(|it| it.is_file()) {
            drop(fs::remove_file(&self.path));
        }
    }
}
