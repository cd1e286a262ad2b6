//! The socket, and who is at it.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::Value;

use crate::{Methods, Refusal};

/// The longest request, bytes.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// How much is read of a client that is not listened to any more, bytes.
const DISCARDED_BYTES_MAX: u64 = 1 << 20;
/// Clients at a time.
pub(crate) const CLIENTS_MAX: usize = 16;
/// How often a thread that waits looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// How often that is before a client that says nothing leaves its place to
/// others, where there is none for them: five seconds.
const LOOKS_CROWDED_MAX: u32 = 50;

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {}: choose another path, or remove it if nothing uses it", path.display())]
pub struct ListenError {
    /// Where it was to be.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub source: io::Error,
}

/// What stands between two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nothing.
    Bare,
    /// The end of a line.
    Lines,
}

/// Answers clients on a socket, in threads of its own, until it is dropped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Device and inode of the socket, so that nobody else's file is removed.
    file: Option<(u64, u64)>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What all threads share.
struct Shared<M> {
    methods: M,
    framing: Framing,
    stop: Arc<AtomicBool>,
    clients: AtomicUsize,
    /// Whether somebody was turned away since there was room last.
    crowded: AtomicBool,
}

impl Server {
    /// Listens on `path`, which only its owner can connect to.
    ///
    /// # Errors
    ///
    /// [`ListenError`], where there is something at `path`, or nothing can be.
    pub fn start(
        path: &Path,
        methods: impl Methods + Send + Sync + 'static,
        framing: Framing,
    ) -> Result<Self, ListenError> {
        let failed = |source| ListenError {
            path: path.to_owned(),
            source,
        };
        let listener = listen(path).map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            methods,
            framing,
            stop: Arc::clone(&stop),
            clients: AtomicUsize::new(0),
            crowded: AtomicBool::new(false),
        });
        let thread = std::thread::Builder::new()
            .name("rpc".to_owned())
            .spawn(move || accept(&listener, &shared))
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file: identity(path),
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, and a panic of it was printed.
            drop(thread.join());
        }
        // Somebody else may have removed it, or made another.
        if self.file.is_some() && identity(&self.path) == self.file {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let there = std::fs::symlink_metadata(path).ok()?;
    Some((there.dev(), there.ino()))
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

fn accept<M: Methods + Send + Sync + 'static>(listener: &UnixListener, shared: &Arc<Shared<M>>) {
    while !shared.stop.load(Ordering::Relaxed) {
        if !readable(listener) {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        if shared.clients.load(Ordering::Relaxed) >= CLIENTS_MAX {
            shared.crowded.store(true, Ordering::Relaxed);
            // A client that does not hear it is gone already.
            drop(turn_away(stream, shared.framing));
            continue;
        }
        shared.crowded.store(false, Ordering::Relaxed);
        shared.clients.fetch_add(1, Ordering::Relaxed);
        let theirs = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("rpc-client".to_owned());
        let spawned = thread.spawn(move || {
            // A client that goes away is no concern of ours.
            drop(converse(stream, &theirs));
            theirs.clients.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            shared.clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Tells a client that there is no place for it.
fn turn_away(mut stream: UnixStream, framing: Framing) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let message = format!(
        "there are {CLIENTS_MAX} clients already: close one, or try again in a few seconds"
    );
    let answer = crate::error(&Value::Null, Refusal::FAILED, &message);
    write(&mut stream, framing, &answer)?;
    stream.shutdown(Shutdown::Write)
}

fn write(stream: &mut UnixStream, framing: Framing, answer: &Value) -> io::Result<()> {
    let mut text = answer.to_string();
    if framing == Framing::Lines {
        text.push('\n');
    }
    stream.write_all(text.as_bytes())
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
fn converse<M: Methods>(mut stream: UnixStream, shared: &Shared<M>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(Patient {
        stream: stream.try_clone()?,
        left: REQUEST_BYTES_MAX,
        looks: 0,
        stop: &shared.stop,
        crowded: &shared.crowded,
    });
    loop {
        reader.get_mut().left = REQUEST_BYTES_MAX;
        reader.get_mut().looks = 0;
        let mut requests =
            serde_json::Deserializer::from_reader(reader.by_ref()).into_iter::<Value>();
        // Requests follow each other without anything in between: the end of
        // one is where its last bracket is.
        match requests.next() {
            None => return Ok(()),
            Some(Ok(_)) if shared.stop.load(Ordering::Relaxed) => return Ok(()),
            Some(Ok(request)) => {
                if let Some(answer) = crate::answer(&shared.methods, &request) {
                    write(&mut stream, shared.framing, &answer)?;
                }
            }
            Some(Err(error)) if error.is_io() => return Err(error.into()),
            Some(Err(error)) => {
                let message = format!("{error}: send one JSON object of up to 64 KiB");
                let answer = crate::error(&Value::Null, Refusal::PARSE_ERROR, &message);
                write(&mut stream, shared.framing, &answer)?;
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
    /// How often nothing had come, since the request began.
    looks: u32,
    stop: &'a AtomicBool,
    crowded: &'a AtomicBool,
}

impl Patient<'_> {
    /// Whether to wait no longer.
    fn is_over(&mut self) -> bool {
        self.looks = self.looks.saturating_add(1);
        self.stop.load(Ordering::Relaxed)
            || self.looks > LOOKS_CROWDED_MAX && self.crowded.load(Ordering::Relaxed)
    }
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
                    if self.is_over() {
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
