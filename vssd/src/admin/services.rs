//! What a drive does beside reading and writing: firmware, self-tests,
//! telemetry, persistent events, security, lockdown, directives, NVMe-MI and
//! Keep Alive.
//!
//! ```text
//!   admin command -> admit (lockdown, note) -> service -> state -> Answer
//!   Get Log Page  ------------------------> service_log
//!   reset, power  ------------------------> reset_services, power_on_services
//!   Controller::poll ---------------------> tick_services (only while due)
//! ```
//!
//! Each state knows nothing of guest memory, queues and clocks; what moves data
//! and enters events stands here.

mod directives;
pub(crate) mod firmware;
mod handlers;
mod hooks;
mod keep_alive;
mod lockdown;
mod management;
mod persistent_events;
mod security;
pub(crate) mod self_test;
mod telemetry;

use nvme::{AsyncEvent, PersistentEventType, PowerOnController, SmartLog, Status};
use serde::{Deserialize, Serialize};
use traces::{Clock, Tap};
use zerocopy::{FromBytes, IntoBytes};

use self::directives::Directives;
use self::firmware::{Firmware, FirmwareConfig, ResetKind};
use self::keep_alive::KeepAlive;
use self::lockdown::Lockdown;
use self::management::Management;
pub(crate) use self::persistent_events::PELS;
use self::persistent_events::PersistentEvents;
use self::self_test::{Failure, SelfTest, SelfTestConfig};
pub(crate) use self::telemetry::Reason;
use self::telemetry::{Note, Telemetry};
use super::identify::CONTROLLER_ID;
use crate::config::number;
use crate::device::Device;
use crate::lifecycle::Change;
use crate::media::{Extent, Outcome, Request, Submission};
use crate::ticket::Ticket;
use crate::{Controller, Media, VssdError};

/// How a drive does what it does beside reading and writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServicesConfig {
    /// Firmware.
    pub firmware: FirmwareConfig,
    /// Self-tests.
    pub self_test: SelfTestConfig,
}

impl ServicesConfig {
    /// Checks every field against its range.
    pub(crate) fn check(&self) -> Result<(), VssdError> {
        const MINUTES_2: u64 = 120_000_000_000;
        let firmware = &self.firmware;
        number("firmware.slots", firmware.slots, 1, 7)?;
        let image_bytes_max = firmware.image_bytes_max;
        number("firmware.image_bytes_max", image_bytes_max, 4096, 64 << 20)?;
        number("self_test.short_ns", self.self_test.short_ns, 1, MINUTES_2)?;
        let extended_ns = self.self_test.extended_ns;
        number("self_test.extended_ns", extended_ns, 1, u64::MAX)
    }
}

/// The states of all of it.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    pub(crate) firmware: Firmware,
    pub(crate) self_test: SelfTest,
    pub(crate) telemetry: Telemetry,
    pub(crate) persistent: PersistentEvents,
    pub(crate) lockdown: Lockdown,
    pub(crate) directives: Directives,
    pub(crate) management: Management,
    pub(crate) keep_alive: KeepAlive,
}

/// What of it survives the end of the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedServices {
    firmware: Firmware,
    self_test: SelfTest,
    telemetry: Telemetry,
    persistent: PersistentEvents,
}

impl Services {
    /// A new drive, which came with firmware `revision`.
    pub(crate) fn new(revision: &str) -> Self {
        Self {
            firmware: Firmware::new(revision),
            self_test: SelfTest::default(),
            telemetry: Telemetry::default(),
            persistent: PersistentEvents::default(),
            lockdown: Lockdown::default(),
            directives: Directives::default(),
            management: Management::default(),
            keep_alive: KeepAlive::default(),
        }
    }

    /// What survives the end of the process.
    pub(crate) fn saved(&self) -> SavedServices {
        SavedServices {
            firmware: self.firmware.clone(),
            self_test: self.self_test.clone(),
            telemetry: self.telemetry.clone(),
            persistent: self.persistent.clone(),
        }
    }

    /// Takes on what was saved.
    pub(crate) fn restore(&mut self, saved: SavedServices) {
        self.firmware = saved.firmware;
        self.self_test = saved.self_test;
        self.telemetry = saved.telemetry;
        self.persistent = saved.persistent;
    }

    /// Whether time has to be looked at.
    #[inline]
    pub(crate) const fn is_ticking(&self) -> bool {
        self.firmware.is_activating() || self.self_test.is_running() || self.keep_alive.is_running()
    }
}

/// The most that a self-test reads of a stretch, bytes.
const SAMPLE_BYTES: u64 = 1 << 20;
/// Stretches that are read in one poll.
const STRETCHES_AT_ONCE: u32 = 16;

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// Goes on with what takes time. Returns how much was done.
    pub(crate) fn tick_services(&mut self) -> u32 {
        if !self.device.services.is_ticking() {
            return 0;
        }
        let now_ns = self.device.clock.now_ns();
        let hours = self.device.power_on_hours();
        let services = &mut self.device.services;
        let mut done = 0;
        if services.firmware.poll(now_ns) {
            done += 1;
            self.device.changed = true;
        }
        for _ in 0..STRETCHES_AT_ONCE {
            let Some(stretch) = self.device.services.self_test.next(now_ns) else {
                break;
            };
            done += 1;
            self.read_stretch(stretch.start, now_ns);
        }
        if self.device.services.self_test.poll(now_ns, hours) {
            done += 1;
            self.device.changed = true;
        }
        let alive = self.device.lifecycle.is_ready();
        if self.device.services.keep_alive.poll(now_ns) && alive {
            // The controller fails (NVMe Base 2.1 §3.9).
            self.device.errors.enter_event();
            self.device.trigger_telemetry(Reason::KeepAliveExpired);
            self.change(Change::Fault);
            done += 1;
        }
        done
    }

    /// Reads the first of a thousandth of the medium, for a self-test.
    fn read_stretch(&mut self, thousandth: u32, now_ns: u64) {
        let info = self.device.namespaces.media();
        let block = 4096;
        let length = (info.bytes / 1000).max(block) / block * block;
        let offset = length.saturating_mul(thousandth.into());
        let left = info.bytes.saturating_sub(offset);
        let bytes = length.min(SAMPLE_BYTES).min(left);
        if bytes == 0 {
            return self.device.services.self_test.verified();
        }
        let ticket = Ticket::of_self_test(self.device.sequence.next(), now_ns);
        let extent = Extent { offset, bytes };
        match self.media.submit(ticket, Request::Verify { extent }) {
            Submission::Done(ticket, outcome) => self.device.finish_media(ticket, outcome),
            Submission::Pending => {}
        }
    }
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// A read of a self-test ended.
    #[cold]
    pub(crate) fn finish_self_test_read(&mut self, ticket: Ticket, outcome: Outcome) {
        ticket.settle();
        let Err(error) = outcome else {
            return self.services.self_test.verified();
        };
        let hours = self.power_on_hours();
        let failure = Failure {
            place: None,
            status: error.status(),
        };
        self.services.self_test.failed(failure, hours);
        self.trigger_telemetry(Reason::SelfTestFailed);
        self.changed = true;
    }

    /// Hours since power-on.
    pub(crate) fn power_on_hours(&self) -> u64 {
        const HOUR_NS: u64 = 3_600_000_000_000;
        self.clock.now_ns().saturating_sub(self.powered_ns) / HOUR_NS
    }

    /// Milliseconds since power-on, which is what a timestamp is where no host
    /// set one.
    fn uptime_ms(&self) -> u64 {
        self.clock.now_ns().saturating_sub(self.powered_ns) / 1_000_000
    }

    /// Enters a persistent event.
    pub(crate) fn enter_persistent(&mut self, kind: PersistentEventType, data: &[u8]) {
        let timestamp = self.uptime_ms();
        self.services
            .persistent
            .enter(kind, data, CONTROLLER_ID, timestamp);
        self.changed = true;
    }

    /// A controller level reset. Call it before features get their defaults.
    pub(crate) fn reset_services(&mut self, kind: ResetKind) {
        let now_ns = self.clock.now_ns();
        let hours = self.power_on_hours();
        let services = &mut self.services;
        services.self_test.reset(now_ns, hours);
        services.persistent.release();
        services.directives.reset();
        services.keep_alive.reset();
        let activated = services.firmware.reset(kind);
        if kind == ResetKind::Subsystem {
            services.lockdown.power_on();
        }
        let controller = PowerOnController {
            cntlid: CONTROLLER_ID.into(),
            firmware_activation: u8::from(activated),
            power_cycles: u32::try_from(self.health.power_cycles)
                .unwrap_or(u32::MAX)
                .into(),
            power_on_ms: self.uptime_ms().into(),
            timestamp: self.uptime_ms().into(),
            ..PowerOnController::default()
        };
        let revision = self.services.firmware.revision();
        let data = [&revision[..], controller.as_bytes()].concat();
        self.enter_persistent(PersistentEventType::POWER_ON_OR_RESET, &data);
        if kind == ResetKind::Subsystem {
            let smart = self.smart();
            self.enter_persistent(PersistentEventType::SMART_SNAPSHOT, &smart);
        }
    }

    /// Makes controller-initiated telemetry, and tells the host.
    pub(crate) fn trigger_telemetry(&mut self, reason: Reason) {
        let areas = self.telemetry_areas();
        if !self.services.telemetry.trigger(reason, &areas) {
            return;
        }
        self.changed = true;
        if self.features.wanted_events().telemetry() {
            self.events.raise(AsyncEvent::TELEMETRY_CHANGED);
        }
    }

    /// The three data areas of telemetry: counters, recent admin commands,
    /// recent errors.
    fn telemetry_areas(&self) -> [Vec<u8>; 3] {
        let smart = SmartLog::read_from_bytes(&self.smart()).unwrap_or_default();
        let wide = |bytes| u128::from_le_bytes(bytes).to_string();
        let counters = serde_json::json!({
            "firmware": String::from_utf8_lossy(&self.services.firmware.revision()).trim(),
            "serial": self.config.serial,
            "uptime_ms": self.uptime_ms(),
            "lifecycle": format!("{:?}", self.lifecycle),
            "critical_warning": smart.critical_warning,
            "temperature_k": smart.temperature(),
            "host_reads": wide(smart.host_reads),
            "host_writes": wide(smart.host_writes),
            "data_units_read": wide(smart.data_units_read),
            "data_units_written": wide(smart.data_units_written),
            "power_cycles": wide(smart.power_cycles),
            "unsafe_shutdowns": wide(smart.unsafe_shutdowns),
            "media_errors": wide(smart.media_errors),
            "commands_fetched": self.sequence.next(),
        });
        let commands = serde_json::json!({
            "admin_commands": self.services.telemetry.commands(),
        });
        let errors = self.errors.page(true);
        let errors: Vec<_> = errors
            .chunks(64)
            .filter_map(|entry| nvme::ErrorLogEntry::read_from_bytes(entry).ok())
            .take_while(|entry| entry.error_count.get() != 0)
            .map(|entry| {
                serde_json::json!({
                    "count": entry.error_count.get(),
                    "queue": entry.sq_id.get(),
                    "cid": entry.command_id.get(),
                    "opcode": entry.opcode,
                    "nsid": entry.namespace_id.get(),
                    "lba": entry.lba.get(),
                    "status": Status::from_field(entry.status_phase.get() >> 1).to_string(),
                })
            })
            .collect();
        let errors = serde_json::json!({ "errors": errors });
        [counters, commands, errors].map(|area| area.to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests;
