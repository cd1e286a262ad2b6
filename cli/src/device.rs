//! `vssd device`: looking at devices.

mod list;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use driver::transport::vfio_user::VfioUser;
use driver::{Controller, ControllerInfo, ControllerOptions};
use serde_json::json;
use traces::MonotonicClock;

use crate::Answer;

/// Look at devices.
#[derive(Debug, Args)]
pub(crate) struct DeviceArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List this machine's NVMe drives, and the virtual SSDs that listen.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask a device what it is.
    #[command(after_help = "Example: vssd device identify vfio-user:/tmp/vssd.sock")]
    Identify {
        /// The device: vfio-user:SOCKET.
        device: Device,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// A DEVICE argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// A virtual SSD that listens on a socket.
    VfioUser(PathBuf),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("vfio-user:") {
            Some(path) if !path.is_empty() => Ok(Self::VfioUser(path.into())),
            _ => Err("write vfio-user:SOCKET, with the socket of a `vssd serve`".into()),
        }
    }
}

impl Device {
    /// The socket's path.
    pub(crate) fn socket(&self) -> &Path {
        let Self::VfioUser(path) = self;
        path
    }

    /// Attaches to the device and brings it up.
    pub(crate) fn open(
        &self,
        clock: MonotonicClock,
    ) -> Result<Controller<VfioUser, MonotonicClock>> {
        let path = self.socket();
        let transport = VfioUser::connect(path)?;
        Controller::initialise(transport, ControllerOptions::default(), clock)
            .with_context(|| format!("{} did not come up", path.display()))
    }
}

/// Runs `vssd device`.
pub(crate) fn run(arguments: &DeviceArguments) -> Result<Answer> {
    match &arguments.what {
        What::List { json } => list::run(*json)?,
        What::Identify { device, json } => identify(device, *json)?,
    }
    Ok(Answer::Yes)
}

fn identify(device: &Device, json: bool) -> Result<()> {
    let mut controller = device.open(MonotonicClock::start())?;
    let info = controller.info().clone();
    controller.shutdown()?;
    if json {
        println!("{:#}", as_json(&info));
    } else {
        print(&info);
    }
    Ok(())
}

fn as_json(info: &ControllerInfo) -> serde_json::Value {
    let namespaces: Vec<_> = info
        .namespaces
        .iter()
        .map(|namespace| {
            json!({
                "nsid": namespace.nsid.0,
                "blocks": namespace.blocks,
                "block_bytes": namespace.block_bytes,
                "bytes": namespace.bytes(),
            })
        })
        .collect();
    json!({
        "model": info.model,
        "serial": info.serial,
        "firmware": info.firmware,
        "pci_vendor": format!("{:04x}", info.vendor_id),
        "nvme_version": version(info),
        "transfer_bytes_max": info.mdts_bytes,
        "queue_pairs_max": info.queue_pairs_max,
        "queue_depth_max": info.depth_max,
        "volatile_write_cache": info.volatile_write_cache,
        "namespaces": namespaces,
    })
}

fn print(info: &ControllerInfo) {
    let row = |name: &str, value: String| println!("{name:<20} {value}");
    row("Model", info.model.clone());
    row("Serial number", info.serial.clone());
    row("Firmware", info.firmware.clone());
    row("PCI vendor", format!("{:04x}", info.vendor_id));
    row("NVMe version", version(info));
    row(
        "Largest transfer",
        info.mdts_bytes
            .map_or("no limit".into(), |bytes| size(bytes as u64)),
    );
    row(
        "I/O queue pairs",
        format!("up to {}, {} deep", info.queue_pairs_max, info.depth_max),
    );
    let cache = if info.volatile_write_cache {
        "volatile"
    } else {
        "none"
    };
    row("Write cache", cache.into());
    for namespace in &info.namespaces {
        row(
            &format!("Namespace {}", namespace.nsid.0),
            format!(
                "{}: {} blocks of {} bytes",
                size(namespace.bytes()),
                namespace.blocks,
                namespace.block_bytes
            ),
        );
    }
}

fn version(info: &ControllerInfo) -> String {
    let version = info.version;
    format!("{}.{}.{}", version.mjr(), version.mnr(), version.ter())
}

/// A size as people write it: `512 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    humansize::format_size(bytes, humansize::BINARY)
}
