//! Driver and device in one process, on one thread, in virtual time, from one
//! seed: whatever happens here happens again.
//!
//! ```text
//!   replayer --> driver::Controller --registers--> vssd::Controller --> Slow<Ram>
//!                     |     |                          |    |
//!                     |     +---- doorbell page -------+    +--> Vec<Record>
//!                     +---------- DMA arena -----------+
//! ```
//!
//! Time goes on when somebody waits for it, and while it does, the device runs
//! ([`SimClock`]): there is no other thread and no socket. [`Device`] is the device,
//! [`InProcess`] the driver's path to it, [`trace`] makes records and compares
//! them, [`windows_boot`] reads a real trace.

mod clock;
mod device;
mod media;
pub mod polled;
pub mod replay;
pub mod trace;
mod transport;
pub mod windows_boot;

pub use clock::SimClock;
pub use device::{Device, DeviceOptions};
pub use media::{BadBlocks, Slow};
pub use transport::InProcess;
