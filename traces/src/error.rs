//! What can go wrong with a trace file.

use std::io;

/// Why a trace could not be written or read. Every message names the file, the
/// place in it where there is one, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The operating system refused.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried, as a verb: "create", "write", "read".
        operation: &'static str,
        /// The file.
        path: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The file is there already.
    #[error(
        "{path} is there already: choose another name, or ask for it to be overwritten \
         (a trace is never overwritten unasked)"
    )]
    Exists {
        /// The file.
        path: String,
    },
    /// It does not start as a trace does.
    #[error("{path} is not a .vtr trace: {problem}; is it the right file?")]
    NotATrace {
        /// The file.
        path: String,
        /// What stands there instead.
        problem: String,
    },
    /// It was written by a later version of the format.
    #[error("{path} at byte {offset} needs a newer reader ({what}): update vssd")]
    TooNew {
        /// The file.
        path: String,
        /// Where the unknown thing stands, bytes from the start of the file.
        offset: u64,
        /// What is not known here.
        what: String,
    },
    /// Its bytes contradict themselves.
    #[error(
        "{path} is damaged at byte {offset}: {problem}; \
         `vssd trace convert --salvage` keeps what is whole"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where, bytes from the start of the file.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// A command with more Dataset Management ranges than the specification
    /// has room for.
    #[error(
        "command {sequence} has {ranges} Dataset Management ranges, a command can carry 256: \
         record it as several commands"
    )]
    TooManyRanges {
        /// The command's sequence number.
        sequence: u64,
        /// How many ranges it was given.
        ranges: usize,
    },
    /// The header is too long to be written.
    #[error("the trace header takes {bytes} bytes, at most {limit} fit: use shorter labels")]
    HeaderTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// What is wrong with a block or an index, without the file's name and place,
/// which the caller knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The bytes contradict themselves.
    Damaged(String),
    /// A later version of the format.
    TooNew(String),
}

impl Flaw {
    pub(crate) fn damaged(problem: impl Into<String>) -> Self {
        Self::Damaged(problem.into())
    }

    /// The error for this flaw at `offset` of `path`.
    pub(crate) fn at(self, path: &str, offset: u64) -> TraceError {
        let path = path.to_owned();
        match self {
            Self::Damaged(problem) => TraceError::Damaged {
                path,
                offset,
                problem,
            },
            Self::TooNew(what) => TraceError::TooNew { path, offset, what },
        }
    }
}
