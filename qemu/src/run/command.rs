//! Turns a [`Launch`] into QEMU's command line.

use std::path::Path;

use serde_json::json;

use super::{
    accel::Chosen,
    guest::Place,
    launch::{Boot, Display, Drive, Firmware, Launch, Network, Profile, Root},
};
use crate::{Kit, KitError};

/// Counts what `/sys/block/*/stat` alone cannot tell; see `guest/init`.
const COUNT_EMPTY_FLUSHES: &str =
    r#"trace_trigger="block_bio_queue.hist:keys=dev if nr_sector == 0""#;

/// The options that attach a drive served on `socket` to a machine with
/// `memory_mib` of memory: to add to any QEMU command line that has no `-m` and no
/// `-object memory-backend-…` of its own.
///
/// # Errors
///
/// [`KitError::PathNotText`] where the socket's path is not UTF-8.
pub fn vfio_user_options(socket: &Path, memory_mib: u32) -> Result<Vec<String>, KitError> {
    let mut options = Options::default();
    options.memory(memory_mib);
    options.add("-machine", "memory-backend=mem");
    options.add("-device", vfio_user_device(socket, None)?);
    Ok(options.0)
}

/// The same for a drive served over vhost-user: a virtio disk.
///
/// # Errors
///
/// [`KitError::PathNotText`] where the socket's path is not UTF-8.
pub fn vhost_user_options(socket: &Path, memory_mib: u32) -> Result<Vec<String>, KitError> {
    let mut options = Options::default();
    options.memory(memory_mib);
    options.add("-machine", "memory-backend=mem");
    options.vhost_user("vssd", socket, false, None)?;
    Ok(options.0)
}

/// All of QEMU's arguments.
pub(crate) fn arguments(
    launch: &Launch<'_>,
    accel: Chosen,
    place: &Place,
) -> Result<Vec<String>, KitError> {
    let mut options = Options::default();
    options.machine(launch, accel, place)?;
    // Translation must be there before the devices that it is for.
    if launch.iommu {
        options.add("-device", "intel-iommu,caching-mode=on,intremap=on");
    }
    let virtio = |drive: &Drive| matches!(drive, Drive::VhostUser { .. });
    options.drives(launch, |drive| !virtio(drive))?;
    match &launch.boot {
        Boot::Job {
            kit,
            root,
            kernel_args,
            ..
        } => {
            options.kernel(kit, *root, kernel_args, launch.iommu)?;
            options.job(launch, place)?;
        }
        Boot::Drive {
            profile,
            display,
            network,
            cdrom,
        } => {
            options.desktop(*profile, *display, *network);
            if let Some(iso) = cdrom {
                options.cdrom(iso)?;
            }
            options.console(launch, place)?;
        }
    }
    // Behind the disk with the tools, which is the first of the virtio disks.
    options.drives(launch, virtio)?;
    options.0.extend(launch.qemu_args.iter().cloned());
    Ok(options.0)
}

/// A command line in the making.
#[derive(Debug, Default)]
struct Options(Vec<String>);

impl Options {
    fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(name.to_owned());
        self.0.push(value.into());
    }

    /// Memory that another process can map, which is how a vfio-user drive reaches it.
    fn memory(&mut self, mib: u32) {
        self.add(
            "-object",
            format!("memory-backend-memfd,id=mem,size={mib}M,share=on"),
        );
    }

    /// A virtio disk, one queue to each processor.
    fn vhost_user(
        &mut self,
        name: &str,
        socket: &Path,
        reconnects: bool,
        boot_index: Option<u32>,
    ) -> Result<(), KitError> {
        let path = comma_safe(socket)?;
        let again = if reconnects { ",reconnect-ms=200" } else { "" };
        self.add("-chardev", format!("socket,id={name},path={path}{again}"));
        let boot = boot_index.map_or_else(String::new, |index| format!(",bootindex={index}"));
        self.add(
            "-device",
            format!("vhost-user-blk-pci,chardev={name}{boot}"),
        );
        Ok(())
    }

    fn machine(
        &mut self,
        launch: &Launch<'_>,
        accel: Chosen,
        place: &Place,
    ) -> Result<(), KitError> {
        let mut machine = "q35,memory-backend=mem".to_owned();
        if launch.iommu && accel == Chosen::Kvm {
            // Interrupt remapping is QEMU's to do, so the I/O APIC must be its own.
            machine.push_str(",kernel-irqchip=split");
        }
        if launch.firmware == Firmware::Uefi {
            machine.push_str(",pflash0=uefi-code,pflash1=uefi-vars");
            self.file("uefi-code", &launch.host.uefi_code(), true)?;
            self.file("uefi-vars", &launch.vars(place), false)?;
        }
        self.memory(launch.memory_mib);
        self.add("-machine", machine);
        let windows = matches!(
            launch.boot,
            Boot::Drive {
                profile: Profile::Windows,
                ..
            }
        );
        let (accel, cpu) = match accel {
            Chosen::Kvm if windows => (
                "kvm",
                "host,hv-relaxed,hv-vapic,hv-spinlocks=0x1fff,hv-time",
            ),
            Chosen::Kvm => ("kvm", "host"),
            Chosen::Tcg => ("tcg", "max"),
        };
        self.add("-accel", accel);
        self.add("-cpu", cpu);
        self.add("-smp", launch.cpus.to_string());
        self.flag("-nodefaults");
        self.flag("-no-user-config");
        if launch.firmware == Firmware::Qboot {
            self.add("-bios", "qboot.rom");
        }
        let control = comma_safe(&place.control())?;
        self.add("-qmp", format!("unix:{control},server=on,wait=off"));
        Ok(())
    }

    /// A file as a block node of QEMU's.
    fn file(&mut self, node: &str, path: &Path, read_only: bool) -> Result<(), KitError> {
        let node = json!({
            "driver": "file",
            "node-name": node,
            "filename": text(path)?,
            "read-only": read_only,
        });
        self.add("-blockdev", node.to_string());
        Ok(())
    }

    /// Those drives that `are_due`.
    fn drives(
        &mut self,
        launch: &Launch<'_>,
        are_due: impl Fn(&Drive) -> bool,
    ) -> Result<(), KitError> {
        let boots = matches!(launch.boot, Boot::Drive { .. });
        let drives = launch.drives.iter().enumerate();
        for (number, drive) in drives.filter(|(_, drive)| are_due(drive)) {
            let boot_index = (boots && number == 0).then_some(0);
            match drive {
                Drive::VfioUser { socket } => {
                    self.add("-device", vfio_user_device(socket, boot_index)?);
                }
                Drive::VhostUser { socket } => {
                    let name = format!("drive{number}");
                    self.vhost_user(&name, socket, true, boot_index)?;
                }
                Drive::QemuNvme { image } => {
                    let node = json!({
                        "driver": "raw",
                        "node-name": format!("nvme{number}"),
                        "discard": "unmap",
                        "file": { "driver": "file", "filename": text(image)? },
                    });
                    self.add("-blockdev", node.to_string());
                    let mut device = json!({
                        "driver": "nvme",
                        "drive": format!("nvme{number}"),
                        "serial": format!("qemu{number}"),
                    });
                    if let Some(index) = boot_index {
                        device["bootindex"] = json!(index);
                    }
                    self.add("-device", device.to_string());
                }
            }
        }
        Ok(())
    }

    fn kernel(
        &mut self,
        kit: &Kit,
        root: Root,
        extra: &[String],
        iommu: bool,
    ) -> Result<(), KitError> {
        // A panic ends the run at once, and with it everyone's wait. On a busy host the
        // emulated timer is late, which the kernel takes for a broken one.
        let mut words = vec![
            "console=ttyS0",
            "panic=-1",
            "no_timer_check",
            COUNT_EMPTY_FLUSHES,
        ];
        match root {
            Root::Drive => words.push("root=first-drive"),
            Root::Tools => words.push("root=/dev/vda"),
            Root::Initramfs => {}
        }
        if iommu {
            words.push("intel_iommu=on");
        }
        words.extend(extra.iter().map(String::as_str));
        self.add("-kernel", text(&kit.kernel())?);
        self.add("-initrd", text(&kit.initramfs())?);
        self.add("-append", words.join(" "));
        if root == Root::Tools {
            // What the guest writes goes to a temporary file of QEMU's and is gone
            // with it.
            let image = comma_safe(&kit.root_image())?;
            self.add(
                "-drive",
                format!("if=none,id=tools,format=raw,snapshot=on,file={image}"),
            );
            self.add("-device", "virtio-blk-pci,drive=tools");
        }
        Ok(())
    }

    fn job(&mut self, launch: &Launch<'_>, place: &Place) -> Result<(), KitError> {
        let job = comma_safe(&place.job())?;
        self.add("-fw_cfg", format!("name=opt/vssd/job,file={job}"));
        self.console(launch, place)?;
        self.add("-chardev", "stdio,id=job,signal=off");
        self.add("-serial", "chardev:job");
        self.add("-display", "none");
        self.flag("-no-reboot");
        Ok(())
    }

    /// The first serial port, kept in a file.
    fn console(&mut self, launch: &Launch<'_>, place: &Place) -> Result<(), KitError> {
        let log = comma_safe(place.serial())?;
        let console = match &launch.console {
            None => format!("file,id=console,path={log}"),
            Some(socket) => format!(
                "socket,id=console,path={},server=on,wait=on,logfile={log}",
                comma_safe(socket)?
            ),
        };
        self.add("-chardev", console);
        self.add("-serial", "chardev:console");
        Ok(())
    }

    fn desktop(&mut self, profile: Profile, display: Display, network: Network) {
        self.add(
            "-rtc",
            match profile {
                Profile::Linux => "base=utc",
                Profile::Windows => "base=localtime,driftfix=slew",
            },
        );
        self.add("-device", "VGA");
        self.add("-device", "qemu-xhci");
        // Its positions are absolute, so that the pointer is where the user's is.
        self.add("-device", "usb-tablet");
        match display {
            Display::None => self.add("-display", "none"),
            Display::Vnc { number } => self.add("-display", format!("vnc=127.0.0.1:{number}")),
            Display::Gtk => self.add("-display", "gtk"),
        }
        match network {
            Network::None => {}
            Network::User => {
                self.add("-netdev", "user,id=net");
                // Without its boot ROM: nothing here boots from a network.
                self.add("-device", "e1000e,netdev=net,romfile=");
            }
        }
    }

    fn cdrom(&mut self, iso: &Path) -> Result<(), KitError> {
        self.file("cdrom", iso, true)?;
        self.add("-device", "ide-cd,drive=cdrom,bus=ide.0,bootindex=1");
        Ok(())
    }
}

fn vfio_user_device(socket: &Path, boot_index: Option<u32>) -> Result<String, KitError> {
    let mut device = json!({
        "driver": "vfio-user-pci",
        "socket": { "type": "unix", "path": text(socket)? },
    });
    if let Some(index) = boot_index {
        device["bootindex"] = json!(index);
    }
    Ok(device.to_string())
}

fn text(path: &Path) -> Result<&str, KitError> {
    path.to_str().ok_or_else(|| KitError::PathNotText {
        path: path.to_owned(),
    })
}

/// A path as a value among QEMU's comma-separated ones.
fn comma_safe(path: &Path) -> Result<String, KitError> {
    Ok(text(path)?.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasted_options_name_the_socket_and_share_the_memory() {
        let options = vfio_user_options(Path::new("/run/a \"b\".sock"), 1024).unwrap();
        assert_eq!(
            options,
            [
                "-object",
                "memory-backend-memfd,id=mem,size=1024M,share=on",
                "-machine",
                "memory-backend=mem",
                "-device",
                r#"{"driver":"vfio-user-pci","socket":{"path":"/run/a \"b\".sock","type":"unix"}}"#,
            ]
        );
    }

    #[test]
    fn a_virtio_disk_is_named_by_its_socket() {
        let options = vhost_user_options(Path::new("/run/a,b.sock"), 1024).unwrap();
        assert_eq!(
            options[4..],
            [
                "-chardev",
                "socket,id=vssd,path=/run/a,,b.sock",
                "-device",
                "vhost-user-blk-pci,chardev=vssd",
            ]
        );
    }

    #[test]
    fn commas_in_paths_do_not_end_an_option() {
        assert_eq!(comma_safe(Path::new("/a,b")).unwrap(), "/a,,b");
    }
}
