//! Why a drive cannot be looked at, or given to another driver.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use super::{Neighbour, PciAddress, Use};

/// An error of looking at or binding a drive; each names the drive or the
/// file, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PciError {
    /// No PCI function has the address.
    #[error("no PCI device {0}: `vssd device list` shows the NVMe drives")]
    NoSuchDevice(PciAddress),
    /// The function is something else than an NVMe controller.
    #[error("{address} is no NVMe drive (its class is {class}): `vssd device list` shows those")]
    NotNvme {
        /// The function.
        address: PciAddress,
        /// Its class code, as the kernel writes it.
        class: String,
    },
    /// The IOMMU is off, or there is none.
    #[error(
        "{0} is in no IOMMU group: switch the IOMMU on in the firmware (VT-d, AMD-Vi) and \
         start the kernel with intel_iommu=on (on AMD, without amd_iommu=off)"
    )]
    NoIommuGroup(PciAddress),
    /// Others in the group are driven by the host.
    #[error(
        "{address} shares IOMMU group {group} with {}: unbind those first (echo ADDRESS > \
         /sys/bus/pci/devices/ADDRESS/driver/unbind), or put the drive in another slot",
        join(others)
    )]
    SharedGroup {
        /// The drive.
        address: PciAddress,
        /// The group.
        group: u32,
        /// The functions that host drivers hold.
        others: Vec<Neighbour>,
    },
    /// Something uses the drive.
    #[error("{address} is in use, and stays as it is:\n  {}", lines(uses))]
    InUse {
        /// The drive.
        address: PciAddress,
        /// All that use it.
        uses: Vec<Use>,
    },
    /// Another driver than vfio-pci has the drive.
    #[error(
        "{address} is driven by {}: give it to vfio-pci with `vssd device bind {address}`",
        driver.as_deref().unwrap_or("nobody")
    )]
    NotBound {
        /// The drive.
        address: PciAddress,
        /// The driver that has it.
        driver: Option<String>,
    },
    /// A node of VFIO does not exist.
    #[error(
        "there is no {}: load VFIO with `modprobe vfio-pci`, and bind the drive again",
        .0.display()
    )]
    NoNode(PathBuf),
    /// A node of VFIO belongs to somebody else.
    #[error(
        "you may not open {path}: `sudo chown $USER {path}` gives it to you, or run this as root",
        path = .0.display()
    )]
    NodeForbidden(PathBuf),
    /// Somebody has a node of VFIO open.
    #[error("{path} is in use by another program: end that (`sudo fuser -v {path}`)", path = .0.display())]
    NodeBusy(PathBuf),
    /// The kernel has no iommufd for the drive.
    #[error("the kernel has no iommufd, or not for vfio-pci: use the drive by its group")]
    NoIommufd,
    /// The IOMMU cannot remap interrupts.
    #[error(
        "{0}: the IOMMU does not remap interrupts, so that a device could fake them: switch \
         that on in the firmware, or accept it with `echo 1 > \
         /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts`"
    )]
    UnsafeInterrupts(PciAddress),
    /// A reset of the bus would reset others.
    #[error(
        "{address} cannot be reset alone, and {others} would be reset with it: bind those, too"
    )]
    SharedBus {
        /// The drive.
        address: PciAddress,
        /// The others.
        others: String,
    },
    /// The driver is not there.
    #[error("the kernel has no driver {driver}: load it with `modprobe {driver}`")]
    NoDriver {
        /// The driver.
        driver: &'static str,
    },
    /// Probing left the drive with another driver, or none.
    #[error("the kernel did not give {address} to {driver}: `dmesg` may say why")]
    NotTaken {
        /// The drive.
        address: PciAddress,
        /// The driver that was to take it.
        driver: &'static str,
    },
    /// The controller did not come up with the kernel's driver.
    #[error("{address} is with nvme again, but its controller is {state}: `dmesg` may say why")]
    NotLive {
        /// The drive.
        address: PciAddress,
        /// What its state is instead.
        state: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {operation} {}: {source}{}", path.display(), way_out(source))]
    File {
        /// `read`, `write` or `claim`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ": run this as root (sudo)",
        _ => "",
    }
}

fn join(items: &[impl Display]) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn lines(items: &[impl Display]) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.join("\n  ")
}
