//! In a guest: its kernel's NVMe driver and fio, on our drive and on QEMU's own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use qemu::{Drive, Kit, KitOptions, Launch, Root, Silent};
use serde::Serialize;

use super::DISK_BYTES;
use crate::median;
use crate::server::{Cores, Server};

/// The longest that the guest may take.
const PATIENCE: Duration = Duration::from_secs(900);
const DEPTHS: [u16; 2] = [1, 16];

/// fio in turns on one drive and the other, with the depth and the drive told.
const JOB: &str = r#"
disk() {
    for controller in /sys/class/nvme/nvme*; do
        read -r serial rest <"$controller/serial"
        [ "$serial" != "$1" ] || echo "/dev/${controller##*/}n1"
    done
}
measure() {
    iops=$(fio --name=bench --filename="$2" --rw=randread --bs=4k --direct=1 \
        --ioengine=io_uring --iodepth="$3" --norandommap --time_based --runtime=3 \
        --output-format=terse --terse-version=3 | cut -d ';' -f 8)
    echo "measured $1 $3 $iops"
}
for turn in 1 2 3; do
    for depth in 1 16; do
        measure ours "$(disk OURS)" $depth
        measure qemu "$(disk qemu1)" $depth
    done
done
"#;

/// IOPS in a guest, where its emulation is what limits both.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Row {
    pub(super) depth: u16,
    /// On ours, recording.
    pub(super) ours: f64,
    /// On QEMU's NVMe.
    pub(super) qemu: f64,
    /// The median of the turns' ratios.
    pub(super) ratio: f64,
}

/// Boots a guest with both drives, each on an image of its own, and measures.
pub(super) fn measure(vssd: &Path, directory: &Path, cores: Cores) -> Result<Vec<Row>> {
    let kit = Kit::open_or_build(&KitOptions::default(), &mut Silent)
        .context("there is no guest to measure in")?;
    let images = ["ours.img", "theirs.img"].map(|name| directory.join(name));
    for image in &images {
        let file = std::fs::File::create(image).context("cannot make a disk")?;
        file.set_len(DISK_BYTES).context("cannot make a disk")?;
    }
    let [ours, theirs] = images;
    let socket = directory.join("guest.sock");
    let traces = tempfile::tempdir().context("cannot make a directory")?;
    let mut command = Command::new(vssd);
    command
        .args(["serve", "--no-state", "--serial", "OURS", "--vfio-user"])
        .arg(&socket)
        .arg("--record")
        .arg(traces.path().join("guest.vtr"))
        .arg(ours);
    // Server and guest share both cores, as they would without a benchmark.
    cores.release()?;
    let server = Server::spawn_here(command, socket.clone())?;
    let mut guest = Launch::job(&kit, JOB)
        .root(Root::Tools)
        .drive(Drive::VfioUser { socket })
        .drive(Drive::QemuNvme { image: theirs })
        .spawn()?;
    let outcome = guest.wait(PATIENCE)?;
    server.stop()?;
    let of = |drive: &str, depth: u16| -> Vec<f64> {
        let wanted = format!("measured {drive} {depth} ");
        let lines = outcome.lines.iter();
        lines
            .filter_map(|line| line.strip_prefix(&wanted)?.trim().parse().ok())
            .collect()
    };
    DEPTHS
        .into_iter()
        .map(|depth| {
            let (ours, qemu) = (of("ours", depth), of("qemu", depth));
            ensure!(
                !ours.is_empty() && ours.len() == qemu.len(),
                "fio failed in the guest: {:#?}",
                outcome.lines
            );
            let ratios = ours.iter().zip(&qemu).map(|(ours, qemu)| ours / qemu);
            let ratio = median(ratios.collect());
            Ok(Row {
                depth,
                ours: median(ours),
                qemu: median(qemu),
                ratio,
            })
        })
        .collect()
}
