//! Everybody may die at any time, and every disk may be full: QEMU in mid-write, vssd
//! in mid-record, the disk under a trace. The rest goes on, and what was recorded
//! before can be read.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use qemu::{KitError, Launch, Root};
use serde_json::Value;
use traces::{End, Reader};
use vssd_tests::e2e::{
    PATIENCE, Scratch, Serve, Server, Vm, own_mounts, pause, run, sha256_of_files, start, vssd,
    vssd_json,
};

/// How long something is left to work before it is ended.
const A_WHILE: Duration = Duration::from_secs(3);

const KEEP_AND_WRITE: &str = r#"
dd if=/dev/urandom of=/kept bs=64k count=48 status=none
sha256sum /kept >/kept.sum
sync
echo "<kept>"
cat /kept.sum
echo "</kept>"
fio --name=write --filename=/big --size=48m --rw=randwrite --bs=4k-64k --ioengine=io_uring \
    --iodepth=16 --fsync=64 --time_based --runtime=600 >/dev/null
"#;

/// The second guest on the same drive finds what the first had synced.
const FIND_AND_WORK: &str = r"
set -e
sha256sum -c /kept.sum
rm /big
tar -C /usr -cf /archive.tar include
sync
fstrim /
";

#[test]
fn a_killed_qemu_leaves_the_drive_to_the_next_one() {
    let Some(vm) = Vm::take("a_killed_qemu_leaves_the_drive_to_the_next_one") else {
        return;
    };
    let scratch = Scratch::new();
    let image = scratch.root_image(vm.kit(), "root.img");
    let trace = scratch.path("day.vtr");
    let mut server = Serve::new(&image, scratch.dir(), "drive")
        .record(&trace)
        .start();
    let mut guest = start(
        &vm,
        Launch::job(vm.kit(), KEEP_AND_WRITE).drive(server.drive()),
    );
    let sum = guest
        .wait_for_line("  /kept", PATIENCE)
        .unwrap_or_else(|e| panic!("{e}"));
    pause(A_WHILE);
    vm.say("killing QEMU");
    guest.kill();
    server.wait_for_log("recorded ", 1);
    server.is_well();
    assert!(opens_whole(&trace) > 0);

    vm.say("the file system can be repaired, with what was synced in it");
    let copy = scratch.copy(&image, "copy.img");
    vm.repairs(&copy);
    let in_image = scratch.sha256_from_image(vm.kit(), &copy, ["/kept"]);
    assert_eq!(in_image, sha256_of_files(&[sum]));
    drop(fs::remove_file(copy));

    malformed_clients_are_sent_away(&vm, &mut server);

    vm.say("the next QEMU attaches");
    let recordings = server
        .log()
        .iter()
        .filter(|line| line.starts_with("recorded "))
        .count();
    let _outcome = run(
        &vm,
        Launch::job(vm.kit(), FIND_AND_WORK).drive(server.drive()),
    );
    server.wait_for_log("recorded ", recordings + 1);
    let log = server.terminate();
    eprintln!("vssd said {log:#?}");
    let traces = scratch.traces();
    assert!(
        traces.len() >= 2,
        "each session has a file of its own: {traces:?}"
    );
    assert!(traces.iter().all(|trace| opens_whole(trace) > 0));
    vm.is_clean(&image);
}

/// Each gets its connection closed, and a line in the log.
fn malformed_clients_are_sent_away(vm: &Vm, server: &mut Server) {
    let said: [(&str, &[u8]); 4] = [
        (
            "another protocol",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
        ("nothing but zeroes", &[0; 4096]),
        (
            "a length of 4 GiB",
            b"\x01\x00\x01\x00\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00",
        ),
        ("half a header", b"\x01\x00\x01\x00"),
    ];
    for (number, (what, bytes)) in said.iter().enumerate() {
        vm.say(&format!("a client that sends {what}"));
        let mut client = UnixStream::connect(server.socket()).expect("the server listens");
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("it is no zero");
        client.write_all(bytes).expect("the server reads");
        client
            .shutdown(std::net::Shutdown::Write)
            .expect("it was open");
        let mut answer = Vec::new();
        let closed = client.read_to_end(&mut answer);
        // Closed with our bytes unread, it says so.
        let closed = closed
            .as_ref()
            .err()
            .is_none_or(|e| e.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(closed, "the connection is closed");
        // It is told after the connection was closed.
        server.wait_for_log("connection closed: ", number + 1);
        server.is_well();
    }
    let complaints = server.complaints();
    assert_eq!(complaints.len(), said.len(), "a line each: {complaints:#?}");
}

/// Drives have the numbers that their probes happened to get.
const WRITE_TO_BOTH: &str = r#"
disk() {
    for controller in /sys/class/nvme/nvme*; do
        read -r serial <"$controller/serial"
        [ "$serial" != "$1" ] || echo "${controller##*/}n1"
    done
}
works() {
    read -r reads rest <"/sys/block/$1/stat"
    [ "$reads" -gt 100 ]
}
first=$(disk FIRST)
second=$(disk SECOND)
fio --direct=1 --ioengine=io_uring --rw=randrw --bs=4k --iodepth=8 --time_based --runtime=600 \
    --name=killed --filename="/dev/$first" >/tmp/killed.txt 2>&1 &
killed=$!
fio --direct=1 --ioengine=io_uring --rw=randrw --bs=4k --iodepth=8 --time_based --runtime=600 \
    --name=ended --filename="/dev/$second" >/tmp/ended.txt 2>&1 &
ended=$!
# Fio takes its time to start.
until works "$first" && works "$second"; do sleep 0.1; done
echo writing
wait $killed
echo killed drive: $?
wait $ended
echo ended drive: $?
"#;

/// One drive's server is killed, another's is told to end, under one guest.
#[test]
fn a_server_that_ends_leaves_a_trace_that_opens() {
    let Some(vm) = Vm::take("a_server_that_ends_leaves_a_trace_that_opens") else {
        return;
    };
    let scratch = Scratch::new();
    let (killed, ended) = (scratch.path("killed.vtr"), scratch.path("ended.vtr"));
    // A kernel takes no second drive with the serial number of the first.
    let first = Serve::new("ram:64M", scratch.dir(), "first")
        .with("--serial", "FIRST")
        .record(&killed)
        .start();
    let second = Serve::new("ram:64M", scratch.dir(), "second")
        .with("--serial", "SECOND")
        .record(&ended)
        .start();
    let launch = Launch::job(vm.kit(), WRITE_TO_BOTH)
        .root(Root::Tools)
        .cpus(2)
        // The guest is to notice soon that nobody answers.
        .kernel_arg("nvme_core.io_timeout=2")
        .kernel_arg("nvme_core.admin_timeout=2")
        .drive(first.drive())
        .drive(second.drive());
    let mut guest = start(&vm, launch);
    guest
        .wait_for_line("writing", PATIENCE)
        .unwrap_or_else(|e| panic!("{e}"));
    pause(A_WHILE);
    vm.say("killing one vssd");
    first.kill();
    vm.say("ending the other with SIGTERM");
    let log = second.terminate();
    eprintln!("it said {log:#?}");

    // More than what a kernel asks of a drive that nobody uses.
    assert!(opens_whole(&ended) > 400, "the drive was at work");
    opens_up_to_the_last_whole_block(&killed);

    match guest.wait_for_line("killed drive: ", PATIENCE) {
        Ok(line) => vm.say(&format!("the guest saw the drive go, and fio too: {line}")),
        Err(e @ KitError::Died { .. }) => vm.say(&format!("QEMU gave up on its drive: {e}")),
        Err(e) => panic!("{e}"),
    }
    guest.kill();
}

fn opens_up_to_the_last_whole_block(trace: &Path) {
    let info = vssd_json(&["trace", "info", text(trace), "--json"]);
    let recovery = &info["recovery"];
    eprintln!("recovered: {recovery}");
    assert!(recovery["records"].as_u64() > Some(100), "{info:#}");
    assert!(recovery["blocks"].as_u64() > Some(0), "{info:#}");
    assert_eq!(info["summary"]["end"], "cut", "{info:#}");
    assert!(info["summary"]["commands"].as_u64() > Some(100), "{info:#}");
    let output = vssd(&["trace", "info", text(trace)]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("recovered"), "a person is told: {said}");
}

/// Some seconds of work, whose commands take much more than [`ROOM`] in a trace.
const WORK_ON: &str = r"
set -e
fio --direct=1 --ioengine=io_uring --rw=randrw --bs=4k --iodepth=16 --rate_iops=1500,1500 \
    --name=on --filename=/dev/nvme0n1 --number_ios=24000 --norandommap --minimal >/tmp/fio.txt
sync
echo done
";

/// Enough for the trace of a second or two of [`WORK_ON`]: a block of a trace is
/// written after a second.
const ROOM: &str = "96k";

#[test]
fn a_full_disk_under_the_trace_ends_the_recording_only() {
    let Some(vm) = Vm::take("a_full_disk_under_the_trace_ends_the_recording_only") else {
        return;
    };
    let scratch = Scratch::new();
    let small = scratch.path("small");
    fs::create_dir(&small).expect("the scratch directory can be written to");
    let mount = format!(
        "mount -t tmpfs -o size={ROOM} tmpfs {} && exec \"$@\"",
        small.display()
    );
    let Some(mut wrapper) = own_mounts() else {
        eprintln!("SKIPPED: this user may not mount anything, not even for himself");
        return;
    };
    wrapper.extend(["sh", "-c", &mount, "sh"]);
    let trace = small.join("full.vtr");
    let mut server = Serve::new("ram:64M", scratch.dir(), "drive")
        .record(&trace)
        .by_way_of(&wrapper)
        .start();
    let launch = Launch::job(vm.kit(), WORK_ON)
        .root(Root::Tools)
        .drive(server.drive());
    let outcome = run(&vm, launch);
    assert_eq!(outcome.lines.last().map(String::as_str), Some("done"));
    server.is_well();

    server.wait_for_log("No space left", 1);
    let complaints = server.complaints();
    assert_eq!(complaints.len(), 1, "one line tells of it: {complaints:#?}");
    eprintln!("vssd said: {}", complaints[0]);
    for word in [text(&trace), "No space left"] {
        assert!(complaints[0].contains(word), "{complaints:?}");
    }
    // The mount is seen by that process alone.
    let seen_by_server = format!("/proc/{}/root{}", server.id(), trace.display());
    let copy = scratch.path("copy.vtr");
    fs::copy(seen_by_server, &copy).unwrap_or_else(|e| panic!("{e}"));
    drop(server.terminate());
    let reader = Reader::open(&copy).unwrap_or_else(|e| panic!("{e}"));
    let records: Vec<_> = reader
        .records()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|e| panic!("{e}"));
    let records = records.len();
    vm.say(&format!(
        "{records} records fitted, end: {:?}",
        reader.totals().end
    ));
    assert!(records > 100, "{records}");
    assert!(reader.is_recovered() || matches!(reader.totals().end, End::Stopped(_)));
}

/// The recording has its end and its index; returns the number of its commands.
#[track_caller]
fn opens_whole(trace: &Path) -> u64 {
    let info = vssd_json(&["trace", "info", text(trace), "--json"]);
    let summary = &info["summary"];
    eprintln!(
        "{}: {} commands, {} of them unfinished, events {}",
        trace.display(),
        summary["commands"],
        summary["unfinished"],
        summary["events"]
    );
    assert_eq!(info["recovery"], Value::Null, "{info:#}");
    assert_eq!(summary["end"], "clean", "{info:#}");
    summary["commands"].as_u64().expect("commands are counted")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}
