//! A replay in a simulation.

use std::convert::Infallible;

use anyhow::Result;
use replayer::{AllowWrite, Replay, ReplayOptions, Report, TraceFacts};
use traces::{Header, Record};

use super::Device;
use super::trace::{Seen, seen};

/// What came of a replay.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What the replayer says.
    pub report: Report,
    /// What the device saw: the judge.
    pub seen: Vec<Seen>,
    /// The device's whole trace, in the order of completion.
    pub device_side: Vec<Record>,
}

/// Options that let a replay write.
#[must_use]
pub fn options() -> ReplayOptions {
    let mut options = ReplayOptions::default();
    options.allow_write = Some(AllowWrite::VirtualDevice);
    options
}

/// The facts of `records`.
#[must_use]
pub fn facts(header: &Header, records: &[Record]) -> TraceFacts {
    match TraceFacts::scan_extents(header, infallible(records)) {
        Ok(facts) => facts,
        Err(never) => match never {},
    }
}

/// `records` as a reader would give them.
pub fn infallible(records: &[Record]) -> impl Iterator<Item = Result<Record, Infallible>> + '_ {
    records.iter().cloned().map(Ok)
}

/// Brings `device` up, replays `records` of a device that `header` describes,
/// and shuts the device down.
///
/// # Errors
///
/// [`replayer::ReplayError`] where the replay could not start,
/// [`driver::DriverError`] where the device could not be brought up or shut
/// down.
pub fn replay(
    device: &Device,
    header: &Header,
    records: &[Record],
    options: ReplayOptions,
) -> Result<Replayed> {
    let facts = facts(header, records);
    let mut controller = device.bring_up()?;
    drop(device.take_records());
    let replay = Replay::new(&facts, options);
    let report = replay.run(&mut controller, &device.clock(), infallible(records))?;
    controller.shutdown()?;
    let device_side = device.take_records();
    Ok(Replayed {
        report,
        seen: seen(&device_side),
        device_side,
    })
}
