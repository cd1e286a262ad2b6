//! Messages out of a byte stream, and into one.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Command, FDS_MAX, HEADER_BYTES, Header, MESSAGE_BYTES_MAX, WireError};

/// A payload is taken in steps of this size, so that memory is used for what
/// has come, not for what was announced.
const STEP_BYTES: usize = 64 * 1024;

/// A received message.
#[derive(Debug)]
pub struct Message {
    /// Its header. The size has been checked.
    pub header: Header,
    /// What followed the header.
    pub payload: Vec<u8>,
    /// The descriptors that came with it, at most [`FDS_MAX`]. Those that are
    /// not taken out are closed with the message.
    pub fds: Vec<OwnedFd>,
}

impl Message {
    /// Reads the structure `T` from the start of the payload, and returns the
    /// bytes after it too.
    ///
    /// # Errors
    ///
    /// [`WireError::Payload`] if the payload is too short.
    pub fn parse<T: FromBytes + KnownLayout + Immutable>(
        &self,
        command: Command,
    ) -> Result<(T, &[u8]), WireError> {
        T::read_from_prefix(&self.payload).map_err(|_| WireError::Payload {
            command,
            what: "shorter than its structure",
            size: self.payload.len(),
        })
    }
}

/// The message that is being received.
#[derive(Debug, Default)]
struct Inbox {
    header: [u8; HEADER_BYTES],
    /// How much of the header has come.
    header_got: usize,
    payload: Vec<u8>,
    /// How much of the payload has come.
    payload_got: usize,
    fds: Vec<OwnedFd>,
}

/// A message that is being sent.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    /// How many of them are sent.
    sent: usize,
    /// Descriptors that go with the next byte.
    fds: Vec<OwnedFd>,
}

/// One end of a vfio-user connection.
///
/// The socket is never switched to non-blocking mode: each operation says for
/// itself whether it waits.
///
/// ```
/// # use std::time::Duration;
/// # use std::os::unix::net::UnixStream;
/// # use wire::{Command, Connection, Header};
/// let (a, b) = UnixStream::pair()?;
/// let (mut client, mut server) = (Connection::new(a), Connection::new(b));
/// client.send(Header::request(7, Command::DeviceReset), &[], &[])?;
/// let reset = server.recv(Some(Duration::from_secs(1)))?;
/// server.send(reset.header.reply(), &[], &[])?;
/// assert_eq!(client.recv(None)?.header.id, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    inbox: Inbox,
    outbox: VecDeque<Outgoing>,
    next_id: u16,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    /// Speaks the protocol over a connected socket.
    #[must_use]
    pub fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            inbox: Inbox::default(),
            outbox: VecDeque::new(),
            next_id: 1,
        }
    }

    /// The next message if all of it is there, `None` if not yet. Does not
    /// wait.
    ///
    /// # Errors
    ///
    /// [`WireError::Closed`] or [`WireError::Truncated`] if the peer is gone; anything
    /// else if what it sent is malformed. After an error the connection is of
    /// no further use.
    pub fn try_recv(&mut self) -> Result<Option<Message>, WireError> {
        if self.inbox.header_got < HEADER_BYTES && !self.fill_header()? {
            return Ok(None);
        }
        let header = self.checked_header()?;
        let want = usize::try_from(header.size)
            .unwrap_or(0)
            .saturating_sub(HEADER_BYTES);
        if !self.fill_payload(want)? {
            return Ok(None);
        }
        let inbox = std::mem::take(&mut self.inbox);
        Ok(Some(Message {
            header,
            payload: inbox.payload,
            fds: inbox.fds,
        }))
    }

    /// The next message; waits for it. `timeout` is how long nothing at all may
    /// come; without one the wait is endless.
    ///
    /// # Errors
    ///
    /// As [`Connection::try_recv`], and [`WireError::TimedOut`].
    pub fn recv(&mut self, timeout: Option<Duration>) -> Result<Message, WireError> {
        loop {
            if let Some(message) = self.try_recv()? {
                return Ok(message);
            }
            self.wait(PollFlags::IN, timeout, "waiting for a message")?;
        }
    }

    /// Queues one message, its payload given in parts, and sends what can be
    /// sent without waiting. The size in the header is filled in here.
    /// Descriptors are duplicated where they have to be kept.
    ///
    /// Call [`Connection::flush`] until nothing is pending; a server that
    /// takes no further request before that keeps at most one reply in memory.
    ///
    /// # Errors
    ///
    /// [`WireError::Payload`] if it is larger than [`MESSAGE_BYTES_MAX`] or carries
    /// more than [`FDS_MAX`] descriptors; [`WireError::Closed`] and [`WireError::Io`]
    /// if the socket is broken.
    pub fn send(
        &mut self,
        header: Header,
        payload: &[&[u8]],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), WireError> {
        let size = payload
            .iter()
            .fold(HEADER_BYTES, |sum, part| sum.saturating_add(part.len()));
        let size_field = u32::try_from(size).unwrap_or(u32::MAX);
        if size > MESSAGE_BYTES_MAX {
            return Err(WireError::Size {
                id: header.id,
                command: header.command,
                size: size_field,
            });
        }
        if fds.len() > FDS_MAX {
            return Err(WireError::TooManyFds);
        }
        let header = Header {
            size: size_field,
            ..header
        };
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(header.as_bytes());
        for part in payload {
            bytes.extend_from_slice(part);
        }
        let sent = if self.outbox.is_empty() {
            send_some(&self.socket, &bytes, fds)?
        } else {
            0
        };
        if sent == size {
            return Ok(());
        }
        // Descriptors go with the first byte: they are kept until that is out.
        let fds = if sent == 0 {
            duplicate(fds)?
        } else {
            Vec::new()
        };
        self.outbox.push_back(Outgoing { bytes, sent, fds });
        self.flush()?;
        Ok(())
    }

    /// Sends what is queued, as far as that goes without waiting. Returns
    /// whether everything is out.
    ///
    /// # Errors
    ///
    /// [`WireError::Closed`] and [`WireError::Io`] if the socket is broken.
    pub fn flush(&mut self) -> Result<bool, WireError> {
        while let Some(message) = self.outbox.front_mut() {
            let rest = message.bytes.get(message.sent..).unwrap_or_default();
            let fds: Vec<BorrowedFd<'_>> = message.fds.iter().map(AsFd::as_fd).collect();
            let sent = send_some(&self.socket, rest, &fds)?;
            if sent == 0 {
                return Ok(false);
            }
            message.sent = message.sent.saturating_add(sent);
            message.fds.clear();
            if message.sent == message.bytes.len() {
                self.outbox.pop_front();
            }
        }
        Ok(true)
    }

    /// Whether part of a message is still to be sent.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Sends what is queued; waits for it. `timeout` is how long nothing at all
    /// may be taken by the peer; without one the wait is endless.
    ///
    /// # Errors
    ///
    /// As [`Connection::flush`], and [`WireError::TimedOut`].
    pub fn flush_wait(&mut self, timeout: Option<Duration>) -> Result<(), WireError> {
        while !self.flush()? {
            self.wait(PollFlags::OUT, timeout, "sending a message")?;
        }
        Ok(())
    }

    /// Sends a command and waits for its reply: what a client does.
    ///
    /// A command that the peer sends meanwhile is answered with ENOTSUP.
    /// `timeout` is as for [`Connection::recv`].
    ///
    /// # Errors
    ///
    /// [`WireError::Refused`] if the peer answers with an error (the connection
    /// goes on); [`WireError::UnexpectedReply`] if it answers something else;
    /// otherwise as [`Connection::recv`] and [`Connection::send`].
    pub fn request(
        &mut self,
        command: Command,
        payload: &[&[u8]],
        fds: &[BorrowedFd<'_>],
        timeout: Option<Duration>,
    ) -> Result<Message, WireError> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.send(Header::request(id, command), payload, fds)?;
        self.flush_wait(timeout)?;
        loop {
            let message = self.recv(timeout)?;
            let header = message.header;
            if !header.is_reply() {
                if !header.no_reply() {
                    let refusal = header.error_reply(errno_number(Errno::NOTSUP));
                    self.send(refusal, &[], &[])?;
                    self.flush_wait(timeout)?;
                }
                continue;
            }
            if header.id != id || header.command != command.number() {
                return Err(WireError::UnexpectedReply {
                    id: header.id,
                    command: header.command,
                });
            }
            if header.is_error() {
                let errno = i32::try_from(header.error)
                    .ok()
                    .filter(|errno| (1..4096).contains(errno))
                    .map_or(Errno::IO, Errno::from_raw_os_error);
                return Err(WireError::Refused { command, errno });
            }
            return Ok(message);
        }
    }

    /// Sends a command that is to have no reply.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`] and [`Connection::flush_wait`].
    pub fn post(
        &mut self,
        command: Command,
        payload: &[&[u8]],
        fds: &[BorrowedFd<'_>],
        timeout: Option<Duration>,
    ) -> Result<(), WireError> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let header = Header::request(id, command).without_reply();
        self.send(header, payload, fds)?;
        self.flush_wait(timeout)
    }

    /// Takes header bytes; whether the header is complete.
    fn fill_header(&mut self) -> Result<bool, WireError> {
        let inbox = &mut self.inbox;
        while inbox.header_got < HEADER_BYTES {
            let rest = inbox.header.get_mut(inbox.header_got..).unwrap_or_default();
            let missing = rest.len();
            let Some(got) = receive(&self.socket, rest, &mut inbox.fds)? else {
                return Ok(false);
            };
            if got == 0 {
                return Err(if missing == HEADER_BYTES {
                    WireError::Closed
                } else {
                    WireError::Truncated { missing }
                });
            }
            inbox.header_got = inbox.header_got.saturating_add(got);
        }
        Ok(true)
    }

    /// The header of the message that is coming, if it is possible.
    fn checked_header(&self) -> Result<Header, WireError> {
        let header = Header::read_from_bytes(&self.inbox.header).unwrap_or_default();
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        if !(HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&size) {
            return Err(WireError::Size {
                id: header.id,
                command: header.command,
                size: header.size,
            });
        }
        if header.kind() > 1 {
            return Err(WireError::Type {
                id: header.id,
                command: header.command,
                kind: header.kind(),
            });
        }
        Ok(header)
    }

    /// Takes payload bytes up to `want`; whether the payload is complete.
    fn fill_payload(&mut self, want: usize) -> Result<bool, WireError> {
        let inbox = &mut self.inbox;
        while inbox.payload_got < want {
            let end = want.min(inbox.payload_got.saturating_add(STEP_BYTES));
            if inbox.payload.len() < end {
                inbox.payload.resize(end, 0);
            }
            let rest = inbox
                .payload
                .get_mut(inbox.payload_got..end)
                .unwrap_or_default();
            let Some(got) = receive(&self.socket, rest, &mut inbox.fds)? else {
                return Ok(false);
            };
            if got == 0 {
                return Err(WireError::Truncated {
                    missing: want.saturating_sub(inbox.payload_got),
                });
            }
            inbox.payload_got = inbox.payload_got.saturating_add(got);
        }
        Ok(true)
    }

    /// Waits until the socket is ready for `events`.
    fn wait(
        &self,
        events: PollFlags,
        timeout: Option<Duration>,
        operation: &'static str,
    ) -> Result<(), WireError> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        loop {
            let mut fds = [PollFd::new(&self.socket, events)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Err(WireError::TimedOut { operation }),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(source) => {
                    return Err(WireError::Io {
                        operation: "poll",
                        source,
                    });
                }
            }
        }
    }
}

/// One attempt to receive into `buffer`, with descriptors into `fds`: how many
/// bytes came (0 at the end of the stream), `None` if there are none yet.
fn receive(
    socket: &UnixStream,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<Option<usize>, WireError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Ok(message) => break message,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            // A peer that went away with our bytes unread.
            Err(Errno::CONNRESET) => return Ok(Some(0)),
            Err(source) => {
                return Err(WireError::Io {
                    operation: "recvmsg",
                    source,
                });
            }
        }
    };
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            fds.extend(received);
        }
    }
    // The kernel has thrown away what did not fit; what is here is closed with
    // the connection.
    let truncated = message.flags.contains(ReturnFlags::CTRUNC);
    if truncated && fds.len() < FDS_MAX {
        return Err(WireError::NoRoomForFds);
    }
    if truncated || fds.len() > FDS_MAX {
        return Err(WireError::TooManyFds);
    }
    Ok(Some(message.bytes))
}

/// One attempt to send `bytes`, with `fds`; how many went, 0 if the socket is
/// full.
fn send_some(
    socket: &UnixStream,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<usize, WireError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(WireError::TooManyFds);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(WireError::Closed),
            Err(source) => {
                return Err(WireError::Io {
                    operation: "sendmsg",
                    source,
                });
            }
        }
    }
}

/// Descriptors of our own for the same files.
fn duplicate(fds: &[BorrowedFd<'_>]) -> Result<Vec<OwnedFd>, WireError> {
    fds.iter()
        .map(|fd| {
            fd.try_clone_to_owned().map_err(|error| WireError::Io {
                operation: "keeping a file descriptor",
                source: Errno::from_io_error(&error).unwrap_or(Errno::MFILE),
            })
        })
        .collect()
}

/// An errno as it stands in a header.
fn errno_number(errno: Errno) -> u32 {
    errno.raw_os_error().unsigned_abs()
}

#[cfg(test)]
mod tests;
