//! What a Copy command asks for (`NVM Command Set 1.1 §3.3.2`).

use nvme::{CopyCdw12, CopyRange, CopyRangeExtended, NamespaceId, NvmOpcode, Sqe, Status};
use traces::{Clock, Tap};
use zerocopy::FromBytes;

use super::Way;
use crate::admin::identify::{COPY_BLOCKS_MAX, COPY_RANGES_LAST};
use crate::command::data_pointer;
use crate::device::Device;
use crate::job::{Copy, Job, Source};
use crate::memory::Access;
use crate::namespace::Namespace;
use crate::reservation::CommandClass;

/// Bytes of the largest list of ranges.
const LIST_BYTES_MAX: usize = 40 * (COPY_RANGES_LAST as usize + 1);

impl<T: Tap, C: Clock> Device<T, C> {
    /// Checks a copy before anything is copied.
    pub(super) fn copy_way(&mut self, sqe: &Sqe) -> Result<Way, Status> {
        let invalid = Status::INVALID_FIELD.dnr();
        let cdw12 = CopyCdw12::from_bits(sqe.cdw12.get());
        if cdw12.nr() > COPY_RANGES_LAST {
            return Err(Status::COMMAND_SIZE_LIMIT_EXCEEDED.dnr());
        }
        let format = cdw12.desfmt();
        let entry_bytes = match format {
            0 => size_of::<CopyRange>(),
            1 => size_of::<CopyRangeExtended>(),
            2 if self.host_takes_copy_format(format) => size_of::<CopyRange>(),
            3 if self.host_takes_copy_format(format) => size_of::<CopyRangeExtended>(),
            _ => return Err(invalid),
        };
        let count = usize::from(cdw12.nr()).saturating_add(1);
        let bytes = count.saturating_mul(entry_bytes);
        let mut list = [0_u8; LIST_BYTES_MAX];
        let list = list.get_mut(..bytes).ok_or(invalid)?;
        data_pointer(sqe)?
            .walk(
                &self.memory,
                u64::try_from(bytes).unwrap_or(u64::MAX),
                Access::Read,
                &mut self.segments,
            )?
            .read(list);
        let mut sources = Vec::with_capacity(count);
        for entry in list.chunks_exact(entry_bytes) {
            sources.push(source(format, entry, sqe.nsid()).ok_or(invalid)?);
        }
        self.check_copy(sqe, &sources)?;
        let durable = cdw12.fua() || !self.features.write_cache();
        let to = self
            .namespaces
            .active(sqe.nsid())
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
        let bytes = Copy::buffer_bytes(to.block_bytes, to.metadata_bytes);
        let sectors = u64::from(to.block_bytes / 512);
        let to = to.nsid;
        let blocks = self.enter_zones(to, sqe.slba(), &sources)?;
        self.health.count_copied(blocks.saturating_mul(sectors));
        let job = Copy::new(sources, to, sqe.slba().0, durable);
        Ok(Way::Job(Box::new(Job::Copy(Box::new(job))), bytes))
    }

    /// Asks the zones of sources and destination, where they have zones; returns
    /// how many blocks are copied.
    fn enter_zones(
        &mut self,
        to: NamespaceId,
        slba: nvme::Lba,
        sources: &[Source],
    ) -> Result<u64, Status> {
        let mut total = 0_u64;
        for source in sources {
            total = total.saturating_add(source.blocks);
            let from = self.namespaces.get(source.nsid);
            if let Some(zones) = from.and_then(|from| from.zones.as_ref()) {
                zones.read(nvme::Lba(source.lba), source.blocks)?;
            }
        }
        let to = self.namespaces.get_mut(to);
        if let Some(zones) = to.and_then(|to| to.zones.as_mut()) {
            zones.begin_write(slba, total)?;
        }
        Ok(total)
    }

    /// Whether the host has enabled the descriptor format
    /// (`NVMe Base 2.1 §5.1.25.1.14`).
    fn host_takes_copy_format(&self, format: u8) -> bool {
        let enabled = self.features.host_behavior().cdfe.get();
        enabled.checked_shr(u32::from(format)).unwrap_or(0) & 1 != 0
    }

    /// Sources and destination exist, are alike and do not overlap.
    fn check_copy(&self, sqe: &Sqe, sources: &[Source]) -> Result<(), Status> {
        let missing = Status::INVALID_NAMESPACE_OR_FORMAT.dnr();
        let to = self.namespaces.active(sqe.nsid()).ok_or(missing)?;
        let mut total = 0_u64;
        for source in sources {
            let from = self.namespaces.active(source.nsid).ok_or(missing)?;
            if !alike(from, to) {
                return Err(Status::INCOMPATIBLE_NAMESPACE_OR_FORMAT.dnr());
            }
            if from.formatting.is_some() {
                return Err(Status::FORMAT_IN_PROGRESS);
            }
            if !from.reservations.is_clear() {
                let host = self.features.reservation_host();
                let class = CommandClass::of_io(NvmOpcode::READ);
                from.reservations.permits(&host, class)?;
            }
            if source.blocks > u64::from(COPY_BLOCKS_MAX) {
                return Err(Status::COMMAND_SIZE_LIMIT_EXCEEDED.dnr());
            }
            from.extent(source.lba, source.blocks)?;
            total = total.saturating_add(source.blocks);
        }
        if total > u64::from(COPY_BLOCKS_MAX) {
            return Err(Status::COMMAND_SIZE_LIMIT_EXCEEDED.dnr());
        }
        let (start, end) = (sqe.slba().0, sqe.slba().0.saturating_add(total));
        to.extent(start, total)?;
        let overlaps = sources.iter().any(|source| {
            source.nsid == to.nsid
                && source.lba < end
                && source.lba.saturating_add(source.blocks) > start
        });
        if overlaps {
            return Err(Status::OVERLAPPING_IO_RANGE.dnr());
        }
        Ok(())
    }
}

/// The range that `entry` names, in a namespace of its own in formats 2 and 3.
fn source(format: u8, entry: &[u8], own: NamespaceId) -> Option<Source> {
    let (named, lba, blocks) = if matches!(format, 0 | 2) {
        let range = CopyRange::read_from_bytes(entry).ok()?;
        (range.source(), range.lba(), range.blocks())
    } else {
        let range = CopyRangeExtended::read_from_bytes(entry).ok()?;
        (range.source(), range.lba(), range.blocks())
    };
    Some(Source {
        nsid: if format >= 2 { named } else { own },
        lba: lba.0,
        blocks: u64::from(blocks),
    })
}

/// Whether blocks of one are blocks of the other.
fn alike(one: &Namespace, other: &Namespace) -> bool {
    one.block_bytes == other.block_bytes
        && one.metadata_bytes == other.metadata_bytes
        && one.settings.protection == other.settings.protection
        && one.settings.protection_first == other.settings.protection_first
}
