//! A device for the program to work on.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The program, with nothing to read.
pub(crate) fn vssd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vssd"));
    command.stdin(Stdio::null());
    command
}

/// A `vssd serve` at the socket `s` of a directory of its own, until it is
/// dropped.
pub(crate) struct Served {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) child: Child,
}

impl Served {
    /// Serves `disk`, which may bring more arguments, as an NVMe drive.
    pub(crate) fn start(disk: &[&str]) -> Self {
        Self::start_as("--vfio-user", disk)
    }

    /// Serves `disk` by way of `front`.
    pub(crate) fn start_as(front: &str, disk: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), front, disk)
    }

    /// The same, in a directory that may hold something already.
    pub(crate) fn start_in(directory: tempfile::TempDir, front: &str, disk: &[&str]) -> Self {
        let child = vssd()
            .arg("serve")
            .args(disk)
            .args([front, "s"])
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut served = Self { directory, child };
        // What it prints comes when the socket is there.
        let mut said = served.child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut said, &mut [0]).unwrap();
        // Kept open and read, so that nobody waits for a full pipe.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        served
    }

    /// A file of the directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
