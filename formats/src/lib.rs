//! Traces of other tools, into `.vtr` and out of it.
//!
//! ```text
//!   files --> Stream ---> Import --> Item --> Assembler --> traces::Writer --> .vtr
//!             (gzip,      (one a     (times,  (order, numbers,
//!             zstd,       format)    bytes)   blocks, namespaces)
//!             lines)
//!
//!   .vtr --> traces::Reader --> Export (one a format) --> file
//! ```
//!
//! [`FORMATS`] is the table of what is known: each [`Format`] says how it is
//! recognised, how it is read and written, and what it can hold.
//! [`import()`] and [`export()`] do the whole of it, in constant memory, and
//! return what could not be expressed ([`Notes`]).
//!
//! What a format does not have is not invented: commands of a format without
//! completions never completed; where times are seconds, they stay whole
//! seconds.
//!
//! What it does not do: it does not specify `.vtr` ([`traces`] does), and it
//! draws and sums up nothing.

mod assemble;
mod csv;
mod error;
mod export;
mod format;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod import;
mod input;
mod item;
mod notes;
mod parquet;
mod run;

pub use assemble::{Assembled, Assembler, AssemblerOptions};
pub use error::FormatError;
pub use export::{Carries, Export};
pub use format::{FORMATS, Format, detect, find};
pub use import::{Import, ImportOptions};
pub use input::{Filled, Input, Stream};
pub use item::{ByteRange, Io, Item, Operation};
pub use notes::Notes;
pub use run::{ImportSummary, export, import};
