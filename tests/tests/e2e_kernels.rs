//! Three kernels, years apart, each with its own NVMe driver: boot from a vssd, work on
//! three file systems on another, reset it, power it down, take it out.
//!
//! The drive goes into the power state D3hot and comes back without its driver. Where
//! the machine sleeps and the driver with it, see `e2e_suspend.rs`.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use qemu::{Kernel, Launch};
use vssd_tests::e2e::{PATIENCE, Scratch, Serve, Vm, failures, section, slow, start, succeeded};

const JOB: &str = include_str!("e2e_kernels.sh");

#[test]
fn linux_6_12_works_with_the_drive() {
    works("linux_6_12_works_with_the_drive", Kernel::Trixie, "6.12.");
}

#[test]
fn linux_6_1_works_with_the_drive() {
    let name = "linux_6_1_works_with_the_drive";
    if slow(name) {
        works(name, Kernel::Bookworm, "6.1.");
    }
}

#[test]
fn the_newest_linux_works_with_the_drive() {
    let name = "the_newest_linux_works_with_the_drive";
    if slow(name) {
        works(name, Kernel::Backports, "");
    }
}

fn works(name: &'static str, kernel: Kernel, release: &str) {
    let Some(vm) = Vm::take(name) else { return };
    let kit = vm.kit_with_kernel(kernel);
    let scratch = Scratch::new();
    let image = scratch.root_image(&kit, "root.img");
    let trace = scratch.path("second.vtr");
    let mut first = Serve::new(&image, scratch.dir(), "first").start();
    let mut second = Serve::new("ram:400M", scratch.dir(), "second")
        .record(&trace)
        .start();
    let launch = Launch::job(&kit, JOB)
        .cpus(2)
        .memory_mib(768)
        .drive(first.drive())
        .drive(second.drive())
        .qemu_args(vm.file_system_tools());
    let mut guest = start(&vm, launch);
    let outcome = guest.wait(PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    outcome.lines.iter().for_each(|line| eprintln!("| {line}"));
    succeeded(&outcome);
    first.is_well();
    second.is_well();
    for server in [first, second] {
        eprintln!("vssd said {:#?}", server.terminate());
    }

    vm.say(&format!("that was Linux {}", outcome.kernel));
    assert!(outcome.kernel.starts_with(release), "{}", outcome.kernel);
    for what in [
        "ext4 works",
        "xfs works",
        "btrfs works",
        "same after removal",
    ] {
        let said = outcome.lines.iter().any(|line| line == what);
        assert!(said, "no {what:?} in {:#?}", outcome.lines);
    }
    let troubles = section(&outcome.lines, "dmesg");
    assert!(troubles.is_empty(), "{troubles:#?}");
    for trace in scratch.traces() {
        for (admin, line) in failures(&trace) {
            eprintln!("refused: {line}");
            assert!(admin, "a command failed: {line}");
        }
    }
    vm.is_clean(&image);
}
