//! The socket: requests and replies.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nvme::DOORBELL_BASE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::{
    Command, Connection, DeviceInfo, DmaFlags, DmaMap, IrqAction, IrqData, IrqInfo, IrqSet,
    Message, RegionAccess, RegionInfo, SparseArea, Version, WireError, decode_region_info,
    irq_index, region_index,
};
use zerocopy::IntoBytes;

use crate::DriverError;
use crate::transport::memory::Region;
use crate::transport::{Doorbells, Fault, Link, TrappedDoorbells};

/// How long a server may take to answer. A reset that waits for the media is
/// the longest that there is.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What a PCI NVMe controller has as its class code: programming interface,
/// subclass, class.
const CLASS_NVME: [u8; 3] = [0x02, 0x08, 0x01];
/// Where it stands in configuration space (`PCI Express Base 5.0 §7.5.1.1`).
const PCI_CLASS: u64 = 0x09;
/// Room for a region's description with many mappable areas, bytes.
const REGION_INFO_ROOM: u32 = 4096;

/// The socket, for whoever needs it: registers, trapped doorbells, and those
/// who ask whether it is still there.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) name: String,
    connection: Mutex<Connection>,
    /// A second descriptor of the socket, to look at without the lock.
    watched: OwnedFd,
    fault: OnceLock<Fault>,
}

impl Socket {
    pub(super) fn new(name: String, stream: UnixStream) -> Result<Self, DriverError> {
        let watched = stream.as_fd().try_clone_to_owned();
        Ok(Self {
            watched: watched.map_err(|error| DriverError::transport(&name, "connecting", error))?,
            name,
            connection: Mutex::new(Connection::new(stream)),
            fault: OnceLock::new(),
        })
    }

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
    pub(super) fn agree(&self) -> Result<(), DriverError> {
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
    pub(super) fn find_doorbells(self: &Arc<Self>) -> Result<Doorbells, DriverError> {
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

    pub(super) fn vectors(&self) -> Result<u16, DriverError> {
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

    /// Reads PCI configuration space.
    pub(super) fn config_read(&self, offset: u16, to: &mut [u8]) -> Result<(), DriverError> {
        const OPERATION: &str = "reading its configuration space";
        self.read(OPERATION, region_index::CONFIG, u64::from(offset), to)
    }

    /// Writes PCI configuration space.
    pub(super) fn config_write(&self, offset: u16, from: &[u8]) -> Result<(), DriverError> {
        const OPERATION: &str = "writing its configuration space";
        self.write(OPERATION, region_index::CONFIG, u64::from(offset), from)
    }

    /// Resets the function.
    pub(super) fn reset(&self) -> Result<(), DriverError> {
        self.request("resetting it", Command::DeviceReset, &[], &[])
            .map(drop)
    }

    /// Has an MSI-X vector signal `eventfd`, or nobody.
    pub(super) fn set_interrupt(
        &self,
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
        self.request(
            "setting an interrupt",
            Command::DeviceSetIrqs,
            &[set.as_bytes()],
            eventfd.as_slice(),
        )
        .map(drop)
    }

    /// Reads a register; ones where that fails. A server that refuses is
    /// taken for one that is gone.
    pub(super) fn register_read(&self, offset: u32, to: &mut [u8]) {
        const OPERATION: &str = "reading a register";
        let read = self.read(OPERATION, region_index::BAR0, u64::from(offset), to);
        if let Err(error) = read {
            self.fault.get_or_init(|| Fault::new(&error.to_string()));
            to.fill(u8::MAX);
        }
    }

    pub(super) fn register_write(&self, offset: u32, from: &[u8]) {
        const OPERATION: &str = "writing a register";
        let written = self.write(OPERATION, region_index::BAR0, u64::from(offset), from);
        if let Err(error) = written {
            self.fault.get_or_init(|| Fault::new(&error.to_string()));
        }
    }

    /// Gives the device access to a region of memory.
    pub(super) fn announce(&self, region: &Region) -> Result<(), DriverError> {
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
