//! `vssd device firmware`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use driver::FirmwareActivation;
use nvme::{FirmwareCommitCdw10, LogPageId, NSID_ALL};

use super::confirm::Word;
use super::{Device, Opened, number, show, with};
use crate::terminal;

/// The unit of MTFA.
const ACTIVATION_UNIT: Duration = Duration::from_millis(100);
/// Activation is given this long even where MTFA promises less, or nothing.
const ACTIVATION_MIN: Duration = Duration::from_secs(60);

/// Look at a device's firmware slots, and fill and activate them.
#[derive(Debug, Subcommand)]
pub(super) enum FirmwareCommand {
    List(ListArguments),
    Download(DownloadArguments),
    Commit(CommitArguments),
}

/// List the firmware slots.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd device firmware list vfio-user:/tmp/vssd.sock")]
pub(super) struct ListArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Download a firmware image into a slot: what the slot held is lost.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: vssd device firmware download vfio-user:/tmp/vssd.sock new.fw --slot 2 --activate reset")]
pub(super) struct DownloadArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// The image.
    image: PathBuf,
    /// The slot, 1 to 7; 0 lets the device choose.
    #[arg(long, value_name = "SLOT", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=7))]
    slot: u8,
    /// When to activate it.
    #[arg(long, value_enum, default_value = "never")]
    activate: Activate,
    /// How long the device may take for a piece.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = number::seconds)]
    timeout: Duration,
    #[command(flatten)]
    word: Word,
}

/// Activate the firmware of a slot.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: vssd device firmware commit vfio-user:/tmp/vssd.sock --slot 1 --activate reset")]
pub(super) struct CommitArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// The slot, 1 to 7.
    #[arg(long, value_name = "SLOT", value_parser = clap::value_parser!(u8).range(1..=7))]
    slot: u8,
    /// When to activate it.
    #[arg(long, value_enum, default_value = "reset")]
    activate: Activate,
    #[command(flatten)]
    word: Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Activate {
    /// Not yet.
    Never,
    /// With the next reset.
    Reset,
    /// Now, without a reset.
    Now,
}

/// Runs `vssd device firmware`.
pub(super) fn run(command: &FirmwareCommand) -> Result<()> {
    match command {
        FirmwareCommand::List(arguments) => list(arguments),
        FirmwareCommand::Download(arguments) => download(arguments),
        FirmwareCommand::Commit(arguments) => commit(arguments),
    }
}

fn list(arguments: &ListArguments) -> Result<()> {
    let page = LogPageId::FIRMWARE_SLOT;
    let log = with(&arguments.device, |device| {
        Ok(device.log_as(page, NSID_ALL)?)
    })?;
    show::log::firmware(&log, &arguments.device.to_string()).print(arguments.json);
    Ok(())
}

fn download(arguments: &DownloadArguments) -> Result<()> {
    let path = &arguments.image;
    let image = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let device = &arguments.device;
    let slot = match arguments.slot {
        0 => "a firmware slot of the device's choice".into(),
        slot => format!("firmware slot {slot}"),
    };
    let loss = format!(
        "replaces {slot} with {}: the firmware in it is lost",
        path.display()
    );
    arguments.word.ask(device, &loss)?;
    let action = match arguments.activate {
        Activate::Never => FirmwareCommitCdw10::REPLACE,
        Activate::Reset => FirmwareCommitCdw10::REPLACE_AND_ACTIVATE,
        Activate::Now => FirmwareCommitCdw10::ACTIVATE_NOW,
    };
    let activation = with(device, |opened| {
        let bar = terminal::download(image.len() as u64, "firmware");
        opened.firmware_download(&image, arguments.timeout, |gone| {
            bar.set_position(gone as u64);
        })?;
        bar.finish_and_clear();
        activate(opened, arguments.slot, action)
    })?;
    println!("{device}: {} is in {slot}", path.display());
    tell(device, arguments.activate, activation);
    Ok(())
}

fn commit(arguments: &CommitArguments) -> Result<()> {
    let action = match arguments.activate {
        Activate::Never => bail!("there is nothing to commit: write --activate reset, or now"),
        Activate::Reset => FirmwareCommitCdw10::ACTIVATE,
        Activate::Now => FirmwareCommitCdw10::ACTIVATE_NOW,
    };
    let device = &arguments.device;
    let loss = format!(
        "runs the device on the firmware in slot {}, not the one it runs on",
        arguments.slot
    );
    arguments.word.ask(device, &loss)?;
    let activation = with(device, |opened| activate(opened, arguments.slot, action))?;
    tell(device, arguments.activate, activation);
    Ok(())
}

fn activate(device: &mut Opened, slot: u8, action: u8) -> Result<FirmwareActivation> {
    let mtfa = device.identify_controller()?.mtfa.get();
    let timeout = (ACTIVATION_UNIT * u32::from(mtfa)).max(ACTIVATION_MIN);
    let commit = FirmwareCommitCdw10::new().with_fs(slot).with_ca(action);
    Ok(device.firmware_commit(commit, timeout)?)
}

/// Says when the firmware takes effect.
fn tell(device: &Device, asked: Activate, activation: FirmwareActivation) {
    let when = match (activation, asked) {
        (FirmwareActivation::AsAsked, Activate::Never) => return,
        (FirmwareActivation::AsAsked, Activate::Now) => "active now",
        (FirmwareActivation::AsAsked, Activate::Reset)
        | (FirmwareActivation::ControllerReset, _) => "active after the next controller reset",
        (FirmwareActivation::ConventionalReset, _) => "active after the next conventional reset",
        (FirmwareActivation::SubsystemReset, _) => {
            "active after the next NVM subsystem reset: see `vssd device reset --subsystem`"
        }
    };
    println!("{device}: the firmware is {when}");
}
