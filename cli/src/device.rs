//! `vssd device`: looking at devices, and managing them.

mod bind;
mod confirm;
mod feature;
mod firmware;
mod format;
mod hint;
mod identify;
mod list;
mod log;
mod namespace;
mod number;
mod profile;
mod raw;
mod report;
mod reset;
mod sanitize;
mod self_test;
mod show;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use driver::pci::PciAddress;
use driver::transport::AnyTransport;
use driver::transport::vfio::Vfio;
use driver::transport::vfio_user::VfioUser;
use driver::{Controller, ControllerOptions};
use traces::MonotonicClock;

use crate::Answer;

/// Look at devices, and manage them.
#[derive(Debug, Args)]
pub(crate) struct DeviceArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List this machine's NVMe drives, and the virtual SSDs that listen.
    #[command(after_help = "Example: vssd device list --json")]
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    Bind(bind::BindArguments),
    Unbind(bind::UnbindArguments),
    Identify(identify::IdentifyArguments),
    Profile(profile::DeviceProfileArguments),
    Smart(log::SmartArguments),
    Log(log::LogArguments),
    #[command(subcommand)]
    Feature(feature::FeatureCommand),
    Format(format::FormatArguments),
    #[command(subcommand)]
    Sanitize(sanitize::SanitizeCommand),
    #[command(subcommand, name = "selftest")]
    SelfTest(self_test::SelfTestCommand),
    #[command(subcommand)]
    Firmware(firmware::FirmwareCommand),
    #[command(subcommand, name = "ns")]
    Namespace(namespace::NamespaceCommand),
    Reset(reset::ResetArguments),
    Raw(raw::RawArguments),
}

/// A DEVICE argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// A virtual SSD that listens on a socket.
    VfioUser(PathBuf),
    /// A real drive, which vfio-pci has.
    Pci(PciAddress),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VfioUser(path) => write!(f, "vfio-user:{}", path.display()),
            Self::Pci(address) => address.fmt(f),
        }
    }
}

/// A device that was brought up.
pub(crate) type Opened = Controller<AnyTransport, MonotonicClock>;

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("vfio-user:") {
            Some(path) if !path.is_empty() => Ok(Self::VfioUser(path.into())),
            Some(_) => Err("write vfio-user:SOCKET, with the socket of a `vssd serve`".into()),
            None => text.parse().map(Self::Pci).map_err(|_| {
                "write vfio-user:SOCKET, with the socket of a `vssd serve`, or a drive's PCI \
                 address, such as 0000:01:00.0: `vssd device list` shows both"
                    .into()
            }),
        }
    }
}

impl Device {
    /// Whether losing what is on it may hurt somebody.
    pub(crate) const fn is_real(&self) -> bool {
        matches!(self, Self::Pci(_))
    }

    /// Attaches to the device and brings it up.
    pub(crate) fn open(&self, clock: MonotonicClock) -> Result<Opened> {
        self.open_as(ControllerOptions::default(), clock)
    }

    /// Attaches to the device and brings it up with `options`.
    pub(crate) fn open_as(
        &self,
        options: ControllerOptions,
        clock: MonotonicClock,
    ) -> Result<Opened> {
        let transport: AnyTransport = match self {
            Self::VfioUser(path) => Box::new(VfioUser::connect(path)?),
            Self::Pci(address) => Box::new(Vfio::open(*address)?),
        };
        Controller::initialise(transport, options, clock)
            .with_context(|| format!("{self} did not come up"))
    }
}

/// Runs `vssd device`.
pub(crate) fn run(arguments: &DeviceArguments) -> Result<Answer> {
    match &arguments.what {
        What::List { json } => list::run(*json)?,
        What::Bind(arguments) => bind::bind(arguments)?,
        What::Unbind(arguments) => bind::unbind(arguments)?,
        What::Identify(arguments) => identify::run(arguments)?,
        What::Profile(arguments) => profile::run(arguments)?,
        What::Smart(arguments) => log::smart(arguments)?,
        What::Log(arguments) => log::run(arguments)?,
        What::Feature(command) => feature::run(command)?,
        What::Format(arguments) => format::run(arguments)?,
        What::Sanitize(command) => return sanitize::run(command),
        What::SelfTest(command) => return self_test::run(command),
        What::Firmware(command) => firmware::run(command)?,
        What::Namespace(command) => namespace::run(command)?,
        What::Reset(arguments) => reset::run(arguments)?,
        What::Raw(arguments) => return raw::run(arguments),
    }
    Ok(Answer::Yes)
}

/// Brings the device up, works with it, and shuts it down again, so that it
/// saves what it caches. Where the work fails, that is what is reported. What
/// is printed after it may go to a reader that goes away.
fn with<R>(device: &Device, work: impl FnOnce(&mut Opened) -> Result<R>) -> Result<R> {
    with_options(device, ControllerOptions::default(), work)
}

/// As [`with`], where the device is brought up with `options`.
fn with_options<R>(
    device: &Device,
    options: ControllerOptions,
    work: impl FnOnce(&mut Opened) -> Result<R>,
) -> Result<R> {
    let mut opened = device.open_as(options, MonotonicClock::start())?;
    let result = work(&mut opened).map_err(|error| hint::add(error, device));
    let shut_down = opened.shutdown();
    drop(opened);
    let result = result?;
    shut_down?;
    crate::stop::when_nobody_reads()?;
    Ok(result)
}

/// A size as people write it: `512 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    humansize::format_size(bytes, humansize::BINARY)
}
