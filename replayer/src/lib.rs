//! Feeds a trace through the driver into a device, at the pace at which it was
//! recorded, or faster.
//!
//! ```text
//!   traces::Reader --records--> Source --plans--> Lane --commands--> QueuePair
//!                               (deadline,        (backlog,          (driver)
//!                                mapping,          one for each
//!                                splitting)        queue)                |
//!                                                                        v
//!   Report <------------------------ Books <----------------------- completions
//! ```
//!
//! A [`Playlist`] makes one trace of several, or of a part, once or over and
//! over. [`TraceFacts::scan`] reads it once to learn its queues, its depth and
//! its reach; [`Replay::run`] then streams it a second time, in constant
//! memory, on one thread that polls ([`Replay::run_ahead`] reads the trace on
//! another).
//!
//! Deadlines are absolute from the start of the replay, so lateness never adds
//! up, and a command waits for nothing but its time and a place in its queue:
//! neither for the completion of another nor for another's full queue.
//! At [`Pace::Think`] a command waits for the completion that it waited for when
//! it was recorded; at [`Pace::Closed`] recorded times do not count, and a number
//! of commands is in flight. [`Outlook`] says before what will be written where,
//! [`Report`] how well it went, and where it can go on ([`Position`]).
//!
//! What it replays: Flush, Read, Write, Write Zeroes, Dataset Management and
//! Verify as they were; Compare as a Read of the same blocks, as the data that
//! was compared is not in a trace. What is written is what was recorded, where the
//! trace has that: byte for byte, or, where it has hashes, made so that equal
//! blocks are equal again. Commands that never completed when they were
//! recorded are replayed too. Admin commands, and commands whose data a trace
//! does not have, are counted and left out.
//!
//! What it does not do: it does not know the file format ([`traces`] does), it
//! does not drive hardware ([`driver`] does), and it looks at data only where it
//! is told to verify it: against what the replay wrote, not against what was
//! recorded. It writes to a
//! device only where it is given an [`AllowWrite`].

mod books;
mod buffers;
mod check;
mod content;
mod error;
mod extents;
mod facts;
mod filter;
mod jobs;
mod lanes;
mod mapping;
mod options;
mod outlook;
mod pace;
mod plan;
mod playlist;
mod position;
mod replay;
mod report;
mod run;
mod series;
mod source;
mod target;
mod think;
mod timer;

pub use error::ReplayError;
pub use facts::{NamespaceFacts, QueueFacts, TraceFacts, WriteFacts};
pub use filter::Filter;
pub use mapping::{Mapping, MappingError};
pub use options::{AllowWrite, DataSource, ReplayOptions};
pub use outlook::{Outlook, WriteOutlook};
pub use pace::{Pace, PaceError};
pub use plan::SkipReason;
pub use playlist::{Order, Play, Playlist, PlaylistError};
pub use position::{Position, Reached};
pub use replay::{Progress, Replay};
pub use report::{
    CommandCounts, DepthReport, End, ErrorReport, OpcodeReport, Pacing, QueueReport, Report,
    SizeReport, SkippedReport, Stalls, VerifiedReport,
};
pub use series::{Bucket, Series};
pub use timer::TimerJitter;
