//! `cargo xtask fuzz`: builds and runs the fuzz targets.
//!
//! It needs no toolchain but the usual one: the flags are those that cargo-fuzz
//! would set, and the compiler is told to take them.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{cargo, check, root, target};

/// The targets, by name.
pub(crate) const TARGETS: [&str; 8] = [
    "sqe",
    "transfer",
    "controller",
    "vfio_user",
    "vhost_user",
    "profile",
    "vtr",
    "import",
];

/// Coverage for the fuzzer, and `AddressSanitizer`.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Zsanitizer=address --cfg fuzzing";

/// How long each target runs, seconds, where nothing is said.
const SECONDS: u64 = 60;

/// Runs one target, or all of them one after the other, each for some time or a
/// number of inputs. It begins with the target's corpus, and keeps what it finds among
/// what was built: what is to stay is copied into the corpus by hand.
pub(crate) fn run(only: Option<&str>, seconds: Option<u64>, runs: Option<u64>) -> Result<()> {
    let targets: Vec<&str> = match only {
        None => TARGETS.to_vec(),
        Some(name) if TARGETS.contains(&name) => vec![name],
        Some(name) => bail!(
            "there is no target {name}; there are {}",
            TARGETS.join(", ")
        ),
    };
    let directory = root().join("fuzz");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let built = target().join("fuzz");
    check(
        cargo()
            .current_dir(&directory)
            .args(["build", "--release", "--target", &triple])
            .env("CARGO_TARGET_DIR", &built)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", FLAGS),
    )?;
    let limit = match (seconds, runs) {
        (_, Some(runs)) => format!("-runs={runs}"),
        (seconds, None) => format!("-max_total_time={}", seconds.unwrap_or(SECONDS)),
    };
    for name in targets {
        let corpus = directory.join("corpus").join(name);
        let found = built.join("found").join(name);
        let artifacts = directory.join("artifacts").join(name);
        for path in [&corpus, &found, &artifacts] {
            std::fs::create_dir_all(path)
                .with_context(|| format!("cannot make {}", path.display()))?;
        }
        check(
            Command::new(built.join(&triple).join("release").join(name))
                .args([&found, &corpus])
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                .args(["-timeout=10", "-max_len=4096", "-print_final_stats=1"])
                .arg(&limit),
        )?;
    }
    Ok(())
}
