//! What a device was told to do, when, and how it went.
//!
//! ```text
//!   vssd (device side) --\                                     /--> replayer
//!                         Tap -> recorder -> Writer -> .vtr -> Reader
//!   driver (host side) --/                                     \--> plot, show
//! ```
//!
//! This crate owns the vocabulary: [`Record`] is one thing that happened,
//! [`Tap`] is where it is observed, and [`Clock`] says when. Both ends of a
//! queue pair speak it, so that a workload recorded in a virtual machine and
//! its replay on a drive can be laid side by side.
//!
//! It also owns the file: [`Writer`] and [`Reader`] of `.vtr`, which FORMAT.md
//! beside this crate specifies to the byte, and what is made of files: other
//! traces ([`edit`]), differences ([`diff`]), figures ([`Summary`], [`stats`]) and
//! pictures ([`plot`]) and pages ([`report`]). It does not decide what is recorded, runs no threads and
//! never waits: that is `recorder`'s. Formats of other tools are `formats`'.

mod ahead;
mod block;
mod clock;
mod codec;
pub mod diff;
pub mod edit;
mod error;
mod format;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod header;
mod pack;
mod payload;
pub mod plot;
mod reader;
mod record;
mod records;
pub mod report;
mod row;
pub mod show;
mod source;
pub mod stats;
mod summary;
mod tap;
mod totals;
mod touched;
mod writer;

pub use block::{Block, BlockInfo};
pub use clock::{Clock, MonotonicClock, VirtualClock};
pub use error::TraceError;
pub use header::{ClockInfo, DeviceIdentity, Header, NamespaceInfo, PciIdentity, Start};
pub use pack::pack;
pub use payload::{
    BlockDigest, Digester, Payload, PayloadContent, PayloadInfo, PayloadKind, PayloadPlace,
    PayloadTotals,
};
pub use reader::{Hole, Reader, Recovery, Salvage};
pub use record::{CommandRecord, Completion, Event, EventRecord, Gap, Record};
pub use records::Records;
pub use row::{Rare, Row};
pub use summary::{Latency, OpcodeSummary, Summary};
pub use tap::{Branch, Tap};
pub use totals::{End, OpcodeCount, Totals};
pub use touched::Touched;
pub use writer::{Effort, Resolution, Writer, WriterOptions};
