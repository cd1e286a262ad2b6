//! The client: our driver's ioworker.

use std::path::Path;
use std::time::Duration;

use ::driver::ioworker::{IoSize, Ioworker, IoworkerOptions, IoworkerReport, Size};
use ::driver::transport::vfio_user::VfioUser;
use ::driver::{Controller, ControllerOptions};
use anyhow::{Result, ensure};
use traces::MonotonicClock;

const MEANINGLESS: &str = "commands failed: the figures would mean nothing";

/// Writes the first `bytes` of the device once, so that reads find memory that
/// is really there, then runs `options`, and reports that.
pub(crate) fn run(socket: &Path, bytes: u64, options: IoworkerOptions) -> Result<IoworkerReport> {
    let clock = MonotonicClock::start();
    let transport = VfioUser::connect(socket)?;
    let mut controller = Controller::initialise(transport, ControllerOptions::default(), clock)?;
    fill(&mut controller, bytes, &clock)?;
    let report = Ioworker::create(&mut controller, options)?.run(&clock)?;
    ensure!(report.errors() == 0, MEANINGLESS);
    controller.shutdown()?;
    Ok(report)
}

/// Writes the first `bytes` of the device once.
pub(crate) fn fill(
    controller: &mut Controller<VfioUser>,
    bytes: u64,
    clock: &MonotonicClock,
) -> Result<()> {
    let fill = IoworkerOptions {
        io_size: IoSize::One(Size::Bytes(128 << 10)),
        lba_random: 0,
        read_percentage: Some(0),
        qdepth: 8,
        io_count: Some(bytes / (128 << 10)),
        ..IoworkerOptions::default()
    };
    let report = Ioworker::create(controller, fill)?.run(clock)?;
    ensure!(report.errors() == 0, MEANINGLESS);
    Ok(())
}

/// 4 KiB random reads at this depth, for so long.
pub(crate) fn random_reads(depth: u16, seconds: u64) -> IoworkerOptions {
    IoworkerOptions {
        qdepth: depth,
        time: Some(Duration::from_secs(seconds)),
        ..IoworkerOptions::default()
    }
}
