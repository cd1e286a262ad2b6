//! What uses a drive.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::PathBuf;

use super::system::{head, link_name, names, text};
use super::{Drive, PciAddress, PciError, System};

/// Something that uses a drive. Its text says what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Use {
    /// A mounted file system.
    Mount {
        /// The block device.
        device: String,
        /// Where it is mounted.
        at: String,
    },
    /// Swap space.
    Swap {
        /// The block device.
        device: String,
    },
    /// A block device above: md, device mapper, bcache.
    Holder {
        /// The block device.
        device: String,
        /// The one above it.
        holder: String,
    },
    /// A member of a mounted btrfs.
    Btrfs {
        /// The block device.
        device: String,
    },
    /// Another controller leads to the same namespace.
    Multipath {
        /// The namespace's block device.
        device: String,
        /// The other path.
        path: String,
    },
    /// The kernel holds it for something that cannot be named (ZFS, say).
    Claimed {
        /// The block device.
        device: String,
    },
    /// A process has it open.
    Process {
        /// The file that is open.
        node: String,
        /// The process.
        pid: u32,
        /// Its command.
        command: String,
    },
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount { device, at } => {
                write!(f, "{device} is mounted at {at}: umount {at}")
            }
            Self::Swap { device } => write!(f, "{device} is swap: swapoff /dev/{device}"),
            Self::Holder { device, holder } => {
                let how = match holder.trim_end_matches(|c: char| c.is_ascii_digit()) {
                    "md" => format!("mdadm --stop /dev/{holder}"),
                    "dm-" => format!(
                        "close it (vgchange -an, cryptsetup close, or dmsetup remove /dev/{holder})"
                    ),
                    "bcache" => format!("echo 1 > /sys/block/{holder}/bcache/stop"),
                    _ => "stop it".into(),
                };
                write!(f, "{device} is held by {holder}: {how}")
            }
            Self::Btrfs { device } => {
                write!(f, "{device} is part of a mounted btrfs: umount that")
            }
            Self::Multipath { device, path } => write!(
                f,
                "{device} is reached over {path}, too: unbind the other controller first"
            ),
            Self::Claimed { device } => write!(
                f,
                "{device} is claimed by the kernel: stop what uses it (zpool export, say)"
            ),
            Self::Process { node, pid, command } => {
                write!(f, "{node} is open in {command} (process {pid}): end that")
            }
        }
    }
}

impl System {
    /// All that uses the namespaces that `paths` lead to.
    pub(super) fn uses(&self, paths: &[String]) -> Result<Vec<Use>, PciError> {
        let mut uses = Vec::new();
        if paths.is_empty() {
            return Ok(uses);
        }
        let every = names(&self.path("sys/block"))?;
        for path in paths.iter().filter(|path| **path != head(path)) {
            let others = every.iter().filter(|other| *other != path);
            let device = head(path);
            uses.extend(
                others
                    .filter(|other| head(other) == device && **other != device)
                    .map(|other| Use::Multipath {
                        device: device.clone(),
                        path: other.clone(),
                    }),
            );
        }
        let mut numbers = BTreeMap::new();
        self.holders(paths, &mut numbers, &mut uses)?;
        self.mounts(&numbers, &mut uses)?;
        let devices: BTreeSet<&str> = numbers.values().map(String::as_str).collect();
        for system in names(&self.path("sys/fs/btrfs"))? {
            let members = names(&self.path("sys/fs/btrfs").join(system).join("devices"))?;
            uses.extend(
                members
                    .into_iter()
                    .filter(|member| devices.contains(member.as_str()))
                    .map(|device| Use::Btrfs { device }),
            );
        }
        for device in &devices {
            uses.extend(self.openers(&format!("/dev/{device}"))?);
        }
        Ok(uses)
    }

    /// Walks the partitions and all that is above, and notes each block
    /// device's number.
    fn holders(
        &self,
        paths: &[String],
        numbers: &mut BTreeMap<String, String>,
        uses: &mut Vec<Use>,
    ) -> Result<(), PciError> {
        let mut disks: Vec<String> = paths.iter().map(|path| head(path)).collect();
        let mut seen = BTreeSet::new();
        while let Some(disk) = disks.pop() {
            if !seen.insert(disk.clone()) {
                continue;
            }
            let at = self.path("sys/block").join(&disk);
            let mut parts = vec![(disk.clone(), at.clone())];
            for name in self.partitions(&disk)? {
                parts.push((name.clone(), at.join(name)));
            }
            for (device, at) in parts {
                numbers.insert(text(&at.join("dev")), device.clone());
                for holder in names(&at.join("holders"))? {
                    uses.push(Use::Holder {
                        device: device.clone(),
                        holder: holder.clone(),
                    });
                    disks.push(holder);
                }
            }
        }
        Ok(())
    }

    /// Mounted file systems and swap.
    fn mounts(
        &self,
        numbers: &BTreeMap<String, String>,
        uses: &mut Vec<Use>,
    ) -> Result<(), PciError> {
        for line in self.read("proc/self/mountinfo")?.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let (Some(number), Some(at)) = (words.get(2), words.get(4))
                && let Some(device) = numbers.get(*number)
            {
                uses.push(Use::Mount {
                    device: device.clone(),
                    at: (*at).replace("\\040", " "),
                });
            }
        }
        for line in self.read("proc/swaps")?.lines().skip(1) {
            let file = line.split_ascii_whitespace().next().unwrap_or_default();
            // Swap on a device above is named by /dev/dm-0 here, whatever
            // link it was switched on by.
            if let Some(name) = file.strip_prefix("/dev/")
                && numbers.values().any(|device| device == name)
            {
                uses.push(Use::Swap {
                    device: name.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The node of its own by which VFIO drives a function, where the kernel
    /// makes one: `/dev/vfio/devices/vfio0`.
    pub(crate) fn device_node(&self, address: PciAddress) -> Option<PathBuf> {
        let names = names(&self.function(address).join("vfio-dev")).ok()?;
        let node = self.path("dev/vfio/devices").join(names.first()?);
        node.exists().then_some(node)
    }

    /// The processes that have the drive's group, or the drive, open by VFIO.
    pub(crate) fn user_space_drivers(&self, drive: &Drive) -> Result<Vec<Use>, PciError> {
        let mut uses = Vec::new();
        if let Some(group) = drive.group {
            uses.extend(self.openers(&format!("/dev/vfio/{group}"))?);
        }
        for name in names(&self.function(drive.address).join("vfio-dev"))? {
            uses.extend(self.openers(&format!("/dev/vfio/devices/{name}"))?);
        }
        uses.retain(
            |other| !matches!(other, Use::Process { pid, .. } if *pid == std::process::id()),
        );
        Ok(uses)
    }

    /// The processes that have `node` open, as far as one may look.
    pub(super) fn openers(&self, node: &str) -> Result<Vec<Use>, PciError> {
        let mut found = Vec::new();
        for process in names(&self.path("proc"))? {
            let Ok(pid) = process.parse() else { continue };
            let at = self.path("proc").join(process);
            // Processes come and go, and those of others are closed to us.
            let descriptors = names(&at.join("fd")).unwrap_or_default();
            let name = node.rsplit('/').next();
            let opened = descriptors.iter().any(|descriptor| {
                let link = at.join("fd").join(descriptor);
                link_name(&link).as_deref() == name
                    && fs::read_link(&link).is_ok_and(|target| target.as_os_str() == node)
            });
            if opened {
                found.push(Use::Process {
                    node: node.to_owned(),
                    pid,
                    command: text(&at.join("comm")),
                });
            }
        }
        Ok(found)
    }

    fn read(&self, below: &str) -> Result<String, PciError> {
        let path = self.path(below);
        fs::read_to_string(&path).map_err(|source| PciError::File {
            operation: "read",
            path,
            source,
        })
    }
}
