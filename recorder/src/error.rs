//! What can go wrong with a recording.

use std::io;

use traces::{Totals, TraceError};

/// Why a recording could not be started, or ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecorderError {
    /// The trace could not be created.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The writer thread could not be started.
    #[error("cannot start the recorder's thread: {source}; is the limit on threads reached?")]
    Thread {
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The recording had to stop; what was written before is whole.
    #[error(
        "the recording to {path} ended early, after {} commands: {reason}; \
         the trace is good up to there",
        totals.commands
    )]
    Ended {
        /// The file.
        path: String,
        /// What failed.
        reason: String,
        /// What the file holds.
        totals: Box<Totals>,
    },
    /// The writer thread panicked: a fault of this program.
    #[error("the recorder's thread died; the trace opens up to its last whole block")]
    Died,
}
