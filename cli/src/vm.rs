//! `vssd vm`: serve plus QEMU, in one command.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use qemu::{Display, Drive, Firmware, Guest, Host, KitOptions, Launch, Network, Profile};

use crate::Answer;
use crate::demo::kit_progress;
use crate::disk::Disk;
use crate::serve::{DriveArguments, Serving};
use crate::stop;

/// Serve a virtual SSD and start QEMU on it, in one command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vssd vm --disk windows.img --os windows --record day.vtr
  vssd vm --disk new.img --create 64G --os windows --cdrom Win11.iso --record install.vtr

What it runs is printed first, to be used without this command too. A QEMU that is
10.1 or later is taken from the system, else from Debian (kept in ~/.cache/vssd).")]
pub(crate) struct VmArguments {
    /// The disk: an image, raw or qcow2; a drive; ram:SIZE; or null:SIZE.
    #[arg(long)]
    disk: Disk,
    /// The guest's system.
    #[arg(long, default_value = "linux")]
    os: Os,
    /// Memory of the guest, MiB.
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    memory: u32,
    /// Processors of the guest.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    cpus: u16,
    /// Firmware.
    #[arg(long, default_value = "uefi")]
    firmware: FirmwareName,
    /// Screen: a window (gtk), a VNC server on 127.0.0.1:5900, or none. By
    /// default a window where this QEMU can open one, else VNC.
    #[arg(long)]
    display: Option<DisplayName>,
    /// A CD image to install from.
    #[arg(long, value_name = "ISO")]
    cdrom: Option<PathBuf>,
    /// No network in the guest.
    #[arg(long)]
    no_network: bool,
    /// Further arguments for QEMU.
    #[arg(last = true, value_name = "QEMU ARGUMENT")]
    qemu: Vec<String>,
    #[command(flatten)]
    drive: DriveArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Os {
    Linux,
    Windows,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FirmwareName {
    Uefi,
    Seabios,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DisplayName {
    Gtk,
    Vnc,
    None,
}

/// Runs `vssd vm`.
pub(crate) fn run(arguments: &VmArguments) -> Result<Answer> {
    let host = kit_progress(|progress| Host::open_or_build(&KitOptions::default(), progress))?;
    let serving = Serving::start(&arguments.disk, &arguments.drive)?;
    let signals = Arc::new(AtomicU32::new(0));
    let mut guest = launch(&host, arguments, &serving)
        .spawn()
        .context("the guest did not start")?;
    println!("{}", guest.command_line());
    let count = Arc::clone(&signals);
    stop::on_signal(2, move |number| count.store(number, Ordering::Relaxed))?;
    let ended = wait(&mut guest, &serving, &signals);
    // The recording is completed whatever became of QEMU.
    serving.stop()?;
    ended?;
    Ok(Answer::Yes)
}

fn launch<'a>(host: &'a Host, arguments: &VmArguments, serving: &Serving) -> Launch<'a> {
    let profile = match arguments.os {
        Os::Linux => Profile::Linux,
        Os::Windows => Profile::Windows,
    };
    let display = match arguments.display {
        Some(DisplayName::Gtk) => Display::Gtk,
        Some(DisplayName::None) => Display::None,
        None if can_open_a_window(host) => Display::Gtk,
        Some(DisplayName::Vnc) | None => {
            log::info!("the screen is at vnc://127.0.0.1:5900");
            Display::Vnc { number: 0 }
        }
    };
    let mut launch = Launch::vm(host, profile)
        .firmware(match arguments.firmware {
            FirmwareName::Uefi => Firmware::Uefi,
            FirmwareName::Seabios => Firmware::SeaBios,
        })
        .memory_mib(arguments.memory)
        .cpus(arguments.cpus)
        .display(display)
        .drive(Drive::VfioUser {
            socket: serving.socket().to_owned(),
        })
        .qemu_args(arguments.qemu.iter().cloned());
    if arguments.no_network {
        launch = launch.network(Network::None);
    }
    if let Some(vars) = uefi_vars(&arguments.drive.changed(&arguments.disk)) {
        launch = launch.uefi_vars(vars);
    }
    if let Some(iso) = &arguments.cdrom {
        launch = launch.cdrom(iso);
    }
    launch
}

/// Whether there is a desktop here, and a QEMU that was built for one.
fn can_open_a_window(host: &Host) -> bool {
    let desktop = ["WAYLAND_DISPLAY", "DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    desktop
        && Command::new(host.qemu())
            .args(["-display", "help"])
            .output()
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("gtk"))
}

/// Waits until QEMU ends. At the first signal, presses the guest's power
/// button; at the second, ends the guest as a power cut would.
fn wait(guest: &mut Guest, serving: &Serving, signals: &AtomicU32) -> Result<()> {
    let beat = Duration::from_millis(500);
    let mut pressed = false;
    while guest.wait_exit(Some(beat))?.is_none() {
        let signals = signals.load(Ordering::Relaxed);
        if signals > 1 {
            log::info!("ending the guest");
            guest.kill();
            return Ok(());
        }
        if signals == 1 && !pressed {
            log::info!("pressing the guest's power button; Ctrl-C again ends it at once");
            guest.press_power_button()?;
            pressed = true;
        }
        if serving.has_ended() {
            guest.kill();
            bail!("the drive is gone, so the guest was stopped");
        }
    }
    Ok(())
}

/// Where a guest on `disk` keeps its UEFI variables: beside its image, as they
/// belong to what is installed there.
fn uefi_vars(disk: &Disk) -> Option<PathBuf> {
    match disk {
        Disk::Ram(_) | Disk::Null(_) => None,
        Disk::Image(image) => Some(image.with_extension("uefi-vars.fd")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uefi_variables_stay_with_the_image() {
        let of = |disk: &str| uefi_vars(&disk.parse().unwrap());
        assert_eq!(of("a/win.img"), Some("a/win.uefi-vars.fd".into()));
        assert_eq!(of("ram:1G"), None);
    }
}
