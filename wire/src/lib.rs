//! The vfio-user protocol, version 0.1: messages and framing.
//!
//! ```text
//!        driver::transport::vfio_user          vssd::front::vfio_user
//!                    |                                   |
//!                  wire        <- UNIX socket ->       wire    <- you are here
//! ```
//!
//! The client (a virtual machine monitor, or our own driver) and the server
//! (the device) talk over one stream socket. Each message is a 16-byte
//! [`Header`], a payload, and file descriptors that travel beside it. This
//! crate holds what both ends need and neither may get wrong:
//!
//! - the structures of the payloads ([`DmaMap`], [`RegionInfo`], ...), which
//!   stand in the socket as they stand here, in the byte order of the host, as
//!   the protocol says;
//! - [`Connection`]: whole messages out of a byte stream and back, with the
//!   descriptors that belong to them, blocking or not. Every size is checked
//!   before memory is taken for it, and memory is taken only as bytes arrive;
//!   descriptors that nobody asks for are closed.
//!
//! It knows nothing of PCI or NVMe, keeps no state beyond a half-read and a
//! half-written message, and decides nothing: what a request means is the
//! server's business. The peer is not trusted: no input makes it panic.
//!
//! The protocol is specified in QEMU's `docs/interop/vfio-user.rst`; section
//! names in this crate are those of that document.

#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod connection;
mod error;
mod header;
mod payload;
mod region;
mod version;

pub use connection::{Connection, Message};
pub use error::WireError;
pub use header::{Command, Header};
pub use payload::{
    DeviceFlags, DeviceInfo, DmaAccess, DmaFlags, DmaMap, DmaUnmap, DmaUnmapFlags, IrqAction,
    IrqData, IrqInfo, IrqInfoFlags, IrqSet, RegionAccess, RegionFlags, RegionInfo, RegionIoFds,
    RegionWrite, RegionWriteMulti,
};
pub use region::{SparseArea, decode_region_info, encode_region_info};
pub use version::{Capabilities, VERSION_MAJOR, VERSION_MINOR, Version};

/// Size of the [`Header`], bytes.
pub const HEADER_BYTES: usize = 16;
/// The most data that one read or write message carries, bytes: what we
/// announce as `max_data_xfer_size`, and the protocol's default.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;
/// The largest message that is accepted, bytes: a region write of
/// [`DATA_BYTES_MAX`], with room for the structures around it.
pub const MESSAGE_BYTES_MAX: usize = DATA_BYTES_MAX + 4096;
/// The most file descriptors that one message carries: what we announce as
/// `max_msg_fds`, and the most that QEMU accepts there.
pub const FDS_MAX: usize = 16;

/// Region indices of a PCI device (`VFIO_PCI_*_REGION_INDEX`).
pub mod region_index {
    /// The first base address register; the others follow it.
    pub const BAR0: u32 = 0;
    /// The last base address register.
    pub const BAR5: u32 = 5;
    /// The expansion ROM.
    pub const ROM: u32 = 6;
    /// PCI configuration space.
    pub const CONFIG: u32 = 7;
    /// Legacy VGA ranges.
    pub const VGA: u32 = 8;
    /// How many regions a PCI device has.
    pub const COUNT: u32 = 9;
}

/// Interrupt indices of a PCI device (`VFIO_PCI_*_IRQ_INDEX`).
pub mod irq_index {
    /// The legacy interrupt line.
    pub const INTX: u32 = 0;
    /// Message signalled interrupts.
    pub const MSI: u32 = 1;
    /// MSI-X.
    pub const MSIX: u32 = 2;
    /// Error notification.
    pub const ERR: u32 = 3;
    /// The server asks for the device back.
    pub const REQ: u32 = 4;
    /// How many interrupt types a PCI device has.
    pub const COUNT: u32 = 5;
}
