//! The socket file: made for its owner only, guarded, removed at the end.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::front::Function;
use crate::worker::{self, Ended, IdlePolicy, StopHandle};

/// How many clients may wait while one is served.
const BACKLOG: i32 = 8;

/// How a server serves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Permission bits of the socket file. Who may connect may use the drive;
    /// by default that is its owner.
    pub mode: u32,
    /// When to sleep.
    pub idle: IdlePolicy,
    /// Give the client of an NVMe drive no page to store doorbells in: each comes
    /// as a message, and the worker can sleep until one does. Clients that insist
    /// on the page stay away; shadow doorbells (`NVMe Base 2.1 §5.2.5`) still
    /// spare most messages. A virtio disk is told of requests in any case.
    pub trap_doorbells: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: 0o600,
            idle: IdlePolicy::default(),
            trap_doorbells: false,
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

/// Why a socket could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody serves there.
    #[error(
        "{} is in use: a process listens on it; stop that one, or choose another path",
        path.display()
    )]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// There is something else.
    #[error("{} exists and is not a socket; choose another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The path is longer than a socket address can be.
    #[error(
        "{} is too long for a socket ({} bytes; 107 are possible); choose a shorter path",
        path.display(),
        path.as_os_str().len()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} the socket {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A listening socket and its file.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that nobody else's is removed.
    file: Option<(u64, u64)>,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Listener {
    /// Makes the socket with permission bits `mode`. A file that a dead process
    /// left behind is replaced.
    pub(crate) fn bind(path: &Path, mode: u32) -> Result<Self, BindError> {
        let system = |action| {
            move |source: io::Error| BindError::System {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let address = SocketAddrUnix::new(path).map_err(|_| BindError::TooLong {
            path: path.to_owned(),
        })?;
        remove_stale(path)?;
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .map_err(|errno| system("make")(errno.into()))?;
        // The file gets the mode of the socket, so there is no moment in which
        // somebody else could connect.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))
            .map_err(|errno| system("protect")(errno.into()))?;
        rustix::net::bind(&socket, &address).map_err(|errno| system("make")(errno.into()))?;
        let file = fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let listener = Self {
            socket: socket.into(),
            path: path.to_owned(),
            file,
        };
        rustix::net::listen(&listener, BACKLOG)
            .map_err(|errno| system("listen on")(errno.into()))?;
        Ok(listener)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Hands one client after the other, and `function`, to `serve`, which returns
    /// at its end, on this thread, until `stop` says so.
    pub(crate) fn serve_each(
        &self,
        function: &mut dyn Function,
        stop: &StopHandle,
        mut serve: impl FnMut(UnixStream, &mut dyn Function),
    ) -> Result<(), ServeError> {
        worker::sharpen_timers();
        while !stop.is_stopped() {
            if stop.take_nudge() {
                function.nudged();
            }
            if let Some(stream) = self.next_client(stop)? {
                function.met(Some(&peer(&stream)));
                serve(stream, function);
                function.met(None);
            }
        }
        Ok(())
    }

    /// Waits for a client, a nudge or the end; none but for the first, and where a
    /// client has thought better of it.
    fn next_client(&self, stop: &StopHandle) -> Result<Option<UnixStream>, ServeError> {
        let failed = |source| ServeError::Accept {
            path: self.path.display().to_string(),
            source,
        };
        let mut fds = [
            PollFd::new(self, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
        let [_, handle] = fds;
        if !handle.revents().is_empty() {
            stop.woken();
        }
        if stop.is_stopped() {
            return Ok(None);
        }
        self.accept().map_err(failed)
    }

    /// The next client, if one waits.
    pub(crate) fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.socket.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionAborted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let present = fs::symlink_metadata(&self.path)
            .ok()
            .map(|meta| (meta.dev(), meta.ino()));
        if present.is_some() && present == self.file {
            // A file that stays is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Who is at the other end.
pub(crate) fn peer(stream: &UnixStream) -> String {
    let Ok(credentials) = rustix::net::sockopt::socket_peercred(stream) else {
        return "unknown peer".to_owned();
    };
    let pid = credentials.pid.as_raw_nonzero();
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{}, pid {pid}", name.trim_end().escape_debug()),
        Err(_) => format!("pid {pid}"),
    }
}

/// Logs how the client called `name` ended; `closed` tells an end of its own
/// doing from a fault.
pub(crate) fn tell_end<E: fmt::Display>(
    name: &str,
    ended: &Ended<E>,
    closed: impl FnOnce(&E) -> bool,
) {
    match ended {
        Ended::Detached(error) if closed(error) => log::info!("{name}: disconnected"),
        Ended::Detached(error) => log::warn!("{name}: connection closed: {error}"),
        Ended::Stopped => log::info!("{name}: connection closed, as the server stops"),
    }
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let system = |action, source| BindError::System {
        action,
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at", error)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(BindError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            log::info!("{}: replacing a socket that nobody serves", path.display());
            fs::remove_file(path).map_err(|error| system("replace", error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(system("try", error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_socket_is_private_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cntrl");
        let listener = Listener::bind(&path, 0o600).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(listener.accept().unwrap().is_none());
        let _client = UnixStream::connect(&path).unwrap();
        assert!(listener.accept().unwrap().is_some());
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_socket_that_nobody_serves_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let first = Listener::bind(&path, 0o600).unwrap();
        assert!(matches!(
            Listener::bind(&path, 0o600),
            Err(BindError::InUse { .. })
        ));
        // As if its process had died: the file stays, the socket is gone.
        let stale = dir.path().join("stale");
        drop(UnixListener::bind(&stale).unwrap());
        drop(Listener::bind(&stale, 0o660).unwrap());
        // A file of somebody else is left alone, even at the end.
        let kept = dir.path().join("kept");
        fs::rename(&path, &kept).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(first);
        assert!(path.exists());
        assert!(matches!(
            Listener::bind(&path, 0o600),
            Err(BindError::NotASocket { .. })
        ));
    }

    #[test]
    fn a_path_that_cannot_be_a_socket_says_so() {
        let long = PathBuf::from("/tmp").join("x".repeat(200));
        let error = Listener::bind(&long, 0o600).unwrap_err();
        assert!(error.to_string().contains("choose a shorter path"));
        let nowhere = Listener::bind(Path::new("/nonexistent/socket"), 0o600);
        assert!(matches!(nowhere, Err(BindError::System { .. })));
    }
}
