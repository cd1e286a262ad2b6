//! Entries that only some tests need, each provided when it is first asked for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    apt::{self, Apt, Request},
    cache::{Cache, Stage, key},
    guest::{self, ARCH, Image, WASTE, WITHOUT, make_dir},
    host,
};
use crate::{KitError, Progress};

/// Changes whenever what is done with the packages changes.
const RECIPE: &str = "extra 1";

const FILE_SYSTEM_TOOLS: [&str; 2] = ["xfsprogs", "btrfs-progs"];

/// The image of [`file_system_tools`].
pub(crate) const TOOLS_IMAGE: Image = Image {
    name: "tools.img",
    label: "tools",
    size: "256M",
};

/// Provides an ext4 image with the tools of other file systems and the libraries that
/// they need, for guests to mount.
pub(crate) fn file_system_tools(
    cache: &Cache,
    mke2fs: &Path,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<PathBuf, KitError> {
    let recipe = [&[RECIPE, ARCH, TOOLS_IMAGE.size], &FILE_SYSTEM_TOOLS[..]].concat();
    let part = "file-systems";
    cache.entry(part, &key(&recipe), progress, |stage, progress| {
        let what = "the tools of XFS and Btrfs, for guests";
        let packages = fetch(stage, ARCH, mirror, (&FILE_SYSTEM_TOOLS, what), progress)?;
        let tree = stage.scratch.join("tree");
        make_dir(&tree)?;
        apt::unpack(&packages, &tree)?;
        for waste in WASTE {
            let path = tree.join(waste);
            if path.is_dir() {
                fs::remove_dir_all(&path).map_err(KitError::io("remove", path))?;
            }
        }
        guest::image(&tree, stage, mke2fs, &TOOLS_IMAGE)
    })
}

/// Provides a directory with packages unpacked in `root`: U-Boot for QEMU's machines.
pub(crate) fn u_boot(
    cache: &Cache,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<PathBuf, KitError> {
    let recipe = [RECIPE, "u-boot-qemu"];
    cache.entry("u-boot", &key(&recipe), progress, |stage, progress| {
        let what = "U-Boot for virtual machines, to boot guests with";
        let packages = fetch(stage, ARCH, mirror, (&["u-boot-qemu"], what), progress)?;
        unpack(stage, &packages).map(drop)
    })
}

/// Provides a directory with systemd's boot loader unpacked in `root`, and `mtools` in
/// `bin`, which makes the file system that it is loaded from.
pub(crate) fn boot_loader(
    cache: &Cache,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<PathBuf, KitError> {
    let arch = host::arch()?;
    let recipe = [RECIPE, arch.debian, "systemd-boot-efi", "mtools"];
    cache.entry("boot-loader", &key(&recipe), progress, |stage, progress| {
        let what = "mtools, to make images that guests boot from";
        let mut packages = fetch(stage, arch.debian, mirror, (&["mtools"], what), progress)?;
        let what = "a boot loader for UEFI, to boot guests with";
        let names = ["systemd-boot-efi"];
        packages.extend(fetch(stage, ARCH, mirror, (&names, what), progress)?);
        let root = unpack(stage, &packages)?;
        let bin = stage.dir.join("bin");
        make_dir(&bin)?;
        let home = stage.home.join("root");
        host::launcher(&bin, &root, &home, arch, "usr/bin/mtools")
    })
}

/// Provides a directory with `qemu-storage-daemon` in `bin`.
pub(crate) fn storage_daemon(
    cache: &Cache,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<PathBuf, KitError> {
    let arch = host::arch()?;
    let recipe = [RECIPE, arch.debian, apt::BACKPORTS, "qemu-utils"];
    cache.entry("qemu-utils", &key(&recipe), progress, |stage, progress| {
        let what = "qemu-storage-daemon, to measure beside";
        let wanted = (&["qemu-utils"][..], what);
        let packages = fetch_from(stage, apt::BACKPORTS, arch.debian, mirror, wanted, progress)?;
        let root = unpack(stage, &packages)?;
        let bin = stage.dir.join("bin");
        make_dir(&bin)?;
        let home = stage.home.join("root");
        host::launcher(&bin, &root, &home, arch, "usr/bin/qemu-storage-daemon")
    })
}

/// Fetches packages of Debian 13 for `arch`; with a word on what they are.
fn fetch(
    stage: &Stage<'_>,
    arch: &str,
    mirror: Option<&str>,
    wanted: (&[&str], &str),
    progress: &mut dyn Progress,
) -> Result<Vec<PathBuf>, KitError> {
    fetch_from(stage, apt::SUITE, arch, mirror, wanted, progress)
}

/// The same from another suite than Debian 13 itself.
fn fetch_from(
    stage: &Stage<'_>,
    suite: &str,
    arch: &str,
    mirror: Option<&str>,
    (packages, what): (&[&str], &str),
    progress: &mut dyn Progress,
) -> Result<Vec<PathBuf>, KitError> {
    let mirror = apt::mirror(mirror)?;
    let name = packages.first().copied().unwrap_or("packages");
    // An apt of its own for each, as each may be for another architecture.
    let dir = stage.scratch.join(format!("apt-{name}"));
    let apt = Apt::open(&dir, arch, &mirror, progress)?;
    apt.fetch(
        &Request {
            name,
            suite,
            packages,
            // One of XFS's programs is written in Python; jobs do without.
            without: &[&WITHOUT[..], &["python3-dbus"]].concat(),
            what,
        },
        progress,
    )
}

fn unpack(stage: &Stage<'_>, packages: &[PathBuf]) -> Result<PathBuf, KitError> {
    let root = stage.dir.join("root");
    make_dir(&root)?;
    apt::unpack(packages, &root)?;
    Ok(root)
}
