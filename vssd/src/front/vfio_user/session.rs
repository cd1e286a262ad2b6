//! One client: its requests in, the replies out.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use wire::{
    Command, Connection, DmaMap, DmaUnmap, Header, Message, RegionAccess, RegionWrite,
    RegionWriteMulti, Version, WireError, region_index,
};
use zerocopy::{FromBytes, IntoBytes};

use super::bar;
use super::config_space::{ConfigSpace, Control, Effect, Reset, Shape};
use super::describe;
use super::irqs::Irqs;
use super::reply::{Refusal, Reply, Share};
use crate::Protection;
use crate::front::Function;
use crate::worker::{Attachment, Rest};

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
    /// What configuration space said when the function was told last.
    control: Control,
    irqs: Irqs,
    /// Size of the controller memory buffer, bytes.
    cmb_bytes: u64,
    /// Whether doorbells come as messages only.
    trapped: bool,
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

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.irqs.wake()
    }

    fn rest(&mut self, function: &mut dyn Function) -> Rest {
        if self.trapped {
            Rest::Told
        } else {
            Rest::of(function)
        }
    }

    /// Handles what has come. A client that does not take its replies is not
    /// read from, so that it cannot make us keep them.
    fn service(&mut self, function: &mut dyn Function) -> Result<usize, WireError> {
        self.irqs.service(function);
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
    pub(super) fn new(
        connection: Connection,
        name: String,
        function: &dyn Function,
        trapped: bool,
    ) -> Self {
        let cmb_bytes = function.cmb().map_or(0, |cmb| cmb.bytes);
        let config = ConfigSpace::new(Shape {
            identity: function.identity(),
            serial: function.serial_number(),
            vectors: function.vectors(),
            cmb_bytes,
        });
        Self {
            connection,
            name,
            agreed: false,
            control: config.control(),
            config,
            irqs: Irqs::new(function.vectors()),
            cmb_bytes,
            trapped,
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
            Ok(reply) => {
                let fd = match reply.share {
                    Share::Nothing => None,
                    Share::Doorbells => Some(function.doorbells().fd),
                    Share::Cmb => function.cmb().map(|cmb| cmb.fd),
                };
                self.send(header.reply(), &reply.payload, fd.as_slice())
            }
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
        self.take_control(function);
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
            Command::DeviceGetRegionInfo => describe::region_info(function, self.trapped, &message),
            Command::DeviceGetRegionIoFds => describe::region_io_fds(self.cmb_bytes, &message),
            Command::DeviceGetIrqInfo => describe::irq_info(&self.irqs, &message),
            Command::DeviceSetIrqs => {
                self.irqs.set(message)?;
                self.irqs.hand_over(function);
                Ok(Reply::default())
            }
            Command::RegionRead => self.region_read(function, &message),
            Command::RegionWrite => self.region_write(function, &message),
            Command::RegionWriteMulti => self.region_write_multi(function, &message),
            Command::DeviceReset => {
                self.reset(function, Reset::Bus);
                Ok(Reply::default())
            }
            Command::Version => Err(Refusal::invalid("the version is agreed on already")),
            _ => Err(Refusal::new(Errno::NOTSUP, "this server does not do that")),
        }
    }

    fn reset(&mut self, function: &mut dyn Function, reset: Reset) {
        log::debug!("{}: {reset:?} reset", self.name);
        function.function_reset();
        self.config.reset(reset);
        self.irqs.reset();
        self.take_control(function);
    }

    /// Has the function do what configuration space says.
    fn take_control(&mut self, function: &mut dyn Function) {
        self.control = self.config.control();
        // What the function finishes first is told by the interrupts that it has.
        function.set_bus_master(self.control.masters());
        self.irqs.control(self.control);
        self.irqs.hand_over(function);
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

    fn region_read(
        &mut self,
        function: &mut dyn Function,
        message: &Message,
    ) -> Result<Reply, Refusal> {
        let (access, _) = message.parse::<RegionAccess>(Command::RegionRead)?;
        let (offset, count) = self.in_region(access)?;
        let mut payload = access.as_bytes().to_vec();
        let head = payload.len();
        payload.resize(head.saturating_add(count), 0);
        let data = payload.get_mut(head..).unwrap_or_default();
        if access.region == region_index::CONFIG {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            let pin = function.interrupt_pending();
            self.config.note_interrupts(pin, self.irqs.msi_pending());
            self.config.read(offset, data);
        } else if !self.control.answers() {
            data.fill(u8::MAX);
            self.note_unsupported(access, false);
        } else if access.region == bar::CMB {
            bar::read_cmb(function, access.offset, data);
        } else {
            bar::read(function, &self.irqs, offset, data);
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
        let (offset, count) = self.in_region(access)?;
        if data.len() != count {
            let why = format!("{} bytes of data for a write of {count}", data.len());
            return Err(Refusal::invalid(why));
        }
        if access.region == region_index::CONFIG {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            if self.config.write(offset, data) == Effect::FunctionReset {
                self.reset(function, Reset::Function);
            } else if self.config.control() != self.control {
                self.take_control(function);
            }
        } else if !self.control.answers() {
            self.note_unsupported(access, true);
        } else if access.region == bar::CMB {
            bar::write_cmb(function, access.offset, data);
        } else {
            bar::write(function, &mut self.irqs, offset, data);
        }
        Ok(())
    }

    fn note_unsupported(&mut self, access: RegionAccess, write: bool) {
        let offset = u32::try_from(access.offset).unwrap_or(u32::MAX);
        self.config.note_unsupported(write, access.region, offset);
    }

    /// Offset and length of an access, if it lies in its region.
    fn in_region(&self, access: RegionAccess) -> Result<(u32, usize), Refusal> {
        let bytes = describe::region_bytes(self.cmb_bytes, access.region).unwrap_or(0);
        let end = access.offset.checked_add(u64::from(access.count));
        match (u32::try_from(access.offset), usize::try_from(access.count)) {
            (Ok(offset), Ok(count)) if end.is_some_and(|end| end <= bytes) => Ok((offset, count)),
            _ => Err(Refusal::invalid(format!(
                "{} bytes at {:#x} of region {}, which has {bytes:#x}",
                access.count, access.offset, access.region
            ))),
        }
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
