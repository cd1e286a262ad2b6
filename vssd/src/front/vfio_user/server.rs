//! Clients, one after the other.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use wire::{Connection, WireError};

use super::listener::{BindError, Listener};
use super::session::Session;
use crate::front::Function;
use crate::worker::{self, Ended, IdlePolicy, StopHandle};

/// How a [`Server`] serves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Permission bits of the socket file. Who may connect may use the drive;
    /// by default that is its owner.
    pub mode: u32,
    /// When to sleep.
    pub idle: IdlePolicy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: 0o600,
            idle: IdlePolicy::default(),
        }
    }
}

/// Why a server gave up. What a client does is no reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Waiting for a client failed.
    #[error("cannot wait for a client on {path}: {source}")]
    Accept {
        /// The socket.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A socket at which a function is served; see the [module](super).
///
/// ```no_run
/// # use vssd::front::vfio_user::{Options, Server};
/// # use vssd::worker::StopHandle;
/// # fn serve(function: &mut dyn vssd::front::Function) -> Result<(), Box<dyn std::error::Error>> {
/// let stop = StopHandle::new()?;
/// let mut server = Server::bind("/run/user/1000/drive.sock".as_ref(), Options::default())?;
/// server.run(function, &stop)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    options: Options,
}

impl Server {
    /// Makes the socket. The file is removed when the server is dropped; one
    /// that a dead server left behind is replaced.
    ///
    /// # Errors
    ///
    /// [`BindError`], which says what to do.
    pub fn bind(path: &Path, options: Options) -> Result<Self, BindError> {
        let listener = Listener::bind(path, options.mode)?;
        Ok(Self { listener, options })
    }

    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.listener.path()
    }

    /// Serves `function` to one client after the other, on this thread, until
    /// `stop` says so.
    ///
    /// # Errors
    ///
    /// [`ServeError`] if no client can be waited for any more.
    pub fn run(
        &mut self,
        function: &mut dyn Function,
        stop: &StopHandle,
    ) -> Result<(), ServeError> {
        worker::sharpen_timers();
        while !stop.is_stopped() {
            let Some(stream) = self
                .next_client(stop)
                .map_err(|source| ServeError::Accept {
                    path: self.path().display().to_string(),
                    source,
                })?
            else {
                continue;
            };
            self.serve(stream, function, stop);
        }
        Ok(())
    }

    /// Waits for a client or the end.
    fn next_client(&self, stop: &StopHandle) -> io::Result<Option<UnixStream>> {
        let mut fds = [
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if stop.is_stopped() {
            return Ok(None);
        }
        self.listener.accept()
    }

    /// Serves one client to its end.
    fn serve(&self, stream: UnixStream, function: &mut dyn Function, stop: &StopHandle) {
        let peer = peer(&stream);
        let name = format!("{} ({peer})", self.path().display());
        log::info!("{name}: connected");
        let mut session = Session::new(Connection::new(stream), name.clone(), function);
        let ended = worker::drive(function, &mut session, stop, self.options.idle);
        // The function lets go of the client's memory before the client sees the
        // end of the connection.
        if session.is_agreed() {
            function.disconnected();
            function.set_interrupts(Box::new(()));
            function.dma_unmap_all();
            function.set_bus_master(true);
        }
        drop(session);
        match ended {
            Ended::Detached(WireError::Closed) => log::info!("{name}: disconnected"),
            Ended::Detached(error) => log::warn!("{name}: connection closed: {error}"),
            Ended::Stopped => log::info!("{name}: connection closed, as the server stops"),
        }
    }
}

/// Who is at the other end.
fn peer(stream: &UnixStream) -> String {
    let Ok(credentials) = rustix::net::sockopt::socket_peercred(stream) else {
        return "unknown peer".to_owned();
    };
    let pid = credentials.pid.as_raw_nonzero();
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{}, pid {pid}", name.trim_end().escape_debug()),
        Err(_) => format!("pid {pid}"),
    }
}
