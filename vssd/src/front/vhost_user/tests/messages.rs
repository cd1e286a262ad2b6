//! Messages of any kind, in any order, with any descriptors.

use std::io::{IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use traces::VirtualClock;

use super::super::connection::Connection;
use super::super::session::Session;
use crate::host::{Held, Log};
use crate::media::Ram;
use crate::virtio::tests::driver::Driver;
use crate::worker::Attachment;
use crate::{Controller, ControllerConfig};

/// Pages of the client's memory.
const PAGES: u64 = 64;

/// A message: its number, its flags, its payload in words, how many descriptors
/// of which kind.
type Spec = (u32, bool, Vec<u64>, usize, bool);

/// A word of a payload: what means something to some message, mostly.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..4_u64,
        // An index and a number, each of 32 bits.
        4 => (0..3_u64, 0..3_u64).prop_map(|(index, number)| index | number << 32),
        2 => (0..PAGES).prop_map(|page| page * 4096),
        1 => Just(1_u64 << 32 | 1 << 30),
        1 => (0..2_u64, 4..11_u32).prop_map(|(index, power)| index | 1 << (power + 32)),
        1 => any::<u64>(),
    ]
}

fn message() -> impl Strategy<Value = Spec> {
    let words = prop::collection::vec(word(), 0..6);
    let queues = prop_oneof![
        2 => 1..41_u32,
        3 => prop::sample::select(vec![
            2, 5, 8, 9, 10, 11, 12, 13, 18, 21, 24, 31, 32, 37, 38, 39, 40,
        ]),
    ];
    (queues, any::<bool>(), words, 0..3_usize, any::<bool>())
}

fn send(to: &UnixStream, (request, reply, words, fds, memory): &Spec, files: &[OwnedFd; 2]) {
    let payload: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let flags = 1 | u32::from(*reply) << 3;
    let size = u32::try_from(payload.len()).unwrap();
    let mut bytes = [*request, flags, size].map(u32::to_ne_bytes).concat();
    bytes.extend(payload);
    let fds: Vec<BorrowedFd<'_>> = vec![files[usize::from(*memory)].as_fd(); *fds];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    // A server that went away is seen by the next turn.
    let _ = sendmsg(to, &[IoSlice::new(&bytes)], &mut ancillary, flags);
}

#[test]
fn a_queue_is_drained_before_it_is_said_to_have_stopped() {
    let mut driver = Driver::new(Held::default());
    let (mut client, server) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    let connection = Connection::new(server);
    let mut session = Session::new(connection, "one".to_owned(), &mut driver.controller).unwrap();
    let files = [(); 2].map(|()| eventfd(0, EventfdFlags::NONBLOCK).unwrap());
    const SET_OWNER: u32 = 3;
    const GET_VRING_BASE: u32 = 11;
    send(&client, &(SET_OWNER, false, vec![], 0, false), &files);
    session.service(&mut driver.controller).unwrap();
    driver.start(0, None, false);
    let write = driver.request(crate::virtio::layout::kind::OUT, 0, 512);
    driver.offer(write.head);
    driver.controller.poll(64);

    send(&client, &(GET_VRING_BASE, false, vec![0], 0, false), &files);
    session.service(&mut driver.controller).unwrap();
    let mut reply = [0; 20];
    assert!(
        client.read(&mut reply).is_err(),
        "a request is being served"
    );
    let late = driver.request(crate::virtio::layout::kind::OUT, 0, 512);
    driver.offer(late.head);
    driver.controller.media_mut().release = 2;
    driver.controller.poll(64);
    session.service(&mut driver.controller).unwrap();
    assert_eq!(client.read(&mut reply).unwrap(), reply.len());
    assert_eq!(
        reply[12..],
        [0, 0, 0, 0, 1, 0, 0, 0],
        "and the next is not begun"
    );
    assert_eq!(driver.used(), [(write.head, 1)]);
    assert_eq!(driver.calls(), 1, "the driver was told");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_messages_are_answered_or_refused(
        messages in prop::collection::vec(message(), 1..40),
    ) {
        let memory = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&memory, PAGES * 4096).unwrap();
        let files = [eventfd(0, EventfdFlags::NONBLOCK).unwrap(), memory];
        let medium = Ram::new(1 << 20).unwrap();
        let config = ControllerConfig::default();
        let clock = VirtualClock::new();
        let mut drive = Controller::new(config, medium, Log::default(), clock).unwrap();
        let (mut client, server) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let connection = Connection::new(server);
        let mut session = Session::new(connection, "any".to_owned(), &mut drive).unwrap();
        // A client that is content with refusals, and gets further thus.
        let start: [Spec; 3] = [
            (2, false, vec![1 << 32 | 1 << 30], 0, false),
            (16, false, vec![0x1_3228], 0, false),
            (37, true, vec![0, 0, PAGES * 4096, 0, 0], 1, true),
        ];
        for message in start.iter().chain(&messages) {
            send(&client, message, &files);
            let handled = session.service(&mut drive);
            drive.poll(64);
            session.nudged(&mut drive);
            session.rest(&mut drive);
            session.woke(&mut drive);
            let mut replies = [0; 4096];
            let _ = client.read(&mut replies);
            if handled.is_err() {
                break;
            }
        }
        session.wind_down(&mut drive);
        drive.disconnected();
        prop_assert!(drive.idle());
        prop_assert!(drive.memory().is_empty());
    }
}
