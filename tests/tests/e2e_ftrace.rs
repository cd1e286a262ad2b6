//! What a guest's kernel says it did to a drive is what the drive recorded, and what
//! QEMU's log says of its own: each converted to a trace, command by command.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nvme::{NamespaceId, NvmOpcode, Status};
use qemu::{Drive, Launch, Root};
use traces::{CommandRecord, Reader, Record};
use vssd_tests::e2e::{Scratch, Serve, Vm, run, section, vssd};

const JOB: &str = include_str!("e2e_ftrace.sh");

#[test]
fn the_kernel_traces_what_the_drive_records() {
    let Some(vm) = Vm::take("the_kernel_traces_what_the_drive_records") else {
        return;
    };
    let scratch = Scratch::new();
    let recording = scratch.path("recording.vtr");
    let server = Serve::new("ram:64M", scratch.dir(), "drive")
        .record(&recording)
        .start();
    let launch = Launch::job(vm.kit(), JOB)
        .root(Root::Tools)
        .cpus(2)
        .drive(server.drive());
    let outcome = run(&vm, launch);
    drop(server.terminate());

    let traced = of_the_kernel(&scratch, section(&outcome.lines, "trace"));
    let recorded = between_marks(&recording);
    has_everything(&recorded);
    assert_same(&traced, &recorded);
}

#[test]
fn the_kernel_traces_what_qemu_logs() {
    let Some(vm) = Vm::take("the_kernel_traces_what_qemu_logs") else {
        return;
    };
    let scratch = Scratch::new();
    let image = scratch.path("drive.img");
    File::create(&image)
        .and_then(|file| file.set_len(64 << 20))
        .expect("an image can be made");
    let log = scratch.path("qemu.log");
    let options = ["-trace", "pci_nvme_*", "-msg", "timestamp=on", "-D"];
    let options = options.map(str::to_owned).into_iter();
    let launch = Launch::job(vm.kit(), JOB)
        .root(Root::Tools)
        .cpus(2)
        .drive(Drive::QemuNvme { image })
        .qemu_args(options.chain([text(&log).to_owned()]));
    let outcome = run(&vm, launch);

    let mut traced = of_the_kernel(&scratch, section(&outcome.lines, "trace"));
    let mut logged = between_marks(&converted(&scratch, &log, "qemu"));
    has_everything(&traced);
    for command in traced.iter_mut().chain(&mut logged) {
        // QEMU logs the numbers of reads and writes, and nothing of their flags.
        if command.lba_range().is_some() {
            command.cdw10_15[2] &= 0xffff;
            command.cdw10_15[3..].fill(0);
        }
        // Nor does it log the namespace of most admin commands.
        if command.is_admin() {
            command.nsid = NamespaceId(0);
        }
    }
    assert_same(&logged, &traced);
}

/// The commands of the kernel's trace, converted.
fn of_the_kernel(scratch: &Scratch, lines: &[String]) -> Vec<CommandRecord> {
    let path = scratch.path("trace.txt");
    fs::write(&path, lines.join("\n") + "\n").expect("the scratch directory can be written to");
    between_marks(&converted(scratch, &path, "trace-points"))
}

/// Converts `path`, which must be known to be of the format `name`.
fn converted(scratch: &Scratch, path: &Path, name: &str) -> PathBuf {
    let trace = scratch.path(&format!("{name}.vtr"));
    let output = vssd(&["trace", "convert", text(path), text(&trace)]);
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains(&format!("({name})")), "{said}");
    trace
}

/// The commands between the job's read of block 1 and that of block 2.
fn between_marks(trace: &Path) -> Vec<CommandRecord> {
    let reader = Reader::open(trace).unwrap_or_else(|e| panic!("{e}"));
    let commands =
        reader
            .records()
            .filter_map(|record| match record.unwrap_or_else(|e| panic!("{e}")) {
                Record::Command { command, .. } => Some(command),
                Record::Event(_) | Record::Gap(_) => None,
            });
    let commands: Vec<CommandRecord> = commands.collect();
    let mark = |lba: u64| {
        let reads = |it: &CommandRecord| {
            it.nvm_opcode() == Some(NvmOpcode::READ) && it.lba_range() == Some((nvme::Lba(lba), 1))
        };
        let place = commands.iter().rposition(reads);
        place.unwrap_or_else(|| panic!("no read of block {lba} in {}", trace.display()))
    };
    let (start, end) = (mark(1), mark(2));
    assert!(start < end, "the marks are in order");
    commands[start..=end].to_vec()
}

/// The job did all that it was to do.
fn has_everything(commands: &[CommandRecord]) {
    let count = |is: &dyn Fn(&CommandRecord) -> bool| commands.iter().filter(|it| is(it)).count();
    let of = |opcode: NvmOpcode| count(&|it| it.nvm_opcode() == Some(opcode));
    assert!(of(NvmOpcode::READ) > 20 && of(NvmOpcode::WRITE) > 50);
    assert!(of(NvmOpcode::FLUSH) > 0 && of(NvmOpcode::DATASET_MANAGEMENT) > 0);
    assert!(of(NvmOpcode::WRITE_ZEROES) > 0);
    assert!(count(&CommandRecord::fua) > 0, "force unit access");
    assert!(count(&CommandRecord::is_admin) >= 3);
    let out_of_range = |it: &CommandRecord| {
        it.completion
            .is_some_and(|it| it.status.same_code(Status::LBA_OUT_OF_RANGE))
    };
    assert_eq!(count(&out_of_range), 1, "one command failed");
    for queue in 1..=2 {
        assert!(count(&|it| it.queue.0 == queue) > 20, "queue {queue}");
    }
}

/// All of a command but its times and the flags of its data pointer, in an order that
/// does not depend on when it was submitted: several processors submit at once.
fn same(commands: &[CommandRecord]) -> Vec<impl Ord + std::fmt::Debug + use<>> {
    let all = commands.iter().map(|it| {
        let completion = it.completion.expect("all commands complete");
        (
            (it.queue.0, it.cid.0, it.opcode, it.nsid.0),
            it.cdw10_15,
            (completion.status, completion.result),
        )
    });
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all
}

#[track_caller]
fn assert_same(found: &[CommandRecord], expected: &[CommandRecord]) {
    eprintln!("{} commands, and {}", found.len(), expected.len());
    let (found, expected) = (same(found), same(expected));
    let strange: Vec<_> = found
        .iter()
        .filter(|it| expected.binary_search(it).is_err())
        .collect();
    let missing: Vec<_> = expected
        .iter()
        .filter(|it| found.binary_search(it).is_err())
        .collect();
    assert!(
        strange.is_empty() && missing.is_empty(),
        "not expected: {strange:#?}\nmissing: {missing:#?}"
    );
    assert_eq!(found, expected);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}
