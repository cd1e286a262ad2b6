//! From an I/O command to a request to the medium.

use nvme::Status;
use traces::{Clock, Tap};
use zerocopy::IntoBytes;

use crate::command::Command;
use crate::device::Device;
use crate::media::Request;
use crate::memory::Access;
use crate::ticket::{DsmRanges, Ticket};
use crate::transfer::DataPointer;

impl<T: Tap, C: Clock> Device<T, C> {
    /// What `command` asks of the medium; nothing, for hints that a medium has
    /// no use for.
    #[inline]
    pub(crate) fn request(
        &mut self,
        command: Command,
        ticket: &mut Ticket,
    ) -> Result<Option<Request<'_>>, Status> {
        if let Command::DatasetManagement {
            ranges,
            data,
            deallocate,
        } = command
        {
            return self.dataset_management(ranges, data, deallocate, ticket);
        }
        // Without a write cache, a write is not answered before it is durable.
        let through = !self.features.write_cache();
        let (memory, segments) = (&self.memory, &mut self.segments);
        Ok(Some(match command {
            Command::Read { extent, data } => Request::Read {
                offset: extent.offset,
                to: data.walk(memory, extent.bytes, Access::Write, segments)?,
            },
            Command::Write { extent, data, fua } => Request::Write {
                offset: extent.offset,
                from: data.walk(memory, extent.bytes, Access::Read, segments)?,
                durable: fua || through,
            },
            Command::Compare { extent, data } => Request::Compare {
                offset: extent.offset,
                with: data.walk(memory, extent.bytes, Access::Read, segments)?,
            },
            Command::WriteZeroes {
                extent,
                deallocate,
                fua,
            } => Request::WriteZeroes {
                extent,
                deallocate,
                durable: fua || through,
            },
            Command::Verify { extent } => Request::Verify { extent },
            Command::Flush | Command::DatasetManagement { .. } => Request::Flush,
        }))
    }

    /// Dataset Management (`NVM Command Set 1.1 §3.3.3`): the ranges are copied
    /// once, checked, and kept for the record of the command.
    fn dataset_management(
        &mut self,
        count: usize,
        data: DataPointer,
        deallocate: bool,
        ticket: &mut Ticket,
    ) -> Result<Option<Request<'_>>, Status> {
        let mut ranges = self.range_pool.pop().unwrap_or_else(DsmRanges::new);
        let copied = self.copy_ranges(ranges.fill(count).as_mut_bytes(), data);
        if let Err(status) = copied {
            self.range_pool.push(ranges);
            return Err(status);
        }
        self.extents.clear();
        let mut checked = Ok(());
        for range in ranges.get() {
            match self
                .namespace
                .extent(range.lba().0, u64::from(range.blocks.get()))
            {
                Ok(extent) if extent.bytes > 0 => self.extents.push(extent),
                Ok(_) => {}
                Err(status) => checked = Err(status),
            }
        }
        ticket.set_ranges(ranges);
        checked?;
        if !deallocate || self.extents.is_empty() {
            return Ok(None);
        }
        Ok(Some(Request::Discard {
            extents: &self.extents,
        }))
    }

    fn copy_ranges(&mut self, to: &mut [u8], data: DataPointer) -> Result<(), Status> {
        let bytes = u64::try_from(to.len()).map_err(|_| Status::INTERNAL_ERROR)?;
        data.walk(&self.memory, bytes, Access::Read, &mut self.segments)?
            .read(to);
        Ok(())
    }
}
