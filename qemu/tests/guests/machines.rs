//! Virtual machines for users' own systems: QEMU takes every option and runs.

use std::time::Duration;

use qemu::{Display, Firmware, KitError, Launch, Network, Profile};

use crate::{Disk, kit};

#[test]
fn a_windows_machine_starts_its_firmware() {
    let disk = Disk::empty();
    let iso = disk.path("setup, disc 1.iso");
    std::fs::write(&iso, [0; 4096]).unwrap();
    let vars = disk.path("vars.fd");
    let launch = Launch::vm(kit().host(), Profile::Windows)
        .memory_mib(512)
        .cpus(2)
        .drive(disk.drive())
        .cdrom(iso)
        .uefi_vars(&vars)
        .display(Display::Vnc { number: 97 });
    runs(launch);
    assert!(vars.is_file(), "the variables outlast the machine");
}

#[test]
fn a_linux_machine_starts_with_a_bios_behind_an_iommu() {
    let disk = Disk::empty();
    let launch = Launch::vm(kit().host(), Profile::Linux)
        .firmware(Firmware::SeaBios)
        .memory_mib(256)
        .iommu(true)
        .drive(disk.drive())
        .display(Display::None)
        .network(Network::None);
    runs(launch);
}

/// The machine runs, takes its power button and stays until it is ended.
fn runs(launch: Launch<'_>) {
    let mut guest = crate::start(launch);
    let early = guest.wait_exit(Some(Duration::from_secs(2)));
    assert!(matches!(early, Ok(None)), "{early:?}");
    let status = guest.control("query-status").unwrap();
    assert!(status.contains(r#""status": "running""#), "{status}");
    guest.press_power_button().unwrap();
    guest.kill();
    let killed = guest.wait_exit(Some(Duration::ZERO));
    assert!(matches!(killed, Err(KitError::Died { .. })), "{killed:?}");
}
