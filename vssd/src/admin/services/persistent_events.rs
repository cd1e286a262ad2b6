//! The Persistent Event log: what happened to the drive, over resets and power
//! cycles.

use std::collections::VecDeque;

use nvme::{
    LogPageId, PersistentEventHeader, PersistentEventLogHeader, PersistentEventType, Status,
};
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

/// The size of the log at most: PELS of Identify Controller, units of 64 KiB.
pub(crate) const PELS: u32 = 1;
const BYTES_MAX: usize = 64 << 10;
/// The revision of the log and of its events.
const REVISION: u8 = 3;
/// Length of what follows in the head of the log, bytes.
const HEADER_LENGTH: u16 = 492;
/// What a single event has at most beside its head.
const EVENT_BYTES_MAX: usize = 1024;

/// Events that are entered.
const SUPPORTED: [PersistentEventType; 12] = [
    PersistentEventType::SMART_SNAPSHOT,
    PersistentEventType::FIRMWARE_COMMIT,
    PersistentEventType::TIMESTAMP_CHANGE,
    PersistentEventType::POWER_ON_OR_RESET,
    PersistentEventType::CHANGE_NAMESPACE,
    PersistentEventType::FORMAT_START,
    PersistentEventType::FORMAT_COMPLETION,
    PersistentEventType::SANITIZE_START,
    PersistentEventType::SANITIZE_COMPLETION,
    PersistentEventType::SET_FEATURE,
    PersistentEventType::TELEMETRY_CREATED,
    PersistentEventType::THERMAL_EXCURSION,
];

/// The persistent events of a drive: the oldest make room for new ones.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PersistentEvents {
    /// Each with its head, the oldest first.
    events: VecDeque<Vec<u8>>,
    bytes: usize,
    generation: u16,
    /// The log as it was when a host established a reporting context.
    #[serde(skip)]
    context: Option<Vec<u8>>,
}

impl PersistentEvents {
    /// Enters an event of `controller`; `timestamp` is the Timestamp feature.
    /// Data beyond 1 KiB is cut.
    pub(crate) fn enter(
        &mut self,
        kind: PersistentEventType,
        data: &[u8],
        controller: u16,
        timestamp: u64,
    ) {
        let data = data.get(..EVENT_BYTES_MAX).unwrap_or(data);
        let header = PersistentEventHeader {
            event_type: kind.0,
            revision: 1,
            header_length: PersistentEventHeader::HEADER_LENGTH,
            cntlid: controller.into(),
            timestamp: timestamp.into(),
            event_length: u16::try_from(data.len()).unwrap_or(u16::MAX).into(),
            ..PersistentEventHeader::default()
        };
        let event = [header.as_bytes(), data].concat();
        self.bytes = self.bytes.saturating_add(event.len());
        self.events.push_back(event);
        let room = BYTES_MAX.saturating_sub(size_of::<PersistentEventLogHeader>());
        while self.bytes > room {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(oldest.len());
        }
    }

    /// What a Get Log Page command with `action` in its log specific parameter
    /// reads (`NVMe Base 2.1 §5.1.12.1.14`). `head` has what the log tells of
    /// the drive; the rest of it is filled in here.
    pub(crate) fn read(
        &mut self,
        action: u8,
        head: impl FnOnce() -> PersistentEventLogHeader,
    ) -> Result<Vec<u8>, Status> {
        match action {
            PersistentEventLogHeader::LSP_READ => self
                .context
                .clone()
                .ok_or(Status::COMMAND_SEQUENCE_ERROR.dnr()),
            PersistentEventLogHeader::LSP_ESTABLISH => {
                if self.context.is_some() {
                    return Err(Status::COMMAND_SEQUENCE_ERROR.dnr());
                }
                Ok(self.establish(head()))
            }
            PersistentEventLogHeader::LSP_ESTABLISH_HEADER => {
                let mut log = match &self.context {
                    Some(log) => log.clone(),
                    None => self.establish(head()),
                };
                log.truncate(size_of::<PersistentEventLogHeader>());
                Ok(log)
            }
            PersistentEventLogHeader::LSP_RELEASE => {
                self.release();
                Ok(Vec::new())
            }
            _ => Err(Status::INVALID_FIELD.dnr()),
        }
    }

    fn establish(&mut self, mut head: PersistentEventLogHeader) -> Vec<u8> {
        self.generation = self.generation.wrapping_add(1);
        let bytes = size_of::<PersistentEventLogHeader>().saturating_add(self.bytes);
        head.lid = LogPageId::PERSISTENT_EVENT.0;
        head.revision = REVISION;
        head.header_length = HEADER_LENGTH.into();
        head.generation = self.generation.into();
        head.reporting_context = PersistentEventLogHeader::CONTEXT_EXISTS.into();
        head.events = u32::try_from(self.events.len()).unwrap_or(u32::MAX).into();
        head.bytes = u64::try_from(bytes).unwrap_or(u64::MAX).into();
        for kind in SUPPORTED {
            head.support(kind);
        }
        let mut log = Vec::with_capacity(bytes);
        log.extend_from_slice(head.as_bytes());
        // The newest first.
        for event in self.events.iter().rev() {
            log.extend_from_slice(event);
        }
        self.context = Some(log.clone());
        log
    }

    /// Ends the reporting context: a host asked for it, or a reset did.
    pub(crate) fn release(&mut self) {
        self.context = None;
    }
}
