//! Guest memory, by I/O virtual address.
//!
//! ```text
//!   dma_map(iova, len, fd, offset)        Window, Segments
//!            |                                  |
//!            v                                  v resolve(iova)
//!   regions: iova -> (mapping, offset) ---> host address
//!            |
//!            v
//!   files: (device, inode, access) -> one mapping of the whole file
//! ```
//!
//! A guest's memory is a few files, but behind a virtual IOMMU it arrives as
//! thousands of 4 KiB maps of them, which come and go with every transfer. So
//! each file is mapped into this process once, as a whole, and a map of the
//! guest is an entry in a sorted table that points into it.
//!
//! Guest memory is shared with a running guest: it changes under us at any
//! time. No reference into it is ever made; it is only copied from and to,
//! through [`DmaTable::read_bytes`], [`DmaTable::write_bytes`], the windows on
//! queues and the [`Segments`] of a transfer. Every host address that outlives
//! a call carries the [generation](DmaTable::generation) of the table that it
//! was found in, and is looked up again once that has passed.

mod access;
mod bounce;
mod error;
mod part;
mod segments;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use nvme::PAGE_BYTES;

pub(crate) use access::Window;
pub(crate) use bounce::{BounceId, Bounces};
pub use error::{MapError, Unmapped};
pub(crate) use part::Part;
pub(crate) use segments::SegmentBuffer;
pub use segments::Segments;
pub(crate) use segments::{Kept, OwnBuffer};

/// The most regions that a table holds: as many as the kernel's VFIO allows
/// (`vfio_iommu_type1.dma_entry_limit`), which is what QEMU reckons with.
pub const REGIONS_MAX: usize = 65_535;

/// Beyond this many files, mappings of files that no region uses are dropped.
const IDLE_FILES_MAX: usize = 16;

/// What a device may do with a region of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// The device may read it.
    pub read: bool,
    /// The device may write it.
    pub write: bool,
}

impl Protection {
    /// Read and write.
    pub const READ_WRITE: Self = Self {
        read: true,
        write: true,
    };
    /// Read only.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };

    const fn permits(self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
        }
    }
}

/// What the device is about to do with guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read it.
    Read,
    /// Write it.
    Write,
}

/// A mapped range of I/O virtual addresses.
#[derive(Clone, Debug)]
struct Region {
    bytes: u64,
    protection: Protection,
    /// Where it starts in the mapping.
    offset: usize,
    mapping: Arc<MmapRaw>,
}

/// A file of guest memory, mapped as a whole.
#[derive(Debug)]
struct HostFile {
    device: u64,
    inode: u64,
    writable: bool,
    mapping: Arc<MmapRaw>,
}

/// Host memory behind a part of a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// The first byte.
    pub(crate) host: NonNull<u8>,
    /// How many bytes follow in the same region.
    pub(crate) bytes: u64,
}

/// The region that was asked for last.
#[derive(Clone, Copy, Debug)]
struct Hit {
    iova: u64,
    bytes: u64,
    protection: Protection,
    host: NonNull<u8>,
}

/// Guest memory by I/O virtual address: what is mapped where, and the only way
/// to reach it.
#[derive(Debug)]
pub struct DmaTable {
    regions: BTreeMap<u64, Region>,
    files: Vec<HostFile>,
    generation: u64,
    last: Cell<Option<Hit>>,
    /// Whether the device may reach any of it.
    reachable: bool,
    /// The device's own memory, and where it stands.
    local: Option<Local>,
}

/// Memory of the device itself, which addresses reach as they reach the guest's:
/// the controller memory buffer.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    /// The first address.
    pub(crate) iova: u64,
    /// The memory, all of it.
    pub(crate) mapping: Arc<MmapRaw>,
}

impl Local {
    /// How many bytes there are.
    fn bytes(&self) -> u64 {
        u64::try_from(self.mapping.len()).unwrap_or(0)
    }

    /// What is found at `iova`, where that is one of its addresses.
    fn hit(&self, iova: u64) -> Option<Hit> {
        let bytes = self.bytes();
        if iova.wrapping_sub(self.iova) >= bytes {
            return None;
        }
        Some(Hit {
            iova: self.iova,
            bytes,
            protection: Protection::READ_WRITE,
            host: NonNull::new(self.mapping.as_mut_ptr())?,
        })
    }

    /// The part of `hit` around `iova`, which is not here, that has no address
    /// in common with this.
    fn beside(&self, hit: Hit, iova: u64) -> Hit {
        let end = self.iova.saturating_add(self.bytes());
        let hit_end = hit.iova.saturating_add(hit.bytes);
        if iova < self.iova {
            let bytes = hit.bytes.min(self.iova.saturating_sub(hit.iova));
            return Hit { bytes, ..hit };
        }
        let skip = end.saturating_sub(hit.iova);
        match usize::try_from(skip) {
            Ok(skip) if skip > 0 => Hit {
                iova: end,
                bytes: hit_end.saturating_sub(end),
                host: access::offset(hit.host, skip),
                ..hit
            },
            _ => hit,
        }
    }
}

/// Generations are unique over all tables of the process, so that an address
/// found in one can never pass for one of another.
fn next_generation() -> u64 {
    static GENERATION: AtomicU64 = AtomicU64::new(1);
    GENERATION.fetch_add(1, Ordering::Relaxed)
}

impl Default for DmaTable {
    fn default() -> Self {
        Self::new()
    }
}

impl DmaTable {
    /// A table with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            regions: BTreeMap::new(),
            files: Vec::new(),
            generation: next_generation(),
            last: Cell::new(None),
            reachable: true,
            local: None,
        }
    }

    /// A number that changes with every change of the table, and that no other
    /// table of this process has.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The number of regions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Maps `len` bytes of the file `fd` from `file_offset` on at `iova`.
    ///
    /// The descriptor may be closed afterwards. The file must not become
    /// shorter while it is mapped; a memfd sealed against shrinking cannot.
    ///
    /// # Errors
    ///
    /// [`MapError`], where the range is not one, is mapped in part, or the file
    /// cannot back it. Nothing is changed then.
    pub fn map(
        &mut self,
        iova: u64,
        len: u64,
        fd: BorrowedFd<'_>,
        file_offset: u64,
        protection: Protection,
    ) -> Result<(), MapError> {
        self.check(iova, len, file_offset, protection)?;
        let system = |source| MapError::System { iova, len, source };
        let stat = rustix::fs::fstat(fd).map_err(|errno| system(errno.into()))?;
        // The rest of a file's last page is there, too.
        let file_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let file_bytes = file_bytes.next_multiple_of(PAGE_BYTES);
        let file_end = file_offset
            .checked_add(len)
            .ok_or(MapError::Overflow { iova, len })?;
        if file_end > file_bytes {
            return Err(MapError::FileTooShort {
                iova,
                len,
                file_offset,
                file_bytes,
            });
        }
        let key = FileKey {
            device: stat.st_dev,
            inode: stat.st_ino,
            writable: protection.write,
        };
        let (mapping, start) = match self.whole_file(fd, key, file_bytes, file_end) {
            Ok(mapping) => (mapping, file_offset),
            Err(_) => (map_piece(fd, key, file_offset, len).map_err(system)?, 0),
        };
        let offset = usize::try_from(start).map_err(|_| MapError::Overflow { iova, len })?;
        let region = Region {
            bytes: len,
            protection,
            offset,
            mapping,
        };
        self.regions.insert(iova, region);
        self.changed();
        Ok(())
    }

    /// Removes whatever is mapped in the `len` bytes from `iova` on: nothing,
    /// many regions, or a part of one, which is then cut. Returns how many
    /// bytes were removed.
    pub fn unmap(&mut self, iova: u64, len: u64) -> u64 {
        // The last byte, as a range may end with the address space.
        let Some(last) = len.checked_sub(1).map(|rest| iova.saturating_add(rest)) else {
            return 0;
        };
        let mut removed = 0_u64;
        // Only the region that starts before the range can reach into it.
        if let Some((&start, region)) = self.regions.range_mut(..iova).next_back() {
            let kept = iova.saturating_sub(start);
            if let Some(cut) = region.bytes.checked_sub(kept).filter(|&cut| cut > 0) {
                let tail = region.clone();
                region.bytes = kept;
                removed = removed.saturating_add(cut);
                removed = removed.saturating_sub(self.keep_behind(start, tail, last));
            }
        }
        while let Some((&start, _)) = self.regions.range(iova..=last).next() {
            let Some(region) = self.regions.remove(&start) else {
                break;
            };
            removed = removed.saturating_add(region.bytes);
            removed = removed.saturating_sub(self.keep_behind(start, region, last));
        }
        if removed > 0 {
            self.changed();
        }
        removed
    }

    /// Removes everything, and the mappings of the files with it.
    pub fn clear(&mut self) {
        self.regions.clear();
        self.files.clear();
        self.changed();
    }

    /// The table as it is now, for another thread. Changes of either are not
    /// seen in the other; until there is one, addresses that were found in the
    /// one hold in the other.
    pub(crate) fn snapshot(&self) -> Self {
        Self {
            regions: self.regions.clone(),
            files: Vec::new(),
            generation: self.generation,
            last: Cell::new(None),
            reachable: self.reachable,
            local: self.local.clone(),
        }
    }

    /// Whether the device may reach memory.
    pub(crate) const fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// Lets the device reach memory, or not: then every address is as one where
    /// nothing is mapped. What is mapped stays.
    pub(crate) fn set_reachable(&mut self, reachable: bool) {
        self.reachable = reachable;
        self.changed();
    }

    /// Puts memory of the device at addresses, or takes it away. It comes before
    /// whatever of the guest's is mapped there, which stays.
    pub(crate) fn set_local(&mut self, local: Option<Local>) {
        self.local = local;
        self.changed();
    }

    /// Puts back what `region`, which was mapped at `start`, has behind the
    /// address `last`. Returns how many bytes that were.
    fn keep_behind(&mut self, start: u64, mut region: Region, last: u64) -> u64 {
        let Some(next) = last.checked_add(1) else {
            return 0;
        };
        let skip = next.saturating_sub(start);
        let (Some(bytes), Ok(skip)) = (
            region.bytes.checked_sub(skip).filter(|&bytes| bytes > 0),
            usize::try_from(skip),
        ) else {
            return 0;
        };
        region.offset = region.offset.saturating_add(skip);
        region.bytes = bytes;
        self.regions.insert(next, region);
        bytes
    }

    fn check(
        &self,
        iova: u64,
        len: u64,
        file_offset: u64,
        protection: Protection,
    ) -> Result<(), MapError> {
        if len == 0 {
            return Err(MapError::Empty { iova });
        }
        if !(iova | len | file_offset).is_multiple_of(PAGE_BYTES) {
            return Err(MapError::Unaligned {
                iova,
                len,
                file_offset,
            });
        }
        let Some(last) = iova.checked_add(len.saturating_sub(1)) else {
            return Err(MapError::Overflow { iova, len });
        };
        if !protection.read && !protection.write {
            return Err(MapError::NoAccess { iova, len });
        }
        if let Some((&other, region)) = self.regions.range(..=last).next_back()
            && other.saturating_add(region.bytes.saturating_sub(1)) >= iova
        {
            return Err(MapError::Overlap { iova, len, other });
        }
        if self.regions.len() >= REGIONS_MAX {
            return Err(MapError::TooMany { iova, len });
        }
        Ok(())
    }

    /// The mapping of the whole file, made or made anew where it is too short.
    /// Regions keep the mapping that they were made with.
    fn whole_file(
        &mut self,
        fd: BorrowedFd<'_>,
        key: FileKey,
        file_bytes: u64,
        file_end: u64,
    ) -> io::Result<Arc<MmapRaw>> {
        let known = self.files.iter().position(|file| {
            (file.device, file.inode, file.writable) == (key.device, key.inode, key.writable)
        });
        if let Some(file) = known.and_then(|index| self.files.get(index))
            && u64::try_from(file.mapping.len()).is_ok_and(|bytes| bytes >= file_end)
        {
            return Ok(Arc::clone(&file.mapping));
        }
        let mapping = map_piece(fd, key, 0, file_bytes)?;
        if let Some(index) = known {
            self.files.swap_remove(index);
        }
        if self.files.len() >= IDLE_FILES_MAX {
            self.files
                .retain(|file| Arc::strong_count(&file.mapping) > 1);
        }
        self.files.push(HostFile {
            device: key.device,
            inode: key.inode,
            writable: key.writable,
            mapping: Arc::clone(&mapping),
        });
        Ok(mapping)
    }

    fn changed(&mut self) {
        self.generation = next_generation();
        self.last.set(None);
    }

    /// The host memory at `iova`, where the region permits `access`: a pointer
    /// that is valid until the table changes, and how many bytes of the region
    /// follow it.
    pub(crate) fn resolve(&self, iova: u64, access: Access) -> Result<Piece, Unmapped> {
        let unmapped = Unmapped { iova };
        let hit = match self.last.get() {
            Some(hit) if iova.wrapping_sub(hit.iova) < hit.bytes => hit,
            _ => {
                let hit = self.look_up(iova).ok_or(unmapped)?;
                self.last.set(Some(hit));
                hit
            }
        };
        if !hit.protection.permits(access) {
            return Err(unmapped);
        }
        let inside = iova.wrapping_sub(hit.iova);
        let skip = usize::try_from(inside).map_err(|_| unmapped)?;
        Ok(Piece {
            host: access::offset(hit.host, skip),
            bytes: hit.bytes.wrapping_sub(inside),
        })
    }

    #[cold]
    fn look_up(&self, iova: u64) -> Option<Hit> {
        if !self.reachable {
            return None;
        }
        if let Some(hit) = self.local.as_ref().and_then(|local| local.hit(iova)) {
            return Some(hit);
        }
        let (&start, region) = self.regions.range(..=iova).next_back()?;
        if iova.wrapping_sub(start) >= region.bytes {
            return None;
        }
        let base = NonNull::new(region.mapping.as_mut_ptr())?;
        let hit = Hit {
            iova: start,
            bytes: region.bytes,
            protection: region.protection,
            host: access::offset(base, region.offset),
        };
        let local = self.local.as_ref();
        Some(local.map_or(hit, |local| local.beside(hit, iova)))
    }
}

/// What tells one mapping of a file from another.
#[derive(Clone, Copy, Debug)]
struct FileKey {
    device: u64,
    inode: u64,
    writable: bool,
}

fn map_piece(
    fd: BorrowedFd<'_>,
    key: FileKey,
    offset: u64,
    bytes: u64,
) -> io::Result<Arc<MmapRaw>> {
    let len = usize::try_from(bytes).map_err(io::Error::other)?;
    let mut options = MmapOptions::new();
    options.offset(offset).len(len);
    let raw = fd.as_raw_fd();
    let mapping = if key.writable {
        options.map_raw(raw)
    } else {
        options.map_raw_read_only(raw)
    };
    mapping.map(Arc::new)
}

#[cfg(test)]
mod tests;
