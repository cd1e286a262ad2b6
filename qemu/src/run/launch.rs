//! Says what guest to run, and starts it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    accel::Accel,
    command,
    guest::{Guest, Place},
};
use crate::{Host, Kit, KitError};

/// What runs before the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Firmware {
    /// A PC BIOS. It drives NVMe drives itself before the kernel does.
    #[default]
    SeaBios,
    /// The least that starts a kernel; leaves drives alone. For jobs only.
    Qboot,
    /// OVMF: what Windows and most installations boot with.
    Uefi,
}

/// A drive that the guest sees as a PCI device: NVMe, or a virtio disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drive {
    /// Served by another process over a vfio-user socket, on which it listens already.
    VfioUser {
        /// The socket.
        socket: PathBuf,
    },
    /// A virtio disk served by another process over a vhost-user socket, on which it
    /// listens already. QEMU comes back where that process was started again.
    VhostUser {
        /// The socket.
        socket: PathBuf,
    },
    /// QEMU's own NVMe on a raw image: for comparison, and to test the kit itself.
    QemuNvme {
        /// The image.
        image: PathBuf,
    },
}

/// Where a job's root file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Root {
    /// On the first drive, which holds a copy of [`Kit::root_image`]. It is
    /// `/dev/nvme0n1` where there is no other drive; see [`Launch::drive`].
    #[default]
    Drive,
    /// On a disk beside the drives, a throw-away view of [`Kit::root_image`]
    /// (`/dev/vda`). All of Debian's tools, and drives that nothing else uses.
    Tools,
    /// Nowhere: the job runs in the initramfs, with busybox alone. Starts the fastest.
    Initramfs,
}

/// The kind of system on a user's own drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Linux, or anything else that keeps the clock in UTC.
    #[default]
    Linux,
    /// Windows 10 or 11: the clock in local time, and Hyper-V's interfaces under KVM.
    Windows,
}

/// How a user sees a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Display {
    /// Not at all.
    None,
    /// With a VNC viewer at `127.0.0.1:<5900 + number>`.
    Vnc {
        /// The display's number.
        number: u16,
    },
    /// In a window. The system's QEMU must have been built with GTK; the kit's is not.
    #[default]
    Gtk,
}

/// A virtual machine's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// None.
    None,
    /// An Intel adapter behind QEMU's own address translation: out, but not in.
    #[default]
    User,
}

/// What the machine does once it is on.
#[derive(Debug)]
pub(crate) enum Boot<'a> {
    /// Starts the kit's kernel, which runs a job and switches the machine off.
    Job {
        kit: &'a Kit,
        script: String,
        root: Root,
        kernel_args: Vec<String>,
    },
    /// Starts what is on the first drive.
    Drive {
        profile: Profile,
        display: Display,
        network: Network,
        cdrom: Option<PathBuf>,
    },
}

/// A guest to be started.
#[derive(Debug)]
pub struct Launch<'a> {
    pub(crate) host: &'a Host,
    pub(crate) boot: Boot<'a>,
    pub(crate) firmware: Firmware,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u16,
    pub(crate) accel: Accel,
    pub(crate) iommu: bool,
    pub(crate) drives: Vec<Drive>,
    pub(crate) qemu_args: Vec<String>,
    pub(crate) serial_log: Option<PathBuf>,
    pub(crate) console: Option<PathBuf>,
    pub(crate) uefi_vars: Option<PathBuf>,
}

impl<'a> Launch<'a> {
    /// The kit's Linux guest, which runs `script` and switches itself off.
    ///
    /// The script runs as root with `/dev/null` for input. Without a first line that
    /// names another interpreter it is one for `/bin/sh`. By default: SeaBIOS,
    /// 512 MiB, one processor, the root file system on the first drive.
    #[must_use]
    pub fn job(kit: &'a Kit, script: impl Into<String>) -> Self {
        let boot = Boot::Job {
            kit,
            script: script.into(),
            root: Root::Drive,
            kernel_args: Vec::new(),
        };
        Self::new(kit.host(), boot, Firmware::SeaBios, 512)
    }

    /// A virtual machine that boots what is on its first drive.
    ///
    /// By default: UEFI, 4 GiB, one processor, a window, a network.
    #[must_use]
    pub fn vm(host: &'a Host, profile: Profile) -> Self {
        let boot = Boot::Drive {
            profile,
            display: Display::default(),
            network: Network::default(),
            cdrom: None,
        };
        Self::new(host, boot, Firmware::Uefi, 4096)
    }

    fn new(host: &'a Host, boot: Boot<'a>, firmware: Firmware, memory_mib: u32) -> Self {
        Self {
            host,
            boot,
            firmware,
            memory_mib,
            cpus: 1,
            accel: Accel::Auto,
            iommu: false,
            drives: Vec::new(),
            qemu_args: Vec::new(),
            serial_log: None,
            console: None,
            uefi_vars: None,
        }
    }

    /// Chooses the firmware.
    #[must_use]
    pub fn firmware(mut self, firmware: Firmware) -> Self {
        self.firmware = firmware;
        self
    }

    /// Sets the guest's memory, in MiB.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Sets the number of processors.
    #[must_use]
    pub fn cpus(mut self, cpus: u16) -> Self {
        self.cpus = cpus;
        self
    }

    /// Chooses what executes the guest.
    #[must_use]
    pub fn accel(mut self, accel: Accel) -> Self {
        self.accel = accel;
        self
    }

    /// Puts the drives behind a virtual Intel IOMMU, which the kit's kernel then uses.
    #[must_use]
    pub fn iommu(mut self, iommu: bool) -> Self {
        self.iommu = iommu;
        self
    }

    /// Adds an NVMe drive. They stand on the bus in the order in which they were added;
    /// which of them is `nvme0` is up to the guest, which may probe them side by side.
    #[must_use]
    pub fn drive(mut self, drive: Drive) -> Self {
        self.drives.push(drive);
        self
    }

    /// Adds options to QEMU's command line, as they are, at its end.
    #[must_use]
    pub fn qemu_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.qemu_args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Keeps the guest's console in this file, which is overwritten.
    #[must_use]
    pub fn serial_log(mut self, path: impl Into<PathBuf>) -> Self {
        self.serial_log = Some(path.into());
        self
    }

    /// Listens on this socket for somebody to be the guest's console, and starts the
    /// guest only then. The console's log is kept as well.
    #[must_use]
    pub fn console_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.console = Some(path.into());
        self
    }

    /// Keeps UEFI's variables in this file, made if it is not there. Otherwise they
    /// last as long as the guest.
    #[must_use]
    pub fn uefi_vars(mut self, path: impl Into<PathBuf>) -> Self {
        self.uefi_vars = Some(path.into());
        self
    }

    /// Of a job: where its root file system is.
    #[must_use]
    pub fn root(mut self, choice: Root) -> Self {
        if let Boot::Job { root, .. } = &mut self.boot {
            *root = choice;
        }
        self
    }

    /// Of a job: adds a word to the kernel's command line.
    #[must_use]
    pub fn kernel_arg(mut self, arg: impl Into<String>) -> Self {
        if let Boot::Job { kernel_args, .. } = &mut self.boot {
            kernel_args.push(arg.into());
        }
        self
    }

    /// Of a virtual machine: how it is seen.
    #[must_use]
    pub fn display(mut self, choice: Display) -> Self {
        if let Boot::Drive { display, .. } = &mut self.boot {
            *display = choice;
        }
        self
    }

    /// Of a virtual machine: its network.
    #[must_use]
    pub fn network(mut self, choice: Network) -> Self {
        if let Boot::Drive { network, .. } = &mut self.boot {
            *network = choice;
        }
        self
    }

    /// Of a virtual machine: an ISO image in a CD drive, booted where the drive holds
    /// nothing that boots.
    #[must_use]
    pub fn cdrom(mut self, iso: impl Into<PathBuf>) -> Self {
        if let Boot::Drive { cdrom, .. } = &mut self.boot {
            *cdrom = Some(iso.into());
        }
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`KitError::Launch`] where the parts do not fit together, [`KitError::NoKvm`] where
    /// KVM was demanded and does not work, [`KitError::Io`] and [`KitError::Tool`] where
    /// files cannot be written or QEMU does not start. What QEMU itself finds wrong
    /// comes as [`KitError::Died`] from the guest's waits.
    pub fn spawn(self) -> Result<Guest, KitError> {
        self.check()?;
        let accel = self.accel.choose(self.host.qemu())?;
        let place = self.place()?;
        let args = command::arguments(&self, accel, &place)?;
        Guest::start(self.host.qemu(), args, place)
    }

    fn check(&self) -> Result<(), KitError> {
        let refuse = |reason: &str| {
            Err(KitError::Launch {
                reason: reason.to_owned(),
            })
        };
        if self.cpus == 0 {
            return refuse("it has no processor: give it at least one");
        }
        match &self.boot {
            Boot::Job { root, .. } if *root == Root::Drive && self.drives.is_empty() => {
                refuse("its root file system is on a drive and it has none: add a drive first")
            }
            Boot::Job { .. } if self.memory_mib < 128 => {
                refuse("its memory is less than Linux needs: give it 128 MiB or more")
            }
            Boot::Drive { .. } if self.firmware == Firmware::Qboot => {
                refuse("qboot cannot boot from a drive: choose Firmware::Uefi or SeaBios")
            }
            _ => Ok(()),
        }
    }

    /// Lays out the files that QEMU needs for this one guest.
    fn place(&self) -> Result<Place, KitError> {
        let place = Place::new(self.serial_log.clone())?;
        if let Boot::Job { script, .. } = &self.boot {
            let path = place.job();
            fs::write(&path, with_interpreter(script)).map_err(KitError::io("write", path))?;
        }
        if self.firmware == Firmware::Uefi {
            let vars = self.vars(&place);
            if !vars.exists() {
                copy(&self.host.uefi_vars_template(), &vars)?;
            }
        }
        Ok(place)
    }

    /// The guest's own store of UEFI variables.
    pub(crate) fn vars(&self, place: &Place) -> PathBuf {
        self.uefi_vars.clone().unwrap_or_else(|| place.vars())
    }
}

fn with_interpreter(script: &str) -> String {
    if script.starts_with("#!") {
        script.to_owned()
    } else {
        format!("#!/bin/sh\n{script}\n")
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), KitError> {
    fs::copy(from, to)
        .map(drop)
        .map_err(KitError::io("write", to))
}
