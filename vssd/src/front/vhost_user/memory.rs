//! The client's memory: which parts of it are the guest's.
//!
//! A region has two addresses: the guest's, which descriptors hold, and that in
//! the client's process, by which the client says where queues are.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use nvme::PAGE_BYTES;
use vhost::vhost_user::message::VhostUserMemoryRegion;

use crate::front::Function;
use crate::{MapError, Protection};

/// The most regions of a client. As many as clients ask for at most.
pub(super) const REGIONS_MAX: usize = 509;

/// A region, as the client describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    guest: u64,
    bytes: u64,
    client: u64,
}

impl From<&VhostUserMemoryRegion> for Region {
    fn from(region: &VhostUserMemoryRegion) -> Self {
        // Clients without a guest share what they have allocated, to the byte;
        // what is shared is pages all the same.
        let pages = region.memory_size.checked_next_multiple_of(PAGE_BYTES);
        Self {
            guest: region.guest_phys_addr,
            bytes: pages.unwrap_or(region.memory_size),
            client: region.user_addr,
        }
    }
}

/// Why a region was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegionError {
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("there are {REGIONS_MAX} regions already, and no more are possible")]
    TooMany,
    #[error("{bytes:#x} bytes at {guest:#x} are no region")]
    Unknown { guest: u64, bytes: u64 },
}

/// The regions of a client, which are mapped into the function's guest memory.
#[derive(Debug, Default)]
pub(super) struct ClientMemory {
    regions: Vec<Region>,
}

impl ClientMemory {
    /// Maps a region.
    pub(super) fn add(
        &mut self,
        region: &VhostUserMemoryRegion,
        file: &OwnedFd,
        function: &mut dyn Function,
    ) -> Result<(), RegionError> {
        if self.regions.len() >= REGIONS_MAX {
            return Err(RegionError::TooMany);
        }
        let (offset, rw) = (region.mmap_offset, Protection::READ_WRITE);
        let of = Region::from(region);
        function.dma_map(of.guest, of.bytes, file.as_fd(), offset, rw)?;
        self.regions.push(of);
        Ok(())
    }

    /// Unmaps a region.
    pub(super) fn remove(
        &mut self,
        region: &VhostUserMemoryRegion,
        function: &mut dyn Function,
    ) -> Result<(), RegionError> {
        let of = Region::from(region);
        let index = self.regions.iter().position(|known| *known == of);
        let unknown = RegionError::Unknown {
            guest: of.guest,
            bytes: of.bytes,
        };
        self.regions.swap_remove(index.ok_or(unknown)?);
        function.dma_unmap(of.guest, of.bytes);
        Ok(())
    }

    /// Unmaps everything. The files stay mapped for a while: the next table is
    /// mostly made of the same.
    pub(super) fn clear(&mut self, function: &mut dyn Function) {
        function.dma_unmap(0, u64::MAX);
        self.regions.clear();
    }

    /// The guest's address of what the client has at `address`.
    pub(super) fn guest(&self, address: u64) -> Option<u64> {
        self.regions.iter().find_map(|region| {
            let inside = address.checked_sub(region.client)?;
            (inside < region.bytes).then(|| region.guest.saturating_add(inside))
        })
    }
}
