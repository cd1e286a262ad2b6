//! The entry `host`: programs that run on this machine, in a private root.
//!
//! A program of a private root is started through that root's own dynamic loader,
//! with that root's libraries: no chroot, no privileges, nothing installed.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    apt::{self, Apt, Request},
    cache::{Cache, Stage, key},
    qemu::PROGRAM,
};
use crate::{Event, KitError, Progress};

/// Changes whenever what is done with the packages changes.
const RECIPE: &str = "host 2";

/// e2fsprogs of this release builds file systems from tar archives, which keeps
/// owners without being root; libarchive is what it does that with.
const TOOLS: [&str; 3] = ["e2fsprogs", "libarchive13t64", "ovmf"];

/// Programs of the private root that get a launcher in `bin/`.
const PROGRAMS: [&str; 5] = ["mke2fs", "e2fsck", "debugfs", "resize2fs", "dumpe2fs"];

/// Wanted by packages for their maintainer scripts or for use as a service.
const WITHOUT: [&str; 7] = [
    "debconf",
    "adduser",
    "passwd",
    "systemd",
    "udev",
    "dbus",
    "init-system-helpers",
];

/// A machine's architecture, as three parties name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arch {
    pub(crate) debian: &'static str,
    triplet: &'static str,
    loader: &'static str,
}

/// This machine's.
pub(crate) fn arch() -> Result<Arch, KitError> {
    match env::consts::ARCH {
        "x86_64" => Ok(Arch {
            debian: "amd64",
            triplet: "x86_64-linux-gnu",
            loader: "ld-linux-x86-64.so.2",
        }),
        "aarch64" => Ok(Arch {
            debian: "arm64",
            triplet: "aarch64-linux-gnu",
            loader: "ld-linux-aarch64.so.1",
        }),
        arch => Err(KitError::Architecture { arch }),
    }
}

/// Provides the entry; with a QEMU of its own if `with_qemu`.
pub(crate) fn provide(
    cache: &Cache,
    with_qemu: bool,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<PathBuf, KitError> {
    let arch = arch()?;
    let qemu = if with_qemu { PROGRAM } else { "" };
    let mut recipe = vec![RECIPE, arch.debian, qemu];
    recipe.extend(TOOLS);
    recipe.extend(PROGRAMS);
    recipe.extend(WITHOUT);
    cache.entry("host", &key(&recipe), progress, |stage, progress| {
        build(stage, arch, with_qemu, mirror, progress)
    })
}

fn build(
    stage: &Stage<'_>,
    arch: Arch,
    with_qemu: bool,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<(), KitError> {
    let mirror = apt::mirror(mirror)?;
    let apt = Apt::open(stage.scratch, arch.debian, &mirror, progress)?;
    let mut packages = apt.fetch(
        &Request {
            name: "tools",
            suite: apt::SUITE,
            packages: &TOOLS,
            without: &WITHOUT,
            what: "e2fsprogs and UEFI firmware, to make guest images and to boot from them",
        },
        progress,
    )?;
    if with_qemu {
        packages.extend(apt.fetch(
            &Request {
                name: "qemu",
                suite: apt::BACKPORTS,
                packages: &["qemu-system-x86"],
                without: &WITHOUT,
                what: "QEMU 10.1 or later, as this machine has none, to run guests",
            },
            progress,
        )?);
    }
    progress.event(Event::Step {
        what: "unpacking the programs for this machine",
    });
    let root = stage.dir.join("root");
    fs::create_dir(&root).map_err(KitError::io("create", &root))?;
    apt::unpack(&packages, &root)?;
    for waste in ["usr/share/doc", "usr/share/man", "usr/share/locale"] {
        let path = root.join(waste);
        if path.is_dir() {
            fs::remove_dir_all(&path).map_err(KitError::io("remove", path))?;
        }
    }

    let bin = stage.dir.join("bin");
    fs::create_dir(&bin).map_err(KitError::io("create", &bin))?;
    let home = stage.home.join("root");
    for program in PROGRAMS {
        launcher(&bin, &root, &home, arch, &format!("usr/sbin/{program}"))?;
    }
    if with_qemu {
        launcher(&bin, &root, &home, arch, &format!("usr/bin/{PROGRAM}"))?;
    }
    Ok(())
}

/// Writes a script that starts `program` of the private root.
///
/// `root` is where that root is now, `home` where it will be.
pub(crate) fn launcher(
    bin: &Path,
    root: &Path,
    home: &Path,
    arch: Arch,
    program: &str,
) -> Result<(), KitError> {
    let built = root.join(program);
    let Some(name) = built.file_name().filter(|_| built.is_file()) else {
        return Err(KitError::Incomplete {
            what: "a program",
            path: built,
        });
    };
    let name = name.to_string_lossy();
    // QEMU looks for its firmware in the directories that it was built for, and would
    // go by the name of the loader.
    let data = if name == PROGRAM {
        " -name process=qemu-system-x86 -L \"$root/usr/share/qemu\" -L \"$root/usr/share/seabios\""
    } else {
        ""
    };
    let script = format!(
        "#!/bin/sh\n\
         # Starts {name} of a private root with the libraries of that root.\n\
         root={root}\n\
         lib=$root/usr/lib/{triplet}\n\
         export MKE2FS_CONFIG=\"$root/etc/mke2fs.conf\" QEMU_MODULE_DIR=\"$lib/qemu\"\n\
         exec \"$lib/{loader}\" --inhibit-cache --library-path \"$lib\" --argv0 {name} \
         \"$root/{program}\"{data} \"$@\"\n",
        root = crate::quote::quote(&home.to_string_lossy()),
        triplet = arch.triplet,
        loader = arch.loader,
    );
    let path = bin.join(&*name);
    fs::write(&path, script).map_err(KitError::io("write", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .map_err(KitError::io("make executable", &path))
}
