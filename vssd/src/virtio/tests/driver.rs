//! A toy virtio driver: just enough to offer requests and to see them used.

use std::os::fd::{AsFd, OwnedFd};

use nvme::DsmRange;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;
use traces::{CommandRecord, VirtualClock};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::super::layout::{Descriptor, Range, RequestHeader};
use crate::front::{Event, Function};
use crate::host::Log;
use crate::virtio::{Beginning, InflightFile, Place};
use crate::{Controller, ControllerConfig, Media, Protection};

/// Where the driver's memory starts.
pub(crate) const BASE: u64 = 0x10_0000;
const BYTES: u64 = 1 << 22;
/// Entries of its queues.
pub(crate) const SIZE: u16 = 16;
const TABLE: u64 = BASE;
const AVAILABLE: u64 = BASE + 0x1000;
const USED: u64 = BASE + 0x2004;
/// The second queue is as far behind the first.
const SECOND: u64 = 0x4000;
const BUFFERS: u64 = BASE + 0x1_0000;

/// A part of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) write: bool,
}

impl Piece {
    pub(crate) const fn read(address: u64, len: u32) -> Self {
        Self {
            address,
            len,
            write: false,
        }
    }

    pub(crate) const fn write(address: u64, len: u32) -> Self {
        Self {
            address,
            len,
            write: true,
        }
    }
}

/// A request that is laid out.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: u16,
    /// Its data.
    data: Vec<Piece>,
    /// Where its status goes.
    status: u64,
}

pub(crate) struct Driver<M: Media> {
    pub(crate) controller: Controller<M, Log, VirtualClock>,
    pub(crate) memory: OwnedFd,
    call: OwnedFd,
    /// Entries of the available ring, of each queue.
    available: [u16; 2],
    /// Entries of the used ring that were seen.
    seen: u16,
    next_descriptor: u16,
    next_buffer: u64,
}

impl<M: Media> Driver<M> {
    /// A driver with one queue of [`SIZE`] entries.
    pub(crate) fn new(media: M) -> Self {
        let memory = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&memory, BYTES).unwrap();
        let mut driver = Self::attach(media, memory);
        driver.start(0, None, false);
        driver
    }

    /// A driver whose memory is as it was, and a controller that knows nothing.
    pub(crate) fn attach(media: M, memory: OwnedFd) -> Self {
        let config = ControllerConfig::default();
        let clock = VirtualClock::new();
        let mut controller = Controller::new(config, media, Log::default(), clock).unwrap();
        controller.connected();
        controller
            .dma_map(BASE, BYTES, memory.as_fd(), 0, Protection::READ_WRITE)
            .unwrap();
        Self {
            controller,
            memory,
            call: eventfd(0, EventfdFlags::NONBLOCK).unwrap(),
            available: [0; 2],
            seen: 0,
            next_descriptor: 0,
            next_buffer: BUFFERS,
        }
    }

    pub(crate) fn place(queue: u64) -> Place {
        Place {
            entries: SIZE,
            descriptors: TABLE + SECOND * queue,
            available: AVAILABLE + SECOND * queue,
            used: USED + SECOND * queue,
        }
    }

    pub(crate) fn start(&mut self, base: u16, file: Option<&InflightFile>, event_idx: bool) {
        let event = Event::new(self.call.try_clone().unwrap());
        let (rings, memory) = self.controller.rings();
        let beginning = Beginning {
            place: Self::place(0),
            base,
            event_idx,
            log: file.map(|file| file.log(0, SIZE).unwrap()),
        };
        rings.start(0, beginning, memory).unwrap();
        rings.set_call(0, event);
        rings.enable(0, true);
    }

    /// Starts the queue anew.
    pub(crate) fn restart(&mut self, event_idx: bool) {
        self.controller.rings().0.forget_for_tests(0);
        self.start(0, None, event_idx);
    }

    /// Starts a second queue.
    pub(crate) fn second(&mut self) {
        let (rings, memory) = self.controller.rings();
        let beginning = Beginning {
            place: Self::place(1),
            base: 0,
            event_idx: false,
            log: None,
        };
        rings.start(1, beginning, memory).unwrap();
        rings.enable(1, true);
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) {
        rustix::io::pwrite(&self.memory, bytes, address - BASE).unwrap();
    }

    pub(crate) fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        rustix::io::pread(&self.memory, &mut bytes, address - BASE).unwrap();
        bytes
    }

    pub(crate) fn half(&self, address: u64) -> u16 {
        let bytes = self.read(address, 2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    /// Room for `len` bytes.
    pub(crate) fn buffer(&mut self, len: u32, write: bool) -> Piece {
        if self.next_buffer + u64::from(len) > BASE + BYTES {
            self.next_buffer = BUFFERS;
        }
        let address = self.next_buffer;
        self.next_buffer += u64::from(len).next_multiple_of(16);
        Piece {
            address,
            len,
            write,
        }
    }

    pub(crate) fn header(&mut self, kind: u32, sector: u64) -> Piece {
        let piece = self.buffer(16, false);
        let header = RequestHeader {
            kind: U32::new(kind),
            reserved: U32::new(0),
            sector: U64::new(sector),
        };
        self.write(piece.address, header.as_bytes());
        piece
    }

    pub(crate) fn status(&mut self) -> Piece {
        self.buffer(1, true)
    }

    pub(crate) fn descriptor(&self, at: u64, piece: Piece, flags: u16, next: u16) {
        let write = if piece.write { Descriptor::WRITE } else { 0 };
        let descriptor = Descriptor {
            address: U64::new(piece.address),
            len: U32::new(piece.len),
            flags: U16::new(write | flags),
            next: U16::new(next),
        };
        self.write(at, descriptor.as_bytes());
    }

    fn take_descriptors(&mut self, count: u16) -> u16 {
        if self.next_descriptor + count > SIZE {
            self.next_descriptor = 0;
        }
        let first = self.next_descriptor;
        self.next_descriptor = (first + count) % SIZE;
        first
    }

    /// Lays out a request of `pieces`, in a table of its own or in the queue's.
    pub(crate) fn chain(&mut self, pieces: &[Piece], indirect: bool) -> Request {
        let last = u16::try_from(pieces.len() - 1).unwrap();
        let (table, first, head);
        if indirect {
            let bytes = u32::try_from(pieces.len() * 16).unwrap();
            let room = self.buffer(bytes, false);
            head = self.take_descriptors(1);
            let at = TABLE + 16 * u64::from(head);
            self.descriptor(at, room, Descriptor::INDIRECT, 0);
            (table, first) = (room.address, 0);
        } else {
            first = self.take_descriptors(last + 1);
            (table, head) = (TABLE, first);
        }
        for (index, piece) in (first..).zip(pieces) {
            let next = if index == first + last {
                0
            } else {
                Descriptor::NEXT
            };
            self.descriptor(table + 16 * u64::from(index), *piece, next, index + 1);
        }
        let end = pieces[pieces.len() - 1];
        let data = pieces.iter().filter(|piece| piece.len > 1);
        Request {
            head,
            data: data.copied().collect(),
            status: end.address + u64::from(end.len) - 1,
        }
    }

    /// A request whose header and data are cut into pieces of such sizes.
    pub(crate) fn cut(
        &mut self,
        kind: u32,
        sector: u64,
        (headers, data): (&[u32], &[u32]),
        indirect: bool,
    ) -> Request {
        let mut pieces = Vec::new();
        let mut header = self.header(kind, sector);
        for &len in headers {
            pieces.push(Piece { len, ..header });
            header.address += u64::from(len);
        }
        let write = kind == super::kind::IN || kind == super::kind::GET_ID;
        let parts: Vec<Piece> = data.iter().map(|&len| self.buffer(len, write)).collect();
        pieces.extend(&parts);
        pieces.push(self.status());
        Request {
            data: parts,
            ..self.chain(&pieces, indirect)
        }
    }

    /// A request with `bytes` bytes of data.
    pub(crate) fn request(&mut self, kind: u32, sector: u64, bytes: u32) -> Request {
        let data: &[u32] = if bytes > 0 { &[bytes] } else { &[] };
        self.cut(kind, sector, (&[16], data), true)
    }

    /// A read whose status is the byte behind its data, in the same piece.
    pub(crate) fn joined(&mut self, sector: u64, bytes: u32) -> Request {
        let header = self.header(super::kind::IN, sector);
        let room = self.buffer(bytes + 1, true);
        let request = self.chain(&[header, room], false);
        Request {
            data: vec![Piece { len: bytes, ..room }],
            ..request
        }
    }

    /// A request on ranges: sector, sectors, flags.
    pub(crate) fn ranges(&mut self, kind: u32, ranges: &[(u64, u32, u32)]) -> Request {
        let bytes: Vec<u8> = ranges
            .iter()
            .flat_map(|&(sector, sectors, flags)| {
                let range = Range {
                    sector: U64::new(sector),
                    sectors: U32::new(sectors),
                    flags: U32::new(flags),
                };
                range.as_bytes().to_vec()
            })
            .collect();
        let request = self.request(kind, 0, u32::try_from(bytes.len()).unwrap());
        self.fill(&request, &bytes);
        request
    }

    pub(crate) fn fill(&self, request: &Request, mut bytes: &[u8]) {
        for piece in &request.data {
            let (now, later) = bytes.split_at(bytes.len().min(piece.len as usize));
            self.write(piece.address, now);
            bytes = later;
        }
    }

    pub(crate) fn data(&self, request: &Request) -> Vec<u8> {
        let pieces = request.data.iter();
        pieces
            .flat_map(|piece| self.read(piece.address, piece.len as usize))
            .collect()
    }

    pub(crate) fn status_of(&self, request: &Request) -> u8 {
        self.read(request.status, 1)[0]
    }

    /// Makes a request available.
    pub(crate) fn offer(&mut self, head: u16) {
        self.offer_on(0, head);
    }

    fn offer_on(&mut self, queue: usize, head: u16) {
        let place = Self::place(queue as u64);
        let slot = u64::from(self.available[queue] % SIZE);
        self.write(place.available + 4 + 2 * slot, &head.to_le_bytes());
        self.available[queue] = self.available[queue].wrapping_add(1);
        self.write(place.available + 2, &self.available[queue].to_le_bytes());
    }

    /// Makes a read available on the second queue.
    pub(crate) fn offer_second_read(&mut self) {
        let pieces = [
            self.header(super::kind::IN, 0),
            self.buffer(512, true),
            self.status(),
        ];
        let place = Self::place(1);
        for (index, piece) in (0_u16..).zip(pieces) {
            let next = if index == 2 { 0 } else { Descriptor::NEXT };
            let at = place.descriptors + 16 * u64::from(index);
            self.descriptor(at, piece, next, index + 1);
        }
        self.offer_on(1, 0);
    }

    /// The index of the available ring, set to anything.
    pub(crate) fn set_available(&mut self, index: u16) {
        self.available[0] = index;
        self.write(AVAILABLE + 2, &index.to_le_bytes());
    }

    /// What was used since this was asked last: heads and lengths.
    pub(crate) fn used(&mut self) -> Vec<(u16, u32)> {
        let index = self.half(USED + 2);
        let mut used = Vec::new();
        while self.seen != index {
            let slot = u64::from(self.seen % SIZE);
            let entry = self.read(USED + 4 + 8 * slot, 8);
            let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
            used.push((u16::try_from(word(0)).unwrap(), word(4)));
            self.seen = self.seen.wrapping_add(1);
        }
        used
    }

    /// Has one request served: its status, and what the used ring says was
    /// written.
    pub(crate) fn run(&mut self, request: &Request) -> (u8, u32) {
        self.write(request.status, &[0xff]);
        self.offer(request.head);
        self.controller.poll(64);
        let used = self.used();
        let [(head, len)] = used[..] else {
            panic!("one request, and {used:?} used");
        };
        assert_eq!(head, request.head);
        (self.status_of(request), len)
    }

    pub(crate) fn commands(&self) -> Vec<(CommandRecord, Vec<DsmRange>)> {
        self.controller.tap().commands.clone()
    }

    /// How often it was told of used requests since this was asked last.
    pub(crate) fn calls(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.call, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    /// Wants to be told once the used index passes `index`.
    pub(crate) fn want_call_after(&self, index: u16) {
        self.write(AVAILABLE, &[0, 0]);
        self.write(AVAILABLE + 4 + 2 * u64::from(SIZE), &index.to_le_bytes());
    }

    /// Wants not to be told.
    pub(crate) fn want_no_call(&self, index: u16) {
        self.write(AVAILABLE, &[1, 0]);
        self.write(AVAILABLE + 4 + 2 * u64::from(SIZE), &index.to_le_bytes());
    }

    /// Whether the device wants a kick for the next request.
    pub(crate) fn wants_kick(&self) -> bool {
        let event = self.half(USED + 4 + 8 * u64::from(SIZE));
        let (old, new) = (self.available[0], self.available[0].wrapping_add(1));
        if self.controller.device.queues.rings.has_event_idx(0) {
            super::super::ring::crosses(event, old, new)
        } else {
            self.half(USED) & 1 == 0
        }
    }

    pub(crate) fn listen(&mut self) -> bool {
        let (rings, memory) = self.controller.rings();
        rings.listen(memory)
    }

    pub(crate) fn look(&mut self) {
        let (rings, memory) = self.controller.rings();
        rings.look(memory);
    }

    /// Protects namespace 1 from writes.
    pub(crate) fn write_protect(&mut self) {
        let namespaces = &mut self.controller.device.namespaces;
        let namespace = namespaces.get_mut(nvme::NamespaceId(1)).unwrap();
        namespace.write_protection = crate::namespace::WriteProtection::Set;
        namespace.classify();
    }
}
