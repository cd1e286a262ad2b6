//! The replay to one device.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use recorder::{Recorder, RecorderOptions};
use replayer::{
    End, Mapping, Outlook, Playlist, Position, Progress, Replay, Report, TimerJitter, TraceFacts,
};
use traces::{Clock as _, Header, MonotonicClock, Reader, Start};

use super::Choices;
use super::live::Live;
use super::resume::{self, Resume};
use crate::device::Device;
use crate::{terminal, trace};

/// Traces, and how they are replayed.
pub(super) struct Work<'t> {
    paths: Vec<PathBuf>,
    list: Playlist<'t>,
    /// Of a single pass.
    pass: TraceFacts,
    /// Of all passes.
    pub(super) facts: TraceFacts,
    pub(super) choices: &'t Choices,
    pub(super) clock: MonotonicClock,
}

/// Opens the traces.
pub(super) fn open(paths: &[&Path]) -> Result<Vec<Reader>> {
    paths.iter().map(|path| trace::open(path)).collect()
}

impl<'t> Work<'t> {
    /// Reads the traces once to learn what they need.
    pub(super) fn new(
        paths: &[&Path],
        readers: &'t [Reader],
        choices: &'t Choices,
    ) -> Result<Self> {
        let list = Playlist::new(readers, choices.order, choices.filter.clone())?;
        let list = if choices.wants_payload(list.has_payload())? {
            list.with_payload()
        } else {
            list
        };
        let pass = if choices.options.mapping == Mapping::Compact {
            TraceFacts::scan_extents(list.header(), list.once())?
        } else {
            TraceFacts::scan(list.header(), list.once())?
        };
        if !choices.filter.keeps_all() {
            let all = readers.iter().map(|reader| reader.totals().commands);
            let all: u64 = all.sum();
            log::info!("{} of {all} commands pass the filters", pass.commands);
        }
        Ok(Self {
            paths: paths.iter().map(|path| path.to_path_buf()).collect(),
            facts: pass.clone().repeated(choices.passes.unwrap_or(1)),
            pass,
            list,
            choices,
            clock: MonotonicClock::start(),
        })
    }

    /// What to call the traces.
    pub(super) fn name(&self) -> String {
        let names: Vec<String> = self
            .paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        names.join(", ")
    }

    /// Commands of a single pass.
    pub(super) const fn pass_commands(&self) -> u64 {
        self.pass.commands
    }

    /// What a recording of the replay says of itself.
    fn header_of_replay(&self) -> Header {
        let mut header = self.list.header().clone();
        header.tool = terminal::TOOL.to_owned();
        header.start = Start {
            unix_ns: terminal::unix_ns(),
            clock_ns: self.clock.now_ns(),
        };
        header.labels.insert("replay of".into(), self.name());
        header
    }
}

/// Replays to `device`, until it is over or `stopped` is true.
pub(super) fn one(work: &Work<'_>, device: &Device, stopped: &AtomicBool) -> Result<Report> {
    let resume = match &work.choices.resume {
        None => None,
        Some(path) => Some(Resume::open(path, &work.paths, work.choices)?),
    };
    let from = resume
        .as_ref()
        .map_or(Position::default(), Resume::position);
    let live = Live::new(work, from, None);
    let report = to(work, device, (from, stopped), &live, &mut || {})?;
    let at = report
        .resume_at
        .map(|commands| from.after(commands, work.pass.commands));
    match (&resume, at) {
        (Some(resume), Some(at)) => resume.note(at)?,
        (Some(resume), None) if report.end == End::Complete => resume.remove()?,
        (None, Some(_)) if report.end != End::Complete => {
            log::info!("it could go on from there another time: {}", resume::HINT);
        }
        _ => {}
    }
    Ok(report)
}

/// Replays to `device` from a place on; `ready` is called before the first
/// command.
pub(super) fn to(
    work: &Work<'_>,
    device: &Device,
    (from, stopped): (Position, &AtomicBool),
    live: &Live,
    ready: &mut dyn FnMut(),
) -> Result<Report> {
    let Work {
        choices,
        clock,
        list,
        ..
    } = work;
    let options = choices.options_for(device.is_real());
    let mut controller = device.open(*clock)?;
    let cannot = || format!("cannot replay {} to {device}", work.name());
    let outlook = Outlook::new(&work.facts, &options, controller.info()).with_context(cannot)?;
    log::info!("{device}: {outlook}");
    let _server = match &choices.monitor {
        None => None,
        Some(path) => Some(crate::monitor::start(path, &mut controller, *clock)?),
    };
    let mut show = |progress: &Progress| live.show(progress);
    let replay = Replay::new(&work.facts, options)
        .stop_on(stopped)
        .on_progress(&mut show)
        .on_ready(ready)
        .with_timer(TimerJitter::measure(clock));
    let records = list.play(choices.passes, from);
    let report = match &choices.record {
        None => replay.run_ahead(&mut controller, clock, records),
        Some(path) => {
            let mut header = work.header_of_replay();
            header.payload = choices.payload.info();
            let recording = RecorderOptions::default().overwrite(choices.overwrite);
            let (handle, tap) = Recorder::start(path, &header, recording)?;
            let report = replay
                .with_tap(tap)
                .run_ahead(&mut controller, clock, records);
            // The replay's report is worth having without its recording.
            if let Err(error) = handle.stop() {
                log::error!("{error}");
            }
            report
        }
    };
    live.end();
    let report = report.with_context(cannot)?;
    // The report tells of a device that has gone; it need not be told twice.
    if let Err(error) = controller.shutdown() {
        log::warn!("{error}");
    }
    Ok(report)
}
