//! Doorbell registers, mapped or trapped.
#![expect(
    unsafe_code,
    reason = "doorbells are registers in memory shared with a device"
)]

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::DriverError;

/// Doorbells that are not mapped: a write is carried to the device.
pub trait TrappedDoorbells: Send + Sync {
    /// Writes `value` to the doorbell `offset` bytes from
    /// [`nvme::DOORBELL_BASE`]. A device that is gone swallows it.
    fn write(&self, offset: u32, value: u32);
}

/// The doorbells of a device (`NVMe over PCIe 1.1 §3.1.2`): the registers from
/// [`nvme::DOORBELL_BASE`] on. Clones are the same doorbells.
#[derive(Clone)]
pub struct Doorbells(Kind);

#[derive(Clone)]
enum Kind {
    /// The mapping, and where in it they start.
    Mapped(Arc<MmapRaw>, usize),
    Trapped(Arc<dyn TrappedDoorbells>),
}

impl std::fmt::Debug for Doorbells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Mapped(..) => "Doorbells(mapped)",
            Kind::Trapped(_) => "Doorbells(trapped)",
        })
    }
}

impl Doorbells {
    /// Doorbells in shared memory: `bytes` bytes from `offset` of `fd` on,
    /// which a device (in this process or another) polls.
    ///
    /// # Errors
    ///
    /// [`DriverError::Memory`] where it cannot be mapped; [`DriverError::Invalid`] where
    /// the file is shorter, as touching it would then kill the process, or the
    /// area is not aligned to a doorbell.
    pub fn map(fd: BorrowedFd<'_>, offset: u64, bytes: usize) -> Result<Self, DriverError> {
        let memory = |source| DriverError::Memory {
            operation: "mapping doorbells",
            bytes,
            source,
        };
        let stat = rustix::fs::fstat(fd).map_err(|error| memory(error.into()))?;
        let file_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        // The BAR of a device that is not emulated has no size to go by.
        let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        let fits = offset
            .checked_add(bytes as u64)
            .is_some_and(|end| !is_file || end <= file_bytes);
        if !fits || bytes == 0 || !offset.is_multiple_of(4) {
            return Err(DriverError::Invalid {
                what: format!(
                    "the device's doorbells ({bytes} bytes at {offset}) are not in the file of {file_bytes} bytes that it sent"
                ),
            });
        }
        let map = MmapOptions::new()
            .offset(offset)
            .len(bytes)
            .map_raw(&fd)
            .map_err(memory)?;
        Ok(Self(Kind::Mapped(Arc::new(map), 0)))
    }

    /// Doorbells in a mapping, from `start` bytes into it to its end.
    pub(super) const fn within(map: Arc<MmapRaw>, start: usize) -> Self {
        Self(Kind::Mapped(map, start))
    }

    /// Doorbells whose writes are carried to the device.
    #[must_use]
    pub fn trapped(doorbells: Arc<dyn TrappedDoorbells>) -> Self {
        Self(Kind::Trapped(doorbells))
    }

    /// Whether ringing is a store to memory.
    #[must_use]
    pub const fn is_mapped(&self) -> bool {
        matches!(self.0, Kind::Mapped(..))
    }

    /// The doorbell `offset` bytes from [`nvme::DOORBELL_BASE`].
    ///
    /// # Errors
    ///
    /// [`DriverError::OutOfBounds`] where the mapping ends before it.
    pub fn register(&self, offset: u32) -> Result<DoorbellRegister, DriverError> {
        let (map, first) = match &self.0 {
            Kind::Mapped(map, first) => (map, *first),
            Kind::Trapped(doorbells) => {
                return Ok(DoorbellRegister(Register::Trapped {
                    doorbells: Arc::clone(doorbells),
                    offset,
                }));
            }
        };
        let out_of_bounds = || DriverError::OutOfBounds {
            offset: offset as usize,
            bytes: 4,
            len: map.len().saturating_sub(first),
        };
        let start = usize::try_from(offset).ok();
        let start = start.and_then(|start| start.checked_add(first));
        let start = start.ok_or_else(out_of_bounds)?;
        let fits = start.checked_add(4).is_some_and(|end| end <= map.len());
        let base = NonNull::new(map.as_mut_ptr()).filter(|_| fits && start.is_multiple_of(4));
        let base = base.ok_or_else(out_of_bounds)?;
        // SAFETY: inside of the mapping, as just checked.
        let register = unsafe { base.add(start) };
        Ok(DoorbellRegister(Register::Mapped {
            register: register.cast(),
            _map: Arc::clone(map),
        }))
    }
}

/// One doorbell.
pub struct DoorbellRegister(Register);

enum Register {
    Mapped {
        register: NonNull<AtomicU32>,
        /// Keeps `register` mapped.
        _map: Arc<MmapRaw>,
    },
    Trapped {
        doorbells: Arc<dyn TrappedDoorbells>,
        offset: u32,
    },
}

// SAFETY: the pointer is to an atomic that stays mapped as long as the value
// lives, whichever thread uses it.
unsafe impl Send for Register {}
// SAFETY: as above; the only access is an atomic store.
unsafe impl Sync for Register {}

impl std::fmt::Debug for DoorbellRegister {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Register::Mapped { .. } => "DoorbellRegister(mapped)",
            Register::Trapped { .. } => "DoorbellRegister(trapped)",
        })
    }
}

impl DoorbellRegister {
    /// Writes the doorbell. What was stored to memory before is visible to a
    /// device that sees the new value (release).
    pub fn ring(&self, value: u32) {
        match &self.0 {
            Register::Mapped { register, .. } => {
                // SAFETY: in bounds, aligned and mapped (see `register`), and
                // only ever accessed as an atomic.
                let register = unsafe { register.as_ref() };
                register.store(value.to_le(), Ordering::Release);
            }
            Register::Trapped { doorbells, offset } => doorbells.write(*offset, value),
        }
    }
}
