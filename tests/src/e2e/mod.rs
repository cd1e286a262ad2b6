//! Real guests on real virtual SSDs: the program `vssd`, a stock QEMU, Debian's
//! kernel with its own NVMe driver, real file systems.
//!
//! ```text
//!   a test --> Server: a process `vssd serve`   <-- socket -->   QEMU <-- Launch
//!     |          log, trace, image                                |
//!     +--- judges: e2fsprogs, sha256sum, the kernel's counters <--+ JobOutcome
//! ```
//!
//! What a test asserts, it takes from somebody else where there is somebody: the
//! guest's kernel counts the commands, e2fsprogs reads the image, fio verifies the
//! data. The tests themselves stand in `tests/e2e_*.rs`.
//!
//! | variable     | what it does                                                  |
//! |--------------|---------------------------------------------------------------|
//! | `VSSD_NO_VM` | set to anything: every test that boots a guest is left out    |
//! | `VSSD_SLOW`  | set to anything: slow tests are run too, as by `cargo xtask test --all` |
//! | `VSSD_SEED`  | the seed of tests that kill at random, as they printed it       |
//! | `VSSD_BIN`   | the `vssd` to test, instead of the one in the target directory |
//! | `VSSD_IOMMUFD_KERNEL` | a kernel with iommufd, for the one test that wants it |
//!
//! The guest kit has variables of its own; see the crate `qemu`.

#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they are doing"
)]

mod disk;
mod extras;
mod guest;
mod payload;
mod program;
mod server;
mod tally;
mod time;
mod work;
mod wrappers;

pub use disk::{Scratch, qemu_img, sha256_of, sha256_of_files, sum_of_head};
pub use extras::{Console, slow};
pub use guest::{PATIENCE, Vm, run, section, start, succeeded};
pub use payload::PRELUDE;
pub use program::{vssd, vssd_json, vssd_program};
pub use server::{Serve, Server, Thread};
pub use tally::{Tally, commands_of, failures, the_kernel_counted_what_the_trace_holds};
pub use time::{Stopwatch, pause, until};
pub use work::{FILES_SECTION, WORK};
pub use wrappers::{failing_calls, own_mounts};
