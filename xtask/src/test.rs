//! `cargo xtask test`: every test that a change should pass; with `--all`, every
//! test there is.

use anyhow::Result;

use crate::run::{build_vssd, cargo, check};

/// Runs the tests; the ones that boot guests too, unless `no_vm`; the slow ones
/// only where `all` are wanted.
pub(crate) fn run(all: bool, no_vm: bool) -> Result<()> {
    // The guests' disk throughput is that of the server, so the tests that
    // boot them run on optimised code.
    let vssd = build_vssd()?;
    let mut command = cargo();
    command.args(["test", "--workspace"]).env("VSSD_BIN", vssd);
    if all {
        command.env("VSSD_SLOW", "1");
    }
    if no_vm {
        command.args(["--exclude", "qemu"]).env("VSSD_NO_VM", "1");
    }
    check(&mut command)
}
