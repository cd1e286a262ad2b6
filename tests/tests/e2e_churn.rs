//! The machine changes under a drive that works: memory is mapped and unmapped, the
//! controller and its PCI function are reset, and then the whole machine.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use qemu::Launch;
use vssd_tests::e2e::{PATIENCE, Scratch, Serve, Vm, failures, pause, start, succeeded, vssd_json};

use std::time::Duration;

const JOB: &str = include_str!("e2e_churn.sh");

/// A device with memory of its own that the guest can switch on and off.
const SHARED_MEMORY: [&str; 4] = [
    "-object",
    "memory-backend-memfd,id=shared,size=4M,share=on",
    "-device",
    "ivshmem-plain,memdev=shared",
];

#[test]
fn a_drive_works_on_while_the_machine_changes() {
    let Some(vm) = Vm::take("a_drive_works_on_while_the_machine_changes") else {
        return;
    };
    let scratch = Scratch::new();
    let image = scratch.root_image(vm.kit(), "root.img");
    let trace = scratch.path("churn.vtr");
    let mut server = Serve::new(&image, scratch.dir(), "drive")
        .record(&trace)
        .start();
    let launch = Launch::job(vm.kit(), JOB)
        .cpus(2)
        .drive(server.drive())
        .qemu_args(SHARED_MEMORY)
        // A reset is to be one, not the end of QEMU.
        .qemu_args(["-action", "reboot=reset"]);
    let mut guest = start(&vm, launch);
    let mut next = |pattern: &str| {
        let line = guest
            .wait_for_line(pattern, PATIENCE)
            .unwrap_or_else(|e| panic!("{e}"));
        vm.say(&format!("| {line}"));
    };
    next("maps changed");
    next("resets done");
    next("writing");
    pause(Duration::from_secs(1));
    vm.say("resetting the machine");
    guest
        .control("system_reset")
        .unwrap_or_else(|e| panic!("{e}"));
    let outcome = guest.wait(PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    succeeded(&outcome);
    let again = outcome.lines.iter().any(|line| line == "second boot");
    assert!(again, "{:#?}", outcome.lines);
    server.is_well();
    let log = server.terminate();
    eprintln!("vssd said {log:#?}");

    vm.is_clean(&image);
    let failed: Vec<_> = failures(&trace)
        .into_iter()
        .filter(|(admin, _)| !admin)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let path = trace.to_str().expect("it is text");
    let info = vssd_json(&["trace", "info", path, "--json"]);
    let events = &info["summary"]["events"];
    eprintln!(
        "{} unfinished commands, events {events}",
        info["summary"]["unfinished"]
    );
    assert_eq!(info["summary"]["end"], "clean");
    assert_eq!(events["fatal status"], serde_json::Value::Null);
    // Twice a BIOS and a kernel, and the resets of the job.
    assert!(events["enable"].as_u64() >= Some(4 + 6), "{events}");
    assert!(events["function reset"].as_u64() >= Some(3), "{events}");
}
