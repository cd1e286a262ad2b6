//! Why guest memory cannot be mapped or reached.

use std::io;

use super::REGIONS_MAX;

/// Why a map of guest memory was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The range has no bytes.
    #[error("cannot map guest memory at {iova:#x}: the length is 0")]
    Empty {
        /// The address.
        iova: u64,
    },
    /// Address, length or file offset is not a multiple of 4096.
    #[error(
        "cannot map guest memory at {iova:#x}, {len:#x} bytes from file offset {file_offset:#x}: \
         all three must be multiples of 4096"
    )]
    Unaligned {
        /// The address.
        iova: u64,
        /// The length in bytes.
        len: u64,
        /// The offset in the file, bytes.
        file_offset: u64,
    },
    /// The range ends beyond the address space, or beyond what a file can have.
    #[error("cannot map guest memory at {iova:#x}, {len:#x} bytes: the range overflows")]
    Overflow {
        /// The address.
        iova: u64,
        /// The length in bytes.
        len: u64,
    },
    /// A part of the range is mapped.
    #[error(
        "cannot map guest memory at {iova:#x}, {len:#x} bytes: {other:#x} is mapped there; unmap \
         it first"
    )]
    Overlap {
        /// The address.
        iova: u64,
        /// The length in bytes.
        len: u64,
        /// The start of the region in the way.
        other: u64,
    },
    /// Neither reading nor writing is permitted.
    #[error("cannot map guest memory at {iova:#x}, {len:#x} bytes: no access is permitted")]
    NoAccess {
        /// The address.
        iova: u64,
        /// The length in bytes.
        len: u64,
    },
    /// The file does not have that many bytes: touching them would be fatal.
    #[error(
        "cannot map guest memory at {iova:#x}, {len:#x} bytes from file offset {file_offset:#x}: \
         the file has only {file_bytes:#x} bytes"
    )]
    FileTooShort {
        /// The address.
        iova: u64,
        /// The length in bytes.
        len: u64,
        /// The offset in the file, bytes.
        file_offset: u64,
        /// The size of the file, bytes.
        file_bytes: u64,
    },
    /// The table is full.
    #[error(
        "cannot map guest memory at {iova:#x}, {len:#x} bytes: {REGIONS_MAX} regions are mapped, \
         which is the limit"
    )]
    TooMany {
        /// The address.
        iova: u64,
        /// The length in bytes.
        len: u64,
    },
    /// The system refused.
    #[error("cannot map guest memory at {iova:#x}, {len:#x} bytes: {source}")]
    System {
        /// The address.
        iova: u64,
        /// The length in bytes.
        len: u64,
        /// What the system said.
        source: io::Error,
    },
}

/// A guest address that is not mapped, or not for what was to be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("guest memory at {iova:#x} is not mapped for this access")]
pub struct Unmapped {
    /// The address.
    pub iova: u64,
}
