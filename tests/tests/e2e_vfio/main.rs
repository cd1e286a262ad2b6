//! A real drive over real VFIO, as far as a machine without either can have one: a
//! guest behind an Intel IOMMU, its kernel's VFIO, and QEMU's own NVMe drives, which
//! nobody here wrote.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use qemu::{Launch, Root};
use serde_json::{Value, json};
use vssd_tests::e2e::{
    PATIENCE, PRELUDE, Scratch, Serve, Tally, Vm, pause, run, section, slow, start, succeeded,
    vssd_program,
};
use vssd_tests::sim::windows_boot;

const DRIVEN: &str = concat!(include_str!("block.sh"), include_str!("driven.sh"));
const REFUSED: &str = concat!(include_str!("block.sh"), include_str!("refused.sh"));
/// The size of the drive that traces are replayed into, in blocks of 512 bytes.
const BLOCKS: u64 = 256 << 21;
/// Inside of the guest.
const CHECKS: &str = env!("CARGO_BIN_EXE_drive_checks");

/// The guest's machine: two drives in slots of their own, the first with two
/// namespaces, the second so slow that commands take seconds; and a third slot whose
/// two functions share a group.
fn machine(scratch: &Scratch) -> Vec<String> {
    let image = |name: &str| {
        let path = scratch.path(name);
        let file = File::create(&path).expect("an image can be made");
        file.set_len(64 << 20).expect("an image can be sparse");
        format!(
            "if=none,id={name},format=raw,discard=unmap,file={}",
            path.display()
        )
    };
    let mut words = Vec::new();
    let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
    for slot in 1..=3 {
        add(
            "-device",
            // At more than 5 GT/s, Linux waits after a reset of the bus for a bit of
            // the link that QEMU's port does not set again.
            format!("pcie-root-port,id=slot{slot},chassis={slot},x-speed=5"),
        );
    }
    add("-drive", image("blocks512"));
    add("-drive", image("blocks4096"));
    add(
        "-drive",
        format!("{},throttling.iops-total=2", image("slow")),
    );
    add("-drive", image("shared0"));
    add("-drive", image("shared1"));
    for device in [
        "nvme,id=first,serial=FIRST,bus=slot1,max_ioqpairs=16,msix_qsize=17",
        "nvme-ns,drive=blocks512,bus=first,nsid=1",
        "nvme-ns,drive=blocks4096,bus=first,nsid=2,logical_block_size=4096,physical_block_size=4096",
        "nvme,id=second,serial=SECOND,bus=slot2,drive=slow",
        "nvme,id=third,serial=THIRD,bus=slot3,addr=0.0,multifunction=on,drive=shared0",
        "nvme,id=fourth,serial=FOURTH,bus=slot3,addr=0.1,drive=shared1",
    ] {
        add("-device", device.to_owned());
    }
    words
}

/// A guest with the program, the checks and `more` on board.
fn launch<'a>(vm: &'a Vm, scratch: &Scratch, job: &str, more: &[(&Path, &str)]) -> Launch<'a> {
    let vssd = vssd_program();
    let mut files = vec![(vssd.as_path(), "vssd"), (CHECKS.as_ref(), "drive_checks")];
    files.extend(more);
    Launch::job(vm.kit(), format!("{PRELUDE}{job}"))
        .root(Root::Tools)
        .memory_mib(1024)
        .cpus(2)
        .qemu_args(scratch.payload(vm.kit(), &files))
}

#[test]
fn a_drive_is_driven_and_given_back() {
    let Some(vm) = Vm::take("a_drive_is_driven_and_given_back") else {
        return;
    };
    let scratch = Scratch::new();
    let launch = launch(&vm, &scratch, DRIVEN, &[])
        .iommu(true)
        .qemu_args(machine(&scratch));
    let lines = run(&vm, launch).lines;
    lines.iter().for_each(|line| eprintln!("| {line}"));

    for what in ["controller", "namespace 1", "namespace 2"] {
        let read = |whose: &str| -> Value {
            let text = section(&lines, &format!("{what} {whose}")).join("\n");
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{what} {whose}: {e}\n{text}"))
        };
        let (theirs, ours) = (read("by nvme-cli"), read("by vssd"));
        let told = same_fields(&theirs, &ours);
        eprintln!("{what}: {told} fields are the same");
        assert!(told > 15, "{what}: only {told} fields");
    }
    // What a process of ours read is what the kernel's driver had read.
    assert_eq!(
        section(&lines, "raw by vssd"),
        section(&lines, "raw by nvme-cli")
    );
    let checks = section(&lines, "checks");
    for check in [
        "commands",
        "format",
        "queues",
        "interrupts",
        "config",
        "reset",
    ] {
        assert!(
            checks.contains(&format!("ok {check}")),
            "{check}: {checks:#?}"
        );
    }
    assert!(section(&lines, "slow").contains(&"ok timeout".to_owned()));
    assert!(
        section(&lines, "user")
            .iter()
            .any(|line| line.contains("QEMU NVMe Ctrl"))
    );
    // The kernel has it again, and finds what it had written.
    assert_eq!(section(&lines, "sum before"), section(&lines, "sum after"));
    let troubles = section(&lines, "troubles");
    assert!(troubles.is_empty(), "{troubles:#?}");
}

/// Compares each number and text of nvme-cli's that ours has too; returns how many.
fn same_fields(theirs: &Value, ours: &Value) -> usize {
    let theirs = theirs.as_object().expect("an object");
    let ours = ours.as_object().expect("an object");
    let mut same = 0;
    let mut different = Vec::new();
    for (name, value) in theirs {
        let Some(other) = ours.get(name) else {
            // A dump of what the specification leaves to vendors.
            assert_eq!(name, "vs", "vssd does not tell it");
            continue;
        };
        let text = |value: &Value| match value {
            Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        if text(value) == text(other) {
            same += 1;
        } else {
            different.push(format!("{name}: {} and {}", text(value), text(other)));
        }
    }
    assert!(different.is_empty(), "{different:#?}");
    same
}

#[test]
fn what_cannot_be_driven_is_refused_in_a_line_that_says_why() {
    let name = "what_cannot_be_driven_is_refused_in_a_line_that_says_why";
    let Some(vm) = Vm::take(name) else { return };
    let scratch = Scratch::new();
    let launch = launch(&vm, &scratch, REFUSED, &[])
        .iommu(true)
        .qemu_args(machine(&scratch));
    let lines = run(&vm, launch).lines;
    lines.iter().for_each(|line| eprintln!("| {line}"));
    for (case, words) in [
        ("mounted", &["FIRST is mounted at /mnt", "umount /mnt"][..]),
        ("partition", &["SECONDp1 is mounted at /mnt", "umount /mnt"]),
        ("swap", &["FIRST is swap", "swapoff"]),
        ("open", &["FIRST is open in sleep", "end that"]),
        (
            "not bound",
            &["driven by nvme", "vssd device bind 0000:01:00.0"],
        ),
        (
            "absent",
            &["no PCI device 0000:09:00.0", "vssd device list"],
        ),
        (
            "no drive",
            &["0000:00:1f.2 is no NVMe drive", "vssd device list"],
        ),
        ("no address", &["PCI address", "vssd device list"]),
        (
            "shared group",
            &["0000:03:00.1 (nvme)", "unbind those first"],
        ),
        ("no permission", &["/dev/vfio/", "chown", "root"]),
        ("in use", &["is open in vssd", "end that"]),
        ("unbind in use", &["is open in vssd", "end that"]),
        ("no word", &["--allow-write"]),
        ("no yes", &["add --yes"]),
        ("little memory", &["ulimit -l", "memlock"]),
    ] {
        let said = section(&lines, case).join("\n");
        for word in words {
            assert!(said.contains(word), "{case}: no {word:?} in {said:?}");
        }
        assert!(said.contains("(exit 2)"), "{case}: {said:?}");
    }
}

#[test]
fn a_machine_without_an_iommu_is_told_how_to_get_one() {
    let name = "a_machine_without_an_iommu_is_told_how_to_get_one";
    let Some(vm) = Vm::take(name) else { return };
    let scratch = Scratch::new();
    let job = "echo '<bind>'; vssd device bind 01:00.0 --yes; echo \"(exit $?)\"; echo '</bind>'";
    let launch = launch(&vm, &scratch, &format!("set +e\n{job}"), &[]).qemu_args(machine(&scratch));
    let lines = run(&vm, launch).lines;
    let said = section(&lines, "bind").join("\n");
    eprintln!("{said}");
    assert!(
        said.contains("intel_iommu=on") && said.contains("(exit 2)"),
        "{said}"
    );
}

#[test]
fn a_drive_that_is_unplugged_under_load_ends_its_use() {
    let name = "a_drive_that_is_unplugged_under_load_ends_its_use";
    let Some(vm) = Vm::take(name) else { return };
    let scratch = Scratch::new();
    let job = "vssd device bind 01:00.0 --yes\n\
               drive_checks 01:00.0 unplug\n\
               tries=0\n\
               while [ -e /sys/bus/pci/devices/0000:01:00.0 ] && [ $tries -lt 100 ]; do\n\
               tries=$((tries + 1)); sleep 0.1; done\n\
               [ ! -e /sys/bus/pci/devices/0000:01:00.0 ] && echo gone\n";
    let launch = launch(&vm, &scratch, job, &[])
        .iommu(true)
        .qemu_args(machine(&scratch));
    let mut guest = start(&vm, launch);
    guest
        .wait_for_line("loading", PATIENCE)
        .unwrap_or_else(|e| panic!("{e}"));
    pause(Duration::from_secs(1));
    guest
        .control_with("device_del", &json!({ "id": "first" }))
        .unwrap_or_else(|e| panic!("{e}"));
    let outcome = guest.wait(PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    outcome.lines.iter().for_each(|line| eprintln!("| {line}"));
    succeeded(&outcome);
    let has = |what: &str| outcome.lines.iter().any(|line| line.contains(what));
    assert!(
        has("is gone (the system wants it back"),
        "{:#?}",
        outcome.lines
    );
    assert!(has("ok unplug") && has("gone"), "{:#?}", outcome.lines);
}

/// The same by iommufd, on a kernel that has it.
#[test]
fn a_drive_is_driven_by_iommufd() {
    let name = "a_drive_is_driven_by_iommufd";
    if !slow(name) {
        return;
    }
    let Some(vm) = Vm::take(name) else { return };
    let Some(kernel) = vm.iommufd_kernel() else {
        return;
    };
    let scratch = Scratch::new();
    let job = "vssd device bind 01:00.0 --yes\n\
               VSSD_VFIO=iommufd drive_checks 01:00.0 interface commands format queues \
               interrupts config reset\n\
               VSSD_VFIO=group drive_checks 01:00.0 interface\n\
               vssd device unbind 01:00.0\n";
    let launch = launch(&vm, &scratch, job, &[])
        .iommu(true)
        .qemu_args(machine(&scratch))
        .qemu_args(kernel);
    let lines = run(&vm, launch).lines;
    lines.iter().for_each(|line| eprintln!("| {line}"));
    for wanted in [
        "opened by Iommufd",
        "opened by Group",
        "ok commands",
        "ok queues",
        "ok interrupts",
        "ok config",
        "ok reset",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "no {wanted:?}");
    }
}

/// How fast that is, where anything can be said of it: QEMU's drive on nothing, and a
/// virtual SSD of ours. Printed, and judged by nobody.
#[test]
fn figures_are_printed() {
    let name = "figures_are_printed";
    if !slow(name) {
        return;
    }
    let Some(vm) = Vm::take(name) else { return };
    let scratch = Scratch::new();
    let server = Serve::new("ram:1G", scratch.dir(), "drive").start();
    let mut job = String::new();
    // The virtual SSD is on the root bus, the other in its slot.
    job.push_str("ours=$(lspci -Dn -d ::0108 | grep '^0000:00:' | cut -d' ' -f1)\n");
    job.push_str("for drive in 0000:01:00.0 $ours; do\n");
    job.push_str("vssd device bind $drive --yes >/dev/null\n");
    job.push_str("for depth in 1 32; do\n");
    job.push_str("echo \"$drive, depth $depth\"; vssd ioworker $drive -t 5s -q $depth\n");
    job.push_str("done; done\n");
    let null = "driver=null-co,node-name=null,size=1073741824,read-zeroes=off";
    let launch = launch(&vm, &scratch, &job, &[])
        // One core for the guest, the other for the drive.
        .cpus(1)
        .iommu(true)
        .drive(server.drive())
        .qemu_args(["-blockdev", null])
        .qemu_args(["-device", "pcie-root-port,id=slot1,chassis=1"])
        .qemu_args(["-device", "nvme,serial=FIRST,bus=slot1,drive=null"]);
    let lines = run(&vm, launch).lines;
    lines.iter().for_each(|line| eprintln!("| {line}"));
    assert_eq!(
        lines.iter().filter(|line| line.contains("depth")).count(),
        4
    );
    drop(server.terminate());
}

/// A trace of Linux' boot, recorded here, and one of Windows' boot, as users bring it,
/// into a drive that has another maker.
#[test]
fn traces_are_replayed_into_a_drive() {
    let Some(vm) = Vm::take("traces_are_replayed_into_a_drive") else {
        return;
    };
    let scratch = Scratch::new();
    let linux = scratch.path("linux.vtr");
    let image = scratch.root_image(vm.kit(), "root.img");
    let server = Serve::new(&image, scratch.dir(), "drive")
        .record(&linux)
        .start();
    let boot = "mkdir /new && cp -a /usr/bin /new/ && sync && rm -r /new && fstrim /";
    drop(run(&vm, Launch::job(vm.kit(), boot).drive(server.drive())));
    drop(server.terminate());
    let told = Tally::whole(&linux);
    let counted = told.reads + told.writes + told.zeroes + told.discards + told.flushes;

    let mut files = vec![(linux.as_path(), "linux.vtr")];
    let windows = scratch.path("windows.vtr");
    let mut commands = BTreeMap::from([("linux", counted)]);
    match windows_boot::find() {
        None => vm.say("SKIPPED in part, for there is no win10_boot.trace.png here"),
        Some(path) => {
            let boot = windows_boot::convert(&path, File::create(&windows).unwrap());
            let (_, converted) = boot.unwrap_or_else(|e| panic!("{e:#}"));
            commands.insert("windows", converted);
            files.push((&windows, "windows.vtr"));
        }
    }
    let mut job = "vssd device bind 01:00.0 --yes\n".to_owned();
    for name in commands.keys() {
        job.push_str(&format!(
            "echo '<{name}>'\n\
             vssd replay /payload/{name}.vtr 01:00.0 --pace max --allow-write --json 2>/tmp/plan\n\
             echo '</{name}>'\n"
        ));
    }
    let null = format!(
        "driver=null-co,node-name=null,size={},read-zeroes=off",
        BLOCKS * 512
    );
    let launch = launch(&vm, &scratch, &job, &files).iommu(true).qemu_args([
        "-blockdev",
        &null,
        "-device",
        "pcie-root-port,id=slot1,chassis=1",
        "-device",
        "nvme,id=first,serial=FIRST,bus=slot1,drive=null",
    ]);
    let lines = run(&vm, launch).lines;
    for (name, count) in commands {
        let text = section(&lines, name).join("\n");
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let counts = &report["commands"];
        eprintln!("{name}: {counts:#}");
        assert_eq!(counts["succeeded"], count, "{name}");
        for none in ["failed", "lost", "unfinished"] {
            assert_eq!(counts[none], 0, "{name}: {none}");
        }
    }
}
