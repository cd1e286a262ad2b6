//! Recordings from outside: through the tap, into files and other things.

mod branch;
mod common;
mod crash;
mod payload;
mod ring;
mod window;
