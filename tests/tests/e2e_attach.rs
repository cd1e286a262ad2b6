//! What it takes to attach, and what an attached drive costs that nobody uses.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::time::Duration;

use qemu::{Launch, Root};
use vssd_tests::e2e::{PATIENCE, Scratch, Serve, Server, Vm, pause, start};

/// How long an idle drive is watched.
const WATCH: Duration = Duration::from_secs(4);

/// How often an idle drive may wake in a second: each half millisecond for its
/// doorbells, and now and then for something else. What a wake-up costs is the
/// machine's to say.
const WAKES_MAX: u64 = 2_200;
/// A drive that does not sleep at all wakes never, and has a whole processor.
const SPINNING_SHARE: f64 = 0.5;

#[test]
fn an_idle_drive_costs_next_to_nothing() {
    costs_next_to_nothing("an_idle_drive_costs_next_to_nothing", "adaptive");
}

/// Its doorbells are trapped, shadow doorbells are not offered, and the guest's
/// reads and interrupts work as ever.
#[test]
fn a_drive_that_is_told_of_commands_costs_no_more() {
    costs_next_to_nothing(
        "a_drive_that_is_told_of_commands_costs_no_more",
        "interrupt",
    );
}

fn costs_next_to_nothing(name: &'static str, poll: &str) {
    let Some(vm) = Vm::take(name) else {
        return;
    };
    let scratch = Scratch::new();
    let server = Serve::new("ram:64M", scratch.dir(), "drive")
        .with("--poll", poll)
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

    let (wakes_before, ran_before_ns) = used(&server);
    pause(WATCH);
    let (wakes_after, ran_after_ns) = used(&server);
    let wakes = (wakes_after - wakes_before) / WATCH.as_secs();
    let processor = Duration::from_nanos(ran_after_ns - ran_before_ns);
    let share = processor.as_secs_f64() / WATCH.as_secs_f64();
    vm.say(&format!(
        "vssd woke {wakes} times a second and used {:.2} % of a processor",
        share * 100.0
    ));
    assert!(wakes <= WAKES_MAX, "{wakes} wake-ups a second");
    assert!(share < SPINNING_SHARE, "it does not sleep");
    guest.kill();
}

/// What a process has used so far, all of its threads together: how often they
/// woke, and how long they ran, nanoseconds.
fn used(server: &Server) -> (u64, u64) {
    let threads = server.threads();
    let wakes = threads.iter().map(|thread| thread.wakes).sum();
    (wakes, threads.iter().map(|thread| thread.ran_ns).sum())
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
