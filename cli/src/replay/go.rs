//! Traces, and their replay to devices.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};
use driver::monitor::MonitorServer;
use replayer::{End, Mapping, Play, Playlist, Position, Report, TraceFacts};
use traces::{MonotonicClock, Reader};

use super::drive::Drive;
use super::resume::{self, Resume};
use super::{Choices, together};
use crate::device::Device;
use crate::{recording, trace};

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

    /// All that is to be replayed, from a place on.
    pub(super) fn play(&self, from: Position) -> Play<'_, 't> {
        self.list.play(self.choices.passes, from)
    }

    /// Whether nothing is left to replay after `place`.
    pub(super) fn is_over(&self, place: &Position) -> bool {
        let passes = self.choices.passes;
        passes.is_some_and(|passes| place.passes >= passes)
    }

    /// The place after a replay from `from` on that ended with `report`.
    fn place_after(&self, from: &Position, report: &Report) -> Position {
        match &report.resume_at {
            Some(reached) => from.after(reached, self.pass.commands),
            None => Position::after_passes(self.choices.passes.unwrap_or(from.passes)),
        }
    }

    /// What a replay to `device` is that fails.
    pub(super) fn cannot_replay_to(&self, device: &Device) -> String {
        format!("cannot replay {} to {device}", self.name())
    }
}

/// Replays to all of `devices` to which something is left to replay, until it is
/// over or `stopped` is true.
pub(super) fn all(
    work: &Work<'_>,
    devices: &[Device],
    stopped: &AtomicBool,
) -> Result<Vec<(Device, Report)>> {
    let mut resume = match &work.choices.resume {
        None => None,
        Some(path) => Some(Resume::open(path, &work.paths, devices, work.choices)?),
    };
    let mut drives = Vec::new();
    let server = match prepare(work, devices, &mut resume, &mut drives) {
        Ok(server) => server,
        Err(error) => {
            drives.into_iter().for_each(Drive::shut_down);
            return Err(error);
        }
    };
    let who = drives.iter().map(|it| (it.index, it.from.clone()));
    let who: Vec<_> = who.collect();
    let results = together::replay(work, drives, stopped);
    drop(server);
    let ended = who.iter().zip(&results).filter_map(|((index, from), it)| {
        let report = it.as_ref().ok()?;
        Some((*index, work.place_after(from, report)))
    });
    let ended: Vec<_> = ended.collect();
    match &mut resume {
        Some(resume) if !ended.is_empty() => resume.end(ended, |place| work.is_over(place))?,
        None if results.iter().flatten().any(|it| it.end != End::Complete) => {
            log::info!("it could go on from there another time: {}", resume::HINT);
        }
        _ => {}
    }
    let reports = together::reports(results)?.into_iter();
    let devices = who.iter().filter_map(|(index, _)| devices.get(*index));
    Ok(devices.cloned().zip(reports).collect())
}

/// Brings the devices up into `drives`, with all that goes with them, before the
/// first command is sent to any.
fn prepare(
    work: &Work<'_>,
    devices: &[Device],
    resume: &mut Option<Resume>,
    drives: &mut Vec<Drive>,
) -> Result<Option<MonitorServer>> {
    let choices = work.choices;
    for (index, device) in devices.iter().enumerate() {
        let from = resume.as_ref().map(|resume| resume.position(index));
        let from = from.unwrap_or_default();
        if work.is_over(&from) {
            log::info!("{device}: nothing is left to replay");
            continue;
        }
        drives.push(Drive::open(work, (index, device), from)?);
    }
    if drives.is_empty() {
        bail!("nothing is left to replay: {}", resume::ANEW);
    }
    if let Some(resume) = resume {
        for drive in drives.iter() {
            resume.meet(drive.index, &drive.controller.info().serial)?;
        }
    }
    let server = match &choices.monitor {
        None => None,
        Some(path) => {
            let controllers = drives.iter_mut().map(|drive| &mut drive.controller);
            Some(crate::monitor::start(path, controllers, work.clock)?)
        }
    };
    if let Some(path) = &choices.record {
        let paths = drives
            .iter()
            .map(|it| recording::numbered(path, it.index + 1));
        let paths: Vec<_> = paths.collect();
        for path in &paths {
            recording::check(path, choices.overwrite)?;
        }
        for (drive, path) in drives.iter_mut().zip(paths) {
            drive.record(work, path)?;
        }
    }
    Ok(server)
}
