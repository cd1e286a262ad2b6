//! A vhost-user client, and the guest behind it.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use vhost::vhost_user::message::FrontendReq as F;

use super::guest::MAPPED;
use super::{MEDIA_BYTES, check_records, fill_unmapped};
use crate::ControllerConfig;
use crate::front::Function;
use crate::front::vhost_user::FuzzedSession;
use crate::host::{BASE, Host, PAGE};
use crate::media::Ram;
use crate::virtio::InflightFile;
use crate::virtio::layout::{Descriptor, feature};

/// Where the client says that it has the guest's memory.
const CLIENT: u64 = 0x7f00_0000_0000;
/// Entries of a queue, and how many queues are set up.
const ENTRIES: u16 = 8;
const QUEUES: u16 = 2;
/// Where the parts of a queue are in guest memory, and how far queues are apart.
const AVAILABLE: u64 = 0x400;
const USED: u64 = 0x800;
const APART: u64 = 0x1000;
/// `VHOST_USER_F_PROTOCOL_FEATURES`.
const PROTOCOL_FEATURES: u64 = 1 << 30;
/// The version, and that the client wants to know how it went.
const VERSION: u32 = 1;
const NEED_REPLY: u32 = 1 << 3;
/// The most steps of an input.
const STEPS_MAX: usize = 64;

/// Messages of a client, and requests of a guest. The first byte says whether they
/// are bytes or made of structures, and whether a client is there that has set up
/// queues.
///
/// # Panics
///
/// Where a request is lost, or told of twice, or memory that is not the guest's
/// changes.
pub fn vhost_user(data: &[u8]) {
    let [how, rest @ ..] = data else { return };
    let (client, server) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    let mut host = Host::new(ControllerConfig::default(), Ram::new(MEDIA_BYTES).unwrap());
    let untouched = fill_unmapped(&mut host);
    host.controller.dma_unmap_all();
    let session = FuzzedSession::new(server, &mut host.controller);
    let mut peer = Peer {
        session,
        client,
        other: rustix::fs::memfd_create("other", MemfdFlags::CLOEXEC).unwrap(),
        offered: [0; QUEUES as usize],
    };
    rustix::fs::ftruncate(&peer.other, 16 * PAGE).unwrap();
    if how & 1 == 0 {
        peer.set_up(&mut host, how & 4 != 0);
    }
    if how & 2 != 0 {
        let bytes = rest.get(..32 << 10).unwrap_or(rest);
        let _ = sendmsg(
            &peer.client,
            &[IoSlice::new(bytes)],
            &mut SendAncillaryBuffer::default(),
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        );
        peer.turn(&mut host);
    } else {
        peer.steps(&mut host, rest);
    }
    if how & 8 != 0 {
        peer.session.wind_down(&mut host.controller);
    }
    host.controller.disconnected();
    assert!(
        untouched(&host),
        "memory that is not the guest's was written"
    );
    check_records(&host);
}

/// A client, the session that serves it, and what both speak over.
struct Peer {
    session: FuzzedSession,
    client: UnixStream,
    /// A file that is not the guest's memory.
    other: OwnedFd,
    /// How many requests each queue has.
    offered: [u16; QUEUES as usize],
}

impl Peer {
    fn send(&self, request: u32, flags: u32, payload: &[u8], fd: Option<BorrowedFd<'_>>) {
        let size = u32::try_from(payload.len()).unwrap();
        let mut bytes = Vec::new();
        for word in [request, VERSION | flags, size] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(payload);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if fd.is_some() {
            ancillary.push(SendAncillaryMessage::ScmRights(fd.as_slice()));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // A server that has gone is told by the next turn.
        let _ = sendmsg(&self.client, &[IoSlice::new(&bytes)], &mut ancillary, flags);
    }

    fn ask(&self, request: F, words: &[u64], fd: Option<BorrowedFd<'_>>) {
        let payload: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.send(request.into(), 0, &payload, fd);
    }

    /// Has the server work until it has nothing to do. Whether the connection is
    /// still of use.
    fn turn(&mut self, host: &mut Host<Ram>) -> bool {
        for _ in 0..256 {
            let handled = self.session.service(&mut host.controller);
            let done = host.controller.poll(64);
            while matches!(self.client.read(&mut [0; 4096]), Ok(1..)) {}
            match handled {
                None => return false,
                Some(0) if done == 0 => return true,
                Some(_) => {}
            }
        }
        true
    }

    /// What every client says before its guest has a disk.
    fn set_up(&mut self, host: &mut Host<Ram>, event_idx: bool) {
        let mut wanted = PROTOCOL_FEATURES
            | feature::VERSION_1
            | feature::FLUSH
            | feature::INDIRECT_DESC
            | feature::DISCARD
            | feature::WRITE_ZEROES;
        if event_idx {
            wanted |= feature::EVENT_IDX;
        }
        self.ask(F::SET_OWNER, &[], None);
        self.ask(F::SET_FEATURES, &[wanted], None);
        let file = InflightFile::create(QUEUES, ENTRIES).unwrap();
        let shape = u64::from(QUEUES) | u64::from(ENTRIES) << 16;
        let bytes = u64::try_from(InflightFile::bytes(QUEUES, ENTRIES)).unwrap();
        self.ask(F::SET_INFLIGHT_FD, &[bytes, 0, shape], Some(file.as_fd()));
        // One region: where it is for the guest, its size, where for the client.
        let table = [1, BASE, MAPPED * PAGE, CLIENT, 0];
        self.ask(F::SET_MEM_TABLE, &table, Some(host.memory.as_fd()));
        for index in 0..u64::from(QUEUES) {
            let at = CLIENT + index * APART;
            self.ask(F::SET_VRING_NUM, &[index | u64::from(ENTRIES) << 32], None);
            self.ask(F::SET_VRING_BASE, &[index], None);
            let address = [index, at, at + USED, at + AVAILABLE, 0];
            self.ask(F::SET_VRING_ADDR, &address, None);
            for request in [F::SET_VRING_CALL, F::SET_VRING_KICK] {
                let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
                self.ask(request, &[index], Some(event.as_fd()));
            }
            self.ask(F::SET_VRING_ENABLE, &[index | 1 << 32], None);
        }
        assert!(self.turn(host), "a client like any is served");
        assert_eq!(host.controller.rings().0.in_flight(0), 0);
        assert!(host.controller.rings().0.is_started(QUEUES - 1));
    }

    /// Steps of client and guest: a byte says which, and what follows is in it.
    fn steps(&mut self, host: &mut Host<Ram>, mut rest: &[u8]) {
        for _ in 0..STEPS_MAX {
            let Some((&[which, what, count], next)) = rest.split_first_chunk() else {
                return;
            };
            let (data, next) = next.split_at(usize::from(count % 65).min(next.len()));
            rest = next;
            match which % 8 {
                // Headers, data, tables of descriptors.
                0 => {
                    let at = u64::from(what) * 64 + u64::from(which >> 3) * 0x4000;
                    let bytes = u64::try_from(data.len()).unwrap();
                    let at = at.min(MAPPED * PAGE - bytes);
                    host.write(BASE + at, data);
                }
                1..=3 => self.offer(host, which >> 3, what, data),
                4 => {
                    let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
                    let fd = match which >> 6 {
                        0 => None,
                        1 => Some(event.as_fd()),
                        _ => Some(self.other.as_fd()),
                    };
                    let flags = if which & 0x20 == 0 { 0 } else { NEED_REPLY };
                    self.send(u32::from(what % 48), flags, data, fd);
                }
                5 => self.session.nap(&mut host.controller),
                6 => {
                    let index = u64::from(what % 4);
                    let request = [F::GET_VRING_BASE, F::SET_VRING_ENABLE, F::SET_VRING_NUM];
                    let request = request[usize::from(which >> 3) % 3];
                    self.ask(request, &[index | u64::from(count) << 32], None);
                }
                _ => host.clock.advance(u64::from(what) << 20),
            }
            if !self.turn(host) {
                return;
            }
        }
    }

    /// Puts descriptors into a queue, and offers the first of them: of each, two
    /// bytes say where it is, one how long, one what it is.
    fn offer(&mut self, host: &Host<Ram>, queue: u8, head: u8, data: &[u8]) {
        let index = usize::from(queue) % self.offered.len();
        let at = BASE + u64::try_from(index).unwrap() * APART;
        let head = u16::from(head) % ENTRIES;
        let pieces = data.chunks_exact(4).zip(0_u16..);
        for (piece, number) in pieces {
            let entry = (head + number) % ENTRIES;
            let address = BASE + u64::from(piece[0]) * 64 + u64::from(piece[1]) * PAGE;
            let flags = u16::from(piece[3]) & 7;
            // Rarely elsewhere than behind it.
            let next = if piece[3] & 0xe0 == 0 {
                u16::from(piece[3] >> 3)
            } else {
                (entry + 1) % ENTRIES
            };
            let mut bytes = [0; Descriptor::BYTES];
            bytes[..8].copy_from_slice(&address.to_le_bytes());
            bytes[8..12].copy_from_slice(&(u32::from(piece[2]) * 16).to_le_bytes());
            bytes[12..14].copy_from_slice(&flags.to_le_bytes());
            bytes[14..].copy_from_slice(&next.to_le_bytes());
            let place = u64::from(entry) * bytes.len() as u64;
            host.write(at + place, &bytes);
        }
        let offered = &mut self.offered[index];
        let slot = u64::from(*offered % ENTRIES);
        *offered = offered.wrapping_add(1);
        host.write(at + AVAILABLE + 4 + slot * 2, &head.to_le_bytes());
        host.write(at + AVAILABLE + 2, &offered.to_le_bytes());
    }
}
