//! A guest's kernel is told of completions by messages, and where it wants none, by
//! the pin; and it resets the function, which has to be allowed memory again by it.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use qemu::{Launch, Root};
use vssd_tests::e2e::{Scratch, Serve, Vm, failures, run, section};

const JOB: &str = include_str!("e2e_interrupts.sh");
/// What the job writes at last.
const LAST_BYTES: u64 = 8 << 20;
/// The requests of the job's first round trip: 16 MiB, 64 KiB at a time, each way.
const REQUESTS: u64 = 512;

#[test]
fn completions_are_told_by_msix() {
    told("completions_are_told_by_msix", None, "PCI-MSI");
}

#[test]
fn completions_are_told_by_the_pin() {
    told(
        "completions_are_told_by_the_pin",
        Some("pci=nomsi"),
        "IO-APIC",
    );
}

fn told(name: &'static str, kernel_arg: Option<&str>, kind: &str) {
    let Some(vm) = Vm::take(name) else { return };
    let scratch = Scratch::new();
    let image = scratch.path("data.img");
    let trace = scratch.path("data.vtr");
    let server = Serve::new(&image, scratch.dir(), "drive")
        .with("--create", "64M")
        .record(&trace)
        .start();
    let mut launch = Launch::job(vm.kit(), JOB)
        .root(Root::Tools)
        .cpus(2)
        .drive(server.drive());
    if let Some(argument) = kernel_arg {
        launch = launch.kernel_arg(argument);
    }
    let outcome = run(&vm, launch);
    drop(server.terminate());

    let lines = &outcome.lines;
    lines.iter().for_each(|line| eprintln!("| {line}"));
    let kinds = section(lines, "kinds");
    assert!(!kinds.is_empty(), "the drive has an interrupt");
    assert!(kinds.iter().all(|line| line.contains(kind)), "{kinds:#?}");
    // One by one, as dd waits for each.
    let [counts] = section(lines, "counts") else {
        panic!("one line of counts");
    };
    let counts: Vec<u64> = counts
        .split_whitespace()
        .map(|count| count.parse().expect("a number"))
        .collect();
    let told = counts[1] - counts[0];
    assert!(
        told >= REQUESTS,
        "{told} interrupts for {REQUESTS} requests"
    );
    assert!(section(lines, "methods")[0].contains("flr"));
    let troubles = section(lines, "dmesg");
    assert!(troubles.is_empty(), "{troubles:#?}");
    assert_eq!(section(lines, "sum"), [format!("{}  -", sum_of(&image))]);
    for (admin, line) in failures(&trace) {
        eprintln!("refused: {line}");
        assert!(admin, "a command failed: {line}");
    }
}

/// The sum of what the job wrote at last, as the image has it.
fn sum_of(image: &Path) -> String {
    let mut head = Vec::new();
    let image = File::open(image).expect("the image is there");
    let mut head_of = image.take(LAST_BYTES);
    head_of.read_to_end(&mut head).expect("it can be read");
    let mut sum = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum can be started");
    let mut input = sum.stdin.take().expect("it was piped");
    std::io::Write::write_all(&mut input, &head).expect("it takes its input");
    drop(input);
    let output = sum.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}
