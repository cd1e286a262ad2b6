//! Disks that UEFI boots from.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use qemu::BootLoader;
use vssd_tests::e2e::{Scratch, Vm};

use crate::MIB;

/// Where the second partition is, bytes.
pub(crate) const SECOND: Range<u64> = 128 * MIB..192 * MIB;

/// The kinds of partitions, as a table has them (`UEFI 2.10 §5.3.3`): a system
/// partition, and one with a file system of Linux.
const SYSTEM: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
const LINUX: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// Entries of a GUID partition table, their size, and the sectors that they take.
const ENTRIES: u32 = 128;
const ENTRY_BYTES: usize = 128;
const ENTRIES_SECTORS: u64 = 32;

/// Writes a GUID partition table and its copy at the end (`UEFI 2.10 §5.3`).
fn partition_table(
    disk: &File,
    sectors: u64,
    partitions: &[([u8; 16], Range<u64>)],
) -> io::Result<()> {
    let mut entries = Vec::new();
    for (number, (kind, range)) in (1_u8..).zip(partitions) {
        let mut entry = [0; ENTRY_BYTES];
        entry[..16].copy_from_slice(kind);
        entry[16..32].fill(number);
        entry[32..40].copy_from_slice(&range.start.to_le_bytes());
        entry[40..48].copy_from_slice(&(range.end - 1).to_le_bytes());
        entries.extend(entry);
    }
    entries.resize(
        usize::try_from(ENTRIES).map_err(io::Error::other)? * ENTRY_BYTES,
        0,
    );
    let last = sectors - 1;
    let at_end = last - ENTRIES_SECTORS;
    for (here, other, table) in [(1, last, 2), (last, 1, at_end)] {
        let mut header = [0; 512];
        header[..8].copy_from_slice(b"EFI PART");
        // Revision 1.0, and 92 bytes of header.
        header[10] = 1;
        header[12] = 92;
        for (at, sector) in [
            (24, here),
            (32, other),
            (40, 34),
            (48, at_end - 1),
            (72, table),
        ] {
            header[at..at + 8].copy_from_slice(&sector.to_le_bytes());
        }
        header[56..72].fill(0x76);
        header[80..84].copy_from_slice(&ENTRIES.to_le_bytes());
        header[84] = 128;
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        let sum = crc32fast::hash(&header[..92]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        disk.write_all_at(&header, here * 512)?;
        disk.write_all_at(&entries, table * 512)?;
    }
    // For those who know no such table, one partition of an unknown kind.
    let mut protective = [0; 16];
    protective[4] = 0xee;
    protective[8] = 1;
    let rest = u32::try_from(last).unwrap_or(u32::MAX);
    protective[12..].copy_from_slice(&rest.to_le_bytes());
    disk.write_all_at(&protective, 446)?;
    disk.write_all_at(&[0x55, 0xaa], 510)
}

/// A disk with one partition, for UEFI's loaders, and files in it.
pub(crate) struct SystemPartition {
    mtools: PathBuf,
    image: PathBuf,
}

impl SystemPartition {
    const BYTES: u64 = 128 * MIB;

    /// Makes disk, partition and file system.
    pub(crate) fn new(loader: &BootLoader, path: &Path) -> Self {
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
        Self::format(loader, path, sectors)
    }

    /// The same with a GUID partition table, and a second partition with ext4 behind
    /// the first; see [`SECOND`].
    pub(crate) fn beside_ext4(vm: &Vm, path: &Path) -> Self {
        let [first, second, end] = [MIB, SECOND.start, SECOND.end].map(|byte| byte / 512);
        let sectors = end + 2048;
        let file = File::create(path).expect("the image can be made");
        file.set_len(sectors * 512).expect("the image can be sized");
        let partitions = [(SYSTEM, first..second), (LINUX, second..end)];
        partition_table(&file, sectors, &partitions).expect("the image can be written");
        let bytes = SECOND.end - SECOND.start;
        let output = Command::new(vm.kit().host().tool("mke2fs"))
            .args(["-q", "-F", "-t", "ext4", "-E"])
            .arg(format!("offset={}", SECOND.start))
            .arg(path)
            .arg(format!("{}k", bytes >> 10))
            .output()
            .expect("mke2fs can be started");
        assert!(output.status.success(), "{output:?}");
        let sectors = u32::try_from(second - first).expect("it is small");
        Self::format(&vm.boot_loader(), path, sectors)
    }

    /// Makes the file system.
    fn format(loader: &BootLoader, path: &Path, sectors: u32) -> Self {
        let disk = Self {
            mtools: loader.mtools.clone(),
            image: path.to_owned(),
        };
        let sectors = sectors.to_string();
        disk.tool(
            "mformat",
            &["-F", "-T", &sectors, "-h", "64", "-s", "32", "::"],
        );
        disk
    }

    /// A boot loader where UEFI looks for it, and the kit's kernel for it to load.
    pub(crate) fn fill(&self, vm: &Vm, scratch: &Scratch) {
        self.directories(&["EFI", "EFI/BOOT", "loader", "loader/entries"]);
        self.file(&vm.boot_loader().efi, "EFI/BOOT/BOOTX64.EFI");
        self.file(&vm.kit().kernel(), "vmlinuz");
        self.file(&vm.kit().initramfs(), "initramfs.img");
        for (name, text) in [
            ("loader/loader.conf", "timeout 0\ndefault vssd.conf\n"),
            (
                "loader/entries/vssd.conf",
                "title vssd\nlinux /vmlinuz\ninitrd /initramfs.img\n\
                 options console=ttyS0 panic=-1 no_timer_check\n",
            ),
        ] {
            let copy = scratch.path("text");
            fs::write(&copy, text).expect("the scratch directory can be written to");
            self.file(&copy, name);
        }
    }

    pub(crate) fn directories(&self, names: &[&str]) {
        for name in names {
            self.tool("mmd", &[&format!("::{name}")]);
        }
    }

    pub(crate) fn file(&self, from: &Path, to: &str) {
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
