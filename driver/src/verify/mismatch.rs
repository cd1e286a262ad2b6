//! A block that is not what was written, as an error to act on.

use std::fmt;
use std::time::Duration;

use nvme::{CommandId, Lba, QueueId};

use crate::CmdLogEntry;

/// Data read back is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{lba} is wrong: {} expected, by {writer}; {found} found, by {reader}", self.expected)]
pub struct Mismatch {
    /// The block.
    pub lba: Lba,
    /// What it must be.
    pub expected: Expected,
    /// The command that made it so.
    pub writer: CommandTrace,
    /// What it is.
    pub found: Found,
    /// The command that read it.
    pub reader: CommandTrace,
}

/// What a block must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// What a Write put there.
    Written {
        /// CRC32C of the block.
        crc: u32,
        /// The token in the block: no other command has it.
        token: u64,
    },
    /// That, or `value` in every byte: it was deallocated since, which is a
    /// hint.
    WrittenOrFilled {
        /// CRC32C of the block as it was written.
        crc: u32,
        /// The token in the block: no other command has it.
        token: u64,
        /// What the namespace's deallocated blocks read as.
        value: u8,
    },
    /// Zeroes, after Write Zeroes.
    Zeroes,
    /// Unrecovered Read Error, after Write Uncorrectable.
    ReadError,
}

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its CRC32C.
    pub crc: u32,
    /// What it says of itself.
    pub content: Content,
}

/// What a block says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// It has a whole stamp; where that is the expected one, the bytes after
    /// it are wrong.
    Stamped {
        /// The block that it was written to.
        lba: Lba,
        /// The token of the command that wrote it.
        token: u64,
        /// That command; none where it is of another run.
        writer: Option<Box<CommandTrace>>,
    },
    /// All bytes are this.
    Filled(u8),
    /// Neither.
    Other,
}

/// What is still known of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandTrace {
    /// Its queue. A later queue pair may have the same identifier.
    pub queue: QueueId,
    /// Which of the queue pair's commands it was, from 0.
    pub number: u64,
    /// Its identifier on the wire.
    pub cid: Option<CommandId>,
    /// When it was submitted, from the origin of the caller's clock.
    pub submitted: Option<Duration>,
    /// All of it, where the queue pair's log still had it.
    pub entry: Option<Box<CmdLogEntry>>,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Written { crc, token } => write!(f, "CRC32C {crc:#010x}, token {token:#x}"),
            Self::WrittenOrFilled { crc, token, value } => write!(
                f,
                "CRC32C {crc:#010x}, token {token:#x}, or {value:#04x} in all bytes"
            ),
            Self::Zeroes => f.write_str("zeroes"),
            Self::ReadError => f.write_str("an Unrecovered Read Error"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CRC32C {:#010x}, ", self.crc)?;
        match &self.content {
            Content::Stamped { lba, token, writer } => {
                write!(f, "token {token:#x} of {lba}")?;
                match writer {
                    Some(writer) => write!(f, " ({writer})"),
                    None => f.write_str(" (another run)"),
                }
            }
            Content::Filled(value) => write!(f, "{value:#04x} in all bytes"),
            Content::Other => f.write_str("no stamp"),
        }
    }
}

impl fmt::Display for CommandTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command {} of {}", self.number, self.queue)?;
        if let Some(cid) = self.cid {
            write!(f, ", {cid}")?;
        }
        if let Some(submitted) = self.submitted {
            write!(f, ", submitted at {:.3} s", submitted.as_secs_f64())?;
        }
        match &self.entry {
            Some(entry) => write!(f, " [{entry}]"),
            None => Ok(()),
        }
    }
}
