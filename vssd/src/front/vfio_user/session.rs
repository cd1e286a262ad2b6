//! One client: its requests in, the replies out.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use wire::{
    Command, Connection, DmaMap, DmaUnmap, Header, IrqAction, IrqData, IrqSet, Message,
    RegionAccess, RegionWrite, RegionWriteMulti, Version, WireError, irq_index, region_index,
};
use zerocopy::{FromBytes, IntoBytes};

use super::bar;
use super::config_space::{ConfigSpace, Effect};
use super::describe;
use super::msix::{Event, Msix};
use super::reply::{Refusal, Reply};
use crate::Protection;
use crate::front::Function;
use crate::worker::Attachment;

/// How many requests are handled before the controller gets its turn.
const REQUESTS_PER_TURN: usize = 64;
/// How many refused requests of one client are shown in the log.
const REFUSALS_SHOWN: u32 = 16;

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
    /// Whether the log says that none did.
    said_no_memory: bool,
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
            said_no_memory: false,
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
        if !refusal.said {
            self.complain(header, &refusal.why);
        }
        if header.no_reply() {
            return Ok(());
        }
        let errno = refusal.errno.raw_os_error().unsigned_abs();
        self.send(header.error_reply(errno), &[], &[])
    }

    fn complain(&mut self, header: Header, why: &str) {
        let command = header
            .command()
            .map_or_else(|| header.command.to_string(), |name| format!("{name:?}"));
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals <= REFUSALS_SHOWN {
            log::warn!("{}: refused {command}: {why}", self.name);
        }
        if self.refusals == REFUSALS_SHOWN {
            log::warn!("{}: further refusals are not shown", self.name);
        }
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
            Command::DeviceGetInfo => describe::device_info(&message),
            Command::DeviceGetRegionInfo => describe::region_info(function, &message),
            Command::DeviceGetRegionIoFds => describe::region_io_fds(&message),
            Command::DeviceGetIrqInfo => describe::irq_info(self.msix.len(), &message),
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
    fn dma_map_without_fd(&mut self, map: &DmaMap) -> Result<Reply, Refusal> {
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
        // There are many such ranges; one line is enough for all of them.
        let said = std::mem::replace(&mut self.said_no_memory, true);
        Err(Refusal {
            errno: Errno::NOTSUP,
            why,
            said,
        })
    }

    fn set_irqs(&mut self, message: Message) -> Result<(), Refusal> {
        let (set, bools) = message.parse::<IrqSet>(Command::DeviceSetIrqs)?;
        let total = describe::irq_count(self.msix.len(), set.index)?;
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

/// Offset and length of an access, if it lies in its region.
fn in_region(access: RegionAccess) -> Result<(u32, usize), Refusal> {
    let bytes = describe::region_bytes(access.region).unwrap_or(0);
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
