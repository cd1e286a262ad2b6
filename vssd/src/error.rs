//! What can go wrong when a virtual SSD is made.

use std::io;
use std::path::PathBuf;

/// Why a virtual SSD could not be made. What a guest does wrong is no error
/// but a [`nvme::Status`], told to the guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VssdError {
    /// A field of a configuration is out of its range.
    #[error("the controller's {field} is {value}, but must be {range}")]
    Config {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        range: String,
    },
    /// A saved state is not one of this drive.
    #[error(
        "the saved state is not one of this drive: {what}; name the image that it belongs to, or \
         move the state away to start with a new one"
    )]
    State {
        /// What does not fit.
        what: String,
    },
    /// The doorbell page could not be made.
    #[error("cannot make the doorbell page: {source}")]
    Doorbells {
        /// What the system said.
        source: io::Error,
    },
    /// Memory for the controller memory buffer could not be had.
    #[error("cannot reserve {bytes} bytes of memory for a controller memory buffer: {source}")]
    Cmb {
        /// Its size, bytes.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The medium is not made of whole blocks, or has none.
    #[error(
        "{media} has {bytes} bytes, which is not a whole number of blocks of {block_bytes} bytes: \
         grow it to a multiple, or choose another block size"
    )]
    MediaSize {
        /// The medium.
        media: String,
        /// Its size, bytes.
        bytes: u64,
        /// The size of a block, bytes.
        block_bytes: u32,
    },
    /// A medium is not as large as it was to be made.
    #[error("cannot grow {media} to {bytes} bytes: {source}")]
    Grow {
        /// The medium.
        media: String,
        /// The size it was to have, bytes.
        bytes: u64,
        /// What keeps it from that, and what can be done.
        source: io::Error,
    },
    /// Memory for a RAM medium could not be had.
    #[error("cannot reserve {bytes} bytes of memory for a RAM disk: {source}")]
    Ram {
        /// The size, bytes.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be opened or made.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the file.
    #[error(
        "{} is in use by {by}: stop that one first, or open it read-only in both",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who has it, as far as that is known.
        by: String,
    },
    /// A qcow2 image cannot be used.
    #[error("cannot use the qcow2 image {}: {source}", path.display())]
    Qcow2 {
        /// The image.
        path: PathBuf,
        /// What keeps it from that.
        source: io::Error,
    },
    /// The kernel has no io_uring for us.
    #[error("the kernel refuses io_uring ({source}): use --aio sync")]
    Uring {
        /// What the system said.
        source: io::Error,
    },
    /// A file that is to be made is there, with another size.
    #[error(
        "{} exists with {bytes} bytes, not {wanted}: open it as it is, or choose another path",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
        /// The size it has, bytes.
        bytes: u64,
        /// The size it was to have, bytes.
        wanted: u64,
    },
}

impl VssdError {
    /// [`VssdError::Grow`], of the medium called `media`.
    pub(crate) fn not_grown(media: &str, bytes: u64, source: io::Error) -> Self {
        Self::Grow {
            media: media.to_owned(),
            bytes,
            source,
        }
    }
}
