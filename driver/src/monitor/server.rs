//! The socket.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::Value;
use traces::Clock;

use super::{Monitor, rpc};

/// The longest request, bytes.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// How much is read of a client that is not listened to any more, bytes.
const DISCARDED_BYTES_MAX: u64 = 1 << 20;
/// Clients at a time.
const CLIENTS_MAX: usize = 16;
/// How often a thread that waits looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// The monitoring socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {}: choose another path, or remove it if nothing uses it", path.display())]
pub struct MonitorError {
    /// Where it was to be.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub source: io::Error,
}

/// Serves a [`Monitor`] on a socket, in threads of its own, until it is dropped.
#[derive(Debug)]
pub struct MonitorServer {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
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
        clock: impl Clock + Clone + Send + 'static,
    ) -> Result<Self, MonitorError> {
        let failed = |source| MonitorError {
            path: path.to_owned(),
            source,
        };
        let listener = listen(path).map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(move || accept(&listener, &monitor, &clock, &told))
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for MonitorServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, and a panic of it was printed.
            drop(thread.join());
        }
        // Somebody else may have removed it.
        drop(std::fs::remove_file(&self.path));
    }
}

/// A socket that is its owner's from the moment it can be seen.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    // Linux gives the file the mode that the socket has when it is bound.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, 16)?;
    Ok(UnixListener::from(socket))
}

fn accept(
    listener: &UnixListener,
    monitor: &Arc<Monitor>,
    clock: &(impl Clock + Clone + Send + 'static),
    stop: &Arc<AtomicBool>,
) {
    let clients = Arc::new(AtomicUsize::new(0));
    while !stop.load(Ordering::Relaxed) {
        if !readable(listener) {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        if clients.load(Ordering::Relaxed) >= CLIENTS_MAX {
            // The connection closes, which says enough.
            continue;
        }
        clients.fetch_add(1, Ordering::Relaxed);
        let (monitor, clock) = (Arc::clone(monitor), clock.clone());
        let (stop, count) = (Arc::clone(stop), Arc::clone(&clients));
        std::thread::spawn(move || {
            // A client that goes away is no concern of ours.
            drop(converse(stream, &monitor, &clock, &stop));
            count.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Waits until there is something, for a while.
fn readable(listener: &UnixListener) -> bool {
    let mut fds = [rustix::event::PollFd::new(
        listener,
        rustix::event::PollFlags::IN,
    )];
    let timeout = rustix::event::Timespec::try_from(LOOK).ok();
    rustix::event::poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}

/// Answers one request after the other, until the client goes away, or says
/// what is no request.
fn converse(
    mut stream: UnixStream,
    monitor: &Monitor,
    clock: &impl Clock,
    stop: &AtomicBool,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(Patient {
        stream: stream.try_clone()?,
        left: REQUEST_BYTES_MAX,
        stop,
    });
    loop {
        reader.get_mut().left = REQUEST_BYTES_MAX;
        let mut requests =
            serde_json::Deserializer::from_reader(reader.by_ref()).into_iter::<Value>();
        // Requests follow each other without anything in between: the end of
        // one is where its last bracket is.
        match requests.next() {
            None => return Ok(()),
            Some(Ok(request)) => {
                if let Some(answer) = monitor.answer(&request, clock.now_ns()) {
                    stream.write_all(answer.to_string().as_bytes())?;
                }
            }
            Some(Err(error)) if error.is_io() => return Err(error.into()),
            Some(Err(error)) => {
                let message = format!("{error}: send one JSON object of up to 64 KiB");
                let answer = rpc::error(&Value::Null, rpc::PARSE_ERROR, &message);
                stream.write_all(answer.to_string().as_bytes())?;
                return part(&stream, reader.get_mut());
            }
        }
    }
}

/// Ends a conversation so that the client gets the last answer: a socket that
/// is closed while something is left to read takes back what was written.
fn part(stream: &UnixStream, reader: &mut Patient<'_>) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    reader.left = DISCARDED_BYTES_MAX;
    io::copy(reader, &mut io::sink()).map(drop)
}

/// A stream that is read for as long as it takes, up to a length.
struct Patient<'a> {
    stream: UnixStream,
    left: u64,
    stop: &'a AtomicBool,
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        loop {
            match self.stream.read(buffer) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if self.stop.load(Ordering::Relaxed) {
                        return Ok(0);
                    }
                }
                Ok(read) => {
                    self.left = self.left.saturating_sub(u64::try_from(read).unwrap_or(0));
                    return Ok(read);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
