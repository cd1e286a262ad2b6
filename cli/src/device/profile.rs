//! `vssd device profile`: a profile taken from a drive.

use anyhow::Result;
use clap::Args;
use driver::ControllerOptions;
use nvme::{Cns, NSID_ALL};
use vssd::profile::Drive;

use super::{Device, with_options};

/// Take a profile from a device: what `vssd serve --profile` makes its like of.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: make a virtual SSD that is like another one.
  vssd device profile vfio-user:/tmp/vssd.sock > like.toml
  vssd serve disk.img --create 64G --profile like.toml

Comments at its start say where the virtual SSD cannot be as the device is.")]
pub(super) struct DeviceProfileArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
}

/// Runs `vssd device profile`.
pub(super) fn run(arguments: &DeviceProfileArguments) -> Result<()> {
    // A drive grants no more queues than it is asked for.
    let options = ControllerOptions {
        queue_pairs: u16::MAX,
        ..ControllerOptions::default()
    };
    let taken = with_options(&arguments.device, options, |device| {
        let controller = device.identify_controller()?;
        let info = device.info().clone();
        // What all namespaces have in common, where there is none.
        let nsid = info.namespaces.first().map_or(NSID_ALL, |first| first.nsid);
        let namespace = device.identify(Cns::NAMESPACE, nsid)?;
        // Drives that comply with specifications before 2.0 do not have it.
        let nvm = device.identify(Cns::IO_NAMESPACE, nsid).ok();
        let drive = Drive {
            controller: &controller,
            namespace: &namespace,
            nvm: nvm.as_ref(),
            transfer_bytes_max: info.mdts_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            queue_pairs_max: info.queue_pairs_max,
            // A queue is full with one entry less than it has.
            queue_entries_max: u32::from(info.depth_max) + 1,
        };
        Ok(drive.profile())
    })?;
    print!("{}", taken.to_toml()?);
    Ok(())
}
