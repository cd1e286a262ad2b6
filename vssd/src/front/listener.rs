//! The socket file: made for its owner only, guarded, removed at the end.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::front::Function;
use crate::worker::{self, Ended, IdlePolicy, StopHandle};

/// How many clients may wait while one is served.
const BACKLOG: i32 = 8;

/// How long until it is tried again to take a client for whom something is missing,
/// seconds.
const RETRY_S: i64 = 1;
/// How often the socket's file is looked for, seconds.
const LOOK_AGAIN_S: i64 = 2;

/// How a server serves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Permission bits of the socket file. Who may connect may use the drive;
    /// by default that is its owner.
    pub mode: u32,
    /// The number of the group of the socket file; the process's own where none is
    /// named.
    pub group: Option<u32>,
    /// When to sleep.
    pub idle: IdlePolicy,
    /// Give the client of an NVMe drive no page to store doorbells in: each comes
    /// as a message, and the worker can sleep until one does. Clients that insist
    /// on the page stay away. The controller must not offer shadow doorbells
    /// ([`OptionalCommand::DoorbellBuffer`](crate::OptionalCommand::DoorbellBuffer)),
    /// of which no message tells. A virtio disk is told of requests in any case.
    pub trap_doorbells: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: 0o600,
            group: None,
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
    /// The group may not have it.
    #[error(
        "cannot give {} to group {group}: only root, and members of the group, may: {source}",
        path.display()
    )]
    Group {
        /// The path.
        path: PathBuf,
        /// The group's number.
        group: u32,
        /// What the system said.
        source: io::Error,
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

/// A client that has come.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    /// The socket and the peer, for the log.
    pub(crate) name: String,
}

/// A listening socket and its file.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that nobody else's is removed.
    file: Option<(u64, u64)>,
    options: Options,
    /// Whether its file is gone for good.
    is_given_up: bool,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Listener {
    /// Makes the socket. A file that a dead process left behind is replaced.
    pub(crate) fn bind(path: &Path, options: Options) -> Result<Self, BindError> {
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
        let mode = Mode::from_raw_mode(options.mode);
        // The file gets the mode of the socket, so there is no moment in which
        // somebody else could connect.
        rustix::fs::fchmod(&socket, mode).map_err(|errno| system("protect")(errno.into()))?;
        rustix::net::bind(&socket, &address).map_err(|errno| system("make")(errno.into()))?;
        // What the process's umask took from that, it does not get by itself.
        rustix::fs::chmod(path, mode).map_err(|errno| system("protect")(errno.into()))?;
        let file = fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let listener = Self {
            socket: socket.into(),
            path: path.to_owned(),
            file,
            options,
            is_given_up: false,
        };
        if let Some(group) = options.group {
            chown(path, None, Some(group)).map_err(|source| BindError::Group {
                path: path.to_owned(),
                group,
                source,
            })?;
        }
        rustix::net::listen(&listener, BACKLOG)
            .map_err(|errno| system("listen on")(errno.into()))?;
        Ok(listener)
    }

    /// How it is served.
    pub(crate) fn options(&self) -> Options {
        self.options
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Hands one client after the other, and `function`, to `serve`, which returns
    /// at its end, on this thread, until `stop` says so. Logs that it has come.
    pub(crate) fn serve_each(
        &mut self,
        function: &mut dyn Function,
        stop: &StopHandle,
        mut serve: impl FnMut(Client, &mut dyn Function),
    ) -> Result<(), ServeError> {
        worker::sharpen_timers();
        let mut short = false;
        while !stop.is_stopped() {
            if stop.take_nudge() {
                function.nudged();
            }
            match self.next_client(stop) {
                Ok(Some(stream)) => {
                    short = false;
                    let peer = peer(&stream);
                    function.met(Some(&peer));
                    let name = format!("{} ({peer})", self.path.display());
                    log::info!("{name}: connected");
                    serve(Client { stream, name }, function);
                    function.met(None);
                }
                Ok(None) => self.reappear(),
                // It waits at the socket, and others may give back what it needs.
                Err(error) if is_shortage(&error) => {
                    if !std::mem::replace(&mut short, true) {
                        log::warn!(
                            "{}: a client waits, and cannot be served: {error}; raise the limit \
                             (ulimit -n), or end what else needs so much",
                            self.path.display()
                        );
                    }
                    self.wait(stop, false, RETRY_S)
                        .map_err(|source| self.failed(source))?;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    /// Waits for a client, a nudge or the end, but not for ever; none but for the
    /// first, and where a client has thought better of it.
    fn next_client(&self, stop: &StopHandle) -> io::Result<Option<UnixStream>> {
        self.wait(stop, true, LOOK_AGAIN_S)?;
        if stop.is_stopped() {
            return Ok(None);
        }
        self.accept()
    }

    /// Waits for a nudge or the end, or for a client as well, or until `seconds` have
    /// passed.
    fn wait(&self, stop: &StopHandle, for_client: bool, seconds: i64) -> io::Result<()> {
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        fds.extend(for_client.then(|| PollFd::new(self, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if fds
            .first()
            .is_some_and(|handle| !handle.revents().is_empty())
        {
            stop.woken();
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> ServeError {
        ServeError::Accept {
            path: self.path.display().to_string(),
            source,
        }
    }

    /// Makes the socket again where somebody has removed its file, as those do who
    /// clean up `/tmp`: nobody could connect any more.
    fn reappear(&mut self) {
        let gone = fs::symlink_metadata(&self.path)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if !gone || self.is_given_up {
            return;
        }
        let path = self.path.display();
        match Self::bind(&self.path, self.options) {
            Ok(again) => {
                log::warn!("{path}: the socket's file was removed, and is there again");
                // What is there now is not this one's to remove.
                self.file = None;
                *self = again;
            }
            Err(error) => {
                log::error!(
                    "{path}: the socket's file was removed, and nobody can connect: {error}"
                );
                self.is_given_up = true;
            }
        }
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
fn peer(stream: &UnixStream) -> String {
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

/// Whether `error` says that there is not enough of something just now.
fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| short.contains(&errno))
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

    fn bind(path: &Path, mode: u32) -> Result<Listener, BindError> {
        let options = Options {
            mode,
            ..Options::default()
        };
        Listener::bind(path, options)
    }

    #[test]
    fn a_socket_that_is_made_again_is_the_groups_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cntrl");
        // Of root's any group, of others' the one that they have.
        let made = fs::metadata(dir.path()).unwrap();
        let (is_root, own) = (made.uid() == 0, made.gid());
        let group = if is_root { 12_345 } else { own };
        let options = Options {
            group: Some(group),
            ..Options::default()
        };
        let mut listener = Listener::bind(&path, options).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().gid(), group);
        fs::remove_file(&path).unwrap();
        listener.reappear();
        assert_eq!(fs::metadata(&path).unwrap().gid(), group);
        if !is_root {
            let options = Options {
                group: Some(0),
                ..options
            };
            let other = dir.path().join("other");
            let error = Listener::bind(&other, options).unwrap_err().to_string();
            assert!(error.contains("group 0"), "{error}");
            assert!(!other.exists());
        }
    }

    #[test]
    fn whoever_is_to_attach_may_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cntrl");
        let _listener = bind(&path, 0o666).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
    }

    #[test]
    fn the_socket_is_private_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cntrl");
        let listener = bind(&path, 0o600).unwrap();
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
        let first = bind(&path, 0o600).unwrap();
        assert!(matches!(bind(&path, 0o600), Err(BindError::InUse { .. })));
        // As if its process had died: the file stays, the socket is gone.
        let stale = dir.path().join("stale");
        drop(UnixListener::bind(&stale).unwrap());
        drop(bind(&stale, 0o660).unwrap());
        // A file of somebody else is left alone, even at the end.
        let kept = dir.path().join("kept");
        fs::rename(&path, &kept).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(first);
        assert!(path.exists());
        assert!(matches!(
            bind(&path, 0o600),
            Err(BindError::NotASocket { .. })
        ));
    }

    #[test]
    fn a_path_that_cannot_be_a_socket_says_so() {
        let long = PathBuf::from("/tmp").join("x".repeat(200));
        let error = bind(&long, 0o600).unwrap_err();
        assert!(error.to_string().contains("choose a shorter path"));
        let nowhere = bind(Path::new("/nonexistent/socket"), 0o600);
        assert!(matches!(nowhere, Err(BindError::System { .. })));
    }
}
