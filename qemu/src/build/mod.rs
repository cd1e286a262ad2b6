//! Builds the kit's two cache entries out of Debian's packages.

pub(crate) mod apt;
pub(crate) mod cache;
mod cpio;
pub(crate) mod guest;
pub(crate) mod host;
pub(crate) mod qemu;
pub(crate) mod tool;
