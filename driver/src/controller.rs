//! Bring-up, the admin queue, and the making of queue pairs.

mod admin;
mod data;
mod device;
mod event;
mod info;
mod manage;
mod pending;
mod query;
mod raw;
mod recover;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use nvme::{Aqa, Cap, Cc, Doorbell, DoorbellKind, QueueId, ShutdownNotification};
use traces::{Clock, MonotonicClock};

use self::device::Device;
use self::pending::Pending;
use crate::monitor::{Monitor, Watch};
use crate::queue_pair::{Gate, Layout, Parts};
use crate::raw::RawKept;
use crate::transport::Transport;
use crate::{DmaBuffer, DriverError, QueuePair};

pub use self::data::{Answered, Data};
pub use self::info::{ControllerInfo, NamespaceInfo};
pub use self::manage::FirmwareActivation;
pub use self::query::{FeatureQuery, FeatureSetting, IdentifyRequest, LogRequest};
pub use self::recover::{LateCommand, Recovery};

/// How to bring a controller up. The defaults suit any device.
#[derive(Clone, Copy, Debug)]
pub struct ControllerOptions {
    /// How many I/O queue pairs to ask for; the device may grant fewer (see
    /// [`ControllerInfo::queue_pairs_max`]).
    pub queue_pairs: u16,
    /// How many admin commands can be in flight, 1 to 4094.
    pub admin_depth: u16,
    /// How long an admin command may take.
    pub admin_timeout: Duration,
    /// Arbitrate by weighted round robin with an urgent class where the
    /// controller can (CAP.AMS), so that [`QueueOptions::priority`] counts.
    pub weighted_round_robin: bool,
    /// What to set CC to, with EN, instead of what suits the device: for tests
    /// of the bring-up itself.
    pub configuration: Option<Cc>,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            queue_pairs: 64,
            admin_depth: 31,
            admin_timeout: Duration::from_secs(10),
            weighted_round_robin: false,
            configuration: None,
        }
    }
}

/// What a queue pair is to be like.
#[derive(Clone, Copy, Debug)]
pub struct QueueOptions {
    /// How many commands can be in flight, from 1 to
    /// [`ControllerInfo::depth_max`].
    pub depth: u16,
    /// The longest data that a command can have, bytes; by default what the
    /// device takes (MDTS), up to 4 MiB. Each slot has a PRP list of that
    /// size. Never more than the device takes.
    pub transfer_bytes_max: Option<usize>,
    /// The MSI-X vector that completions signal; none for polling.
    pub interrupt: Option<u16>,
    /// The submission queue's priority, from 0, urgent, to 3, low. It counts
    /// where the controller arbitrates by weighted round robin.
    pub priority: u8,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            depth: 128,
            transfer_bytes_max: None,
            interrupt: None,
            priority: 0,
        }
    }
}

/// The limit of transfers where neither device nor caller names one.
const TRANSFER_BYTES_DEFAULT: usize = 4 << 20;
/// The admin queues' size fields have twelve bits.
const ADMIN_ENTRIES_MAX: u32 = 4096;

/// A controller that was brought up.
///
/// It owns the transport and the admin queue. Every wait is bounded: by
/// CAP.TO for the controller's states, by a time-out for each command.
///
/// Dropping it drops the transport, which ends the device's access; call
/// [`Controller::shutdown`] first, so that the device saves what it caches.
pub struct Controller<T: Transport, C: Clock = MonotonicClock> {
    device: Device<T, C>,
    options: ControllerOptions,
    admin: QueuePair,
    /// Names the synchronous admin commands, so that a late completion of one
    /// that timed out is not taken for another's.
    next_user: u64,
    /// A page for the data of admin commands; none while it is in use.
    scratch: Option<DmaBuffer>,
    /// Memory that the device may still write to, until it is reset.
    stranded: Vec<DmaBuffer>,
    events: VecDeque<u32>,
    /// Asynchronous Event Requests that the device has.
    requests: u16,
    /// Whether it is to have some all the time.
    listening: bool,
    /// What is called with completions of admin commands.
    pending: Pending,
    /// Memory of raw queues that the device knows.
    raw: Vec<RawKept>,
    info: ControllerInfo,
    queues: Vec<OpenQueue>,
    monitor: Option<Arc<Monitor>>,
    /// Shows the admin queue to the monitor.
    admin_watch: Option<Watch>,
}

struct OpenQueue {
    id: QueueId,
    gate: Arc<Gate>,
    /// Kept until the device has forgotten the queue, even where the queue
    /// pair was dropped before.
    _memory: Arc<DmaBuffer>,
    /// Shows the queue pair to the monitor, as long as it exists.
    _watch: Option<Watch>,
}

impl<T: Transport, C: Clock> std::fmt::Debug for Controller<T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("device", &self.device.transport.name())
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl<T: Transport, C: Clock> Controller<T, C> {
    /// Brings the controller up: disables it where it is enabled, gives it an
    /// admin queue, enables it, identifies it and its namespaces
    /// (`NVMe Base 2.1 §3.5.1`). Nothing on the media changes.
    ///
    /// # Errors
    ///
    /// [`DriverError::DeviceGone`], [`DriverError::NotInTime`] and [`DriverError::Fatal`] where
    /// the controller does not come up, [`DriverError::Unsupported`] where it is not
    /// one for this driver, and those of admin commands.
    pub fn initialise(
        mut transport: T,
        options: ControllerOptions,
        clock: C,
    ) -> Result<Self, DriverError> {
        let cap = device::capabilities(&mut transport)?;
        let mut device = Device {
            transport,
            clock,
            cap,
        };
        device.disable()?;
        let (admin, place) = admin_queue(&mut device, options)?;
        let mut controller = Self {
            device,
            options,
            admin,
            next_user: 1,
            scratch: None,
            stranded: Vec::new(),
            events: VecDeque::new(),
            requests: 0,
            listening: false,
            pending: Pending::default(),
            raw: Vec::new(),
            info: ControllerInfo::default(),
            queues: Vec::new(),
            monitor: None,
            admin_watch: None,
        };
        controller.start(place)?;
        Ok(controller)
    }

    /// What the device says about itself.
    #[must_use]
    pub const fn info(&self) -> &ControllerInfo {
        &self.info
    }

    /// Controller Capabilities, as read when it was brought up.
    #[must_use]
    pub const fn cap(&self) -> Cap {
        self.device.cap
    }

    /// The path to the device.
    #[must_use]
    pub const fn transport(&self) -> &T {
        &self.device.transport
    }

    /// The path to the device: registers, for one.
    pub const fn transport_mut(&mut self) -> &mut T {
        &mut self.device.transport
    }

    /// Zeroed memory for data, of at least `bytes` bytes, aligned to the page
    /// size. It may move to any thread.
    ///
    /// # Errors
    ///
    /// Those of [`Transport::allocate_dma`].
    pub fn allocate_dma(&mut self, bytes: usize) -> Result<DmaBuffer, DriverError> {
        self.device.transport.allocate_dma(bytes)
    }

    /// Shows the queue pairs to `monitor`: the admin queue, and every I/O queue
    /// pair that is created from here on.
    pub fn watch(&mut self, monitor: &Arc<Monitor>) {
        self.monitor = Some(Arc::clone(monitor));
        self.admin_watch = self.watch_queue(&self.admin);
    }

    fn watch_queue(&self, pair: &QueuePair) -> Option<Watch> {
        let monitor = self.monitor.as_ref()?;
        let first = self.info.namespaces.first();
        let block_bytes = first.map_or(512, |namespace| namespace.block_bytes);
        let device = self.device.transport.name();
        let log = pair.cmdlog().clone();
        Some(monitor.watch(device, &self.info.model, block_bytes, log))
    }

    /// Whether the controller is there and well.
    ///
    /// # Errors
    ///
    /// [`DriverError::DeviceGone`], [`DriverError::Fatal`].
    pub fn check(&mut self) -> Result<(), DriverError> {
        self.device.status().map(drop)
    }

    /// Creates a completion queue and a submission queue on it
    /// (`NVMe Base 2.1 §5.2.1`, `§5.2.2`).
    ///
    /// # Errors
    ///
    /// [`DriverError::NoQueueLeft`], [`DriverError::QueueDepth`], and those of memory and
    /// admin commands.
    pub fn create_queue_pair(&mut self, options: QueueOptions) -> Result<QueuePair, DriverError> {
        let id = self.free_queue_id()?;
        let depth_max = self.info.depth_max;
        let depth = options.depth;
        if depth == 0 || depth > depth_max {
            return Err(DriverError::QueueDepth {
                device: self.device.name(),
                depth: u32::from(depth),
                depth_max: u32::from(depth_max),
            });
        }
        let transfer_bytes = options
            .transfer_bytes_max
            .unwrap_or(TRANSFER_BYTES_DEFAULT)
            .min(self.info.mdts_bytes.unwrap_or(usize::MAX))
            .max(1);
        let entries_max = self.device.entries_max();
        let layout = Layout::new(depth, transfer_bytes, entries_max);
        let pair = make_pair(&mut self.device, id, depth, layout)?;
        let open = OpenQueue {
            id,
            gate: Arc::clone(pair.gate()),
            _memory: Arc::clone(pair.memory()),
            _watch: self.watch_queue(&pair),
        };
        self.create_queues(id, pair.memory(), layout, &options)?;
        self.queues.push(open);
        Ok(pair)
    }

    /// Deletes the queue pair `queue` (`NVMe Base 2.1 §5.2.4`, `§5.2.3`): from
    /// here on it is closed, and its next poll hands back what was in flight.
    ///
    /// # Errors
    ///
    /// [`DriverError::NoSuchQueue`], and those of admin commands; the queue pair is
    /// then half closed, and a [`Controller::reset`] is the way out.
    pub fn delete_queue_pair(&mut self, queue: QueueId) -> Result<(), DriverError> {
        let Some(index) = self.queues.iter().position(|open| open.id == queue) else {
            return Err(DriverError::NoSuchQueue {
                device: self.device.name(),
                queue,
            });
        };
        if let Some(open) = self.queues.get(index) {
            open.gate.begin_closing();
        }
        self.delete_sq(queue)?;
        self.delete_cq(queue)?;
        self.queues.swap_remove(index).gate.close();
        Ok(())
    }

    /// Resets the controller (CC.EN, `NVMe Base 2.1 §3.7.2`) and brings it up
    /// again. All queue pairs are closed: each hands back what was in flight
    /// at its next poll, and new ones have to be created. Features have their
    /// defaults again.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::initialise`].
    pub fn reset(&mut self) -> Result<(), DriverError> {
        self.begin_closing();
        let disabled = self.device.disable();
        self.restart(disabled)
    }

    /// As [`Controller::reset`], but by a reset of the PCI function, for a
    /// controller that does not answer.
    ///
    /// # Errors
    ///
    /// Those of [`Transport::reset`] and [`Controller::initialise`].
    pub fn reset_function(&mut self) -> Result<(), DriverError> {
        self.begin_closing();
        let reset = self.device.transport.reset();
        let disabled = reset.and_then(|()| self.device.disable());
        self.restart(disabled)
    }

    /// Announces a normal shutdown and waits until the device has saved what
    /// it caches (`NVMe Base 2.1 §3.6.1`). All queue pairs are closed;
    /// [`Controller::reset`] brings the controller back.
    ///
    /// # Errors
    ///
    /// [`DriverError::NotInTime`], [`DriverError::DeviceGone`], [`DriverError::Fatal`].
    pub fn shutdown(&mut self) -> Result<(), DriverError> {
        self.notify_shutdown(ShutdownNotification::Normal)
    }

    /// As [`Controller::shutdown`], by any notification: an abrupt one tells a
    /// device that its power is about to go.
    ///
    /// # Errors
    ///
    /// Those of [`Controller::shutdown`].
    pub fn notify_shutdown(
        &mut self,
        notification: ShutdownNotification,
    ) -> Result<(), DriverError> {
        self.begin_closing();
        let timeout = self.info.shutdown_timeout;
        let done = self.device.shutdown(notification, timeout);
        self.close();
        done
    }

    fn begin_closing(&mut self) {
        self.admin.gate().begin_closing();
        for queue in &self.queues {
            queue.gate.begin_closing();
        }
    }

    /// Nobody is to wait for a command any more, whether the device has
    /// forgotten it or does not answer.
    fn close(&mut self) {
        self.admin.gate().close();
        for queue in &self.queues {
            queue.gate.close();
        }
    }

    fn restart(&mut self, disabled: Result<(), DriverError>) -> Result<(), DriverError> {
        self.close();
        // What was in flight is told as lost, all of it: whatever else the
        // device wrote to the queue it wrote before the reset.
        while self.reap(None).is_ok_and(|(reaped, _)| reaped > 0) {}
        // Where it could not be disabled it may still write to the memory of
        // its queues: that is kept.
        disabled?;
        self.queues.clear();
        self.stranded.clear();
        self.raw.clear();
        self.events.clear();
        self.requests = 0;
        let (admin, place) = admin_queue(&mut self.device, self.options)?;
        self.admin = admin;
        self.admin_watch = self.watch_queue(&self.admin);
        self.start(place)
    }

    /// Enables the controller with the admin queue that it has, and asks it
    /// who it is.
    fn start(&mut self, admin: AdminPlace) -> Result<(), DriverError> {
        self.device.enable(admin, &self.options)?;
        self.identify_all()?;
        if self.listening {
            self.listen()?;
        }
        Ok(())
    }

    fn free_queue_id(&self) -> Result<QueueId, DriverError> {
        let count = self.info.queue_pairs_max;
        (1..=count)
            .map(QueueId)
            .find(|id| self.queues.iter().all(|open| open.id != *id))
            .ok_or_else(|| DriverError::NoQueueLeft {
                device: self.device.name(),
                count,
            })
    }
}

/// Where the admin queues stand: what AQA, ASQ and ACQ tell the device.
#[derive(Clone, Copy)]
struct AdminPlace {
    aqa: Aqa,
    asq: u64,
    acq: u64,
}

/// The admin queue pair, not yet known to the device, and its place.
fn admin_queue<T: Transport, C: Clock>(
    device: &mut Device<T, C>,
    options: ControllerOptions,
) -> Result<(QueuePair, AdminPlace), DriverError> {
    let depth = options.admin_depth.clamp(1, 4094);
    let layout = Layout::new(depth, TRANSFER_BYTES_DEFAULT, ADMIN_ENTRIES_MAX);
    let pair = make_pair(device, QueueId::ADMIN, depth, layout)?;
    let iova = pair.memory().iova();
    let place = AdminPlace {
        aqa: Aqa::new()
            .with_asqs(layout.sq.zero_based_entries())
            .with_acqs(layout.cq.zero_based_entries()),
        asq: iova + layout.sq.start as u64,
        acq: iova + layout.cq.start as u64,
    };
    Ok((pair, place))
}

fn make_pair<T: Transport, C: Clock>(
    device: &mut Device<T, C>,
    id: QueueId,
    depth: u16,
    layout: Layout,
) -> Result<QueuePair, DriverError> {
    let memory = Arc::new(device.transport.allocate_dma(layout.bytes())?);
    let doorbells = device.transport.doorbells();
    let dstrd = device.cap.dstrd();
    let register = |kind| doorbells.register(Doorbell { queue: id, kind }.offset(dstrd));
    Ok(QueuePair::new(Parts {
        device: device.name(),
        id,
        depth,
        memory,
        layout,
        tail_doorbell: register(DoorbellKind::SubmissionTail)?,
        head_doorbell: register(DoorbellKind::CompletionHead)?,
        gate: Arc::new(Gate::open()),
        link: device.transport.link(),
    }))
}
