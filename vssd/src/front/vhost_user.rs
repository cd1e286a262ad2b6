//! A virtio block device over a vhost-user socket.
//!
//! ```text
//!   QEMU, Cloud Hypervisor: vhost-user-blk      libblkio: virtio-blk-vhost-user
//!                        \                       /
//!                         +----  socket file  --+
//!                                     |
//!   connection   messages in, with descriptors; replies out
//!   session      one client: what it negotiated, its queues
//!     |  memory        its regions: addresses of the client's and of the guest's
//!     |  config        configuration space: what the guest is told of the drive
//!     |  kicks         eventfds that wake the worker
//!     v
//!   Function     the controller, whose virtqueues are `crate::virtio`
//! ```
//!
//! One [`Server`] serves one function to one client at a time; a client that
//! comes back after it, or after us, goes on where its queues are. Requests that
//! were being served when a server died are in a file that the client keeps;
//! the next server finishes them, each once.
//!
//! The crate `vhost` says what messages look like. Its request handler is not
//! used: it waits in the middle of a message, and it owns what handles them,
//! where here one thread lends the controller to whoever has its turn, keeps
//! the data path going while a message is on its way, and answers a request to
//! stop a queue only once the queue is drained. `vhost-user-backend` brings
//! threads of its own that sleep on eventfds, and a lock for each batch.
//!
//! While there is work, the worker looks at the rings, and has guests not kick;
//! before it sleeps, it asks to be kicked. That the drive has another size is told by
//! the channel that a client may send for it. There is no migration (no log of
//! dirty pages), and no packed virtqueues.

mod config;
mod connection;
#[cfg(any(test, feature = "fuzz"))]
mod fuzzed;
mod kicks;
mod memory;
mod server;
mod session;

pub use super::listener::{BindError, Options, ServeError};
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use fuzzed::FuzzedSession;
pub use server::Server;

#[cfg(test)]
mod tests;
