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
mod feature;
mod id;
mod identify;
mod log_page;
mod nvm;
mod opcode;
mod register;
mod status;
mod zero_based;

pub use admin::{
    AbortCdw10, FeaturesCdw10, FormatCdw10, GetLogPageCdw10, GetLogPageCdw11, GetLogPageCdw14,
    IdentifyCdw10, IdentifyCdw11,
};
pub use command::{Psdt, Sqe};
pub use completion::Cqe;
pub use feature::{
    AsyncEventConfig, CreateCqCdw11, CreateQueueCdw10, CreateSqCdw11, FeatureId, FeatureSelect,
    NumberOfQueues, TemperatureThreshold, VectorConfig,
};
pub use id::{CommandId, Lba, NamespaceId, QueueId};
pub use identify::{
    Cns, IdentifyController, IdentifyNamespace, IndependentNamespace, LbaFormat,
    NamespaceIdDescriptor, NamespaceIdType, PowerStateDescriptor, ascii_field,
};
pub use log_page::{
    AsyncEvent, AsyncEventKind, CommandEffects, ErrorLogEntry, FirmwareSlotLog, LogPageId, SmartLog,
};
pub use nvm::{DSM_RANGES_MAX, DsmAttributes, DsmRange, ReadWriteCdw12};
pub use opcode::{AdminOpcode, NvmOpcode};
pub use register::{
    Aqa, Cap, Cc, Crto, Csts, DOORBELL_BASE, Doorbell, DoorbellKind, NSSR_RESET, REGISTERS_LEN,
    Registers, ShutdownNotification, ShutdownStatus, Vs, offset,
};
pub use status::{Status, StatusCodeType};
pub use zero_based::ZeroBased;

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
