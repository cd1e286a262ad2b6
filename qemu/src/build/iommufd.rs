//! The entry `iommufd`: a small kernel with iommufd, which Debian's kernels do
//! without, built from Debian's sources.
//!
//! | file        | what                                                    |
//! |-------------|---------------------------------------------------------|
//! | `vmlinuz`   | Linux 6.12 with what `iommufd.config` adds to tinyconfig |

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use super::{
    apt::{self, Apt, Request},
    cache::{Cache, Stage, key},
    guest::{copy, make_dir},
    tool,
};
use crate::{Event, KitError, Progress};

/// Changes whenever what is done with the sources changes.
const RECIPE: &str = "iommufd 1";

const SOURCE: &str = "linux-source-6.12";
const CONFIG: &str = include_str!("iommufd.config");

/// What the kernel's build runs that a compiler's installation does not bring, and
/// the package of Debian that has it.
const PROGRAMS: [(&str, &str); 5] = [
    ("make", "make"),
    ("gcc", "gcc"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
];

/// Provides the entry.
pub(crate) fn provide(
    cache: &Cache,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<PathBuf, KitError> {
    let recipe = [RECIPE, SOURCE, CONFIG];
    cache.entry("iommufd", &key(&recipe), progress, |stage, progress| {
        build(stage, mirror, progress)
    })
}

fn build(
    stage: &Stage<'_>,
    mirror: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<(), KitError> {
    check_programs()?;
    let mirror = apt::mirror(mirror)?;
    let apt = Apt::open(stage.scratch, "amd64", &mirror, progress)?;
    let packages = apt.fetch(
        &Request {
            name: SOURCE,
            suite: apt::SUITE,
            packages: &[SOURCE],
            // What the sources are unpacked with; tar and xz are here.
            without: &["binutils", "xz-utils"],
            what: "the sources of Linux 6.12, to build a kernel with iommufd",
        },
        progress,
    )?;
    let tree = stage.scratch.join("tree");
    make_dir(&tree)?;
    apt::unpack(&packages, &tree)?;
    progress.event(Event::Step {
        what: "building a kernel with iommufd, which takes some minutes",
    });
    let archive = tree.join(format!("usr/src/{SOURCE}.tar.xz"));
    let unpack = &mut Command::new("tar");
    unpack.arg("-xf").arg(&archive).arg("-C").arg(&tree);
    tool::run(unpack, "unpacking the kernel's sources")?;
    let source = tree.join(SOURCE);
    make(&source, &["tinyconfig"])?;
    let fragment = source.join("iommufd.config");
    fs::write(&fragment, CONFIG).map_err(KitError::io("write", &fragment))?;
    let merge = &mut Command::new("scripts/kconfig/merge_config.sh");
    merge.args(["-m", ".config", "iommufd.config"]);
    tool::run(merge.current_dir(&source), "configuring the kernel")?;
    make(&source, &["olddefconfig"])?;
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    make(&source, &[&format!("-j{jobs}"), "bzImage"])?;
    copy(
        &source.join("arch/x86/boot/bzImage"),
        &stage.dir.join("vmlinuz"),
    )
}

fn make(source: &Path, targets: &[&str]) -> Result<(), KitError> {
    let make = &mut Command::new("make");
    make.arg("-C").arg(source).args(targets);
    tool::run(make, "building the kernel").map(drop)
}

/// All that is missing is told at once.
fn check_programs() -> Result<(), KitError> {
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !runs(program))
        .map(|(_, package)| *package)
        .collect();
    // The kernel's objtool reads ELF files with it.
    let header = ["/usr/include/libelf.h", "/usr/local/include/libelf.h"];
    if !header.iter().any(|path| Path::new(path).exists()) {
        missing.push("libelf-dev");
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(KitError::NoCompiler {
        missing: missing.join(" "),
    })
}
