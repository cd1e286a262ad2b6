//! BAR0 of a PCI function: registers and doorbells, mapped where that can be.
#![expect(unsafe_code, reason = "registers are memory that a device answers for")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use nvme::DOORBELL_BASE;
use rustix::io::{pread, pwrite};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

use super::ioctl::RegionPlace;
use crate::DriverError;
use crate::transport::{Doorbells, TrappedDoorbells};

/// The registers of a function.
///
/// While the function does not answer for its memory (it sleeps in D3, or its
/// memory space is off), the kernel ends a process that touches the mapping.
/// So it is *parked* meanwhile: plain memory stands in its place, in which
/// doorbells ring unheard, and registers read as all ones, as on the bus.
#[derive(Debug)]
pub(super) struct Bar {
    device: Arc<OwnedFd>,
    place: RegionPlace,
    map: Option<Arc<MmapRaw>>,
    parked: AtomicBool,
}

impl Bar {
    /// Maps BAR0 of `device`.
    pub(super) fn open(
        name: &str,
        device: &Arc<OwnedFd>,
        place: RegionPlace,
    ) -> Result<Self, DriverError> {
        const OPERATION: &str = "mapping its registers";
        let base = u64::from(DOORBELL_BASE);
        if place.size <= base {
            return Err(DriverError::transport(
                name,
                OPERATION,
                format!("BAR0 has {} bytes: too few for NVMe doorbells", place.size),
            ));
        }
        // Registers and doorbells stand together; what does not cover both is
        // of no use, and read and written by calls.
        let area = place
            .mappable
            .iter()
            .find(|(start, bytes)| *start == 0 && *bytes > base);
        let map = match area {
            None => None,
            Some((_, bytes)) => {
                let bytes = usize::try_from(*bytes).unwrap_or(usize::MAX);
                let map = MmapOptions::new()
                    .offset(place.offset)
                    .len(bytes)
                    .map_raw(&**device);
                Some(Arc::new(map.map_err(|error| {
                    DriverError::transport(name, OPERATION, error)
                })?))
            }
        };
        Ok(Self {
            device: Arc::clone(device),
            place,
            map,
            parked: AtomicBool::new(false),
        })
    }

    /// The doorbells.
    pub(super) fn doorbells(self: &Arc<Self>) -> Doorbells {
        match &self.map {
            Some(map) => Doorbells::within(Arc::clone(map), DOORBELL_BASE as usize),
            None => Doorbells::trapped(Arc::<Self>::clone(self)),
        }
    }

    /// Reads a register.
    pub(super) fn read32(&self, offset: u32) -> u32 {
        if self.parked.load(Ordering::Relaxed) {
            return u32::MAX;
        }
        if let Some(register) = self.register(offset) {
            return u32::from_le(register.load(Ordering::Acquire));
        }
        let mut bytes = [0; 4];
        match pread(self.fd(), &mut bytes, self.at(offset)) {
            Ok(4) => u32::from_le_bytes(bytes),
            _ => u32::MAX,
        }
    }

    /// Writes a register.
    pub(super) fn write32(&self, offset: u32, value: u32) {
        if self.parked.load(Ordering::Relaxed) {
            return;
        }
        if let Some(register) = self.register(offset) {
            register.store(value.to_le(), Ordering::Release);
            return;
        }
        // A device that is gone swallows it.
        let _ = pwrite(self.fd(), &value.to_le_bytes(), self.at(offset));
    }

    /// Puts plain memory in the place of the registers, or the registers back.
    pub(super) fn park(&self, parked: bool) -> rustix::io::Result<()> {
        if self.parked.load(Ordering::Relaxed) == parked {
            return Ok(());
        }
        if parked {
            self.parked.store(true, Ordering::Relaxed);
        }
        if let Some(map) = &self.map {
            let (start, bytes) = (map.as_mut_ptr().cast(), map.len());
            let access = ProtFlags::READ | ProtFlags::WRITE;
            if parked {
                let flags = MapFlags::PRIVATE | MapFlags::FIXED;
                // SAFETY: exactly the mapping is replaced, by memory that can
                // be accessed as it could.
                unsafe { mmap_anonymous(start, bytes, access, flags)? };
            } else {
                let flags = MapFlags::SHARED | MapFlags::FIXED;
                let offset = self.place.offset;
                // SAFETY: exactly what was mapped at first, in its old place.
                unsafe { mmap(start, bytes, access, flags, self.fd(), offset)? };
            }
        }
        if !parked {
            self.parked.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    fn at(&self, offset: u32) -> u64 {
        self.place.offset + u64::from(offset)
    }

    /// The register at `offset`, where it is mapped.
    fn register(&self, offset: u32) -> Option<&AtomicU32> {
        let map = self.map.as_ref()?;
        let start = usize::try_from(offset).ok()?;
        let fits = start.checked_add(4)? <= map.len() && start.is_multiple_of(4);
        let base = NonNull::new(map.as_mut_ptr()).filter(|_| fits)?;
        // SAFETY: inside of the mapping, as just checked.
        let register = unsafe { base.add(start) }.cast();
        // SAFETY: mapped as long as `self` lives and aligned; all accesses are
        // atomic ones.
        Some(unsafe { AtomicU32::from_ptr(register.as_ptr()) })
    }
}

impl TrappedDoorbells for Bar {
    fn write(&self, offset: u32, value: u32) {
        self.write32(DOORBELL_BASE.saturating_add(offset), value);
    }
}
