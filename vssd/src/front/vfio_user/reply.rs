//! How a request is answered, or why it is not.

use rustix::io::Errno;
use wire::WireError;

use crate::MapError;

/// Why a request is refused: what the client is told, and what the log says.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    pub(super) why: String,
    /// Whether the log has it already, in other words.
    pub(super) said: bool,
}

impl Refusal {
    pub(super) fn new(errno: Errno, why: impl Into<String>) -> Self {
        Self {
            errno,
            why: why.into(),
            said: false,
        }
    }

    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::new(Errno::INVAL, why)
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<MapError> for Refusal {
    fn from(error: MapError) -> Self {
        let errno = match &error {
            MapError::Overlap { .. } => Errno::EXIST,
            MapError::TooMany { .. } => Errno::NOSPC,
            MapError::System { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::INVAL),
            _ => Errno::INVAL,
        };
        Self::new(errno, error.to_string())
    }
}

/// What a request is answered with.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) payload: Vec<u8>,
    /// What goes with it.
    pub(super) share: Share,
}

/// The memory whose descriptor goes with a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Share {
    /// None.
    #[default]
    Nothing,
    /// The doorbells.
    Doorbells,
    /// The controller memory buffer.
    Cmb,
}

impl From<Vec<u8>> for Reply {
    fn from(payload: Vec<u8>) -> Self {
        Self {
            payload,
            share: Share::Nothing,
        }
    }
}
