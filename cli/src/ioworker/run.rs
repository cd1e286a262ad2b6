//! Runs a job, with a line that tells how it goes.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use driver::ioworker::{Ioworker, IoworkerReport, Live, run_together};
use driver::transport::Transport;
use driver::{Controller, ControllerOptions, DriverError, Sequence};
use indicatif::ProgressBar;
use serde::Serialize;
use traces::{Clock, MonotonicClock, Tap};

use super::job::{Job, Phase};
use super::record::RecordPlan;
use super::verify;
use crate::device::{Device, size};
use crate::stop;

/// The line is renewed this often.
const LINE_NS: u64 = 200_000_000;

/// What came of a job.
#[derive(Debug, Serialize)]
pub(super) struct JobReport {
    pub(super) job: String,
    pub(super) device: String,
    pub(super) model: String,
    pub(super) phases: Vec<PhaseReport>,
    /// What went wrong.
    pub(super) failures: Vec<String>,
}

/// What came of a phase.
#[derive(Debug, Serialize)]
pub(super) struct PhaseReport {
    pub(super) name: String,
    /// All workers together.
    pub(super) total: IoworkerReport,
    pub(super) workers: Vec<WorkerReport>,
}

/// What came of a worker.
#[derive(Debug, Serialize)]
pub(super) struct WorkerReport {
    pub(super) name: String,
    pub(super) report: IoworkerReport,
}

impl JobReport {
    /// Whether nothing failed.
    pub(super) fn is_success(&self) -> bool {
        self.failures.is_empty() && self.phases.iter().all(|phase| phase.total.errors() == 0)
    }
}

/// Runs the job.
pub(super) fn run(
    device: &Device,
    mut job: Job,
    monitor: Option<&Path>,
    record: Option<&RecordPlan>,
) -> Result<JobReport> {
    let clock = MonotonicClock::start();
    let workers = job.phases.iter().flat_map(|phase| &phase.workers);
    let options = ControllerOptions {
        weighted_round_robin: workers.into_iter().any(|worker| worker.options.qprio != 0),
        ..ControllerOptions::default()
    };
    let mut controller = device.open_as(options, clock)?;
    let _server = match monitor {
        None => None,
        Some(path) => Some(crate::monitor::start(path, [&mut controller], clock)?),
    };
    verify::share(&mut job, &mut controller)?;
    let mut result = JobReport {
        job: job.name,
        device: device.to_string(),
        model: controller.info().model.clone(),
        phases: Vec::new(),
        failures: Vec::new(),
    };
    let stopped = Arc::new(Live::default());
    let flag = Arc::clone(&stopped);
    stop::on_signal(1, move |_| flag.stop())?;
    let mut runner = Runner {
        controller: &mut controller,
        stopped: &stopped,
        sequence: Sequence::new(),
        clock,
    };
    match record {
        None => runner.run(job.phases, &mut result, &())?,
        Some(plan) => {
            let (handle, tap) = plan.start(runner.controller.info(), &result.job, clock)?;
            let ran = runner.run(job.phases, &mut result, &tap);
            // The load's report is worth having without its recording.
            if let Err(error) = handle.stop() {
                result.failures.push(error.to_string());
            }
            ran?;
        }
    }
    // The failures tell of a device that has gone; it need not be told twice.
    if let Err(error) = controller.shutdown() {
        log::warn!("{error}");
    }
    Ok(result)
}

/// What all phases run on.
struct Runner<'a, T: Transport> {
    controller: &'a mut Controller<T, MonotonicClock>,
    stopped: &'a Live,
    /// Numbers the commands of all workers.
    sequence: Sequence,
    clock: MonotonicClock,
}

impl<T: Transport> Runner<'_, T> {
    /// Runs the phases; `tap` is shown all their commands.
    fn run<P: Tap + Clone + Send>(
        &mut self,
        phases: Vec<Phase>,
        result: &mut JobReport,
        tap: &P,
    ) -> Result<()> {
        for phase in phases {
            if self.stopped.is_stopped() || !result.failures.is_empty() {
                break;
            }
            let name = phase.name.clone();
            let done = self.run_phase(phase, &mut result.failures, tap);
            let done = done.with_context(|| match name.as_str() {
                "" => result.device.clone(),
                name => format!("{}, phase {name}", result.device),
            })?;
            result.phases.extend(done);
        }
        Ok(())
    }

    fn run_phase<P: Tap + Clone + Send>(
        &mut self,
        phase: Phase,
        failures: &mut Vec<String>,
        tap: &P,
    ) -> Result<Option<PhaseReport>> {
        let Self {
            controller,
            stopped,
            clock,
            ..
        } = self;
        let mut workers = Vec::with_capacity(phase.workers.len());
        let mut names = Vec::with_capacity(phase.workers.len());
        for worker in phase.workers {
            let (tap, sequence) = (tap.clone(), self.sequence.clone());
            let made = Ioworker::create_with_tap(controller, worker.options, tap, sequence);
            workers.push(made.with_context(|| worker.name.clone())?);
            names.push(worker.name);
        }
        let queues: Vec<_> = workers.iter().map(Ioworker::queue).collect();
        let results = watch(workers, &phase.name, stopped, *clock)?;
        let mut reports = Vec::with_capacity(names.len());
        for (name, result) in names.into_iter().zip(results) {
            match result {
                Ok(report) => reports.push(WorkerReport { name, report }),
                Err(error) => failures.push(format!("{name}: {error}")),
            }
        }
        if failures.is_empty() {
            for queue in queues {
                controller.delete_queue_pair(queue)?;
            }
        }
        let Some(mut total) = reports.first().map(|first| first.report.clone()) else {
            return Ok(None);
        };
        for worker in reports.iter().skip(1) {
            total.merge(&worker.report);
        }
        Ok(Some(PhaseReport {
            name: phase.name,
            total,
            workers: reports,
        }))
    }
}

/// Runs workers until they are done, and shows how they do.
fn watch<P: Tap + Send>(
    workers: Vec<Ioworker<P>>,
    phase: &str,
    stopped: &Live,
    clock: MonotonicClock,
) -> Result<Vec<Result<IoworkerReport, DriverError>>> {
    let lives: Vec<_> = workers.iter().map(Ioworker::live).collect();
    let line = ProgressBar::new_spinner().with_message(phase.to_owned());
    let results = thread::scope(|scope| {
        let together = thread::Builder::new().name("ioworkers".into());
        let together = together.spawn_scoped(scope, || run_together(workers, &clock))?;
        let mut before = (clock.now_ns(), 0, 0);
        while !together.is_finished() {
            clock.wait_until(before.0 + LINE_NS);
            if stopped.is_stopped() {
                lives.iter().for_each(|live| live.stop());
            }
            before = show(&line, phase, &lives, before, clock);
        }
        together
            .join()
            .map_err(|_| std::io::Error::other("a worker panicked"))
    });
    line.finish_and_clear();
    results.context("cannot run the workers")
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates for people to read"
)]
/// Renews the line; returns time, commands and bytes so far.
fn show(
    line: &ProgressBar,
    phase: &str,
    lives: &[Arc<Live>],
    before: (u64, u64, u64),
    clock: MonotonicClock,
) -> (u64, u64, u64) {
    let now_ns = clock.now_ns();
    let took = Duration::from_nanos(now_ns.saturating_sub(before.0)).as_secs_f64();
    let commands: u64 = lives.iter().map(|live| live.commands()).sum();
    let bytes: u64 = lives.iter().map(|live| live.bytes()).sum();
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / took.max(1e-3);
    line.set_message(format!(
        "{phase} {commands} commands, {:.0} IOPS, {}/s",
        rate(commands, before.1),
        size(rate(bytes, before.2) as u64)
    ));
    line.tick();
    (now_ns, commands, bytes)
}
