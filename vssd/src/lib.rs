//! The virtual SSD: an NVMe controller model, the media behind it, and the
//! fronts that guests attach to.
//!
//! ```text
//!   a guest:   QEMU (vfio-user)   QEMU (vhost-user)   driver (in this process)
//!                   |                  |                   |
//!   front           v                  v                   |
//!        config space, DMA maps,   memory table,           |
//!        eventfds                  virtqueues, eventfds    |
//!                   |                  |                   |
//!                   v                  v                   v
//!   Controller  Registers · Doorbells · Rings · DmaTable · poll(budget) --> Tap
//!                   |
//!        queue | virtio -> command -> transfer -> admin | namespace
//!                   |  Ticket, Request
//!                   v
//!   media       Ram · Uring · RawFile · Qcow2 · Null
//! ```
//!
//! [`Controller`] is one NVMe function, whose namespaces share a medium. It is driven: by
//! [`nvme::Registers`], by [`Controller::dma_map`] and by [`Controller::poll`],
//! all from one thread, and it never blocks on a guest. What it tells a guest
//! goes into guest memory and through [`Interrupts`]; what it tells an observer
//! goes into a [`traces::Tap`]; time comes from a [`traces::Clock`].
//!
//! It knows nothing of PCI configuration space, of MSI-X tables and of sockets:
//! that is for a front. It does not decide when to poll: that is for a worker.

mod admin;
mod arbitration;
mod cmb;
mod command;
mod config;
mod controller;
pub mod counters;
mod device;
mod doorbells;
mod error;
mod execute;
pub mod front;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod health;
#[cfg(any(test, feature = "fuzz"))]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "fuzzers do not need all that tests do")
)]
mod host;
mod interrupts;
mod job;
pub mod lanes;
mod lifecycle;
pub mod media;
pub mod memory;
mod namespace;
mod optional;
mod payload;
pub mod profile;
mod protection;
mod queue;
mod registers;
pub mod reservation;
mod sanitize;
mod sequence;
mod special;
pub mod state;
mod ticket;
mod transfer;
mod virtio;
mod vitals;
pub mod worker;
pub mod zoned;

pub use admin::services::ServicesConfig;
pub use admin::services::firmware::{Activation, FirmwareConfig, image as firmware_image};
pub use admin::services::self_test::SelfTestConfig;
pub use config::{BlockFormat, ControllerConfig, PciIdentity, PowerState, ZonedConfig};
pub use controller::{Controller, NamespaceSummary};
pub use doorbells::{DOORBELLS_BYTES, Doorbells};
pub use error::VssdError;
pub use interrupts::Interrupts;
pub use media::{Media, MediaError};
pub use memory::{DmaTable, MapError, Protection, Segments};
pub use optional::OptionalCommand;
pub use state::{FileStore, State, StateFileError, StateStore};
pub use ticket::Ticket;
pub use virtio::{BlockDevice, Rings};
