//! A client: the crate `vhost`'s frontend, with memory and queues of its own.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::thread::JoinHandle;

use rustix::fs::MemfdFlags;
use traces::{Clock, MonotonicClock};
use vhost::vhost_user::message::{
    VhostUserHeaderFlag, VhostUserInflight, VhostUserProtocolFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::EventFd;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::super::{Options, Server};
use crate::host::Log;
use crate::media::Ram;
use crate::virtio::layout::{Descriptor, RequestHeader, kind};
use crate::worker::StopHandle;
use crate::{Controller, ControllerConfig};

/// Entries of a queue.
pub(super) const SIZE: u16 = 16;
const MEMORY: u64 = 1 << 20;
/// Where the guest has it.
const GUEST: u64 = 0x8000_0000;
/// Where the client says that it has it.
const CLIENT: u64 = 0x7f00_0000_0000;
/// Bytes of memory of each queue: its rings, then slots for requests.
const QUEUE: u64 = 0x1_0000;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
const SLOTS: u64 = 0x3000;
/// Bytes of a slot: the header, the status, and in the second half the data.
const SLOT: u64 = 0x2000;
const SLOTS_COUNT: u16 = 5;
const QUEUES: usize = 4;

type Drive = Controller<Ram, Log, MonotonicClock>;

/// A served drive.
pub(super) struct Served {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    stop: StopHandle,
    thread: JoinHandle<Drive>,
    _directory: tempfile::TempDir,
}

impl Served {
    pub(super) fn start(prepare: impl FnOnce(&mut Drive)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.sock");
        let bytes = 16 << 20;
        let config = ControllerConfig::default();
        let clock = MonotonicClock::start();
        let medium = Ram::new(bytes).unwrap();
        let mut controller = Controller::new(config, medium, Log::default(), clock).unwrap();
        prepare(&mut controller);
        let mut server = Server::bind(&path, Options::default()).unwrap();
        let stop = StopHandle::new().unwrap();
        let handle = stop.clone();
        let thread = std::thread::spawn(move || {
            server.run(&mut controller, &handle).unwrap();
            controller
        });
        Self {
            path,
            bytes,
            stop,
            thread,
            _directory: directory,
        }
    }

    /// Stops it. What was observed.
    pub(super) fn stop(self) -> Log {
        self.stop.stop();
        let mut controller = self.thread.join().unwrap();
        std::mem::take(controller.tap_mut())
    }
}

pub(super) struct Client {
    pub(super) frontend: Frontend,
    memory: OwnedFd,
    kicks: Vec<EventFd>,
    calls: Vec<EventFd>,
    available: [u16; QUEUES],
}

impl Client {
    pub(super) fn connect(served: &Served) -> Self {
        let memory = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&memory, MEMORY).unwrap();
        let event = |_| EventFd::new(libc::EFD_NONBLOCK).unwrap();
        Self {
            frontend: Self::frontend(served),
            memory,
            kicks: (0..QUEUES).map(event).collect(),
            calls: (0..QUEUES).map(event).collect(),
            available: [0; QUEUES],
        }
    }

    fn frontend(served: &Served) -> Frontend {
        let count = u64::try_from(QUEUES).unwrap();
        let frontend = Frontend::connect(&served.path, count).unwrap();
        frontend.set_owner().unwrap();
        frontend
    }

    /// The same, with another server.
    pub(super) fn reconnect(self, served: &Served) -> Self {
        let Self {
            memory,
            kicks,
            calls,
            available,
            ..
        } = self;
        let frontend = Self::frontend(served);
        Self {
            frontend,
            memory,
            kicks,
            calls,
            available,
        }
    }

    pub(super) fn negotiate(&mut self) {
        self.negotiate_without(0);
    }

    pub(super) fn negotiate_without(&mut self, left_out: u64) {
        let features = self.frontend.get_features().unwrap();
        let event_idx = crate::virtio::layout::feature::EVENT_IDX;
        self.frontend
            .set_features(features & !left_out & !event_idx)
            .unwrap();
        let protocol = self.frontend.get_protocol_features().unwrap();
        let needed = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::RESET_DEVICE;
        assert!(protocol.contains(needed), "{protocol:?}");
        self.frontend.set_protocol_features(needed).unwrap();
        self.frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    }

    /// A client with `queues` queues that run.
    pub(super) fn ready(served: &Served, queues: usize) -> Self {
        let mut client = Self::connect(served);
        client.negotiate();
        client.share_memory();
        for queue in 0..queues {
            client.start(queue, 0);
        }
        client
    }

    fn region(&self) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: GUEST,
            memory_size: MEMORY,
            userspace_addr: CLIENT,
            mmap_offset: 0,
            mmap_handle: self.memory.as_raw_fd(),
        }
    }

    pub(super) fn share_memory(&self) {
        self.frontend.set_mem_table(&[self.region()]).unwrap();
    }

    pub(super) fn add_memory(&mut self) {
        let region = self.region();
        self.frontend.add_mem_region(&region).unwrap();
    }

    pub(super) fn remove_memory(&mut self) {
        self.remove_memory_again().unwrap();
    }

    pub(super) fn remove_memory_again(&mut self) -> vhost::Result<()> {
        let region = self.region();
        self.frontend.remove_mem_region(&region)
    }

    /// Starts a queue from the available index `base` on.
    pub(super) fn start(&mut self, queue: usize, base: u16) {
        let at = CLIENT + QUEUE * queue as u64;
        self.frontend.set_vring_num(queue, SIZE).unwrap();
        self.frontend.set_vring_base(queue, base).unwrap();
        self.start_at(queue, at).unwrap();
        self.frontend.set_vring_enable(queue, true).unwrap();
    }

    /// The last of that, with the rings at `at`.
    pub(super) fn start_at(&mut self, queue: usize, at: u64) -> vhost::Result<()> {
        let config = VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: at,
            used_ring_addr: at + USED,
            avail_ring_addr: at + AVAILABLE,
            log_addr: None,
        };
        self.frontend.set_vring_num(queue, SIZE)?;
        self.frontend.set_vring_addr(queue, &config)?;
        self.frontend.set_vring_call(queue, &self.calls[queue])?;
        self.frontend.set_vring_kick(queue, &self.kicks[queue])
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        rustix::io::pwrite(&self.memory, bytes, at).unwrap();
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        rustix::io::pread(&self.memory, &mut bytes, at).unwrap();
        bytes
    }

    /// Where the next request has its things, and its first descriptor.
    fn slot(&self, queue: usize) -> (u64, u16) {
        let slot = self.available[queue] % SLOTS_COUNT;
        let at = QUEUE * queue as u64 + SLOTS + SLOT * u64::from(slot);
        (at, 3 * slot)
    }

    /// Makes a request available. Its first descriptor.
    pub(super) fn offer(&mut self, queue: usize, kind: u32, sector: u64, data: &[u8]) -> u16 {
        let (at, head) = self.slot(queue);
        let header = RequestHeader {
            kind: U32::new(kind),
            reserved: U32::new(0),
            sector: U64::new(sector),
        };
        self.write(at, header.as_bytes());
        self.write(at + 16, &[0xff]);
        self.write(at + 0x1000, data);
        let data_flags = if kind == kind::IN {
            Descriptor::WRITE
        } else {
            0
        };
        let parts = [
            (at, 16, Descriptor::NEXT),
            (at + 0x1000, data.len(), Descriptor::NEXT | data_flags),
            (at + 16, 1, Descriptor::WRITE),
        ];
        let base = QUEUE * queue as u64;
        for (index, (address, len, flags)) in (head..).zip(parts) {
            let descriptor = Descriptor {
                address: U64::new(GUEST + address),
                len: U32::new(u32::try_from(len).unwrap()),
                flags: U16::new(flags),
                next: U16::new(index + 1),
            };
            self.write(base + 16 * u64::from(index), descriptor.as_bytes());
        }
        let entry = u64::from(self.available[queue] % SIZE);
        self.write(base + AVAILABLE + 4 + 2 * entry, &head.to_le_bytes());
        self.available[queue] += 1;
        self.write(base + AVAILABLE + 2, &self.available[queue].to_le_bytes());
        head
    }

    pub(super) fn kick(&self, queue: usize) {
        self.kicks[queue].write(1).unwrap();
    }

    pub(super) fn used_index(&self, queue: usize) -> u16 {
        let bytes = self.read(QUEUE * queue as u64 + USED + 2, 2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    /// Waits until so much is used, as a driver does: it looks when it is told.
    pub(super) fn wait_used(&self, queue: usize, index: u16) {
        let clock = MonotonicClock::start();
        let patience_ns = clock.now_ns() + 20_000_000_000;
        while self.used_index(queue) != index {
            while self.calls[queue].read().is_err() {
                let used = self.used_index(queue);
                assert!(clock.now_ns() < patience_ns, "used {used}, not {index}");
                std::thread::yield_now();
            }
        }
    }

    /// Has one request served: its status, and the data.
    pub(super) fn transfer(
        &mut self,
        queue: usize,
        kind: u32,
        sector: u64,
        data: &[u8],
    ) -> (u8, Vec<u8>) {
        let (at, _) = self.slot(queue);
        self.offer(queue, kind, sector, data);
        self.kick(queue);
        self.wait_used(queue, self.available[queue]);
        (self.read(at + 16, 1)[0], self.read(at + 0x1000, data.len()))
    }

    pub(super) fn use_inflight(&mut self, inflight: &VhostUserInflight, file: &File) {
        self.frontend
            .set_inflight_fd(inflight, file.as_raw_fd())
            .unwrap();
    }

    /// Has the file say that requests of queue 0 are being served.
    pub(super) fn pretend_in_flight(&self, file: &File, heads: &[u16]) {
        for (counter, head) in (100_u64..).zip(heads) {
            let at = 16 + 16 * u64::from(*head);
            rustix::io::pwrite(file, &counter.to_ne_bytes(), at + 8).unwrap();
            rustix::io::pwrite(file, &[1], at).unwrap();
        }
    }
}
