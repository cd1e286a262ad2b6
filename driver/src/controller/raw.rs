//! Raw queues: their memory, and the admin commands that announce them.

use std::sync::Arc;
use std::time::Duration;

use nvme::{
    AdminOpcode, CQE_BYTES, Cqe, CreateCqCdw11, CreateQueueCdw10, CreateSqCdw11, Doorbell,
    DoorbellKind, NamespaceId, QueueId, SQE_BYTES, Sqe, Status,
};
use traces::Clock;

use super::Controller;
use crate::DriverError;
use crate::raw::{
    Pages, RawCompletionOptions, RawCompletionQueue, RawKept, RawSubmissionOptions,
    RawSubmissionQueue,
};
use crate::transport::{DoorbellRegister, Transport};

impl<T: Transport, C: Clock> Controller<T, C> {
    /// Makes a completion queue in memory, which the device does not know yet.
    ///
    /// # Errors
    ///
    /// Those of [`Transport::allocate_dma`], and [`DriverError::Invalid`] for a
    /// scattered queue of more pages than a list has room for.
    pub fn raw_completion_queue(
        &mut self,
        options: RawCompletionOptions,
    ) -> Result<RawCompletionQueue, DriverError> {
        let pages = self.raw_pages(options.entries, CQE_BYTES, options.contiguous)?;
        let doorbell = self.raw_doorbell(options.id, DoorbellKind::CompletionHead);
        Ok(RawCompletionQueue::new(options, pages, doorbell))
    }

    /// Makes a submission queue in memory, which the device does not know yet.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::raw_completion_queue`].
    pub fn raw_submission_queue(
        &mut self,
        options: RawSubmissionOptions,
    ) -> Result<RawSubmissionQueue, DriverError> {
        let pages = self.raw_pages(options.entries, SQE_BYTES, options.contiguous)?;
        let doorbell = self.raw_doorbell(options.id, DoorbellKind::SubmissionTail);
        Ok(RawSubmissionQueue::new(options, pages, doorbell))
    }

    fn raw_pages(
        &mut self,
        entries: u32,
        entry_bytes: usize,
        contiguous: bool,
    ) -> Result<Pages, DriverError> {
        let (pages, bytes) = Pages::needed(entries, entry_bytes, contiguous)?;
        let memory = self.allocate_dma(bytes)?;
        Pages::new(memory, pages, entries, entry_bytes, contiguous)
    }

    /// None where the device has no such doorbell.
    fn raw_doorbell(&self, queue: QueueId, kind: DoorbellKind) -> Option<DoorbellRegister> {
        let doorbell = Doorbell { queue, kind };
        let offset = doorbell.offset(self.device.cap.dstrd());
        self.device.transport.doorbells().register(offset).ok()
    }

    /// Create I/O Completion Queue (`NVMe Base 2.1 §5.2.1`), as the queue's
    /// options say; returns the device's answer.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`] but for [`DriverError::CommandFailed`].
    pub fn create_raw_completion_queue(
        &mut self,
        queue: &RawCompletionQueue,
    ) -> Result<Status, DriverError> {
        let options = queue.options;
        let mut sqe = Sqe::new(AdminOpcode::CREATE_CQ.0, NamespaceId(0));
        sqe.prp1.set(queue.prp1());
        let cdw10 = CreateQueueCdw10::new()
            .with_qid(options.id.0)
            .with_qsize(queue.size_field());
        sqe.cdw10.set(cdw10.into());
        let cdw11 = CreateCqCdw11::new()
            .with_pc(options.contiguous)
            .with_ien(options.interrupt.is_some())
            .with_iv(options.interrupt.unwrap_or(0));
        sqe.cdw11.set(cdw11.into());
        let status = self.admin_status(sqe)?;
        if status.is_success() {
            self.keep(options.id, true, &queue.pages);
        }
        Ok(status)
    }

    /// Create I/O Submission Queue (`NVMe Base 2.1 §5.2.2`), as the queue's
    /// options say; returns the device's answer.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::create_raw_completion_queue`].
    pub fn create_raw_submission_queue(
        &mut self,
        queue: &RawSubmissionQueue,
    ) -> Result<Status, DriverError> {
        let options = queue.options;
        let mut sqe = Sqe::new(AdminOpcode::CREATE_SQ.0, NamespaceId(0));
        sqe.prp1.set(queue.prp1());
        let cdw10 = CreateQueueCdw10::new()
            .with_qid(options.id.0)
            .with_qsize(queue.size_field());
        sqe.cdw10.set(cdw10.into());
        let cdw11 = CreateSqCdw11::new()
            .with_pc(options.contiguous)
            .with_qprio(options.priority & 0b11)
            .with_cqid(options.completion_queue.0);
        sqe.cdw11.set(cdw11.into());
        let status = self.admin_status(sqe)?;
        if status.is_success() {
            self.keep(options.id, false, &queue.pages);
        }
        Ok(status)
    }

    /// Delete I/O Completion Queue (`NVMe Base 2.1 §5.2.3`) of any identifier;
    /// returns the device's answer. Raw queues only: a queue pair is deleted by
    /// [`Controller::delete_queue_pair`].
    ///
    /// # Errors
    ///
    /// Those of [`Controller::create_raw_completion_queue`].
    pub fn delete_raw_completion_queue(&mut self, id: QueueId) -> Result<Status, DriverError> {
        self.delete_raw(AdminOpcode::DELETE_CQ, id, true)
    }

    /// Delete I/O Submission Queue (`NVMe Base 2.1 §5.2.4`) of any identifier,
    /// as [`Controller::delete_raw_completion_queue`].
    ///
    /// # Errors
    ///
    /// Those of [`Controller::create_raw_completion_queue`].
    pub fn delete_raw_submission_queue(&mut self, id: QueueId) -> Result<Status, DriverError> {
        self.delete_raw(AdminOpcode::DELETE_SQ, id, false)
    }

    fn delete_raw(
        &mut self,
        opcode: AdminOpcode,
        id: QueueId,
        is_completion: bool,
    ) -> Result<Status, DriverError> {
        let mut sqe = Sqe::new(opcode.0, NamespaceId(0));
        sqe.cdw10.set(CreateQueueCdw10::new().with_qid(id.0).into());
        let status = self.admin_status(sqe)?;
        if status.is_success() {
            self.raw
                .retain(|kept| (kept.id, kept.is_completion) != (id, is_completion));
        }
        Ok(status)
    }

    /// From here on the device may use the queue's memory, whoever drops it.
    fn keep(&mut self, id: QueueId, is_completion: bool, pages: &Pages) {
        self.raw.push(RawKept {
            id,
            is_completion,
            _memory: Arc::clone(pages.memory()),
        });
    }

    /// Issues an admin command without data, and returns how it ended.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::admin_raw`] but for [`DriverError::CommandFailed`].
    pub fn admin_status(&mut self, sqe: Sqe) -> Result<Status, DriverError> {
        match self.admin_raw(sqe, None) {
            Ok(_) => Ok(Status::SUCCESS),
            Err(DriverError::CommandFailed { status, .. }) => Ok(status),
            Err(error) => Err(error),
        }
    }

    /// Waits for the next entry of a raw completion queue, at most `timeout`;
    /// none where there is none by then.
    ///
    /// # Errors
    ///
    /// [`DriverError::DeviceGone`].
    pub fn wait_entry(
        &mut self,
        queue: &mut RawCompletionQueue,
        timeout: Duration,
    ) -> Result<Option<Cqe>, DriverError> {
        let start_ns = self.device.clock.now_ns();
        loop {
            if let Some(cqe) = queue.pop()? {
                return Ok(Some(cqe));
            }
            self.device.check_link()?;
            if self.device.pause(start_ns) >= timeout {
                return Ok(None);
            }
        }
    }
}
