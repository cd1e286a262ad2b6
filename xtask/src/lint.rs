//! `cargo xtask lint`: everything that is checked without running.

use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{cargo, check};

/// Lints and documentation with warnings denied, and the licences of every
/// dependency.
pub(crate) fn run() -> Result<()> {
    check(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    check(
        cargo()
            .env("RUSTDOCFLAGS", "-D warnings")
            .args(["doc", "--workspace", "--no-deps"]),
    )?;
    licences()
}

/// `cargo deny` on licences, bans and sources. Its advisory check wants a
/// database from the network at every run, so it is not part of this.
fn licences() -> Result<()> {
    let present = Command::new("cargo-deny")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !present {
        check(cargo().args(["install", "--locked", "cargo-deny"]))
            .context("cargo-deny is missing and cannot be installed")?;
    }
    check(cargo().args(["deny", "check", "licenses", "bans", "sources"]))
}
