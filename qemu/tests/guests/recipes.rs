//! The recipes are what they say: QEMU takes them.

use std::process::{Command, Output};

use crate::{Disk, kit};

const RECIPES: &str = include_str!("../../recipes/README.md");

#[test]
fn qemu_takes_the_recipes_as_they_are_written() {
    let disk = Disk::empty();
    let mut taken = 0;
    for text in RECIPES.split("\n    qemu-system-x86_64 \\\n").skip(1) {
        let written = text.split("\n\n").next().unwrap();
        let options = with_what_is_here(written, &disk);

        // All is well but for the drive, which nobody serves.
        let said = String::from_utf8_lossy(&qemu(&options).stderr).into_owned();
        assert!(said.contains("Failed to connect to '/nowhere/"), "{said}");

        let (before, drive) = options
            .split_once("-device '{\"driver\":\"vfio-user")
            .unwrap();
        let (_, after) = drive.split_once("}'").unwrap();
        let without = qemu(&format!("{before}{after}"));
        assert!(without.status.success(), "{without:?}");
        taken += 1;
    }
    assert_eq!(taken, 2);
}

/// Puts what every machine has in place of KVM, the firmware's package, the
/// installation medium and so much memory.
fn with_what_is_here(options: &str, disk: &Disk) -> String {
    let vars = disk.path("vars.fd");
    std::fs::copy(kit().host().uefi_vars_template(), &vars).unwrap();
    let code = kit().host().uefi_code();
    let image = disk.image();
    let mut options = options.to_owned();
    for (there, here) in [
        ("-accel kvm", "-accel tcg"),
        (
            "-cpu host,hv-relaxed,hv-vapic,hv-spinlocks=0x1fff,hv-time",
            "-cpu max",
        ),
        ("-cpu host", "-cpu max"),
        ("windows-vars.fd", vars.to_str().unwrap()),
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", code.to_str().unwrap()),
        ("Win11.iso", image.to_str().unwrap()),
        ("/tmp/linux.sock", "/nowhere/linux.sock"),
        ("/tmp/windows.sock", "/nowhere/windows.sock"),
        ("size=8192M", "size=512M"),
    ] {
        options = options.replace(there, here);
    }
    options
}

/// Starts QEMU, which leaves again at once if it takes the options.
fn qemu(options: &str) -> Output {
    let qemu = kit().host().qemu().display().to_string();
    let script = format!("echo quit | {qemu} {options} -display none -S -monitor stdio");
    Command::new("sh").args(["-c", &script]).output().unwrap()
}
