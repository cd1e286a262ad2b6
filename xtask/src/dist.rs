//! `cargo xtask dist`: an archive for machines without Rust. Unpacked over `/usr`
//! or `/usr/local`, it is installed.

mod archive;
mod build;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::run::{cargo, check, output, root, target};
use archive::Entry;

/// What `cargo xtask dist` is told.
#[derive(Debug, Args)]
pub(crate) struct DistArguments {
    /// Build for this target rather than for this machine, such as
    /// aarch64-unknown-linux-gnu or x86_64-unknown-linux-musl.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Pack this program rather than build one. It must be static.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// Makes the archive.
#[expect(clippy::print_stdout, reason = "where the archive is, is the answer")]
pub(crate) fn run(arguments: &DistArguments) -> Result<()> {
    let host = build::host()?;
    let triple = arguments.target.as_deref().unwrap_or(&host);
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => build::program(triple, &host)?,
    };
    build::refuse_unfit(&program, triple)?;
    let generator = if triple == host {
        program.clone()
    } else {
        // The texts are the same everywhere, but the program runs elsewhere only.
        check(cargo().args(["build", "--package", "vssd-cli"]))?;
        target().join("debug/vssd")
    };
    let name = format!("vssd-{}-{triple}", env!("CARGO_PKG_VERSION"));
    let mut entries = contents(&program)?;
    entries.extend(generated(&generator)?);
    let directory = target().join("dist");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let path = directory.join(format!("{name}.tar.zst"));
    println!("packing {} files; this may take a minute", entries.len());
    let bytes = archive::write(&path, &name, entries, date()?)?;
    println!(
        "{} ({:.1} MiB); to install it:\n  sudo tar -xf {} --strip-components=1 -C /usr/local --no-same-owner",
        path.display(),
        f64::from(u32::try_from(bytes >> 10)?) / 1024.0,
        path.display(),
    );
    Ok(())
}

/// The program, and what stands in the source tree.
fn contents(program: &Path) -> Result<Vec<Entry>> {
    let mut entries = vec![Entry::read("bin/vssd", 0o755, program)?];
    let from_tree = [
        ("lib/systemd/system", "packaging/systemd/vssd@.service"),
        ("lib/sysusers.d", "packaging/sysusers.d/vssd.conf"),
        ("lib/tmpfiles.d", "packaging/tmpfiles.d/vssd.conf"),
        ("share/doc/vssd/packaging", "packaging/README.md"),
        (
            "share/doc/vssd/packaging/systemd",
            "packaging/systemd/example.conf",
        ),
        ("share/doc/vssd", "LICENSE-APACHE"),
        ("share/doc/vssd", "LICENSE-MIT"),
        ("share/doc/vssd", "README.md"),
        ("share/doc/vssd/traces", "traces/FORMAT.md"),
    ];
    for (directory, source) in from_tree {
        entries.push(Entry::of_tree(directory, &root().join(source))?);
    }
    for folder in ["docs", "qemu/recipes"] {
        let directory = root().join(folder);
        let listed = fs::read_dir(&directory)
            .with_context(|| format!("cannot list {}", directory.display()))?;
        for file in listed {
            let file = file?;
            if file.file_type()?.is_file() {
                entries.push(Entry::of_tree(
                    &format!("share/doc/vssd/{folder}"),
                    &file.path(),
                )?);
            }
        }
    }
    Ok(entries)
}

/// The man pages and completions that `generator`, a `vssd`, writes.
fn generated(generator: &Path) -> Result<Vec<Entry>> {
    let directory = tempfile::tempdir()?;
    check(
        Command::new(generator)
            .args(["generate", "man"])
            .arg(directory.path()),
    )?;
    let mut entries = Vec::new();
    for page in fs::read_dir(directory.path())? {
        entries.push(Entry::of_tree("share/man/man1", &page?.path())?);
    }
    if entries.is_empty() {
        bail!("{} has written no man pages", generator.display());
    }
    let completions = [
        ("bash", "share/bash-completion/completions/vssd"),
        ("zsh", "share/zsh/site-functions/_vssd"),
        ("fish", "share/fish/vendor_completions.d/vssd.fish"),
    ];
    for (shell, path) in completions {
        let script = output(Command::new(generator).args(["generate", "completions", shell]))?;
        entries.push(Entry::new(path, 0o644, script));
    }
    Ok(entries)
}

/// The time of every file, seconds since 1970: the same source makes the same
/// archive.
fn date() -> Result<u64> {
    if let Ok(told) = std::env::var("SOURCE_DATE_EPOCH") {
        return told
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH is {told}, and not a number of seconds"));
    }
    // A source tree that came without git has no date.
    let commit = output(
        Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(root()),
    );
    Ok(commit.map_or(0, |text| {
        String::from_utf8_lossy(&text).trim().parse().unwrap_or(0)
    }))
}
