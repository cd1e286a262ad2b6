//! Commands, from what is to be done and where the data stands.

use nvme::{DsmAttributes, DsmRange, NamespaceId};

use super::options::Op;
use super::plan::Io;
use crate::{Command, DmaBuffer, DriverError};

/// Where the data of a command stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) nsid: NamespaceId,
    pub(super) buffer: &'a DmaBuffer,
    pub(super) block_bytes: usize,
    /// The slot's place in the buffer.
    pub(super) slot: usize,
    /// Where data to write stands.
    pub(super) written: usize,
}

impl<'a> Source<'a> {
    #[inline]
    pub(super) fn command(self, io: Io) -> Result<Command<'a>, DriverError> {
        let (nsid, Io { op, lba, blocks }) = (self.nsid, io);
        let bytes = blocks.count() as usize * self.block_bytes;
        Ok(match op {
            Op::Read => Command::read(nsid, lba, blocks, self.buffer.slice(self.slot, bytes)?),
            Op::Write => Command::write(nsid, lba, blocks, self.buffer.slice(self.written, bytes)?),
            Op::Compare => {
                Command::compare(nsid, lba, blocks, self.buffer.slice(self.written, bytes)?)
            }
            Op::WriteZeroes => Command::write_zeroes(nsid, lba, blocks),
            Op::Verify => Command::verify(nsid, lba, blocks),
            Op::WriteUncorrectable => Command::write_uncorrectable(nsid, lba, blocks),
            Op::Flush => Command::flush(nsid),
            Op::Trim => {
                let range = self.buffer.slice(self.slot, size_of::<DsmRange>())?;
                Command::dataset_management(nsid, DsmAttributes::new().with_ad(true), range)?
            }
        })
    }
}
