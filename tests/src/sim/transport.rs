//! A driver's path to a device in the same process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use driver::transport::memory::DmaArena;
use driver::transport::{Doorbells, Fault, Link, Transport};
use driver::{DmaBuffer, DriverError};
use nvme::Registers;
use vssd::{DOORBELLS_BYTES, Protection};

use super::Device;

const NAME: &str = "in-process";

/// The path to a [`Device`]: register accesses are calls, memory and doorbells
/// are shared by mapping the same files, and the device runs whenever the
/// driver waits.
#[derive(Debug)]
pub struct InProcess {
    device: Device,
    arena: DmaArena,
    doorbells: Doorbells,
}

impl InProcess {
    pub(crate) fn new(device: Device) -> Result<Self, DriverError> {
        let doorbells = {
            let mut model = device.model.borrow_mut();
            model.connected();
            let page = model.doorbells();
            Doorbells::map(page.fd(), page.file_offset(), DOORBELLS_BYTES as usize)?
        };
        Ok(Self {
            device,
            arena: DmaArena::new(),
            doorbells,
        })
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        let mut model = self.device.model.borrow_mut();
        model.disconnected();
        model.dma_unmap_all();
    }
}

impl Registers for InProcess {
    fn read32(&mut self, offset: u32) -> u32 {
        if self.device.is_gone() {
            return u32::MAX;
        }
        self.device.model.borrow_mut().read32(offset)
    }

    fn write32(&mut self, offset: u32, value: u32) {
        if !self.device.is_gone() {
            self.device.model.borrow_mut().write32(offset, value);
        }
    }
}

impl Transport for InProcess {
    fn name(&self) -> &str {
        NAME
    }

    fn allocate_dma(&mut self, bytes: usize) -> Result<DmaBuffer, DriverError> {
        let model = &self.device.model;
        self.arena.allocate(bytes, |region| {
            // Widens.
            let len = region.len() as u64;
            model
                .borrow_mut()
                .dma_map(region.iova(), len, region.fd(), 0, Protection::READ_WRITE)
                .map_err(|error| DriverError::transport(NAME, "mapping memory", error))
        })
    }

    fn doorbells(&self) -> Doorbells {
        self.doorbells.clone()
    }

    fn reset(&mut self) -> Result<(), DriverError> {
        self.device.model.borrow_mut().function_reset();
        Ok(())
    }

    fn fault(&self) -> Option<Fault> {
        fault(&self.device.gone)
    }

    fn link(&self) -> Option<Arc<dyn Link>> {
        Some(Arc::new(Plug(Arc::clone(&self.device.gone))))
    }

    fn relax(&mut self) {
        self.device.run();
    }
}

struct Plug(Arc<AtomicBool>);

impl Link for Plug {
    fn fault(&self) -> Option<Fault> {
        fault(&self.0)
    }
}

fn fault(gone: &AtomicBool) -> Option<Fault> {
    gone.load(Ordering::Relaxed)
        .then(|| Fault::new("it was unplugged"))
}
