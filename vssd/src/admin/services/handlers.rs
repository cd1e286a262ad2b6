//! The commands and log pages of the services.

use nvme::{
    AdminOpcode, AsyncEvent, FeatureId, FeaturesCdw10, FirmwareCommitCdw10, FirmwareCommitEvent,
    GetLogPageCdw10, LogPageId, NSID_ALL, NamespaceId, PersistentEventLogHeader,
    PersistentEventType, ReadWriteCdw12, ReadWriteCdw13, SecurityCdw10, SelfTestCdw10,
    SetFeatureLayout, SmartLog, Sqe, Status, TelemetryHeader, TimestampChangeEvent, ascii_field,
};
use traces::{Clock, Tap};
use zerocopy::{FromBytes, IntoBytes};

use super::firmware::Firmware;
use super::management::{self, Facts};
use super::telemetry::Telemetry;
use super::{Note, security};
use crate::admin::Answer;
use crate::admin::identify::CONTROLLER_ID;
use crate::admin::logs::LogRequest;
use crate::command::data_pointer;
use crate::device::Device;
use crate::memory::Access;

impl<T: Tap, C: Clock> Device<T, C> {
    /// Whether an admin command may be executed at all. It is noted for
    /// telemetry.
    pub(in crate::admin) fn admit(&mut self, sqe: &Sqe) -> Result<(), Status> {
        let note = Note::of(sqe, self.clock.now_ns());
        self.services.telemetry.note(note);
        self.services.lockdown.check(sqe)
    }

    /// Executes an admin command of a service.
    pub(in crate::admin) fn service(&mut self, sqe: &Sqe) -> Answer {
        match AdminOpcode(sqe.opcode) {
            AdminOpcode::FIRMWARE_DOWNLOAD => self.download_firmware(sqe),
            AdminOpcode::FIRMWARE_COMMIT => self.commit_firmware(sqe),
            AdminOpcode::DEVICE_SELF_TEST => self.start_self_test(sqe),
            AdminOpcode::SECURITY_SEND => {
                data_pointer(sqe)?;
                security::send(SecurityCdw10::from_bits(sqe.cdw10.get())).map(|()| 0)
            }
            AdminOpcode::SECURITY_RECEIVE => {
                data_pointer(sqe)?;
                let data = security::receive(SecurityCdw10::from_bits(sqe.cdw10.get()))?;
                self.give(sqe, &data, sqe.cdw11.get().into())
            }
            AdminOpcode::LOCKDOWN => {
                data_pointer(sqe)?;
                self.services.lockdown.command(sqe).map(|()| 0)
            }
            AdminOpcode::DIRECTIVE_SEND => {
                data_pointer(sqe)?;
                self.check_active(sqe.nsid())?;
                self.services.directives.send(sqe).map(|()| 0)
            }
            AdminOpcode::DIRECTIVE_RECEIVE => self.receive_directive(sqe),
            AdminOpcode::NVME_MI_SEND => self.manage(sqe, true),
            AdminOpcode::NVME_MI_RECEIVE => self.manage(sqe, false),
            AdminOpcode::KEEP_ALIVE if self.config.keep_alive_ms > 0 => {
                data_pointer(sqe)?;
                let now_ns = self.clock.now_ns();
                self.services.keep_alive.restart(now_ns);
                Ok(0)
            }
            _ => Err(Status::INVALID_OPCODE.dnr()),
        }
    }

    /// Moves `data` to the host, cut to the `room` that it has there.
    fn give(&mut self, sqe: &Sqe, data: &[u8], room: u64) -> Answer {
        let pointer = data_pointer(sqe)?;
        if room > self.namespaces.transfer_bytes_max() {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let bytes = room.min(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if bytes > 0 {
            let data = usize::try_from(bytes).ok().and_then(|end| data.get(..end));
            pointer
                .walk(&self.memory, bytes, Access::Write, &mut self.segments)?
                .write(data.unwrap_or_default());
        }
        Ok(0)
    }

    fn check_active(&self, nsid: NamespaceId) -> Result<(), Status> {
        match self.namespaces.active(nsid) {
            Some(_) => Ok(()),
            None => Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr()),
        }
    }

    /// Firmware Image Download (`NVMe Base 2.1 §5.1.9`).
    fn download_firmware(&mut self, sqe: &Sqe) -> Answer {
        let pointer = data_pointer(sqe)?;
        // The number of dwords is zero-based, the offset is not.
        let bytes = u64::from(sqe.cdw10.get())
            .saturating_add(1)
            .saturating_mul(4);
        let offset = u64::from(sqe.cdw11.get()).saturating_mul(4);
        if bytes > self.namespaces.transfer_bytes_max() {
            return Err(Status::INVALID_FIELD.dnr());
        }
        Firmware::check_piece(&self.config.services.firmware, offset, bytes)?;
        let length = usize::try_from(bytes).map_err(|_| Status::INVALID_FIELD.dnr())?;
        let mut piece = vec![0; length];
        pointer
            .walk(&self.memory, bytes, Access::Read, &mut self.segments)?
            .read(&mut piece);
        self.services.firmware.download(offset, &piece)?;
        Ok(0)
    }

    /// Firmware Commit (`NVMe Base 2.1 §5.1.8`).
    fn commit_firmware(&mut self, sqe: &Sqe) -> Answer {
        data_pointer(sqe)?;
        let cdw10 = FirmwareCommitCdw10::from_bits(sqe.cdw10.get());
        let config = self.config.services.firmware;
        let now_ns = self.clock.now_ns();
        let old_revision = self.services.firmware.revision();
        let (done, result) = self.services.firmware.commit(&config, cdw10, now_ns);
        let status = result.err().unwrap_or_default();
        let [_, code_type] = status.field().to_le_bytes();
        let event = FirmwareCommitEvent {
            old_revision,
            new_revision: done.revision,
            action: cdw10.ca(),
            slot: done.slot,
            status_code_type: code_type & 0b111,
            status_code: status.code(),
            vendor_result: 0.into(),
        };
        self.enter_persistent(PersistentEventType::FIRMWARE_COMMIT, event.as_bytes());
        if done.starting {
            if self.features.wanted_events().firmware_activation() {
                self.events.raise(AsyncEvent::FIRMWARE_ACTIVATION_STARTING);
            }
            // One that takes no time is over at once.
            self.services.firmware.poll(now_ns);
        }
        result.map(|()| 0)
    }

    /// Device Self-test (`NVMe Base 2.1 §5.1.5`).
    fn start_self_test(&mut self, sqe: &Sqe) -> Answer {
        data_pointer(sqe)?;
        let nsid = sqe.nsid();
        if !matches!(nsid, NamespaceId(0) | NSID_ALL) {
            self.check_active(nsid)?;
        }
        if let Some(status) = self.sanitize.status() {
            return Err(status);
        }
        let code = SelfTestCdw10::from_bits(sqe.cdw10.get()).stc();
        let config = self.config.services.self_test;
        let (now_ns, hours) = (self.clock.now_ns(), self.power_on_hours());
        self.services
            .self_test
            .command(&config, code, nsid.0, now_ns, hours)?;
        self.changed = true;
        Ok(0)
    }

    /// Directive Receive (`NVMe Base 2.1 §5.1.6`).
    fn receive_directive(&mut self, sqe: &Sqe) -> Answer {
        /// The stream write size: a page, in blocks of the smallest size.
        const WRITE_SIZE: u32 = 8;
        data_pointer(sqe)?;
        self.check_active(sqe.nsid())?;
        let (dword0, data) = self.services.directives.receive(sqe, WRITE_SIZE)?;
        if !data.is_empty() {
            let room = u64::from(sqe.cdw10.get())
                .saturating_add(1)
                .saturating_mul(4);
            self.give(sqe, &data, room)?;
        }
        Ok(dword0)
    }

    /// A write with a directive type: its stream is open from now on.
    #[cold]
    pub(crate) fn direct_write(&mut self, sqe: &Sqe) -> Result<(), Status> {
        let dtype = ReadWriteCdw12::from_bits(sqe.cdw12.get()).dtype();
        let dspec = ReadWriteCdw13::from_bits(sqe.cdw13.get()).dspec();
        self.check_active(sqe.nsid())?;
        self.services.directives.write(sqe.nsid().0, dtype, dspec)
    }

    /// NVMe-MI Send and NVMe-MI Receive.
    fn manage(&mut self, sqe: &Sqe, sends: bool) -> Answer {
        data_pointer(sqe)?;
        let smart = SmartLog::read_from_bytes(&self.smart()).unwrap_or_default();
        let pci = self.config.pci;
        let facts = Facts {
            vendor: pci.vendor,
            device: pci.device,
            subsystem_vendor: pci.subsystem_vendor,
            subsystem: pci.subsystem,
            controller: CONTROLLER_ID,
            csts: self.lifecycle.csts().into_bits(),
            warnings: smart.critical_warning,
            temperature_k: smart.temperature(),
            used: smart.percentage_used,
            spare: smart.available_spare,
        };
        let reply = self.services.management.command(sqe, sends, &facts)?;
        if !reply.data.is_empty() {
            let room = u64::try_from(reply.data.len()).unwrap_or(0);
            self.give(sqe, &reply.data, room)?;
        }
        Ok(reply.dword0)
    }

    /// A log page of a service; none where the page is another's.
    pub(in crate::admin) fn service_log(
        &mut self,
        sqe: &Sqe,
        request: &LogRequest,
    ) -> Result<Option<Vec<u8>>, Status> {
        let lsp = GetLogPageCdw10::from_bits(sqe.cdw10.get()).lsp();
        let now_ns = self.clock.now_ns();
        Ok(Some(match request.page {
            LogPageId::FIRMWARE_SLOT => self.services.firmware.log().as_bytes().to_vec(),
            LogPageId::SELF_TEST => self.services.self_test.log(now_ns).as_bytes().to_vec(),
            LogPageId::TELEMETRY_HOST | LogPageId::TELEMETRY_CONTROLLER => {
                Telemetry::check(request.offset, request.bytes)?;
                let creates = request.page == LogPageId::TELEMETRY_HOST
                    && lsp & TelemetryHeader::LSP_CREATE != 0;
                if creates {
                    self.create_telemetry();
                }
                let ieee = self.config.pci.oui;
                self.services.telemetry.log(request.page, ieee)
            }
            LogPageId::PERSISTENT_EVENT => {
                let head = self.persistent_head();
                // Two bits of the log specific parameter are the action.
                self.services.persistent.read(lsp & 0b11, || head)?
            }
            LogPageId::NVME_MI_EFFECTS => management::effects(),
            LogPageId::LOCKDOWN => self.services.lockdown.log(lsp)?.as_bytes().to_vec(),
            _ => return Ok(None),
        }))
    }

    /// The host has read a log page, and not with "retain".
    pub(in crate::admin) fn service_log_read(&mut self, page: LogPageId) {
        if page == LogPageId::TELEMETRY_CONTROLLER {
            self.services.telemetry.clear();
            self.changed = true;
        }
    }

    fn create_telemetry(&mut self) {
        let areas = self.telemetry_areas();
        self.services.telemetry.create(&areas);
        let log = self
            .services
            .telemetry
            .log(LogPageId::TELEMETRY_HOST, self.config.pci.oui);
        let head = log.get(..TelemetryHeader::BLOCK_BYTES).unwrap_or_default();
        self.enter_persistent(PersistentEventType::TELEMETRY_CREATED, head);
    }

    fn persistent_head(&self) -> PersistentEventLogHeader {
        PersistentEventLogHeader {
            timestamp: self.uptime_ms().into(),
            power_on_hours: u128::from(self.power_on_hours()).to_le_bytes(),
            power_cycles: self.health.power_cycles.into(),
            vid: self.config.pci.vendor.into(),
            ssvid: self.config.pci.subsystem_vendor.into(),
            sn: ascii_field(&self.config.serial),
            mn: ascii_field(&self.config.model),
            subnqn: crate::admin::identify::nqn(&self.config),
            ..PersistentEventLogHeader::default()
        }
    }

    /// A feature was set: what has to know of it, and the persistent event.
    pub(in crate::admin) fn feature_was_set(&mut self, sqe: &Sqe) {
        const DWORDS: u8 = 6;
        let feature = FeatureId(FeaturesCdw10::from_bits(sqe.cdw10.get()).fid());
        match feature {
            FeatureId::KEEP_ALIVE => {
                let now_ns = self.clock.now_ns();
                let unit_ms = self.config.keep_alive_ms;
                let timeout_ms = sqe.cdw11.get();
                self.services.keep_alive.set(timeout_ms, unit_ms, now_ns);
            }
            FeatureId::TIMESTAMP => {
                let event = TimestampChangeEvent {
                    previous: self.uptime_ms().into(),
                    since_reset_ms: self.uptime_ms().into(),
                };
                let kind = PersistentEventType::TIMESTAMP_CHANGE;
                return self.enter_persistent(kind, event.as_bytes());
            }
            _ => {}
        }
        let layout = SetFeatureLayout::new().with_dwords(DWORDS).into_bits();
        let dwords = [
            layout,
            sqe.cdw10.get(),
            sqe.cdw11.get(),
            sqe.cdw12.get(),
            sqe.cdw13.get(),
            sqe.cdw14.get(),
            sqe.cdw15.get(),
        ];
        let data: Vec<u8> = dwords
            .iter()
            .flat_map(|dword| dword.to_le_bytes())
            .collect();
        self.enter_persistent(PersistentEventType::SET_FEATURE, &data);
    }
}
