//! A device over a vfio-user socket: our vssd, or any other server.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nvme::{DOORBELL_BASE, Registers};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use wire::{
    Command, Connection, DeviceInfo, DmaFlags, DmaMap, IrqAction, IrqData, IrqInfo, IrqSet,
    Message, RegionAccess, RegionInfo, SparseArea, Version, WireError, decode_region_info,
    irq_index, region_index,
};
use zerocopy::IntoBytes;

use super::memory::{DmaArena, Region};
use super::{Doorbells, Fault, Link, Transport, TrappedDoorbells};
use crate::{DmaBuffer, DriverError};

/// The socket in a directory, where a directory is given: the convention of
/// SPDK's servers.
const SOCKET_IN_DIRECTORY: &str = "cntrl";
/// How long a server may take to answer. A reset that waits for the media is
/// the longest that there is.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What a PCI NVMe controller has as its class code: programming interface,
/// subclass, class.
const CLASS_NVME: [u8; 3] = [0x02, 0x08, 0x01];
/// Offsets in PCI configuration space (`PCI Local Bus 3.0 §6.1`).
const PCI_COMMAND: u64 = 0x04;
const PCI_CLASS: u64 = 0x09;
/// Memory space and bus master enable: without the latter a device may not
/// touch memory.
const PCI_COMMAND_ON: u16 = 0b110;
/// Room for a region's description with many mappable areas, bytes.
const REGION_INFO_ROOM: u32 = 4096;

/// The client's end of a vfio-user connection.
#[derive(Debug)]
pub struct VfioUser {
    link: Arc<Socket>,
    arena: DmaArena,
    doorbells: Doorbells,
    vectors: u16,
}

/// The socket, for whoever needs it: registers, trapped doorbells, and those
/// who ask whether it is still there.
#[derive(Debug)]
struct Socket {
    name: String,
    connection: Mutex<Connection>,
    /// A second descriptor of the socket, to look at without the lock.
    watched: std::os::fd::OwnedFd,
    fault: OnceLock<Fault>,
}

impl VfioUser {
    /// Connects to the server at `path`: a socket, or a directory with one
    /// named `cntrl`. Waits a few seconds at most.
    ///
    /// # Errors
    ///
    /// [`DriverError::NobodyListens`] where there is no server, [`DriverError::Transport`]
    /// where there is one that does not speak vfio-user or is no NVMe
    /// controller.
    pub fn connect(path: &Path) -> Result<Self, DriverError> {
        let path = socket_path(path);
        let name = format!("vfio-user:{}", path.display());
        let stream = connect_within(&path)?;
        let watched = stream
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| DriverError::transport(&name, "connecting", error))?;
        let link = Arc::new(Socket {
            name,
            connection: Mutex::new(Connection::new(stream)),
            watched,
            fault: OnceLock::new(),
        });
        link.agree()?;
        let doorbells = link.find_doorbells()?;
        let vectors = link.vectors()?;
        link.config_write(PCI_COMMAND, &PCI_COMMAND_ON.to_le_bytes())?;
        Ok(Self {
            link,
            arena: DmaArena::new(),
            doorbells,
            vectors,
        })
    }
}

/// The socket that `path` means.
fn socket_path(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(SOCKET_IN_DIRECTORY)
    } else {
        path.to_owned()
    }
}

/// Connects, and does not hang where the server's backlog is full: such a
/// server is one that serves somebody else.
fn connect_within(path: &Path) -> Result<UnixStream, DriverError> {
    let device = || format!("vfio-user:{}", path.display());
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => DriverError::NobodyListens {
            path: path.to_owned(),
            source,
        },
        io::ErrorKind::WouldBlock => DriverError::transport(
            &device(),
            "connecting",
            "too many others wait for this vssd already: a server takes one client at a time",
        ),
        _ => DriverError::transport(&device(), "connecting", source),
    };
    if let Ok(metadata) = path.metadata()
        && !metadata.file_type().is_socket()
    {
        return Err(DriverError::transport(
            &device(),
            "connecting",
            "this is not a socket: give the path that `vssd serve --vfio-user` was given",
        ));
    }
    let address = SocketAddrUnix::new(path).map_err(|error| failed(error.into()))?;
    // On a UNIX socket, a non-blocking connect is done or refused at once.
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|error| failed(error.into()))?;
    connect(&socket, &address).map_err(|error| failed(error.into()))?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false).map_err(failed)?;
    Ok(stream)
}

impl Socket {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A connection that somebody left in the middle of a message fails at
        // the next one.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// One request and its reply. An error that leaves the connection unusable
    /// is remembered, and ends all further ones at once.
    fn request(
        &self,
        operation: &'static str,
        command: Command,
        payload: &[&[u8]],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Message, DriverError> {
        if let Some(fault) = self.fault.get() {
            return Err(DriverError::DeviceGone {
                device: self.name.clone(),
                fault: fault.clone(),
            });
        }
        let reply = self.lock().request(command, payload, fds, Some(TIMEOUT));
        reply.map_err(|error| self.failed(operation, &error))
    }

    fn failed(&self, operation: &'static str, error: &WireError) -> DriverError {
        use WireError as E;
        match error {
            E::Refused { .. } | E::Payload { .. } | E::Json(_) | E::Version { .. } => {}
            _ => {
                let fault = self
                    .fault
                    .get_or_init(|| Fault::new(&format!("{operation}: {error}")));
                return DriverError::DeviceGone {
                    device: self.name.clone(),
                    fault: fault.clone(),
                };
            }
        }
        DriverError::transport(&self.name, operation, error)
    }

    /// The likeliest reason for a server that accepts and then says nothing.
    fn not_served(&self, operation: &'static str, error: DriverError) -> DriverError {
        match error {
            DriverError::DeviceGone { fault, .. } => DriverError::transport(
                &self.name,
                operation,
                format!(
                    "{fault} (is a VM or another program attached? a server takes one at a time)"
                ),
            ),
            other => other,
        }
    }

    /// The first exchange: versions, and what is at the other end.
    fn agree(&self) -> Result<(), DriverError> {
        const OPERATION: &str = "agreeing on a protocol version";
        let proposal = Version::proposal();
        let reply = self
            .request(OPERATION, Command::Version, &[&proposal.encode()], &[])
            .map_err(|error| self.not_served(OPERATION, error))?;
        let answer = Version::decode(&reply.payload).and_then(|version| {
            if version.major == proposal.major {
                return Ok(());
            }
            Err(WireError::Version {
                major: version.major,
                minor: version.minor,
            })
        });
        answer.map_err(|error| self.failed(OPERATION, &error))?;

        const LOOKING: &str = "asking what device it is";
        let ask = DeviceInfo {
            argsz: argsz::<DeviceInfo>(),
            ..DeviceInfo::default()
        };
        let reply = self.request(LOOKING, Command::DeviceGetInfo, &[ask.as_bytes()], &[])?;
        let (info, _) = reply
            .parse::<DeviceInfo>(Command::DeviceGetInfo)
            .map_err(|error| self.failed(LOOKING, &error))?;
        let mut class = [0; 3];
        if info.flags.pci() {
            self.read(LOOKING, region_index::CONFIG, PCI_CLASS, &mut class)?;
        }
        if class != CLASS_NVME {
            return Err(DriverError::transport(
                &self.name,
                LOOKING,
                "it is not a PCI NVMe controller",
            ));
        }
        Ok(())
    }

    /// The doorbells: mapped where the server lets that be, else trapped.
    fn find_doorbells(self: &Arc<Self>) -> Result<Doorbells, DriverError> {
        const OPERATION: &str = "asking for the registers";
        let ask = RegionInfo {
            argsz: REGION_INFO_ROOM,
            index: region_index::BAR0,
            ..RegionInfo::default()
        };
        let command = Command::DeviceGetRegionInfo;
        let reply = self.request(OPERATION, command, &[ask.as_bytes()], &[])?;
        let (info, areas) =
            decode_region_info(&reply.payload).map_err(|error| self.failed(OPERATION, &error))?;
        let base = u64::from(DOORBELL_BASE);
        if info.size <= base {
            return Err(DriverError::transport(
                &self.name,
                OPERATION,
                format!("BAR0 has {} bytes: too few for NVMe doorbells", info.size),
            ));
        }
        let whole = SparseArea {
            offset: 0,
            size: info.size,
        };
        let areas = if areas.is_empty() { vec![whole] } else { areas };
        let area = areas.iter().find(|area| {
            let end = area.offset.saturating_add(area.size);
            area.offset <= base && base < end
        });
        if let (true, Some(area), Some(fd)) = (info.flags.mmap(), area, reply.fds.first()) {
            let end = area.offset.saturating_add(area.size).min(info.size);
            let bytes = usize::try_from(end - base).unwrap_or(0);
            let start = info.file_offset(area);
            let offset = start.saturating_add(base - area.offset);
            return Doorbells::map(fd.as_fd(), offset, bytes)
                .map_err(|error| DriverError::transport(&self.name, OPERATION, error));
        }
        Ok(Doorbells::trapped(Arc::<Self>::clone(self)))
    }

    fn vectors(&self) -> Result<u16, DriverError> {
        const OPERATION: &str = "asking for the interrupts";
        let ask = IrqInfo {
            argsz: argsz::<IrqInfo>(),
            index: irq_index::MSIX,
            ..IrqInfo::default()
        };
        let command = Command::DeviceGetIrqInfo;
        let reply = self.request(OPERATION, command, &[ask.as_bytes()], &[])?;
        let (info, _) = reply
            .parse::<IrqInfo>(command)
            .map_err(|error| self.failed(OPERATION, &error))?;
        Ok(u16::try_from(info.count).unwrap_or(u16::MAX))
    }

    /// Reads `to.len()` bytes at `offset` of a region.
    fn read(
        &self,
        operation: &'static str,
        region: u32,
        offset: u64,
        to: &mut [u8],
    ) -> Result<(), DriverError> {
        let access = access(region, offset, to.len());
        let command = Command::RegionRead;
        let reply = self.request(operation, command, &[access.as_bytes()], &[])?;
        let data = reply
            .payload
            .get(size_of::<RegionAccess>()..)
            .filter(|data| data.len() == to.len());
        let Some(data) = data else {
            return Err(DriverError::transport(
                &self.name,
                operation,
                "the server answered with another number of bytes than it was asked for",
            ));
        };
        to.copy_from_slice(data);
        Ok(())
    }

    fn write(
        &self,
        operation: &'static str,
        region: u32,
        offset: u64,
        from: &[u8],
    ) -> Result<(), DriverError> {
        let access = access(region, offset, from.len());
        let payload: [&[u8]; 2] = [access.as_bytes(), from];
        self.request(operation, Command::RegionWrite, &payload, &[])
            .map(drop)
    }

    fn config_write(&self, offset: u64, from: &[u8]) -> Result<(), DriverError> {
        self.write(
            "writing PCI configuration space",
            region_index::CONFIG,
            offset,
            from,
        )
    }

    /// Reads a register; ones where that fails. A server that refuses is
    /// taken for one that is gone.
    fn register_read(&self, offset: u32, to: &mut [u8]) {
        const OPERATION: &str = "reading a register";
        let read = self.read(OPERATION, region_index::BAR0, u64::from(offset), to);
        if let Err(error) = read {
            self.fault.get_or_init(|| Fault::new(&error.to_string()));
            to.fill(u8::MAX);
        }
    }

    fn register_write(&self, offset: u32, from: &[u8]) {
        const OPERATION: &str = "writing a register";
        let written = self.write(OPERATION, region_index::BAR0, u64::from(offset), from);
        if let Err(error) = written {
            self.fault.get_or_init(|| Fault::new(&error.to_string()));
        }
    }

    /// Gives the device access to a region of memory.
    fn announce(&self, region: &Region) -> Result<(), DriverError> {
        let map = DmaMap {
            argsz: argsz::<DmaMap>(),
            flags: DmaFlags::new().with_read(true).with_write(true),
            offset: 0,
            address: region.iova(),
            size: region.len() as u64,
        };
        self.request(
            "giving it access to memory",
            Command::DmaMap,
            &[map.as_bytes()],
            &[region.fd()],
        )
        .map(drop)
    }
}

fn access(region: u32, offset: u64, bytes: usize) -> RegionAccess {
    RegionAccess {
        offset,
        region,
        // Registers: a few bytes.
        count: u32::try_from(bytes).unwrap_or(u32::MAX),
    }
}

/// The size of a structure, as its `argsz` field has it.
fn argsz<V>() -> u32 {
    u32::try_from(size_of::<V>()).unwrap_or(u32::MAX)
}

impl Link for Socket {
    fn fault(&self) -> Option<Fault> {
        if let Some(fault) = self.fault.get() {
            return Some(fault.clone());
        }
        let mut fds = [PollFd::new(&self.watched, PollFlags::RDHUP)];
        let now = Timespec::default();
        let hung_up = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        // Where poll itself fails, nothing is known against the device.
        let is_gone = poll(&mut fds, Some(&now)).is_ok()
            && fds.iter().any(|fd| fd.revents().intersects(hung_up));
        if !is_gone {
            return None;
        }
        let fault = || Fault::new("the server closed the connection");
        Some(self.fault.get_or_init(fault).clone())
    }
}

impl TrappedDoorbells for Socket {
    fn write(&self, offset: u32, value: u32) {
        self.register_write(DOORBELL_BASE.saturating_add(offset), &value.to_le_bytes());
    }
}

impl Registers for VfioUser {
    fn read32(&mut self, offset: u32) -> u32 {
        let mut bytes = [0; 4];
        self.link.register_read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn write32(&mut self, offset: u32, value: u32) {
        self.link.register_write(offset, &value.to_le_bytes());
    }

    fn read64(&mut self, offset: u32) -> u64 {
        let mut bytes = [0; 8];
        self.link.register_read(offset, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn write64(&mut self, offset: u32, value: u64) {
        self.link.register_write(offset, &value.to_le_bytes());
    }
}

impl Transport for VfioUser {
    fn name(&self) -> &str {
        &self.link.name
    }

    fn allocate_dma(&mut self, bytes: usize) -> Result<DmaBuffer, DriverError> {
        self.arena
            .allocate(bytes, |region| self.link.announce(region))
    }

    fn doorbells(&self) -> Doorbells {
        self.doorbells.clone()
    }

    fn reset(&mut self) -> Result<(), DriverError> {
        self.link
            .request("resetting the device", Command::DeviceReset, &[], &[])?;
        // A function reset clears the command register (PCIe 6.0 §6.6.2).
        self.link
            .config_write(PCI_COMMAND, &PCI_COMMAND_ON.to_le_bytes())
    }

    fn interrupts(&self) -> u16 {
        self.vectors
    }

    fn set_interrupt(
        &mut self,
        vector: u16,
        eventfd: Option<BorrowedFd<'_>>,
    ) -> Result<(), DriverError> {
        let set = IrqSet {
            argsz: argsz::<IrqSet>(),
            flags: IrqSet::flags(IrqData::EventFd, IrqAction::Trigger),
            index: irq_index::MSIX,
            start: u32::from(vector),
            count: 1,
        };
        self.link
            .request(
                "setting an interrupt",
                Command::DeviceSetIrqs,
                &[set.as_bytes()],
                eventfd.as_slice(),
            )
            .map(drop)
    }

    fn fault(&self) -> Option<Fault> {
        Link::fault(&*self.link)
    }

    fn link(&self) -> Option<Arc<dyn Link>> {
        Some(Arc::<Socket>::clone(&self.link))
    }
}
