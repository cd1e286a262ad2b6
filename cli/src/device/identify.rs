//! `vssd device identify`.

use anyhow::{Result, bail};
use clap::Args;
use driver::{ControllerInfo, IdentifyRequest};
use nvme::{
    Cns, ControllerList, EnduranceGroupList, IdentifyController, IdentifyNamespace,
    IdentifyNvmController, IdentifyNvmNamespace, IndependentNamespace, NamespaceId, NamespaceList,
};
use serde_json::json;
use zerocopy::FromBytes;

use super::report::{Report, dump};
use super::show::{controller, namespace};
use super::{Device, Opened, number, size, with};

/// Ask a device what it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vssd device identify vfio-user:/tmp/vssd.sock
  vssd device identify vfio-user:/tmp/vssd.sock --controller
  vssd device identify vfio-user:/tmp/vssd.sock --cns 0x08 --nsid 1")]
pub(super) struct IdentifyArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// Identify Controller, field by field.
    #[arg(long, group = "what")]
    controller: bool,
    /// Identify Namespace of the namespace N, field by field.
    #[arg(long, value_name = "N", group = "what", value_parser = number::parse::<u32>)]
    namespace: Option<u32>,
    /// Any structure, by its CNS value.
    #[arg(long, value_name = "CNS", group = "what", value_parser = number::parse::<u8>)]
    cns: Option<u8>,
    /// The namespace, with --cns.
    #[arg(long, value_name = "N", requires = "cns", default_value = "0", value_parser = number::parse::<u32>)]
    nsid: u32,
    /// The command set, with --cns: 0 NVM, 2 zoned.
    #[arg(long, value_name = "CSI", requires = "cns", default_value = "0", value_parser = number::parse::<u8>)]
    csi: u8,
    /// The controller, with --cns.
    #[arg(long, value_name = "ID", requires = "cns", default_value = "0", value_parser = number::parse::<u16>)]
    cntid: u16,
    /// Print the structure in hexadecimal.
    #[arg(long, requires = "what", conflicts_with = "json")]
    raw: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `vssd device identify`.
pub(super) fn run(arguments: &IdentifyArguments) -> Result<()> {
    let Some(request) = arguments.request() else {
        let info = with(&arguments.device, |device| Ok(device.info().clone()))?;
        if arguments.json {
            println!("{:#}", as_json(&info));
        } else {
            print(&info);
        }
        return Ok(());
    };
    let (page, report) = with(&arguments.device, |device| {
        let page = device.identify_page(request)?;
        let report = decode(device, request, &page)?;
        Ok((page, report))
    })?;
    match report {
        Some(report) if !arguments.raw => report.print(arguments.json),
        None if arguments.json => bail!(
            "{} is not a structure that can be told in JSON: use --raw",
            request.cns
        ),
        _ => print!("{}", dump(&page)),
    }
    Ok(())
}

impl IdentifyArguments {
    /// The structure that is asked for; none for the summary.
    fn request(&self) -> Option<IdentifyRequest> {
        if self.controller {
            return Some(IdentifyRequest::new(Cns::CONTROLLER, NamespaceId(0)));
        }
        if let Some(nsid) = self.namespace {
            return Some(IdentifyRequest::new(Cns::NAMESPACE, NamespaceId(nsid)));
        }
        Some(IdentifyRequest {
            csi: self.csi,
            cntid: self.cntid,
            ..IdentifyRequest::new(Cns(self.cns?), NamespaceId(self.nsid))
        })
    }
}

/// The structure as a report; none where this program cannot read it.
fn decode(device: &mut Opened, request: IdentifyRequest, page: &[u8]) -> Result<Option<Report>> {
    let nsid = request.nsid;
    Ok(match request.cns {
        Cns::CONTROLLER => read::<IdentifyController>(page).map(|id| controller::report(&id)),
        Cns::NAMESPACE | Cns::ALLOCATED_NAMESPACE => {
            read::<IdentifyNamespace>(page).map(|id| namespace::report(nsid, &id))
        }
        Cns::IO_NAMESPACE if request.csi == 0 => {
            let id: IdentifyNamespace = device.identify(Cns::NAMESPACE, nsid)?;
            let formats = namespace::formats(&id);
            read::<IdentifyNvmNamespace>(page).map(|id| namespace::nvm(nsid, &id, formats))
        }
        Cns::IO_CONTROLLER if request.csi == 0 => {
            read::<IdentifyNvmController>(page).map(|id| controller::nvm(&id))
        }
        Cns::INDEPENDENT_NAMESPACE | Cns::INDEPENDENT_ALLOCATED_NAMESPACE => {
            read::<IndependentNamespace>(page).map(|id| namespace::independent(nsid, &id))
        }
        Cns::ACTIVE_NAMESPACES
        | Cns::ALLOCATED_NAMESPACES
        | Cns::IO_ACTIVE_NAMESPACES
        | Cns::IO_ALLOCATED_NAMESPACES => {
            read::<NamespaceList>(page).map(|list| numbers("namespaces", list.iter()))
        }
        Cns::ENDURANCE_GROUPS => read::<EnduranceGroupList>(page).map(|list| {
            let count = usize::from(list.count.get());
            let ids = list.ids.iter().take(count).map(|id| id.get().into());
            numbers("endurance_groups", ids)
        }),
        Cns::CONTROLLERS | Cns::NAMESPACE_CONTROLLERS => read::<ControllerList>(page)
            .map(|list| numbers("controllers", list.iter().map(u32::from))),
        _ => None,
    })
}

fn read<V: FromBytes>(page: &[u8]) -> Option<V> {
    V::read_from_prefix(page).ok().map(|(value, _)| value)
}

/// A list of identifiers.
pub(super) fn numbers(name: &str, ids: impl Iterator<Item = u32>) -> Report {
    let mut report = Report::new("", 0);
    let lines = ids.enumerate();
    let lines = lines.map(|(index, id)| (format!("[{index:4}]:{id:#x}"), json!(id)));
    report.lines(name, lines.collect());
    report
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
