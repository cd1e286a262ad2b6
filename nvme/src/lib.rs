//! The NVMe specification as types.
//!
//! ```text
//!            nvme            <- you are here
//!              |
//!            traces
//!      ________|_________
//!     |        |         |
//!    vssd    driver   recorder
//! ```
//!
//! Both ends of a queue pair are built on this crate: the controller model in
//! `vssd` and the host in `driver` read and write the same [`Sqe`], the same
//! [`Cqe`] and the same registers, and meet at one trait, [`Registers`]: the
//! device's ceiling and the driver's floor.
//!
//! What stands on the wire is a `#[repr(C)]` structure of little-endian fields,
//! so it can be read from and written to guest memory as it is. Every bit is
//! named here once; no shift by a specification constant appears elsewhere.
//! Citations name the *NVM Express Base Specification, revision 2.1* and the
//! *NVM Command Set Specification, revision 1.1*.
//!
//! The crate does no I/O, holds no state, allocates nothing and contains no
//! unsafe code.

#![forbid(unsafe_code)]

mod admin;
mod command;
mod completion;
mod event;
mod feature;
mod id;
mod identify;
mod log_page;
mod namespace_management;
mod nvm;
mod opcode;
mod open_enum;
mod protection;
mod register;
mod reservation;
mod sgl;
mod status;
mod zero_based;
mod zns;

pub use admin::{
    AbortCdw10, CapacityManagementCdw10, DirectiveCdw11, DirectiveEnableCdw12, FeaturesCdw10,
    FirmwareCommitCdw10, FormatCdw10, GetLbaStatusCdw13, GetLogPageCdw10, GetLogPageCdw11,
    GetLogPageCdw14, IdentifyCdw10, IdentifyCdw11, LockdownCdw10, LockdownCdw14,
    NamespaceManagementCdw10, NamespaceManagementCdw11, SanitizeCdw10, SecurityCdw10,
    SelfTestCdw10,
};
pub use command::{Psdt, Sqe};
pub use completion::Cqe;
pub use event::{AsyncEvent, AsyncEventKind};
pub use feature::{
    ApstEntry, ApstTable, ArbitrationConfig, AsyncEventConfig, BootPartitionWriteProtection,
    CommandSetProfile, CreateCqCdw11, CreateQueueCdw10, CreateSqCdw11, EnduranceGroupEventConfig,
    ErrorRecovery, FeatureCapabilities, FeatureId, FeatureSelect, HmbAttributes, HmbDescriptor,
    HostBehavior, HostIdentifierCdw11, HostMemoryBufferCdw11, HostThermalManagement,
    InterruptCoalescing, LbaRangeType, LbaStatusInterval, NonOperationalPower, NumberOfQueues,
    PowerManagement, PredictableLatencyConfig, PredictableLatencyWindow,
    ReservationNotificationMask, ReservationPersistence, SanitizeConfig, SpinupControl,
    TemperatureThreshold, Timestamp, VectorConfig, VolatileWriteCache, WriteAtomicity,
    WriteProtectionConfig, WriteProtectionState,
};
pub use id::{CommandId, Lba, NamespaceId, QueueId};
pub use identify::{
    Cns, CommandSetCombinations, ControllerList, DomainAttributes, DomainList, ElbaFormat,
    EnduranceGroupList, IdentifyController, IdentifyNamespace, IdentifyNvmController,
    IdentifyNvmNamespace, IndependentNamespace, LbaFormat, NamespaceGranularity,
    NamespaceGranularityList, NamespaceIdDescriptor, NamespaceIdType, NamespaceList,
    NvmSetAttributes, NvmSetList, PowerStateDescriptor, PrimaryControllerCapabilities,
    SecondaryController, SecondaryControllerList, UuidList, UuidListEntry, ascii_field,
};
pub use log_page::{
    BootPartitionInfo, BootPartitionLogHeader, ChangeNamespaceEvent, CommandEffects,
    EnduranceGroupAggregateLog, EnduranceGroupLog, ErrorLogEntry, FeatureEffects,
    FirmwareCommitEvent, FirmwareSlotLog, FormatCompletionEvent, FormatStartEvent,
    HardwareErrorEvent, LbaStatusElement, LbaStatusLog, LbaStatusRange, LockdownLog,
    LockdownSelection, LogPageId, NvmeMiEffects, PersistentEventHeader, PersistentEventLogHeader,
    PersistentEventType, PowerOnController, PredictableLatencyLog, ReservationNotificationLog,
    SanitizeCompletionEvent, SanitizeLog, SanitizeStartEvent, SanitizeState, SanitizeStatus,
    SelfTestEntry, SelfTestLog, SelfTestOperation, SelfTestResult, SelfTestStatus,
    SetFeatureLayout, SmartLog, SupportedLogPage, TelemetryHeader, ThermalExcursionEvent,
    TimestampChangeEvent,
};
pub use namespace_management::NamespaceCreation;
pub use nvm::{
    CancelCdw10, CancelCdw11, CancelDword0, CopyCdw12, CopyRange, CopyRangeExtended,
    DSM_RANGES_MAX, DsmAttributes, DsmContext, DsmRange, LbaStatusDescriptor, LbaStatusHeader,
    ReadWriteCdw12, ReadWriteCdw13, ReadWriteCdw15,
};
pub use opcode::{AdminOpcode, NvmOpcode};
pub use protection::{
    GuardFormat, Pi16, Pi32, Pi64, Prinfo, ProtectionInfo, ProtectionTag, ProtectionType,
    TagCheckCdw15,
};
pub use register::{
    Aqa, BpReadSelect, BufferUnit, Cap, Cc, CmbLocation, CmbMemorySpace, CmbSize, CmbStatus, Crto,
    Csts, DOORBELL_BASE, Doorbell, DoorbellKind, NSSD_ABRUPT, NSSD_NORMAL, NSSR_RESET,
    REGISTERS_LEN, Registers, ShutdownNotification, ShutdownStatus, Vs, offset,
};
pub use reservation::{
    RESERVATION_STATUS_EXTENDED_BYTES, RegisteredController, RegisteredControllerExtended,
    ReservationAcquireCdw10, ReservationAcquireData, ReservationCapabilities,
    ReservationRegisterCdw10, ReservationRegisterData, ReservationReleaseCdw10,
    ReservationReleaseData, ReservationReportCdw11, ReservationStatus, ReservationType,
};
pub use sgl::{SGL_DESCRIPTOR_BYTES, SglDescriptor, SglSubtype, SglType};
pub use status::{Status, StatusCodeType};
pub use zero_based::ZeroBased;
pub use zns::{
    ChangedZoneList, IdentifyZonedController, IdentifyZonedNamespace, ZONED_COMMAND_SET,
    ZoneAppendCdw12, ZoneAttributes, ZoneDescriptor, ZoneListHeader, ZoneReceiveAction,
    ZoneReceiveCdw13, ZoneReporting, ZoneSendAction, ZoneSendCdw13, ZoneState, ZonedLbaFormat,
};

/// Size of a submission queue entry, bytes (SQES = 6).
pub const SQE_BYTES: usize = 64;
/// Size of a completion queue entry, bytes (CQES = 4).
pub const CQE_BYTES: usize = 16;
/// Size of an Identify data structure, bytes.
pub const IDENTIFY_BYTES: usize = 4096;
/// The memory page size that every part of this project uses, bytes
/// (CC.MPS = 0).
pub const PAGE_BYTES: u64 = 4096;
/// The namespace identifier that means "all namespaces".
pub const NSID_ALL: NamespaceId = NamespaceId(0xffff_ffff);
