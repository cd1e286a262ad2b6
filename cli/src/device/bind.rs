//! `vssd device bind` and `unbind`: a drive goes from the kernel's driver to
//! vfio-pci, for programs to drive, and back.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use driver::pci::{PciAddress, System};
use traces::{Clock as _, MonotonicClock};

use super::confirm::Word;
use super::size;

/// How long the kernel may take to bring a controller up, and how often that is
/// looked at.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// Take a drive from the kernel, for programs to drive (vfio-pci).
#[derive(Debug, Args)]
#[command(after_help = "\
Example: sudo vssd device bind 0000:01:00.0

A drive that is mounted, swapped to, part of an array or in use in another way is left
as it is. With sudo, you can drive it without from then on. `vssd device unbind` gives it
back.")]
pub(super) struct BindArguments {
    /// The drive's PCI address, as `vssd device list` shows it.
    address: PciAddress,
    #[command(flatten)]
    word: Word,
}

/// Give a drive back to the kernel's driver.
#[derive(Debug, Args)]
#[command(after_help = "Example: sudo vssd device unbind 0000:01:00.0")]
pub(super) struct UnbindArguments {
    /// The drive's PCI address, as `vssd device list` shows it.
    address: PciAddress,
}

/// Runs `vssd device bind`.
pub(super) fn bind(arguments: &BindArguments) -> Result<()> {
    let address = arguments.address;
    let system = System::default();
    let drive = system.bindable(address)?;
    if !drive.namespaces.is_empty() {
        let names: Vec<String> = drive
            .namespaces
            .iter()
            .map(|device| format!("/dev/{} ({})", device.name, size(device.bytes)))
            .collect();
        let what = format!(
            "makes {} disappear, until it is given back",
            names.join(", ")
        );
        arguments.word.ask(&address, &what)?;
    }
    let node = system.bind(address, patience())?;
    let whose = match invoker() {
        Some(user) => {
            std::os::unix::fs::chown(&node, Some(user), None)
                .with_context(|| format!("cannot give {} to user {user}", node.display()))?;
            "you, and whoever else may write"
        }
        None => "whoever may write",
    };
    println!(
        "{address} is with vfio-pci: {whose} {} can drive it",
        node.display()
    );
    Ok(())
}

/// The user who ran `sudo`, where that is how this came to be root: the drive is
/// for them to use, and what uses it needs no privileges.
fn invoker() -> Option<u32> {
    std::env::var("SUDO_UID").ok()?.parse().ok()
}

/// Runs `vssd device unbind`.
pub(super) fn unbind(arguments: &UnbindArguments) -> Result<()> {
    let drive = System::default().unbind(arguments.address, patience())?;
    let names: Vec<String> = drive
        .namespaces
        .iter()
        .map(|device| format!("/dev/{}", device.name))
        .collect();
    let names = if names.is_empty() {
        "without a namespace".to_owned()
    } else {
        names.join(", ")
    };
    println!("{} is with nvme again: {names}", drive.address);
    Ok(())
}

/// Waits for a moment, again and again; false where that was long enough.
fn patience() -> impl FnMut() -> bool {
    let clock = MonotonicClock::start();
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let (pause, until) = (nanoseconds(PAUSE), nanoseconds(PATIENCE));
    move || {
        let now_ns = clock.now_ns();
        clock.wait_until(now_ns.saturating_add(pause));
        now_ns < until
    }
}
