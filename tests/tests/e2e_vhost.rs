//! The drive as a virtio disk: data comes back, a guest boots from it, and goes on
//! after its server was killed.
//!
//! fio, ext4 and the guest's kernel are the judges, as they are for NVMe.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use qemu::{DriveCounters, Firmware, Launch, Root};
use traces::Reader;
use vssd_tests::e2e::{
    FILES_SECTION, PATIENCE, Scratch, Serve, Vm, failures, pause, run, section, sha256_of_files,
    start, succeeded, sum_of_head, the_kernel_counted_what_the_trace_holds, vssd, vssd_json,
};

const DATA: &str = include_str!("e2e_data.sh");

/// What init does for NVMe drives at the end: the kernel's counters, and how many of
/// its flushes had no data.
const COUNT: &str = r#"
mount -t tracefs tracefs /sys/kernel/tracing
number=$(tr : ' ' </sys/block/vdb/dev | while read -r major minor; do
    echo $((major << 20 | minor))
done)
empty=$(awk -v dev="$number" '
    $2 == "dev:" && $3 + 0 == dev { for (i = 4; i < NF; i++) if ($i == "hitcount:") n = $(i + 1) }
    END { print n + 0 }
' /sys/kernel/tracing/events/block/block_bio_queue/hist)
report counters echo vdb $empty $(cat /sys/block/vdb/stat)
report queue sh -c 'ls -d /sys/block/vdb/mq/* | wc -l; cat /sys/block/vdb/serial; echo;
    cat /sys/block/vdb/queue/physical_block_size'
"#;

#[test]
fn data_is_right_on_a_virtio_disk() {
    data_is_right("data_is_right_on_a_virtio_disk", 512, 1);
}

#[test]
fn data_is_right_on_a_virtio_disk_in_blocks_of_4096_bytes() {
    data_is_right(
        "data_is_right_on_a_virtio_disk_in_blocks_of_4096_bytes",
        4096,
        1,
    );
}

#[test]
fn data_is_right_on_a_virtio_disk_with_a_thread_for_each_queue() {
    data_is_right(
        "data_is_right_on_a_virtio_disk_with_a_thread_for_each_queue",
        512,
        2,
    );
}

fn data_is_right(name: &'static str, block_bytes: u32, workers: u16) {
    let Some(vm) = Vm::take(name) else { return };
    let scratch = Scratch::new();
    let image = scratch.path("data.img");
    let trace = scratch.path("data.vtr");
    let server = Serve::virtio(&image, scratch.dir(), "disk")
        .with("--create", "512M")
        .with("--block-size", block_bytes.to_string())
        .with("--serial", "VIRTIO-42")
        .workers(workers)
        .record(&trace)
        .start();
    let job = DATA.replace("drive=/dev/nvme0n1", "drive=/dev/vdb") + COUNT;
    let launch = Launch::job(vm.kit(), job)
        .root(Root::Tools)
        // It leaves disks alone, so that the kernel's counters are all there is.
        .firmware(Firmware::Qboot)
        .cpus(2)
        .drive(server.drive());
    let outcome = run(&vm, launch);
    server.had_workers(workers);
    let log = server.terminate();
    eprintln!("vssd said {log:#?}");

    let lines = &outcome.lines;
    lines.iter().for_each(|line| eprintln!("| {line}"));
    let sizes = ["536870912".to_owned(), block_bytes.to_string()];
    assert_eq!(section(lines, "sizes"), sizes);
    let troubles = section(lines, "dmesg");
    assert!(troubles.is_empty(), "{troubles:#?}");
    assert_eq!(section(lines, "queue"), ["2", "VIRTIO-42", "4096"]);
    assert_eq!(section(lines, "sum"), [sum_of_head(&image, 96)]);
    let kept = File::open(&image).and_then(|file| file.metadata());
    let allocated = kept.expect("the image is there").blocks() * 512;
    assert!(
        allocated <= 97 << 20,
        "discarded blocks take no room: {allocated}"
    );

    let counted = DriveCounters::read(&section(lines, "counters").join(" "))
        .expect("the guest reports its disk");
    let tally = the_kernel_counted_what_the_trace_holds(&counted, &trace);
    assert!(tally.zeroes > 0 && tally.discards > 0, "{tally:?}");
    assert_eq!(failures(&trace), []);
    let info = vssd_json(&["trace", "info", text(&trace), "--json"]);
    assert_eq!(info["summary"]["end"], "clean");
    for queue in ["1", "2"] {
        let commands = info["summary"]["queues"][queue].as_u64();
        assert!(
            commands > Some(100),
            "both processors have a queue: {info:#}"
        );
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("it is text")
}

/// Real work on the root file system.
const BOOTED: &str = r#"
set -e
report() {
    echo "<$1>"
    name=$1
    shift
    "$@"
    echo "</$name>"
}
report mount findmnt -n -o SOURCE /
mkdir /work
cd /work
tar -C /usr -cf archive.tar include
tar -xf archive.tar
seq 1 60000 | rev | sort -S 1M -T . -o sorted
sync
rm -r include
fstrim /
report files sh -c "find /work /etc -xdev -type f -size -512k | sort | head -n 40 |
    xargs sha256sum; sha256sum /work/archive.tar"
"#;

#[test]
fn a_guest_boots_from_a_virtio_disk() {
    let Some(vm) = Vm::take("a_guest_boots_from_a_virtio_disk") else {
        return;
    };
    let scratch = Scratch::new();
    let image = scratch.root_image(vm.kit(), "root.img");
    let trace = scratch.path("boot.vtr");
    let server = Serve::virtio(&image, scratch.dir(), "disk")
        .record(&trace)
        .start();
    let launch = Launch::job(vm.kit(), BOOTED)
        .root(Root::Initramfs)
        .kernel_arg("root=/dev/vda")
        .drive(server.drive());
    let outcome = run(&vm, launch);
    drop(server.terminate());
    let lines = &outcome.lines;
    assert_eq!(section(lines, "mount"), ["/dev/vda"]);
    vm.is_clean(&image);
    let in_guest = sha256_of_files(section(lines, FILES_SECTION));
    assert!(in_guest.len() > 30, "{in_guest:#?}");
    let files = in_guest.keys().map(String::as_str);
    let in_image = scratch.sha256_from_image(vm.kit(), &image, files);
    assert_eq!(in_guest, in_image);
    assert_eq!(failures(&trace), []);
}

/// Writes for a while, and reads it all back: each block says what it is.
const WRITE_THROUGH: &str = r#"
set -e
echo writing
fio --direct=1 --ioengine=io_uring --verify=crc32c --verify_fatal=1 --name=through \
    --filename=/dev/vdb --rw=randwrite --bs=4k-64k --size=48m --iodepth=32 --loops=3 \
    --rate=5m --minimal >/tmp/fio.txt 2>&1 || { cat /tmp/fio.txt; exit 1; }
echo "<dmesg>"
dmesg | grep -iE 'vdb.*error|I/O error|timeout' || true
echo "</dmesg>"
"#;

#[test]
fn a_guest_goes_on_after_its_server_was_killed() {
    let Some(vm) = Vm::take("a_guest_goes_on_after_its_server_was_killed") else {
        return;
    };
    let scratch = Scratch::new();
    let image = scratch.path("data.img");
    let serve = |trace: &Path| {
        Serve::virtio(&image, scratch.dir(), "disk")
            .with("--create", "64M")
            .record(trace)
            .start()
    };
    let traces = ["first.vtr", "second.vtr", "third.vtr"].map(|name| scratch.path(name));
    let first = serve(&traces[0]);
    let launch = Launch::job(vm.kit(), WRITE_THROUGH)
        .root(Root::Tools)
        .firmware(Firmware::Qboot)
        .drive(first.drive());
    let mut guest = start(&vm, launch);
    guest
        .wait_for_line("writing", PATIENCE)
        .unwrap_or_else(|e| panic!("{e}"));
    pause(Duration::from_secs(5));
    vm.say("killing vssd");
    first.kill();
    pause(Duration::from_secs(1));
    let second = serve(&traces[1]);
    second.wait_for_log(": connected", 1);
    vm.say("vssd is back");
    pause(Duration::from_secs(4));
    vm.say("ending vssd with SIGTERM");
    drop(second.terminate());
    let third = serve(&traces[2]);
    let outcome = guest.wait(PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    succeeded(&outcome);
    let log = third.terminate();
    eprintln!("vssd said {log:#?}");
    let troubles = section(&outcome.lines, "dmesg");
    assert!(troubles.is_empty(), "{troubles:#?}");
    for trace in &traces {
        let reader = Reader::open(trace).unwrap_or_else(|e| panic!("{e}"));
        let count = reader.records().filter(Result::is_ok).count();
        eprintln!("{}: {count} records", trace.display());
        assert!(count > 20, "each server was at work");
    }
}

/// Writes what the next guest is to find, and then without end.
const WRITE_ON: &str = r"
dd if=/dev/urandom of=/dev/vda bs=1M count=4 conv=fsync
echo sum: $(dd if=/dev/vda bs=1M count=4 | sha256sum)
while :; do dd if=/dev/zero of=/dev/vda bs=64k seek=256 count=256 conv=fsync; done
";

const FIND: &str = r"
echo sum: $(dd if=/dev/vda bs=1M count=4 | sha256sum)
";

#[test]
fn a_killed_qemu_leaves_the_disk_to_the_next_one() {
    let Some(vm) = Vm::take("a_killed_qemu_leaves_the_disk_to_the_next_one") else {
        return;
    };
    let scratch = Scratch::new();
    let trace = scratch.path("day.vtr");
    let mut server = Serve::virtio("ram:64M", scratch.dir(), "disk")
        .record(&trace)
        .start();
    let job = |script| {
        Launch::job(vm.kit(), script)
            .root(Root::Initramfs)
            .firmware(Firmware::Qboot)
    };
    let mut first = start(&vm, job(WRITE_ON).drive(server.drive()));
    let written = first
        .wait_for_line("sum: ", PATIENCE)
        .unwrap_or_else(|e| panic!("{e}"));
    pause(Duration::from_secs(1));
    first.kill();
    server.wait_for_log("recorded ", 1);
    server.is_well();
    let outcome = run(&vm, job(FIND).drive(server.drive()));
    assert!(outcome.lines.contains(&written), "{:#?}", outcome.lines);
    server.wait_for_log("recorded ", 2);
    let complaints = server.complaints();
    drop(server.terminate());
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert_eq!(scratch.traces().len(), 2);
}

#[test]
fn a_disk_that_two_guests_would_write_is_refused() {
    let scratch = Scratch::new();
    let [image, one, other] = ["disk.img", "one.sock", "other.sock"].map(|name| scratch.path(name));
    let fronts = ["--vfio-user", text(&one), "--vhost-user", text(&other)];
    let both = |more: &[&str]| vssd(&[&["serve", text(&image)], &fronts[..], more].concat());
    let refused = both(&["--create", "16M"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("--read-only"), "{said}");
    assert!(!image.exists(), "nothing was made");
}
