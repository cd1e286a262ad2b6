//! SIGINT and SIGTERM.

use std::thread;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

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
