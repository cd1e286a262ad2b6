//! Firmware that is not ours boots from the drive: a BIOS, UEFI, and U-Boot, each
//! with an NVMe driver of its own.

mod boot_sector;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use boot_sector::{COPY_LBA, DONE, TEXT_LBA, boot_sector};
use qemu::{BootLoader, Display, Firmware, Launch, Network, Profile};
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
    disk.directories(&["EFI", "EFI/BOOT", "loader", "loader/entries"]);
    disk.file(&vm.boot_loader().efi, "EFI/BOOT/BOOTX64.EFI");
    disk.file(&vm.kit().kernel(), "vmlinuz");
    disk.file(&vm.kit().initramfs(), "initramfs.img");
    for (name, text) in [
        ("loader/loader.conf", "timeout 0\ndefault vssd.conf\n"),
        (
            "loader/entries/vssd.conf",
            "title vssd\nlinux /vmlinuz\ninitrd /initramfs.img\noptions console=ttyS0 panic=-1\n",
        ),
    ] {
        let copy = scratch.path("text");
        fs::write(&copy, text).expect("the scratch directory can be written to");
        disk.file(&copy, name);
    }
    let job = scratch.path("job");
    let script = "#!/bin/sh\n[ -d /sys/firmware/efi ] && echo booted by UEFI\n\
                  [ -b /dev/nvme0n1p1 ] && echo partition\n\
                  dd if=/dev/nvme0n1p1 bs=1M count=4 2>/dev/null | sha256sum\n";
    fs::write(&job, script).expect("the scratch directory can be written to");

    let server = Serve::new(&image, scratch.dir(), "drive").start();
    let output = scratch.path("output");
    let mut guest = start(
        &vm,
        machine(&vm)
            .firmware(Firmware::Uefi)
            .drive(server.drive())
            .qemu_args([
                "-fw_cfg".to_owned(),
                format!("name=opt/vssd/job,file={}", job.display()),
            ])
            .qemu_args([
                "-chardev".to_owned(),
                format!("file,id=job,path={}", output.display()),
            ])
            .qemu_args(["-serial", "chardev:job", "-no-reboot"]),
    );
    let ended = guest.wait_exit(Some(PATIENCE));
    let console = fs::read(guest.serial_log()).unwrap_or_default();
    let console = String::from_utf8_lossy(&console).into_owned();
    let ended = ended.unwrap_or_else(|e| panic!("{e}"));
    assert!(ended.is_some(), "it did not end; the console:\n{console}");
    let said = fs::read_to_string(&output).expect("the job wrote");
    vm.say(&said);
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

/// A disk with one partition, for UEFI's loaders, and files in it.
struct SystemPartition {
    mtools: PathBuf,
    image: PathBuf,
}

impl SystemPartition {
    const BYTES: u64 = 128 * MIB;

    /// Makes disk, partition and file system.
    fn new(loader: &BootLoader, path: &Path) -> Self {
        let file = File::create(path).expect("the image can be made");
        file.set_len(Self::BYTES).expect("the image can be sized");
        let sectors = u32::try_from((Self::BYTES - MIB) / 512).expect("it is small");
        // Of a system partition (EFh), from sector 2048 on.
        let mut entry = [0; 16];
        entry[4] = 0xef;
        entry[8..12].copy_from_slice(&2048_u32.to_le_bytes());
        entry[12..].copy_from_slice(&sectors.to_le_bytes());
        file.write_all_at(&entry, 446)
            .expect("the image can be written");
        file.write_all_at(&[0x55, 0xaa], 510)
            .expect("the image can be written");
        let disk = Self {
            mtools: loader.mtools.clone(),
            image: path.to_owned(),
        };
        disk.tool(
            "mformat",
            &[
                "-F",
                "-T",
                &sectors.to_string(),
                "-h",
                "64",
                "-s",
                "32",
                "::",
            ],
        );
        disk
    }

    fn directories(&self, names: &[&str]) {
        for name in names {
            self.tool("mmd", &[&format!("::{name}")]);
        }
    }

    fn file(&self, from: &Path, to: &str) {
        let from = from.to_str().expect("it is text");
        self.tool("mcopy", &["-o", from, &format!("::{to}")]);
    }

    fn tool(&self, name: &str, arguments: &[&str]) {
        let image = format!("{}@@1M", self.image.display());
        let output = Command::new(&self.mtools)
            .args(["-c", name, "-i", &image])
            .args(arguments)
            .env("MTOOLS_SKIP_CHECK", "1")
            .output()
            .expect("mtools can be started");
        assert!(output.status.success(), "{name} {arguments:?}: {output:?}");
    }
}
