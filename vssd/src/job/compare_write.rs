//! Compare and Write, fused (`NVMe Base 2.1 §3.4.2`, `NVM Command Set 1.1
//! §3.1.1`).

use nvme::Status;
use traces::{Clock, CommandRecord, Tap};

use super::{Step, Transfer};
use crate::Ticket;
use crate::device::Device;
use crate::media::Outcome;
use crate::memory::BounceId;

/// Both commands of a pair, on the same blocks. The job travels in the ticket of
/// the Write; that of the Compare is completed first.
#[derive(Debug)]
pub(crate) struct CompareWrite {
    compare: Transfer,
    write: Transfer,
    /// The Compare's, until it is completed.
    first: Option<Ticket>,
    writing: bool,
}

impl CompareWrite {
    pub(crate) const fn new(compare: Transfer, write: Transfer, first: Ticket) -> Self {
        Self {
            compare,
            write,
            first: Some(first),
            writing: false,
        }
    }

    /// The size of the buffer, bytes.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.compare.buffer_bytes().max(self.write.buffer_bytes())
    }

    /// The ticket of the Compare, if it is not completed.
    pub(crate) const fn take_first(&mut self) -> Option<Ticket> {
        self.first.take()
    }

    pub(super) fn step<T: Tap, C: Clock>(
        &mut self,
        device: &mut Device<T, C>,
        (buffer, record): (&BounceId, &CommandRecord),
        outcome: Outcome,
    ) -> Step {
        if self.writing {
            let step = self.write.step(device, (buffer, record), outcome);
            if matches!(step, Step::Done(_)) {
                // The blocks were equal, whatever became of the Write.
                self.finish_first(device, Status::SUCCESS);
            }
            return step;
        }
        match self.compare.step(device, (buffer, record), outcome) {
            Step::Done(Ok(_)) => {
                self.writing = true;
                self.step(device, (buffer, record), Ok(()))
            }
            Step::Done(Err(status)) => {
                self.finish_first(device, status);
                Step::Done(Err(Status::ABORTED_FAILED_FUSED.dnr()))
            }
            step => step,
        }
    }

    fn finish_first<T: Tap, C: Clock>(&mut self, device: &mut Device<T, C>, status: Status) {
        if let Some(first) = self.first.take() {
            device.finish_pending(first, status, 0);
        }
    }
}
