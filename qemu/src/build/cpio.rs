//! Writes the archive that a kernel unpacks into its initramfs (`newc` format).

use std::io::{self, Write};

/// The last entry's name.
const TRAILER: &str = "TRAILER!!!";

/// An archive being written, entry by entry.
#[derive(Debug)]
pub(crate) struct Archive<W> {
    to: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    /// An empty archive.
    pub(crate) fn new(to: W) -> Self {
        Self { to, inode: 0 }
    }

    /// Adds a directory. Parents come first.
    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, 0o040_755, &[])
    }

    /// Adds a file; `mode` are its permission bits.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, 0o100_000 | mode, content)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(path, 0o120_777, target.as_bytes())
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.entry(TRAILER, 0, &[])?;
        self.to.flush()
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let too_large = |_| io::Error::other(format!("{path} does not fit a cpio archive"));
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(path.len() + 1).map_err(too_large)?;
        // Everything belongs to root and is as old as the epoch, so that the
        // same content makes the same archive.
        let (owner, links, time, device, check) = (0, 1, 0, 0, 0);
        write!(self.to, "070701")?;
        for field in [
            self.inode, mode, owner, owner, links, time, size, device, device, device, device,
            name_size, check,
        ] {
            write!(self.to, "{field:08X}")?;
        }
        let header_and_name = 110 + path.len() + 1;
        self.to.write_all(path.as_bytes())?;
        self.to.write_all(&[0])?;
        self.pad(header_and_name)?;
        self.to.write_all(content)?;
        self.pad(content.len())
    }

    /// Names and contents each end on a multiple of four bytes.
    fn pad(&mut self, len: usize) -> io::Result<()> {
        let missing = len.next_multiple_of(4) - len;
        self.to.write_all(&[0_u8; 3][..missing])
    }
}
