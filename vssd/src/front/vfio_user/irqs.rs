//! The interrupts of the function: its pin, MSI and MSI-X, of which one is in
//! force.
//!
//! A client says by `VFIO_USER_DEVICE_SET_IRQS` which eventfd a vector has and
//! whether it is masked. The type that it set up last is the one in force; the
//! enable bits in configuration space are kept for whoever reads them, for a
//! virtual machine monitor acts on them before it calls us. Until a client has
//! set up any, MSI-X is in force, so that what comes before waits for it.

use rustix::io::Errno;
use wire::{Command, IrqAction, IrqData, IrqInfoFlags, IrqSet, Message, irq_index};

use std::os::fd::BorrowedFd;

use super::config_space::Control;
use super::messages::{Beyond, Messages};
use super::msix::Table;
use super::pin::Pin;
use super::reply::Refusal;
use crate::Interrupts;
use crate::front::{Event, Function};

/// The most messages that MSI has.
const MSI_MAX: u16 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InForce {
    Pin,
    Msi,
    Msix,
}

/// All interrupts of a function.
#[derive(Debug)]
pub(super) struct Irqs {
    in_force: InForce,
    pin: Pin,
    msi: Messages,
    msix: Messages,
    /// The MSI-X table.
    pub(super) table: Table,
}

/// How many messages MSI has, for a function with so many vectors: a power of
/// two.
pub(super) fn msi_messages(vectors: u16) -> u16 {
    vectors.clamp(1, MSI_MAX).next_power_of_two()
}

/// What a client asks for, decoded.
struct Request {
    action: IrqAction,
    data: IrqData,
    start: usize,
    count: usize,
    selected: Vec<bool>,
    events: Vec<Event>,
}

impl Request {
    /// The vectors that it is about.
    fn chosen(&self) -> impl Iterator<Item = usize> {
        (self.start..)
            .zip(&self.selected)
            .filter(|(_, yes)| **yes)
            .map(|(vector, _)| vector)
    }

    /// Whether it says how vectors are signalled, or that nobody listens.
    fn sets_up(&self) -> bool {
        self.count > 0 && self.action == IrqAction::Trigger && self.data == IrqData::EventFd
    }

    /// Whether it takes all vectors away.
    fn disables(&self) -> bool {
        self.action == IrqAction::Trigger && self.data == IrqData::None && self.count == 0
    }
}

impl Irqs {
    /// Interrupts with nobody to hear them, of a function with so many vectors.
    pub(super) fn new(vectors: u16) -> Self {
        Self {
            in_force: InForce::Msix,
            pin: Pin::new(),
            msi: Messages::new(msi_messages(vectors), Beyond::Wrap),
            msix: Messages::new(vectors, Beyond::Wait),
            table: Table::new(vectors),
        }
    }

    /// The function was reset. What the client set up stays.
    pub(super) fn reset(&mut self) {
        self.msi.reset();
        self.msix.reset();
        self.table.reset();
    }

    /// How many vectors a type has.
    pub(super) fn count(&self, index: u32) -> Result<usize, Refusal> {
        match index {
            irq_index::INTX => Ok(1),
            irq_index::MSI => Ok(self.msi.len()),
            irq_index::MSIX => Ok(self.msix.len()),
            // They can be set up, as QEMU wants to, and never come.
            irq_index::ERR | irq_index::REQ => Ok(1),
            _ => Err(Refusal::invalid(format!(
                "there is no interrupt type {index}"
            ))),
        }
    }

    /// What a type can do, as Linux's VFIO has it.
    pub(super) fn flags(index: u32) -> IrqInfoFlags {
        let flags = IrqInfoFlags::new().with_eventfd(true);
        match index {
            irq_index::INTX => flags.with_maskable(true).with_automasked(true),
            irq_index::MSI => flags.with_noresize(true),
            _ => flags,
        }
    }

    /// Takes over what the guest set in configuration space.
    pub(super) fn control(&mut self, control: Control) {
        self.pin.allow(control.powered && !control.pin_disabled);
        let messages = control.powered && control.bus_master;
        self.msi.allow(messages);
        self.msix.allow(messages);
        self.msi.set_mask_bits(control.msi_mask);
    }

    /// The interrupts as they are now, for the controller. It needs new ones
    /// after every change.
    pub(super) fn lines(&self) -> Box<dyn Interrupts + Send> {
        match self.in_force {
            InForce::Pin => self.pin.line(),
            InForce::Msi => self.msi.lines(),
            InForce::Msix => self.msix.lines(),
        }
    }

    /// Hands the function its interrupts after a change, and looks at the level
    /// of the pin again.
    pub(super) fn hand_over(&self, function: &mut dyn Function) {
        function.set_interrupts(self.lines());
        // What was raised by the lines before these, while they changed.
        self.msi.deliver();
        self.msix.deliver();
        if self.in_force == InForce::Pin && function.interrupt_pending() {
            self.pin.assert();
        }
    }

    /// What wakes a worker that has to [`Irqs::service`].
    pub(super) fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.pin.unmask_fd()
    }

    /// Does what the client asks for by an eventfd of its own.
    pub(super) fn service(&self, function: &mut dyn Function) {
        if self.pin.take_unmask() && self.in_force == InForce::Pin && function.interrupt_pending() {
            self.pin.assert();
        }
    }

    /// The pending bits of MSI.
    pub(super) fn msi_pending(&self) -> u32 {
        let mut bits = [0; 4];
        for (to, from) in bits.iter_mut().zip(self.msi.pending()) {
            *to = from;
        }
        u32::from_le_bytes(bits)
    }

    /// Reads the pending bits of MSI-X; zeroes beyond them.
    pub(super) fn read_pending(&self, offset: usize, to: &mut [u8]) {
        let bytes = self.msix.pending().skip(offset);
        for (to, from) in to.iter_mut().zip(bytes.chain(std::iter::repeat(0))) {
            *to = from;
        }
    }

    /// Does what `VFIO_USER_DEVICE_SET_IRQS` asks for. The function needs its
    /// interrupts anew after this.
    pub(super) fn set(&mut self, message: Message) -> Result<(), Refusal> {
        let (set, bools) = message.parse::<IrqSet>(Command::DeviceSetIrqs)?;
        let total = self.count(set.index)?;
        let (Some(data), Some(action)) = (set.data(), set.action()) else {
            let why = format!("the flags {:#x} contradict one another", set.flags);
            return Err(Refusal::invalid(why));
        };
        let start = usize::try_from(set.start).unwrap_or(usize::MAX);
        let count = usize::try_from(set.count).unwrap_or(usize::MAX);
        if start.checked_add(count).is_none_or(|end| end > total) {
            return Err(Refusal::invalid(format!(
                "vectors {start} to {start}+{count} of interrupt type {}, which has {total}",
                set.index
            )));
        }
        let selected: Vec<bool> = match data {
            IrqData::Bool => bools.iter().take(count).map(|byte| *byte != 0).collect(),
            IrqData::None | IrqData::EventFd => vec![true; count],
        };
        if selected.len() < count {
            return Err(Refusal::invalid("fewer bytes than vectors"));
        }
        let request = Request {
            action,
            data,
            start,
            count,
            selected,
            events: events(message, data, count)?,
        };
        match set.index {
            irq_index::INTX => self.set_pin(request),
            irq_index::MSI => {
                if request.sets_up() {
                    self.in_force = InForce::Msi;
                }
                set_messages(&mut self.msi, request)
            }
            irq_index::MSIX => {
                if request.sets_up() {
                    self.in_force = InForce::Msix;
                }
                set_messages(&mut self.msix, request)
            }
            _ => Ok(()),
        }
    }

    fn set_pin(&mut self, mut request: Request) -> Result<(), Refusal> {
        if request.sets_up() {
            self.in_force = InForce::Pin;
        }
        if request.disables() {
            self.pin.set(None);
            self.pin.set_unmask(None);
        }
        let Some(0) = request.chosen().next() else {
            return Ok(());
        };
        match (request.action, request.data) {
            (IrqAction::Trigger, IrqData::EventFd) => self.pin.set(request.events.pop()),
            (IrqAction::Trigger, _) => self.pin.trigger(),
            (IrqAction::Unmask, IrqData::EventFd) => self.pin.set_unmask(request.events.pop()),
            (IrqAction::Mask, IrqData::EventFd) => return Err(no_masking_by_eventfd()),
            (IrqAction::Mask, _) => self.pin.mask(true),
            (IrqAction::Unmask, _) => self.pin.mask(false),
        }
        Ok(())
    }
}

fn set_messages(messages: &mut Messages, request: Request) -> Result<(), Refusal> {
    match (request.action, request.data) {
        _ if request.disables() => messages.unset(0, messages.len()),
        (IrqAction::Trigger, IrqData::EventFd) if !request.events.is_empty() => {
            messages.set(request.start, request.events);
        }
        (IrqAction::Trigger, IrqData::EventFd) => messages.unset(request.start, request.count),
        (IrqAction::Trigger, _) => request.chosen().for_each(|at| messages.trigger(at)),
        (IrqAction::Mask | IrqAction::Unmask, IrqData::EventFd) => {
            return Err(no_masking_by_eventfd());
        }
        (IrqAction::Mask, _) => request.chosen().for_each(|at| messages.mask(at, true)),
        (IrqAction::Unmask, _) => request.chosen().for_each(|at| messages.mask(at, false)),
    }
    Ok(())
}

fn no_masking_by_eventfd() -> Refusal {
    Refusal::new(Errno::NOTSUP, "masking by eventfd")
}

/// The descriptors of a request as eventfds, as many as there are vectors.
fn events(message: Message, data: IrqData, count: usize) -> Result<Vec<Event>, Refusal> {
    let fds = message.fds.len();
    if fds != 0 && (data != IrqData::EventFd || fds != count) {
        let why = format!("{fds} file descriptors for {count} vectors");
        return Err(Refusal::invalid(why));
    }
    message
        .fds
        .into_iter()
        .map(|fd| Event::new(fd).ok_or_else(|| Refusal::invalid("a descriptor is no eventfd")))
        .collect()
}
