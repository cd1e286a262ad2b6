//! `--monitor SOCKET`: what goes on, for scripts that look at it from outside.

use std::path::Path;

use anyhow::Result;
use driver::Controller;
use driver::monitor::{Monitor, MonitorServer};
use driver::transport::Transport;
use traces::{Clock as _, MonotonicClock, Start};

use crate::terminal;

/// Shows `controllers` on the socket at `path`, until the server is dropped.
pub(crate) fn start<'c, T: Transport + 'c>(
    path: &Path,
    controllers: impl IntoIterator<Item = &'c mut Controller<T, MonotonicClock>>,
    clock: MonotonicClock,
) -> Result<MonitorServer> {
    let monitor = Monitor::new(Start {
        unix_ns: terminal::unix_ns(),
        clock_ns: clock.now_ns(),
    });
    for controller in controllers {
        controller.watch(&monitor);
    }
    Ok(MonitorServer::start(path, monitor, clock)?)
}
