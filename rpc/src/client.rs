//! Who asks.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Refusal;

/// The longest answer, bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody listens.
    #[error("nobody answers on {}: {source}; is that the --control socket of a vssd that runs?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server has gone, or does not answer in time.
    #[error("{} has gone: {source}", path.display())]
    Gone {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What came is not an answer.
    #[error("what answers on {} does not speak JSON-RPC: name another socket", path.display())]
    NotAnAnswer {
        /// The socket.
        path: PathBuf,
    },
    /// It says no.
    #[error("{}", .0.message)]
    Refused(Refusal),
}

/// A connection to a [`Server`](crate::Server) that answers in lines.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    next_id: u64,
}

impl Client {
    /// Connects to the socket at `path`. Answers may take as long as `patience`;
    /// without end where there is none.
    ///
    /// # Errors
    ///
    /// [`CallError::Connect`].
    pub fn connect(path: &Path, patience: Option<Duration>) -> Result<Self, CallError> {
        let stream = UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(patience)?;
            Ok(stream)
        });
        let stream = stream.map_err(|source| CallError::Connect {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            stream: BufReader::new(stream),
            next_id: 1,
        })
    }

    /// Has the server do `method`, and waits for what it says.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] where the server says no, else what became of it.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, CallError> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let line = self
            .exchange(&request.to_string())
            .map_err(|source| CallError::Gone {
                path: self.path.clone(),
                source,
            })?;
        let not_one = || CallError::NotAnAnswer {
            path: self.path.clone(),
        };
        let mut answer: Value = serde_json::from_str(&line).map_err(|_| not_one())?;
        if let Some(error) = answer.get("error") {
            let code = error.get("code").and_then(Value::as_i64).unwrap_or(0);
            let message = error.get("message").and_then(Value::as_str);
            return Err(CallError::Refused(Refusal::new(
                i32::try_from(code).unwrap_or(Refusal::FAILED),
                message.unwrap_or("it gives no reason"),
            )));
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(not_one()),
        }
    }

    fn exchange(&mut self, request: &str) -> io::Result<String> {
        let mut line = String::new();
        // A server that has no place says so and closes, maybe before it is asked.
        let request = format!("{request}\n");
        let sent = self.stream.get_mut().write_all(request.as_bytes());
        let read = self
            .stream
            .by_ref()
            .take(ANSWER_BYTES_MAX)
            .read_line(&mut line);
        match read {
            Ok(0) => Err(match sent {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => error,
                _ => io::Error::other("it closed the connection"),
            }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::other("it does not answer"))
            }
            read => read.map(|_| line),
        }
    }
}
