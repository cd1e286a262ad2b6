//! What it takes to attach, and what an attached drive costs that nobody uses.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::fs;
use std::time::Duration;

use qemu::{Launch, Root};
use vssd_tests::e2e::{PATIENCE, Scratch, Serve, Server, Vm, pause, start};

/// How long an idle drive is watched, and how often at most: whatever else the
/// machine does makes the figure worse, and never better.
const WATCH: Duration = Duration::from_secs(4);
const WATCHES_MAX: usize = 4;

/// A fiftieth of a processor.
const IDLE_SHARE_MAX: f64 = 0.02;

#[test]
fn an_idle_drive_costs_next_to_nothing() {
    let Some(vm) = Vm::take("an_idle_drive_costs_next_to_nothing") else {
        return;
    };
    let scratch = Scratch::new();
    let server = Serve::new("ram:64M", scratch.dir(), "drive")
        .record(&scratch.path("idle.vtr"))
        .start();
    let job = "cat /dev/nvme0n1 >/dev/null; echo idle; sleep 1000";
    let launch = Launch::job(vm.kit(), job)
        .root(Root::Initramfs)
        .drive(server.drive());
    let mut guest = start(&vm, launch);
    guest
        .wait_for_line("idle", PATIENCE)
        .unwrap_or_else(|e| panic!("{e}"));
    pause(Duration::from_secs(1));

    let watch = |_number| {
        let before = processor_ms(&server);
        pause(WATCH);
        let used = Duration::from_millis(processor_ms(&server) - before);
        let share = used.as_secs_f64() / WATCH.as_secs_f64();
        vm.say(&format!(
            "vssd used {used:?} in {WATCH:?}: {:.2} %",
            share * 100.0
        ));
        share
    };
    let little = (0..WATCHES_MAX)
        .map(watch)
        .any(|share| share < IDLE_SHARE_MAX);
    assert!(little, "an idle drive costs too much");
    guest.kill();
}

/// How much processor time the server has used, milliseconds.
fn processor_ms(server: &Server) -> u64 {
    let threads = format!("/proc/{}/task", server.id());
    let tasks = fs::read_dir(&threads).unwrap_or_else(|e| panic!("{threads}: {e}"));
    let nanoseconds = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let on_processor = text
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok());
        on_processor.unwrap_or(0_u64)
    };
    tasks.flatten().map(nanoseconds).sum::<u64>() / 1_000_000
}

/// QEMU takes memory of its own for the guest where nobody says otherwise, and no
/// other process can reach it.
#[test]
fn memory_that_is_not_shared_is_told_of_with_the_option_that_is_missing() {
    let name = "memory_that_is_not_shared_is_told_of_with_the_option_that_is_missing";
    let Some(vm) = Vm::take(name) else { return };
    let scratch = Scratch::new();
    let mut server = Serve::new("ram:64M", scratch.dir(), "drive").start();
    let launch = Launch::job(vm.kit(), "true")
        .root(Root::Initramfs)
        .drive(server.drive())
        .qemu_args(["-object", "memory-backend-ram,id=own,size=512M"])
        .qemu_args(["-machine", "memory-backend=own"]);
    let mut guest = start(&vm, launch);
    server.wait_for_log("memory-backend-memfd", 1);
    pause(Duration::from_secs(1));
    guest.kill();
    server.is_well();
    let complaints = server.complaints();
    eprintln!("{complaints:#?}");
    assert_eq!(complaints.len(), 1, "one line: {complaints:#?}");
    assert!(complaints[0].contains("share=on"), "{complaints:#?}");
}
