//! As Windows' users do it: a base image that stays as it is, changes beside it, all of
//! it recorded, and the changes brought into the base at the end.

use std::fs;
use std::path::Path;
use std::process::Command;

use nvme::NvmOpcode;
use traces::{CommandRecord, Event, Reader, Record};
use vssd_tests::e2e::{
    Scratch, Serve, Vm, failures, qemu_img, section, sha256_of, sha256_of_files, vssd,
};

use crate::system_partition::{SECOND, SystemPartition};
use crate::{MIB, boot};

/// Work on the file system beside the system partition.
const JOB: &str = r#"
set -e
[ -d /sys/firmware/efi ] && echo booted by UEFI
mkdir -p /mnt
mount -t ext4 DISK /mnt
head -c 6000000 /dev/urandom >/mnt/random
seq 1 30000 >/mnt/lines
mkdir /mnt/some
for n in 1 2 3 4 5 6 7 8; do head -c ${n}0000 /mnt/random >/mnt/some/$n; done
rm /mnt/some/3
sync
echo "<files>"
cd /mnt
for file in random lines some/8; do echo "$(sha256sum <$file | cut -d " " -f 1)  /$file"; done
cd /
echo "</files>"
umount /mnt
"#;

#[test]
fn an_overlay_boots_by_uefi_over_nvme_and_is_committed() {
    boots_and_commits("an_overlay_boots_by_uefi_over_nvme_and_is_committed", false);
}

#[test]
fn an_overlay_boots_by_uefi_over_virtio_and_is_committed() {
    boots_and_commits(
        "an_overlay_boots_by_uefi_over_virtio_and_is_committed",
        true,
    );
}

fn boots_and_commits(name: &'static str, virtio: bool) {
    let Some(vm) = Vm::take(name) else { return };
    let scratch = Scratch::new();
    let [raw, base, overlay, trace] =
        ["raw.img", "base.qcow2", "changes.qcow2", "day.vtr"].map(|name| scratch.path(name));
    SystemPartition::beside_ext4(&vm, &raw).fill(&vm, &scratch);
    if !qemu_img(["convert", "-O", "qcow2"], [&raw, &base]) {
        vm.say("SKIPPED, for there is no qemu-img");
        return;
    }
    let before = sha256_of(&base);

    let (serve, disk) = if virtio {
        (Serve::virtio(&base, scratch.dir(), "disk"), "/dev/vda2")
    } else {
        (Serve::new(&base, scratch.dir(), "drive"), "/dev/nvme0n1p2")
    };
    let server = serve.with("--overlay", &overlay).record(&trace).start();
    let said = boot(&vm, &scratch, server.drive(), &JOB.replace("DISK", disk));
    let complaints = server.complaints();
    drop(server.terminate());
    assert!(complaints.is_empty(), "{complaints:#?}");
    let lines: Vec<String> = said
        .lines()
        .filter_map(|line| line.strip_prefix("| ").map(str::to_owned))
        .collect();
    assert!(said.lines().any(|line| line == "@ exit 0"), "{said}");
    assert!(lines.iter().any(|line| line == "booted by UEFI"), "{said}");
    let in_guest = sha256_of_files(section(&lines, "files"));

    assert_eq!(sha256_of(&base), before, "the base is as it was");
    assert!(qemu_img(["check"], [&overlay]), "qemu-img finds no fault");
    the_firmware_comes_first(&vm, &trace, virtio);

    // A copy of both: the overlay finds the base beside it.
    let copies = scratch.path("copies");
    fs::create_dir(&copies).expect("the scratch directory can be written to");
    let [copy, changes] = [&base, &overlay].map(|from| {
        let to = copies.join(from.file_name().expect("it has a name"));
        fs::copy(from, &to).expect("the scratch directory can be written to");
        to
    });
    let text = changes.to_str().expect("it is text");
    let committed = vssd(&["disk", "commit", text]);
    assert!(committed.status.success(), "{committed:?}");
    vm.say(&String::from_utf8_lossy(&committed.stdout));
    assert!(qemu_img(["check"], [&copy]), "qemu-img finds no fault");
    let whole = scratch.path("whole.img");
    assert!(qemu_img(["convert", "-O", "raw"], [&copy, &whole]));
    let second = second_partition(&scratch, &whole);
    vm.is_clean(&second);
    let files = in_guest.keys().map(String::as_str);
    let in_image = scratch.sha256_from_image(vm.kit(), &second, files);
    assert_eq!(in_guest, in_image);
    assert_eq!(sha256_of(&base), before, "the base is as it was");
}

/// What a trace begins with is the firmware's: it looks for a partition table, and
/// loads the kernel, before a kernel does anything.
fn the_firmware_comes_first(vm: &Vm, trace: &Path, virtio: bool) {
    let reader = Reader::open(trace).unwrap_or_else(|e| panic!("{e}"));
    assert!(!reader.is_recovered());
    let range = |command: &CommandRecord| command.lba_range().unwrap_or((nvme::Lba(0), 0));
    let second = SECOND.start / 512;
    let (mut enabled, mut writes) = (0, 0);
    let mut firmware = Vec::new();
    for record in reader.records() {
        match record.unwrap_or_else(|e| panic!("{e}")) {
            Record::Command { command, .. } if !command.is_admin() => {
                let reads = NvmOpcode(command.opcode) == NvmOpcode::READ;
                // Firmware writes to the system partition, too.
                if !reads && range(&command).0.0 >= second {
                    writes += 1;
                }
                if reads && writes == 0 && (virtio || enabled == 1) {
                    firmware.push(range(&command));
                }
            }
            Record::Event(event) if event.event == Event::Enable => enabled += 1,
            _ => {}
        }
    }
    let blocks: u64 = firmware.iter().map(|(_, blocks)| u64::from(*blocks)).sum();
    vm.say(&format!(
        "{} reads of {} MiB, {enabled} enables, {writes} writes and the like",
        firmware.len(),
        blocks * 512 / MIB
    ));
    let table = firmware.iter().take(8).any(|(lba, _)| lba.0 <= 1);
    assert!(table, "{:?}", firmware.get(..8));
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let kernel = size(&vm.kit().kernel()) + size(&vm.kit().initramfs());
    assert!(blocks * 512 >= kernel, "it loads {kernel} bytes");
    assert!(writes > 10, "and the kernel writes");
    assert!(virtio || enabled >= 2, "the kernel enables the drive again");
    let failed: Vec<_> = failures(trace)
        .into_iter()
        .filter(|(admin, _)| !admin)
        .collect();
    assert_eq!(failed, []);
}

/// The file system beside the system partition, as an image of its own.
fn second_partition(scratch: &Scratch, whole: &Path) -> std::path::PathBuf {
    let second = scratch.path("second.img");
    let status = Command::new("dd")
        .args(["bs=1M", "status=none", "conv=sparse"])
        .arg(format!("skip={}", SECOND.start / MIB))
        .arg(format!("count={}", (SECOND.end - SECOND.start) / MIB))
        .arg(format!("if={}", whole.display()))
        .arg(format!("of={}", second.display()))
        .status()
        .expect("dd can be started");
    assert!(status.success(), "{status}");
    second
}
