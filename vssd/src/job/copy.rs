//! Copy: blocks from one place to another without the host
//! (`NVM Command Set 1.1 §3.3.2`).

use nvme::{NamespaceId, Status};
use traces::{Clock, Tap};

use super::{Op, Step};
use crate::device::Device;
use crate::media::{Extent, Outcome};

/// How much is copied at a time, bytes of data.
const CHUNK_BYTES: u64 = 256 * 1024;

/// Blocks to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) nsid: NamespaceId,
    pub(crate) lba: u64,
    pub(crate) blocks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Next,
    ReadData,
    ReadMetadata,
    WriteData,
    WriteMetadata,
}

/// Where a chunk is, and goes.
#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    blocks: u64,
    from: Extent,
    from_metadata: Extent,
    to: Extent,
    to_metadata: Extent,
}

/// A copy. Sources and destination were checked to exist, and to have the same
/// format.
#[derive(Debug)]
pub(crate) struct Copy {
    sources: Vec<Source>,
    /// Which source is being copied, and how much of it is.
    index: usize,
    done: u64,
    nsid: NamespaceId,
    /// Where the next block goes.
    lba: u64,
    durable: bool,
    stage: Stage,
    chunk: Chunk,
}

impl Copy {
    /// A copy of `sources`, one behind the other, to `lba` of namespace `nsid`.
    pub(crate) fn new(sources: Vec<Source>, nsid: NamespaceId, lba: u64, durable: bool) -> Self {
        Self {
            sources,
            index: 0,
            done: 0,
            nsid,
            lba,
            durable,
            stage: Stage::Next,
            chunk: Chunk::default(),
        }
    }

    /// The size of the buffer, bytes, for blocks with that much metadata.
    pub(crate) fn buffer_bytes(block_bytes: u32, metadata_bytes: u16) -> usize {
        let blocks = CHUNK_BYTES.checked_div(u64::from(block_bytes)).unwrap_or(0);
        let metadata = blocks.saturating_mul(u64::from(metadata_bytes));
        usize::try_from(CHUNK_BYTES.saturating_add(metadata)).unwrap_or(usize::MAX)
    }

    pub(super) fn step<T: Tap, C: Clock>(
        &mut self,
        device: &mut Device<T, C>,
        outcome: Outcome,
    ) -> Step {
        if let Err(error) = outcome {
            // The completion tells the range that failed.
            let status = device.media_failed(error);
            return Step::Done(Err(status));
        }
        let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        loop {
            let chunk = self.chunk;
            let data = 0..length(chunk.from.bytes);
            let end = length(chunk.from.bytes.saturating_add(chunk.from_metadata.bytes));
            let metadata = data.end..end;
            let has_metadata = !metadata.is_empty();
            let read = |offset, part| Step::Media(Op::Read { offset, part });
            let write = |offset, part, durable| {
                Step::Media(Op::Write {
                    offset,
                    part,
                    durable,
                })
            };
            match self.stage {
                Stage::Next => {
                    match self.next(device) {
                        Ok(Some(chunk)) => self.chunk = chunk,
                        Ok(None) => return Step::Done(Ok(0)),
                        Err(status) => return Step::Done(Err(status)),
                    }
                    self.stage = Stage::ReadData;
                    return read(self.chunk.from.offset, 0..length(self.chunk.from.bytes));
                }
                Stage::ReadData if has_metadata => {
                    self.stage = Stage::ReadMetadata;
                    return read(chunk.from_metadata.offset, metadata);
                }
                Stage::ReadData | Stage::ReadMetadata => {
                    self.stage = Stage::WriteData;
                    return write(chunk.to.offset, data, self.durable && !has_metadata);
                }
                Stage::WriteData if has_metadata => {
                    self.stage = Stage::WriteMetadata;
                    return write(chunk.to_metadata.offset, metadata, self.durable);
                }
                Stage::WriteData | Stage::WriteMetadata => {
                    device.wrote(self.nsid, self.lba, chunk.blocks);
                    self.lba = self.lba.saturating_add(chunk.blocks);
                    self.done = self.done.saturating_add(chunk.blocks);
                    self.stage = Stage::Next;
                }
            }
        }
    }

    /// What to copy next.
    fn next<T: Tap, C: Clock>(&mut self, device: &Device<T, C>) -> Result<Option<Chunk>, Status> {
        let source = loop {
            let Some(source) = self.sources.get(self.index) else {
                return Ok(None);
            };
            if self.done < source.blocks {
                break *source;
            }
            self.index = self.index.saturating_add(1);
            self.done = 0;
        };
        // They may have gone since the command began.
        let gone = Status::INVALID_NAMESPACE_OR_FORMAT;
        let from = device.namespaces.active(source.nsid).ok_or(gone)?;
        let to = device.namespaces.active(self.nsid).ok_or(gone)?;
        let most = CHUNK_BYTES
            .checked_div(u64::from(from.block_bytes))
            .unwrap_or(1);
        let blocks = source.blocks.saturating_sub(self.done).min(most);
        let lba = source.lba.saturating_add(self.done);
        if from.has_uncorrectable(lba, blocks) {
            return Err(Status::UNRECOVERED_READ_ERROR);
        }
        Ok(Some(Chunk {
            blocks,
            from: from.extent(lba, blocks)?,
            from_metadata: from.metadata_extent(lba, blocks),
            to: to.extent(self.lba, blocks)?,
            to_metadata: to.metadata_extent(self.lba, blocks),
        }))
    }
}
