//! The controller's states, by its registers.

use std::time::Duration;

use nvme::{Cap, Cc, Csts, ShutdownNotification, ShutdownStatus, ZeroBased, offset};
use traces::Clock;

use super::{AdminPlace, ControllerOptions};
use crate::DriverError;
use crate::transport::{Fault, Transport};

/// What a 32-bit register of a device that is gone reads as.
const GONE: u32 = u32::MAX;
/// CAP.AMS: weighted round robin with urgent priority class.
const AMS_WEIGHTED: u8 = 1;
/// The unit of CAP.TO.
const READY_UNIT: Duration = Duration::from_millis(500);

/// A transport and a clock: what it takes to wait for a controller.
pub(super) struct Device<T, C> {
    pub(super) transport: T,
    pub(super) clock: C,
    pub(super) cap: Cap,
}

/// CAP, where this driver can drive such a controller.
pub(super) fn capabilities<T: Transport>(transport: &mut T) -> Result<Cap, DriverError> {
    let bits = transport.read64(offset::CAP);
    if bits == u64::MAX {
        return Err(gone(transport));
    }
    let cap = Cap::from_bits(bits);
    let lacks = if cap.mpsmin() > 0 {
        Some("it has no memory page size of 4 KiB (CAP.MPSMIN)")
    } else if command_set(cap).is_none() {
        Some("it has no NVM command set (CAP.CSS)")
    } else if cap.mqes() == 0 {
        Some("its queues have a single entry (CAP.MQES)")
    } else {
        None
    };
    match lacks {
        None => Ok(cap),
        Some(what) => Err(DriverError::Unsupported {
            device: transport.name().to_owned(),
            what: what.to_owned(),
        }),
    }
}

/// CC.CSS for the NVM command set: 0, or 6 on a controller that has several
/// (`NVMe Base 2.1 §3.1.4.5`).
const fn command_set(cap: Cap) -> Option<u8> {
    if cap.css() & (1 << 6) != 0 {
        Some(6)
    } else if cap.css() & 1 != 0 {
        Some(0)
    } else {
        None
    }
}

fn gone<T: Transport>(transport: &T) -> DriverError {
    let fault = transport
        .fault()
        .unwrap_or_else(|| Fault::new("its registers read as all ones"));
    DriverError::DeviceGone {
        device: transport.name().to_owned(),
        fault,
    }
}

impl<T: Transport, C: Clock> Device<T, C> {
    pub(super) fn name(&self) -> String {
        self.transport.name().to_owned()
    }

    /// The most entries that an I/O queue can have.
    pub(super) const fn entries_max(&self) -> u32 {
        ZeroBased::<u16>::count(ZeroBased(self.cap.mqes()))
    }

    /// CSTS of a controller that is there and well.
    pub(super) fn status(&mut self) -> Result<Csts, DriverError> {
        let bits = self.transport.read32(offset::CSTS);
        if bits == GONE {
            return Err(gone(&self.transport));
        }
        let csts = Csts::from_bits(bits);
        if csts.cfs() {
            return Err(DriverError::Fatal {
                device: self.name(),
            });
        }
        Ok(csts)
    }

    /// The transport's reason, where the device is gone.
    pub(super) fn check_link(&self) -> Result<(), DriverError> {
        match self.transport.fault() {
            None => Ok(()),
            Some(_) => Err(gone(&self.transport)),
        }
    }

    /// Clears CC.EN where it is set, and waits for CSTS.RDY to follow.
    pub(super) fn disable(&mut self) -> Result<(), DriverError> {
        let bits = self.transport.read32(offset::CC);
        if bits == GONE {
            return Err(gone(&self.transport));
        }
        let cc = Cc::from_bits(bits);
        if cc.en() {
            // A change of EN and of other fields in one write is undefined
            // for some devices; SHN has to be 0 to start again.
            let off = cc.with_en(false).with_shn(ShutdownNotification::None);
            self.transport.write32(offset::CC, off.into_bits());
        }
        // Fatal status is what a reset is there to end: it is no error here.
        self.wait("disabled", self.ready_timeout(), |device| {
            let bits = device.transport.read32(offset::CSTS);
            if bits == GONE {
                return Err(gone(&device.transport));
            }
            Ok(!Csts::from_bits(bits).rdy())
        })
    }

    /// Sets the admin queues and CC.EN, and waits for CSTS.RDY.
    pub(super) fn enable(
        &mut self,
        admin: AdminPlace,
        options: &ControllerOptions,
    ) -> Result<(), DriverError> {
        let is_weighted = options.weighted_round_robin && self.cap.ams() & AMS_WEIGHTED != 0;
        let transport = &mut self.transport;
        transport.write32(offset::AQA, admin.aqa.into_bits());
        transport.write64(offset::ASQ, admin.asq);
        transport.write64(offset::ACQ, admin.acq);
        let cc = Cc::new()
            .with_css(command_set(self.cap).unwrap_or(0))
            .with_ams(u8::from(is_weighted))
            .with_iosqes(6)
            .with_iocqes(4);
        let cc = options.configuration.unwrap_or(cc).with_en(true);
        transport.write32(offset::CC, cc.into_bits());
        self.wait("ready", self.ready_timeout(), |device| {
            Ok(device.status()?.rdy())
        })
    }

    /// Announces a shutdown and waits for its end.
    pub(super) fn shutdown(
        &mut self,
        notification: ShutdownNotification,
        timeout: Duration,
    ) -> Result<(), DriverError> {
        let cc = self.transport.read32(offset::CC);
        if cc == GONE {
            return Err(gone(&self.transport));
        }
        let cc = Cc::from_bits(cc).with_shn(notification);
        self.transport.write32(offset::CC, cc.into_bits());
        self.wait("shut down", timeout, |device| {
            Ok(device.status()?.shst() == ShutdownStatus::Complete)
        })
    }

    fn ready_timeout(&self) -> Duration {
        // Some devices announce 0; none is ready in no time.
        READY_UNIT * u32::from(self.cap.to()).max(1)
    }

    /// Waits until `reached`, at most `timeout`.
    pub(super) fn wait(
        &mut self,
        state: &'static str,
        timeout: Duration,
        mut reached: impl FnMut(&mut Self) -> Result<bool, DriverError>,
    ) -> Result<(), DriverError> {
        let start_ns = self.clock.now_ns();
        while !reached(self)? {
            if self.pause(start_ns) >= timeout {
                return Err(DriverError::NotInTime {
                    device: self.name(),
                    state,
                    timeout,
                });
            }
        }
        Ok(())
    }

    /// Lets some time pass in a wait that began at `start_ns`, the more the
    /// longer it has been; returns how long that is.
    pub(super) fn pause(&mut self, start_ns: u64) -> Duration {
        const STEP_NS_MAX: u64 = 1_000_000;
        self.transport.relax();
        let now_ns = self.clock.now_ns();
        let waited_ns = now_ns.saturating_sub(start_ns);
        // Waiting on the clock is what moves virtual time on.
        let step_ns = (waited_ns / 4).clamp(1_000, STEP_NS_MAX);
        self.clock.wait_until(now_ns.saturating_add(step_ns));
        Duration::from_nanos(waited_ns)
    }
}
