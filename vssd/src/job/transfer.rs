//! Commands that move or look at blocks whose metadata, protection or place the
//! controller has to see to.

use std::ops::Range;

use nvme::{NamespaceId, NvmOpcode, ReadWriteCdw12, Sqe, Status};
use traces::{Clock, Tap};

use super::{Op, Step};
use crate::command::data_pointer;
use crate::device::Device;
use crate::media::{Extent, MediaError, Outcome};
use crate::memory::{Access, BounceId};
use crate::namespace::Namespace;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    /// The medium had the data.
    Data,
    /// The medium had the metadata, too.
    Metadata,
}

/// A Read, Write, Compare, Verify, Write Zeroes or Zone Append by way of a
/// buffer: `[ data | metadata | what the host sends or gets, interleaved ]`.
#[derive(Debug)]
pub(crate) struct Transfer {
    sqe: Sqe,
    opcode: NvmOpcode,
    nsid: NamespaceId,
    lba: u64,
    blocks: u64,
    data: Extent,
    metadata: Extent,
    block_bytes: usize,
    metadata_bytes: usize,
    extended: bool,
    durable: bool,
    /// Dwords 0 and 1 of the completion.
    result: u64,
    stage: Stage,
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl Transfer {
    /// The transfer that `sqe` asks of blocks of `namespace` from `lba` on,
    /// which exist.
    pub(crate) fn new(
        sqe: &Sqe,
        namespace: &Namespace,
        lba: u64,
        through: bool,
    ) -> Result<Self, Status> {
        data_pointer(sqe)?;
        let cdw12 = ReadWriteCdw12::from_bits(sqe.cdw12.get());
        let blocks = u64::from(cdw12.blocks());
        let data = namespace.extent(lba, blocks)?;
        let transfer = Self {
            sqe: *sqe,
            opcode: NvmOpcode(sqe.opcode),
            nsid: namespace.nsid,
            lba,
            blocks,
            data,
            metadata: namespace.metadata_extent(lba, blocks),
            block_bytes: length(u64::from(namespace.block_bytes)),
            metadata_bytes: usize::from(namespace.metadata_bytes),
            extended: namespace.settings.extended,
            durable: cdw12.fua() || through,
            result: 0,
            stage: Stage::Begin,
        };
        if transfer.moves() && transfer.host_bytes() > namespace.transfer_bytes_max {
            return Err(Status::INVALID_FIELD.dnr());
        }
        Ok(transfer)
    }

    /// Has the completion tell `result` in its dwords 0 and 1.
    pub(crate) const fn with_result(mut self, result: u64) -> Self {
        self.result = result;
        self
    }

    /// The size of the buffer, bytes.
    pub(crate) fn buffer_bytes(&self) -> usize {
        match self.opcode {
            NvmOpcode::WRITE_ZEROES => 0,
            _ => self.host_part().end,
        }
    }

    /// Whether data crosses between host and controller.
    const fn moves(&self) -> bool {
        !matches!(self.opcode, NvmOpcode::VERIFY | NvmOpcode::WRITE_ZEROES)
    }

    fn data_part(&self) -> Range<usize> {
        0..length(self.data.bytes)
    }

    fn metadata_part(&self) -> Range<usize> {
        let start = length(self.data.bytes);
        start..start.saturating_add(length(self.metadata.bytes))
    }

    fn host_part(&self) -> Range<usize> {
        let start = self.metadata_part().end;
        start..start.saturating_add(length(self.host_bytes()))
    }

    /// What the host's data buffer holds, bytes.
    fn host_bytes(&self) -> u64 {
        let metadata = if self.extended {
            self.metadata.bytes
        } else {
            0
        };
        self.data.bytes.saturating_add(metadata)
    }

    pub(super) fn step<T: Tap, C: Clock>(
        &mut self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
        outcome: Outcome,
    ) -> Step {
        if let Err(error) = outcome {
            return Step::Done(Err(device.media_failed(error)));
        }
        let next = match self.opcode {
            NvmOpcode::READ | NvmOpcode::COMPARE | NvmOpcode::VERIFY => {
                self.step_in(device, buffer)
            }
            NvmOpcode::WRITE_ZEROES => Ok(self.step_zeroes()),
            _ => self.step_out(device, buffer),
        };
        next.unwrap_or_else(|status| Step::Done(Err(status)))
    }

    /// From the medium.
    fn step_in<T: Tap, C: Clock>(
        &mut self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
    ) -> Result<Step, Status> {
        match self.stage {
            Stage::Begin => {
                self.stage = Stage::Data;
                return Ok(Step::Media(Op::Read {
                    offset: self.data.offset,
                    part: self.data_part(),
                }));
            }
            Stage::Data if self.metadata.bytes > 0 => {
                self.stage = Stage::Metadata;
                return Ok(Step::Media(Op::Read {
                    offset: self.metadata.offset,
                    part: self.metadata_part(),
                }));
            }
            _ => {}
        }
        if self.opcode == NvmOpcode::READ {
            self.deliver(device, buffer)?;
        } else if self.opcode == NvmOpcode::COMPARE {
            self.compare(device, buffer)?;
        }
        Ok(Step::Done(Ok(self.result)))
    }

    /// To the medium.
    fn step_out<T: Tap, C: Clock>(
        &mut self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
    ) -> Result<Step, Status> {
        match self.stage {
            Stage::Begin => {
                self.gather(device, buffer)?;
                self.stage = Stage::Data;
                Ok(Step::Media(Op::Write {
                    offset: self.data.offset,
                    part: self.data_part(),
                    durable: self.durable && self.metadata.bytes == 0,
                }))
            }
            Stage::Data if self.metadata.bytes > 0 => {
                self.stage = Stage::Metadata;
                Ok(Step::Media(Op::Write {
                    offset: self.metadata.offset,
                    part: self.metadata_part(),
                    durable: self.durable,
                }))
            }
            _ => {
                device.wrote(self.nsid, self.lba, self.blocks);
                Ok(Step::Done(Ok(self.result)))
            }
        }
    }

    /// Zeroes, whose protection information reads as that of deallocated blocks.
    fn step_zeroes(&mut self) -> Step {
        let deallocate = ReadWriteCdw12::from_bits(self.sqe.cdw12.get()).deac();
        let zeroes = |extent, durable| {
            Step::Media(Op::WriteZeroes {
                extent,
                deallocate,
                durable,
            })
        };
        match self.stage {
            Stage::Begin => {
                self.stage = Stage::Data;
                zeroes(self.data, self.durable && self.metadata.bytes == 0)
            }
            Stage::Data if self.metadata.bytes > 0 => {
                self.stage = Stage::Metadata;
                zeroes(self.metadata, self.durable)
            }
            _ => Step::Done(Ok(0)),
        }
    }

    /// Brings the host's data and metadata into the buffer.
    fn gather<T: Tap, C: Clock>(
        &self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
    ) -> Result<(), Status> {
        self.fetch(device, buffer)?;
        if !self.extended || self.metadata_bytes == 0 {
            return Ok(());
        }
        let (own, host) = device
            .bounces
            .data(buffer)
            .split_at_mut(self.metadata_part().end);
        let (data, metadata) = own.split_at_mut(self.data_part().end);
        let stride = self.block_bytes.saturating_add(self.metadata_bytes);
        let blocks = data
            .chunks_exact_mut(self.block_bytes)
            .zip(metadata.chunks_exact_mut(self.metadata_bytes));
        for ((data, metadata), host) in blocks.zip(host.chunks_exact(stride)) {
            let (first, second) = host.split_at(self.block_bytes);
            data.copy_from_slice(first);
            metadata.copy_from_slice(second);
        }
        Ok(())
    }

    /// Copies what the host sends: interleaved behind the rest, else to where
    /// data and metadata belong.
    fn fetch<T: Tap, C: Clock>(
        &self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
    ) -> Result<(), Status> {
        let part = if self.extended {
            self.host_part()
        } else {
            self.data_part()
        };
        let memory = &device.memory;
        let own = device.bounces.data(buffer);
        let to = own.get_mut(part).ok_or(Status::INTERNAL_ERROR)?;
        data_pointer(&self.sqe)?
            .walk(
                memory,
                self.host_bytes(),
                Access::Read,
                &mut device.segments,
            )?
            .read(to);
        if !self.extended && self.metadata_bytes > 0 {
            let to = own
                .get_mut(self.metadata_part())
                .ok_or(Status::INTERNAL_ERROR)?;
            memory.read_bytes(self.sqe.mptr.get(), to)?;
        }
        Ok(())
    }

    /// Brings what was read to the host.
    fn deliver<T: Tap, C: Clock>(
        &self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
    ) -> Result<(), Status> {
        let memory = &device.memory;
        let own = device.bounces.data(buffer);
        let part = if self.extended && self.metadata_bytes > 0 {
            self.interleave(own);
            self.host_part()
        } else {
            self.data_part()
        };
        let from = own.get(part).ok_or(Status::INTERNAL_ERROR)?;
        data_pointer(&self.sqe)?
            .walk(
                memory,
                self.host_bytes(),
                Access::Write,
                &mut device.segments,
            )?
            .write(from);
        if !self.extended && self.metadata_bytes > 0 {
            let from = own
                .get(self.metadata_part())
                .ok_or(Status::INTERNAL_ERROR)?;
            memory.write_bytes(self.sqe.mptr.get(), from)?;
        }
        Ok(())
    }

    /// Puts data and metadata of each block one behind the other.
    fn interleave(&self, own: &mut [u8]) {
        let (own, host) = own.split_at_mut(self.metadata_part().end);
        let (data, metadata) = own.split_at(self.data_part().end);
        let stride = self.block_bytes.saturating_add(self.metadata_bytes);
        let blocks = data
            .chunks_exact(self.block_bytes)
            .zip(metadata.chunks_exact(self.metadata_bytes));
        for ((data, metadata), host) in blocks.zip(host.chunks_exact_mut(stride)) {
            let (first, second) = host.split_at_mut(self.block_bytes);
            first.copy_from_slice(data);
            second.copy_from_slice(metadata);
        }
    }

    /// Compares what was read to what the host has.
    fn compare<T: Tap, C: Clock>(
        &self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
    ) -> Result<(), Status> {
        let mut theirs = vec![0; length(self.data.bytes.saturating_add(self.metadata.bytes))];
        let memory = &device.memory;
        let own = device.bounces.data(buffer);
        let interleaved = self.extended && self.metadata_bytes > 0;
        if interleaved {
            self.interleave(own);
        }
        let (data, metadata) = theirs.split_at_mut(length(self.host_bytes()));
        data_pointer(&self.sqe)?
            .walk(
                memory,
                self.host_bytes(),
                Access::Read,
                &mut device.segments,
            )?
            .read(data);
        if !metadata.is_empty() {
            memory.read_bytes(self.sqe.mptr.get(), metadata)?;
        }
        let part = if interleaved {
            self.host_part()
        } else {
            0..self.metadata_part().end
        };
        if own.get(part) == Some(&*theirs) {
            Ok(())
        } else {
            Err(MediaError::Miscompare.status())
        }
    }
}
