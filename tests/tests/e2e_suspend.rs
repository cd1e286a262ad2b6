//! The machine sleeps, and the drive with it: in D3hot, with its power off, or in the
//! last of its own power states. Linux chooses among them as it does on real machines.
//!
//! | sleep                      | what Linux does with the drive                        |
//! |----------------------------|-------------------------------------------------------|
//! | idle (`freeze`)            | shuts it down, puts it into D3hot                     |
//! | idle, link that saves power| leaves it enabled, in its last power state            |
//! | to memory (`mem`)          | shuts it down, puts it into D3hot; its power goes off |
//!
//! QEMU wakes a machine that sleeps to memory. One that idles needs an interrupt that
//! wakes it, and of those that QEMU has, the serial port's is the one to be had: the
//! alarm of its clock reaches only a machine whose power is off.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use nvme::{AdminOpcode, FeatureId};
use qemu::{Guest, JobOutcome, Launch, Root};
use traces::{Event, Reader, Record};
use vssd_tests::e2e::{
    Console, PATIENCE, Scratch, Serve, Vm, commands_of, failures, pause, section, start, succeeded,
    until,
};

const JOB: &str = include_str!("e2e_suspend.sh");
const STATE_JOB: &str = include_str!("e2e_suspend_state.sh");

/// The end of both: what the kernel has found wrong. It distrusts the identifiers of
/// whatever has the identity of QEMU's own drive.
const TROUBLES: &str = r#"
trap - EXIT
wrong='time.?out|abort|reset|error|fail|invalid|not ready|removing|power state'
echo '<dmesg>'
dmesg | grep -v 'Ignoring bogus Namespace Identifiers' |
    grep -iE "nvme.*($wrong)|0000:.*power state|I/O error|AER: (corr|multi|uncorr)|hung|BUG:|WARNING:|call trace" ||
    true
echo '</dmesg>'
"#;

/// The kernel's last words before the devices go to sleep.
const GOING: &str = "Freezing remaining freezable tasks completed";

/// From there until every device sleeps, and the machine with them.
const SOON: Duration = Duration::from_secs(2);

/// Offset of the power management's control and status register in the drive's
/// configuration space, as QEMU writes it.
const POWER: &str = "@0x44, 0x";

/// The last of the power states that the drive has: see `vssd profile show qemu`.
const LAST_STATE: u32 = 4;

#[test]
fn a_machine_sleeps_and_its_drive_works_on() {
    let Some(vm) = Vm::take("a_machine_sleeps_and_its_drive_works_on") else {
        return;
    };
    let scratch = Scratch::new();
    let image = scratch.root_image(vm.kit(), "root.img");
    let trace = scratch.path("sleep.vtr");
    let config = scratch.path("config.txt");
    let mut server = Serve::new(&image, scratch.dir(), "drive")
        .record(&trace)
        .start();
    let launch = Launch::job(vm.kit(), [JOB, TROUBLES].concat())
        .kernel_arg("no_console_suspend")
        .console_socket(scratch.path("console"))
        .drive(server.drive())
        .qemu_args(["-trace", "vfio_pci_write_config", "-D"])
        .qemu_args([config.to_str().expect("it is text")]);
    let mut guest = start(&vm, launch);
    let console = Console::connect(&scratch.path("console"));

    wake_from_idling(&vm, console);
    next(&vm, &mut guest, "works after idling");
    assert_eq!(power_states(&config), [3, 0], "D3hot, then D0");

    until(PATIENCE, "machine that sleeps", || {
        let status = guest.control("query-status").ok()?;
        status.contains("suspended").then_some(())
    });
    vm.say("it sleeps, its power is off");
    guest
        .control("system_wakeup")
        .unwrap_or_else(|e| panic!("{e}"));
    let outcome = ended(&vm, guest);
    let works = |line: &String| line == "works after sleep";
    assert!(outcome.lines.iter().any(works), "{:#?}", outcome.lines);
    assert_eq!(power_states(&config), [3, 0, 3, 0], "D3hot, then D0");

    server.is_well();
    eprintln!("vssd said {:#?}", server.terminate());
    let slept = [
        Event::ShutdownNormal,
        // Out of idling the driver resets what it had shut down, and enables it.
        Event::Reset,
        Event::Enable,
        Event::ShutdownNormal,
        // Where power goes off, the function begins anew.
        Event::FunctionReset,
        Event::Enable,
        Event::ShutdownNormal,
        Event::Disconnect,
    ];
    let events = events(&trace);
    assert!(events.ends_with(&slept), "{events:?}");
    nothing_failed(&trace);
    vm.is_clean(&image);
}

#[test]
fn a_drive_sleeps_in_its_last_power_state() {
    let Some(vm) = Vm::take("a_drive_sleeps_in_its_last_power_state") else {
        return;
    };
    let scratch = Scratch::new();
    let trace = scratch.path("state.vtr");
    let mut server = Serve::new("ram:64M", scratch.dir(), "drive")
        .record(&trace)
        .start();
    let device = serde_json::json!({
        "driver": "vfio-user-pci",
        "bus": "link",
        "socket": { "type": "unix", "path": server.socket() },
    });
    let launch = Launch::job(vm.kit(), [STATE_JOB, TROUBLES].concat())
        .root(Root::Tools)
        .kernel_arg("no_console_suspend")
        // QEMU's firmware leaves the link's power to the system, which is to save it.
        .kernel_arg("pcie_aspm=force")
        .kernel_arg("pcie_aspm.policy=powersave")
        .console_socket(scratch.path("console"))
        .qemu_args(["-device", "pcie-root-port,id=link,chassis=1"])
        .qemu_args(["-device", &device.to_string()]);
    let mut guest = start(&vm, launch);
    let console = Console::connect(&scratch.path("console"));
    wake_from_idling(&vm, console);
    next(&vm, &mut guest, "works");
    drop(ended(&vm, guest));
    server.is_well();
    eprintln!("vssd said {:#?}", server.terminate());

    let states: Vec<u32> = commands_of(&trace)
        .iter()
        .filter(|command| command.is_admin())
        .filter(|command| AdminOpcode(command.opcode) == AdminOpcode::SET_FEATURES)
        .filter(|command| command.cdw10_15[0] & 0xff == u32::from(FeatureId::POWER_MANAGEMENT.0))
        .map(|command| command.cdw10_15[1])
        .collect();
    assert_eq!(states, [LAST_STATE, 0]);
    let whole = [Event::Enable, Event::ShutdownNormal, Event::Disconnect];
    let events = events(&trace);
    assert!(events.ends_with(&whole), "it stayed enabled: {events:?}");
    nothing_failed(&trace);
}

/// Waits until the machine idles, and presses a key. The console is hung up then: one
/// that nobody reads would hold up the guest.
fn wake_from_idling(vm: &Vm, mut console: Console) {
    console.wait_for(GOING, PATIENCE);
    pause(SOON);
    vm.say("waking the machine");
    console.type_line("");
    console.wait_for("PM: suspend exit", PATIENCE);
}

#[track_caller]
fn next(vm: &Vm, guest: &mut Guest, pattern: &str) {
    let line = guest
        .wait_for_line(pattern, PATIENCE)
        .unwrap_or_else(|e| panic!("{e}"));
    vm.say(&format!("| {line}"));
}

/// The job's end, which must be a success that the kernel found nothing wrong with.
#[track_caller]
fn ended(vm: &Vm, mut guest: Guest) -> JobOutcome {
    let outcome = guest.wait(PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    vm.say("the guest has switched itself off");
    outcome.lines.iter().for_each(|line| eprintln!("| {line}"));
    succeeded(&outcome);
    let troubles = section(&outcome.lines, "dmesg");
    assert!(troubles.is_empty(), "{troubles:#?}");
    outcome
}

/// The changes of the function's power state, by what QEMU has written.
#[track_caller]
fn power_states(config: &Path) -> Vec<u32> {
    let text = fs::read_to_string(config).unwrap_or_else(|e| panic!("{e}"));
    let written = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(POWER)?;
        let (value, _) = rest.split_once(',')?;
        u32::from_str_radix(value, 16).ok().map(|value| value & 3)
    });
    let mut states: Vec<u32> = written.skip_while(|state| *state == 0).collect();
    states.dedup();
    states
}

fn events(trace: &Path) -> Vec<Event> {
    let reader = Reader::open(trace).unwrap_or_else(|e| panic!("{e}"));
    let records = reader.records().filter_map(|record| match record {
        Ok(Record::Event(event)) => Some(event.event),
        Ok(_) => None,
        Err(e) => panic!("{e}"),
    });
    records.collect()
}

/// Hosts may ask on the admin queue for what a drive need not have.
#[track_caller]
fn nothing_failed(trace: &Path) {
    for (admin, line) in failures(trace) {
        eprintln!("refused: {line}");
        assert!(admin, "a command failed: {line}");
    }
    let open = commands_of(trace);
    let lost: Vec<_> = open
        .iter()
        .filter(|command| !command.is_admin() && command.completion.is_none())
        .collect();
    assert!(lost.is_empty(), "commands were not completed: {lost:#?}");
}
