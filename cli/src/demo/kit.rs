//! Showing how the guest kit is built.

use std::io::{IsTerminal as _, stderr};

use anyhow::Result;
use indicatif::ProgressBar;
use qemu::{Event, KitError, Progress};

use crate::device::size;
use crate::terminal;

/// Shows steps as lines and downloads as bars.
#[derive(Default)]
struct Shown {
    download: Option<ProgressBar>,
}

impl Progress for Shown {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Step { what } => log::info!("{what}"),
            Event::Fetch {
                what,
                bytes_done,
                bytes_total,
            } => {
                let bar = self.download.get_or_insert_with(|| {
                    if !stderr().is_terminal() {
                        log::info!("fetching {what}: {}", size(bytes_total));
                    }
                    terminal::download(bytes_total, what)
                });
                bar.set_position(bytes_done);
                if bytes_done >= bytes_total {
                    bar.finish_and_clear();
                    self.download = None;
                }
            }
            _ => {}
        }
    }
}

/// Runs `build`, which finds or builds the guest kit, and shows how it goes.
pub(crate) fn kit_progress<R>(
    build: impl FnOnce(&mut dyn Progress) -> Result<R, KitError>,
) -> Result<R> {
    Ok(build(&mut Shown::default())?)
}
