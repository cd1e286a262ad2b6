//! Runs guests: the command line, the process, and what comes back from it.

pub(crate) mod accel;
mod channel;
pub(crate) mod command;
pub(crate) mod guest;
pub(crate) mod launch;
pub(crate) mod outcome;
mod process;
