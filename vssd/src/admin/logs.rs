//! Log pages.

use std::collections::VecDeque;

use nvme::{
    AdminOpcode, CommandEffects, ErrorLogEntry, FirmwareSlotLog, GetLogPageCdw10, GetLogPageCdw11,
    GetLogPageCdw14, LogPageId, NSID_ALL, NamespaceId, NvmOpcode, Sqe, Status, ascii_field,
};
use traces::CommandRecord;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::identify::{Page, page};
use crate::command::NSID;

/// Entries of the Error Information log (Identify Controller, ELPE + 1): a page.
pub(crate) const ERRORS_MAX: usize = 64;

/// The commands of the admin queue that are supported.
const ADMIN: [AdminOpcode; 11] = [
    AdminOpcode::DELETE_SQ,
    AdminOpcode::CREATE_SQ,
    AdminOpcode::GET_LOG_PAGE,
    AdminOpcode::DELETE_CQ,
    AdminOpcode::CREATE_CQ,
    AdminOpcode::IDENTIFY,
    AdminOpcode::ABORT,
    AdminOpcode::SET_FEATURES,
    AdminOpcode::GET_FEATURES,
    AdminOpcode::ASYNC_EVENT_REQUEST,
    AdminOpcode::DOORBELL_BUFFER_CONFIG,
];

/// The I/O commands that are supported, and whether they change blocks.
const IO: [(NvmOpcode, bool); 7] = [
    (NvmOpcode::FLUSH, false),
    (NvmOpcode::WRITE, true),
    (NvmOpcode::READ, false),
    (NvmOpcode::COMPARE, false),
    (NvmOpcode::WRITE_ZEROES, true),
    (NvmOpcode::DATASET_MANAGEMENT, true),
    (NvmOpcode::VERIFY, false),
];

const LOG_PAGES: [LogPageId; 6] = [
    LogPageId::SUPPORTED,
    LogPageId::ERROR_INFORMATION,
    LogPageId::SMART,
    LogPageId::FIRMWARE_SLOT,
    LogPageId::CHANGED_NAMESPACES,
    LogPageId::COMMAND_EFFECTS,
];

/// What a Get Log Page command asks for (`NVMe Base 2.1 §5.1.12`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogRequest {
    /// The page.
    pub(crate) page: LogPageId,
    /// How much of it, bytes.
    pub(crate) bytes: u64,
    /// From where on, bytes.
    pub(crate) offset: u64,
    /// Whether asynchronous events stay masked.
    pub(crate) retain: bool,
}

impl LogRequest {
    /// Decodes the command.
    pub(crate) fn decode(sqe: &Sqe) -> Result<Self, Status> {
        let cdw10 = GetLogPageCdw10::from_bits(sqe.cdw10.get());
        let cdw11 = GetLogPageCdw11::from_bits(sqe.cdw11.get());
        let cdw14 = GetLogPageCdw14::from_bits(sqe.cdw14.get());
        let page = LogPageId(cdw10.lid());
        if !LOG_PAGES.contains(&page) {
            return Err(Status::INVALID_LOG_PAGE.dnr());
        }
        if !matches!(sqe.nsid(), NamespaceId(0) | NSID | NSID_ALL) {
            return Err(Status::INVALID_NAMESPACE_OR_FORMAT.dnr());
        }
        let dwords = u64::from(cdw11.numdu()) << 16 | u64::from(cdw10.numdl());
        let offset = u64::from(sqe.cdw13.get()) << 32 | u64::from(sqe.cdw12.get());
        if cdw14.index_offset() || !offset.is_multiple_of(4) || offset > bytes_of(page) {
            return Err(Status::INVALID_FIELD.dnr());
        }
        Ok(Self {
            page,
            // The number of dwords is zero-based.
            bytes: dwords.saturating_add(1).saturating_mul(4),
            offset,
            retain: cdw10.rae(),
        })
    }
}

/// The size of a log page, bytes.
const fn bytes_of(page: LogPageId) -> u64 {
    match page {
        LogPageId::SUPPORTED => 1024,
        LogPageId::SMART | LogPageId::FIRMWARE_SLOT => 512,
        _ => 4096,
    }
}

/// The Supported Log Pages page (`NVMe Base 2.1 §5.1.12.1.1`).
pub(super) fn supported() -> Page {
    let mut entries = [U32::new(0); 256];
    for page in LOG_PAGES {
        if let Some(entry) = entries.get_mut(usize::from(page.0)) {
            *entry = U32::new(1);
        }
    }
    page(&[entries.as_bytes()])
}

/// The Commands Supported and Effects page (`NVMe Base 2.1 §5.1.12.1.6`).
pub(super) fn command_effects() -> Page {
    let mut entries = [U32::new(0); 512];
    let supported = CommandEffects::new().with_csupp(true);
    let changes = supported.with_lbcc(true);
    let admin = ADMIN.map(|opcode| (usize::from(opcode.0), supported));
    let io = IO.map(|(opcode, writes)| {
        let effects = if writes { changes } else { supported };
        (usize::from(opcode.0) + 256, effects)
    });
    for (index, effects) in admin.into_iter().chain(io) {
        if let Some(entry) = entries.get_mut(index) {
            *entry = U32::new(effects.into_bits());
        }
    }
    page(&[entries.as_bytes()])
}

/// The Firmware Slot Information page (`NVMe Base 2.1 §5.1.12.1.4`): slot 1.
pub(super) fn firmware_slots(firmware: &str) -> Page {
    let mut log = FirmwareSlotLog {
        active: 1,
        ..FirmwareSlotLog::default()
    };
    if let Some(first) = log.revisions.first_mut() {
        *first = ascii_field(firmware);
    }
    page(&[log.as_bytes()])
}

/// The Error Information log (`NVMe Base 2.1 §5.1.12.1.2`).
#[derive(Debug)]
pub(crate) struct ErrorLog {
    /// The newest first.
    entries: VecDeque<ErrorLogEntry>,
    count: u64,
}

impl ErrorLog {
    pub(crate) fn new() -> Self {
        Self {
            entries: VecDeque::with_capacity(ERRORS_MAX),
            count: 0,
        }
    }

    /// Entries over the life of the drive.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Enters a command that failed with `status`.
    pub(crate) fn enter(&mut self, record: &CommandRecord, status: Status) {
        self.count = self.count.saturating_add(1);
        let lba = record.lba_range().map_or(0, |(lba, _)| lba.0);
        self.push(ErrorLogEntry {
            error_count: U64::new(self.count),
            sq_id: U16::new(record.queue.0),
            command_id: U16::new(record.cid.0),
            // Bit 0 is the phase tag.
            status_phase: U16::new(status.field() << 1),
            // No parameter is named.
            parameter_location: U16::new(u16::MAX),
            lba: U64::new(lba),
            namespace_id: U32::new(record.nsid.0),
            opcode: record.opcode,
            ..ErrorLogEntry::default()
        });
    }

    /// Enters an error that no command made.
    pub(crate) fn enter_event(&mut self) {
        self.count = self.count.saturating_add(1);
        self.push(ErrorLogEntry {
            error_count: U64::new(self.count),
            sq_id: U16::new(u16::MAX),
            command_id: U16::new(u16::MAX),
            parameter_location: U16::new(u16::MAX),
            ..ErrorLogEntry::default()
        });
    }

    fn push(&mut self, entry: ErrorLogEntry) {
        self.entries.truncate(ERRORS_MAX - 1);
        self.entries.push_front(entry);
    }

    /// The log page.
    pub(super) fn page(&self) -> Page {
        let mut entries = [ErrorLogEntry::default(); ERRORS_MAX];
        for (slot, entry) in entries.iter_mut().zip(&self.entries) {
            *slot = *entry;
        }
        page(&[entries.as_bytes()])
    }
}
