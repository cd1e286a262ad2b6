//! The entry `guest`: a kernel, an initramfs and a root file system.
//!
//! | file             | what                                                        |
//! |------------------|-------------------------------------------------------------|
//! | `vmlinuz`        | Debian's cloud kernel; NVMe, ext4 and virtio are built in   |
//! | `initramfs.cpio` | a static busybox, a few modules, `init` (see `guest/init`)  |
//! | `root.img`       | Debian's packages on an ext4 file system on the whole disk  |
//! | `packages`       | what the root file system was made of, one per line         |

use std::{
    fs,
    fs::File,
    io::{BufWriter, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    apt::{self, Apt, Request},
    cache::{Cache, Stage, key},
    cpio::Archive,
    tool,
};
use crate::{Event, KitError, Progress};

/// Changes whenever what is done with the packages changes.
const RECIPE: &str = "guest 1";

/// PID 1 of the guest.
pub(crate) const INIT: &str = include_str!("../../guest/init");

/// Guests are x86-64 whatever the machine is.
pub(crate) const ARCH: &str = "amd64";

pub(crate) const KERNEL: &str = "linux-image-cloud-amd64";

/// Loaded at every boot, in this order: the job's channel, and a second drive.
const MODULES: [&str; 2] = ["drivers/firmware/qemu_fw_cfg", "drivers/block/virtio_blk"];

/// On board for jobs, in the order to load them in: user-space drivers in the guest.
const MODULES_ON_DEMAND: [&str; 5] = [
    "virt/lib/irqbypass",
    "drivers/vfio/vfio",
    "drivers/vfio/vfio_iommu_type1",
    "drivers/vfio/pci/vfio-pci-core",
    "drivers/vfio/pci/vfio-pci",
];

/// What the root file system holds besides what these depend on: Debian's
/// essential packages, the tools that NVMe tests need, and means for real work (a
/// compiler that is small, compressors, perl).
const PACKAGES: [&str; 31] = [
    "base-files",
    "base-passwd",
    "bash",
    "bsdutils",
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "e2fsprogs",
    "findutils",
    "fio",
    "grep",
    "gzip",
    "hostname",
    "kmod",
    "libc-bin",
    "libc6-dev",
    "mawk",
    "mount",
    "ncurses-base",
    "ncurses-bin",
    "nvme-cli",
    "perl-base",
    "pciutils",
    "procps",
    "sed",
    "tar",
    "tcc",
    "util-linux",
    "xz-utils",
    "zstd",
];

/// Wanted for maintainer scripts, as a service, or by scripts that jobs do without.
pub(crate) const WITHOUT: [&str; 12] = [
    "adduser",
    "dbus",
    "debconf",
    "dpkg",
    "init-system-helpers",
    "initramfs-tools",
    "linux-base",
    "passwd",
    "python3",
    "systemd",
    "tzdata",
    "udev",
];

/// Left out of the root file system, relative to it.
pub(crate) const WASTE: [&str; 8] = [
    "boot",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/bug",
    "usr/lib/modules",
];

/// The image's size; the file is sparse and takes about a fifth of it.
const IMAGE_SIZE: &str = "1G";
/// Fixed, so that the same packages make the same image.
const IMAGE_UUID: &str = "76737364-0000-4000-8000-677565737400";

/// Provides the entry.
pub(crate) fn provide(
    cache: &Cache,
    mke2fs: &Path,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<PathBuf, KitError> {
    let mut recipe = vec![RECIPE, INIT, ARCH, KERNEL, IMAGE_SIZE, IMAGE_UUID];
    for list in [
        &MODULES[..],
        &MODULES_ON_DEMAND,
        &PACKAGES,
        &WITHOUT,
        &WASTE,
    ] {
        recipe.extend(list);
        recipe.push(";");
    }
    cache.entry("guest", &key(&recipe), progress, |stage, progress| {
        build(stage, mke2fs, mirror, progress)
    })
}

fn build(
    stage: &Stage<'_>,
    mke2fs: &Path,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<(), KitError> {
    let mirror = apt::mirror(mirror)?;
    let apt = Apt::open(stage.scratch, ARCH, &mirror, progress)?;
    let kernel = apt.fetch(
        &Request {
            name: "kernel",
            suite: apt::SUITE,
            packages: &[KERNEL, "busybox-static"],
            without: &[&WITHOUT[..], &["kmod", "libc6"]].concat(),
            what: "Debian's kernel, to boot in guests",
        },
        progress,
    )?;
    let packages = apt.fetch(
        &Request {
            name: "packages",
            suite: apt::SUITE,
            packages: &PACKAGES,
            without: &WITHOUT,
            what: "a minimal Debian 13, for the guests' root file system",
        },
        progress,
    )?;

    progress.event(Event::Step {
        what: "making the guests' kernel and initramfs",
    });
    let tree = stage.scratch.join("kernel-tree");
    make_dir(&tree)?;
    apt::unpack(&kernel, &tree)?;
    let vmlinuz = only_child(&tree.join("boot"), "vmlinuz-", "the kernel")?;
    copy(&vmlinuz, &stage.dir.join("vmlinuz"))?;
    initramfs(&tree, &stage.dir.join("initramfs.cpio"))?;

    progress.event(Event::Step {
        what: "making the guests' root file system",
    });
    let tree = stage.scratch.join("root-tree");
    make_dir(&tree)?;
    apt::unpack(&packages, &tree)?;
    let list = configure(&tree, &packages)?;
    write(&stage.dir.join("packages"), &list)?;
    image(&tree, stage, mke2fs, &Image::ROOT)
}

/// What tells one image from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image {
    /// The file's name.
    pub(crate) name: &'static str,
    /// The file system's label.
    pub(crate) label: &'static str,
    /// Its size, as mke2fs reads it.
    pub(crate) size: &'static str,
}

impl Image {
    const ROOT: Self = Self {
        name: "root.img",
        label: "vssd",
        size: IMAGE_SIZE,
    };
}

/// Packs busybox, the modules and init.
fn initramfs(tree: &Path, to: &Path) -> Result<(), KitError> {
    let modules = only_child(&tree.join("usr/lib/modules"), "", "the kernel's modules")?;
    let mut files = Vec::new();
    let mut order = String::new();
    for module in MODULES.iter().chain(&MODULES_ON_DEMAND) {
        let path = modules.join(format!("kernel/{module}.ko.xz"));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let inside = format!("modules/{name}");
        if MODULES.contains(module) {
            order.push_str(&name);
            order.push('\n');
        }
        files.push((inside, 0o644, read(&path)?));
    }
    files.push(("modules/order".to_owned(), 0o644, order.into_bytes()));
    let busybox = read(&tree.join("usr/bin/busybox"))?;
    files.push(("bin/busybox".to_owned(), 0o755, busybox));
    files.push(("init".to_owned(), 0o755, INIT.as_bytes().to_vec()));

    let pack = || {
        let mut archive = Archive::new(BufWriter::new(File::create(to)?));
        for dir in ["bin", "dev", "modules", "proc", "run", "sys", "tmp"] {
            archive.directory(dir)?;
        }
        for (path, mode, content) in &files {
            archive.file(path, *mode, content)?;
        }
        // Init finds its shell by this; busybox makes the other links itself.
        archive.link("bin/sh", "busybox")?;
        archive.finish()
    };
    pack().map_err(KitError::io("write", to))
}

/// Does what little of the packages' own scripts a guest cannot do without.
///
/// Returns the list of packages.
fn configure(tree: &Path, packages: &[PathBuf]) -> Result<String, KitError> {
    for waste in WASTE {
        let path = tree.join(waste);
        if path.is_dir() {
            fs::remove_dir_all(&path).map_err(KitError::io("remove", path))?;
        }
    }
    for (from, to) in [
        ("usr/share/base-passwd/passwd.master", "etc/passwd"),
        ("usr/share/base-passwd/group.master", "etc/group"),
    ] {
        copy(&tree.join(from), &tree.join(to))?;
    }
    write(&tree.join("etc/hostname"), "vssd\n")?;
    write(&tree.join("etc/fstab"), "")?;
    for (link, target) in [("usr/bin/awk", "mawk"), ("usr/bin/cc", "tcc")] {
        let link = tree.join(link);
        symlink(target, &link).map_err(KitError::io("create the link", link))?;
    }
    // dpkg's records, so that the guest can say what it is made of.
    let mut status = String::new();
    let mut list = String::new();
    for package in packages {
        let control = apt::control(package)?;
        let (first, rest) = control.split_once('\n').unwrap_or((&control, ""));
        status.push_str(&format!("{first}\nStatus: install ok unpacked\n{rest}\n"));
        let name = package.file_stem().unwrap_or_default().to_string_lossy();
        list.push_str(&name.replace("%3a", ":"));
        list.push('\n');
    }
    let dpkg = tree.join("var/lib/dpkg");
    make_dir(&dpkg)?;
    write(&dpkg.join("status"), &status)?;
    Ok(list)
}

/// Makes the file system from a tar archive: that way everything in it belongs to
/// root, whoever builds it, and no loop device or mount is needed.
pub(crate) fn image(
    tree: &Path,
    stage: &Stage<'_>,
    mke2fs: &Path,
    image: &Image,
) -> Result<(), KitError> {
    let archive = stage.scratch.join("root.tar");
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--numeric-owner"])
        .args(["--owner=0", "--group=0", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(tree)
        .arg(".");
    tool::run(&mut tar, "packing the root file system")?;

    let mut make = Command::new(mke2fs);
    make.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-L", image.label])
        .args(["-U", IMAGE_UUID, "-E"])
        // Nothing is left for the guest's kernel to initialise in the background,
        // which would show in every trace.
        .arg(format!(
            "hash_seed={IMAGE_UUID},lazy_itable_init=0,lazy_journal_init=0"
        ))
        .arg("-d")
        .arg(&archive)
        .arg(stage.dir.join(image.name))
        .arg(image.size)
        .env("E2FSPROGS_FAKE_TIME", "1735689600");
    tool::run(&mut make, "making the root file system").map(drop)
}

/// The only entry of `dir` that begins with `prefix`.
pub(crate) fn only_child(
    dir: &Path,
    prefix: &str,
    what: &'static str,
) -> Result<PathBuf, KitError> {
    let mut found = fs::read_dir(dir)
        .map_err(KitError::io("list", dir))?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.path()),
        _ => Err(KitError::Incomplete {
            what,
            path: dir.join(format!("{prefix}*")),
        }),
    }
}

pub(crate) fn make_dir(path: &Path) -> Result<(), KitError> {
    fs::create_dir_all(path).map_err(KitError::io("create", path))?;
    // Not left to the caller's umask: it becomes a directory of the guest.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(KitError::io("set the mode of", path))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, KitError> {
    fs::read(path).map_err(KitError::io("read", path))
}

fn write(path: &Path, text: &str) -> Result<(), KitError> {
    File::create(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.set_permissions(fs::Permissions::from_mode(0o644))
        })
        .map_err(KitError::io("write", path))
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), KitError> {
    fs::copy(from, to)
        .map(drop)
        .map_err(KitError::io("copy", from))
}
