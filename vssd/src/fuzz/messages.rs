//! Both ends of a vfio-user connection.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use wire::{
    Command, Connection, DmaFlags, DmaMap, Header, IrqSet, Message, RegionAccess, Version,
    decode_region_info,
};
use zerocopy::IntoBytes;

use super::MEDIA_BYTES;
use crate::ControllerConfig;
use crate::front::vfio_user::FuzzedSession;
use crate::host::{BASE, Host, PAGE};
use crate::media::Ram;

/// Messages to a server, or to a client. The first byte says to which, and
/// whether they are bytes or made of structures, and whether the versions are
/// agreed on before.
///
/// # Panics
///
/// Where one of them does.
pub fn vfio_user(data: &[u8]) {
    let [how, rest @ ..] = data else { return };
    if how & 3 == 3 {
        return client(rest);
    }
    let (client, server) = UnixStream::pair().unwrap();
    let config = ControllerConfig {
        cmb_bytes: if how & 8 == 0 { 0 } else { 16 << 10 },
        ..ControllerConfig::default()
    };
    let mut host = Host::new(config, Ram::new(MEDIA_BYTES).unwrap());
    let mut peer = Peer {
        session: FuzzedSession::new(server, &host.controller),
        connection: Connection::new(client.try_clone().unwrap()),
        raw: client,
    };
    if how & 4 == 0 {
        let proposal = Version::proposal().encode();
        peer.send(Command::Version, &[&proposal], &[]);
        peer.turn(&mut host);
    }
    if how & 3 == 0 {
        // Less than what the socket takes without anybody reading.
        let bytes = rest.get(..32 << 10).unwrap_or(rest);
        peer.raw.write_all(bytes).unwrap();
        peer.turn(&mut host);
    } else {
        structured(&mut peer, &mut host, rest);
    }
    drop(peer);
    host.controller.disconnected();
}

/// A client, the session that serves it, and what both speak over.
struct Peer {
    session: FuzzedSession,
    connection: Connection,
    raw: UnixStream,
}

impl Peer {
    fn send(&mut self, command: Command, payload: &[&[u8]], fds: &[BorrowedFd<'_>]) {
        // A server that has gone is told by the next turn.
        let _ = self
            .connection
            .send(Header::request(1, command), payload, fds);
    }

    /// Has the server answer, and reads the answers. Whether the connection is
    /// still of use.
    fn turn(&mut self, host: &mut Host<Ram>) -> bool {
        for _ in 0..1024 {
            let handled = self.session.service(&mut host.controller);
            host.controller.poll(64);
            let mut answered = false;
            while let Ok(Some(message)) = self.connection.try_recv() {
                decode(&message);
                answered = true;
            }
            match handled {
                Err(_) => return false,
                Ok(0) if !answered => return true,
                Ok(_) => {}
            }
        }
        true
    }
}

/// Requests that are well formed, but for what they ask: a byte says which, and
/// what follows is in it.
fn structured(peer: &mut Peer, host: &mut Host<Ram>, mut rest: &[u8]) {
    for _ in 0..64 {
        let Some((&[which, region, count], next)) = rest.split_first_chunk() else {
            return;
        };
        let Some((offset, next)) = next.split_first_chunk() else {
            return;
        };
        let word = u16::from_le_bytes(*offset);
        let offset = u64::from(word);
        let count = usize::from(count % 65);
        let (data, next) = next.split_at(count.min(next.len()));
        rest = next;
        let access = RegionAccess {
            offset,
            region: u32::from(region % 10),
            count: u32::try_from(count).unwrap(),
        };
        match which % 8 {
            0 => peer.send(Command::RegionRead, &[access.as_bytes()], &[]),
            1 | 2 => peer.send(Command::RegionWrite, &[access.as_bytes(), data], &[]),
            3 => {
                let map = DmaMap {
                    argsz: 32,
                    flags: DmaFlags::from_bits(u32::from(region)),
                    offset: (offset & 0xff) * PAGE,
                    address: BASE + (offset >> 8) * PAGE,
                    size: u64::from(which >> 3) * PAGE,
                };
                let fds = [host.memory.as_fd()];
                peer.send(Command::DmaMap, &[map.as_bytes()], &fds);
            }
            4 => {
                let set = IrqSet {
                    argsz: 20 + u32::from(which >> 3) * 4,
                    flags: u32::from(word & 0x3f),
                    index: u32::from(region % 6),
                    start: u32::from(which >> 5),
                    count: u32::from(which >> 3 & 3),
                };
                let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
                let event = event.unwrap();
                let fds = vec![event.as_fd(); usize::from(which >> 3 & 3)];
                peer.send(Command::DeviceSetIrqs, &[set.as_bytes(), data], &fds);
            }
            _ => {
                let command = Command::from_number(u16::from(region % 20));
                peer.send(command.unwrap_or(Command::DeviceReset), &[data], &[]);
            }
        }
        if !peer.turn(host) {
            return;
        }
    }
}

/// What a client makes of what a server sends: any bytes.
fn client(data: &[u8]) {
    let (theirs, ours) = UnixStream::pair().unwrap();
    let mut theirs = theirs;
    let data = data.get(..32 << 10).unwrap_or(data);
    theirs.write_all(data).unwrap();
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    let mut connection = Connection::new(ours);
    let asked = connection.request(
        Command::DeviceGetRegionInfo,
        &[&[0; 32]],
        &[],
        Some(Duration::ZERO),
    );
    if let Ok(message) = asked {
        decode(&message);
    }
    while let Ok(Some(message)) = connection.try_recv() {
        decode(&message);
    }
}

/// Reads a message as everything that it might be.
fn decode(message: &Message) {
    let _ = decode_region_info(&message.payload);
    if let Ok(version) = Version::decode(&message.payload) {
        let _ = version.answer();
        let again = Version::decode(&version.encode());
        assert!(again.is_ok(), "{version:?}");
    }
    let _ = message.parse::<wire::DeviceInfo>(Command::DeviceGetInfo);
    let _ = message.parse::<wire::IrqInfo>(Command::DeviceGetIrqInfo);
    let _ = message.parse::<RegionAccess>(Command::RegionRead);
}
