//! The device of a simulation.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use driver::{Controller, ControllerOptions, DriverError};
use nvme::DsmRange;
use recorder::RingTap;
use traces::{
    CommandRecord, EventRecord, Header, NamespaceInfo, PayloadPlace, Record, Tap, VirtualClock,
};
use vssd::media::Ram;
use vssd::{ControllerConfig, VssdError};

use super::{BadBlocks, InProcess, SimClock, Slow};

/// The controller model, observed by a list.
pub(crate) type Model = vssd::Controller<Slow, Observed, VirtualClock>;

/// What observes the device: a list, and a recorder where one was given.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    records: Vec<Record>,
    recorder: Option<RingTap>,
}

impl Tap for Observed {
    fn command(&mut self, record: &CommandRecord, ranges: &[DsmRange]) {
        self.records.command(record, ranges);
        self.recorder.command(record, ranges);
    }

    fn event(&mut self, record: &EventRecord) {
        self.records.event(record);
        self.recorder.event(record);
    }

    fn wants_payload(&self) -> bool {
        self.recorder.wants_payload()
    }

    fn payload(&mut self, place: &PayloadPlace, bytes: usize, copy: &mut dyn FnMut(&mut [u8])) {
        self.recorder.payload(place, bytes, copy);
    }
}

/// Commands and completions that the device deals with at a turn.
const BUDGET: u32 = 256;
/// Turns that the device has at a moment, at most.
const TURNS: u32 = 1 << 16;

/// What a device is to be like.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// Size in bytes.
    pub bytes: u64,
    /// The controller; its block size counts.
    pub config: ControllerConfig,
    /// How long the medium takes for an answer, nanoseconds of virtual time.
    pub latency_ns: RangeInclusive<u64>,
    /// Bytes that cannot be read or written.
    pub bad: Option<BadBlocks>,
    /// Bytes that are never written, though the device says that they are:
    /// writes that start there are lost.
    pub lost_writes: Option<BadBlocks>,
    /// What all chance follows from.
    pub seed: u64,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            config: ControllerConfig::default(),
            latency_ns: 0..=0,
            bad: None,
            lost_writes: None,
            seed: 1,
        }
    }
}

/// A virtual SSD in this process, in virtual time. Clones are the same device.
#[derive(Clone)]
pub struct Device {
    pub(crate) model: Rc<RefCell<Model>>,
    pub(crate) gone: Arc<AtomicBool>,
    pub(crate) hung: Arc<AtomicBool>,
    clock: VirtualClock,
    options: DeviceOptions,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// A device after power-on.
    ///
    /// # Errors
    ///
    /// [`VssdError`], where `options` are not those of a device.
    pub fn new(options: DeviceOptions) -> Result<Self, VssdError> {
        let clock = VirtualClock::new();
        let media = Slow::new(
            Ram::new(options.bytes)?,
            clock.clone(),
            options.latency_ns.clone(),
            options.seed,
            options.bad.clone(),
        )
        .losing(options.lost_writes.clone());
        let config = options.config.clone();
        let model = vssd::Controller::new(config, media, Observed::default(), clock.clone())?;
        Ok(Self {
            model: Rc::new(RefCell::new(model)),
            gone: Arc::default(),
            hung: Arc::default(),
            clock,
            options,
        })
    }

    /// The time of the simulation.
    #[must_use]
    pub fn clock(&self) -> SimClock {
        SimClock::new(self.clock.clone(), self.clone())
    }

    /// Lets the device do what there is to do now.
    pub(crate) fn run(&self) {
        if self.is_gone() || self.hung.load(Ordering::Relaxed) {
            return;
        }
        let mut model = self.model.borrow_mut();
        for _ in 0..TURNS {
            if model.poll(BUDGET) == 0 {
                break;
            }
        }
    }

    /// When the medium answers next, nanoseconds of virtual time; none where
    /// nothing is pending, or nobody would notice.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        if self.is_gone() || self.hung.load(Ordering::Relaxed) {
            return None;
        }
        self.model.borrow().media().due_ns()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// A driver's path to the device. There should be one at a time.
    ///
    /// # Errors
    ///
    /// [`DriverError::Memory`], where the doorbells cannot be mapped.
    pub fn attach(&self) -> Result<InProcess, DriverError> {
        InProcess::new(self.clone())
    }

    /// A driver that has brought the device up.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::initialise`].
    pub fn bring_up(&self) -> Result<Controller<InProcess, SimClock>, DriverError> {
        let options = ControllerOptions::default();
        Controller::initialise(self.attach()?, options, self.clock())
    }

    /// What a recording of this device says of itself.
    #[must_use]
    pub fn header(&self) -> Header {
        let block_bytes = self.options.config.block_bytes;
        Header {
            namespaces: vec![NamespaceInfo {
                id: 1,
                blocks: self.options.bytes / u64::from(block_bytes),
                block_bytes,
            }],
            ..Header::default()
        }
    }

    /// What the device was told since the last call, in the order of
    /// completion.
    #[must_use]
    pub fn take_records(&self) -> Vec<Record> {
        std::mem::take(&mut self.model.borrow_mut().tap_mut().records)
    }

    /// Has the device recorded from here on by `recorder`; with none, that
    /// ends.
    pub fn record(&self, recorder: Option<RingTap>) {
        self.model.borrow_mut().tap_mut().recorder = recorder;
    }

    /// Takes the device away: its registers read as all ones from here on.
    pub fn unplug(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// The device does nothing any more, though its registers answer.
    pub fn hang(&self) {
        self.hung.store(true, Ordering::Relaxed);
    }
}
