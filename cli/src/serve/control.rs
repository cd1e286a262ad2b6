//! `--control SOCKET`: looking at a drive and steering it while it works.
//!
//! | method | parameters | result |
//! |---|---|---|
//! | `stats` | none | all numbers since the start, by queue and kind of command: [`Stats`] |
//! | `record_status` | none | [`RecordStatus`] |
//! | `record_start` | `file`, and `overwrite`, `resolution_ns`, `payload`, `labels` | as `record_status` |
//! | `record_stop` | none | what the trace has: [`Recorded`] |
//! | `snapshot` | `file` | what stays, and where it goes on: [`Snapped`] |
//! | `resize` | `bytes` | how large it was and is: [`Resized`](crate::live::Resized) |
//!
//! Paths are the server's. One change goes on at a time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use recorder::{Recorder, RecorderOptions};
use rpc::{Framing, Methods, Refusal, Server};
use serde::Deserialize;
use serde_json::Value;
use traces::Resolution;
use vssd::media::Qcow2;

use super::Label;
use super::desk::{Ask, Desk, Running};
use super::payload::PayloadChoice;
use super::plan::{Existing, RecordPlan};
use super::stats;
use crate::live::{Recorded, Snapped};

/// Serves `desk` on the socket at `path`. `state` tells where a drive on an image
/// keeps what it remembers.
pub(super) fn start(
    path: &Path,
    desk: &Arc<Desk>,
    state: StatePlace,
) -> Result<Server, rpc::ListenError> {
    let control = Control {
        desk: Arc::clone(desk),
        state,
        one: Mutex::new(()),
    };
    Server::start(path, control, Framing::Lines)
}

/// Where a drive keeps what it remembers beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatePlace {
    /// Beside the image, under its name.
    Beside,
    /// In a file that was named, or nowhere: that stays.
    Fixed,
}

struct Control {
    desk: Arc<Desk>,
    state: StatePlace,
    /// Held while something is being changed.
    one: Mutex<()>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordStart {
    file: PathBuf,
    #[serde(default)]
    overwrite: bool,
    #[serde(default)]
    resolution_ns: Option<u64>,
    #[serde(default)]
    payload: PayloadChoice,
    #[serde(default)]
    labels: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotTo {
    file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResizeTo {
    bytes: u64,
}

impl Methods for Control {
    fn call(&self, method: &str, params: &Value) -> Result<Value, Refusal> {
        match method {
            "stats" => told(&stats::stats(&self.desk)),
            "record_status" => told(&stats::record_status(&self.desk)),
            "record_start" => self.record_start(parsed(method, params)?),
            "record_stop" => self.record_stop(),
            "snapshot" => self.snapshot(&parsed::<SnapshotTo>(method, params)?.file),
            "resize" => self.resize(parsed::<ResizeTo>(method, params)?.bytes),
            _ => Err(Refusal::new(
                Refusal::METHOD_NOT_FOUND,
                format!(
                    "there is no method {method}: call stats, record_status, record_start, \
                     record_stop, snapshot or resize"
                ),
            )),
        }
    }
}

fn parsed<T: for<'d> Deserialize<'d>>(method: &str, params: &Value) -> Result<T, Refusal> {
    T::deserialize(params).map_err(|error| {
        let message = format!("{method} takes an object with other members: {error}");
        Refusal::new(Refusal::INVALID_PARAMS, message)
    })
}

fn told(result: &impl serde::Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(result).map_err(no)
}

fn no(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(Refusal::FAILED, why.to_string())
}

impl Control {
    /// Has the drive to oneself.
    fn alone(&self) -> Result<MutexGuard<'_, ()>, Refusal> {
        match self.one.try_lock() {
            Ok(guard) => Ok(guard),
            // What it guards is nothing.
            Err(TryLockError::Poisoned(error)) => Ok(PoisonError::into_inner(error)),
            Err(TryLockError::WouldBlock) => {
                Err(no("another client changes something just now: try again"))
            }
        }
    }

    fn record_start(&self, wanted: RecordStart) -> Result<Value, Refusal> {
        let _alone = self.alone()?;
        let resolution = match wanted.resolution_ns {
            None => Resolution::default(),
            Some(ns) => [
                Resolution::Nanosecond,
                Resolution::HundredNanoseconds,
                Resolution::Microsecond,
            ]
            .into_iter()
            .find(|resolution| resolution.ns() == ns)
            .ok_or_else(|| {
                let message = "resolution_ns is 1, 100 or 1000";
                Refusal::new(Refusal::INVALID_PARAMS, message)
            })?,
        };
        let plan = RecordPlan {
            path: wanted.file,
            existing: Existing::from_overwrite(wanted.overwrite),
            resolution,
            payload: wanted.payload,
            labels: (wanted.labels.into_iter())
                .map(|(name, value)| Label { name, value })
                .collect(),
        };
        plan.check().map_err(no)?;
        self.clear_failed()?;
        let labels = plan.labels.clone();
        let header = self
            .desk
            .ask(|reply| Ask::Header(labels, plan.payload, reply));
        let header = header.map_err(no)?;
        let options = RecorderOptions::default()
            .overwrite(plan.existing == Existing::Overwrite)
            .resolution(plan.resolution);
        let (handle, tap) = Recorder::start(&plan.path, &header, options).map_err(no)?;
        let opened = self.desk.ask(|reply| Ask::Open(tap, reply));
        let given = match opened.and_then(|opened| opened) {
            Ok(given) => given,
            Err(why) => {
                drop(handle);
                // It is this call's, and empty.
                drop(std::fs::remove_file(&plan.path));
                return Err(no(why));
            }
        };
        log::info!("recording into {}", plan.path.display());
        *self.desk.running() = Some(Running {
            handle,
            path: plan.path,
            given,
            since_unix_ns: header.start.unix_ns,
            since_ns: header.start.clock_ns,
            of_session: false,
        });
        told(&stats::record_status(&self.desk))
    }

    /// Refuses where a recording goes on; puts one away that has failed.
    fn clear_failed(&self) -> Result<(), Refusal> {
        let running = self.desk.running();
        let Some(goes_on) = &*running else {
            return Ok(());
        };
        if goes_on.handle.is_recording() {
            return Err(no(format!(
                "the drive is being recorded into {} already: stop that first (record stop)",
                goes_on.path.display()
            )));
        }
        drop(running);
        self.close().map(drop)
    }

    /// Has the worker record no more; the recording, where there is one yet.
    fn close(&self) -> Result<Option<(Running, super::desk::Closed)>, Refusal> {
        let closed = self.desk.ask(Ask::Close).map_err(no)?;
        Ok(self.desk.running().take().map(|running| (running, closed)))
    }

    fn record_stop(&self) -> Result<Value, Refusal> {
        let _alone = self.alone()?;
        if self.desk.running().is_none() {
            return Err(no(
                "nothing is being recorded: `record start FILE` begins that",
            ));
        }
        let Some((running, closed)) = self.close()? else {
            return Err(no("the recording has just ended with its session"));
        };
        let ended = running.handle.stop();
        let recorded = ended.as_ref().map(|summary| Recorded {
            file: summary.path.clone(),
            commands: summary.totals.commands,
            unfinished: closed.unfinished,
            lost: summary.totals.lost,
            bytes: summary.bytes,
        });
        let answer = recorded.map_err(no).and_then(|recorded| told(&recorded));
        super::recorded::tell_end(ended);
        answer
    }

    fn resize(&self, bytes: u64) -> Result<Value, Refusal> {
        let _alone = self.alone()?;
        let resized = self.desk.ask(|reply| Ask::Grow(bytes, reply));
        told(&resized.and_then(|resized| resized).map_err(no)?)
    }

    fn snapshot(&self, file: &Path) -> Result<Value, Refusal> {
        let _alone = self.alone()?;
        let disk = self.desk.ask(Ask::Disk).map_err(no)?;
        let Some(base) = disk.image else {
            return Err(no(
                "the drive is memory, of which no snapshot can be kept: serve an image",
            ));
        };
        if disk.read_only {
            return Err(no(format!(
                "{} is served read-only, and stays as it is without a snapshot",
                base.path.display()
            )));
        }
        let store = (self.state == StatePlace::Beside).then(|| super::state_beside(file));
        for path in [Some(file), store.as_deref()].into_iter().flatten() {
            if path.symlink_metadata().is_ok() {
                let path = path.display();
                return Err(no(format!("{path} exists: name a file that does not")));
            }
        }
        Qcow2::create_on(file, disk.bytes, &base).map_err(no)?;
        let began_ns = self.desk.now_ns();
        let top = self.prepared(file).inspect_err(|_| {
            self.desk.tell(Ask::Release);
            // It is this call's, and empty.
            drop(std::fs::remove_file(file));
        })?;
        // Without an answer the file may be in use by now, and is left alone.
        let below = self
            .desk
            .ask(|reply| Ask::GoOn(Box::new(top), store, reply))
            .map_err(no)?;
        let paused_ns = self.desk.now_ns().saturating_sub(began_ns);
        let Some(below) = below else {
            drop(std::fs::remove_file(file));
            return Err(no(
                "it took too long, and the drive goes on as before: try again",
            ));
        };
        // To put it away may take a while, and is nothing to the guest.
        drop(below);
        log::info!(
            "snapshot: {} stays as it is, and the drive goes on in {}",
            base.path.display(),
            file.display()
        );
        told(&Snapped {
            snapshot: base.path.display().to_string(),
            file: file.display().to_string(),
            bytes: disk.bytes,
            serial: disk.serial,
            paused_ns,
        })
    }

    /// Has the drive stand still, and opens `file`, which builds on its image.
    fn prepared(&self, file: &Path) -> Result<Qcow2, Refusal> {
        let held = self.desk.ask(Ask::Hold).map_err(no)?;
        held.map_err(no)?;
        // What the guest is told to be on disk from now on is in this file, which
        // must not be lost.
        let directory = file.parent().filter(|path| !path.as_os_str().is_empty());
        std::fs::File::open(directory.unwrap_or(Path::new(".")))
            .and_then(|directory| directory.sync_all())
            .map_err(|error| no(format!("the directory of {}: {error}", file.display())))?;
        Qcow2::open(file, false, true).map_err(no)
    }
}
