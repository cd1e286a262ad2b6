//! Log pages.

use std::collections::VecDeque;

use nvme::{
    AdminOpcode, CommandEffects, ErrorLogEntry, GetLogPageCdw10, GetLogPageCdw11, GetLogPageCdw14,
    LogPageId, NamespaceId, NamespaceList, NvmOpcode, Sqe, Status,
};
use traces::CommandRecord;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use crate::ControllerConfig;
use crate::special::is_zoned;

/// Entries of the Error Information log (Identify Controller, ELPE + 1): a page.
pub(crate) const ERRORS_MAX: usize = 64;

/// What a command changes beside logical blocks.
const NOTHING: CommandEffects = CommandEffects::new().with_csupp(true);
const BLOCKS: CommandEffects = NOTHING.with_lbcc(true);
const NAMESPACES: CommandEffects = NOTHING.with_ncc(true).with_nic(true);
/// How a command may be submitted beside others: only alone in its namespace,
/// and only alone in the subsystem.
const ALONE_IN_NAMESPACE: u8 = 1;
const ALONE: u8 = 2;

/// The admin commands that are offered, and what they change.
const ADMIN: [(AdminOpcode, CommandEffects); 27] = [
    (AdminOpcode::DELETE_SQ, NOTHING),
    (AdminOpcode::CREATE_SQ, NOTHING),
    (AdminOpcode::GET_LOG_PAGE, NOTHING),
    (AdminOpcode::DELETE_CQ, NOTHING),
    (AdminOpcode::CREATE_CQ, NOTHING),
    (AdminOpcode::IDENTIFY, NOTHING),
    (AdminOpcode::ABORT, NOTHING),
    (AdminOpcode::SET_FEATURES, NOTHING),
    (AdminOpcode::GET_FEATURES, NOTHING),
    (AdminOpcode::ASYNC_EVENT_REQUEST, NOTHING),
    (AdminOpcode::FIRMWARE_COMMIT, NOTHING.with_ccc(true)),
    (AdminOpcode::FIRMWARE_DOWNLOAD, NOTHING),
    (AdminOpcode::DEVICE_SELF_TEST, NOTHING),
    (AdminOpcode::KEEP_ALIVE, NOTHING),
    (AdminOpcode::DIRECTIVE_SEND, NOTHING),
    (AdminOpcode::DIRECTIVE_RECEIVE, NOTHING),
    (AdminOpcode::NVME_MI_SEND, NOTHING),
    (AdminOpcode::NVME_MI_RECEIVE, NOTHING),
    (AdminOpcode::LOCKDOWN, NOTHING),
    (AdminOpcode::SECURITY_SEND, NOTHING),
    (AdminOpcode::SECURITY_RECEIVE, NOTHING),
    (AdminOpcode::NAMESPACE_MANAGEMENT, NAMESPACES),
    (AdminOpcode::NAMESPACE_ATTACHMENT, NAMESPACES),
    (
        AdminOpcode::FORMAT_NVM,
        BLOCKS.with_ncc(true).with_cse(ALONE_IN_NAMESPACE),
    ),
    (AdminOpcode::DOORBELL_BUFFER_CONFIG, NOTHING),
    (AdminOpcode::SANITIZE, BLOCKS.with_cse(ALONE)),
    (AdminOpcode::GET_LBA_STATUS, NOTHING),
];

/// The I/O commands that are offered, and what they change.
const IO: [(NvmOpcode, CommandEffects); 17] = [
    (NvmOpcode::FLUSH, NOTHING),
    (NvmOpcode::WRITE, BLOCKS),
    (NvmOpcode::READ, NOTHING),
    (NvmOpcode::WRITE_UNCORRECTABLE, BLOCKS),
    (NvmOpcode::COMPARE, NOTHING),
    (NvmOpcode::WRITE_ZEROES, BLOCKS),
    (NvmOpcode::DATASET_MANAGEMENT, BLOCKS),
    (NvmOpcode::VERIFY, NOTHING),
    (NvmOpcode::RESERVATION_REGISTER, NOTHING),
    (NvmOpcode::RESERVATION_REPORT, NOTHING),
    (NvmOpcode::RESERVATION_ACQUIRE, NOTHING),
    (NvmOpcode::RESERVATION_RELEASE, NOTHING),
    (NvmOpcode::CANCEL, NOTHING),
    (NvmOpcode::COPY, BLOCKS),
    (NvmOpcode::ZONE_MANAGEMENT_SEND, BLOCKS),
    (NvmOpcode::ZONE_MANAGEMENT_RECEIVE, NOTHING),
    (NvmOpcode::ZONE_APPEND, BLOCKS),
];

/// The log pages that are offered.
const LOG_PAGES: [LogPageId; 19] = [
    LogPageId::SUPPORTED,
    LogPageId::ERROR_INFORMATION,
    LogPageId::SMART,
    LogPageId::FIRMWARE_SLOT,
    LogPageId::CHANGED_NAMESPACES,
    LogPageId::COMMAND_EFFECTS,
    LogPageId::SELF_TEST,
    LogPageId::TELEMETRY_HOST,
    LogPageId::TELEMETRY_CONTROLLER,
    LogPageId::ENDURANCE_GROUP,
    LogPageId::PERSISTENT_EVENT,
    LogPageId::LBA_STATUS,
    LogPageId::ENDURANCE_GROUP_AGGREGATE,
    LogPageId::FEATURE_EFFECTS,
    LogPageId::NVME_MI_EFFECTS,
    LogPageId::LOCKDOWN,
    LogPageId::SANITIZE_STATUS,
    LogPageId::CHANGED_ZONES,
    LogPageId::RESERVATION_NOTIFICATION,
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
    /// What of the page's kind it is about, such as an endurance group.
    pub(crate) lsi: u16,
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
        let dwords = u64::from(cdw11.numdu()) << 16 | u64::from(cdw10.numdl());
        let offset = u64::from(sqe.cdw13.get()) << 32 | u64::from(sqe.cdw12.get());
        if cdw14.index_offset() || !offset.is_multiple_of(4) {
            return Err(Status::INVALID_FIELD.dnr());
        }
        Ok(Self {
            page,
            // The number of dwords is zero-based.
            bytes: dwords.saturating_add(1).saturating_mul(4),
            offset,
            lsi: cdw11.lsi(),
            retain: cdw10.rae(),
        })
    }
}

/// The Supported Log Pages page (`NVMe Base 2.1 §5.1.12.1.1`).
pub(super) fn supported(config: &ControllerConfig) -> Vec<u8> {
    let mut entries = [U32::new(0); 256];
    for page in LOG_PAGES {
        let zones_only = page == LogPageId::CHANGED_ZONES && config.zoned.is_none();
        if zones_only || config.withholds_log(page) {
            continue;
        }
        if let Some(entry) = entries.get_mut(usize::from(page.0)) {
            *entry = U32::new(1);
        }
    }
    entries.as_bytes().to_vec()
}

/// The Commands Supported and Effects page (`NVMe Base 2.1 §5.1.12.1.6`).
pub(super) fn command_effects(config: &ControllerConfig) -> Vec<u8> {
    let mut entries = [U32::new(0); 1024];
    let zoned = config.zoned.is_some();
    let admin = ADMIN.map(|(opcode, effects)| {
        let there = !config.withholds_admin(opcode)
            && (opcode != AdminOpcode::KEEP_ALIVE || config.keep_alive_ms > 0);
        let effects = if there {
            effects
        } else {
            CommandEffects::new()
        };
        (usize::from(opcode.0), effects)
    });
    let io = IO.map(|(opcode, effects)| {
        let there = !config.withholds_io(opcode) && (zoned || !is_zoned(opcode));
        let effects = if there {
            effects
        } else {
            CommandEffects::new()
        };
        (usize::from(opcode.0) + 256, effects)
    });
    for (index, effects) in admin.into_iter().chain(io) {
        if let Some(entry) = entries.get_mut(index) {
            *entry = U32::new(effects.into_bits());
        }
    }
    entries.as_bytes().to_vec()
}

/// A page that is a list of namespaces.
pub(super) fn namespace_list(identifiers: &[NamespaceId]) -> Vec<u8> {
    let mut list = NamespaceList::default();
    for (slot, nsid) in list.ids.iter_mut().zip(identifiers) {
        *slot = U32::new(nsid.0);
    }
    list.as_bytes().to_vec()
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

    /// Goes on counting from `count`.
    pub(crate) const fn resume(&mut self, count: u64) {
        self.count = count;
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

    /// The log page, with the addresses of blocks only where they may be told.
    pub(super) fn page(&self, addresses: bool) -> Vec<u8> {
        let mut entries = [ErrorLogEntry::default(); ERRORS_MAX];
        for (slot, entry) in entries.iter_mut().zip(&self.entries) {
            *slot = *entry;
            if !addresses {
                slot.lba = U64::new(0);
            }
        }
        entries.as_bytes().to_vec()
    }
}
