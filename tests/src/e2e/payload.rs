//! Files for a guest: programs of ours, traces, on a disk beside its drives.

use std::fs;
use std::path::Path;
use std::process::Command;

use qemu::Kit;

use super::disk::Scratch;

/// The disk's serial number, by which a job finds it.
const SERIAL: &str = "payload";

/// What a job runs first: the payload is mounted at `/payload`, which is the first
/// place where programs are looked for, and VFIO is loaded.
pub const PRELUDE: &str = r#"
set -e
exec 2>&1
PATH=/payload:$PATH
mkdir -p /payload
for disk in /sys/block/vd*; do
    [ "$(cat $disk/serial)" = payload ] || continue
    mount -o ro /dev/${disk##*/} /payload
done
for module in irqbypass vfio vfio_iommu_type1 vfio-pci-core vfio-pci; do
    [ -d /sys/bus/pci/drivers/vfio-pci ] && break
    insmod /run/kit/modules/$module.ko.xz 2>/dev/null || insmod /run/kit/modules/$module.ko
done
"#;

impl Scratch {
    /// A disk with `files`, each a path of this machine and a name in the guest, as
    /// QEMU options; see [`PRELUDE`].
    ///
    /// # Panics
    ///
    /// Where it cannot be made.
    #[must_use]
    pub fn payload(&self, kit: &Kit, files: &[(&Path, &str)]) -> [String; 4] {
        let tree = self.path("payload");
        fs::create_dir(&tree).expect("the temporary directory can be written to");
        let mut bytes = 0;
        for (from, name) in files {
            bytes += fs::copy(from, tree.join(name))
                .unwrap_or_else(|e| panic!("cannot copy {}: {e}", from.display()));
        }
        let image = self.path("payload.img");
        // A third more than the files: ext4 has tables of its own.
        let mib = (bytes >> 20) * 4 / 3 + 16;
        let output = Command::new(kit.host().tool("mke2fs"))
            .args(["-q", "-F", "-t", "ext4", "-d"])
            .args([&tree, &image])
            .arg(format!("{mib}M"))
            .output()
            .expect("mke2fs can be started");
        assert!(output.status.success(), "{output:?}");
        [
            "-drive".to_owned(),
            format!(
                "if=none,id=payload,format=raw,read-only=on,file={}",
                image.display()
            ),
            "-device".to_owned(),
            format!("virtio-blk-pci,drive=payload,serial={SERIAL}"),
        ]
    }
}
