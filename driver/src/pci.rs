//! Real drives on PCI: what the kernel knows of them, and who drives them.

mod address;

pub use address::{BadAddress, PciAddress};
