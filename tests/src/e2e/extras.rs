//! What only some tests want of the kit, and console sessions with firmware.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use qemu::{BootLoader, Kernel, Kit, KitError, KitOptions};

use super::guest::{Vm, narrate};
use super::time::{Stopwatch, until};

/// How long a console may be silent in one read: no more than a beat.
const BEAT: Duration = Duration::from_millis(100);

/// Whether slow tests are to be run: `cargo xtask test --all` sets `VSSD_SLOW`.
/// A test that is to be left out has said so when this returns.
#[must_use]
pub fn slow(name: &str) -> bool {
    let wanted = std::env::var_os("VSSD_SLOW").is_some();
    if !wanted {
        eprintln!("SKIPPED, for it is slow and VSSD_SLOW is not set: {name}");
    }
    wanted
}

impl Vm {
    /// The kit with another kernel.
    ///
    /// # Panics
    ///
    /// Where it cannot be had.
    #[must_use]
    pub fn kit_with_kernel(&self, kernel: Kernel) -> Kit {
        let options = KitOptions::default();
        let kit = self.kit().with_kernel(kernel, &options, &mut narrate);
        kit.unwrap_or_else(|e| panic!("{e}"))
    }

    /// A kernel with iommufd, as QEMU options that take it instead of the one before;
    /// none, which it says, where this machine cannot build one.
    ///
    /// # Panics
    ///
    /// Where building it fails.
    #[must_use]
    pub fn iommufd_kernel(&self) -> Option<[String; 2]> {
        let kernel = self
            .kit()
            .iommufd_kernel(&KitOptions::default(), &mut narrate);
        match kernel {
            Ok(kernel) => Some(["-kernel".to_owned(), kernel.display().to_string()]),
            Err(error @ KitError::NoCompiler { .. }) => {
                self.say(&format!("SKIPPED: {error}"));
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// An image with the tools of XFS and Btrfs, as a QEMU option that adds it to a
    /// guest as a disk.
    ///
    /// # Panics
    ///
    /// Where it cannot be had.
    #[must_use]
    pub fn file_system_tools(&self) -> [String; 4] {
        let options = KitOptions::default();
        let image = self.kit().file_system_tools(&options, &mut narrate);
        let image = image.unwrap_or_else(|e| panic!("{e}"));
        [
            "-drive".to_owned(),
            format!(
                "if=none,id=extras,format=raw,snapshot=on,file={}",
                image.display()
            ),
            "-device".to_owned(),
            "virtio-blk-pci,drive=extras,serial=extras".to_owned(),
        ]
    }

    /// U-Boot, as QEMU options that make it the firmware.
    ///
    /// # Panics
    ///
    /// Where it cannot be had.
    #[must_use]
    pub fn u_boot(&self) -> [String; 2] {
        let rom = self.kit().host();
        let rom = rom.u_boot(&KitOptions::default(), &mut narrate);
        let rom = rom.unwrap_or_else(|e| panic!("{e}"));
        ["-bios".to_owned(), rom.display().to_string()]
    }

    /// A boot loader for UEFI.
    ///
    /// # Panics
    ///
    /// Where it cannot be had.
    #[must_use]
    pub fn boot_loader(&self) -> BootLoader {
        let loader = self.kit().host();
        let loader = loader.boot_loader(&KitOptions::default(), &mut narrate);
        loader.unwrap_or_else(|e| panic!("{e}"))
    }
}

/// A guest's console, seen from the host: one that has `Launch::console_socket`.
#[derive(Debug)]
pub struct Console {
    socket: UnixStream,
    heard: String,
    read: usize,
}

impl Console {
    /// Connects, which is what the guest waits for.
    ///
    /// # Panics
    ///
    /// Where nobody listens after a while.
    #[must_use]
    #[track_caller]
    pub fn connect(path: &Path) -> Self {
        let patience = Duration::from_secs(30);
        let socket = until(patience, "console", || UnixStream::connect(path).ok());
        socket
            .set_read_timeout(Some(BEAT))
            .expect("a socket takes a timeout");
        Self {
            socket,
            heard: String::new(),
            read: 0,
        }
    }

    /// Types a line.
    ///
    /// # Panics
    ///
    /// Where the guest is gone.
    #[track_caller]
    pub fn type_line(&mut self, line: &str) {
        // By the character, as people type: firmware's receivers hold but a few.
        for byte in line.bytes().chain(*b"\r") {
            self.socket
                .write_all(&[byte])
                .unwrap_or_else(|e| panic!("cannot type {line:?}: {e}"));
        }
    }

    /// Waits for `text`, beyond what earlier calls have gone through, and returns
    /// what came before it.
    ///
    /// # Panics
    ///
    /// Where it does not come; the message holds what did.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str, patience: Duration) -> String {
        let watch = Stopwatch::start();
        loop {
            if let Some((before, _)) = self.heard[self.read..].split_once(text) {
                let before = before.to_owned();
                self.read += before.len() + text.len();
                return before;
            }
            assert!(
                watch.elapsed() < patience,
                "no {text:?} within {patience:?}; the console said:\n{}",
                self.heard
            );
            let mut bytes = [0; 4096];
            let read = self.socket.read(&mut bytes);
            assert!(
                !matches!(read, Ok(0)),
                "the guest is gone before {text:?}; the console said:\n{}",
                self.heard
            );
            if let Ok(len) = read {
                // What is no text is no letter of what is waited for.
                let text = String::from_utf8_lossy(&bytes[..len]);
                self.heard.push_str(&text);
            }
        }
    }
}
