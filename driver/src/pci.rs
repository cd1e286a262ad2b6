//! Real drives on PCI: what the kernel knows of them, what uses them, and who
//! drives them.
//!
//! All of it is read from sysfs and procfs below the root of a [`System`], so
//! that tests run on a made tree. A drive counts as unused only where
//! everything that tells of uses could be read.

mod address;
mod bind;
pub mod config;
mod error;
mod system;
mod usage;

#[cfg(test)]
mod tests;

pub use address::{BadAddress, PciAddress};
pub use config::{Aspm, PciConfig, PciLink, PowerState};
pub use error::PciError;
pub use system::{BlockDevice, Drive, Neighbour, System};
pub use usage::Use;
