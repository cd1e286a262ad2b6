//! One client: what it asks for, and what was agreed on.

mod configuration;
mod inflight;
mod vrings;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use vhost::vhost_user::message::{
    FrontendReq, VhostUserMemory, VhostUserMemoryRegion, VhostUserProtocolFeatures as Protocol,
    VhostUserSingleMemoryRegion, VhostUserU64, VhostUserVirtioFeatures, VhostUserVringState,
};
use vm_memory::ByteValued;

use super::config;
use super::connection::{BackendChannel, Connection, ConnectionError, Message};
use super::kicks::Kicks;
use super::memory::{ClientMemory, REGIONS_MAX};
use crate::BlockDevice;
use crate::front::Function;
use crate::virtio::layout::feature;
use crate::virtio::{ENTRIES_MAX, InflightFile};
use crate::worker::{Attachment, Rest};

/// How many messages a turn of the client has.
const MESSAGES_PER_TURN: usize = 16;
/// How many refusals the log shows.
const REFUSALS_SHOWN: u32 = 8;
/// How long a server that stops waits for what is being served, nanoseconds.
const WIND_DOWN_NS: u64 = 2_000_000_000;
/// In a queue's number, with the descriptors of queues: there is none.
const NO_FD: u64 = 1 << 8;

/// Protocol features that are offered.
const PROTOCOL: Protocol = Protocol::MQ
    .union(Protocol::REPLY_ACK)
    .union(Protocol::CONFIG)
    .union(Protocol::INFLIGHT_SHMFD)
    .union(Protocol::RESET_DEVICE)
    .union(Protocol::CONFIGURE_MEM_SLOTS)
    .union(Protocol::BACKEND_REQ)
    .union(Protocol::STATUS);

/// What the client said of a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    entries: u16,
    base: u16,
    /// Addresses of the client's.
    address: Option<VringAddress>,
    enabled: bool,
    /// Whether nobody kicks, so that somebody has to look.
    unkicked: bool,
}

/// Where a queue is, in addresses of the client's.
#[derive(Clone, Copy, Debug)]
struct VringAddress {
    descriptors: u64,
    available: u64,
    used: u64,
}

/// What a message is answered with.
enum Answer {
    /// That it was done, where the client wants to know.
    Done,
    /// A reply of its own, and maybe a descriptor.
    Reply(Vec<u8>, Option<OwnedFd>),
    /// Nothing yet.
    Later(Later),
}

/// What is answered once queues are drained.
#[derive(Clone, Copy, Debug)]
enum Later {
    /// Where a queue stopped.
    Base(u16),
    /// That all are stopped, where the client wants to know.
    Reset { request: FrontendReq, reply: bool },
}

/// A connected client.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    /// The socket and the peer, for the log.
    name: String,
    /// Whether the function has been told of the client.
    told: bool,
    /// Whether writes waited for a flush before the client came.
    write_cache: bool,
    features: u64,
    protocol: Protocol,
    memory: ClientMemory,
    kicks: Kicks,
    queues: Vec<Queue>,
    inflight: Option<InflightFile>,
    /// By which the client is told of changes, where it wants to know.
    backend: Option<BackendChannel>,
    /// The blocks that the client was told of last.
    blocks_told: Option<u64>,
    /// The device status that the client has set (`Virtio 1.2 §2.1`).
    status: u8,
    later: Option<Later>,
    refusals: u32,
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl Attachment for Session {
    type Error = ConnectionError;

    fn events(&self) -> PollFlags {
        if self.connection.is_pending() {
            PollFlags::OUT
        } else {
            PollFlags::IN
        }
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        Some(self.kicks.as_fd())
    }

    fn rest(&mut self, function: &mut dyn Function) -> Rest {
        if function.listen() {
            function.look();
            return Rest::No;
        }
        if self.queues.iter().any(|queue| queue.unkicked) {
            Rest::Look
        } else {
            Rest::Told
        }
    }

    fn woke(&mut self, function: &mut dyn Function) {
        self.kicks.take();
        function.look();
    }

    fn nudged(&mut self, function: &mut dyn Function) {
        self.tell_change(function);
    }

    /// Handles what has come. A client that does not take its replies, or waits
    /// for one, is not read from.
    fn service(&mut self, function: &mut dyn Function) -> Result<usize, ConnectionError> {
        let mut handled = 0;
        while handled < MESSAGES_PER_TURN && self.connection.flush()? && self.catch_up(function)? {
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
        function: &mut dyn Function,
    ) -> Result<Self, ConnectionError> {
        let count = function.rings().0.count();
        Ok(Self {
            connection,
            name,
            told: false,
            write_cache: true,
            features: 0,
            protocol: Protocol::empty(),
            memory: ClientMemory::default(),
            kicks: Kicks::new(count)?,
            queues: vec![Queue::default(); count.into()],
            inflight: None,
            backend: None,
            blocks_told: None,
            status: 0,
            later: None,
            refusals: 0,
        })
    }

    /// Whether the function has been told of the client.
    pub(super) const fn is_told(&self) -> bool {
        self.told
    }

    /// Takes no more requests, and waits for those that are being served, so
    /// that the next server finds none of them unfinished. Not for ever: what
    /// is left then, that one finishes.
    pub(super) fn wind_down(&mut self, function: &mut dyn Function) {
        self.halt_all(function);
        let began_ns = function.now_ns();
        while !function.idle() && function.now_ns().saturating_sub(began_ns) < WIND_DOWN_NS {
            function.poll(u32::MAX);
        }
        self.stop_all(function);
    }

    fn numbers(&self) -> impl Iterator<Item = u16> + use<> {
        0..u16::try_from(self.queues.len()).unwrap_or(u16::MAX)
    }

    fn halt_all(&self, function: &mut dyn Function) {
        let (rings, _) = function.rings();
        self.numbers().for_each(|index| rings.halt(index));
    }

    fn stop_all(&mut self, function: &mut dyn Function) {
        for index in self.numbers() {
            let (rings, memory) = function.rings();
            if rings.is_started(index) {
                rings.stop(index, memory);
            }
        }
    }

    /// Answers what waited for queues to be drained. Whether nothing waits.
    fn catch_up(&mut self, function: &mut dyn Function) -> Result<bool, ConnectionError> {
        let Some(later) = self.later else {
            return Ok(true);
        };
        match later {
            Later::Base(index) => {
                let (rings, memory) = function.rings();
                if rings.in_flight(index) > 0 {
                    return Ok(false);
                }
                let base = rings.stop(index, memory);
                self.base_reply(index, base)?;
            }
            Later::Reset { request, reply } => {
                let (rings, _) = function.rings();
                if self.numbers().any(|index| rings.in_flight(index) > 0) {
                    return Ok(false);
                }
                self.stop_all(function);
                for index in self.numbers() {
                    let _ = self.kicks.set(index, None);
                }
                self.queues.fill(Queue::default());
                if reply {
                    self.connection.reply(request, &done(true), None)?;
                }
            }
        }
        self.later = None;
        Ok(true)
    }

    fn base_reply(&mut self, index: u16, base: u16) -> Result<(), ConnectionError> {
        // It cannot fail for a descriptor that is taken out.
        let _ = self.kicks.set(index, None);
        if let Some(queue) = self.queues.get_mut(usize::from(index)) {
            queue.base = base;
            queue.unkicked = false;
        }
        let state = VhostUserVringState::new(index.into(), base.into());
        let request = FrontendReq::GET_VRING_BASE;
        self.connection.reply(request, state.as_slice(), None)
    }

    /// Handles one message. An error ends the connection.
    fn handle(
        &mut self,
        function: &mut dyn Function,
        message: Message,
    ) -> Result<(), ConnectionError> {
        if !self.told {
            self.told = true;
            function.connected();
            self.write_cache = function
                .block_device()
                .is_none_or(|device| device.write_cache);
        }
        let request = message.request;
        let wants = message.needs_reply && self.protocol.contains(Protocol::REPLY_ACK);
        match self.answer(function, message, wants) {
            Ok(Answer::Done) if wants => self.connection.reply(request, &done(true), None),
            Ok(Answer::Done) => Ok(()),
            Ok(Answer::Reply(payload, fd)) => {
                let fd = fd.as_ref().map(AsFd::as_fd);
                self.connection.reply(request, &payload, fd)
            }
            Ok(Answer::Later(later)) => {
                self.later = Some(later);
                Ok(())
            }
            Err(why) if wants => {
                self.complain(request, &why);
                self.connection.reply(request, &done(false), None)
            }
            // The client would never know.
            Err(why) => Err(ConnectionError::Refused { request, why }),
        }
    }

    fn complain(&mut self, request: FrontendReq, why: &str) {
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals <= REFUSALS_SHOWN {
            log::warn!("{}: refused {request:?}: {why}", self.name);
        }
        if self.refusals == REFUSALS_SHOWN {
            log::warn!("{}: further refusals are not shown", self.name);
        }
    }

    /// Does what a message asks for.
    fn answer(
        &mut self,
        function: &mut dyn Function,
        message: Message,
        wants: bool,
    ) -> Result<Answer, String> {
        use FrontendReq as F;
        let request = message.request;
        match request {
            F::GET_FEATURES => number(offered(&device(function)?)),
            F::SET_FEATURES => self.set_features(function, parsed_number(&message)?),
            F::SET_OWNER => Ok(Answer::Done),
            F::RESET_DEVICE | F::RESET_OWNER => Ok(self.reset(function, request, wants)),
            F::SET_STATUS => self.set_status(function, &message, wants),
            F::GET_STATUS => number(self.status.into()),
            F::GET_PROTOCOL_FEATURES => number(PROTOCOL.bits()),
            F::SET_PROTOCOL_FEATURES => {
                let wanted = parsed_number(&message)?;
                self.protocol = Protocol::from_bits(wanted)
                    .filter(|wanted| PROTOCOL.contains(*wanted))
                    .ok_or_else(|| format!("{wanted:#x} has features that were not offered"))?;
                Ok(Answer::Done)
            }
            F::GET_QUEUE_NUM => number(u64::try_from(self.queues.len()).unwrap_or(0)),
            F::GET_MAX_MEM_SLOTS => number(u64::try_from(REGIONS_MAX).unwrap_or(0)),
            F::SET_MEM_TABLE => self.set_table(function, &message),
            F::ADD_MEM_REG => self.add_region(function, &message),
            F::REM_MEM_REG => {
                let (region, _) = parsed::<VhostUserSingleMemoryRegion>(&message)?;
                let removed = self.memory.remove(&region, function);
                removed.map_err(|error| error.to_string())?;
                self.find_queues(function);
                Ok(Answer::Done)
            }
            F::GET_CONFIG => self.get_config(function, &message),
            F::SET_CONFIG => configuration::set_config(function, &message),
            F::SET_BACKEND_REQ_FD => self.set_backend(function, message),
            F::GET_INFLIGHT_FD => self.get_inflight(message),
            F::SET_INFLIGHT_FD => self.set_inflight(message),
            F::SET_VRING_NUM => {
                let (index, entries) = self.vring(&message)?;
                self.stopped(function, index)?.entries = entries
                    .try_into()
                    .ok()
                    .filter(|&n: &u16| n.is_power_of_two() && n <= ENTRIES_MAX)
                    .ok_or_else(|| {
                        format!("a queue of {entries} entries: at most {ENTRIES_MAX}, and a power of two")
                    })?;
                Ok(Answer::Done)
            }
            F::SET_VRING_BASE => {
                let (index, base) = self.vring(&message)?;
                // Only split virtqueues, whose index has 16 bits.
                let base = u16::try_from(base & u32::from(u16::MAX)).unwrap_or(0);
                self.stopped(function, index)?.base = base;
                Ok(Answer::Done)
            }
            F::SET_VRING_ADDR => self.set_address(function, &message),
            F::SET_VRING_KICK => self.set_kick(function, message),
            F::SET_VRING_CALL | F::SET_VRING_ERR => self.set_event(function, message),
            F::SET_VRING_ENABLE => {
                let (index, enabled) = self.vring(&message)?;
                self.queue(index)?.enabled = enabled != 0;
                function.rings().0.enable(index, enabled != 0);
                Ok(Answer::Done)
            }
            F::GET_VRING_BASE => self.get_base(function, &message),
            _ => Err("this server does not do that".to_owned()),
        }
    }

    fn queue(&mut self, index: u16) -> Result<&mut Queue, String> {
        let count = self.queues.len();
        let queue = self.queues.get_mut(usize::from(index));
        queue.ok_or_else(|| format!("there is no queue {index}, only {count}"))
    }

    /// A queue that must not have been started.
    fn stopped(&mut self, function: &mut dyn Function, index: u16) -> Result<&mut Queue, String> {
        if function.rings().0.is_started(index) {
            return Err(format!("queue {index} is running"));
        }
        self.queue(index)
    }

    /// The index and the number of a message that has these.
    fn vring(&mut self, message: &Message) -> Result<(u16, u32), String> {
        let (state, _) = parsed::<VhostUserVringState>(message)?;
        let (index, number) = (state.index, state.num);
        let index = u16::try_from(index).map_err(|_| format!("there is no queue {index}"))?;
        self.queue(index)?;
        Ok((index, number))
    }

    const fn has_protocol(&self) -> bool {
        self.features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() != 0
    }

    fn set_features(&mut self, function: &mut dyn Function, wanted: u64) -> Result<Answer, String> {
        let unknown = wanted & !offered(&device(function)?);
        if unknown != 0 {
            return Err(format!("{unknown:#x} were not offered"));
        }
        self.features = wanted;
        // A driver that can neither flush nor switch the cache has none
        // (`Virtio 1.2 §5.2.5`).
        let can = wanted & (feature::FLUSH | feature::CONFIG_WCE) != 0;
        if wanted & feature::VERSION_1 != 0 {
            function.set_write_cache(self.write_cache && can);
        }
        Ok(Answer::Done)
    }

    fn set_table(
        &mut self,
        function: &mut dyn Function,
        message: &Message,
    ) -> Result<Answer, String> {
        let (head, rest) = parsed::<VhostUserMemory>(message)?;
        let count = usize::try_from(head.num_regions).unwrap_or(usize::MAX);
        let chunks = rest.chunks_exact(size_of::<VhostUserMemoryRegion>());
        if chunks.len() != count || message.fds.len() != count {
            return Err(format!(
                "{count} regions, {} bytes of them and {} descriptors: start QEMU with `-object \
                 memory-backend-memfd,id=mem,size=SIZE,share=on -machine memory-backend=mem`",
                rest.len(),
                message.fds.len()
            ));
        }
        self.memory.clear(function);
        for (chunk, file) in chunks.zip(&message.fds) {
            let mut region = VhostUserMemoryRegion::default();
            region.as_mut_slice().copy_from_slice(chunk);
            let added = self.memory.add(&region, file, function);
            added.map_err(|error| error.to_string())?;
        }
        self.find_queues(function);
        Ok(Answer::Done)
    }

    fn add_region(
        &mut self,
        function: &mut dyn Function,
        message: &Message,
    ) -> Result<Answer, String> {
        let (region, _) = parsed::<VhostUserSingleMemoryRegion>(message)?;
        let [file] = message.fds.as_slice() else {
            return Err(format!("{} descriptors for one region", message.fds.len()));
        };
        let added = self.memory.add(&region, file, function);
        added.map_err(|error| error.to_string())?;
        self.find_queues(function);
        Ok(Answer::Done)
    }
}

/// The payload of a message that has one of these.
fn parsed<T: ByteValued + Default>(message: &Message) -> Result<(T, &[u8]), String> {
    let short = || format!("{} bytes are too few", message.payload.len());
    message.parse().ok_or_else(short)
}

fn parsed_number(message: &Message) -> Result<u64, String> {
    parsed::<VhostUserU64>(message).map(|(number, _)| number.value)
}

fn number(value: u64) -> Result<Answer, String> {
    Ok(Answer::Reply(value.to_ne_bytes().to_vec(), None))
}

/// What tells whether a message was handled.
const fn done(well: bool) -> [u8; 8] {
    (!well as u64).to_ne_bytes()
}

/// All features, the protocol's among them.
fn offered(device: &BlockDevice) -> u64 {
    config::features(device) | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
}

fn device(function: &dyn Function) -> Result<BlockDevice, String> {
    let device = function.block_device();
    device.ok_or_else(|| {
        "the drive has no namespace 1 without metadata and zones, and a virtio guest can use no \
         other"
            .to_owned()
    })
}
