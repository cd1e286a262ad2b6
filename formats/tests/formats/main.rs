//! What every format is held to, whatever it is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod hostile;
mod judges;
mod round_trip;
mod samples;
mod several;
