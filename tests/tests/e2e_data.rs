//! Data comes back as it was written: under a file system and without one, in both
//! sizes of logical blocks, through several queues, after discards and zeroing.
//!
//! fio and ext4 in the guest are the judges, and the guest's kernel, whose log must
//! not know of any trouble.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use qemu::{Launch, Root};
use vssd_tests::e2e::{
    Scratch, Serve, Vm, failures, run, section, sum_of_head,
    the_kernel_counted_what_the_trace_holds, vssd_json,
};

/// What the drive holds at the end; the rest is discarded.
const KEPT_MIB: u64 = 96;

const JOB: &str = include_str!("e2e_data.sh");

#[test]
fn data_is_right_in_blocks_of_512_bytes() {
    data_is_right("data_is_right_in_blocks_of_512_bytes", 512, false, 1);
}

/// Behind an IOMMU as well: each command brings memory of its own, and takes it away.
#[test]
fn data_is_right_in_blocks_of_4096_bytes_behind_an_iommu() {
    data_is_right(
        "data_is_right_in_blocks_of_4096_bytes_behind_an_iommu",
        4096,
        true,
        1,
    );
}

/// Each of the guest's processors has a queue, and each queue a thread.
#[test]
fn data_is_right_with_a_thread_for_each_queue() {
    data_is_right("data_is_right_with_a_thread_for_each_queue", 512, false, 2);
}

fn data_is_right(name: &'static str, block_bytes: u32, iommu: bool, workers: u16) {
    let Some(vm) = Vm::take(name) else { return };
    let scratch = Scratch::new();
    let image = scratch.path("data.img");
    let trace = scratch.path("data.vtr");
    let server = Serve::new(&image, scratch.dir(), "drive")
        .with("--create", "512M")
        .with("--block-size", block_bytes.to_string())
        .workers(workers)
        .record(&trace)
        .start();
    let launch = Launch::job(vm.kit(), JOB)
        .root(Root::Tools)
        .cpus(2)
        .iommu(iommu)
        .drive(server.drive());
    let outcome = run(&vm, launch);
    server.had_workers(workers);
    drop(server.terminate());

    let lines = &outcome.lines;
    lines.iter().for_each(|line| eprintln!("| {line}"));
    let sizes = ["536870912".to_owned(), block_bytes.to_string()];
    assert_eq!(section(lines, "sizes"), sizes);
    let troubles = section(lines, "dmesg");
    assert!(troubles.is_empty(), "{troubles:#?}");
    assert_eq!(section(lines, "sum"), [sum_of_head(&image, KEPT_MIB)]);
    let kept = File::open(&image).and_then(|file| file.metadata());
    let allocated = kept.expect("the image is there").blocks() * 512;
    eprintln!("the image takes {allocated} bytes");
    // Room for what the file system of this machine itself needs.
    assert!(
        allocated <= (KEPT_MIB + 1) << 20,
        "discarded blocks take no room: {allocated}"
    );

    let counted = outcome
        .drive("nvme0n1")
        .expect("the guest reports its drive");
    let tally = the_kernel_counted_what_the_trace_holds(counted, &trace);
    assert!(tally.zeroes > 0 && tally.discards > 0, "{tally:?}");
    for (admin, line) in failures(&trace) {
        eprintln!("refused: {line}");
        assert!(admin, "a command failed: {line}");
    }
    let info = vssd_json(&[
        "trace",
        "info",
        trace.to_str().expect("it is text"),
        "--json",
    ]);
    let summary = &info["summary"];
    eprintln!(
        "queues {}, force unit access {}",
        summary["queues"], summary["fua"]
    );
    for queue in ["1", "2"] {
        let commands = summary["queues"][queue].as_u64();
        assert!(
            commands > Some(100),
            "both processors have a queue: {summary:#}"
        );
    }
    assert!(summary["fua"].as_u64() > Some(0), "{summary:#}");
    assert_eq!(info["header"]["namespaces"][0]["block_bytes"], block_bytes);
}
