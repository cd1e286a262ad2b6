//! Commands that move or look at blocks whose metadata, protection or place the
//! controller has to see to.

use std::ops::Range;

use nvme::{Lba, NamespaceId, NvmOpcode, Prinfo, ReadWriteCdw12, Sqe, Status};
use traces::{Clock, CommandRecord, Tap};

use super::{Op, Step};
use crate::DmaTable;
use crate::command::data_pointer;
use crate::device::Device;
use crate::media::{Extent, MediaError, Outcome};
use crate::memory::{Access, BounceId, SegmentBuffer};
use crate::namespace::Namespace;
use crate::payload;
use crate::protection::{BlockProtection, Checks, Tags};
use crate::transfer::MetadataPointer;
use crate::zoned::Accepted;

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
    protection: Option<BlockProtection>,
    checks: Checks,
    tags: Tags,
    durable: bool,
    /// Dwords 0 and 1 of the completion.
    result: u64,
    /// The place in a zone that was given to it.
    zone: Option<Accepted>,
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
        let checks = Checks {
            prinfo: Prinfo::from_bits(cdw12.prinfo()),
            storage: cdw12.stc(),
        };
        let protection = namespace.protection;
        let tags = protection.map_or_else(Tags::default, |kind| kind.tags(sqe));
        if let Some(kind) = protection {
            kind.check_command(checks.prinfo, Lba(lba), &tags)?;
        }
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
            protection,
            checks,
            tags,
            durable: cdw12.fua() || through,
            result: 0,
            zone: None,
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

    /// The place in a zone that a write was given.
    pub(crate) const fn in_zone(mut self, accepted: Accepted) -> Self {
        self.zone = Some(accepted);
        self
    }

    /// The size of the buffer, bytes.
    pub(crate) fn buffer_bytes(&self) -> usize {
        match self.opcode {
            NvmOpcode::WRITE_ZEROES if self.makes_protection() => length(self.metadata.bytes),
            NvmOpcode::WRITE_ZEROES => 0,
            _ => self.host_part().end,
        }
    }

    /// Whether data crosses between host and controller.
    const fn moves(&self) -> bool {
        !matches!(self.opcode, NvmOpcode::VERIFY | NvmOpcode::WRITE_ZEROES)
    }

    /// Whether metadata crosses between host and controller, too.
    fn moves_metadata(&self) -> bool {
        let stripped = self
            .protection
            .is_some_and(|kind| !kind.moves_metadata(self.checks.prinfo));
        self.metadata_bytes > 0 && !stripped
    }

    /// Whether each block's metadata crosses right behind its data.
    fn is_interleaved(&self) -> bool {
        self.extended && self.moves_metadata()
    }

    /// How much metadata crosses apart from the data, bytes.
    fn moved_apart(&self) -> usize {
        if self.moves_metadata() && !self.extended {
            length(self.metadata.bytes)
        } else {
            0
        }
    }

    /// Whether the controller makes the protection information (PRACT).
    const fn makes_protection(&self) -> bool {
        self.protection.is_some() && self.checks.prinfo.pract()
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
        (buffer, record): (&BounceId, &CommandRecord),
        outcome: Outcome,
    ) -> Step {
        if let Err(error) = outcome {
            let status = device.media_failed(error);
            return self.fail(device, status);
        }
        let next = match self.opcode {
            NvmOpcode::READ | NvmOpcode::COMPARE | NvmOpcode::VERIFY => {
                self.step_in(device, buffer)
            }
            NvmOpcode::WRITE_ZEROES => Ok(self.step_zeroes(device, buffer)),
            _ => self.step_out(device, (buffer, record)),
        };
        next.unwrap_or_else(|status| self.fail(device, status))
    }

    fn fail<T: Tap, C: Clock>(&self, device: &mut Device<T, C>, status: Status) -> Step {
        if let Some(accepted) = &self.zone {
            device.zone_write_failed(self.nsid, accepted);
        }
        Step::Done(Err(status))
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
        self.check(device.bounces.data(buffer), true)?;
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
        (buffer, record): (&BounceId, &CommandRecord),
    ) -> Result<Step, Status> {
        match self.stage {
            Stage::Begin => {
                self.gather(device, buffer)?;
                self.protect(device.bounces.data(buffer))?;
                self.show(device, (buffer, record));
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

    /// Shows an observer what is about to be written.
    fn show<T: Tap, C: Clock>(
        &self,
        device: &mut Device<T, C>,
        (buffer, record): (&BounceId, &CommandRecord),
    ) {
        if !T::ENABLED || !device.tap.wants_payload() {
            return;
        }
        if let Some(data) = device.bounces.data(buffer).get(self.data_part()) {
            payload::show_own(&mut device.tap, &device.namespaces, record, data);
        }
    }

    /// Zeroes, whose protection information reads as that of deallocated blocks
    /// unless the controller is to make it.
    fn step_zeroes<T: Tap, C: Clock>(
        &mut self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
    ) -> Step {
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
            Stage::Data if self.makes_protection() => {
                self.stage = Stage::Metadata;
                self.protect_zeroes(device.bounces.data(buffer));
                Step::Media(Op::Write {
                    offset: self.metadata.offset,
                    part: 0..length(self.metadata.bytes),
                    durable: self.durable,
                })
            }
            Stage::Data if self.metadata.bytes > 0 => {
                self.stage = Stage::Metadata;
                zeroes(self.metadata, self.durable)
            }
            _ => {
                device.wrote(self.nsid, self.lba, self.blocks);
                Step::Done(Ok(0))
            }
        }
    }

    /// Makes the protection information of zeroes, as media keep it.
    fn protect_zeroes(&self, metadata: &mut [u8]) {
        let Some(kind) = self.protection else { return };
        metadata.fill(0);
        let zeroes = vec![0; self.block_bytes];
        let mut tags = self.tags;
        for metadata in metadata.chunks_exact_mut(self.metadata_bytes.max(1)) {
            kind.generate(&zeroes, metadata, &tags);
            if kind.counts_reference() {
                tags.reference = tags.reference.wrapping_add(1);
            }
        }
        kind.invert(metadata);
    }

    /// Checks what was read, or what is to be written, after it was turned from
    /// how media keep it where that is where it comes from.
    fn check(&self, own: &mut [u8], from_media: bool) -> Result<(), Status> {
        let Some(kind) = self.protection else {
            return Ok(());
        };
        let (data, rest) = own.split_at_mut(self.data_part().end);
        let metadata = rest
            .get_mut(..length(self.metadata.bytes))
            .ok_or(Status::INTERNAL_ERROR)?;
        if from_media {
            kind.invert(metadata);
        }
        kind.check(data, metadata, &self.tags, self.checks)
            .map_err(|mismatch| mismatch.status)
    }

    /// Checks or makes the protection information of what is to be written, and
    /// turns it into how media keep it.
    fn protect(&self, own: &mut [u8]) -> Result<(), Status> {
        let Some(kind) = self.protection else {
            return Ok(());
        };
        if !self.makes_protection() {
            self.check(own, false)?;
        }
        let (data, rest) = own.split_at_mut(self.data_part().end);
        let metadata = rest
            .get_mut(..length(self.metadata.bytes))
            .ok_or(Status::INTERNAL_ERROR)?;
        if self.makes_protection() {
            kind.generate(data, metadata, &self.tags);
        }
        kind.invert(metadata);
        Ok(())
    }

    /// Brings the host's data and metadata into the buffer.
    fn gather<T: Tap, C: Clock>(
        &self,
        device: &mut Device<T, C>,
        buffer: &BounceId,
    ) -> Result<(), Status> {
        self.fetch(device, buffer)?;
        if !self.is_interleaved() {
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
        let own = device.bounces.data(buffer);
        let (data, metadata) = if self.is_interleaved() {
            let host = own.get_mut(self.host_part());
            (host.ok_or(Status::INTERNAL_ERROR)?, &mut [][..])
        } else {
            let end = self.data_part().end.saturating_add(self.moved_apart());
            own.get_mut(..end)
                .ok_or(Status::INTERNAL_ERROR)?
                .split_at_mut(self.data_part().end)
        };
        self.read_host((&device.memory, &mut device.segments), data, metadata)
    }

    /// Copies the host's data buffer, and its metadata buffer where `metadata`
    /// has room for one.
    fn read_host(
        &self,
        (memory, segments): (&DmaTable, &mut SegmentBuffer),
        data: &mut [u8],
        metadata: &mut [u8],
    ) -> Result<(), Status> {
        data_pointer(&self.sqe)?
            .walk(memory, self.host_bytes(), Access::Read, segments)?
            .read(data);
        if !metadata.is_empty() {
            MetadataPointer::of(&self.sqe)?
                .walk(memory, self.metadata.bytes, Access::Read, segments)?
                .read(metadata);
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
        let part = if self.is_interleaved() {
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
        if self.moved_apart() > 0 {
            let from = own
                .get(self.metadata_part())
                .ok_or(Status::INTERNAL_ERROR)?;
            MetadataPointer::of(&self.sqe)?
                .walk(
                    memory,
                    self.metadata.bytes,
                    Access::Write,
                    &mut device.segments,
                )?
                .write(from);
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
        let host_bytes = length(self.host_bytes());
        let mut theirs = vec![0; host_bytes.saturating_add(self.moved_apart())];
        let (data, metadata) = theirs.split_at_mut(host_bytes);
        self.read_host((&device.memory, &mut device.segments), data, metadata)?;
        let own = device.bounces.data(buffer);
        let part = if self.is_interleaved() {
            self.interleave(own);
            self.host_part()
        } else {
            0..theirs.len()
        };
        if own.get(part) == Some(&*theirs) {
            Ok(())
        } else {
            Err(MediaError::Miscompare.status())
        }
    }
}
