use rustix::io::Errno;

use crate::{Command, FDS_MAX, HEADER_BYTES, MESSAGE_BYTES_MAX};

/// What went wrong on a connection.
///
/// After any error but [`WireError::Refused`], [`WireError::Payload`] and
/// [`WireError::Json`] the place of the next message in the byte stream is
/// unknown: drop the [`Connection`](crate::Connection).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The peer closed the connection, between two messages.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer closed the connection in the middle of a message.
    #[error("the peer closed the connection in the middle of a message ({missing} bytes short)")]
    Truncated {
        /// How much of the header or the payload did not come, bytes.
        missing: usize,
    },
    /// A header announces a message that is too small or too large.
    #[error(
        "message {id:#06x} (command {command}) says it has {size} bytes; \
         {HEADER_BYTES} to {MESSAGE_BYTES_MAX} are possible"
    )]
    Size {
        /// The message identifier.
        id: u16,
        /// The command number.
        command: u16,
        /// The announced size, bytes.
        size: u32,
    },
    /// A header is neither a command nor a reply.
    #[error("message {id:#06x} (command {command}) is of type {kind}; only 0 and 1 exist")]
    Type {
        /// The message identifier.
        id: u16,
        /// The command number.
        command: u16,
        /// The type found.
        kind: u8,
    },
    /// More file descriptors came with one message than we announced.
    #[error("a message came with more than {FDS_MAX} file descriptors")]
    TooManyFds,
    /// File descriptors that came with a message could not be taken.
    #[error(
        "a message came with file descriptors, and this process has as many open as it may: \
         raise the limit (ulimit -n)"
    )]
    NoRoomForFds,
    /// A reply carries an identifier or a command that was not asked for, or a
    /// reply came where a command was due.
    #[error("unexpected reply: message {id:#06x}, command {command}")]
    UnexpectedReply {
        /// The message identifier.
        id: u16,
        /// The command number.
        command: u16,
    },
    /// A payload does not have the size or the form that its command demands.
    #[error("{command:?}: {what} (payload of {size} bytes)")]
    Payload {
        /// The command.
        command: Command,
        /// What is wrong with it.
        what: &'static str,
        /// The size of the payload, bytes.
        size: usize,
    },
    /// The capabilities in a Version message are not the JSON they should be.
    #[error("the capabilities in the version message are not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// The other end does not speak our version of the protocol.
    #[error("the peer speaks vfio-user {major}.{minor}; this end speaks 0.1")]
    Version {
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// The peer answered a request with an error.
    #[error("the peer refused {command:?}: {errno}")]
    Refused {
        /// The command that was refused.
        command: Command,
        /// The reason it gave; EIO where it gave none.
        errno: Errno,
    },
    /// Nothing came, or nothing could be sent, within the time allowed.
    #[error("{operation} timed out: the peer does not answer")]
    TimedOut {
        /// What was tried.
        operation: &'static str,
    },
    /// The socket failed.
    #[error("{operation} failed on the vfio-user socket: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The reason.
        source: Errno,
    },
}
