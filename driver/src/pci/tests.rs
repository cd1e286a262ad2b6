use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{PciAddress, PciError, System};

const DRIVE: &str = "0000:01:00.0";

/// A tree with an unused drive that nvme has, with a partition.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        let at = format!("sys/bus/pci/devices/{DRIVE}");
        for (file, text) in [
            ("class", "0x010802\n"),
            ("driver_override", "(null)\n"),
            ("nvme/nvme0/model", "A drive   \n"),
            ("nvme/nvme0/serial", "S1\n"),
            ("nvme/nvme0/firmware_rev", "1.0\n"),
            ("nvme/nvme0/nvme0n1/size", "2048\n"),
        ] {
            tree.file(&format!("{at}/{file}"), text);
        }
        for (file, text) in [
            ("sys/class/nvme/nvme0/state", "live\n"),
            ("sys/block/nvme0n1/size", "2048\n"),
            ("sys/block/nvme0n1/dev", "259:0\n"),
            ("sys/block/nvme0n1/nvme0n1p1/partition", "1\n"),
            ("sys/block/nvme0n1/nvme0n1p1/dev", "259:1\n"),
            ("sys/bus/pci/drivers/nvme/unbind", ""),
            ("sys/bus/pci/drivers/vfio-pci/unbind", ""),
            ("sys/bus/pci/drivers_probe", ""),
            (
                "proc/self/mountinfo",
                "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
            ),
            ("proc/swaps", "Filename Type Size Used Priority\n"),
            ("dev/nvme0n1", ""),
        ] {
            tree.file(file, text);
        }
        tree.link("../../drivers/nvme", &format!("{at}/driver"));
        tree.link(
            "../../../../kernel/iommu_groups/7",
            &format!("{at}/iommu_group"),
        );
        tree.file(&format!("sys/kernel/iommu_groups/7/devices/{DRIVE}"), "");
        tree
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, target: &str, path: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn system(&self) -> System {
        System::at(self.root())
    }

    fn driver_is(&self, driver: &str) {
        let link = format!("sys/bus/pci/devices/{DRIVE}/driver");
        self.link(&format!("../../drivers/{driver}"), &link);
    }
}

fn address() -> PciAddress {
    DRIVE.parse().unwrap()
}

/// A change of the tree, and what the refusal says.
type Case = (&'static str, fn(&Tree), &'static str);

const MOUNTED: &str = "30 22 259:1 / /mnt/my\\040data rw - ext4 /dev/nvme0n1p1 rw\n";

const CASES: [Case; 14] = [
    (
        "mounted partition",
        |t| t.file("proc/self/mountinfo", MOUNTED),
        "nvme0n1p1 is mounted at /mnt/my data: umount",
    ),
    (
        "dm-crypt below a mount",
        |t| {
            t.file("sys/block/nvme0n1/nvme0n1p1/holders/dm-0", "");
            t.file("sys/block/dm-0/dev", "253:0\n");
            t.file(
                "proc/self/mountinfo",
                "30 22 253:0 / /home rw - ext4 /dev/mapper/x rw\n",
            );
        },
        "dm-0 is mounted at /home: umount /home",
    ),
    (
        "dm-crypt, not mounted",
        |t| t.file("sys/block/nvme0n1/nvme0n1p1/holders/dm-0", ""),
        "nvme0n1p1 is held by dm-0: close it",
    ),
    (
        "swap",
        |t| t.file("proc/swaps", "Filename\n/dev/nvme0n1p1 partition 1 0 -2\n"),
        "swapoff /dev/nvme0n1p1",
    ),
    (
        "md",
        |t| t.file("sys/block/nvme0n1/holders/md127", ""),
        "mdadm --stop /dev/md127",
    ),
    (
        "bcache",
        |t| t.file("sys/block/nvme0n1/holders/bcache0", ""),
        "/sys/block/bcache0/bcache/stop",
    ),
    (
        "btrfs member",
        |t| t.file("sys/fs/btrfs/some-uuid/devices/nvme0n1p1", ""),
        "nvme0n1p1 is part of a mounted btrfs",
    ),
    (
        "multipath",
        |t| {
            let nvme = format!("sys/bus/pci/devices/{DRIVE}/nvme/nvme0");
            fs::remove_dir_all(t.root().join(&nvme).join("nvme0n1")).unwrap();
            t.file(&format!("{nvme}/nvme0c0n1/size"), "2048\n");
            t.file("sys/block/nvme0c0n1/size", "2048\n");
            t.file("sys/block/nvme0c1n1/size", "2048\n");
        },
        "nvme0n1 is reached over nvme0c1n1, too",
    ),
    (
        "open in a process",
        |t| {
            t.link("/dev/nvme0n1", "proc/42/fd/3");
            t.file("proc/42/comm", "dd\n");
        },
        "/dev/nvme0n1 is open in dd (process 42)",
    ),
    (
        "no such device",
        |t| {
            fs::remove_dir_all(t.root().join("sys/bus/pci/devices").join(DRIVE)).unwrap();
        },
        "no PCI device 0000:01:00.0",
    ),
    (
        "not NVMe",
        |t| t.file(&format!("sys/bus/pci/devices/{DRIVE}/class"), "0x020000\n"),
        "is no NVMe drive (its class is 0x020000)",
    ),
    (
        "no group",
        |t| {
            fs::remove_file(
                t.root()
                    .join(format!("sys/bus/pci/devices/{DRIVE}/iommu_group")),
            )
            .unwrap();
        },
        "intel_iommu=on",
    ),
    (
        "shared group",
        |t| {
            t.file("sys/kernel/iommu_groups/7/devices/0000:02:00.0", "");
            t.link(
                "../../drivers/e1000e",
                "sys/bus/pci/devices/0000:02:00.0/driver",
            );
        },
        "shares IOMMU group 7 with 0000:02:00.0 (e1000e)",
    ),
    (
        "no vfio-pci",
        |t| {
            fs::remove_dir_all(t.root().join("sys/bus/pci/drivers/vfio-pci")).unwrap();
        },
        "modprobe vfio-pci",
    ),
];

#[test]
fn what_is_against_binding_is_named_and_nothing_is_touched() {
    for (case, change, says) in CASES {
        let tree = Tree::new();
        change(&tree);
        let error = tree
            .system()
            .bind(address(), || true)
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{case}: {error}");
        assert_eq!(tree.text("sys/bus/pci/drivers/nvme/unbind"), "", "{case}");
        assert_eq!(tree.text("sys/bus/pci/drivers_probe"), "", "{case}");
    }
}

#[test]
fn what_cannot_be_read_does_not_count_as_unused() {
    for file in ["proc/self/mountinfo", "proc/swaps"] {
        let tree = Tree::new();
        fs::remove_file(tree.root().join(file)).unwrap();
        let error = tree
            .system()
            .bind(address(), || true)
            .unwrap_err()
            .to_string();
        assert!(error.contains(file), "{error}");
    }
}

#[test]
fn an_unused_drive_goes_to_vfio_and_back() {
    let tree = Tree::new();
    let wanted = format!("sys/bus/pci/devices/{DRIVE}/driver_override");
    let kernel = || {
        assert!(tree.text(&wanted).starts_with("vfio-pci"));
        assert_eq!(tree.text("sys/bus/pci/drivers/nvme/unbind"), DRIVE);
        assert_eq!(tree.text("sys/bus/pci/drivers_probe"), DRIVE);
        tree.driver_is("vfio-pci");
        true
    };
    let node = tree.system().bind(address(), kernel).unwrap();
    assert_eq!(node, tree.root().join("dev/vfio/7"));
    let kernel = || {
        assert_eq!(tree.text("sys/bus/pci/drivers/vfio-pci/unbind"), DRIVE);
        assert!(tree.text(&wanted).starts_with('\n'));
        tree.driver_is("nvme");
        true
    };
    let drive = tree.system().unbind(address(), kernel).unwrap();
    assert_eq!(drive.namespaces[0].name, "nvme0n1");
    let again = tree.system().unbind(address(), || false).unwrap();
    assert_eq!(again, drive);
}

#[test]
fn a_use_that_begins_meanwhile_stops_the_binding() {
    let tree = Tree::new();
    tree.driver_is("nvme");
    let drive = tree.system().bindable(address()).unwrap();
    assert!(drive.uses.is_empty());
    tree.file("proc/self/mountinfo", MOUNTED);
    let refused = tree.system().bind(address(), || true);
    assert!(
        matches!(refused, Err(PciError::InUse { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_drive_that_a_process_drives_is_not_taken_away() {
    let tree = Tree::new();
    tree.driver_is("vfio-pci");
    tree.link("/dev/vfio/7", "proc/43/fd/9");
    tree.file("proc/43/comm", "fio\n");
    let error = tree
        .system()
        .unbind(address(), || true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("fio (process 43)"), "{error}");
    assert_eq!(tree.text("sys/bus/pci/drivers/vfio-pci/unbind"), "");
}

#[test]
fn a_controller_that_does_not_come_up_is_told() {
    let tree = Tree::new();
    tree.file("sys/class/nvme/nvme0/state", "connecting\n");
    let error = tree
        .system()
        .unbind(address(), || false)
        .unwrap_err()
        .to_string();
    assert!(error.contains("its controller is connecting"), "{error}");
}
