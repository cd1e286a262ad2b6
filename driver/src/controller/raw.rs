//! Raw queues: their memory, and the admin commands that announce them.

use std::sync::Arc;
use std::time::Duration;

use nvme::{
    AdminOpcode, Cqe, CreateCqCdw11, CreateSqCdw11, Doorbell, DoorbellKind, QueueId, Sqe, Status,
};
use traces::Clock;

use super::Controller;
use super::admin::{create_queue, delete_queue};
use crate::DriverError;
use crate::raw::{
    RawCompletionOptions, RawCompletionQueue, RawKept, RawQueue, RawSubmissionOptions,
    RawSubmissionQueue, Shape,
};
use crate::transport::Transport;

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
        let queue = self.raw_queue(options.shape(), DoorbellKind::CompletionHead)?;
        Ok(RawCompletionQueue::new(options, queue))
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
        let queue = self.raw_queue(options.shape(), DoorbellKind::SubmissionTail)?;
        Ok(RawSubmissionQueue::new(options, queue))
    }

    fn raw_queue(&mut self, shape: Shape, kind: DoorbellKind) -> Result<RawQueue, DriverError> {
        let memory = self.allocate_dma(shape.bytes()?)?;
        let queue = shape.id;
        let offset = Doorbell { queue, kind }.offset(self.device.cap.dstrd());
        let doorbell = self.device.transport.doorbells().register(offset).ok();
        RawQueue::new(shape, memory, doorbell)
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
        let cdw11 = CreateCqCdw11::new()
            .with_pc(options.contiguous)
            .with_ien(options.interrupt.is_some())
            .with_iv(options.interrupt.unwrap_or(0));
        self.create_raw(AdminOpcode::CREATE_CQ, &queue.queue, cdw11.into())
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
        let cdw11 = CreateSqCdw11::new()
            .with_pc(options.contiguous)
            .with_qprio(options.priority & 0b11)
            .with_cqid(options.completion_queue.0);
        self.create_raw(AdminOpcode::CREATE_SQ, &queue.queue, cdw11.into())
    }

    /// From the answer on, the device may use the queue's memory, whoever drops
    /// it.
    fn create_raw(
        &mut self,
        opcode: AdminOpcode,
        queue: &RawQueue,
        cdw11: u32,
    ) -> Result<Status, DriverError> {
        let id = queue.shape.id;
        let create = create_queue(opcode, id, queue.qsize(), queue.prp1(), cdw11);
        let status = self.admin_status(create)?;
        if status.is_success() {
            self.raw.push(RawKept {
                id,
                is_completion: opcode == AdminOpcode::CREATE_CQ,
                _memory: Arc::clone(&queue.memory),
            });
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
        let status = self.admin_status(delete_queue(opcode, id))?;
        if status.is_success() {
            self.raw
                .retain(|kept| (kept.id, kept.is_completion) != (id, is_completion));
        }
        Ok(status)
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
