//! `vssd device format`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use nvme::{Cns, FormatCdw10, IdentifyNamespace, NSID_ALL, NamespaceId};

use super::confirm::Word;
use super::show::namespace;
use super::{Device, Opened, number, with};

/// Format a namespace: all that it holds is lost.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples: with the format it has, and with blocks of 4096 bytes.
  vssd device format vfio-user:/tmp/vssd.sock --namespace 1
  vssd device format vfio-user:/tmp/vssd.sock --namespace 1 --block-size 4096 --yes")]
pub(super) struct FormatArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// The namespace; 0xffffffff for all.
    #[arg(short, long, value_name = "N", value_parser = number::parse::<u32>)]
    namespace: u32,
    /// The LBA format, by its number; by default the one in use.
    #[arg(short, long, value_name = "FORMAT", value_parser = number::parse::<u8>)]
    lbaf: Option<u8>,
    /// The LBA format, by the size of its blocks, without metadata.
    #[arg(long, value_name = "BYTES", conflicts_with = "lbaf", value_parser = number::parse::<u32>)]
    block_size: Option<u32>,
    /// How to erase.
    #[arg(long, value_enum, default_value = "none")]
    erase: Erase,
    /// Protection information type, 0 for none.
    #[arg(long, value_name = "TYPE", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=3))]
    pi: u8,
    /// Put protection information first in the metadata.
    #[arg(long)]
    pi_first: bool,
    /// Transfer metadata with each block, not in a buffer of its own.
    #[arg(long)]
    extended: bool,
    /// How long the device may take.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = number::seconds)]
    timeout: Duration,
    #[command(flatten)]
    word: Word,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Erase {
    /// As the device likes.
    None,
    /// Erase user data.
    User,
    /// Change the key of the data.
    Crypto,
}

/// Runs `vssd device format`.
pub(super) fn run(arguments: &FormatArguments) -> Result<()> {
    let nsid = NamespaceId(arguments.namespace);
    let (device, what) = (&arguments.device, describe(nsid));
    let loss = format!("formats {what}: all data in it is lost");
    arguments.word.ask(device, &loss)?;
    with(device, |opened| {
        let format = arguments.format(opened, nsid)?;
        opened.format(nsid, format, arguments.timeout)?;
        Ok(())
    })?;
    println!("{device}: formatted {what}");
    Ok(())
}

fn describe(nsid: NamespaceId) -> String {
    match nsid {
        NSID_ALL => "all namespaces".into(),
        nsid => nsid.to_string(),
    }
}

impl FormatArguments {
    /// CDW10: what was asked for, and what the namespace has for the rest.
    fn format(&self, device: &mut Opened, nsid: NamespaceId) -> Result<FormatCdw10> {
        let index = match (self.lbaf, self.block_size) {
            (Some(index), _) => index,
            (None, block_size) => {
                let id: IdentifyNamespace = device.identify(Cns::NAMESPACE, nsid)?;
                match block_size {
                    Some(bytes) => format_of(&id, bytes)?,
                    None => u8::try_from(namespace::format_in_use(id.flbas))?,
                }
            }
        };
        if index > 63 {
            bail!("there are no LBA formats above 63: see `vssd device identify --namespace`");
        }
        Ok(cdw10(index)
            .with_mset(self.extended)
            .with_pi(self.pi)
            .with_pil(self.pi_first)
            .with_ses(match self.erase {
                Erase::None => 0,
                Erase::User => 1,
                Erase::Crypto => 2,
            }))
    }
}

fn cdw10(index: u8) -> FormatCdw10 {
    FormatCdw10::new()
        .with_lbafl(index & 0xf)
        .with_lbafu(index >> 4 & 0b11)
}

/// The format without metadata that has blocks of `bytes` bytes.
pub(super) fn format_of(id: &IdentifyNamespace, bytes: u32) -> Result<u8> {
    let formats = id.lbaf.iter().take(namespace::formats(id));
    let fits = |format: &nvme::LbaFormat| {
        format.ms.get() == 0 && 1_u32.checked_shl(format.lbads.into()) == Some(bytes)
    };
    match (0..).zip(formats).find(|(_, format)| fits(format)) {
        Some((index, _)) => Ok(index),
        None => bail!(
            "no LBA format has blocks of {bytes} bytes without metadata: \
             see `vssd device identify --namespace`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_found_by_its_blocks() {
        let mut id = IdentifyNamespace {
            nlbaf: 2,
            ..IdentifyNamespace::default()
        };
        id.lbaf[0].lbads = 9;
        id.lbaf[1].lbads = 12;
        id.lbaf[1].ms.set(8);
        id.lbaf[2].lbads = 12;
        id.lbaf[3].lbads = 13;
        assert_eq!(format_of(&id, 512).unwrap(), 0);
        assert_eq!(format_of(&id, 4096).unwrap(), 2);
        let error = format_of(&id, 8192).unwrap_err().to_string();
        assert!(error.contains("8192"), "{error}");
    }

    #[test]
    fn a_format_has_its_number_in_two_parts() {
        assert_eq!(cdw10(0x25).into_bits(), 5 | 2 << 12);
    }
}
