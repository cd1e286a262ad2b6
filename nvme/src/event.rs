//! Asynchronous events.

use crate::LogPageId;

/// The class of an asynchronous event: completion dword 0, bits 02:00
/// (`NVMe Base 2.1 §5.1.2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AsyncEventKind {
    /// Error status.
    Error = 0,
    /// SMART / health status.
    Smart = 1,
    /// Notice.
    Notice = 2,
    /// Immediate: needs no log page to clear it.
    Immediate = 3,
    /// One-shot.
    OneShot = 4,
    /// I/O command specific status.
    IoCommand = 6,
    /// Vendor specific.
    Vendor = 7,
}

/// An asynchronous event, as dword 0 of its completion tells it
/// (`NVMe Base 2.1 §5.1.2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncEvent {
    /// The class.
    pub kind: AsyncEventKind,
    /// Which event of that class.
    pub information: u8,
    /// The log page to read; reading it unmasks the class.
    pub log_page: LogPageId,
}

impl AsyncEvent {
    /// Error status: a doorbell was written that no queue has.
    pub const INVALID_DOORBELL_REGISTER: Self =
        Self::of(AsyncEventKind::Error, 0x00, LogPageId::ERROR_INFORMATION);
    /// Error status: a doorbell was written with a value that its queue does
    /// not have.
    pub const INVALID_DOORBELL_VALUE: Self =
        Self::of(AsyncEventKind::Error, 0x01, LogPageId::ERROR_INFORMATION);
    /// Error status: a diagnostic failure.
    pub const DIAGNOSTIC_FAILURE: Self =
        Self::of(AsyncEventKind::Error, 0x02, LogPageId::ERROR_INFORMATION);
    /// Error status: an internal error that persists.
    pub const PERSISTENT_INTERNAL_ERROR: Self =
        Self::of(AsyncEventKind::Error, 0x03, LogPageId::ERROR_INFORMATION);
    /// Error status: an internal error that passed.
    pub const TRANSIENT_INTERNAL_ERROR: Self =
        Self::of(AsyncEventKind::Error, 0x04, LogPageId::ERROR_INFORMATION);
    /// Error status: a firmware image could not be loaded.
    pub const FIRMWARE_IMAGE_LOAD_ERROR: Self =
        Self::of(AsyncEventKind::Error, 0x05, LogPageId::ERROR_INFORMATION);
    /// SMART / health status: the NVM subsystem is less reliable.
    pub const RELIABILITY: Self = Self::of(AsyncEventKind::Smart, 0x00, LogPageId::SMART);
    /// SMART / health status: a temperature threshold was crossed.
    pub const TEMPERATURE_THRESHOLD: Self = Self::of(AsyncEventKind::Smart, 0x01, LogPageId::SMART);
    /// SMART / health status: the available spare fell below its threshold.
    pub const SPARE_BELOW_THRESHOLD: Self = Self::of(AsyncEventKind::Smart, 0x02, LogPageId::SMART);
    /// Notice: the attributes of an attached namespace changed.
    pub const NAMESPACE_ATTRIBUTE_CHANGED: Self =
        Self::of(AsyncEventKind::Notice, 0x00, LogPageId::CHANGED_NAMESPACES);
    /// Notice: a firmware activation starts.
    pub const FIRMWARE_ACTIVATION_STARTING: Self =
        Self::of(AsyncEventKind::Notice, 0x01, LogPageId::FIRMWARE_SLOT);
    /// Notice: the controller-initiated telemetry log changed.
    pub const TELEMETRY_CHANGED: Self = Self::of(
        AsyncEventKind::Notice,
        0x02,
        LogPageId::TELEMETRY_CONTROLLER,
    );
    /// Notice: asymmetric namespace access changed.
    pub const ANA_CHANGED: Self = Self::of(AsyncEventKind::Notice, 0x03, LogPageId::ANA);
    /// Notice: the predictable latency event aggregate log changed.
    pub const PREDICTABLE_LATENCY_AGGREGATE_CHANGED: Self = Self::of(
        AsyncEventKind::Notice,
        0x04,
        LogPageId::PREDICTABLE_LATENCY_AGGREGATE,
    );
    /// Notice: LBA status information wants to be read.
    pub const LBA_STATUS_ALERT: Self =
        Self::of(AsyncEventKind::Notice, 0x05, LogPageId::LBA_STATUS);
    /// Notice: the endurance group event aggregate log changed.
    pub const ENDURANCE_GROUP_AGGREGATE_CHANGED: Self = Self::of(
        AsyncEventKind::Notice,
        0x06,
        LogPageId::ENDURANCE_GROUP_AGGREGATE,
    );
    /// Notice: a reachability group changed.
    pub const REACHABILITY_GROUP_CHANGED: Self =
        Self::of(AsyncEventKind::Notice, 0x07, LogPageId::REACHABILITY_GROUPS);
    /// Notice: a reachability association changed.
    pub const REACHABILITY_ASSOCIATION_CHANGED: Self = Self::of(
        AsyncEventKind::Notice,
        0x08,
        LogPageId::REACHABILITY_ASSOCIATIONS,
    );
    /// Notice: the attributes of an allocated namespace changed.
    pub const ALLOCATED_NAMESPACE_CHANGED: Self = Self::of(
        AsyncEventKind::Notice,
        0x09,
        LogPageId::CHANGED_ALLOCATED_NAMESPACES,
    );
    /// Notice: the descriptor of a zone changed.
    pub const ZONE_DESCRIPTOR_CHANGED: Self =
        Self::of(AsyncEventKind::Notice, 0xef, LogPageId::CHANGED_ZONES);
    /// Notice: the discovery log changed.
    pub const DISCOVERY_CHANGED: Self =
        Self::of(AsyncEventKind::Notice, 0xf0, LogPageId::DISCOVERY);
    /// Immediate: the NVM subsystem shuts down.
    pub const NORMAL_SUBSYSTEM_SHUTDOWN: Self =
        Self::of(AsyncEventKind::Immediate, 0x00, LogPageId::SUPPORTED);
    /// Immediate: a temperature recovered from its threshold.
    pub const TEMPERATURE_HYSTERESIS_RECOVERY: Self =
        Self::of(AsyncEventKind::Immediate, 0x01, LogPageId::SMART);
    /// I/O command specific status: the reservation notification log has a
    /// page.
    pub const RESERVATION_LOG_AVAILABLE: Self = Self::of(
        AsyncEventKind::IoCommand,
        0x00,
        LogPageId::RESERVATION_NOTIFICATION,
    );
    /// I/O command specific status: a sanitize operation completed.
    pub const SANITIZE_COMPLETED: Self =
        Self::of(AsyncEventKind::IoCommand, 0x01, LogPageId::SANITIZE_STATUS);
    /// I/O command specific status: a sanitize operation completed and
    /// deallocated against its order.
    pub const SANITIZE_COMPLETED_UNEXPECTED_DEALLOCATION: Self =
        Self::of(AsyncEventKind::IoCommand, 0x02, LogPageId::SANITIZE_STATUS);
    /// I/O command specific status: a sanitize operation entered media
    /// verification.
    pub const SANITIZE_MEDIA_VERIFICATION: Self =
        Self::of(AsyncEventKind::IoCommand, 0x03, LogPageId::SANITIZE_STATUS);

    const fn of(kind: AsyncEventKind, information: u8, log_page: LogPageId) -> Self {
        Self {
            kind,
            information,
            log_page,
        }
    }

    /// The event that dword 0 of a completion tells; none where its class is
    /// reserved.
    #[must_use]
    pub const fn from_dword0(dword0: u32) -> Option<Self> {
        let [kind, information, log_page, _] = dword0.to_le_bytes();
        let kind = match kind & 0b111 {
            0 => AsyncEventKind::Error,
            1 => AsyncEventKind::Smart,
            2 => AsyncEventKind::Notice,
            3 => AsyncEventKind::Immediate,
            4 => AsyncEventKind::OneShot,
            6 => AsyncEventKind::IoCommand,
            7 => AsyncEventKind::Vendor,
            _ => return None,
        };
        Some(Self::of(kind, information, LogPageId(log_page)))
    }

    /// Dword 0 of the completion.
    #[must_use]
    pub const fn dword0(self) -> u32 {
        u32::from_le_bytes([self.kind as u8, self.information, self.log_page.0, 0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_its_dword() {
        let event = AsyncEvent::SANITIZE_COMPLETED;
        assert_eq!(event.dword0(), 0x0081_0106);
        assert_eq!(AsyncEvent::from_dword0(event.dword0()), Some(event));
        assert_eq!(
            AsyncEvent::NAMESPACE_ATTRIBUTE_CHANGED.dword0(),
            0x0004_0002
        );
        assert_eq!(AsyncEvent::from_dword0(5), None);
    }
}
