//! The command line, top level. Each command's arguments stand in its module.

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Parser, Subcommand};

use crate::ctl::CtlArguments;
use crate::demo::DemoArguments;
use crate::device::DeviceArguments;
use crate::disk::DiskArguments;
use crate::generate::GenerateArguments;
use crate::ioworker::IoworkerArguments;
use crate::profile::ProfileArguments;
use crate::replay::ReplayArguments;
use crate::serve::ServeArguments;
use crate::top::TopArguments;
use crate::trace::TraceArguments;
use crate::vm::VmArguments;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

/// Record a virtual machine's SSD, replay it on a real one, test drivers
/// without either.
#[derive(Debug, Parser)]
#[command(name = "vssd", version, styles = STYLES, max_term_width = 100)]
#[command(after_help = "\
Example: record a guest's SSD, look at it, replay it.
  vssd vm --disk windows.img --record day.vtr
  vssd trace plot day.vtr -o day.png
  vssd replay day.vtr vfio-user:/tmp/other.sock")]
pub(crate) struct Arguments {
    /// Log more; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a virtual SSD to QEMU or to a driver, and record it.
    Serve(ServeArguments),
    /// Serve a virtual SSD and start QEMU on it, in one command.
    Vm(VmArguments),
    /// Steer a virtual SSD that is being served: recordings, snapshots, numbers.
    Ctl(CtlArguments),
    /// Watch a virtual SSD that is being served.
    Top(TopArguments),
    /// Replay traces into devices.
    Replay(ReplayArguments),
    /// Load a device, and measure it.
    Ioworker(IoworkerArguments),
    /// Look at traces and work on them.
    Trace(TraceArguments),
    /// Look at devices.
    Device(DeviceArguments),
    /// Work on disks that nobody serves: commit an overlay.
    Disk(DiskArguments),
    /// List, print and check profiles: what drive a virtual SSD is.
    Profile(ProfileArguments),
    /// Record a Linux guest's boot, replay it, and draw both.
    Demo(DemoArguments),
    /// Shell completions and man pages.
    Generate(GenerateArguments),
}
