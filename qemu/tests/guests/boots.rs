//! One guest for each firmware, one behind an IOMMU: each works on its root drive,
//! and its kernel's counters are those of QEMU's drive.

use std::{collections::BTreeMap, fs, path::Path};

use qemu::{Firmware, JobOutcome, Launch};

use crate::{Disk, e2fs, kit, run};

/// Real work on the root file system: every kind of command that it can cause.
const WORK: &str = r"
set -e
findmnt -n -o SOURCE /
[ -e /sys/block/nvme0n1/device/device/iommu_group ] && echo translated
nvme list | grep -c /dev/nvme0n1
tar -C /usr/lib -cf - perl-base tcc | xz -0 >/work.tar.xz
mkdir /work
tar -C /work -xJf /work.tar.xz
find /work -type f | sort | xargs sha256sum >/work.sums
echo 'int main(void) { return 42; }' >/work/answer.c
cc -o /work/answer /work/answer.c
/work/answer || echo answer $?
sync
rm -r /work
sync -f /work.sums
fstrim /
sha256sum </work.tar.xz
";

#[test]
fn a_guest_boots_with_seabios_and_its_counters_are_the_drives() {
    boots(Firmware::SeaBios, false);
}

#[test]
fn a_guest_boots_with_qboot_and_its_counters_are_the_drives() {
    boots(Firmware::Qboot, false);
}

#[test]
fn a_guest_boots_with_uefi_and_its_counters_are_the_drives() {
    boots(Firmware::Uefi, false);
}

#[test]
fn a_guest_boots_behind_an_iommu_and_its_counters_are_the_drives() {
    boots(Firmware::SeaBios, true);
}

fn boots(firmware: Firmware, iommu: bool) {
    let disk = Disk::with_root();
    let trace = disk.path("trace");
    let outcome = run(Launch::job(kit(), WORK)
        .firmware(firmware)
        .iommu(iommu)
        .drive(disk.drive())
        .qemu_args(["-trace", "pci_nvme_io_cmd"])
        .qemu_args(["-trace", "pci_nvme_mmio_start_success"])
        .qemu_args(["-D", trace.to_str().unwrap()]));

    let lines = &outcome.lines;
    assert_eq!(outcome.exit_code, 0, "{lines:#?}");
    assert_eq!(lines[0], "/dev/nvme0n1");
    assert_eq!(lines.contains(&"translated".to_owned()), iommu, "{lines:?}");
    assert!(lines.contains(&"answer 42".to_owned()), "{lines:?}");
    counters_are_the_drives(&outcome, &trace);

    let checked = e2fs("e2fsck", &["-fn"], &disk.image());
    assert!(checked.is_ok(), "{checked:?}");
    let copy = disk.path("work.tar.xz");
    let dump = format!("dump /work.tar.xz {}", copy.display());
    e2fs("debugfs", &["-R", &dump], &disk.image()).unwrap();
    let sum = std::process::Command::new("sha256sum")
        .stdin(fs::File::open(copy).unwrap())
        .output()
        .unwrap();
    let sum = String::from_utf8_lossy(&sum.stdout);
    assert_eq!(lines.last().unwrap(), sum.trim());
}

/// Compares the guest's counters with what QEMU traced since the controller was last
/// enabled: firmware enables it too, and reads.
fn counters_are_the_drives(outcome: &JobOutcome, trace: &Path) {
    let text = fs::read_to_string(trace).unwrap();
    let by_kernel = text
        .rsplit_once("pci_nvme_mmio_start_success")
        .map_or("", |(_, after)| after);
    let mut commands: BTreeMap<&str, u64> = BTreeMap::new();
    for line in by_kernel.lines() {
        if let Some((_, name)) = line.split_once("opname ") {
            *commands.entry(name.trim_matches('\'')).or_default() += 1;
        }
    }
    let traced = |name: &str| commands.get(name).copied().unwrap_or(0);
    let counted = outcome.drive("nvme0n1").unwrap();
    eprintln!("the guest counted {counted:?}\nthe drive got {commands:?}");

    assert_eq!(counted.in_flight, 0);
    assert_eq!(counted.reads, traced("NVME_NVM_CMD_READ"));
    assert_eq!(
        counted.writes - counted.empty_flushes,
        traced("NVME_NVM_CMD_WRITE") + traced("NVME_NVM_CMD_WRITE_ZEROES")
    );
    assert_eq!(counted.discards, traced("NVME_NVM_CMD_DSM"));
    assert_eq!(counted.flushes, traced("NVME_NVM_CMD_FLUSH"));
    let least = counted.reads.min(counted.discards).min(counted.flushes);
    assert!(least > 0, "a kind of command was not exercised");
    let other: Vec<_> = commands
        .keys()
        .filter(|name| {
            !["READ", "WRITE", "WRITE_ZEROES", "DSM", "FLUSH"]
                .contains(&name.trim_start_matches("NVME_NVM_CMD_"))
        })
        .collect();
    assert!(other.is_empty(), "commands that nothing counts: {other:?}");
}
