//! Building blocks for transports: memory in files without a name, which can be
//! mapped by this process and given to a device.
#![expect(unsafe_code, reason = "it makes buffers of mapped memory")]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::{MmapOptions, MmapRaw};
use nvme::PAGE_BYTES;

use crate::buffer::Owner;
use crate::{DmaBuffer, DriverError};

const PAGE: usize = 4096;
/// The least that is asked of the system and announced to the device at once.
/// Pages that are not handed out cost nothing.
const REGION_BYTES_MIN: usize = 16 << 20;
/// Where the IOVAs start: above 4 GiB, so that no address fits 32 bits by
/// chance, and inside of what the narrowest IOMMU can do (39 bits).
const IOVA_START: u64 = 4 << 30;
/// Where they start if there is no room above: not at 0, which is where stray
/// accesses go.
const LOW_START: u64 = 1 << 20;

/// A shared file without a name (a memfd), of `bytes` bytes of 0.
///
/// # Errors
///
/// [`DriverError::Memory`].
pub fn anonymous_file(name: &str, bytes: usize) -> Result<OwnedFd, DriverError> {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    let error = |source: rustix::io::Errno| DriverError::Memory {
        operation: "allocation",
        bytes,
        source: source.into(),
    };
    let fd = memfd_create(name, MemfdFlags::CLOEXEC).map_err(error)?;
    ftruncate(&fd, bytes as u64).map_err(error)?;
    Ok(fd)
}

/// Addresses that a device may use for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaRange {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl IovaRange {
    /// All that there are.
    pub const ALL: Self = Self {
        first: 0,
        last: u64::MAX,
    };
}

/// DMA memory: a growing set of [`Region`]s, from which buffers are handed out
/// and to which they return.
///
/// A region stays until the arena and all of its buffers are gone, so the
/// device's view of memory changes only when the arena grows.
#[derive(Clone, Debug)]
pub struct DmaArena {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    regions: Mutex<Vec<Region>>,
    /// Where regions may be.
    ranges: Vec<IovaRange>,
    /// The least size of a region.
    region_bytes_min: usize,
}

impl Default for DmaArena {
    fn default() -> Self {
        Self::within(vec![IovaRange::ALL], REGION_BYTES_MIN)
    }
}

/// Contiguous memory that a device is to see at an IOVA.
#[derive(Clone, Debug)]
pub struct Region {
    iova: u64,
    bytes: usize,
    fd: Arc<OwnedFd>,
    map: Arc<MmapRaw>,
    /// Free extents: start to length, bytes from the region's start, never
    /// adjacent.
    free: BTreeMap<usize, usize>,
}

impl Region {
    /// Where the device is to see it.
    #[must_use]
    pub const fn iova(&self) -> u64 {
        self.iova
    }

    /// Its size, bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes; never so.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where this process has it.
    pub(super) fn address(&self) -> u64 {
        self.map.as_mut_ptr().expose_provenance() as u64
    }

    /// The file that holds it, from offset 0 on: map it shared to see what
    /// this process sees.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn create(iova: u64, bytes: usize) -> Result<Self, DriverError> {
        let fd = anonymous_file("vssd-driver-dma", bytes)?;
        let map = MmapOptions::new()
            .len(bytes)
            .map_raw(&fd)
            .map_err(|source| DriverError::Memory {
                operation: "mapping",
                bytes,
                source,
            })?;
        Ok(Self {
            iova,
            bytes,
            fd: Arc::new(fd),
            map: Arc::new(map),
            free: BTreeMap::from([(0, bytes)]),
        })
    }

    /// Takes the first free extent of `bytes` bytes; its offset.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let (&start, &len) = self.free.iter().find(|(_, len)| **len >= bytes)?;
        self.free.remove(&start);
        if len > bytes {
            self.free.insert(start + bytes, len - bytes);
        }
        Some(start)
    }

    /// Takes back `bytes` bytes at `start` and joins them with what is free
    /// around them.
    fn give_back(&mut self, start: usize, bytes: usize) {
        let mut start = start;
        let mut bytes = bytes;
        if let Some(next) = self.free.remove(&(start + bytes)) {
            bytes += next;
        }
        let before = self.free.range(..start).next_back();
        if let Some((&before, &len)) = before
            && before + len == start
        {
            self.free.remove(&before);
            start = before;
            bytes += len;
        }
        self.free.insert(start, bytes);
    }
}

impl DmaArena {
    /// An arena without memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An arena whose regions are in `ranges`, and have `region_bytes_min`
    /// bytes at least: memory that is announced is pinned by some IOMMUs, and
    /// counts.
    #[must_use]
    pub fn within(ranges: Vec<IovaRange>, region_bytes_min: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                regions: Mutex::default(),
                ranges,
                region_bytes_min,
            }),
        }
    }

    /// A zeroed buffer of `bytes` bytes, rounded up to whole pages. Where the
    /// arena has to grow, `announce` makes the new region known to the device.
    /// Every page is touched here, so that none has to be found later, in the
    /// data path.
    ///
    /// # Errors
    ///
    /// [`DriverError::Memory`], [`DriverError::Invalid`] for 0 bytes, and what `announce`
    /// returns.
    pub fn allocate(
        &self,
        bytes: usize,
        announce: impl FnOnce(&Region) -> Result<(), DriverError>,
    ) -> Result<DmaBuffer, DriverError> {
        let rounded = bytes.checked_next_multiple_of(PAGE).filter(|_| bytes > 0);
        let Some(bytes) = rounded else {
            return Err(DriverError::Invalid {
                what: format!("a DMA buffer of {bytes} bytes: ask for 1 byte or more"),
            });
        };
        let mut regions = self.shared.lock();
        let taken = regions
            .iter_mut()
            .find_map(|region| Some((region.take(bytes)?, region.iova, Arc::clone(&region.map))));
        let (start, iova, map) = match taken {
            Some(taken) => taken,
            None => {
                let whole = bytes.max(self.shared.region_bytes_min);
                let iova = place(&regions, &self.shared.ranges, whole as u64)
                    .ok_or(DriverError::NoAddress { bytes: whole })?;
                let mut region = Region::create(iova, whole)?;
                announce(&region)?;
                let start = region.take(bytes).unwrap_or(0);
                let map = Arc::clone(&region.map);
                regions.push(region);
                (start, iova, map)
            }
        };
        drop(regions);
        let mut buffer = self.buffer(&map, start, bytes, iova)?;
        buffer.fill(0, bytes, 0)?;
        Ok(buffer)
    }

    /// All regions, as they stand now.
    #[must_use]
    pub fn regions(&self) -> Vec<Region> {
        self.shared.lock().clone()
    }

    fn buffer(
        &self,
        map: &Arc<MmapRaw>,
        start: usize,
        bytes: usize,
        region_iova: u64,
    ) -> Result<DmaBuffer, DriverError> {
        let base = NonNull::new(map.as_mut_ptr()).ok_or_else(|| DriverError::Memory {
            operation: "mapping",
            bytes,
            source: std::io::ErrorKind::OutOfMemory.into(),
        })?;
        // SAFETY: `start` is inside of the region: it was in its free list.
        let base = unsafe { base.add(start) };
        let owner = Arc::<Shared>::clone(&self.shared);
        // SAFETY: the region is mapped for reading and writing, page-aligned,
        // and never leaves `Shared`; the free list gives no byte out twice.
        Ok(unsafe { DmaBuffer::new(base, bytes, region_iova + start as u64, owner) })
    }
}

/// Where a region of `bytes` bytes can be: above the start where there is
/// room, else below. A page between regions stays unmapped, so that an access
/// past the end of one is a fault and not a success elsewhere.
fn place(regions: &[Region], ranges: &[IovaRange], bytes: u64) -> Option<u64> {
    let ends = regions
        .iter()
        .map(|region| region.iova + region.bytes as u64 + PAGE_BYTES);
    let starts = ranges
        .iter()
        .map(|range| range.first.max(LOW_START))
        .chain([IOVA_START]);
    let mut candidates: Vec<u64> = ends
        .chain(starts)
        .filter_map(|start| start.checked_next_multiple_of(PAGE_BYTES))
        .collect();
    candidates.sort_by_key(|start| (*start < IOVA_START, *start));
    let fits = |start: &u64| {
        let Some(last) = start.checked_add(bytes - 1) else {
            return false;
        };
        let allowed = ranges
            .iter()
            .any(|range| range.first <= *start && last <= range.last);
        let taken = regions.iter().any(|region| {
            let end = region.iova + region.bytes as u64 + PAGE_BYTES;
            *start < end && last.saturating_add(PAGE_BYTES) >= region.iova
        });
        allowed && !taken
    };
    candidates.into_iter().find(fits)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Region>> {
        // The list is whole between any two statements that could panic.
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner for Shared {
    fn free(&self, iova: u64, bytes: usize) {
        let mut regions = self.lock();
        for region in regions.iter_mut() {
            let Some(start) = iova.checked_sub(region.iova) else {
                continue;
            };
            if let Ok(start) = usize::try_from(start)
                && start < region.bytes
            {
                region.give_back(start, bytes);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
