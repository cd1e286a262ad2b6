//! The peer: QEMU's storage daemon, as fast as it can be had.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use qemu::{Host, KitOptions, Silent};

use super::DISK_BYTES;
use super::cases::{Case, Medium};

/// A `qemu-storage-daemon`.
#[derive(Debug)]
pub(super) struct StorageDaemon {
    program: PathBuf,
    /// Its name and version, in its own words.
    pub(super) version: String,
}

impl StorageDaemon {
    /// The one that was named, or that of the kit.
    pub(super) fn find(named: Option<&Path>) -> Result<Self> {
        let program = match named {
            Some(path) => path.to_owned(),
            None => Host::storage_daemon(&KitOptions::default(), &mut Silent).context(
                "no qemu-storage-daemon to measure beside: name one by --storage-daemon",
            )?,
        };
        let output = Command::new(&program)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        ensure!(
            output.status.success(),
            "{} --version ended with {}",
            program.display(),
            output.status
        );
        let said = String::from_utf8_lossy(&output.stdout);
        let version = said.lines().next().unwrap_or_default().to_owned();
        Ok(Self { program, version })
    }

    /// Has it serve `disk` by a thread of its own, which polls, on `socket`; files
    /// through io_uring.
    pub(super) fn command(&self, disk: &Path, case: &Case, socket: &Path) -> Command {
        let node = match case.medium {
            Medium::Null => format!("driver=null-co,node-name=disk,size={DISK_BYTES}"),
            Medium::Raw | Medium::Ram => format!(
                "driver=file,node-name=disk,aio=io_uring,discard=unmap,filename={}",
                disk.display()
            ),
        };
        let export = format!(
            "type=vhost-user-blk,id=export,node-name=disk,writable=on,iothread=worker,\
             num-queues={},addr.type=unix,addr.path={}",
            case.work.queues,
            socket.display()
        );
        let mut command = Command::new(&self.program);
        command.args(["--object", "iothread,id=worker"]).args([
            "--blockdev",
            &node,
            "--export",
            &export,
        ]);
        command
    }
}
