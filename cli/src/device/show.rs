//! The structures of a device as reports.

pub(super) mod controller;
pub(super) mod feature;
mod health;
pub(super) mod log;
pub(super) mod namespace;
pub(super) mod persistent_event;
