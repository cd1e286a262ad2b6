//! Admin commands.

pub(crate) mod endurance;
mod erase;
pub(crate) mod events;
pub(crate) mod features;
pub(crate) mod identify;
pub(crate) mod lba_status;
pub(crate) mod logs;
pub(crate) mod namespaces;
mod queues;
pub(crate) mod services;

use nvme::{
    AbortCdw10, AdminOpcode, CommandId, FeatureId, FeatureSelect, FeaturesCdw10, GetLogPageCdw10,
    LogPageId, NSID_ALL, NamespaceId, QueueId, ReservationPersistence, Sqe, Status,
    WriteProtectionConfig, WriteProtectionState,
};
use traces::{Clock, Tap};
use zerocopy::IntoBytes;

use self::features::{DATA_BYTES_MAX, Surroundings};
use self::identify::Identity;
use self::logs::LogRequest;
use crate::command::{data_pointer, not_fused, prps_only};
use crate::device::Device;
use crate::memory::Access;
use crate::namespace::WriteProtection;
use crate::reservation::CommandClass;
use crate::{Controller, Media, Ticket};

/// How an admin command ended: dword 0 of its completion, or why it failed.
type Answer = Result<u32, Status>;

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Executes an admin command.
    pub(crate) fn admin(&mut self, sqe: &Sqe, ticket: Ticket) {
        let device = &mut self.device;
        let allowed = not_fused(sqe)
            .and_then(|()| prps_only(sqe))
            .and_then(|()| device.admit(sqe))
            .and_then(|()| device.allow_while_sanitizing(sqe))
            .and_then(|()| device.heed_reservations(sqe));
        if let Err(status) = allowed {
            return device.answer(ticket, Err(status));
        }
        let answer = match AdminOpcode(sqe.opcode) {
            opcode if device.config.withholds_admin(opcode) => Err(Status::INVALID_OPCODE.dnr()),
            AdminOpcode::DELETE_SQ => return device.delete_submission(sqe, ticket),
            AdminOpcode::ASYNC_EVENT_REQUEST => return device.park_event_request(ticket),
            AdminOpcode::NAMESPACE_MANAGEMENT => return self.manage_namespaces(sqe, ticket),
            AdminOpcode::FORMAT_NVM => return self.format_nvm(sqe, ticket),
            AdminOpcode::ABORT => self.abort(sqe),
            AdminOpcode::CREATE_SQ => device.create_submission(sqe),
            AdminOpcode::CREATE_CQ => device.create_completion(sqe),
            AdminOpcode::DELETE_CQ => device.delete_completion(sqe),
            AdminOpcode::DOORBELL_BUFFER_CONFIG => device.shadow_doorbells(sqe),
            AdminOpcode::IDENTIFY => device.identify(sqe),
            AdminOpcode::GET_LOG_PAGE => device.log_page(sqe),
            AdminOpcode::GET_FEATURES => device.get_features(sqe),
            AdminOpcode::SET_FEATURES => device.set_features(sqe),
            AdminOpcode::NAMESPACE_ATTACHMENT => device.attach_namespace(sqe),
            AdminOpcode::SANITIZE => device.start_sanitize(sqe),
            AdminOpcode::GET_LBA_STATUS => device.get_lba_status(sqe),
            _ => device.service(sqe),
        };
        self.device.answer(ticket, answer);
    }

    /// Abort (`NVMe Base 2.1 §5.1.1`): event requests that wait, and what the
    /// medium has not begun. Bit 0 of the answer says that nothing was aborted.
    fn abort(&mut self, sqe: &Sqe) -> Answer {
        const NOT_ABORTED: u32 = 1;
        let cdw10 = AbortCdw10::from_bits(sqe.cdw10.get());
        let (queue, cid) = (QueueId(cdw10.sqid()), CommandId(cdw10.cid()));
        if !self.device.queues.has_submission(queue) {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let parked = if queue.is_admin() {
            self.device.take_event_request(cid)
        } else {
            self.cancel_media(&mut |ticket| (ticket.queue(), ticket.cid()) == (queue, cid))
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
    /// Keeps commands away from a sanitize operation, and from what a failed one
    /// has left, that are not among those which are allowed beside it
    /// (`NVMe Base 2.1 §5.1`, `§8.1.24`). Sanitize looks for itself.
    fn allow_while_sanitizing(&self, sqe: &Sqe) -> Result<(), Status> {
        match self.sanitize.status() {
            Some(status) if !is_allowed_while_sanitizing(sqe) => Err(status),
            _ => Ok(()),
        }
    }

    /// Keeps commands off namespaces that other hosts have reserved
    /// (`NVMe Base 2.1 §8.1.22`). Format NVM and deletions look for themselves.
    fn heed_reservations(&self, sqe: &Sqe) -> Result<(), Status> {
        let opcode = AdminOpcode(sqe.opcode);
        let all = match opcode {
            AdminOpcode::SANITIZE => true,
            AdminOpcode::NAMESPACE_ATTACHMENT
            | AdminOpcode::SECURITY_SEND
            | AdminOpcode::SECURITY_RECEIVE => sqe.nsid() == NSID_ALL,
            _ => return Ok(()),
        };
        let host = self.features.reservation_host();
        for namespace in self.namespaces.iter() {
            if all || namespace.nsid == sqe.nsid() {
                let class = CommandClass::of_admin(opcode);
                namespace.reservations.permits(&host, class)?;
            }
        }
        Ok(())
    }

    /// Completes a command with its answer.
    pub(crate) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        match answer {
            Ok(dword0) => self.finish(ticket, Status::SUCCESS, dword0.into()),
            Err(status) => self.finish(ticket, status, 0),
        }
    }

    fn identify(&mut self, sqe: &Sqe) -> Answer {
        let data = data_pointer(sqe)?;
        let identity = Identity {
            config: &self.config,
            namespaces: &self.namespaces,
            firmware: self.services.firmware.revision(),
            now_ns: self.clock.now_ns(),
            shadow_doorbells: !self.interrupts.need_doorbells(),
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
        if self.config.withholds_log(request.page) {
            return Err(Status::INVALID_LOG_PAGE.dnr());
        }
        if request.bytes > self.namespaces.transfer_bytes_max() {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let nsid = sqe.nsid();
        let specific = !matches!(nsid, NamespaceId(0) | NSID_ALL);
        if specific && self.namespaces.active(nsid).is_none() {
            return Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr());
        }
        // What the page tells is to be up to date.
        self.look();
        let page = if request.page == LogPageId::CHANGED_ZONES {
            self.changed_zones(nsid, request.retain)?
        } else if request.page == LogPageId::RESERVATION_NOTIFICATION {
            self.notices.read().as_bytes().to_vec()
        } else if request.page == LogPageId::ENDURANCE_GROUP {
            self.endurance_log(request.lsi, request.retain)?
        } else if let Some(page) = self.service_log(sqe, &request)? {
            page
        } else {
            self.log(&request).ok_or(Status::INVALID_LOG_PAGE.dnr())?
        };
        let offset = usize::try_from(request.offset)
            .ok()
            .filter(|&offset| offset <= page.len())
            .ok_or(Status::INVALID_FIELD.dnr())?;
        let access = Access::Write;
        let segments = data.walk(&self.memory, request.bytes, access, &mut self.segments)?;
        segments.write(page.get(offset..).unwrap_or_default());
        if !request.retain {
            self.events.clear(request.page);
            self.service_log_read(request.page);
            if request.page == LogPageId::CHANGED_NAMESPACES {
                self.changed_namespaces.clear();
            }
        }
        Ok(0)
    }

    /// The Changed Zone List of a zoned namespace.
    fn changed_zones(&mut self, nsid: NamespaceId, retain: bool) -> Result<Vec<u8>, Status> {
        let zones = self
            .namespaces
            .get_mut(nsid)
            .and_then(|namespace| namespace.zones.as_mut())
            .ok_or(Status::INVALID_LOG_PAGE.dnr())?;
        Ok(zones.changed_zones(retain).as_bytes().to_vec())
    }

    /// A log page; none where there is no such page.
    fn log(&self, request: &LogRequest) -> Option<Vec<u8>> {
        Some(match request.page {
            LogPageId::ERROR_INFORMATION => self.errors.page(self.sanitize.status().is_none()),
            LogPageId::SMART => self.smart(),
            LogPageId::COMMAND_EFFECTS => logs::command_effects(&self.config),
            LogPageId::SUPPORTED => logs::supported(&self.config),
            LogPageId::CHANGED_NAMESPACES => {
                logs::namespace_list(&self.changed_namespaces.identifiers())
            }
            LogPageId::FEATURE_EFFECTS => self.features.effects(),
            LogPageId::SANITIZE_STATUS => self.sanitize_log(),
            LogPageId::ENDURANCE_GROUP_AGGREGATE => self.endurance_events_log(),
            LogPageId::LBA_STATUS => self.lba_status_log(),
            _ => return None,
        })
    }

    /// The Sanitize Status page (`NVMe Base 2.1 §5.1.12.1.33`).
    pub(crate) fn sanitize_log(&self) -> Vec<u8> {
        let bytes = self.namespaces.media().bytes;
        let seconds = self.config.sanitize_ns.div_ceil(1_000_000_000);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.sanitize.log(bytes, seconds).as_bytes().to_vec()
    }

    /// The SMART / Health Information page (`NVMe Base 2.1 §5.1.12.1.3`).
    pub(crate) fn smart(&self) -> Vec<u8> {
        let log = self.health.log(&self.condition());
        log.as_bytes().to_vec()
    }

    /// What features are set in.
    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            namespaces: &self.namespaces,
            now_ns: self.clock.now_ns(),
            has_io: self.queues.has_io(),
        }
    }

    fn get_features(&mut self, sqe: &Sqe) -> Answer {
        let data = data_pointer(sqe)?;
        let value = self.features.get(sqe, self.surroundings())?;
        let feature = FeatureId(FeaturesCdw10::from_bits(sqe.cdw10.get()).fid());
        if !value.data.is_empty() {
            let bytes = u64::try_from(value.data.len()).unwrap_or(0);
            data.walk(&self.memory, bytes, Access::Write, &mut self.segments)?
                .write(&value.data);
        }
        // The state of write protection changes by itself, too.
        let current = FeatureSelect::from_cdw10(sqe.cdw10.get()) == FeatureSelect::Current;
        match self.namespaces.active(sqe.nsid()) {
            Some(namespace) if feature == FeatureId::NAMESPACE_WRITE_PROTECTION && current => {
                Ok(namespace.write_protection.into())
            }
            // So does a Reservation Register that changes persistence.
            Some(namespace) if feature == FeatureId::RESERVATION_PERSISTENCE && current => {
                Ok(u32::from(namespace.reservations.ptpl()))
            }
            _ => Ok(value.dword0),
        }
    }

    fn set_features(&mut self, sqe: &Sqe) -> Answer {
        let data = data_pointer(sqe)?;
        let feature = FeatureId(FeaturesCdw10::from_bits(sqe.cdw10.get()).fid());
        if feature == FeatureId::NAMESPACE_WRITE_PROTECTION {
            self.check_write_protection(sqe)?;
        }
        let mut value = [0; DATA_BYTES_MAX];
        let bytes = self.features.data_bytes(sqe);
        let value = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| value.get_mut(..bytes))
            .ok_or(Status::INTERNAL_ERROR)?;
        if feature == FeatureId::HOST_MEMORY_BUFFER {
            value.fill(0);
            for (to, from) in value.chunks_exact_mut(4).zip(host_memory(sqe)) {
                to.copy_from_slice(&from);
            }
        } else if bytes > 0 {
            data.walk(&self.memory, bytes, Access::Read, &mut self.segments)?
                .read(value);
        }
        let around = Surroundings {
            namespaces: &self.namespaces,
            now_ns: self.clock.now_ns(),
            has_io: self.queues.has_io(),
        };
        let dword0 = self.features.set(sqe, value, around)?;
        self.feature_was_set(sqe);
        self.changed |= self.features.take_changed();
        self.coalescing.configure(self.features.coalescing());
        if feature == FeatureId::NAMESPACE_WRITE_PROTECTION {
            self.set_write_protection(sqe);
        } else if feature == FeatureId::RESERVATION_PERSISTENCE {
            self.set_persistence(sqe);
        }
        self.heed_warnings();
        Ok(dword0)
    }

    /// Which states of write protection can follow which
    /// (`NVMe Base 2.1 §8.1.16`).
    fn check_write_protection(&self, sqe: &Sqe) -> Result<(), Status> {
        let namespace = self
            .namespaces
            .active(sqe.nsid())
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
        match namespace.write_protection {
            WriteProtection::None | WriteProtection::Set => Ok(()),
            WriteProtection::UntilPowerCycle | WriteProtection::Permanent => {
                Err(Status::FEATURE_NOT_CHANGEABLE.dnr())
            }
        }
    }

    /// Whether reservations of the namespaces survive a loss of power
    /// (`NVMe Base 2.1 §5.1.25.1.30`).
    fn set_persistence(&mut self, sqe: &Sqe) {
        let ptpl = ReservationPersistence::from_bits(sqe.cdw11.get()).ptpl();
        let nsid = sqe.nsid();
        for namespace in self.namespaces.iter_mut() {
            if namespace.nsid == nsid || nsid == NSID_ALL && namespace.attached {
                namespace.reservations.set_ptpl(ptpl);
            }
        }
        self.changed = true;
    }

    fn set_write_protection(&mut self, sqe: &Sqe) {
        let code = WriteProtectionConfig::from_bits(sqe.cdw11.get()).wps();
        let state = WriteProtectionState::from_code(code).unwrap_or_default();
        if let Some(namespace) = self.namespaces.get_mut(sqe.nsid()) {
            namespace.write_protection = state.into();
            namespace.classify();
            self.changed = true;
        }
    }

    /// Asynchronous Event Request (`NVMe Base 2.1 §5.1.2`): it waits, without
    /// keeping its room in the completion queue, until there is an event.
    fn park_event_request(&mut self, ticket: Ticket) {
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
            self.finish_pending(ticket, Status::SUCCESS, event.dword0().into());
            told += 1;
        }
        told
    }
}

/// Whether an admin command tells and changes nothing of what is sanitized
/// (`NVMe Base 2.1 §5.1`).
fn is_allowed_while_sanitizing(sqe: &Sqe) -> bool {
    match AdminOpcode(sqe.opcode) {
        AdminOpcode::GET_LOG_PAGE => {
            let page = GetLogPageCdw10::from_bits(sqe.cdw10.get()).lid();
            matches!(
                LogPageId(page),
                // Without addresses of blocks.
                LogPageId::ERROR_INFORMATION
                    | LogPageId::SMART
                    | LogPageId::CHANGED_NAMESPACES
                    | LogPageId::RESERVATION_NOTIFICATION
                    | LogPageId::SANITIZE_STATUS
            )
        }
        AdminOpcode::SET_FEATURES => {
            let feature = FeaturesCdw10::from_bits(sqe.cdw10.get()).fid();
            FeatureId(feature) != FeatureId::NAMESPACE_WRITE_PROTECTION
        }
        AdminOpcode::DELETE_SQ
        | AdminOpcode::CREATE_SQ
        | AdminOpcode::DELETE_CQ
        | AdminOpcode::CREATE_CQ
        | AdminOpcode::IDENTIFY
        | AdminOpcode::ABORT
        | AdminOpcode::GET_FEATURES
        | AdminOpcode::ASYNC_EVENT_REQUEST
        | AdminOpcode::KEEP_ALIVE
        | AdminOpcode::NVME_MI_SEND
        | AdminOpcode::NVME_MI_RECEIVE
        | AdminOpcode::SANITIZE => true,
        _ => false,
    }
}

/// The attributes of a Host Memory Buffer, as Get Features tells them: dwords 12
/// to 15 of the command, in another order (`NVMe Base 2.1 §5.1.25.2.4`).
fn host_memory(sqe: &Sqe) -> [[u8; 4]; 4] {
    [sqe.cdw12, sqe.cdw13, sqe.cdw14, sqe.cdw15].map(|dword| dword.get().to_le_bytes())
}

#[cfg(test)]
mod tests;
