//! Builds the kit's cache entries out of Debian's packages.

pub(crate) mod apt;
pub(crate) mod cache;
mod cpio;
pub(crate) mod extra;
pub(crate) mod guest;
pub(crate) mod host;
pub(crate) mod iommufd;
pub(crate) mod kernel;
pub(crate) mod qemu;
pub(crate) mod tool;
