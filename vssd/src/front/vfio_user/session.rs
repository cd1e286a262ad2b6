//! One client: its requests in, the replies out.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use wire::{
    Command, Connection, DeviceFlags, DeviceInfo, DmaMap, DmaUnmap, Header, IrqAction, IrqData,
    IrqInfo, IrqInfoFlags, IrqSet, Message, RegionAccess, RegionFlags, RegionInfo, RegionIoFds,
    RegionWrite, RegionWriteMulti, SparseArea, Version, WireError, irq_index, region_index,
};
use zerocopy::{FromBytes, IntoBytes};

use super::bar;
use super::config_space::{self, ConfigSpace, Effect};
use super::msix::{Event, Msix};
use crate::front::Function;
use crate::worker::Attachment;
use crate::{MapError, Protection};

/// How many requests are handled before the controller gets its turn.
const REQUESTS_PER_TURN: usize = 64;
/// How many refused requests of one client are shown in the log.
const REFUSALS_SHOWN: u32 = 16;

/// Why a request is refused: what the client is told, and what the log says.
#[derive(Debug)]
struct Refusal {
    errno: Errno,
    why: String,
}

impl Refusal {
    fn new(errno: Errno, why: impl Into<String>) -> Self {
        Self {
            errno,
            why: why.into(),
        }
    }

    fn invalid(why: impl Into<String>) -> Self {
        Self::new(Errno::INVAL, why)
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<MapError> for Refusal {
    fn from(error: MapError) -> Self {
        let errno = match &error {
            MapError::Overlap { .. } => Errno::EXIST,
            MapError::TooMany { .. } => Errno::NOSPC,
            MapError::System { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::INVAL),
            _ => Errno::INVAL,
        };
        Self::new(errno, error.to_string())
    }
}

/// What a request is answered with.
#[derive(Debug, Default)]
struct Reply {
    payload: Vec<u8>,
    /// Whether the doorbells' descriptor goes with it.
    doorbells: bool,
}

impl From<Vec<u8>> for Reply {
    fn from(payload: Vec<u8>) -> Self {
        Self {
            payload,
            doorbells: false,
        }
    }
}

/// A connected client.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    /// The socket and the peer, for the log.
    name: String,
    /// Whether the versions are agreed on.
    agreed: bool,
    config: ConfigSpace,
    msix: Msix,
    refusals: u32,
    /// Whether any memory came with a descriptor.
    has_memory: bool,
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl Attachment for Session {
    type Error = WireError;

    fn events(&self) -> PollFlags {
        if self.connection.is_pending() {
            PollFlags::OUT
        } else {
            PollFlags::IN
        }
    }

    /// Handles what has come. A client that does not take its replies is not
    /// read from, so that it cannot make us keep them.
    fn service(&mut self, function: &mut dyn Function) -> Result<usize, WireError> {
        let mut handled = 0;
        while handled < REQUESTS_PER_TURN && self.connection.flush()? {
            let Some(message) = self.connection.try_recv()? else {
                break;
            };
            self.handle(function, message)?;
            handled = handled.saturating_add(1);
        }
        Ok(handled)
    }
}

impl Session {
    /// A client that has just connected; `name` is for the log.
    pub(super) fn new(connection: Connection, name: String, function: &dyn Function) -> Self {
        Self {
            connection,
            name,
            agreed: false,
            config: ConfigSpace::new(function.identity(), function.vectors()),
            msix: Msix::new(function.vectors()),
            refusals: 0,
            has_memory: false,
        }
    }

    /// Whether the client got as far as to agree on a version, and the function
    /// has been told of it.
    pub(super) const fn is_agreed(&self) -> bool {
        self.agreed
    }

    /// Handles one message. An error ends the connection.
    fn handle(&mut self, function: &mut dyn Function, message: Message) -> Result<(), WireError> {
        let header = message.header;
        if header.is_reply() {
            return Err(WireError::UnexpectedReply {
                id: header.id,
                command: header.command,
            });
        }
        if !self.agreed {
            return self.agree(function, &message);
        }
        match self.answer(function, message) {
            Ok(_) if header.no_reply() => Ok(()),
            Ok(reply) if reply.doorbells => {
                let fd = function.doorbells().fd;
                self.send(header.reply(), &reply.payload, &[fd])
            }
            Ok(reply) => self.send(header.reply(), &reply.payload, &[]),
            Err(refusal) => self.refuse(header, &refusal),
        }
    }

    fn send(
        &mut self,
        header: Header,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), WireError> {
        self.connection.send(header, &[payload], fds)
    }

    fn refuse(&mut self, header: Header, refusal: &Refusal) -> Result<(), WireError> {
        self.refusals = self.refusals.saturating_add(1);
        let command = header
            .command()
            .map_or_else(|| header.command.to_string(), |name| format!("{name:?}"));
        if self.refusals <= REFUSALS_SHOWN {
            log::warn!("{}: refused {command}: {}", self.name, refusal.why);
        }
        if self.refusals == REFUSALS_SHOWN {
            log::warn!("{}: further refusals are not shown", self.name);
        }
        if header.no_reply() {
            return Ok(());
        }
        let errno = refusal.errno.raw_os_error().unsigned_abs();
        self.send(header.error_reply(errno), &[], &[])
    }

    /// The first message must be a version that we speak ("Version").
    fn agree(&mut self, function: &mut dyn Function, message: &Message) -> Result<(), WireError> {
        if message.header.command() != Some(Command::Version) {
            return Err(WireError::Payload {
                command: Command::Version,
                what: "the first message must be this one, but is another",
                size: message.payload.len(),
            });
        }
        let answer = Version::decode(&message.payload)?.answer()?;
        // The client goes on once it has the reply, so the function comes first.
        self.agreed = true;
        function.connected();
        function.set_interrupts(self.msix.lines());
        self.send(message.header.reply(), &answer.encode(), &[])
    }

    /// Does what a request asks for.
    fn answer(&mut self, function: &mut dyn Function, message: Message) -> Result<Reply, Refusal> {
        let number = message.header.command;
        let Some(command) = message.header.command() else {
            let why = format!("there is no command {number}");
            return Err(Refusal::new(Errno::NOTSUP, why));
        };
        match command {
            Command::DmaMap => self.dma_map(function, &message),
            Command::DmaUnmap => dma_unmap(function, &message),
            Command::DeviceGetInfo => device_info(&message),
            Command::DeviceGetRegionInfo => region_info(function, &message),
            Command::DeviceGetRegionIoFds => region_io_fds(&message),
            Command::DeviceGetIrqInfo => self.irq_info(&message),
            Command::DeviceSetIrqs => {
                self.set_irqs(message)?;
                function.set_interrupts(self.msix.lines());
                Ok(Reply::default())
            }
            Command::RegionRead => self.region_read(function, &message),
            Command::RegionWrite => self.region_write(function, &message),
            Command::RegionWriteMulti => self.region_write_multi(function, &message),
            Command::DeviceReset => {
                self.reset(function);
                Ok(Reply::default())
            }
            Command::Version => Err(Refusal::invalid("the version is agreed on already")),
            _ => Err(Refusal::new(Errno::NOTSUP, "this server does not do that")),
        }
    }

    fn reset(&mut self, function: &mut dyn Function) {
        log::debug!("{}: function reset", self.name);
        function.function_reset();
        self.config.reset();
        self.msix.reset();
        function.set_interrupts(self.msix.lines());
    }

    fn dma_map(
        &mut self,
        function: &mut dyn Function,
        message: &Message,
    ) -> Result<Reply, Refusal> {
        let (map, _) = message.parse::<DmaMap>(Command::DmaMap)?;
        if map.flags.file_io() {
            let why = "memory must be mappable; file I/O on it is not supported";
            return Err(Refusal::new(Errno::NOTSUP, why));
        }
        match message.fds.as_slice() {
            [] => self.dma_map_without_fd(&map),
            [fd] => {
                let protection = Protection {
                    read: map.flags.read(),
                    write: map.flags.write(),
                };
                function.dma_map(map.address, map.size, fd.as_fd(), map.offset, protection)?;
                self.has_memory = true;
                Ok(Reply::default())
            }
            fds => Err(Refusal::invalid(format!(
                "{} file descriptors for one range",
                fds.len()
            ))),
        }
    }

    /// A range that cannot be mapped. QEMU announces its ROMs and the memory of
    /// display adapters so, where nobody does DMA to: they are let pass, and are
    /// not there for the drive. But where the guest's own memory, which comes
    /// first, is such a range, the drive cannot work.
    fn dma_map_without_fd(&self, map: &DmaMap) -> Result<Reply, Refusal> {
        if !map.flags.write() || self.has_memory {
            log::debug!(
                "{}: {:#x} bytes of memory at {:#x} cannot be mapped; the drive does without",
                self.name,
                map.size,
                map.address
            );
            return Ok(Reply::default());
        }
        let why = format!(
            "guest memory at {:#x} ({:#x} bytes) came without a file descriptor, so the drive \
             cannot reach it: start QEMU with `-object \
             memory-backend-memfd,id=mem,size=SIZE,share=on -machine memory-backend=mem`",
            map.address, map.size
        );
        Err(Refusal::new(Errno::NOTSUP, why))
    }

    fn irq_info(&self, message: &Message) -> Result<Reply, Refusal> {
        let (info, _) = message.parse::<IrqInfo>(Command::DeviceGetIrqInfo)?;
        let count = self.irq_count(info.index)?;
        let reply = IrqInfo {
            argsz: argsz::<IrqInfo>(),
            flags: IrqInfoFlags::new().with_eventfd(true),
            index: info.index,
            count: u32::try_from(count).unwrap_or(0),
        };
        Ok(reply.as_bytes().to_vec().into())
    }

    /// How many vectors an interrupt type has.
    fn irq_count(&self, index: u32) -> Result<usize, Refusal> {
        match index {
            irq_index::INTX | irq_index::MSI => Ok(0),
            irq_index::MSIX => Ok(self.msix.len()),
            // They can be set up, as QEMU wants to, and never come.
            irq_index::ERR | irq_index::REQ => Ok(1),
            _ => Err(Refusal::invalid(format!(
                "there is no interrupt type {index}"
            ))),
        }
    }

    fn set_irqs(&mut self, message: Message) -> Result<(), Refusal> {
        let (set, bools) = message.parse::<IrqSet>(Command::DeviceSetIrqs)?;
        let total = self.irq_count(set.index)?;
        let (Some(data), Some(action)) = (set.data(), set.action()) else {
            let why = format!("the flags {:#x} contradict one another", set.flags);
            return Err(Refusal::invalid(why));
        };
        let start = usize::try_from(set.start).unwrap_or(usize::MAX);
        let count = usize::try_from(set.count).unwrap_or(usize::MAX);
        if start.checked_add(count).is_none_or(|end| end > total) {
            return Err(Refusal::invalid(format!(
                "vectors {start} to {start}+{count} of interrupt type {}, which has {total}",
                set.index
            )));
        }
        let selected: Vec<bool> = match data {
            IrqData::Bool => bools.iter().take(count).map(|byte| *byte != 0).collect(),
            IrqData::None | IrqData::EventFd => vec![true; count],
        };
        if selected.len() < count {
            return Err(Refusal::invalid("fewer bytes than vectors"));
        }
        let events = events(message, data, count)?;
        if set.index != irq_index::MSIX {
            return Ok(());
        }
        let chosen = (start..).zip(selected).filter(|(_, yes)| *yes);
        match (action, data) {
            (IrqAction::Trigger, IrqData::EventFd) if !events.is_empty() => {
                self.msix.set(start, events);
            }
            (IrqAction::Trigger, IrqData::EventFd) => self.msix.unset(start, count),
            (IrqAction::Trigger, IrqData::None) if count == 0 => self.msix.unset(0, total),
            (IrqAction::Trigger, _) => chosen.for_each(|(vector, _)| self.msix.trigger(vector)),
            (IrqAction::Mask | IrqAction::Unmask, IrqData::EventFd) => {
                return Err(Refusal::new(Errno::NOTSUP, "masking by eventfd"));
            }
            (IrqAction::Mask, _) => chosen.for_each(|(vector, _)| self.msix.mask(vector, true)),
            (IrqAction::Unmask, _) => chosen.for_each(|(vector, _)| self.msix.mask(vector, false)),
        }
        Ok(())
    }

    fn region_read(
        &self,
        function: &mut dyn Function,
        message: &Message,
    ) -> Result<Reply, Refusal> {
        let (access, _) = message.parse::<RegionAccess>(Command::RegionRead)?;
        let (offset, count) = in_region(access)?;
        let mut payload = access.as_bytes().to_vec();
        let head = payload.len();
        payload.resize(head.saturating_add(count), 0);
        let data = payload.get_mut(head..).unwrap_or_default();
        if access.region == region_index::CONFIG {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            self.config.read(offset, data);
        } else {
            bar::read(function, &self.msix, offset, data);
        }
        Ok(payload.into())
    }

    fn region_write(
        &mut self,
        function: &mut dyn Function,
        message: &Message,
    ) -> Result<Reply, Refusal> {
        let (access, data) = message.parse::<RegionAccess>(Command::RegionWrite)?;
        self.write(function, access, data)?;
        Ok(access.as_bytes().to_vec().into())
    }

    fn region_write_multi(
        &mut self,
        function: &mut dyn Function,
        message: &Message,
    ) -> Result<Reply, Refusal> {
        let (multi, rest) = message.parse::<RegionWriteMulti>(Command::RegionWriteMulti)?;
        let chunks = rest.chunks_exact(size_of::<RegionWrite>());
        if u64::try_from(chunks.len()) != Ok(multi.count) || !chunks.remainder().is_empty() {
            return Err(Refusal::invalid(format!(
                "{} bytes for {} writes",
                rest.len(),
                multi.count
            )));
        }
        for chunk in chunks {
            let one = RegionWrite::read_from_bytes(chunk)
                .map_err(|_| Refusal::invalid("a write is cut off"))?;
            let access = RegionAccess {
                offset: one.offset,
                region: one.region,
                count: one.count,
            };
            let len = usize::try_from(one.count).unwrap_or(usize::MAX);
            let data = one.data.get(..len).unwrap_or_default();
            self.write(function, access, data)?;
        }
        Ok(multi.as_bytes().to_vec().into())
    }

    fn write(
        &mut self,
        function: &mut dyn Function,
        access: RegionAccess,
        data: &[u8],
    ) -> Result<(), Refusal> {
        let (offset, count) = in_region(access)?;
        if data.len() != count {
            let why = format!("{} bytes of data for a write of {count}", data.len());
            return Err(Refusal::invalid(why));
        }
        if access.region == region_index::CONFIG {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            if self.config.write(offset, data) == Effect::FunctionReset {
                self.reset(function);
            }
        } else {
            bar::write(function, &mut self.msix, offset, data);
        }
        Ok(())
    }
}

/// The descriptors of a request as eventfds, as many as there are vectors.
fn events(message: Message, data: IrqData, count: usize) -> Result<Vec<Event>, Refusal> {
    let fds = message.fds.len();
    if fds != 0 && (data != IrqData::EventFd || fds != count) {
        let why = format!("{fds} file descriptors for {count} vectors");
        return Err(Refusal::invalid(why));
    }
    message
        .fds
        .into_iter()
        .map(|fd| Event::new(fd).ok_or_else(|| Refusal::invalid("a descriptor is no eventfd")))
        .collect()
}

/// Size of a reply of that structure, bytes.
fn argsz<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

/// Size of a region, bytes; none for an index that does not exist.
fn region_bytes(index: u32) -> Option<u64> {
    match index {
        region_index::BAR0 => Some(u64::from(bar::BYTES)),
        region_index::CONFIG => u64::try_from(config_space::BYTES).ok(),
        // The other BARs, the ROM and VGA are there, and empty.
        _ if index < region_index::COUNT => Some(0),
        _ => None,
    }
}

/// Offset and length of an access, if it lies in its region.
fn in_region(access: RegionAccess) -> Result<(u32, usize), Refusal> {
    let bytes = region_bytes(access.region).unwrap_or(0);
    let end = access.offset.checked_add(u64::from(access.count));
    match (u32::try_from(access.offset), usize::try_from(access.count)) {
        (Ok(offset), Ok(count)) if end.is_some_and(|end| end <= bytes) => Ok((offset, count)),
        _ => Err(Refusal::invalid(format!(
            "{} bytes at {:#x} of region {}, which has {bytes:#x}",
            access.count, access.offset, access.region
        ))),
    }
}

fn dma_unmap(function: &mut dyn Function, message: &Message) -> Result<Reply, Refusal> {
    let (unmap, _) = message.parse::<DmaUnmap>(Command::DmaUnmap)?;
    if unmap.flags.dirty_bitmap() {
        let why = "there is no log of dirty pages";
        return Err(Refusal::new(Errno::NOTSUP, why));
    }
    if unmap.flags.all() {
        function.dma_unmap_all();
    } else {
        function.dma_unmap(unmap.address, unmap.size);
    }
    Ok(unmap.as_bytes().to_vec().into())
}

fn device_info(message: &Message) -> Result<Reply, Refusal> {
    message.parse::<DeviceInfo>(Command::DeviceGetInfo)?;
    let info = DeviceInfo {
        argsz: argsz::<DeviceInfo>(),
        flags: DeviceFlags::new().with_reset(true).with_pci(true),
        regions: region_index::COUNT,
        irqs: irq_index::COUNT,
    };
    Ok(info.as_bytes().to_vec().into())
}

fn region_info(function: &dyn Function, message: &Message) -> Result<Reply, Refusal> {
    let (asked, _) = message.parse::<RegionInfo>(Command::DeviceGetRegionInfo)?;
    let Some(size) = region_bytes(asked.index) else {
        let why = format!("there is no region {}", asked.index);
        return Err(Refusal::invalid(why));
    };
    let exists = size != 0;
    let mut info = RegionInfo {
        flags: RegionFlags::new().with_read(exists).with_write(exists),
        index: asked.index,
        size,
        ..RegionInfo::default()
    };
    if asked.index != region_index::BAR0 {
        return Ok(wire::encode_region_info(info, &[], asked.argsz).into());
    }
    let file = function.doorbells();
    let area = SparseArea {
        offset: u64::from(bar::DOORBELLS),
        size: file.bytes,
    };
    info.flags.set_mmap(true);
    // Clients add this and the offset of the area.
    info.offset = file.offset.wrapping_sub(area.offset);
    let payload = wire::encode_region_info(info, &[area], asked.argsz);
    // Without the areas, the descriptor would stand for the whole region.
    let doorbells = payload.len() > size_of::<RegionInfo>();
    Ok(Reply { payload, doorbells })
}

/// No sub-region has a descriptor of its own: the doorbells are memory.
fn region_io_fds(message: &Message) -> Result<Reply, Refusal> {
    let (asked, _) = message.parse::<RegionIoFds>(Command::DeviceGetRegionIoFds)?;
    if region_bytes(asked.index).is_none() {
        let why = format!("there is no region {}", asked.index);
        return Err(Refusal::invalid(why));
    }
    let reply = RegionIoFds {
        argsz: argsz::<RegionIoFds>(),
        index: asked.index,
        ..RegionIoFds::default()
    };
    Ok(reply.as_bytes().to_vec().into())
}
