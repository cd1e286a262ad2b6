//! Admin commands.

pub(crate) mod events;
pub(crate) mod features;
pub(crate) mod identify;
pub(crate) mod logs;
mod queues;

use nvme::{
    AbortCdw10, AdminOpcode, AsyncEvent, CommandId, LogPageId, QueueId, SmartLog, Sqe, Status,
};
use traces::{Clock, Tap};
use zerocopy::IntoBytes;

use self::features::{Features, Value};
use self::identify::{Identity, Page};
use self::logs::LogRequest;
use crate::command::data_pointer;
use crate::device::Device;
use crate::memory::Access;
use crate::{Controller, Media, Ticket};

/// How an admin command ended: dword 0 of its completion, or why it failed.
type Answer = Result<u32, Status>;

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Executes an admin command.
    pub(crate) fn admin(&mut self, sqe: &Sqe, ticket: Ticket) {
        let device = &mut self.device;
        let answer = match AdminOpcode(sqe.opcode) {
            AdminOpcode::DELETE_SQ => return device.delete_submission(sqe, ticket),
            AdminOpcode::ASYNC_EVENT_REQUEST => return device.park_event_request(sqe, ticket),
            AdminOpcode::ABORT => self.abort(sqe),
            AdminOpcode::CREATE_SQ => device.create_submission(sqe),
            AdminOpcode::CREATE_CQ => device.create_completion(sqe),
            AdminOpcode::DELETE_CQ => device.delete_completion(sqe),
            AdminOpcode::DOORBELL_BUFFER_CONFIG => device.shadow_doorbells(sqe),
            AdminOpcode::IDENTIFY => device.identify(sqe),
            AdminOpcode::GET_LOG_PAGE => device.log_page(sqe),
            AdminOpcode::GET_FEATURES => device.get_features(sqe),
            AdminOpcode::SET_FEATURES => device.set_features(sqe),
            _ => Err(Status::INVALID_OPCODE.dnr()),
        };
        self.device.answer(ticket, answer);
    }

    /// Abort (`NVMe Base 2.1 §5.1.1`): event requests that wait, and what the
    /// medium has not begun. Bit 0 of the answer says that nothing was aborted.
    fn abort(&mut self, sqe: &Sqe) -> Answer {
        const NOT_ABORTED: u32 = 1;
        data_pointer(sqe)?;
        let cdw10 = AbortCdw10::from_bits(sqe.cdw10.get());
        let (queue, cid) = (QueueId(cdw10.sqid()), CommandId(cdw10.cid()));
        if !self.device.queues.has_submission(queue) {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let parked = if queue.is_admin() {
            self.device.take_event_request(cid)
        } else {
            self.media.cancel(queue, cid)
        };
        match parked {
            Some(ticket) => {
                self.device
                    .finish_pending(ticket, Status::ABORT_REQUESTED, 0);
                Ok(0)
            }
            None => Ok(NOT_ABORTED),
        }
    }
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// Completes a command with its answer.
    pub(crate) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        match answer {
            Ok(dword0) => self.finish(ticket, Status::SUCCESS, dword0),
            Err(status) => self.finish(ticket, status, 0),
        }
    }

    fn identify(&mut self, sqe: &Sqe) -> Answer {
        let data = data_pointer(sqe)?;
        let identity = Identity {
            config: &self.config,
            namespace: &self.namespace,
            media: self.media,
        };
        let page = identity.answer(sqe)?;
        let bytes = u64::try_from(page.len()).unwrap_or(0);
        let segments = data.walk(&self.memory, bytes, Access::Write, &mut self.segments)?;
        segments.write(&page);
        Ok(0)
    }

    fn log_page(&mut self, sqe: &Sqe) -> Answer {
        let data = data_pointer(sqe)?;
        let request = LogRequest::decode(sqe)?;
        if request.bytes > self.namespace.transfer_bytes_max {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let page: Page = match request.page {
            LogPageId::ERROR_INFORMATION => self.errors.page(),
            LogPageId::SMART => self.smart(),
            LogPageId::FIRMWARE_SLOT => logs::firmware_slots(&self.config.firmware),
            LogPageId::COMMAND_EFFECTS => logs::command_effects(),
            LogPageId::SUPPORTED => logs::supported(),
            // No namespace has changed: the size of a medium is fixed.
            _ => identify::page(&[]),
        };
        let access = Access::Write;
        let segments = data.walk(&self.memory, request.bytes, access, &mut self.segments)?;
        let offset = usize::try_from(request.offset).map_err(|_| Status::INVALID_FIELD)?;
        segments.write(page.get(offset..).unwrap_or_default());
        if !request.retain {
            self.events.clear(request.page);
        }
        Ok(0)
    }

    fn smart(&self) -> Page {
        let read_only = if self.namespace.read_only {
            SmartLog::WARNING_READ_ONLY
        } else {
            0
        };
        let warnings = self.features.warnings() | read_only;
        let on_ns = self.clock.now_ns().saturating_sub(self.powered_ns);
        let log = self.health.log(warnings, on_ns, self.errors.count());
        identify::page(&[log.as_bytes()])
    }

    fn get_features(&mut self, sqe: &Sqe) -> Answer {
        let data = data_pointer(sqe)?;
        match self.features.get(sqe, self.clock.now_ns())? {
            Value::Dword(dword) => Ok(dword),
            Value::Data(value, bytes) => {
                let value = value.get(..bytes).unwrap_or_default();
                let bytes = u64::try_from(bytes).unwrap_or(0);
                let segments = data.walk(&self.memory, bytes, Access::Write, &mut self.segments)?;
                segments.write(value);
                Ok(0)
            }
        }
    }

    fn set_features(&mut self, sqe: &Sqe) -> Answer {
        let data = data_pointer(sqe)?;
        let mut value = [0; 16];
        let bytes = Features::data_bytes(sqe);
        if bytes > 0 {
            let segments = data.walk(&self.memory, bytes, Access::Read, &mut self.segments)?;
            segments.read(&mut value);
        }
        let before = self.features.warnings();
        let has_io = self.queues.has_io();
        let dword0 = self.features.set(sqe, value, self.clock.now_ns(), has_io)?;
        self.coalescing.configure(self.features.coalescing());
        let new = self.features.warnings() & !before & self.features.wanted_warnings();
        if new & SmartLog::WARNING_TEMPERATURE != 0 {
            self.events.raise(AsyncEvent::TEMPERATURE_THRESHOLD);
        }
        Ok(dword0)
    }

    /// Asynchronous Event Request (`NVMe Base 2.1 §5.1.2`): it waits, without
    /// keeping its room in the completion queue, until there is an event.
    fn park_event_request(&mut self, sqe: &Sqe, ticket: Ticket) {
        if let Err(status) = data_pointer(sqe) {
            return self.answer(ticket, Err(status));
        }
        let cid = ticket.cid();
        match self.events.park(ticket) {
            Ok(()) => {
                self.queues.set_in_flight(QueueId::ADMIN, cid, true);
                self.queues.release(QueueId::ADMIN);
            }
            Err(ticket) => self.answer(ticket, Err(Status::ASYNC_EVENT_LIMIT_EXCEEDED.dnr())),
        }
    }

    /// Takes a waiting event request, with room for its completion.
    fn take_event_request(&mut self, cid: CommandId) -> Option<Ticket> {
        if !self.queues.is_in_flight(QueueId::ADMIN, cid)
            || !self
                .queues
                .reserve(QueueId::ADMIN, &self.memory, &self.doorbells)
        {
            return None;
        }
        let ticket = self.events.take(cid);
        if ticket.is_none() {
            self.queues.release(QueueId::ADMIN);
        }
        ticket
    }

    /// Tells events by the requests that wait for them, as far as there is room
    /// in the admin completion queue. Returns how many.
    pub(crate) fn deliver_events(&mut self) -> u32 {
        let mut told = 0;
        while self.events.is_deliverable()
            && self
                .queues
                .reserve(QueueId::ADMIN, &self.memory, &self.doorbells)
        {
            let Some((ticket, event)) = self.events.deliver() else {
                self.queues.release(QueueId::ADMIN);
                break;
            };
            self.finish_pending(ticket, Status::SUCCESS, event.dword0());
            told += 1;
        }
        told
    }
}

#[cfg(test)]
mod tests;
