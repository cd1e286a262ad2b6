//! A proxy between driver and vssd that changes what passes.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use wire::{
    Command, Connection, Header, Message, RegionAccess, decode_region_info, encode_region_info,
    region_index,
};

use crate::common::PATIENCE;

/// What is done to the replies of the device.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trick {
    /// The doorbells cannot be mapped.
    NoMapping,
    /// The connection ends instead of the reply with this number, from 0.
    EndBefore(u32),
    /// The reply with this number is cut in half.
    Half(u32),
    /// The reply with this number is an error.
    Refuse(u32),
    /// The reply with this number is full of ones, behind its header.
    Ones(u32),
}

/// What passed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    /// Replies.
    pub(crate) replies: u32,
    /// Writes to the PCI command register that let the device access memory.
    pub(crate) switched_on: u32,
}

/// Serves one client at a socket of its own, by the server at another.
pub(crate) struct Proxy {
    directory: tempfile::TempDir,
    thread: Option<JoinHandle<Passed>>,
}

impl Proxy {
    pub(crate) fn start(server: PathBuf, trick: Trick) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("cntrl")).unwrap();
        let thread = std::thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            forward(client, UnixStream::connect(server).unwrap(), trick)
        });
        Self {
            directory,
            thread: Some(thread),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Waits for the client's end.
    pub(crate) fn join(mut self) -> Passed {
        self.thread.take().unwrap().join().unwrap()
    }
}

fn forward(client: UnixStream, server: UnixStream, trick: Trick) -> Passed {
    let (mut client, mut server) = (Connection::new(client), Connection::new(server));
    let mut passed = Passed::default();
    // A client of ours sends one request at a time.
    while let Ok(request) = client.recv(Some(PATIENCE)) {
        send(&mut server, request.header, &request);
        passed.switched_on += u32::from(is_switching_on(&request));
        let mut reply = server.recv(Some(PATIENCE)).unwrap();
        let mut header = reply.header;
        match trick {
            Trick::NoMapping => unmap(&mut reply),
            Trick::EndBefore(number) if number == passed.replies => break,
            Trick::Half(number) if number == passed.replies => {
                reply.payload.truncate(reply.payload.len() / 2);
            }
            Trick::Refuse(number) if number == passed.replies => {
                header = request.header.error_reply(5);
                reply.payload.clear();
            }
            Trick::Ones(number) if number == passed.replies => reply.payload.fill(0xff),
            _ => {}
        }
        send(&mut client, header, &reply);
        passed.replies += 1;
    }
    passed
}

/// Whether it sets Bus Master Enable (`PCI Local Bus 3.0 §6.2.2`).
fn is_switching_on(request: &Message) -> bool {
    if request.header.command() != Some(Command::RegionWrite) {
        return false;
    }
    let (access, data) = request.parse::<RegionAccess>(Command::RegionWrite).unwrap();
    access.region == region_index::CONFIG && access.offset == 4 && data[0] & 0b100 != 0
}

fn send(to: &mut Connection, header: Header, message: &Message) {
    let fds: Vec<_> = message.fds.iter().map(AsFd::as_fd).collect();
    // A client that has given up already is what some tricks are after.
    let _ = to.send(header, &[&message.payload], &fds);
    let _ = to.flush_wait(Some(PATIENCE));
}

fn unmap(reply: &mut Message) {
    if reply.header.command() == Some(Command::DeviceGetRegionInfo) {
        let (mut info, _) = decode_region_info(&reply.payload).unwrap();
        info.flags.set_mmap(false);
        reply.payload = encode_region_info(info, &[], u32::MAX);
        reply.fds.clear();
    }
}
