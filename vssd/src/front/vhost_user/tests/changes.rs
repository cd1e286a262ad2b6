//! What a client is told that it has not asked for, and the device status.

use std::io::{IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use vhost::vhost_user::message::{
    BackendReq, FrontendReq as F, VhostUserProtocolFeatures as Protocol,
};

use super::super::connection::Connection;
use super::super::session::Session;
use crate::front::Function as _;
use crate::media::Ram;
use crate::virtio::layout::kind;
use crate::virtio::tests::driver::Driver;
use crate::worker::Attachment as _;

const MIB: u64 = 1 << 20;
/// A header without payload.
const HEADER_BYTES: usize = 12;

/// A client and its server, in one thread.
struct Peer {
    client: UnixStream,
    session: Session,
    driver: Driver<Ram>,
}

impl Peer {
    /// Agreed on `protocol`.
    fn new(protocol: Protocol) -> Self {
        let mut driver = Driver::new(Ram::new(MIB).unwrap());
        let (client, server) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let connection = Connection::new(server);
        let session = Session::new(connection, "one".to_owned(), &mut driver.controller);
        let mut peer = Self {
            client,
            session: session.unwrap(),
            driver,
        };
        // Who connects is told to the drive with its first message.
        peer.tell(F::SET_OWNER, &[]);
        peer.tell(F::SET_PROTOCOL_FEATURES, &protocol.bits().to_ne_bytes());
        peer
    }

    fn send(&mut self, request: F, payload: &[u8], fd: Option<BorrowedFd<'_>>) {
        let size = u32::try_from(payload.len()).unwrap();
        let mut bytes = [request.into(), 1, size].map(u32::to_ne_bytes).concat();
        bytes.extend(payload);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if fd.is_some() {
            ancillary.push(SendAncillaryMessage::ScmRights(fd.as_slice()));
        }
        let slices = [IoSlice::new(&bytes)];
        sendmsg(&self.client, &slices, &mut ancillary, SendFlags::empty()).unwrap();
    }

    /// Sends what is not answered.
    fn tell(&mut self, request: F, payload: &[u8]) {
        self.send(request, payload, None);
        assert_eq!(
            self.session.service(&mut self.driver.controller).unwrap(),
            1
        );
    }

    /// The payload of what has been answered; none where nothing has.
    fn answer(&mut self) -> Option<Vec<u8>> {
        self.session.service(&mut self.driver.controller).unwrap();
        let mut bytes = [0; 256];
        let count = self.client.read(&mut bytes).ok()?;
        Some(bytes[HEADER_BYTES..count].to_vec())
    }

    fn ask(&mut self, request: F, payload: &[u8]) -> Vec<u8> {
        self.send(request, payload, None);
        self.answer().unwrap()
    }

    /// The number that is answered.
    fn number(&mut self, request: F) -> u64 {
        u64::from_ne_bytes(self.ask(request, &[]).try_into().unwrap())
    }

    /// The capacity that configuration space tells, bytes.
    fn capacity(&mut self) -> u64 {
        // From the start on, eight bytes.
        let head = [0, 8, 0].map(u32::to_ne_bytes).concat();
        let answer = self.ask(F::GET_CONFIG, &[head.as_slice(), &[0; 8]].concat());
        u64::from_le_bytes(answer[head.len()..].try_into().unwrap()) * 512
    }

    fn grow(&mut self, bytes: u64) {
        self.driver.controller.grow(bytes).unwrap().unwrap();
        self.session.nudged(&mut self.driver.controller);
    }
}

/// How often it was told by a channel that configuration space has changed.
fn told(mut channel: &UnixStream) -> usize {
    let mut bytes = Vec::new();
    let _ = channel.read_to_end(&mut bytes);
    let changed = [u32::from(BackendReq::CONFIG_CHANGE_MSG), 1, 0].map(u32::to_ne_bytes);
    let messages = bytes.chunks(HEADER_BYTES);
    messages
        .inspect(|message| assert_eq!(*message, changed.as_flattened()))
        .count()
}

#[test]
fn a_client_with_a_channel_is_told_of_each_new_size_once() {
    let mut peer = Peer::new(Protocol::CONFIG | Protocol::BACKEND_REQ);
    let (channel, theirs) = UnixStream::pair().unwrap();
    channel.set_nonblocking(true).unwrap();
    assert_eq!(peer.capacity(), MIB);
    // It knows the size, and has no channel yet when that changes.
    peer.grow(2 * MIB);
    peer.send(F::SET_BACKEND_REQ_FD, &[], Some(theirs.as_fd()));
    peer.session.service(&mut peer.driver.controller).unwrap();
    drop(theirs);
    assert_eq!(told(&channel), 1);
    assert_eq!(peer.capacity(), 2 * MIB);
    peer.session.nudged(&mut peer.driver.controller);
    assert_eq!(told(&channel), 0);
    peer.grow(3 * MIB);
    peer.session.nudged(&mut peer.driver.controller);
    assert_eq!(told(&channel), 1);
    assert_eq!(peer.capacity(), 3 * MIB);
    drop(channel);
    // Nobody hears it, and the connection goes on.
    peer.grow(4 * MIB);
    assert_eq!(peer.capacity(), 4 * MIB);
}

#[test]
fn a_client_without_a_channel_sees_the_new_size_when_it_asks() {
    let mut peer = Peer::new(Protocol::CONFIG);
    assert_eq!(peer.capacity(), MIB);
    peer.grow(2 * MIB);
    assert!(peer.answer().is_none());
    assert_eq!(peer.capacity(), 2 * MIB);
    let (_channel, theirs) = UnixStream::pair().unwrap();
    peer.send(F::SET_BACKEND_REQ_FD, &[], Some(theirs.as_fd()));
    let refused = peer.session.service(&mut peer.driver.controller);
    assert!(refused.unwrap_err().to_string().contains("agreed on"));
}

#[test]
fn a_status_of_zero_resets_the_device() {
    let mut peer = Peer::new(Protocol::STATUS);
    assert_eq!(peer.number(F::GET_STATUS), 0);
    peer.tell(F::SET_STATUS, &0xf_u64.to_ne_bytes());
    assert_eq!(peer.number(F::GET_STATUS), 0xf);
    peer.driver.start(0, None, false);
    let write = peer.driver.request(kind::OUT, 0, 512);
    peer.driver.offer(write.head);
    peer.tell(F::SET_STATUS, &0_u64.to_ne_bytes());
    assert_eq!(peer.number(F::GET_STATUS), 0);
    // It was offered too late.
    peer.driver.controller.poll(64);
    assert!(peer.driver.used().is_empty());
    assert!(!peer.driver.controller.rings().0.is_started(0));
    peer.send(F::SET_STATUS, &0x100_u64.to_ne_bytes(), None);
    let refused = peer.session.service(&mut peer.driver.controller);
    assert!(refused.unwrap_err().to_string().contains("no status"));
}
