//! What goes on in a process that drives devices, for scripts and tools that
//! look at it from outside: JSON-RPC 2.0 on a Unix socket.
//!
//! ```text
//!   Controller --watch--> Monitor <--answer-- MonitorServer <-- socket, its owner only
//!   QueuePair's CmdLog ------^
//! ```
//!
//! A drive that a user-space driver has is one that the kernel's tools do not
//! see any more; this is where to ask instead. The methods are those that
//! clients of pynvme's socket know:
//!
//! | method | parameters | result |
//! |---|---|---|
//! | `list_all_qpair` | none | for each queue pair, an object with `ctrlr`, `qid` (from 1, the admin queue's), `outstanding`, `qpair` (its handle) and `model` |
//! | `get_iostat` | none | logical blocks and commands per second of all I/O queue pairs, since it was asked last |
//! | `get_cmdlog` | the handle | the last commands, the newest first, and their completions, as text |
//!
//! Nothing here is on the way of a command: a monitor reads what queue pairs
//! write down anyway. There is no socket where nobody asks for one.

mod methods;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rpc::{Framing, Server};
use traces::{Clock, Start};

use crate::CmdLog;

use self::methods::Timed;

pub use rpc::ListenError as MonitorError;

/// The queue pairs of this process that are to be seen from outside.
#[derive(Debug)]
pub struct Monitor {
    start: Start,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_handle: u64,
    queues: Vec<Watched>,
    /// When rates were asked for last, and what they were counted from.
    asked_ns: u64,
    counted: Totals,
    /// What queue pairs did that are gone.
    gone: Totals,
}

#[derive(Debug)]
struct Watched {
    handle: u64,
    controller: String,
    model: String,
    block_bytes: u32,
    log: CmdLog,
}

/// What I/O queue pairs have done so far.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    commands: u64,
    blocks: u64,
}

impl Watched {
    fn totals(&self) -> Totals {
        if self.log.queue().is_admin() {
            return Totals::default();
        }
        Totals {
            commands: self.log.completed(),
            blocks: self.log.bytes() / u64::from(self.block_bytes.max(1)),
        }
    }
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.commands = self.commands.saturating_add(other.commands);
        self.blocks = self.blocks.saturating_add(other.blocks);
    }
}

/// A queue pair that is seen, until this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    monitor: Arc<Monitor>,
    handle: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.monitor.with(|state| {
            let Some(index) = (state.queues.iter()).position(|queue| queue.handle == self.handle)
            else {
                return;
            };
            let queue = state.queues.remove(index);
            state.gone.add(queue.totals());
        });
    }
}

impl Monitor {
    /// A monitor of nothing yet. `start` tells which time of the controllers'
    /// clock is which time of day.
    #[must_use]
    pub fn new(start: Start) -> Arc<Self> {
        Arc::new(Self {
            start,
            state: Mutex::new(State {
                next_handle: 1,
                asked_ns: start.clock_ns,
                ..State::default()
            }),
        })
    }

    /// Shows the queue pair of `log`.
    pub(crate) fn watch(
        self: &Arc<Self>,
        controller: &str,
        model: &str,
        block_bytes: u32,
        log: CmdLog,
    ) -> Watch {
        let handle = self.with(|state| {
            let handle = state.next_handle;
            state.next_handle += 1;
            state.queues.push(Watched {
                handle,
                controller: controller.to_owned(),
                model: model.to_owned(),
                block_bytes,
                log,
            });
            handle
        });
        Watch {
            monitor: Arc::clone(self),
            handle,
        }
    }

    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        // What is guarded is whole after every statement.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves a [`Monitor`] on a socket, in threads of its own, until it is dropped.
#[derive(Debug)]
pub struct MonitorServer {
    _server: Server,
}

impl MonitorServer {
    /// Listens on `path`, which only its owner can connect to. `clock` is the
    /// controllers' clock.
    ///
    /// # Errors
    ///
    /// [`MonitorError`], where there is something at `path`, or nothing can be.
    pub fn start(
        path: &Path,
        monitor: Arc<Monitor>,
        clock: impl Clock + Send + Sync + 'static,
    ) -> Result<Self, MonitorError> {
        let methods = Timed {
            monitor,
            now_ns: move || clock.now_ns(),
        };
        // Clients of pynvme's socket stumble over what stands between answers.
        Server::start(path, methods, Framing::Bare).map(|server| Self { _server: server })
    }
}

#[cfg(test)]
mod tests;
