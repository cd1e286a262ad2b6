//! Where a reader's bytes come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::TraceError;

/// Bytes that can be read at any place, by several threads at once.
///
/// Files are read rather than mapped: a mapped file that somebody truncates
/// ends the process.
#[derive(Debug)]
pub(crate) enum Source {
    File(File),
    Bytes(Vec<u8>),
}

impl Source {
    /// The file `path`, and what errors call it.
    pub(crate) fn open(path: &Path) -> Result<(Self, String), TraceError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Ok((Self::File(file), name)),
            Err(source) => Err(TraceError::Io {
                operation: "open",
                path: name,
                source,
            }),
        }
    }

    /// Length, bytes.
    pub(crate) fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => file.metadata().map(|metadata| metadata.len()),
            // Widens.
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Fills `buffer` from `offset` on.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, offset),
            Self::Bytes(bytes) => {
                let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
                let start = usize::try_from(offset).map_err(|_| end())?;
                let from = bytes.get(start..).ok_or_else(end)?;
                let from = from.get(..buffer.len()).ok_or_else(end)?;
                buffer.copy_from_slice(from);
                Ok(())
            }
        }
    }
}
