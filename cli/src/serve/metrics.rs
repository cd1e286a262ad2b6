//! `--metrics ADDR`: the numbers of a drive for Prometheus, as text over HTTP.
//!
//! One thread answers one request after the other, each on a connection of its
//! own: a scrape comes every few seconds, and one that dawdles is let go.

mod text;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::desk::Desk;

/// The longest request, bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// How long a client may take for its request, and for taking the answer.
const PATIENCE_NS: u64 = 2_000_000_000;
/// How often who waits looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// How much is read of a client that was answered already, reads of 1 KiB.
const DISCARDED_MAX: u32 = 64;

/// Serves the numbers until it is dropped.
#[derive(Debug)]
pub(super) struct Metrics {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Metrics {
    /// Listens on `at`.
    pub(super) fn start(at: SocketAddr, desk: &Arc<Desk>) -> Result<Self> {
        let listen = || -> io::Result<(TcpListener, SocketAddr)> {
            let listener = TcpListener::bind(at)?;
            listener.set_nonblocking(true)?;
            let at = listener.local_addr()?;
            Ok((listener, at))
        };
        let (listener, at) = listen().with_context(|| {
            format!("cannot show metrics at {at}: give --metrics another address or port")
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let (told, desk) = (Arc::clone(&stop), Arc::clone(desk));
        let thread = std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || serve(&listener, &desk, &told))
            .context("cannot start a thread")?;
        log::info!("metrics are at http://{at}/metrics");
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it was printed.
            drop(thread.join());
        }
    }
}

fn serve(listener: &TcpListener, desk: &Desk, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [rustix::event::PollFd::new(
            listener,
            rustix::event::PollFlags::IN,
        )];
        let timeout = rustix::event::Timespec::try_from(LOOK).ok();
        if !rustix::event::poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0) {
            continue;
        }
        if let Ok((stream, _)) = listener.accept() {
            // A client that goes away is no concern of ours.
            drop(answer(stream, desk, stop));
        }
    }
}

/// Reads a request and answers it.
fn answer(mut stream: TcpStream, desk: &Desk, stop: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(Duration::from_nanos(PATIENCE_NS)))?;
    let reply = match request(&mut stream, desk, stop)? {
        Ok(()) => Reply {
            status: "200 OK",
            kind: "text/plain; version=0.0.4; charset=utf-8",
            body: text::text(desk),
        },
        Err(refused) => refused,
    };
    let Reply { status, kind, body } = reply;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    // What is left to read when a socket is closed takes back what was written.
    let mut rest = [0; 1024];
    for _ in 0..DISCARDED_MAX {
        if stream.read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

/// What a client gets.
struct Reply {
    status: &'static str,
    kind: &'static str,
    body: String,
}

fn refused(status: &'static str, why: &str) -> Reply {
    Reply {
        status,
        kind: "text/plain; charset=utf-8",
        body: format!("{why}\n"),
    }
}

/// Reads a request; a reply, where it is not one for the metrics.
fn request(
    stream: &mut TcpStream,
    desk: &Desk,
    stop: &AtomicBool,
) -> io::Result<Result<(), Reply>> {
    let until_ns = desk.now_ns().saturating_add(PATIENCE_NS);
    let mut bytes = [0; REQUEST_BYTES_MAX];
    let mut filled = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        if desk.now_ns() >= until_ns {
            let why = "the request did not come within 2 seconds";
            return Ok(Err(refused("408 Request Timeout", why)));
        }
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error),
        }
        if let Some(judged) = judge(&bytes[..filled]) {
            return Ok(judged);
        }
    }
}

/// Whether `bytes` ask for the metrics; none where there is more to come.
fn judge(bytes: &[u8]) -> Option<Result<(), Reply>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(bytes);
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    Some(match parsed {
        Err(error) => Err(refused("400 Bad Request", &format!("no HTTP: {error}"))),
        Ok(httparse::Status::Partial) if bytes.len() >= REQUEST_BYTES_MAX => Err(refused(
            "431 Request Header Fields Too Large",
            "a request has at most 8 KiB",
        )),
        Ok(httparse::Status::Partial) => return None,
        Ok(_) if request.method != Some("GET") => Err(refused(
            "405 Method Not Allowed",
            "there is only GET /metrics",
        )),
        Ok(_) if path != "/metrics" => Err(refused("404 Not Found", "there is only /metrics")),
        Ok(_) => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(bytes: &[u8]) -> Option<&'static str> {
        judge(bytes).map(|judged| judged.err().map_or("200", |reply| &reply.status[..3]))
    }

    #[test]
    fn a_request_is_for_the_metrics_or_refused() {
        assert_eq!(
            status(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
            Some("200")
        );
        assert_eq!(status(b"GET /metrics?x=1 HTTP/1.0\r\n\r\n"), Some("200"));
        assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), Some("404"));
        assert_eq!(status(b"POST /metrics HTTP/1.1\r\n\r\n"), Some("405"));
        assert_eq!(status(b"GET /metrics HTTP/1.1\r\nHost"), None);
        assert_eq!(status(b"\x16\x03\x01\x02"), Some("400"));
        let mut long = b"GET /metrics HTTP/1.1\r\nA: ".to_vec();
        long.resize(REQUEST_BYTES_MAX, b'x');
        assert_eq!(status(&long), Some("431"));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
        assert_eq!(status(many.as_bytes()), Some("400"));
    }
}
