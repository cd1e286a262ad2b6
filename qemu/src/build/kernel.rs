//! The entries `kernel`: other kernels than the guest's own, one entry for each.
//!
//! | file             | what                                                        |
//! |------------------|-------------------------------------------------------------|
//! | `vmlinuz`        | Debian's cloud kernel of that release                       |
//! | `initramfs.cpio` | as the guest's own, with the modules of file systems too    |

use std::{
    collections::BTreeMap,
    fs,
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
};

use super::{
    apt::{self, Apt, Request},
    cache::{Cache, Stage, key},
    cpio::Archive,
    guest::{ARCH, INIT, KERNEL, WITHOUT, copy, make_dir, read},
};
use crate::{Event, KitError, Progress};

/// Changes whenever what is done with the packages changes.
const RECIPE: &str = "kernel 1";

/// Loaded at every boot, in this order. Each kernel has some of them built in.
const MODULES: [&str; 11] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "qemu_fw_cfg",
    "virtio_blk",
    "crc16",
    "mbcache",
    "jbd2",
    "ext4",
];

/// For jobs to load, in this order, from the list `modules/file-systems`.
const FILE_SYSTEMS: [&str; 9] = [
    "libcrc32c",
    "xor",
    "raid6_pq",
    "xxhash",
    "zstd_compress",
    "libblake2b",
    "blake2b_generic",
    "btrfs",
    "xfs",
];

/// Provides the entry of `suite`'s kernel.
pub(crate) fn provide(
    cache: &Cache,
    suite: &str,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<PathBuf, KitError> {
    let mut recipe = vec![RECIPE, INIT, ARCH, KERNEL, suite];
    for list in [&MODULES[..], &FILE_SYSTEMS, &WITHOUT] {
        recipe.extend(list);
        recipe.push(";");
    }
    let part = format!("kernel-{suite}");
    cache.entry(&part, &key(&recipe), progress, |stage, progress| {
        build(stage, suite, mirror, progress)
    })
}

fn build(
    stage: &Stage<'_>,
    suite: &str,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<(), KitError> {
    let mirror = apt::mirror(mirror)?;
    // Backports add to their release and do not stand alone.
    let suites = match suite.strip_suffix("-backports") {
        Some(release) => vec![release, suite],
        None => vec![suite],
    };
    let apt = Apt::open_suites(stage.scratch, ARCH, (&mirror, &suites), progress)?;
    let what = format!("the kernel of Debian's {suite}, to test guests with");
    let packages = apt.fetch(
        &Request {
            name: "kernel",
            suite,
            packages: &[KERNEL, "busybox-static"],
            without: &[&WITHOUT[..], &["kmod", "libc6"]].concat(),
            what: &what,
        },
        progress,
    )?;
    progress.event(Event::Step {
        what: "making that kernel's initramfs",
    });
    let tree = stage.scratch.join("kernel-tree");
    make_dir(&tree)?;
    apt::unpack(&packages, &tree)?;
    let found = files_below(&tree)?;
    // Up to Linux 6 below /boot with the release in its name, later beside the modules.
    let vmlinuz = found
        .iter()
        .find(|(name, _)| *name == "vmlinuz" || name.starts_with("vmlinuz-"));
    let (_, vmlinuz) = vmlinuz.ok_or_else(|| KitError::Incomplete {
        what: "the kernel",
        path: tree.clone(),
    })?;
    copy(vmlinuz, &stage.dir.join("vmlinuz"))?;
    initramfs(&tree, &found, &stage.dir.join("initramfs.cpio"))
}

/// Packs busybox, init and those of the modules that this kernel has as such.
fn initramfs(tree: &Path, found: &BTreeMap<String, PathBuf>, to: &Path) -> Result<(), KitError> {
    let mut files = Vec::new();
    for (list, wanted) in [("order", &MODULES[..]), ("file-systems", &FILE_SYSTEMS)] {
        let mut names = String::new();
        for module in wanted {
            let endings = [".ko", ".ko.xz", ".ko.zst"];
            let names_of = endings.map(|ending| format!("{module}{ending}"));
            let present = names_of.iter().find_map(|name| found.get_key_value(name));
            if let Some((name, path)) = present {
                names.push_str(&format!("{name}\n"));
                files.push((format!("modules/{name}"), 0o644, read(path)?));
            }
        }
        files.push((format!("modules/{list}"), 0o644, names.into_bytes()));
    }
    let busybox = found.get("busybox").ok_or_else(|| KitError::Incomplete {
        what: "busybox",
        path: tree.join("bin/busybox"),
    })?;
    files.push(("bin/busybox".to_owned(), 0o755, read(busybox)?));
    files.push(("init".to_owned(), 0o755, INIT.as_bytes().to_vec()));
    let pack = || {
        let mut archive = Archive::new(BufWriter::new(File::create(to)?));
        for dir in ["bin", "dev", "modules", "proc", "run", "sys", "tmp"] {
            archive.directory(dir)?;
        }
        for (path, mode, content) in &files {
            archive.file(path, *mode, content)?;
        }
        archive.link("bin/sh", "busybox")?;
        archive.finish()
    };
    pack().map_err(KitError::io("write", to))
}

/// The files below `dir`, by name. Where releases put modules and programs differs.
fn files_below(dir: &Path) -> Result<BTreeMap<String, PathBuf>, KitError> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).map_err(KitError::io("list", &dir))? {
            let path = entry.map_err(KitError::io("list", &dir))?.path();
            let kind = fs::symlink_metadata(&path).map_err(KitError::io("look at", &path))?;
            if kind.is_dir() {
                open.push(path);
            } else if let (true, Some(name)) = (kind.is_file(), path.file_name()) {
                let name = name.to_string_lossy().into_owned();
                // A directory of a command's completions may hold a file of its name.
                let keep = name != "busybox" || path.parent().is_some_and(|p| p.ends_with("bin"));
                if keep {
                    found.insert(name, path);
                }
            }
        }
    }
    Ok(found)
}
