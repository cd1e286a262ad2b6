//! The host side: a user-space polling NVMe driver.
//!
//! ```text
//!   replayer, cli, tests
//!            |
//!         driver            <- you are here
//!   ioworker    verify      the load generator; whether what is read was written
//!   Controller  QueuePair   bring-up and admin; the data path
//!   raw         pci         queues by hand; the function, its drivers, its power
//!   transport               registers, doorbells, DMA memory of one device
//!            |
//!       nvme, wire
//! ```
//!
//! [`Controller::initialise`] brings a device up over any
//! [`transport::Transport`] and identifies it; [`Controller::create_queue_pair`]
//! hands out [`QueuePair`]s, each of which may move to a thread of its own and
//! from then on needs neither the controller nor a lock: a command is a
//! [`Command`] whose data stands in a [`DmaBuffer`], [`QueuePair::submit`]
//! puts it in the ring, [`QueuePair::poll`] reaps what is complete.
//!
//! ```no_run
//! # fn main() -> Result<(), driver::DriverError> {
//! use driver::transport::vfio_user::VfioUser;
//! use driver::{Command, Controller, ControllerOptions, QueueOptions};
//! use nvme::{Lba, ZeroBased};
//! use traces::{Clock, MonotonicClock};
//!
//! let clock = MonotonicClock::start();
//! let transport = VfioUser::connect("/tmp/vssd.sock".as_ref())?;
//! let mut controller = Controller::initialise(transport, ControllerOptions::default(), clock)?;
//! let namespace = controller.info().namespaces[0];
//! let mut queue_pair = controller.create_queue_pair(QueueOptions::default())?;
//! let buffer = controller.allocate_dma(4096)?;
//!
//! let read = Command::read(namespace.nsid, Lba(0), ZeroBased(0), buffer.slice(0, 512)?);
//! queue_pair.submit(read, 7, clock.now_ns())?;
//! while queue_pair.in_flight() > 0 {
//!     queue_pair.poll(&clock, 64, |done| assert_eq!((done.user, done.status.is_success()), (7, true)))?;
//! }
//! controller.shutdown()?;
//! # Ok(())
//! # }
//! ```
//!
//! A real drive is [`transport::vfio::Vfio`], by its PCI address, once
//! [`pci::System::bind`] has given it to vfio-pci.
//!
//! # Tests of a device
//!
//! | what a test wants | where |
//! |---|---|
//! | queues, doorbells and PRP lists by hand | [`raw`] |
//! | a command by its dwords | [`nvme::Sqe::set_dword`], [`Command::raw`], [`Controller::admin_status`] |
//! | admin commands without waiting | [`Controller::admin_submit`] |
//! | what was sent and what came back | [`QueuePair::cmdlog`] |
//! | commands that take too long | [`QueuePair::late`], [`Controller::recover`] |
//! | asynchronous events | [`Controller::listen`], [`Controller::wait_event`] |
//! | interrupts | [`Interrupt`], [`QueueOptions::interrupt`] |
//! | resets: controller, function, bus, subsystem | [`Controller::reset`], [`Controller::reset_function`], [`transport::vfio::Vfio::hot_reset`], [`Controller::reset_subsystem`] |
//! | shutdowns | [`Controller::shutdown`], [`Controller::notify_shutdown`] |
//! | capabilities, power states, the link | [`pci::PciConfig`] |
//! | registers | [`Controller::transport_mut`], which is [`nvme::Registers`] |
//! | another bring-up | [`ControllerOptions`] |
//!
//! What it does not do: interrupts on the data path (it polls), block-layer
//! services (caching, merging, splitting above MDTS, retries), file systems,
//! metadata and protection information. It never decides by itself to write to
//! a device.
//!
//! Memory that a device may write at any moment is only ever accessed by
//! copies and atomics, never through a reference. That and the doorbells are
//! where the crate is unsafe: [`DmaBuffer`], [`transport::memory`],
//! [`transport::Doorbells`], and the calls and mappings of [`transport::vfio`].

pub mod ioworker;
pub mod monitor;
pub mod pci;
pub mod raw;
pub mod transport;
pub mod verify;

mod buffer;
mod cmdlog;
mod command;
mod controller;
mod error;
mod interrupt;
mod prp;
mod queue_pair;
mod ring;

pub use buffer::{DmaBuffer, DmaSlice};
pub use cmdlog::{CMDLOG_ENTRIES, CmdLog, CmdLogEntry, LoggedCompletion};
pub use command::Command;
pub use controller::{
    Answered, Controller, ControllerInfo, ControllerOptions, Data, FeatureQuery, FeatureSetting,
    FirmwareActivation, IdentifyRequest, LateCommand, LogRequest, NamespaceInfo, QueueOptions,
    Recovery,
};
pub use error::{DriverError, SubmitError, SubmitReason};
pub use interrupt::Interrupt;
pub use queue_pair::{Completed, QueuePair, Sequence, Tag};
