//! A Debian root file system boots from a virtual SSD and works on it: with a BIOS
//! that drives the SSD before the kernel does, with a firmware that leaves it alone,
//! and behind an IOMMU, where a queue is many scattered pages.
//!
//! In each, the guest's kernel is the judge of what the trace holds, e2fsprogs of
//! what the image holds, and nvme-cli of what the SSD says about itself.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::path::Path;

use nvme::{AdminOpcode, NvmOpcode};
use qemu::{Firmware, JobOutcome, Launch};
use serde_json::Value;
use traces::CommandRecord;
use vssd_tests::e2e::{
    FILES_SECTION, Scratch, Serve, Vm, WORK, commands_of, failures, run, section, sha256_of_files,
    the_kernel_counted_what_the_trace_holds, vssd_json,
};

const SERIAL: &str = "E2E-BOOT-42";
const MODEL: &str = "A drive for tests";
const IMAGE_BYTES: u64 = 1 << 30;

#[test]
fn a_guest_boots_with_seabios() {
    boots("a_guest_boots_with_seabios", Firmware::SeaBios, false);
}

#[test]
fn a_guest_boots_with_qboot() {
    boots("a_guest_boots_with_qboot", Firmware::Qboot, false);
}

#[test]
fn a_guest_boots_behind_an_iommu() {
    boots("a_guest_boots_behind_an_iommu", Firmware::SeaBios, true);
}

fn boots(name: &'static str, firmware: Firmware, iommu: bool) {
    let Some(vm) = Vm::take(name) else { return };
    let scratch = Scratch::new();
    let image = scratch.root_image(vm.kit(), "root.img");
    let trace = scratch.path("boot.vtr");
    let server = Serve::new(&image, scratch.dir(), "drive")
        .record(&trace)
        .with("--serial", SERIAL)
        .with("--model", MODEL)
        .start();
    let launch = Launch::job(vm.kit(), WORK)
        .firmware(firmware)
        .iommu(iommu)
        .drive(server.drive());
    let outcome = run(&vm, launch);
    let log = server.terminate();
    vm.say(&format!("vssd said {log:#?}"));

    let lines = &outcome.lines;
    assert_eq!(section(lines, "mount"), ["/dev/nvme0n1"]);
    assert_eq!(
        lines.contains(&"translated".to_owned()),
        iommu,
        "{lines:#?}"
    );
    let counted = outcome
        .drive("nvme0n1")
        .expect("the guest reports its drive");
    let tally = the_kernel_counted_what_the_trace_holds(counted, &trace);
    let least = tally
        .reads
        .min(tally.writes)
        .min(tally.discards)
        .min(tally.flushes);
    assert!(least > 0, "a kind of command was not exercised: {tally:?}");
    only_probes_failed(&trace);
    the_trace_tells_of_the_whole_session(&trace, firmware);
    nvme_cli_saw_what_was_asked_for(&outcome, &trace);

    vm.is_clean(&image);
    let in_guest = sha256_of_files(section(lines, FILES_SECTION));
    assert!(in_guest.len() > 30, "{in_guest:#?}");
    let files = in_guest.keys().map(String::as_str);
    let in_image = scratch.sha256_from_image(vm.kit(), &image, files);
    assert_eq!(in_guest, in_image);
    vm.say(&format!(
        "{} files have the same sums in guest and image",
        in_image.len()
    ));
}

/// No command failed but of those that ask for what a drive need not have.
fn only_probes_failed(trace: &Path) {
    for (admin, line) in failures(trace) {
        eprintln!("a probe of the host's that was refused: {line}");
        let probe = ["Identify", "Get Log Page", "Get Features", "Set Features"];
        let harmless = probe.iter().any(|name| line.starts_with(name));
        assert!(admin && harmless, "a command failed: {line}");
    }
}

/// `vssd trace info` opens the trace, which has an end, and everything in it ended but
/// what waits for events.
fn the_trace_tells_of_the_whole_session(trace: &Path, firmware: Firmware) {
    let info = vssd_json(&[
        "trace",
        "info",
        trace.to_str().expect("it is text"),
        "--json",
    ]);
    let summary = &info["summary"];
    eprintln!(
        "{} commands in {} bytes; events {}",
        summary["commands"], info["file_bytes"], summary["events"]
    );
    assert_eq!(info["recovery"], Value::Null);
    assert_eq!(summary["end"], "clean");
    assert_eq!(info["header"]["device"]["serial"], SERIAL);
    assert_eq!(info["header"]["device"]["model"], MODEL);
    let blocks = info["header"]["namespaces"][0]["blocks"].as_u64();
    assert_eq!(blocks, Some(IMAGE_BYTES / 512));
    let events = &summary["events"];
    assert_eq!(events["connect"], 1, "{events}");
    assert_eq!(events["disconnect"], 1, "{events}");
    assert_eq!(events["fatal status"], Value::Null, "{events}");
    let enabled_by_firmware = u64::from(firmware == Firmware::SeaBios);
    assert_eq!(events["enable"], 1 + enabled_by_firmware, "{events}");
    assert!(events["shutdown"].as_u64() >= Some(1), "{events}");

    let unfinished = commands_of(trace)
        .iter()
        .filter(|command| command.completion.is_none())
        .map(CommandRecord::opcode_name)
        .collect::<Vec<_>>();
    let waits = AdminOpcode::ASYNC_EVENT_REQUEST.to_string();
    assert!(
        unfinished.iter().all(|name| *name == waits),
        "{unfinished:?}"
    );
}

fn nvme_cli_saw_what_was_asked_for(outcome: &JobOutcome, trace: &Path) {
    let json = |name: &str| -> Value {
        let text = section(&outcome.lines, name).join("\n");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e} in {text}"))
    };
    let list = json("list").to_string();
    for word in ["/dev/nvme0n1", SERIAL, MODEL] {
        let shown = list.contains(word) || list.contains(word.trim_start_matches("/dev/"));
        assert!(shown, "nvme list does not show {word}: {list}");
    }
    let controller = json("id-ctrl");
    let text = |field: &str| {
        controller[field]
            .as_str()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    assert_eq!(text("sn"), SERIAL, "{controller}");
    assert_eq!(text("mn"), MODEL, "{controller}");
    let namespace = json("id-ns");
    assert_eq!(
        namespace["nsze"].as_u64(),
        Some(IMAGE_BYTES / 512),
        "{namespace}"
    );

    // The log was read between reads of the file system, and every one of them that
    // had ended by then is to be counted, and none that came later.
    let health = json("smart-log");
    eprintln!("smart-log: {health}");
    let told = health["host_read_commands"]
        .as_u64()
        .expect("the log counts reads");
    let kernel: u64 = section(&outcome.lines, "reads")[0]
        .trim()
        .parse()
        .expect("a count");
    let all = commands_of(trace);
    let reads = all
        .iter()
        .filter(|command| command.nvm_opcode() == Some(NvmOpcode::READ));
    let (mut before, mut in_all) = (0, 0);
    let asked = all
        .iter()
        .rfind(|command| {
            command.is_admin() && AdminOpcode(command.opcode) == AdminOpcode::GET_LOG_PAGE
        })
        .expect("the log was asked for");
    for read in reads {
        let ended = read.completion.expect("all reads ended").complete_ns;
        before += u64::from(ended < asked.submit_ns);
        in_all += u64::from(read.submit_ns < asked.completion.expect("it ended").complete_ns);
    }
    assert!(
        (before..=in_all).contains(&told),
        "{before} <= {told} <= {in_all}"
    );
    assert!(told >= kernel, "{told} >= {kernel}");
    assert_eq!(
        health["critical_warning"].as_u64().unwrap_or(0),
        0,
        "{health}"
    );
    assert_eq!(health["media_errors"].as_u64().unwrap_or(0), 0, "{health}");
}
