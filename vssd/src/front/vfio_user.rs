//! A PCI NVMe function over a vfio-user socket.
//!
//! ```text
//!   QEMU: -device vfio-user-pci        SPDK: <traddr>/cntrl       driver
//!                   \                        |                      /
//!                    +-----------------  socket file  -------------+
//!                                            |
//!   listener   the file: made, guarded, removed
//!   session    one client: requests in, replies out
//!     |  describe       regions and interrupt types
//!     |  config_space   what the function looks like
//!     |  bar            BAR0: registers, doorbells, MSI-X table and PBA
//!     |  msix           vectors: eventfds, masks, pending bits
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
//! There is no pin-based interrupt (Interrupt Pin is 0), no MSI, no expansion
//! ROM and no migration. SPDK's clients look for the socket at
//! `<traddr>/cntrl`: give that path to [`Server::bind`] for them.

mod bar;
mod config_space;
mod describe;
mod listener;
mod msix;
mod reply;
mod server;
mod session;

pub use listener::BindError;
pub use server::{Options, ServeError, Server};

#[cfg(test)]
mod tests;
