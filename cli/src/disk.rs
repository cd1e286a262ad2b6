//! DISK and SIZE arguments, and `vssd disk`: what is done to disks that nobody
//! serves.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use clap::{Args, Subcommand};
use parse_size::Config;
use vssd::media::Qcow2;

use crate::Answer;
use crate::device::size;

/// Where a virtual SSD keeps its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// Memory, gone when the program ends.
    Ram(u64),
    /// Nowhere.
    Null(u64),
    /// An image, or a drive.
    Image(PathBuf),
}

impl FromStr for Disk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(size) = text.strip_prefix("ram:") {
            return parse_bytes(size).map(Self::Ram);
        }
        if let Some(size) = text.strip_prefix("null:") {
            return parse_bytes(size).map(Self::Null);
        }
        if text.is_empty() {
            return Err("give the path of an image, or `ram:SIZE` such as ram:1GiB".into());
        }
        Ok(Self::Image(text.into()))
    }
}

/// A size in bytes: `512M`, `8GiB`, `1.5T`; K, M, G and T are powers of 1024,
/// as in qemu-img.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|error| format!("{error}: write a size such as 512M or 8GiB"))
}

/// Work on disks that nobody serves.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: serve an image without changing it, then keep the changes after all.
  vssd serve base.img --overlay changes.qcow2
  vssd disk commit changes.qcow2")]
pub(crate) struct DiskArguments {
    #[command(subcommand)]
    command: DiskCommand,
}

#[derive(Debug, Subcommand)]
enum DiskCommand {
    /// Bring what an overlay has changed into the image below it.
    Commit {
        /// The file that was given as --overlay.
        overlay: PathBuf,
    },
}

/// Runs `vssd disk`.
pub(crate) fn run(arguments: &DiskArguments) -> Result<Answer> {
    match &arguments.command {
        DiskCommand::Commit { overlay } => {
            let (base, bytes) = Qcow2::commit(overlay)?;
            println!(
                "{} of changes are in {} now; {} is not needed any more.",
                size(bytes),
                base.display(),
                overlay.display()
            );
        }
    }
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_memory_or_a_file() {
        assert_eq!("ram:1G".parse(), Ok(Disk::Ram(1 << 30)));
        assert_eq!("ram:512MiB".parse(), Ok(Disk::Ram(512 << 20)));
        assert_eq!("null:1T".parse(), Ok(Disk::Null(1 << 40)));
        assert_eq!("a.img".parse(), Ok(Disk::Image("a.img".into())));
        assert!("ram:many".parse::<Disk>().unwrap_err().contains("512M"));
        assert!("".parse::<Disk>().unwrap_err().contains("an image"));
    }
}
