//! Running other programs, and the tasks that are little more than that.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// `cargo`, as the one that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The top of the source tree.
pub(crate) fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

/// Runs `command` to its end; an error where it fails.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// What `command` prints; an error, with what it complained of, where it fails.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let shown = show(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, error.trim_end());
    }
    Ok(output.stdout)
}

fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into)
}

/// Builds the program as users have it; its path.
pub(crate) fn build_vssd() -> Result<PathBuf> {
    check(cargo().args(["build", "--release", "--package", "vssd-cli"]))?;
    Ok(target().join("release/vssd"))
}

/// `cargo xtask demo`.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    check(Command::new(build_vssd()?).arg("demo").args(arguments))
}

/// `cargo xtask bench`.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let vssd = build_vssd()?;
    check(
        cargo()
            .args(["run", "--release", "--package", "bench", "--"])
            .args(arguments)
            .arg("--vssd")
            .arg(vssd),
    )
}
