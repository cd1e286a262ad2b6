//! Clients, good and bad, at a real socket.

mod buffer;
mod hostile;
mod interrupts;
mod power;
mod requests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use nvme::Registers;
use traces::{Clock, MonotonicClock};
use wire::{
    Command, Connection, DmaFlags, DmaMap, DmaUnmap, DmaUnmapFlags, IrqAction, IrqData, IrqSet,
    Message, RegionAccess, Version, WireError,
};
use zerocopy::IntoBytes;

use super::{Options, Server};
use crate::front::{CmbFile, DoorbellFile, Function};
use crate::media::Ram;
use crate::worker::StopHandle;
use crate::{
    BlockDevice, Controller, ControllerConfig, DmaTable, Doorbells, Interrupts, MapError,
    PciIdentity, Protection, Rings,
};

const SECONDS: Option<Duration> = Some(Duration::from_secs(10));

/// A function that notes what is asked of it, and has one register.
struct Probe {
    notes: Notes,
    register: u32,
    doorbells: Doorbells,
    clock: MonotonicClock,
}

type Notes = Arc<Mutex<Vec<String>>>;

impl Probe {
    fn new() -> (Self, Notes) {
        let notes = Notes::default();
        let probe = Self {
            notes: Arc::clone(&notes),
            register: 0,
            doorbells: Doorbells::new().unwrap(),
            clock: MonotonicClock::start(),
        };
        (probe, notes)
    }

    fn note(&self, what: String) {
        self.notes.lock().unwrap().push(what);
    }
}

fn take(notes: &Notes) -> Vec<String> {
    std::mem::take(&mut notes.lock().unwrap())
}

impl Registers for Probe {
    fn read32(&mut self, offset: u32) -> u32 {
        // All but the register that says whether the controller is enabled.
        if offset == nvme::offset::CC {
            return 0;
        }
        self.register | offset
    }

    fn write32(&mut self, offset: u32, value: u32) {
        self.note(format!("write32 {offset:#x} {value:#x}"));
    }

    fn write64(&mut self, offset: u32, value: u64) {
        self.note(format!("write64 {offset:#x} {value:#x}"));
    }
}

impl Function for Probe {
    fn poll(&mut self, _budget: u32) -> u32 {
        0
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn idle(&self) -> bool {
        true
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        None
    }

    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn dma_map(
        &mut self,
        iova: u64,
        len: u64,
        _fd: BorrowedFd<'_>,
        file_offset: u64,
        protection: Protection,
    ) -> Result<(), MapError> {
        let Protection { read, write } = protection;
        self.note(format!(
            "map {iova:#x} {len:#x} {file_offset:#x} {read} {write}"
        ));
        Ok(())
    }

    fn dma_unmap(&mut self, iova: u64, len: u64) -> u64 {
        self.note(format!("unmap {iova:#x} {len:#x}"));
        0
    }

    fn dma_unmap_all(&mut self) {
        self.note("unmap all".to_owned());
    }

    fn doorbells(&self) -> DoorbellFile<'_> {
        DoorbellFile {
            fd: self.doorbells.fd(),
            offset: 0,
            bytes: 4096,
        }
    }

    fn cmb(&self) -> Option<CmbFile<'_>> {
        None
    }

    fn set_bus_master(&mut self, _enabled: bool) {}

    fn interrupt_pending(&mut self) -> bool {
        false
    }

    fn serial_number(&self) -> u64 {
        0x5254_0011_2233_4455
    }

    fn set_interrupts(&mut self, _interrupts: Box<dyn Interrupts + Send>) {}

    fn connected(&mut self) {
        self.note("connected".to_owned());
    }

    fn disconnected(&mut self) {
        self.note("disconnected".to_owned());
    }

    fn function_reset(&mut self) {
        self.note("reset".to_owned());
    }

    fn identity(&self) -> PciIdentity {
        PciIdentity::QEMU
    }

    fn vectors(&self) -> u16 {
        9
    }

    fn rings(&mut self) -> (&mut Rings, &DmaTable) {
        unreachable!("an NVMe front has none")
    }

    fn block_device(&self) -> Option<BlockDevice> {
        None
    }

    fn set_write_cache(&mut self, _enabled: bool) {}
}

/// A server on a thread of its own.
struct Served {
    _dir: tempfile::TempDir,
    path: PathBuf,
    stop: StopHandle,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn new(function: impl Function + Send + 'static) -> Self {
        Lines::install();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vssd.sock");
        let stop = StopHandle::new().unwrap();
        let mut server = Server::bind(&path, Options::default()).unwrap();
        let handle = stop.clone();
        let mut function = function;
        let thread = std::thread::spawn(move || server.run(&mut function, &handle).unwrap());
        Self {
            _dir: dir,
            path,
            stop,
            thread: Some(thread),
        }
    }

    /// A real controller with a small RAM disk.
    fn controller() -> Self {
        Self::with(ControllerConfig::default())
    }

    fn with(config: ControllerConfig) -> Self {
        let media = Ram::new(1 << 20).unwrap();
        let clock = MonotonicClock::start();
        Self::new(Controller::new(config, media, (), clock).unwrap())
    }

    fn probe() -> (Self, Notes) {
        let (probe, notes) = Probe::new();
        (Self::new(probe), notes)
    }

    /// A client that has yet to say hello.
    fn connect(&self) -> Client {
        Client(Connection::new(UnixStream::connect(&self.path).unwrap()))
    }

    /// A client that has said it.
    fn client(&self) -> Client {
        let mut client = self.connect();
        client.hello();
        client
    }

    /// Warnings and errors about this socket so far.
    fn complaints(&self) -> Vec<String> {
        Lines::about(&self.path)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
        let ended = self.thread.take().unwrap().join();
        assert!(
            ended.is_ok() || std::thread::panicking(),
            "the server panicked"
        );
        assert!(!self.path.exists(), "the socket file stayed");
    }
}

/// A client with the requests that tests make.
struct Client(Connection);

impl Client {
    fn hello(&mut self) -> Version {
        let hello = Version::proposal().encode();
        let reply = self.ask(Command::Version, &[&hello]).unwrap();
        Version::decode(&reply.payload).unwrap()
    }

    fn ask(&mut self, command: Command, payload: &[&[u8]]) -> Result<Message, WireError> {
        self.0.request(command, payload, &[], SECONDS)
    }

    fn read(&mut self, region: u32, offset: u64, count: u32) -> Result<Vec<u8>, WireError> {
        let access = RegionAccess {
            offset,
            region,
            count,
        };
        let reply = self.ask(Command::RegionRead, &[access.as_bytes()])?;
        Ok(reply.payload[size_of::<RegionAccess>()..].to_vec())
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), WireError> {
        let access = RegionAccess {
            offset,
            region,
            count: u32::try_from(data.len()).unwrap(),
        };
        self.ask(Command::RegionWrite, &[access.as_bytes(), data])?;
        Ok(())
    }

    fn map(&mut self, map: DmaMap, fd: &OwnedFd) -> Result<(), WireError> {
        let fds = [fd.as_fd()];
        self.0
            .request(Command::DmaMap, &[map.as_bytes()], &fds, SECONDS)
            .map(drop)
    }

    fn unmap(&mut self, address: u64, size: u64) -> Result<DmaUnmap, WireError> {
        let unmap = DmaUnmap {
            argsz: 24,
            flags: DmaUnmapFlags::new(),
            address,
            size,
        };
        let reply = self.ask(Command::DmaUnmap, &[unmap.as_bytes()])?;
        Ok(reply.parse::<DmaUnmap>(Command::DmaUnmap)?.0)
    }

    /// Does what a client does that works.
    fn works(mut self) {
        self.hello();
        assert_eq!(self.read(7, 0, 4).unwrap(), [0x36, 0x1b, 0x10, 0x00]);
        let memory = memory(1 << 20);
        self.map(range(0x10_0000, 1 << 20), &memory).unwrap();
        assert_eq!(self.unmap(0x10_0000, 1 << 20).unwrap().size, 1 << 20);
        self.ask(Command::DeviceReset, &[]).unwrap();
    }
}

/// A client with the admin queues of a controller, each of 16 entries.
struct Driver {
    client: Client,
    memory: OwnedFd,
    tail: u8,
}

/// Where they are: the submission queue, then the completion queue.
const SQ: u64 = 0x10_0000;
const CQ: u64 = 0x10_1000;

impl Driver {
    /// Enables a controller, with the bus master bit set.
    fn new(served: &Served) -> Self {
        let mut client = served.client();
        client.write(7, 4, &[6, 0]).unwrap();
        let memory = memory(1 << 20);
        client.map(range(SQ, 1 << 20), &memory).unwrap();
        client.write(0, 0x24, &[15, 0, 15, 0]).unwrap();
        client.write(0, 0x28, &SQ.to_le_bytes()).unwrap();
        client.write(0, 0x30, &CQ.to_le_bytes()).unwrap();
        client.write(0, 0x14, &[1, 0, 0x46, 0]).unwrap();
        assert_eq!(client.read(0, 0x1c, 1).unwrap(), [1]);
        Self {
            client,
            memory,
            tail: 0,
        }
    }

    /// Submits a command, Get Features for the number of queues.
    fn submit(&mut self) {
        let mut sqe = [0_u8; 64];
        sqe[0] = 0x0a;
        sqe[2] = self.tail;
        sqe[40] = 7;
        rustix::io::pwrite(&self.memory, &sqe, u64::from(self.tail) * 64).unwrap();
        self.tail += 1;
        self.client.write(0, 0x1000, &[self.tail, 0, 0, 0]).unwrap();
    }

    /// How many completions there are.
    fn completions(&self) -> usize {
        let mut cqes = [0_u8; 16 * 16];
        rustix::io::pread(&self.memory, &mut cqes, CQ - SQ).unwrap();
        cqes.chunks(16).filter(|cqe| cqe[14] & 1 != 0).count()
    }

    /// Waits for so many.
    fn wait(&self, completions: usize) {
        eventually(|| self.completions() == completions);
    }

    /// Has consumed so many.
    fn consume(&mut self, completions: u8) {
        self.client
            .write(0, 0x1004, &[completions, 0, 0, 0])
            .unwrap();
    }

    fn config(&mut self, offset: u64, bytes: &[u8]) {
        self.client.write(7, offset, bytes).unwrap();
    }
}

/// Sets up interrupts of a type.
fn set_irqs(
    client: &mut Client,
    index: u32,
    set: (IrqData, IrqAction),
    vectors: (u32, u32),
    bools: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    let set = IrqSet {
        argsz: 20,
        flags: IrqSet::flags(set.0, set.1),
        index,
        start: vectors.0,
        count: vectors.1,
    };
    let payload: [&[u8]; 2] = [set.as_bytes(), bools];
    client
        .0
        .request(Command::DeviceSetIrqs, &payload, fds, SECONDS)
        .map(drop)
}

/// How often an eventfd was signalled since this was asked last.
fn count(fd: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(fd, &mut count) {
        Ok(_) => u64::from_ne_bytes(count),
        Err(_) => 0,
    }
}

/// Guest memory.
fn memory(bytes: u64) -> OwnedFd {
    let fd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&fd, bytes).unwrap();
    fd
}

/// A range of it, from the start of the file.
fn range(address: u64, size: u64) -> DmaMap {
    DmaMap {
        argsz: 32,
        flags: DmaFlags::new().with_read(true).with_write(true),
        offset: 0,
        address,
        size,
    }
}

/// Waits until `done`, and fails if that takes seconds.
#[expect(clippy::disallowed_methods, reason = "the server runs in real time")]
fn eventually(done: impl Fn() -> bool) {
    for _ in 0..5000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("nothing happened for five seconds");
}

/// Everything that is logged as a warning or worse, by all tests.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Lines {
    fn get() -> &'static Self {
        static LINES: OnceLock<Lines> = OnceLock::new();
        LINES.get_or_init(Self::default)
    }

    fn install() {
        // The second test finds it installed.
        let _ = log::set_logger(Self::get());
        log::set_max_level(log::LevelFilter::Debug);
    }

    fn about(path: &Path) -> Vec<String> {
        let path = path.display().to_string();
        let lines = Self::get().0.lock().unwrap();
        lines
            .iter()
            .filter(|line| line.contains(&path))
            .cloned()
            .collect()
    }
}

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        if record.level() <= log::Level::Warn {
            self.0.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}
