//! `--monitor SOCKET`: what goes on, for scripts that look at it from outside.

use std::path::Path;

use anyhow::Result;
use driver::Controller;
use driver::monitor::{Monitor, MonitorServer};
use driver::transport::Transport;
use traces::{Clock as _, MonotonicClock, Start};

use crate::terminal;

/// Shows `controller` on the socket at `path`, until the server is dropped.
pub(crate) fn start<T: Transport>(
    path: &Path,
    controller: &mut Controller<T, MonotonicClock>,
    clock: MonotonicClock,
) -> Result<MonitorServer> {
    let monitor = Monitor::new(Start {
        unix_ns: terminal::unix_ns(),
        clock_ns: clock.now_ns(),
    });
    controller.watch(&monitor);
    Ok(MonitorServer::start(path, monitor, clock)?)
}
