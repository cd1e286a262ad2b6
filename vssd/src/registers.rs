//! The controller's properties, and what writing them sets off.

use nvme::{
    Aqa, AsyncEvent, Cap, Cc, Crto, Csts, DOORBELL_BASE, Doorbell, IdentifyController, NSSR_RESET,
    QueueId, Registers, ShutdownNotification, offset,
};
use traces::{Clock, Event, Tap};

use crate::admin::identify::VERSION;
use crate::arbitration::Weighted;
use crate::device::Device;
use crate::lifecycle::{Change, Duty};
use crate::media::{Request, Submission};
use crate::queue::{Priority, QueueSpec};
use crate::ticket::Ticket;
use crate::{Controller, ControllerConfig, Media};

/// CC.CSS: every command set that the controller has, not the NVM one alone.
const ALL_COMMAND_SETS: u8 = 0b110;

/// How long CSTS.RDY may take to follow CC.EN, units of 500 ms.
const READY_TIMEOUT: u8 = 20;
/// CAP.CRMS: ready with media, and ready independent of media. The medium of a
/// virtual drive is always there, so both are the same.
const CRMS_BOTH: u8 = 0b11;

/// CC.AMS: weighted round robin with urgent priority class.
pub(crate) const AMS_WEIGHTED: u8 = 1;
/// CAP.AMS: it is supported.
const CAP_AMS_WEIGHTED: u8 = 1 << 0;

/// The properties that hold what was written to them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RegisterFile {
    pub(crate) cc: Cc,
    aqa: Aqa,
    asq: u64,
    acq: u64,
    pub(crate) intms: u32,
    /// CSTS.NSSRO: the subsystem was reset, and nobody has taken note.
    pub(crate) nssro: bool,
}

/// Controller Capabilities (`NVMe Base 2.1 §3.1.4.1`): pages of 4 KiB, the NVM
/// command set, round robin.
fn capabilities(config: &ControllerConfig) -> Cap {
    const CSS_NVM: u8 = 1 << 0;
    /// All command sets that the controller has, and not only the first.
    const CSS_ALL: u8 = 1 << 6;
    Cap::new()
        .with_mqes(config.queue_entries_max.saturating_sub(1))
        .with_cqr(config.contiguous_queues_required)
        .with_ams(CAP_AMS_WEIGHTED)
        .with_to(READY_TIMEOUT)
        .with_nssrs(true)
        .with_crms(CRMS_BOTH)
        .with_css(CSS_NVM | CSS_ALL)
        .with_cmbs(config.cmb_bytes > 0)
}

impl RegisterFile {
    /// Whether a controller can be enabled with what was written.
    fn is_legal(&self) -> bool {
        let cc = self.cc;
        let aligned = |address: u64| address.is_multiple_of(nvme::PAGE_BYTES);
        // An entry size of 0 is one that the host has not told yet; it is
        // checked again when a queue is made.
        let sq_entry = matches!(cc.iosqes(), 0) || cc.iosqes() == IdentifyController::SQES_64 & 0xf;
        let cq_entry = matches!(cc.iocqes(), 0) || cc.iocqes() == IdentifyController::CQES_16 & 0xf;
        cc.mps() == 0
            && matches!(cc.css(), 0 | ALL_COMMAND_SETS)
            && cc.ams() <= AMS_WEIGHTED
            && sq_entry
            && cq_entry
            && self.aqa.asqs() > 0
            && self.aqa.acqs() > 0
            && aligned(self.asq)
            && aligned(self.acq)
    }
}

const fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

const fn high(value: u64) -> u32 {
    low(value >> 32)
}

fn with_low(value: u64, part: u32) -> u64 {
    u64::from(high(value)) << 32 | u64::from(part)
}

fn with_high(value: u64, part: u32) -> u64 {
    u64::from(part) << 32 | u64::from(low(value))
}

/// The controller's properties and doorbells, at their offsets in BAR0. What is
/// not a property reads as 0 and swallows writes; doorbells read as 0.
impl<M: Media, T: Tap, C: Clock> Registers for Controller<M, T, C> {
    fn read32(&mut self, offset: u32) -> u32 {
        const CAP_HIGH: u32 = offset::CAP + 4;
        const ASQ_HIGH: u32 = offset::ASQ + 4;
        const ACQ_HIGH: u32 = offset::ACQ + 4;
        let device = &self.device;
        let registers = &device.registers;
        match offset {
            offset::CAP => low(capabilities(&device.config).into_bits()),
            CAP_HIGH => high(capabilities(&device.config).into_bits()),
            offset::VS => VERSION.into_bits(),
            offset::INTMS | offset::INTMC => registers.intms,
            offset::CC => registers.cc.into_bits(),
            offset::CSTS => device
                .lifecycle
                .csts()
                .with_nssro(registers.nssro)
                .with_pp(device.services.firmware.is_activating())
                .into_bits(),
            offset::CRTO => Crto::new()
                .with_crwmt(READY_TIMEOUT.into())
                .with_crimt(READY_TIMEOUT.into())
                .into_bits(),
            offset::AQA => registers.aqa.into_bits(),
            offset::ASQ => low(registers.asq),
            ASQ_HIGH => high(registers.asq),
            offset::ACQ => low(registers.acq),
            ACQ_HIGH => high(registers.acq),
            _ => device.cmb.read32(offset),
        }
    }

    fn write32(&mut self, offset: u32, value: u32) {
        const ASQ_HIGH: u32 = offset::ASQ + 4;
        const ACQ_HIGH: u32 = offset::ACQ + 4;
        if let Some(doorbell) = offset.checked_sub(DOORBELL_BASE) {
            self.device.ring(doorbell, value);
            return;
        }
        let registers = &mut self.device.registers;
        match offset {
            offset::INTMS => registers.intms |= value,
            offset::INTMC => {
                registers.intms &= !value;
                let device = &mut self.device;
                device.queues.remind(&device.memory, &device.doorbells);
                device.raise_interrupts();
            }
            // Write 1 to clear; the rest of CSTS cannot be written.
            offset::CSTS => registers.nssro &= !Csts::from_bits(value).nssro(),
            offset::NSSR if value == NSSR_RESET => self.subsystem_reset(),
            offset::CC => self.write_cc(Cc::from_bits(value)),
            offset::AQA => registers.aqa = Aqa::from_bits(value),
            offset::ASQ => registers.asq = with_low(registers.asq, value),
            ASQ_HIGH => registers.asq = with_high(registers.asq, value),
            offset::ACQ => registers.acq = with_low(registers.acq, value),
            ACQ_HIGH => registers.acq = with_high(registers.acq, value),
            _ => self.device.write_cmb(offset, value),
        }
    }
}

impl<M: Media, T: Tap, C: Clock> Controller<M, T, C> {
    /// What a write to CC changes, in the order in which it takes effect.
    fn write_cc(&mut self, new: Cc) {
        let old = self.device.registers.cc;
        self.device.registers.cc = new;
        match (old.en(), new.en()) {
            (false, true) if self.device.registers.is_legal() => self.change(Change::Enable),
            (false, true) => self.change(Change::EnableRefused),
            (true, false) => self.change(Change::Disable),
            _ => {}
        }
        let announced = |cc: Cc| cc.shn() != ShutdownNotification::None;
        if announced(new) && !announced(old) {
            self.device.event(match new.shn() {
                ShutdownNotification::Abrupt => Event::ShutdownAbrupt,
                _ => Event::ShutdownNormal,
            });
            self.change(Change::Shutdown);
        }
    }

    /// Changes the state, and does what that obliges to.
    pub(crate) fn change(&mut self, change: Change) {
        let (state, duty) = self.device.lifecycle.step(change);
        if state != self.device.lifecycle {
            log::debug!("controller: {:?} to {state:?}", self.device.lifecycle);
        }
        self.device.lifecycle = state;
        match duty {
            Duty::None => {}
            Duty::Start => {
                self.device.start();
                self.device.event(Event::Enable);
            }
            Duty::Alarm if change == Change::Fault => {
                log::warn!("the controller fails: its Keep Alive timer expired");
                self.device.event(Event::FatalStatus);
            }
            Duty::Alarm => {
                log::warn!(
                    "the guest enabled the controller with a configuration that is not legal: {:?}",
                    self.device.registers
                );
                self.device.event(Event::FatalStatus);
            }
            Duty::Flush => self.flush_for_shutdown(),
            Duty::Reset => {
                self.reset();
                if change == Change::Disable {
                    self.device.event(Event::Reset);
                }
            }
        }
    }

    /// Makes everything durable; [`Change::Flushed`] follows.
    fn flush_for_shutdown(&mut self) {
        let ticket = Ticket::internal(self.device.sequence.next(), self.device.observed_ns());
        match self.media.submit(ticket, Request::Flush) {
            Submission::Done(ticket, outcome) => self.device.finish_media(ticket, outcome),
            Submission::Pending => {}
        }
        self.finish_shutdown();
    }

    /// Tells that a shutdown is complete, once its flush is.
    pub(crate) fn finish_shutdown(&mut self) {
        if std::mem::take(&mut self.device.flushed) {
            self.change(Change::Flushed);
        }
    }

    /// Gives up what is in flight, and all queues.
    fn reset(&mut self) {
        self.abandon_media();
        self.device.reset();
        self.weighted = Weighted::default();
    }
}

impl<T: Tap, C: Clock> Device<T, C> {
    /// A trapped write to the doorbell at `offset`. It takes the way of one that
    /// nobody traps, except that there is somebody to see that no queue has it.
    fn ring(&mut self, offset: u32, value: u32) {
        let found = Doorbell::at(offset)
            .is_some_and(|doorbell| self.queues.has_doorbell(doorbell.queue, doorbell.kind));
        if found {
            self.doorbells.store(offset, value);
        } else if self.lifecycle.is_ready() {
            self.errors.enter_event();
            self.events.raise(AsyncEvent::INVALID_DOORBELL_REGISTER);
        }
    }

    /// Makes the admin queues, which were checked to be legal.
    fn start(&mut self) {
        let registers = self.registers;
        self.doorbells.reset_all();
        self.namespaces.zones_enabled = registers.cc.css() == ALL_COMMAND_SETS;
        let queue = |base, last: u16| QueueSpec {
            id: QueueId::ADMIN,
            base,
            list: None,
            entries: last.saturating_add(1),
        };
        let completion = queue(registers.acq, registers.aqa.acqs());
        let submission = queue(registers.asq, registers.aqa.asqs());
        let made = self
            .queues
            .create_completion(completion, Some(0))
            .and_then(|()| {
                let priority = Priority::Urgent;
                self.queues
                    .create_submission(submission, QueueId::ADMIN, priority)
            });
        debug_assert!(made.is_ok(), "{made:?}: {registers:?} was checked");
    }
}
