//! `vssd device ns`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use nvme::{Cns, IdentifyNamespace, NSID_ALL, NamespaceCreation, NamespaceId, NamespaceList};
use serde_json::json;

use super::confirm::Word;
use super::format::format_of;
use super::report::Report;
use super::{Device, Opened, number, size, with};
use crate::disk::parse_bytes;

/// List, create, delete, attach and detach namespaces.
#[derive(Debug, Subcommand)]
pub(super) enum NamespaceCommand {
    List(ListArguments),
    Create(CreateArguments),
    Delete(DeleteArguments),
    Attach(AttachArguments),
    Detach(AttachArguments),
}

/// List the namespaces.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd device ns list vfio-user:/tmp/vssd.sock")]
pub(super) struct ListArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// Those that exist, not only those attached.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Create a namespace, and attach it to the controller.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: vssd device ns create vfio-user:/tmp/vssd.sock --size 1GiB --block-size 4096")]
pub(super) struct CreateArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// Its size.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    size: u64,
    /// Its capacity, where that is less.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    capacity: Option<u64>,
    /// Bytes of a logical block.
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = number::parse::<u32>)]
    block_size: u32,
    /// It may be attached to several controllers.
    #[arg(long)]
    shared: bool,
    /// The command set: 0 NVM, 2 zoned.
    #[arg(long, value_name = "CSI", default_value = "0", value_parser = number::parse::<u8>)]
    csi: u8,
    /// Leave it unattached.
    #[arg(long)]
    detached: bool,
    /// How long the device may take.
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = number::seconds)]
    timeout: Duration,
}

/// Delete a namespace: all that it holds is lost.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd device ns delete vfio-user:/tmp/vssd.sock 2 --yes")]
pub(super) struct DeleteArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// The namespace; 0xffffffff for all.
    #[arg(value_parser = number::parse::<u32>)]
    nsid: u32,
    /// How long the device may take.
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = number::seconds)]
    timeout: Duration,
    #[command(flatten)]
    word: Word,
}

/// Attach a namespace to controllers, or detach it; what it holds stays.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd device ns attach vfio-user:/tmp/vssd.sock 2")]
pub(super) struct AttachArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// The namespace.
    #[arg(value_parser = number::parse::<u32>)]
    nsid: u32,
    /// The controllers, with commas between; by default this one.
    #[arg(long, value_name = "ID,...", value_delimiter = ',', value_parser = number::parse::<u16>)]
    controllers: Vec<u16>,
}

/// Runs `vssd device ns`.
pub(super) fn run(command: &NamespaceCommand) -> Result<()> {
    match command {
        NamespaceCommand::List(arguments) => list(arguments),
        NamespaceCommand::Create(arguments) => create(arguments),
        NamespaceCommand::Delete(arguments) => delete(arguments),
        NamespaceCommand::Attach(arguments) => attach(arguments, true),
        NamespaceCommand::Detach(arguments) => attach(arguments, false),
    }
}

fn list(arguments: &ListArguments) -> Result<()> {
    let (cns_list, cns) = if arguments.all {
        (Cns::ALLOCATED_NAMESPACES, Cns::ALLOCATED_NAMESPACE)
    } else {
        (Cns::ACTIVE_NAMESPACES, Cns::NAMESPACE)
    };
    let namespaces = with(&arguments.device, |device| {
        let list: NamespaceList = device.identify(cns_list, NamespaceId(0))?;
        list.iter()
            .map(|nsid| Ok((nsid, device.identify(cns, NamespaceId(nsid))?)))
            .collect::<Result<Vec<(u32, IdentifyNamespace)>>>()
    })?;
    report(&namespaces).print(arguments.json);
    Ok(())
}

/// The namespaces in a table.
fn report(namespaces: &[(u32, IdentifyNamespace)]) -> Report {
    let title = format!(
        "{:<10} {:>12} {:>12} {:>7} {:>9}",
        "NAMESPACE", "SIZE", "USED", "BLOCK", "METADATA"
    );
    let mut report = Report::new(title, 0);
    let lines = namespaces.iter().map(|(nsid, id)| {
        let block = u64::from(id.block_bytes().unwrap_or(0));
        let metadata = id.format().map_or(0, |format| format.ms.get());
        let bytes = id.nsze.get().saturating_mul(block);
        let used = id.nuse.get().saturating_mul(block);
        let line = format!(
            "{nsid:<10} {:>12} {:>12} {block:>7} {metadata:>9}",
            size(bytes),
            size(used)
        );
        let json = json!({
            "nsid": nsid,
            "bytes": bytes,
            "used_bytes": used,
            "block_bytes": block,
            "metadata_bytes": metadata,
        });
        (line, json)
    });
    report.lines("namespaces", lines.collect());
    report
}

fn create(arguments: &CreateArguments) -> Result<()> {
    let device = &arguments.device;
    let nsid = with(device, |opened| {
        // What all namespaces can have: the formats, above all.
        let common: IdentifyNamespace = opened.identify(Cns::NAMESPACE, NSID_ALL)?;
        let flbas = IdentifyNamespace::flbas_of(format_of(&common, arguments.block_size)?);
        let mut wanted = NamespaceCreation {
            flbas,
            ..NamespaceCreation::default()
        };
        if arguments.shared {
            wanted.nmic = IdentifyNamespace::NMIC_SHARED;
        }
        let capacity = arguments.capacity.unwrap_or(arguments.size);
        wanted
            .nsze
            .set(blocks(arguments.size, arguments.block_size)?);
        wanted.ncap.set(blocks(capacity, arguments.block_size)?);
        let nsid = opened.namespace_create(&wanted, arguments.csi, arguments.timeout)?;
        if !arguments.detached {
            let controllers = this(opened)?;
            opened.namespace_attach(nsid, &controllers)?;
        }
        Ok(nsid)
    })?;
    println!("{device}: created {nsid}");
    Ok(())
}

/// A size in blocks.
fn blocks(bytes: u64, block_bytes: u32) -> Result<u64> {
    let block_bytes = u64::from(block_bytes);
    if bytes == 0 || !bytes.is_multiple_of(block_bytes) {
        bail!(
            "{bytes} bytes are not a number of blocks of {block_bytes} bytes: choose another size"
        );
    }
    Ok(bytes / block_bytes)
}

fn delete(arguments: &DeleteArguments) -> Result<()> {
    let (device, nsid) = (&arguments.device, NamespaceId(arguments.nsid));
    let what = match nsid {
        NSID_ALL => "all namespaces".into(),
        nsid => nsid.to_string(),
    };
    let loss = format!("deletes {what}: all data in it is lost");
    arguments.word.ask(device, &loss)?;
    with(device, |opened| {
        Ok(opened.namespace_delete(nsid, arguments.timeout)?)
    })?;
    println!("{device}: deleted {what}");
    Ok(())
}

fn attach(arguments: &AttachArguments, attach: bool) -> Result<()> {
    let (device, nsid) = (&arguments.device, NamespaceId(arguments.nsid));
    with(device, |opened| {
        let controllers = match arguments.controllers.as_slice() {
            [] => this(opened)?,
            controllers => controllers.to_vec(),
        };
        if attach {
            opened.namespace_attach(nsid, &controllers)?;
        } else {
            opened.namespace_detach(nsid, &controllers)?;
        }
        Ok(())
    })?;
    let done = if attach { "attached" } else { "detached" };
    println!("{device}: {done} {nsid}");
    Ok(())
}

/// This controller, as a list.
fn this(device: &mut Opened) -> Result<Vec<u16>> {
    Ok(vec![device.identify_controller()?.cntlid.get()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_blocks() {
        assert_eq!(blocks(1 << 20, 4096).unwrap(), 256);
        assert!(blocks(1000, 512).unwrap_err().to_string().contains("512"));
        assert!(
            blocks(0, 512)
                .unwrap_err()
                .to_string()
                .starts_with("0 bytes")
        );
    }

    #[test]
    fn namespaces_stand_in_a_table() {
        let mut id = IdentifyNamespace::default();
        id.nsze.set(2048);
        id.lbaf[0].lbads = 9;
        let report = report(&[(1, id)]);
        let text = report.to_text();
        assert!(
            text.lines()
                .nth(1)
                .unwrap()
                .starts_with("1                 1 MiB"),
            "{text}"
        );
        assert_eq!(report.to_json()["namespaces"][0]["bytes"], 1 << 20);
    }
}
