//! I/O commands that are more than one request to the medium: on namespaces
//! that have something special about them, and those that always are.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

mod copy;
mod fused;
mod reservations;
mod zones;

pub(crate) use self::fused::{BLOCKS_MAX as FUSED_BLOCKS_MAX, First};
pub(crate) use self::zones::parts;

use nvme::{GuardFormat, NSID_ALL, NvmOpcode, ReadWriteCdw12, Sqe, Status};
use traces::{Clock, Tap};

use crate::command::{Command, is_simple, not_fused};
use crate::device::Device;
use crate::job::{Job, Transfer};
use crate::namespace::Namespace;
use crate::reservation::CommandClass;
use crate::{Controller, Media, Ticket};

/// How a command goes on.
#[derive(Debug)]
pub(crate) enum Way {
    /// As a request to the medium.
    Run(Command),
    /// In several steps, with a buffer of so many bytes.
    Job(Box<Job>, usize),
    /// It is done; the completion's dword 0.
    Done(u32),
}

/// Whether an opcode is one that the controller offers.
pub(crate) const fn is_offered(opcode: NvmOpcode) -> bool {
    is_simple(opcode)
        || matches!(
            opcode,
            NvmOpcode::WRITE_UNCORRECTABLE
                | NvmOpcode::COPY
                | NvmOpcode::CANCEL
                | NvmOpcode::ZONE_MANAGEMENT_SEND
                | NvmOpcode::ZONE_MANAGEMENT_RECEIVE
                | NvmOpcode::ZONE_APPEND
                | NvmOpcode::RESERVATION_REGISTER
                | NvmOpcode::RESERVATION_REPORT
                | NvmOpcode::RESERVATION_ACQUIRE
                | NvmOpcode::RESERVATION_RELEASE
        )
}

/// Whether the command is one of zones.
pub(crate) const fn is_zoned(opcode: NvmOpcode) -> bool {
    matches!(
        opcode,
        NvmOpcode::ZONE_MANAGEMENT_SEND
            | NvmOpcode::ZONE_MANAGEMENT_RECEIVE
            | NvmOpcode::ZONE_APPEND
    )
}

/// Whether the command changes what a namespace holds.
const fn writes(opcode: NvmOpcode) -> bool {
    matches!(
        opcode,
        NvmOpcode::WRITE
            | NvmOpcode::WRITE_ZEROES
            | NvmOpcode::WRITE_UNCORRECTABLE
            | NvmOpcode::DATASET_MANAGEMENT
            | NvmOpcode::COPY
            | NvmOpcode::ZONE_MANAGEMENT_SEND
            | NvmOpcode::ZONE_APPEND
    )
}

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Executes an I/O command that does not take the short way.
    #[cold]
    pub(crate) fn special(&mut self, sqe: &Sqe, ticket: Ticket) {
        if sqe.fuse() != 0 && self.device.config.withholds_fused() {
            let status = Status::INVALID_FIELD.dnr();
            return self.device.finish(ticket, status, 0);
        }
        let Some(ticket) = self.fuse(sqe, ticket) else {
            return;
        };
        if NvmOpcode(sqe.opcode) == NvmOpcode::CANCEL {
            return self.cancel(sqe, ticket);
        }
        match self.device.way(sqe) {
            Ok(Way::Run(command)) => self.run(Ok(command), ticket),
            Ok(Way::Job(job, bytes)) => self.begin(*job, bytes, ticket),
            Ok(Way::Done(dword0)) => self.device.finish(ticket, Status::SUCCESS, dword0.into()),
            Err(status) => self.device.finish(ticket, status, 0),
        }
    }

    /// Cancel (`NVMe Base 2.1 §7.1`): commands of the same queue that the
    /// medium has not begun. Dword 0 has the number of commands that were
    /// aborted at once in its lower half; none are aborted later.
    fn cancel(&mut self, sqe: &Sqe, ticket: Ticket) {
        let fields = nvme::CancelCdw10::from_bits(sqe.cdw10.get());
        let action = nvme::CancelCdw11::from_bits(sqe.cdw11.get()).action();
        let queue = ticket.queue();
        let wants_one = action == 0;
        let legal = fields.sqid() == queue.0
            && sqe.psdt() == nvme::Psdt::Prp
            && match action {
                0 => fields.cid() != u16::MAX && fields.cid() != ticket.cid().0,
                1 => fields.cid() == u16::MAX,
                _ => false,
            };
        if !legal {
            let status = Status::INVALID_FIELD.dnr();
            return self.device.finish(ticket, status, 0);
        }
        let (nsid, cid, own) = (sqe.nsid(), fields.cid(), ticket.cid());
        let mut wanted = |victim: &Ticket| {
            victim.queue() == queue
                && victim.cid() != own
                && (!wants_one || victim.cid().0 == cid)
                && (nsid == NSID_ALL || victim.record().nsid == nsid)
        };
        let mut aborted = 0_u32;
        while let Some(victim) = self.cancel_media(&mut wanted) {
            self.device
                .finish_pending(victim, Status::ABORT_REQUESTED, 0);
            aborted = aborted.saturating_add(1);
        }
        // The number of commands that were aborted at once is the lower half's.
        let dword0 = u64::from(aborted);
        self.device.finish(ticket, Status::SUCCESS, dword0);
    }
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// How the command goes on, after everything was checked that can keep it
    /// from that.
    fn way(&mut self, sqe: &Sqe) -> Result<Way, Status> {
        let opcode = NvmOpcode(sqe.opcode);
        if !is_offered(opcode) {
            return Err(Status::INVALID_OPCODE.dnr());
        }
        if let Some(status) = self.sanitize.status() {
            return Err(status);
        }
        if opcode == NvmOpcode::FLUSH && sqe.nsid() == NSID_ALL {
            crate::command::data_pointer(sqe)?;
            return Ok(Way::Run(Command::Flush));
        }
        let through = !self.features.write_cache();
        let namespace = self
            .namespaces
            .active(sqe.nsid())
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
        if namespace.formatting.is_some() {
            return Err(Status::FORMAT_IN_PROGRESS);
        }
        let reservations = &namespace.reservations;
        if !reservations.is_clear() {
            let host = self.features.reservation_host();
            reservations.permits(&host, CommandClass::of_io(opcode))?;
        }
        // The host has to know of wide guards (`NVMe Base 2.1 §5.1.25.1.14`).
        let wide = namespace
            .protection
            .is_some_and(|kind| kind.format != GuardFormat::Guard16);
        if wide && self.features.host_behavior().lbafee == 0 {
            return Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr());
        }
        if writes(opcode) && namespace.read_only {
            return Err(Status::NAMESPACE_WRITE_PROTECTED.dnr());
        }
        if namespace.zones.is_some() || is_zoned(opcode) {
            return self.zoned_way(sqe, through);
        }
        match opcode {
            NvmOpcode::FLUSH | NvmOpcode::DATASET_MANAGEMENT => namespace.decode(sqe).map(Way::Run),
            NvmOpcode::COPY => self.copy_way(sqe),
            NvmOpcode::RESERVATION_REGISTER
            | NvmOpcode::RESERVATION_REPORT
            | NvmOpcode::RESERVATION_ACQUIRE
            | NvmOpcode::RESERVATION_RELEASE => self.reserve(sqe),
            NvmOpcode::WRITE_UNCORRECTABLE => self.write_uncorrectable(sqe),
            _ => {
                let way = transfer_way(sqe, namespace, through)?;
                if matches!(opcode, NvmOpcode::WRITE | NvmOpcode::WRITE_ZEROES)
                    && matches!(way, Way::Run(_))
                {
                    let blocks = ReadWriteCdw12::from_bits(sqe.cdw12.get()).blocks();
                    self.wrote(sqe.nsid(), sqe.slba().0, blocks.into());
                }
                Ok(way)
            }
        }
    }

    /// Write Uncorrectable (`NVM Command Set 1.1 §3.3.7`): the blocks read as
    /// errors until they are written.
    fn write_uncorrectable(&mut self, sqe: &Sqe) -> Result<Way, Status> {
        crate::command::data_pointer(sqe)?;
        let blocks = u64::from(ReadWriteCdw12::from_bits(sqe.cdw12.get()).blocks());
        let lba = sqe.slba().0;
        let namespace = self
            .namespaces
            .get_mut(sqe.nsid())
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
        namespace.extent(lba, blocks)?;
        namespace.damage(lba, blocks);
        self.lba_status.lost();
        self.changed = true;
        Ok(Way::Done(0))
    }

    /// Blocks were written: they can be read, whatever they were before.
    pub(crate) fn wrote(&mut self, nsid: nvme::NamespaceId, lba: u64, blocks: u64) {
        if let Some(namespace) = self.namespaces.get_mut(nsid) {
            namespace.heal(lba, blocks);
        }
    }
}

/// How a command goes on that transfers, compares, verifies or zeroes blocks.
fn transfer_way(sqe: &Sqe, namespace: &Namespace, through: bool) -> Result<Way, Status> {
    let opcode = NvmOpcode(sqe.opcode);
    let lba = sqe.slba().0;
    let blocks = u64::from(ReadWriteCdw12::from_bits(sqe.cdw12.get()).blocks());
    namespace.extent(lba, blocks)?;
    let reads = matches!(
        opcode,
        NvmOpcode::READ | NvmOpcode::COMPARE | NvmOpcode::VERIFY
    );
    if reads && namespace.has_uncorrectable(lba, blocks) {
        return Err(Status::UNRECOVERED_READ_ERROR);
    }
    if namespace.metadata_bytes == 0 {
        return namespace.decode(sqe).map(Way::Run);
    }
    let transfer = Transfer::new(sqe, namespace, lba, through)?;
    let bytes = transfer.buffer_bytes();
    Ok(Way::Job(Box::new(Job::Transfer(transfer)), bytes))
}
