//! Admin commands that make and delete I/O queues.

use nvme::{
    CQE_BYTES, CreateCqCdw11, CreateQueueCdw10, CreateSqCdw11, DoorbellKind, IdentifyController,
    PAGE_BYTES, QueueId, SQE_BYTES, Sqe, Status,
};
use traces::{Clock, Tap};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::Answer;
use crate::Ticket;
use crate::device::Device;
use crate::queue::{Priority, QueueSpec, Shadow};

impl<T: Tap, C: Clock> Device<T, C> {
    /// The queue that a create command describes, where `given` queues of its
    /// kind may be made, and `exists` says whether one has an identifier
    /// already.
    fn queue_spec(
        &self,
        sqe: &Sqe,
        given: u16,
        exists: impl Fn(QueueId) -> bool,
    ) -> Result<QueueSpec, Status> {
        let base = sqe.prp1.get();
        let cdw10 = CreateQueueCdw10::from_bits(sqe.cdw10.get());
        let id = QueueId(cdw10.qid());
        if id.is_admin() || id.0 > given || exists(id) {
            return Err(Status::INVALID_QUEUE_ID.dnr());
        }
        let entries = match cdw10.qsize().checked_add(1) {
            Some(entries @ 2..) if entries <= self.config.queue_entries_max => entries,
            _ => return Err(Status::INVALID_QUEUE_SIZE.dnr()),
        };
        if !base.is_multiple_of(PAGE_BYTES) {
            return Err(Status::PRP_OFFSET_INVALID.dnr());
        }
        // The host has to have told the entry sizes by now.
        let sizes = (self.registers.cc.iosqes(), self.registers.cc.iocqes());
        let required = (
            IdentifyController::SQES_64 & 0xf,
            IdentifyController::CQES_16 & 0xf,
        );
        if sizes != required {
            return Err(Status::INVALID_FIELD.dnr());
        }
        Ok(QueueSpec {
            id,
            base,
            list: None,
            entries,
        })
    }

    /// Reads the page list of a queue that is not contiguous in the guest's
    /// addresses, which CAP.CQR may forbid. The largest queue has 64 pages, so
    /// that the list, which starts a page, never goes on in another.
    fn take_list(
        &self,
        spec: &mut QueueSpec,
        contiguous: bool,
        entry: usize,
    ) -> Result<(), Status> {
        if contiguous {
            return Ok(());
        }
        if self.config.contiguous_queues_required {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let bytes = usize::from(spec.entries).saturating_mul(entry);
        let mut list = vec![U64::new(0); bytes.div_ceil(4096)];
        self.memory
            .read_bytes(spec.base, list.as_mut_bytes())
            .map_err(|_| Status::DATA_TRANSFER_ERROR)?;
        let pages: Box<[u64]> = list.into_iter().map(U64::get).collect();
        if pages.iter().any(|page| !page.is_multiple_of(PAGE_BYTES)) {
            return Err(Status::PRP_OFFSET_INVALID.dnr());
        }
        spec.list = Some(pages);
        Ok(())
    }

    /// Create I/O Completion Queue (`NVMe Base 2.1 §5.2.1`).
    pub(super) fn create_completion(&mut self, sqe: &Sqe) -> Answer {
        let given = self.features.completion_queues();
        let mut spec = self.queue_spec(sqe, given, |id| self.queues.has_completion(id))?;
        let cdw11 = CreateCqCdw11::from_bits(sqe.cdw11.get());
        self.take_list(&mut spec, cdw11.pc(), CQE_BYTES)?;
        if cdw11.ien() && cdw11.iv() >= self.config.vectors() {
            return Err(Status::INVALID_INTERRUPT_VECTOR.dnr());
        }
        let vector = cdw11.ien().then_some(cdw11.iv());
        let made = (spec.id, spec.entries);
        self.queues.create_completion(spec, vector)?;
        self.reset_doorbell(made, DoorbellKind::CompletionHead);
        Ok(0)
    }

    /// Create I/O Submission Queue (`NVMe Base 2.1 §5.2.2`).
    pub(super) fn create_submission(&mut self, sqe: &Sqe) -> Answer {
        let given = self.features.submission_queues();
        let mut spec = self.queue_spec(sqe, given, |id| self.queues.has_submission(id))?;
        let cdw11 = CreateSqCdw11::from_bits(sqe.cdw11.get());
        self.take_list(&mut spec, cdw11.pc(), SQE_BYTES)?;
        let completion = QueueId(cdw11.cqid());
        if completion.is_admin() || completion.0 > self.features.completion_queues() {
            return Err(Status::INVALID_QUEUE_ID.dnr());
        }
        if !self.queues.has_completion(completion) {
            return Err(Status::COMPLETION_QUEUE_INVALID.dnr());
        }
        // It means nothing unless weighted round robin was selected.
        let priority = Priority::from_qprio(cdw11.qprio());
        let made = (spec.id, spec.entries);
        self.queues.create_submission(spec, completion, priority)?;
        self.reset_doorbell(made, DoorbellKind::SubmissionTail);
        Ok(0)
    }

    fn reset_doorbell(&mut self, made: (QueueId, u16), kind: DoorbellKind) {
        self.queues
            .reset_doorbell(made, kind, &self.memory, &self.doorbells);
    }

    /// Doorbell Buffer Config (`NVMe Base 2.1 §5.2.5`). Both buffers are pages.
    pub(super) fn shadow_doorbells(&mut self, sqe: &Sqe) -> Answer {
        if self.interrupts.need_doorbells() {
            return Err(Status::INVALID_OPCODE.dnr());
        }
        let shadow = Shadow::new(sqe.prp1.get(), sqe.prp2.get(), &self.memory)
            .ok_or(Status::INVALID_FIELD.dnr())?;
        self.queues.set_shadow(shadow, &self.memory);
        Ok(0)
    }

    /// Delete I/O Completion Queue (`NVMe Base 2.1 §5.2.3`).
    pub(super) fn delete_completion(&mut self, sqe: &Sqe) -> Answer {
        let id = CreateQueueCdw10::from_bits(sqe.cdw10.get()).qid();
        self.queues.delete_completion(QueueId(id))?;
        Ok(0)
    }

    /// Delete I/O Submission Queue (`NVMe Base 2.1 §5.2.4`): nothing is fetched
    /// from it any more, and the command completes once what was fetched has.
    pub(super) fn delete_submission(&mut self, sqe: &Sqe, ticket: Ticket) {
        let id = QueueId(CreateQueueCdw10::from_bits(sqe.cdw10.get()).qid());
        let closed = self.queues.close_submission(id);
        match closed {
            Ok(()) => {
                self.queues
                    .set_in_flight(QueueId::ADMIN, ticket.cid(), true);
                self.closing.push((id, ticket));
                self.finish_deletions();
            }
            Err(status) => self.answer(ticket, Err(status)),
        }
    }

    /// Completes deletions of queues that have nothing in flight any more.
    #[inline]
    pub(crate) fn finish_deletions(&mut self) {
        while let Some(index) = {
            let mut waiting = self.closing.iter();
            waiting.position(|(id, _)| self.queues.is_drained(*id))
        } {
            let (id, ticket) = self.closing.swap_remove(index);
            self.queues.delete_submission(id);
            self.finish_pending(ticket, Status::SUCCESS, 0);
        }
    }
}
