//! What can go wrong with a trace of another tool.

use std::io;

use traces::TraceError;

/// Why a trace could not be converted. Every message names the file, the place
/// in it where there is one, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried, as a verb: "open", "read", "write".
        operation: &'static str,
        /// The file.
        path: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// No format is recognised by its content.
    #[error("{path} is of no format known here ({problem}): name one with --from, of {known}")]
    Unrecognized {
        /// The file.
        path: String,
        /// What was seen.
        problem: String,
        /// The names that would do.
        known: String,
    },
    /// No format has this name.
    #[error("no format is named {name:?}: {known} are known")]
    UnknownName {
        /// The name.
        name: String,
        /// The names that would do.
        known: String,
    },
    /// A format that is only read, or only written.
    #[error("{name} is not {what} here: {known} are")]
    OneWay {
        /// The format's name.
        name: &'static str,
        /// "read" or "written".
        what: &'static str,
        /// The names that would do.
        known: String,
    },
    /// Something in the file is not as the format has it.
    #[error("{path}, {place}: {problem}; --salvage leaves out what cannot be read")]
    Malformed {
        /// The file.
        path: String,
        /// Where: "line 12", "byte 4,096".
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// The choice of options does not fit the file.
    #[error("{problem}")]
    Refused {
        /// What does not fit, and what would.
        problem: String,
    },
    /// The trace on our side.
    #[error(transparent)]
    Trace(#[from] TraceError),
}

impl FormatError {
    /// The operating system refused `operation` on `path`.
    pub(crate) fn io(operation: &'static str, path: &str, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}
