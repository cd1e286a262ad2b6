//! Compare and Write, fused (`NVMe Base 2.1 §3.4.2`, `NVM Command Set 1.1
//! §3.1.1`).

use nvme::{NamespaceId, Sqe, Status};
use traces::{Clock, Tap};

use super::{Op, Step};
use crate::Ticket;
use crate::command::data_pointer;
use crate::device::Device;
use crate::media::{Extent, Outcome};
use crate::memory::{Access, BounceId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Compare,
    Write,
}

/// Both commands of a pair, on the same blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) compare: Sqe,
    pub(crate) write: Sqe,
    pub(crate) nsid: NamespaceId,
    pub(crate) lba: u64,
    pub(crate) blocks: u64,
    pub(crate) extent: Extent,
    pub(crate) durable: bool,
}

/// The job travels in the ticket of the Write; that of the Compare is completed
/// first.
#[derive(Debug)]
pub(crate) struct CompareWrite {
    pair: Pair,
    /// The Compare's, until it is completed.
    first: Option<Ticket>,
    stage: Stage,
}

impl CompareWrite {
    pub(crate) const fn new(pair: Pair, first: Ticket) -> Self {
        Self {
            pair,
            first: Some(first),
            stage: Stage::Begin,
        }
    }

    /// The size of the buffer, bytes: what stands there, and what the host has.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.bytes().saturating_mul(2)
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.pair.extent.bytes).unwrap_or(usize::MAX)
    }

    /// The ticket of the Compare, if it is not completed.
    pub(crate) fn take_first(&mut self) -> Option<Ticket> {
        self.first.take()
    }

    pub(super) fn step<T: Tap, C: Clock>(
        &mut self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
        outcome: Outcome,
    ) -> Step {
        if let Err(error) = outcome {
            let status = device.media_failed(error);
            return self.fail(device, status);
        }
        match self.stage {
            Stage::Begin => {
                self.stage = Stage::Compare;
                Step::Media(Op::Read {
                    offset: self.pair.extent.offset,
                    part: 0..self.bytes(),
                })
            }
            Stage::Compare => match self.compare(device, buffer) {
                Ok(()) => {
                    self.stage = Stage::Write;
                    Step::Media(Op::Write {
                        offset: self.pair.extent.offset,
                        part: 0..self.bytes(),
                        durable: self.pair.durable,
                    })
                }
                Err(status) => self.fail(device, status),
            },
            Stage::Write => {
                device.wrote(self.pair.nsid, self.pair.lba, self.pair.blocks);
                if let Some(first) = self.first.take() {
                    device.finish_pending(first, Status::SUCCESS, 0);
                }
                Step::Done(Ok(0))
            }
        }
    }

    /// Compares, and brings what is to be written into the buffer.
    fn compare<T: Tap, C: Clock>(
        &self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
    ) -> Result<(), Status> {
        let memory = &device.memory;
        let (stands, theirs) = device.bounces.data(buffer).split_at_mut(self.bytes());
        let bytes = self.pair.extent.bytes;
        let segments = &mut device.segments;
        data_pointer(&self.pair.compare)?
            .walk(memory, bytes, Access::Read, segments)?
            .read(theirs);
        if stands != theirs {
            return Err(Status::COMPARE_FAILURE.dnr());
        }
        data_pointer(&self.pair.write)?
            .walk(memory, bytes, Access::Read, segments)?
            .read(stands);
        Ok(())
    }

    /// The Compare, or the Write of equal blocks, failed: neither is executed.
    fn fail<T: Tap, C: Clock>(&mut self, device: &mut Device<T, C>, status: Status) -> Step {
        if self.stage == Stage::Write {
            if let Some(first) = self.first.take() {
                device.finish_pending(first, Status::SUCCESS, 0);
            }
            return Step::Done(Err(status));
        }
        if let Some(first) = self.first.take() {
            device.finish_pending(first, status, 0);
        }
        Step::Done(Err(Status::ABORTED_FAILED_FUSED.dnr()))
    }
}
