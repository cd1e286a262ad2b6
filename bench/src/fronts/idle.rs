//! What a server takes while nobody uses it.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::DISK_BYTES;
use crate::server::{Cores, Server};
use ::driver::transport::vfio_user::VfioUser;
use ::driver::{Controller, ControllerOptions};
use traces::MonotonicClock;

/// How long a pause must be for the server to go to its longest sleeps.
const SETTLE: Duration = Duration::from_secs(17);
/// For how long it is watched.
const WATCH: Duration = Duration::from_secs(5);

/// What an idle server takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Idle {
    /// Of the resident memory, what is its own, bytes; recording, with a client,
    /// but no command.
    resident_bytes: u64,
    /// Of a core, with a client that has enabled the drive and sends nothing.
    busy: f64,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "An idle server that records, with an NVMe client attached: {:.1} MiB of memory of \
             its own, {:.2} % of a core.",
            f64::from(u32::try_from(self.resident_bytes >> 10).unwrap_or(u32::MAX)) / 1024.0,
            self.busy * 100.0
        )
    }
}

/// Has a driver attach, and do nothing.
#[expect(clippy::disallowed_methods, reason = "another process is watched")]
pub(super) fn measure(vssd: &Path, cores: Cores) -> Result<Idle> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let socket = directory.path().join("idle.sock");
    let mut command = Command::new(vssd);
    command
        .args([
            "serve",
            "--no-state",
            &format!("ram:{DISK_BYTES}"),
            "--vfio-user",
        ])
        .arg(&socket)
        .arg("--record")
        .arg(directory.path().join("idle.vtr"));
    let server = Server::spawn(command, socket, cores)?;
    let transport = VfioUser::connect(server.socket())?;
    let clock = MonotonicClock::start();
    let mut controller = Controller::initialise(transport, ControllerOptions::default(), clock)?;
    std::thread::sleep(SETTLE);
    let before = server.cpu_seconds(|_| true)?;
    std::thread::sleep(WATCH);
    let after = server.cpu_seconds(|_| true)?;
    let resident_bytes = anonymous_bytes(server.id())?;
    controller.shutdown()?;
    drop(controller);
    server.stop()?;
    Ok(Idle {
        resident_bytes,
        busy: (after - before) / WATCH.as_secs_f64(),
    })
}

/// Its resident memory that no file is behind.
fn anonymous_bytes(id: u32) -> Result<u64> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("{path} has no RssAnon"))?;
    Ok(kib.parse::<u64>()? << 10)
}
