//! Giving a drive to vfio-pci, and back to the kernel's nvme driver.

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::system::{link_name, text};
use super::{Drive, PciAddress, PciError, System, Use};

const VFIO: &str = "vfio-pci";
const NVME: &str = "nvme";

/// Drivers that leave an IOMMU group to user space: they do no DMA of their own.
const HARMLESS: [&str; 3] = [VFIO, "pcieport", "pci-stub"];

impl System {
    /// The drive at `address`, where nothing is against giving it to vfio-pci.
    ///
    /// # Errors
    ///
    /// What is against it.
    pub fn bindable(&self, address: PciAddress) -> Result<Drive, PciError> {
        let drive = self.drive(address)?;
        let group = drive.group.ok_or(PciError::NoIommuGroup(address))?;
        let mut others = drive.neighbours.clone();
        others.retain(|other| {
            let driver = other.driver.as_deref();
            driver.is_some_and(|driver| !HARMLESS.contains(&driver))
        });
        if !others.is_empty() {
            return Err(PciError::SharedGroup {
                address,
                group,
                others,
            });
        }
        in_use(address, drive.uses.clone())?;
        self.needs(VFIO)?;
        Ok(drive)
    }

    /// Gives an unused drive to vfio-pci, and returns the node by which
    /// user space drives it. Nothing happens where vfio-pci has it already.
    /// `pause` waits for a moment, and says whether to look again.
    ///
    /// # Errors
    ///
    /// What [`System::bindable`] says, and what the kernel does.
    pub fn bind(
        &self,
        address: PciAddress,
        mut pause: impl FnMut() -> bool,
    ) -> Result<PathBuf, PciError> {
        let drive = self.bindable(address)?;
        let group = drive.group.ok_or(PciError::NoIommuGroup(address))?;
        let node = self.path(format!("dev/vfio/{group}"));
        if drive.driver.as_deref() == Some(VFIO) {
            return Ok(node);
        }
        let wanted = self.function(address).join("driver_override");
        write(&wanted, VFIO)?;
        let moved = self
            .release(address)
            .and_then(|()| self.probe(address, VFIO, &mut pause));
        if let Err(error) = moved {
            // Back to where it was, as far as that goes: the first error
            // is the one to tell.
            let _ = write(&wanted, "\n");
            if link_name(&self.function(address).join("driver")).is_none() {
                let _ = write(
                    &self.path("sys/bus/pci/drivers_probe"),
                    &address.to_string(),
                );
            }
            return Err(error);
        }
        Ok(node)
    }

    /// Takes the drive from its driver. What uses it is looked for once more,
    /// and its block devices are claimed meanwhile, so that nobody can mount
    /// one in between.
    fn release(&self, address: PciAddress) -> Result<(), PciError> {
        let drive = self.bindable(address)?;
        let claims = self.claim(&drive)?;
        if drive.driver.is_some() {
            let file = self.function(address).join("driver/unbind");
            write(&file, &address.to_string())?;
        }
        drop(claims);
        Ok(())
    }

    /// Opens the drive's block devices exclusively, as mounting one does.
    fn claim(&self, drive: &Drive) -> Result<Vec<OwnedFd>, PciError> {
        let mut claims = Vec::new();
        for namespace in &drive.namespaces {
            let path = self.path("dev").join(&namespace.name);
            let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
            match rustix::fs::open(&path, flags, Mode::empty()) {
                Ok(claim) => claims.push(claim),
                Err(Errno::BUSY) => {
                    let device = namespace.name.clone();
                    in_use(drive.address, vec![Use::Claimed { device }])?;
                }
                Err(error) => {
                    return Err(PciError::File {
                        operation: "claim",
                        path,
                        source: error.into(),
                    });
                }
            }
        }
        Ok(claims)
    }

    /// Gives the drive back to the kernel's nvme driver, waits until its
    /// controller works, and returns the drive as it is then. Nothing happens
    /// where nvme has it already. `pause` is as for [`System::bind`].
    ///
    /// # Errors
    ///
    /// Where a process drives it, the kernel refuses, or the controller does
    /// not come up.
    pub fn unbind(
        &self,
        address: PciAddress,
        mut pause: impl FnMut() -> bool,
    ) -> Result<Drive, PciError> {
        let drive = self.drive(address)?;
        self.needs(NVME)?;
        let at = self.function(address);
        if drive.driver.as_deref() == Some(VFIO) {
            in_use(address, self.user_space_drivers(&drive)?)?;
        }
        let wanted = at.join("driver_override");
        if !matches!(text(&wanted).as_str(), "" | "(null)") {
            write(&wanted, "\n")?;
        }
        if drive.driver.as_deref() != Some(NVME) {
            if drive.driver.is_some() {
                write(&at.join("driver/unbind"), &address.to_string())?;
            }
            self.probe(address, NVME, &mut pause)?;
        }
        loop {
            let drive = self.drive(address)?;
            let state = drive.controller.as_ref().map_or("absent".into(), |name| {
                text(&self.path("sys/class/nvme").join(name).join("state"))
            });
            let live = state == "live";
            // Namespaces are found a little after that, where there are any.
            if live && !drive.namespaces.is_empty() {
                return Ok(drive);
            }
            if !pause() {
                return if live {
                    Ok(drive)
                } else {
                    Err(PciError::NotLive { address, state })
                };
            }
        }
    }

    /// Has the kernel look for a driver, and sees that it is the right one.
    fn probe(
        &self,
        address: PciAddress,
        driver: &'static str,
        pause: &mut impl FnMut() -> bool,
    ) -> Result<(), PciError> {
        let file = self.path("sys/bus/pci/drivers_probe");
        write(&file, &address.to_string())?;
        let link = self.function(address).join("driver");
        while link_name(&link).as_deref() != Some(driver) {
            if !pause() {
                return Err(PciError::NotTaken { address, driver });
            }
        }
        Ok(())
    }

    fn needs(&self, driver: &'static str) -> Result<(), PciError> {
        if self.path("sys/bus/pci/drivers").join(driver).exists() {
            Ok(())
        } else {
            Err(PciError::NoDriver { driver })
        }
    }
}

fn in_use(address: PciAddress, uses: Vec<Use>) -> Result<(), PciError> {
    if uses.is_empty() {
        Ok(())
    } else {
        Err(PciError::InUse { address, uses })
    }
}

/// Writes to a file of sysfs, in one call as that wants it.
fn write(path: &Path, what: &str) -> Result<(), PciError> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(what.as_bytes()))
        .map_err(|source| PciError::File {
            operation: "write",
            path: path.to_owned(),
            source,
        })
}
