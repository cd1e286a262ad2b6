//! Firmware that is not ours boots from the drive: a BIOS, UEFI, and U-Boot, each
//! with an NVMe driver of its own.

mod boot_sector;
mod overlay;
mod system_partition;

use std::fs;
use std::process::Command;
use std::time::Duration;

use boot_sector::{COPY_LBA, DONE, TEXT_LBA, boot_sector};
use qemu::{Display, Drive, Firmware, Launch, Network, Profile};
use system_partition::SystemPartition;
use vssd_tests::e2e::{Console, PATIENCE, Scratch, Serve, Vm, start};

const MIB: u64 = 1 << 20;

/// U-Boot's, at the beginning of a line.
const PROMPT: &str = "\n=> ";

/// A machine that starts from its first drive, without what firmware need not see.
fn machine(vm: &Vm) -> Launch<'static> {
    Launch::vm(vm.kit().host(), Profile::Linux)
        .memory_mib(512)
        .display(Display::None)
        .network(Network::None)
}

/// The BIOS loads the boot sector; by its services that reads a sector, and writes one.
#[test]
fn a_bios_boots_from_the_drive_and_reads_and_writes_it() {
    let Some(vm) = Vm::take("a_bios_boots_from_the_drive_and_reads_and_writes_it") else {
        return;
    };
    let scratch = Scratch::new();
    let image = scratch.path("disk.img");
    let mut text = [0; 512];
    let words = b"the second sector speaks\n";
    text[..words.len()].copy_from_slice(words);
    let mut disk = boot_sector().to_vec();
    disk.extend(text);
    disk.resize(usize::try_from(16 * MIB).expect("it is small"), 0);
    fs::write(&image, disk).expect("the scratch directory can be written to");

    let server = Serve::new(&image, scratch.dir(), "drive").start();
    let socket = scratch.path("console.sock");
    let launch = machine(&vm)
        .firmware(Firmware::SeaBios)
        .console_socket(&socket)
        .drive(server.drive());
    let mut guest = start(&vm, launch);
    let mut console = Console::connect(&socket);
    console.wait_for("the second sector speaks\n", PATIENCE);
    console.wait_for(DONE, PATIENCE);
    guest.kill();
    drop(server.terminate());

    let image = fs::read(&image).expect("the image is there");
    let sector = |lba: usize| &image[lba * 512..][..512];
    assert_eq!(sector(COPY_LBA), sector(TEXT_LBA));
    vm.say("the BIOS booted, read and wrote");
}

/// As Windows starts: UEFI finds the system partition and runs the loader in it, that
/// reads a kernel from the same partition, and the kernel finds the drive.
#[test]
fn uefi_boots_a_kernel_from_the_drives_system_partition() {
    let Some(vm) = Vm::take("uefi_boots_a_kernel_from_the_drives_system_partition") else {
        return;
    };
    let scratch = Scratch::new();
    let image = scratch.path("disk.img");
    let disk = SystemPartition::new(&vm.boot_loader(), &image);
    disk.fill(&vm, &scratch);
    let script = "[ -d /sys/firmware/efi ] && echo booted by UEFI\n\
                  [ -b /dev/nvme0n1p1 ] && echo partition\n\
                  dd if=/dev/nvme0n1p1 bs=1M count=4 2>/dev/null | sha256sum\n";
    let server = Serve::new(&image, scratch.dir(), "drive").start();
    let said = boot(&vm, &scratch, server.drive(), script);
    drop(server.terminate());

    for line in ["| booted by UEFI", "| partition", "@ exit 0"] {
        assert!(
            said.lines().any(|said| said == line),
            "no {line:?} in {said}"
        );
    }
    let sum = Command::new("sh")
        .args([
            "-c",
            "tail -c +1048577 \"$0\" | head -c 4194304 | sha256sum",
        ])
        .arg(&image)
        .output()
        .expect("sha256sum can be started");
    let sum = String::from_utf8_lossy(&sum.stdout).trim().to_owned();
    assert!(said.contains(&sum), "{sum} is not in {said}");
}

/// Boots the drive by UEFI, and the kernel there runs `job`; all that it said.
fn boot(vm: &Vm, scratch: &Scratch, drive: Drive, job: &str) -> String {
    let [script, output] = ["job", "output"].map(|name| scratch.path(name));
    fs::write(&script, format!("#!/bin/sh\n{job}"))
        .expect("the scratch directory can be written to");
    let launch = machine(vm)
        .firmware(Firmware::Uefi)
        .drive(drive)
        .qemu_args([
            "-fw_cfg".to_owned(),
            format!("name=opt/vssd/job,file={}", script.display()),
        ])
        .qemu_args([
            "-chardev".to_owned(),
            format!("file,id=job,path={}", output.display()),
        ])
        .qemu_args(["-serial", "chardev:job", "-no-reboot"]);
    let mut guest = start(vm, launch);
    let ended = guest.wait_exit(Some(PATIENCE));
    let console = fs::read(guest.serial_log()).unwrap_or_default();
    let console = String::from_utf8_lossy(&console).into_owned();
    let ended = ended.unwrap_or_else(|e| panic!("{e}"));
    assert!(ended.is_some(), "it did not end; the console:\n{console}");
    let said = fs::read_to_string(&output).expect("the job wrote");
    vm.say(&said);
    said
}

/// U-Boot lists the drive, reads a sector, loads a file, and writes a sector.
#[test]
fn u_boot_reads_a_file_from_the_drive() {
    let Some(vm) = Vm::take("u_boot_reads_a_file_from_the_drive") else {
        return;
    };
    let scratch = Scratch::new();
    let image = scratch.path("disk.img");
    let disk = SystemPartition::new(&vm.boot_loader(), &image);
    let file = scratch.path("file");
    let content: Vec<u8> = (0..300_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    fs::write(&file, content).expect("the scratch directory can be written to");
    disk.file(&file, "data.bin");
    let sum = Command::new("sh")
        .args(["-c", "gzip -c \"$0\" | tail -c 8 | od -An -tx4 -N4"])
        .arg(&file)
        .output()
        .expect("gzip can be started");
    let crc = String::from_utf8_lossy(&sum.stdout).trim().to_owned();

    let server = Serve::new(&image, scratch.dir(), "drive")
        .with("--serial", "U-BOOT-7")
        .start();
    let socket = scratch.path("console.sock");
    let launch = machine(&vm)
        .firmware(Firmware::SeaBios)
        .qemu_args(vm.u_boot())
        .console_socket(&socket)
        .drive(server.drive());
    let mut guest = start(&vm, launch);
    let mut console = Console::connect(&socket);
    console.wait_for("autoboot", PATIENCE);
    console.type_line("");
    console.wait_for(PROMPT, PATIENCE);
    let mut ask = |line: &str| {
        console.type_line(line);
        let answer = console.wait_for(PROMPT, Duration::from_secs(60));
        vm.say(&answer.replace('\r', ""));
        answer
    };
    let _scanned = ask("nvme scan");
    let info = ask("nvme info");
    assert!(info.contains("U-BOOT-7"), "{info}");
    let parts = ask("nvme part 0");
    assert!(parts.contains("ef"), "{parts}");
    let load = ask("fatload nvme 0:1 4000000 data.bin");
    assert!(load.contains("300000 bytes read"), "{load}");
    let sum = ask("crc32 4000000 493e0");
    assert!(sum.contains(&crc), "{crc} is not in {sum}");
    let written = ask("nvme device 0; nvme write 4000000 40 8");
    assert!(written.contains("8 blocks written: OK"), "{written}");
    guest.kill();
    drop(server.terminate());

    let image = fs::read(&image).expect("the image is there");
    let file = fs::read(&file).expect("the file is there");
    assert!(
        image[0x40 * 512..][..4096] == file[..4096],
        "what was written is there"
    );
}
