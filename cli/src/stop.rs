//! Signals that end the program.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::iterator::Signals;

/// Ends the program, with success, once it writes to a pipe that nobody reads
/// any more (`vssd trace show | head`).
pub(crate) fn when_nobody_reads() -> Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    register_conditional_shutdown(SIGPIPE, 0, always).context("cannot wait for signals")?;
    Ok(())
}

/// Calls `stop` at each SIGINT or SIGTERM, with its number from 1, for the
/// first `patience` of them. The next one ends the program the hard way, so that
/// nobody is held hostage by a clean end that hangs.
pub(crate) fn on_signal(patience: u32, stop: impl Fn(u32) + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot wait for signals")?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for (number, signal) in (1..).zip(signals.forever()) {
                if number > patience {
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
                stop(number);
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}
