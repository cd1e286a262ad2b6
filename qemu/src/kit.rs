//! What the kit offers, once it is there.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    KitError, Progress,
    build::{
        apt,
        cache::Cache,
        extra, guest, host, iommufd, kernel,
        qemu::{self, PROGRAM},
        tool,
    },
};

/// Which QEMU to run guests with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum QemuChoice {
    /// The one that `VSSD_QEMU` names; else the system's, if it is 10.1 or later
    /// and has `vfio-user-pci`; else the kit's own.
    #[default]
    Auto,
    /// The kit's own, from Debian's backports.
    Private,
    /// This one.
    Path(PathBuf),
}

/// Which of Debian's kernels a guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernel {
    /// Linux 6.1, of Debian 12.
    Bookworm,
    /// Linux 6.12, of Debian 13.
    #[default]
    Trixie,
    /// The newest that Debian 13 can have, from its backports.
    Backports,
}

impl Kernel {
    fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => apt::SUITE,
            Self::Backports => apt::BACKPORTS,
        }
    }
}

/// How to find or build a kit. The default suits nearly everyone.
#[derive(Debug, Clone, Default)]
pub struct KitOptions {
    /// Where to keep it. `None`: `VSSD_CACHE`, or `vssd` in the user's cache directory.
    pub cache: Option<PathBuf>,
    /// The Debian mirror to take packages from. `None`: `VSSD_MIRROR`, or the one of
    /// the machine's own apt sources.
    pub mirror: Option<String>,
    /// Which QEMU.
    pub qemu: QemuChoice,
}

/// Programs that run on this machine: QEMU, UEFI firmware for it, e2fsprogs.
///
/// Enough to run a virtual machine of the user's own; [`Kit`] has a guest as well.
#[derive(Debug, Clone)]
pub struct Host {
    qemu: PathBuf,
    entry: PathBuf,
}

impl Host {
    /// Finds the programs, and builds or downloads what is missing.
    ///
    /// # Errors
    ///
    /// [`KitError::NoMirror`], [`KitError::Tool`] and [`KitError::ToolFailed`] where packages
    /// cannot be had; [`KitError::UnfitQemu`] where a QEMU was named that will not do.
    pub fn open_or_build(
        options: &KitOptions,
        progress: &mut dyn Progress,
    ) -> Result<Self, KitError> {
        let cache = Cache::open(options.cache.as_deref())?;
        let found = find_qemu(&options.qemu)?;
        let mirror = options.mirror.as_deref();
        let entry = host::provide(&cache, found.is_none(), mirror, progress)?;
        let qemu = found.unwrap_or_else(|| entry.join("bin").join(PROGRAM));
        Ok(Self { qemu, entry })
    }

    /// `qemu-system-x86_64`, 10.1 or later, with `vfio-user-pci`.
    #[must_use]
    pub fn qemu(&self) -> &Path {
        &self.qemu
    }

    /// A program of e2fsprogs: `mke2fs`, `e2fsck`, `debugfs`, `resize2fs`, `dumpe2fs`.
    #[must_use]
    pub fn tool(&self, name: &str) -> PathBuf {
        self.entry.join("bin").join(name)
    }

    /// UEFI firmware (OVMF, no Secure Boot), to be mapped read-only.
    #[must_use]
    pub fn uefi_code(&self) -> PathBuf {
        self.entry.join("root/usr/share/OVMF/OVMF_CODE_4M.fd")
    }

    /// An empty store of UEFI variables: each virtual machine needs a copy of its own.
    #[must_use]
    pub fn uefi_vars_template(&self) -> PathBuf {
        self.entry.join("root/usr/share/OVMF/OVMF_VARS_4M.fd")
    }

    /// U-Boot as a PC's firmware, for QEMU's option `-bios`; fetched if it is not there
    /// (about 3 MB).
    ///
    /// # Errors
    ///
    /// As [`Host::open_or_build`].
    pub fn u_boot(
        &self,
        options: &KitOptions,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, KitError> {
        let cache = Cache::open(options.cache.as_deref())?;
        let entry = extra::u_boot(&cache, options.mirror.as_deref(), progress)?;
        Ok(entry.join("root/usr/lib/u-boot/qemu-x86_64/u-boot.rom"))
    }

    /// `qemu-storage-daemon` of Debian 13's backports; fetched if it is not there (about
    /// 20 MB).
    ///
    /// # Errors
    ///
    /// As [`Host::open_or_build`].
    pub fn storage_daemon(
        options: &KitOptions,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, KitError> {
        let cache = Cache::open(options.cache.as_deref())?;
        let entry = extra::storage_daemon(&cache, options.mirror.as_deref(), progress)?;
        Ok(entry.join("bin/qemu-storage-daemon"))
    }

    /// A boot loader for UEFI, and what makes FAT file systems to keep it in; fetched if
    /// they are not there (about 1 MB).
    ///
    /// # Errors
    ///
    /// As [`Host::open_or_build`].
    pub fn boot_loader(
        &self,
        options: &KitOptions,
        progress: &mut dyn Progress,
    ) -> Result<BootLoader, KitError> {
        let cache = Cache::open(options.cache.as_deref())?;
        let entry = extra::boot_loader(&cache, options.mirror.as_deref(), progress)?;
        Ok(BootLoader {
            efi: entry.join("root/usr/lib/systemd/boot/efi/systemd-bootx64.efi"),
            mtools: entry.join("bin/mtools"),
        })
    }
}

/// What a drive is made bootable with.
#[derive(Debug, Clone)]
pub struct BootLoader {
    /// systemd-boot, an EFI program for x86-64.
    pub efi: PathBuf,
    /// mtools: `mtools -c mcopy …` and its like.
    pub mtools: PathBuf,
}

/// Everything that a Linux guest needs: a [`Host`], a kernel, an initramfs and a
/// Debian root file system.
#[derive(Debug, Clone)]
pub struct Kit {
    host: Host,
    entry: PathBuf,
    /// Where kernel and initramfs are.
    kernel: PathBuf,
}

impl Kit {
    /// Finds the kit, and builds or downloads what is missing.
    ///
    /// The first time takes half a minute or more, and 160 MB of downloads. Several
    /// processes may ask at once: one builds, the others wait. An interrupted build
    /// leaves nothing that a later one would take for whole.
    ///
    /// # Errors
    ///
    /// As [`Host::open_or_build`].
    pub fn open_or_build(
        options: &KitOptions,
        progress: &mut dyn Progress,
    ) -> Result<Self, KitError> {
        let host = Host::open_or_build(options, progress)?;
        let cache = Cache::open(options.cache.as_deref())?;
        let mirror = options.mirror.as_deref();
        let entry = guest::provide(&cache, &host.tool("mke2fs"), mirror, progress)?;
        let kernel = entry.clone();
        Ok(Self {
            host,
            entry,
            kernel,
        })
    }

    /// Removes everything that any version of the kit has put into the cache.
    ///
    /// # Errors
    ///
    /// [`KitError::Io`] where something cannot be removed.
    pub fn remove(options: &KitOptions, progress: &mut dyn Progress) -> Result<(), KitError> {
        Cache::open(options.cache.as_deref())?.remove(progress)
    }

    /// The same kit with another kernel, fetched if it is not there (about 35 MB).
    ///
    /// Its initramfs has the modules of XFS and Btrfs too: a job loads those that
    /// `/run/kit/modules/file-systems` lists, in that order.
    ///
    /// # Errors
    ///
    /// As [`Host::open_or_build`].
    pub fn with_kernel(
        &self,
        kernel: Kernel,
        options: &KitOptions,
        progress: &mut dyn Progress,
    ) -> Result<Self, KitError> {
        let cache = Cache::open(options.cache.as_deref())?;
        let mirror = options.mirror.as_deref();
        let kernel = kernel::provide(&cache, kernel.suite(), mirror, progress)?;
        Ok(Self {
            kernel,
            ..self.clone()
        })
    }

    /// A small Linux 6.12 with iommufd, and with all that a guest needs built in,
    /// which boots with [`Kit::initramfs`]. Debian's kernels have no iommufd: it is
    /// built from Debian's sources if it is not there (150 MB, and some minutes).
    ///
    /// # Errors
    ///
    /// As [`Host::open_or_build`], and [`KitError::NoCompiler`].
    pub fn iommufd_kernel(
        &self,
        options: &KitOptions,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, KitError> {
        let cache = Cache::open(options.cache.as_deref())?;
        let entry = iommufd::provide(&cache, options.mirror.as_deref(), progress)?;
        Ok(entry.join("vmlinuz"))
    }

    /// An ext4 image with xfsprogs and btrfs-progs and their libraries, for guests to
    /// mount; fetched if it is not there (about 20 MB). Not to be written to.
    ///
    /// # Errors
    ///
    /// As [`Host::open_or_build`].
    pub fn file_system_tools(
        &self,
        options: &KitOptions,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, KitError> {
        let cache = Cache::open(options.cache.as_deref())?;
        let mirror = options.mirror.as_deref();
        let mke2fs = self.host.tool("mke2fs");
        let entry = extra::file_system_tools(&cache, &mke2fs, mirror, progress)?;
        Ok(entry.join(extra::TOOLS_IMAGE.name))
    }

    /// The programs that run on this machine.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The guest's kernel: a Linux 6.12, or what [`Kit::with_kernel`] chose.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.kernel.join("vmlinuz")
    }

    /// The guest's initramfs.
    #[must_use]
    pub fn initramfs(&self) -> PathBuf {
        self.kernel.join("initramfs.cpio")
    }

    /// The guest's root file system: a raw image of 1 GiB, sparse, ext4 on the whole
    /// disk. Not to be written to; see [`Kit::copy_root_image`].
    #[must_use]
    pub fn root_image(&self) -> PathBuf {
        self.entry.join("root.img")
    }

    /// Copies the root file system's image, holes and all, to a drive that a guest
    /// may write to.
    ///
    /// # Errors
    ///
    /// [`KitError::ToolFailed`] where `to` cannot be written.
    pub fn copy_root_image(&self, to: &Path) -> Result<(), KitError> {
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--reflink=auto", "--"])
            .arg(self.root_image())
            .arg(to);
        tool::run(&mut copy, "copying the guest's root file system").map(drop)
    }
}

/// The QEMU that was chosen or found; `None` means the kit's own.
fn find_qemu(choice: &QemuChoice) -> Result<Option<PathBuf>, KitError> {
    let fit = |path: PathBuf| match qemu::inspect(&path) {
        Ok(()) => Ok(Some(path)),
        Err(reason) => Err(KitError::UnfitQemu { path, reason }),
    };
    match choice {
        QemuChoice::Private => Ok(None),
        QemuChoice::Path(path) => fit(path.clone()),
        QemuChoice::Auto => match env::var_os("VSSD_QEMU").filter(|v| !v.is_empty()) {
            Some(path) => fit(PathBuf::from(path)),
            None => Ok(qemu::of_the_system()),
        },
    }
}
