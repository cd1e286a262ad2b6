//! A few lines or bytes of each format as its own tool writes it, or as its
//! layout was published.

mod csv;
mod details;
mod lines;
mod long;
mod msr;
pub(crate) mod named;
mod parquet;
pub(crate) mod qemu;
pub(crate) mod trace_points;
mod vtracer;
