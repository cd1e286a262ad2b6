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

mod clock;
mod record;
mod tap;

pub use clock::{Clock, MonotonicClock, VirtualClock};
pub use record::{CommandRecord, Completion, Event, EventRecord, Gap, Record};
pub use tap::Tap;
