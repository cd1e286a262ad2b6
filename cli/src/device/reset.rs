//! `vssd device reset`.

use anyhow::Result;
use clap::Args;

use super::{Device, with};

/// Reset a device.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd device reset vfio-user:/tmp/vssd.sock --subsystem")]
pub(super) struct ResetArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// The whole NVM subsystem (NSSR), where it has such a reset.
    #[arg(long)]
    subsystem: bool,
    /// The PCI function, not only its controller.
    #[arg(long, conflicts_with = "subsystem")]
    function: bool,
}

/// Runs `vssd device reset`.
pub(super) fn run(arguments: &ResetArguments) -> Result<()> {
    let device = &arguments.device;
    let what = with(device, |opened| {
        Ok(if arguments.subsystem {
            opened.reset_subsystem()?;
            "NVM subsystem"
        } else if arguments.function {
            opened.reset_function()?;
            "PCI function"
        } else {
            opened.reset()?;
            "controller"
        })
    })?;
    println!("{device}: the {what} was reset");
    Ok(())
}
