//! Messages out of a byte stream, and into one.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use vhost::vhost_user::message::{BackendReq, FrontendReq, VhostUserHeaderFlag};
use vm_memory::ByteValued;

/// Request, flags and size, each 32 bits in the machine's order.
const HEADER_BYTES: usize = 12;
/// More than any message that is understood has.
const PAYLOAD_BYTES_MAX: usize = 4096;
/// The most descriptors of a message: one for each region of a memory table.
const FDS_MAX: usize = 8;
/// The version, in the flags.
const VERSION: u32 = 1;
/// Bytes that may wait for a client to take them.
const OUTBOX_BYTES_MAX: usize = 64 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("the client went away")]
    Closed,
    #[error("the client went away in the middle of a message")]
    Truncated,
    #[error("what came is no vhost-user message: {what}")]
    Malformed { what: &'static str },
    #[error("refused {request:?}: {why}")]
    Refused { request: FrontendReq, why: String },
    #[error(
        "descriptors came that could not be taken: this process has as many open as it may; \
         raise the limit (ulimit -n)"
    )]
    NoRoomForFds,
    #[error("the client does not take what it is sent")]
    Deaf,
    #[error("socket: {0}")]
    System(#[from] Errno),
}

/// A message of the client's.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) request: FrontendReq,
    /// Whether the client wants to know how it went, where that was agreed on.
    pub(super) needs_reply: bool,
    pub(super) payload: Vec<u8>,
    /// Descriptors that came with it. Those that are not taken are closed.
    pub(super) fds: Vec<OwnedFd>,
}

impl Message {
    /// The structure at the start of the payload, and the bytes behind it.
    pub(super) fn parse<T: ByteValued + Default>(&self) -> Option<(T, &[u8])> {
        let (head, rest) = self.payload.split_at_checked(size_of::<T>())?;
        let mut value = T::default();
        value.as_mut_slice().copy_from_slice(head);
        Some((value, rest))
    }
}

/// What has come of the next message.
#[derive(Debug, Default)]
struct Inbox {
    header: [u8; HEADER_BYTES],
    got: usize,
    payload: Vec<u8>,
    payload_got: usize,
    fds: Vec<OwnedFd>,
}

/// The server's end of a connection. It never waits.
#[derive(Debug)]
pub(super) struct Connection {
    socket: UnixStream,
    inbox: Inbox,
    /// What is still to be sent. Only whole replies without descriptors wait.
    outbox: Vec<u8>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            inbox: Inbox::default(),
            outbox: Vec::new(),
        }
    }

    /// Whether something is still to be sent.
    pub(super) fn is_pending(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The next message, if all of it is there.
    pub(super) fn try_recv(&mut self) -> Result<Option<Message>, ConnectionError> {
        while self.inbox.got < HEADER_BYTES {
            let at = self.inbox.got;
            let mut header = self.inbox.header;
            let to = header.get_mut(at..).unwrap_or_default();
            let Some(came) = self.read(to, at > 0)? else {
                return Ok(None);
            };
            self.inbox.header = header;
            self.inbox.got = at.saturating_add(came);
        }
        let [request, flags, size] = self.header();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let malformed = |what| Err(ConnectionError::Malformed { what });
        if flags & VhostUserHeaderFlag::VERSION.bits() != VERSION {
            return malformed("its version is not 1");
        }
        if flags & VhostUserHeaderFlag::REPLY.bits() != 0 {
            return malformed("it is a reply, and nothing was asked");
        }
        if size > PAYLOAD_BYTES_MAX {
            return malformed("it is longer than any");
        }
        self.inbox.payload.resize(size, 0);
        while self.inbox.payload_got < size {
            let at = self.inbox.payload_got;
            let mut payload = std::mem::take(&mut self.inbox.payload);
            let came = self.read(payload.get_mut(at..).unwrap_or_default(), true);
            self.inbox.payload = payload;
            let Some(came) = came? else {
                return Ok(None);
            };
            self.inbox.payload_got = at.saturating_add(came);
        }
        let Ok(request) = FrontendReq::try_from(request) else {
            return malformed("there is no such request");
        };
        let inbox = std::mem::take(&mut self.inbox);
        Ok(Some(Message {
            request,
            needs_reply: flags & VhostUserHeaderFlag::NEED_REPLY.bits() != 0,
            payload: inbox.payload,
            fds: inbox.fds,
        }))
    }

    fn header(&self) -> [u32; 3] {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.inbox.header;
        [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_ne_bytes)
    }

    /// Reads what is there, and takes the descriptors that come with it. None
    /// where nothing is there.
    fn read(&mut self, to: &mut [u8], inside: bool) -> Result<Option<usize>, ConnectionError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut slices = [IoSliceMut::new(to)];
        let message = loop {
            match recvmsg(&self.socket, &mut slices, &mut ancillary, flags) {
                Ok(message) => break message,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNRESET) => return Err(ConnectionError::Closed),
                Err(errno) => return Err(errno.into()),
            }
        };
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = part {
                self.inbox.fds.extend(fds);
            }
        }
        let truncated = message.flags.contains(ReturnFlags::CTRUNC);
        if truncated && self.inbox.fds.len() < FDS_MAX {
            return Err(ConnectionError::NoRoomForFds);
        }
        if truncated || self.inbox.fds.len() > FDS_MAX {
            return Err(ConnectionError::Malformed {
                what: "it has more descriptors than any",
            });
        }
        match message.bytes {
            0 if inside => Err(ConnectionError::Truncated),
            0 => Err(ConnectionError::Closed),
            bytes => Ok(Some(bytes)),
        }
    }

    /// Replies to a request.
    pub(super) fn reply(
        &mut self,
        request: FrontendReq,
        payload: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), ConnectionError> {
        let bytes = message(request.into(), VhostUserHeaderFlag::REPLY.bits(), payload);
        let Some(fd) = fd else {
            self.outbox.extend_from_slice(&bytes);
            self.flush()?;
            if self.outbox.len() > OUTBOX_BYTES_MAX {
                return Err(ConnectionError::Deaf);
            }
            return Ok(());
        };
        // A descriptor goes with the first byte of its own reply. A client that
        // asks for one waits for it, so that there is room.
        if !self.flush()? || send(&self.socket, &bytes, Some(fd))? != bytes.len() {
            return Err(ConnectionError::Deaf);
        }
        Ok(())
    }

    /// Sends what can be sent. Whether everything is out.
    pub(super) fn flush(&mut self) -> Result<bool, ConnectionError> {
        while !self.outbox.is_empty() {
            let sent = send(&self.socket, &self.outbox, None)?;
            if sent == 0 {
                return Ok(false);
            }
            self.outbox.drain(..sent.min(self.outbox.len()));
        }
        Ok(true)
    }
}

/// The channel by which the server tells a client something of its own accord. What
/// comes back by it is not read, as no reply is asked for.
#[derive(Debug)]
pub(super) struct BackendChannel(UnixStream);

impl BackendChannel {
    /// The channel that the client has sent.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(fd.into())
    }

    /// Tells the client that configuration space has changed.
    pub(super) fn config_changed(&self) -> Result<(), ConnectionError> {
        let bytes = message(BackendReq::CONFIG_CHANGE_MSG.into(), 0, &[]);
        if send(&self.0, &bytes, None)? != bytes.len() {
            return Err(ConnectionError::Deaf);
        }
        Ok(())
    }
}

/// A message as it is sent.
fn message(request: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER_BYTES.saturating_add(payload.len()));
    for word in [request, VERSION | flags, size] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Sends what the socket takes of `bytes`; 0 where it takes nothing now.
fn send(
    socket: &UnixStream,
    bytes: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> Result<usize, ConnectionError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if fd.is_some() {
        ancillary.push(SendAncillaryMessage::ScmRights(fd.as_slice()));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(ConnectionError::Closed),
            Err(errno) => return Err(errno.into()),
        }
    }
}
