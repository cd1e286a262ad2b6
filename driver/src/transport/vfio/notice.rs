//! What the kernel has to say of a device that is in use.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, Result, read};

use super::ioctl::{Irq, irq_count, set_irqs};
use crate::transport::{Fault, Link};

/// The events that end the use of a device.
#[derive(Debug)]
pub(super) struct Notices {
    /// Each with what it means.
    events: Vec<(OwnedFd, &'static str)>,
    fault: OnceLock<Fault>,
}

impl Notices {
    /// Has the kernel tell of the device's end.
    pub(super) fn subscribe(device: &OwnedFd) -> Result<Self> {
        let mut events = Vec::new();
        for (irq, meaning) in [
            (
                Irq::Request,
                "the system wants it back: it is being unplugged, or somebody unbinds it",
            ),
            (
                Irq::Error,
                "its PCI Express link reports an error that cannot be corrected",
            ),
        ] {
            // Not every device and kernel has each.
            if irq_count(device.as_fd(), irq).unwrap_or(0) == 0 {
                continue;
            }
            let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            match set_irqs(device.as_fd(), irq, 0, &[Some(event.as_fd())]) {
                Ok(()) => events.push((event, meaning)),
                // A device without error reporting.
                Err(Errno::INVAL | Errno::NOTTY) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Self {
            events,
            fault: OnceLock::new(),
        })
    }
}

impl Link for Notices {
    fn fault(&self) -> Option<Fault> {
        if let Some(fault) = self.fault.get() {
            return Some(fault.clone());
        }
        let mut count = [0; 8];
        let (_, meaning) = self
            .events
            .iter()
            .find(|(event, _)| read(event, &mut count).is_ok())?;
        Some(self.fault.get_or_init(|| Fault::new(meaning)).clone())
    }
}
