//! A PCI NVMe function over a vfio-user socket.
//!
//! ```text
//!   QEMU: -device vfio-user-pci        SPDK: <traddr>/cntrl       driver
//!                   \                        |                      /
//!                    +-----------------  socket file  -------------+
//!                                            |
//!   session    one client: requests in, replies out
//!     |  describe       regions and interrupt types
//!     |  config_space   what the function looks like, and what it may do
//!     |  bar            BAR0: registers, doorbells, MSI-X table and PBA;
//!     |                 BAR4: the controller memory buffer
//!     |  irqs           pin, messages (MSI and MSI-X): eventfds, masks, pending
//!     v
//!   Function   the controller
//! ```
//!
//! One [`Server`] serves one function to one client at a time; the next client
//! waits in the socket's backlog until the present one has gone, and finds a
//! drive as after power-on. What a client sends is not trusted: a request that
//! makes no sense is refused, a stream that makes no sense is closed, and each
//! says so in one line of the log.
//!
//! The layout of BAR0, 32 KiB:
//!
//! | offset | what |
//! |---|---|
//! | 0000h | controller properties, trapped |
//! | 1000h | doorbells, mapped by the client or trapped |
//! | 2000h | MSI-X table, 512 vectors |
//! | 4000h | MSI-X pending bits |
//!
//! BAR4 is the controller memory buffer, mapped by the client or trapped, where
//! the function has one.
//!
//! Interrupts come by the pin (INTA), by MSI with up to 32 messages, or by
//! MSI-X: by what the client set up last. The function accesses memory, and
//! sends messages, while Bus Master Enable is set and it is in D0: a client that
//! drives it has to set that bit, as on any PCI function.
//!
//! There is no expansion ROM and no migration. SPDK's clients look for the socket at
//! `<traddr>/cntrl`: give that path to [`Server::bind`] for them.

mod bar;
mod config_space;
mod describe;
#[cfg(any(test, feature = "fuzz"))]
mod fuzzed;
mod irqs;
mod messages;
mod msix;
mod pin;
mod reply;
mod server;
mod session;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use fuzzed::FuzzedSession;
pub use server::Server;

pub use super::listener::{BindError, Options, ServeError};

/// The configuration space of a function at power-on, for those who compare it
/// with what is told of it.
#[cfg(test)]
pub(crate) fn configuration_at_power_on() -> Vec<u8> {
    config_space::at_power_on()
}

#[cfg(test)]
mod tests;
