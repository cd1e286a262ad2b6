//! What a recording is written to.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// Somewhere to write a trace that can be cut back to its last whole block.
pub trait Output: Write + Send {
    /// Makes the output `len` bytes long and goes on writing there.
    ///
    /// # Errors
    /// Whatever the medium has to say; the trace then opens by recovery.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Waits until everything written would survive a power loss.
    ///
    /// # Errors
    /// Whatever the medium has to say.
    fn sync(&mut self) -> io::Result<()>;
}

impl Output for File {
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)?;
        self.seek(SeekFrom::Start(len)).map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
