//! SIGINT and SIGTERM.

use std::thread;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls `stop` on the first SIGINT or SIGTERM. A second one ends the program
/// the hard way, so that nobody is held hostage by a clean end that hangs.
pub(crate) fn on_signal(stop: impl Fn() + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot wait for signals")?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut stopping = false;
            for signal in signals.forever() {
                if stopping {
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
                stopping = true;
                log::info!("stopping; once more to end at once");
                stop();
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}
