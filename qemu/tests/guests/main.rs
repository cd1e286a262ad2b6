//! Real guests in a real QEMU, with QEMU's own NVMe drive where a drive is needed.
//!
//! The judge of the counters is QEMU, which traces each command that its drive gets.
//! The kit is built once, into the user's cache; a boot takes a few seconds.
#![expect(
    clippy::print_stderr,
    reason = "tests that download and boot tell what they are doing"
)]

mod boots;
mod build;
mod failures;
mod jobs;
mod machines;
mod recipes;

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use qemu::{Drive, Event, Guest, JobOutcome, Kit, KitOptions, Launch};

/// Much more than any of these jobs needs, on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(120);

/// The user's kit, built if it is not there.
fn kit() -> &'static Kit {
    static KIT: OnceLock<Kit> = OnceLock::new();
    KIT.get_or_init(|| {
        Kit::open_or_build(&KitOptions::default(), &mut narrate).expect("the kit can be built")
    })
}

fn narrate(event: Event<'_>) {
    match event {
        Event::Step { what } => eprintln!("{what}"),
        Event::Fetch {
            what,
            bytes_done: 0,
            bytes_total,
        } => eprintln!("fetching {what}: {} MB", bytes_total / 1_000_000),
        _ => {}
    }
}

/// A directory for one test, and a copy of the root image in it.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn with_root() -> Self {
        let disk = Self::empty();
        kit().copy_root_image(&disk.image()).unwrap();
        disk
    }

    /// 1 GiB of nothing.
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join("disk.img")).unwrap();
        file.set_len(1 << 30).unwrap();
        Self { dir }
    }

    fn image(&self) -> PathBuf {
        self.path("disk.img")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn drive(&self) -> Drive {
        Drive::QemuNvme {
            image: self.image(),
        }
    }
}

/// Runs a guest to the end of its job.
fn run(launch: Launch<'_>) -> JobOutcome {
    let mut guest = start(launch);
    match guest.wait(PATIENCE) {
        Ok(outcome) => outcome,
        Err(e) => panic!("{e}"),
    }
}

fn start(launch: Launch<'_>) -> Guest {
    let guest = launch.spawn().unwrap();
    eprintln!("running {}", guest.command_line());
    guest
}

/// Runs a program of the kit's e2fsprogs; returns its stdout if it succeeds.
fn e2fs(program: &str, args: &[&str], image: &Path) -> Result<String, String> {
    let output = std::process::Command::new(kit().host().tool(program))
        .args(args)
        .arg(image)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(text + &String::from_utf8_lossy(&output.stderr))
    }
}
