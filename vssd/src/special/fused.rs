//! Fused commands: the first waits for the second
//! (`NVMe Base 2.1 §3.4.2`).
//!
//! A pair is one operation to all others. A medium may answer later, so that
//! what was fetched before ends before the pair starts, and nothing is fetched
//! from I/O queues until it has ended.

use nvme::{NvmOpcode, QueueId, ReadWriteCdw12, Sqe, Status};
use traces::{Clock, Tap};

use crate::device::Device;
use crate::job::{CompareWrite, Job, Transfer};
use crate::{Controller, Media, Ticket};

/// The first of a pair, until the second comes.
#[derive(Debug)]
pub(crate) struct First {
    pub(crate) sqe: Sqe,
    pub(crate) ticket: Ticket,
}

/// The most blocks that Compare and Write may have (Identify Controller, ACWU
/// + 1).
pub(crate) const BLOCKS_MAX: u64 = 16;

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Sees to the fused operation field, and hands the ticket of a command back
    /// that has none.
    pub(super) fn fuse(&mut self, sqe: &Sqe, ticket: Ticket) -> Option<Ticket> {
        let first = self.device.take_first(ticket.queue());
        let missing = Status::ABORTED_MISSING_FUSED.dnr();
        match (sqe.fuse(), first) {
            (0, None) => return Some(ticket),
            (0, Some(first)) => {
                self.device.finish(first.ticket, missing, 0);
                return Some(ticket);
            }
            (1, first) => {
                if let Some(first) = first {
                    self.device.finish(first.ticket, missing, 0);
                }
                if NvmOpcode(sqe.opcode) == NvmOpcode::COMPARE {
                    self.device.keep_first(First { sqe: *sqe, ticket });
                } else {
                    let status = Status::INVALID_FIELD.dnr();
                    self.device.finish(ticket, status, 0);
                }
            }
            (2, Some(first)) => self.pair(first, sqe, ticket),
            (2, None) => self.device.finish(ticket, missing, 0),
            (_, first) => {
                if let Some(first) = first {
                    self.device.finish(first.ticket, missing, 0);
                }
                let status = Status::INVALID_FIELD.dnr();
                self.device.finish(ticket, status, 0);
            }
        }
        None
    }

    /// Executes a pair.
    fn pair(&mut self, first: First, sqe: &Sqe, ticket: Ticket) {
        match self.device.check_pair(&first.sqe, sqe) {
            Ok((compare, write)) => {
                self.device.pairs = self.device.pairs.saturating_add(1);
                self.device.pend(first.ticket.queue(), first.ticket.cid());
                let job = CompareWrite::new(compare, write, first.ticket);
                let bytes = job.buffer_bytes();
                self.begin(Job::CompareWrite(Box::new(job)), bytes, ticket);
            }
            Err(status) => {
                self.device.finish(first.ticket, status, 0);
                let status = Status::ABORTED_FAILED_FUSED.dnr();
                self.device.finish(ticket, status, 0);
            }
        }
    }
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// Keeps the first of a pair. It does not count as in flight, for it waits
    /// for the host.
    fn keep_first(&mut self, first: First) {
        let (queue, cid) = (first.ticket.queue(), first.ticket.cid());
        self.queues.set_in_flight(queue, cid, true);
        self.fused.push(first);
    }

    fn take_first(&mut self, queue: QueueId) -> Option<First> {
        let mut waiting = self.fused.iter();
        let index = waiting.position(|first| first.ticket.queue() == queue)?;
        let first = self.fused.swap_remove(index);
        self.queues.set_in_flight(queue, first.ticket.cid(), false);
        Some(first)
    }

    /// Checks both commands of a pair before either is executed.
    fn check_pair(&self, compare: &Sqe, write: &Sqe) -> Result<(Transfer, Transfer), Status> {
        if let Some(status) = self.sanitize.status() {
            return Err(status);
        }
        let same = compare.nsid() == write.nsid()
            && compare.slba() == write.slba()
            && ReadWriteCdw12::from_bits(compare.cdw12.get()).nlb()
                == ReadWriteCdw12::from_bits(write.cdw12.get()).nlb();
        if NvmOpcode(write.opcode) != NvmOpcode::WRITE || !same {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let namespace = self
            .namespaces
            .active(compare.nsid())
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
        if namespace.formatting.is_some() {
            return Err(Status::FORMAT_IN_PROGRESS);
        }
        if namespace.read_only {
            return Err(Status::NAMESPACE_WRITE_PROTECTED.dnr());
        }
        // What is written in a zone cannot be written again.
        if namespace.zones.is_some() {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let cdw12 = ReadWriteCdw12::from_bits(write.cdw12.get());
        let (lba, blocks) = (write.slba().0, u64::from(cdw12.blocks()));
        namespace.extent(lba, blocks)?;
        if blocks > BLOCKS_MAX {
            return Err(Status::ATOMIC_WRITE_UNIT_EXCEEDED.dnr());
        }
        if namespace.has_uncorrectable(lba, blocks) {
            return Err(Status::UNRECOVERED_READ_ERROR);
        }
        let through = !self.features.write_cache();
        Ok((
            Transfer::new(compare, namespace, lba, through)?,
            Transfer::new(write, namespace, lba, through)?,
        ))
    }
}

#[cfg(test)]
mod tests;
