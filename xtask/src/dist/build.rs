//! A static program, for this machine or for another.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{cargo, check, output, target};

/// What links for a target that is not this machine, and the Debian packages that
/// have it.
struct Linker {
    target: &'static str,
    program: &'static str,
    packages: &'static str,
}

const LINKERS: [Linker; 4] = [
    Linker {
        target: "aarch64-unknown-linux-gnu",
        program: "aarch64-linux-gnu-gcc",
        packages: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    },
    Linker {
        target: "x86_64-unknown-linux-gnu",
        program: "x86_64-linux-gnu-gcc",
        packages: "gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
    },
    // Of the machine's own architecture, the one that Debian has.
    Linker {
        target: "aarch64-unknown-linux-musl",
        program: "musl-gcc",
        packages: "musl-tools",
    },
    Linker {
        target: "x86_64-unknown-linux-musl",
        program: "musl-gcc",
        packages: "musl-tools",
    },
];

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// The target that this machine is.
pub(super) fn host() -> Result<String> {
    let about = output(rustc().arg("-vV"))?;
    let about = String::from_utf8_lossy(&about);
    let line = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line
        .context("`rustc -vV` does not say which target this machine is")?
        .to_owned())
}

/// Builds the program for `triple`; its path.
pub(super) fn program(triple: &str, host: &str) -> Result<PathBuf> {
    let mut command = cargo();
    command.args([
        "rustc",
        "--release",
        "--package",
        "vssd-cli",
        "--bin",
        "vssd",
    ]);
    let mut directory = target();
    if triple != host {
        has_library(triple)?;
        if let Some((variable, linker)) = linker(triple, host)? {
            command.env(variable, linker);
        }
        command.args(["--target", triple]);
        directory.push(triple);
    }
    // Of the program only, so that all it is made of is as `cargo build` has it.
    // Without the lines of source in it, it is a third as large.
    command.args([
        "--",
        "-C",
        "target-feature=+crt-static",
        "-C",
        "strip=debuginfo",
    ]);
    check(&mut command)?;
    Ok(directory.join("release/vssd"))
}

/// Whether Rust can build for `triple`.
fn has_library(triple: &str) -> Result<()> {
    let asked = output(rustc().args(["--print", "target-libdir", "--target", triple]));
    let directory = asked.with_context(|| {
        format!("Rust knows no target {triple}; `rustc --print target-list` lists them")
    })?;
    let directory = PathBuf::from(String::from_utf8_lossy(&directory).trim());
    let mut files = fs::read_dir(directory).into_iter().flatten().flatten();
    if files.any(|file| file.file_name().to_string_lossy().starts_with("libstd-")) {
        return Ok(());
    }
    bail!("the standard library for {triple} is missing: `rustup target add {triple}`")
}

/// What links for `triple`, as the variable that tells cargo; nothing where the
/// user has told it already.
fn linker(triple: &str, host: &str) -> Result<Option<(String, OsString)>> {
    let upper = triple.to_uppercase().replace(['-', '.'], "_");
    let variable = format!("CARGO_TARGET_{upper}_LINKER");
    if std::env::var_os(&variable).is_some() {
        return Ok(None);
    }
    let same = |other: &str| triple.split('-').next() == other.split('-').next();
    let known = LINKERS
        .iter()
        .find(|linker| linker.target == triple)
        .filter(|linker| linker.program != "musl-gcc" || same(host));
    let Some(known) = known else {
        bail!("no C compiler is known that links for {triple} here: name one in {variable}")
    };
    if Command::new(known.program)
        .arg("--version")
        .output()
        .is_err()
    {
        bail!(
            "{} is missing, which links for {triple}: `apt-get install {}`, or name another in {variable}",
            known.program,
            known.packages
        );
    }
    Ok(Some((variable, known.program.into())))
}

/// Refuses a program that is not for `triple`, or that wants libraries of the
/// machine it runs on.
pub(super) fn refuse_unfit(program: &Path, triple: &str) -> Result<()> {
    let shown = program.display();
    fs::metadata(program).with_context(|| format!("cannot read {shown}"))?;
    let mut readelf = Command::new("readelf");
    readelf.args(["-hlW"]).arg(program).env("LC_ALL", "C");
    let about = output(&mut readelf).with_context(|| {
        format!("cannot look into {shown}: it is no program, or binutils is missing")
    })?;
    let about = String::from_utf8_lossy(&about);
    let machine = match triple.split('-').next() {
        Some("x86_64") => "X86-64",
        Some("aarch64") => "AArch64",
        _ => "",
    };
    let line = about
        .lines()
        .find(|line| line.trim_start().starts_with("Machine:"));
    let line = line.with_context(|| format!("{shown} is no program"))?;
    if !line.contains(machine) {
        bail!(
            "{shown} is not for {triple}: its machine is{}",
            line.trim_start()
                .trim_start_matches("Machine:")
                .trim_end()
                .replace("  ", "")
        );
    }
    if about
        .lines()
        .any(|line| line.trim_start().starts_with("INTERP"))
    {
        bail!(
            "{shown} wants the libraries of the machine it runs on; build it with `-C target-feature=+crt-static`, or leave --program out"
        );
    }
    Ok(())
}
