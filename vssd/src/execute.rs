//! From an I/O command to a request to the medium.

use nvme::{DsmRange, NamespaceId, Status};
use traces::{Clock, Tap};
use zerocopy::IntoBytes;

use crate::command::Command;
use crate::device::Device;
use crate::media::Request;
use crate::memory::Access;
use crate::payload;
use crate::special::parts;
use crate::ticket::Ticket;
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
            nsid,
            ranges,
            data,
            deallocate,
        } = command
        {
            let mut kept = self.tickets.take_ranges();
            let copied = self.copy_ranges(kept.fill(ranges).as_mut_bytes(), data);
            if let Err(status) = copied {
                self.tickets.give_ranges(kept);
                return Err(status);
            }
            let checked = self.gather_extents(nsid, kept.get(), deallocate);
            ticket.set_ranges(kept);
            checked?;
            return Ok(self.deallocate_gathered());
        }
        if command == Command::Deallocate {
            return Ok(self.deallocate_gathered());
        }
        // Without a write cache, a write is not answered before it is durable.
        let through = !self.features.write_cache();
        let (memory, segments) = (&self.memory, &mut self.segments);
        Ok(Some(match command {
            Command::Read { extent, data } => Request::Read {
                offset: extent.offset,
                to: data.walk(memory, extent.bytes, Access::Write, segments)?,
            },
            Command::Write { extent, data, fua } => {
                let from = data.walk(memory, extent.bytes, Access::Read, segments)?;
                if T::ENABLED && self.tap.wants_payload() {
                    payload::show(&mut self.tap, &self.namespaces, ticket.record(), &from);
                }
                Request::Write {
                    offset: extent.offset,
                    from,
                    durable: fua || through,
                }
            }
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
            Command::Flush | Command::Deallocate | Command::DatasetManagement { .. } => {
                Request::Flush
            }
        }))
    }

    /// The parts of the medium that a Dataset Management command deallocates
    /// (`NVM Command Set 1.1 §3.3.3`), after all its ranges were checked. Their
    /// metadata goes with the data.
    pub(crate) fn gather_extents(
        &mut self,
        nsid: NamespaceId,
        ranges: &[DsmRange],
        deallocate: bool,
    ) -> Result<(), Status> {
        self.extents.clear();
        let namespace = self
            .namespaces
            .get_mut(nsid)
            .ok_or(Status::INVALID_NAMESPACE_OR_FORMAT.dnr())?;
        for range in ranges {
            let (lba, blocks) = (range.lba().0, u64::from(range.blocks.get()));
            let data = namespace.extent(lba, blocks)?;
            if !deallocate || blocks == 0 {
                continue;
            }
            if let Some(zones) = &namespace.zones {
                zones.deallocate(range.lba(), blocks, |range| {
                    self.extents.extend(parts(namespace, range));
                })?;
                continue;
            }
            self.extents.push(data);
            if namespace.metadata_bytes > 0 {
                self.extents.push(namespace.metadata_extent(lba, blocks));
            }
        }
        if deallocate {
            for range in ranges {
                namespace.heal(range.lba().0, u64::from(range.blocks.get()));
            }
        }
        Ok(())
    }

    fn deallocate_gathered(&self) -> Option<Request<'_>> {
        (!self.extents.is_empty()).then_some(Request::Discard {
            extents: &self.extents,
        })
    }

    fn copy_ranges(&mut self, to: &mut [u8], data: DataPointer) -> Result<(), Status> {
        let bytes = u64::try_from(to.len()).map_err(|_| Status::INTERNAL_ERROR)?;
        data.walk(&self.memory, bytes, Access::Read, &mut self.segments)?
            .read(to);
        Ok(())
    }
}
