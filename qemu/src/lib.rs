//! The guest kit: a stock QEMU with a Linux guest in it, on any machine.
//!
//! The drives of this project are real to a guest only if a real guest uses them: a
//! QEMU that nobody patched, a distribution's kernel with its own NVMe driver, real
//! file systems. This crate provides those, runs them, and brings back what a job in
//! the guest printed and what the guest's kernel counted.
//!
//! ```text
//!   Kit::open_or_build ──> cache: QEMU, firmware, e2fsprogs     (Host)
//!                                 kernel, initramfs, root image (Kit)
//!                                 other kernels, U-Boot, a boot loader: when asked for
//!   Launch::job(&kit, script).drive(..).spawn() ──> Guest ──> JobOutcome
//!   Launch::vm(&host, profile).drive(..).spawn() ─> Guest, for a user's own system
//! ```
//!
//! Everything comes from Debian's archive, from the mirror that the machine's own apt
//! uses, and goes into the user's cache directory: nothing is installed, and no step
//! needs privileges. Guests run under KVM where that works, else under TCG.
//!
//! The crate does not serve drives and knows none of the others of this workspace: a
//! drive is a socket that somebody else listens on. A job's guest is not booted
//! from a boot loader either: firmware starts the kernel that QEMU hands it, and
//! only then is the drive the root file system.
//!
//! | variable       | what it does                                              |
//! |----------------|-----------------------------------------------------------|
//! | `VSSD_CACHE`   | where the kit is kept, instead of `~/.cache/vssd`         |
//! | `VSSD_MIRROR`  | the Debian mirror, instead of apt's own                   |
//! | `VSSD_QEMU`    | the QEMU to use, instead of looking for one               |
//! | `VSSD_ACCEL`   | `kvm` or `tcg`, instead of finding out what works         |

mod build;
mod error;
mod kit;
mod progress;
mod quote;
mod run;

pub use error::KitError;
pub use kit::{BootLoader, Host, Kernel, Kit, KitOptions, QemuChoice};
pub use progress::{Event, Progress, Silent};
pub use quote::command_line;
pub use run::{
    accel::Accel,
    command::{vfio_user_options, vhost_user_options},
    guest::Guest,
    launch::{Display, Drive, Firmware, Launch, Network, Profile, Root},
    outcome::{DriveCounters, JobOutcome},
};
