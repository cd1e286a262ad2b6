//! Serves virtqueues: takes requests, and has them executed as commands.

use nvme::{DsmRange, NvmOpcode, ReadWriteCdw12, Sqe, Status};
use traces::{Clock, Tap};
use zerocopy::{FromZeros, IntoBytes};

use super::chain::Chain;
use super::layout::{BlockStatus, ID_BYTES, Range, SECTOR, kind};
use super::request::{self, Asked, NSID};
use super::{BlockDevice, queue_of};
use crate::command::Command;
use crate::controller::BURST;
use crate::device::Device;
use crate::reservation::CommandClass;
use crate::ticket::DsmRanges;
use crate::{Controller, Media};

/// What becomes of a request.
enum Prepared {
    /// It is executed as a command, which has ranges where it is a discard.
    Command(Option<Box<DsmRanges>>),
    /// It is done.
    Done,
}

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Gives each virtqueue a turn, and notifies the driver. Returns how many
    /// requests were taken.
    pub(crate) fn serve_rings(&mut self, budget: u32) -> u32 {
        let device = &mut self.device;
        // What the medium has done is not kept back until more is taken.
        device.queues.rings.show(&device.memory);
        let count = device.queues.rings.served.len();
        let mut done = 0_u32;
        for _ in 0..count {
            let left = budget.saturating_sub(done);
            if left == 0 {
                break;
            }
            let rings = &mut self.device.queues.rings;
            if rings.turn >= count {
                rings.turn = 0;
            }
            let index = rings.served.get(rings.turn).copied();
            rings.turn = rings.turn.saturating_add(1);
            if let Some(index) = index {
                done = done.saturating_add(self.serve_ring(index, left.min(BURST)));
            }
        }
        let device = &mut self.device;
        device.queues.rings.signal(&device.memory);
        done
    }

    /// Takes and executes at most `budget` requests of a virtqueue. Returns how
    /// many.
    fn serve_ring(&mut self, index: u16, budget: u32) -> u32 {
        let mut seen_ns = None;
        let mut sqe = Sqe::new_zeroed();
        let mut done = 0_u32;
        while done < budget {
            let device = &mut self.device;
            let (memory, segments) = (&device.memory, &mut device.segments);
            let Some((head, chain)) = device.queues.rings.take(index, memory, segments) else {
                break;
            };
            done = done.saturating_add(1);
            if M::FORESEES {
                self.foresee_on_ring(index);
            }
            let device = &mut self.device;
            let now_ns = *seen_ns.get_or_insert_with(|| device.observed_ns());
            self.request(index, (head, &chain), now_ns, &mut sqe);
        }
        done
    }

    /// Tells the medium where the next request of a virtqueue reads or writes.
    #[inline]
    fn foresee_on_ring(&mut self, index: u16) {
        let device = &mut self.device;
        let Some(header) = device.queues.rings.peek(index, &device.memory) else {
            return;
        };
        let writes = match header.kind.get() {
            kind::IN => false,
            kind::OUT => true,
            _ => return,
        };
        let Some(namespace) = device.namespaces.get(NSID) else {
            return;
        };
        let start = header.sector.get().checked_mul(SECTOR);
        let lba = start.and_then(|start| start.checked_div(namespace.block_bytes.into()));
        // The rest of it follows.
        if let Some(Ok(extent)) = lba.map(|lba| namespace.extent(lba, 1)) {
            self.media.foresee(extent, writes);
        }
    }

    /// Executes the request of a chain, as a command that is put into `sqe`.
    #[inline]
    fn request(&mut self, index: u16, (head, chain): (u16, &Chain), now_ns: u64, sqe: &mut Sqe) {
        let device = &mut self.device;
        let answer = match device.prepare(head, chain, sqe) {
            Ok(Prepared::Command(ranges)) => {
                let queue = queue_of(index);
                let mut ticket = device.issue((queue, queue), now_ns, sqe);
                let command = match chain.problem {
                    Some(status) => Err(status),
                    None => device.ring_command(sqe, ranges.as_deref()),
                };
                if let Some(ranges) = ranges {
                    ticket.set_ranges(ranges);
                }
                return self.run(command, ticket);
            }
            Ok(Prepared::Done) => BlockStatus::Ok,
            Err(status) => status,
        };
        let rings = &mut device.queues.rings;
        rings.complete(index, head, answer, &device.memory);
    }

    /// Has writes wait for a flush, or not, until the guest goes away: what the
    /// Volatile Write Cache feature is to an NVMe host.
    pub fn set_write_cache(&mut self, enabled: bool) {
        self.device.features.set_write_cache(enabled);
    }

    /// What a virtio guest is told of the drive; none where it has no namespace
    /// 1 that such a guest could use: one without metadata and zones.
    pub fn block_device(&self) -> Option<BlockDevice> {
        let device = &self.device;
        let namespace = device.namespaces.active(NSID)?;
        if namespace.metadata_bytes > 0 || namespace.zones.is_some() {
            return None;
        }
        let offers = |opcode| !device.config.withholds_io(opcode);
        Some(BlockDevice {
            blocks: namespace.blocks,
            block_bytes: namespace.block_bytes,
            read_only: namespace.read_only,
            write_cache: device.features.write_cache(),
            discards: offers(NvmOpcode::DATASET_MANAGEMENT),
            writes_zeroes: offers(NvmOpcode::WRITE_ZEROES),
            queues: device.queues.rings.count(),
        })
    }
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// Finds out what a request asks for, and does what no command does.
    #[inline]
    fn prepare(
        &mut self,
        head: u16,
        chain: &Chain,
        sqe: &mut Sqe,
    ) -> Result<Prepared, BlockStatus> {
        let namespace = self.namespaces.get(NSID).ok_or(BlockStatus::IoError)?;
        let block_bytes = u64::from(namespace.block_bytes);
        let asked = request::asked(chain, (head, block_bytes), sqe)?;
        // A command whose data cannot be moved ends as a command.
        if asked != Asked::Command && chain.problem.is_some() {
            return Err(BlockStatus::IoError);
        }
        let data = self.segments.segments(&self.memory);
        match asked {
            Asked::Command => Ok(Prepared::Command(None)),
            Asked::Identity => {
                let mut id = [0; ID_BYTES];
                for (to, from) in id.iter_mut().zip(self.config.serial.bytes()) {
                    *to = from;
                }
                data.write(&id);
                Ok(Prepared::Done)
            }
            Asked::WriteZeroes => {
                let mut range = Range::new_zeroed();
                data.read(range.as_mut_bytes());
                request::write_zeroes(&range, (head, block_bytes), sqe)?;
                Ok(Prepared::Command(None))
            }
            Asked::Discard(count) => {
                let mut kept = self.tickets.take_ranges();
                let ranges = kept.fill(count.into());
                data.read(ranges.as_mut_bytes());
                let mut ranges = ranges.iter_mut();
                let legal = ranges
                    .try_for_each(|range: &mut DsmRange| request::to_dsm_range(range, block_bytes));
                if let Err(status) = legal {
                    self.tickets.give_ranges(kept);
                    return Err(status);
                }
                *sqe = request::discard(count, head);
                Ok(Prepared::Command(Some(kept)))
            }
        }
    }

    /// Decodes and checks a command that a request became, as one of NVMe's.
    #[inline]
    fn ring_command(&mut self, sqe: &Sqe, ranges: Option<&DsmRanges>) -> Result<Command, Status> {
        let opcode = NvmOpcode(sqe.opcode);
        if opcode.0 > NvmOpcode::READ.0 && self.config.withholds_io(opcode) {
            return Err(Status::INVALID_OPCODE.dnr());
        }
        let Some(namespace) = self.namespaces.plain(NSID) else {
            return self.special_ring_command(sqe, ranges);
        };
        let command = namespace.decode_gathered(sqe)?;
        let Some(ranges) = ranges else {
            return Ok(command);
        };
        self.gather_extents(NSID, ranges.get(), true)?;
        Ok(Command::Deallocate)
    }

    /// The same for a namespace that has something special about it; see
    /// [`Controller::special`].
    #[cold]
    fn special_ring_command(
        &mut self,
        sqe: &Sqe,
        ranges: Option<&DsmRanges>,
    ) -> Result<Command, Status> {
        if let Some(status) = self.sanitize.status() {
            return Err(status);
        }
        let opcode = NvmOpcode(sqe.opcode);
        let namespace = self
            .namespaces
            .active(NSID)
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
        if namespace.formatting.is_some() {
            return Err(Status::FORMAT_IN_PROGRESS);
        }
        if namespace.metadata_bytes > 0 || namespace.zones.is_some() {
            return Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr());
        }
        if !namespace.reservations.is_clear() {
            let host = self.features.reservation_host();
            let class = CommandClass::of_io(opcode);
            namespace.reservations.permits(&host, class)?;
        }
        let command = namespace.decode_gathered(sqe)?;
        if let Some(ranges) = ranges {
            self.gather_extents(NSID, ranges.get(), true)?;
            return Ok(Command::Deallocate);
        }
        let lba = sqe.slba().0;
        let blocks = u64::from(ReadWriteCdw12::from_bits(sqe.cdw12.get()).blocks());
        match opcode {
            NvmOpcode::READ if namespace.has_uncorrectable(lba, blocks) => {
                return Err(Status::UNRECOVERED_READ_ERROR);
            }
            NvmOpcode::WRITE | NvmOpcode::WRITE_ZEROES => self.wrote(NSID, lba, blocks),
            _ => {}
        }
        Ok(command)
    }
}
