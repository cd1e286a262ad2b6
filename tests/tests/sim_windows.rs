//! A real trace, whole: the first minute of Windows 10.

#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

use nvme::NvmOpcode;
use replayer::Pace;
use traces::{Header, NamespaceInfo, Record};
use vssd_tests::sim::replay::{options, replay};
use vssd_tests::sim::trace::{Seen, by_queue, seen, untimed};
use vssd_tests::sim::{Device, DeviceOptions, windows_boot};

#[test]
fn the_boot_of_windows_replays_completely() {
    let Some(path) = windows_boot::find() else {
        eprintln!("left out: the trace is not here; name its directory in VSSD_TEST_DATA");
        return;
    };
    let boot = windows_boot::read(&path).unwrap();
    let trace: Vec<Record> = boot.records().map(Result::unwrap).collect();
    let commands = || {
        trace.iter().map(|record| match record {
            Record::Command {
                command, ranges, ..
            } => (command, ranges),
            _ => panic!("{record:?}"),
        })
    };
    // A line is a command, or one of its ranges.
    let lines: usize = commands().map(|(_, ranges)| ranges.len().max(1)).sum();
    assert_eq!(lines, 50_129);
    let of = |opcode: NvmOpcode| {
        commands()
            .filter(|(command, _)| command.opcode == opcode.0)
            .count()
    };
    assert_eq!(of(NvmOpcode::READ), 47_184);
    assert_eq!(of(NvmOpcode::WRITE), 2_803);
    assert_eq!(of(NvmOpcode::DATASET_MANAGEMENT), 9);
    assert_eq!(of(NvmOpcode::FLUSH), 1);

    // 100 GiB, of which what is written takes memory.
    let device = Device::new(DeviceOptions {
        bytes: 100 << 30,
        latency_ns: 2_000..=15_000,
        ..DeviceOptions::default()
    })
    .unwrap();
    let header = Header {
        namespaces: vec![NamespaceInfo {
            id: 1,
            blocks: (100 << 30) / 512,
            block_bytes: 512,
        }],
        ..Header::default()
    };
    let mut options = options();
    options.pace = Pace::Max;
    let replayed = replay(&device, &header, &trace, options.clone()).unwrap();
    let report = &replayed.report;
    assert!(report.is_success(), "{report}");
    assert_eq!(report.commands.recorded, 49_997);
    assert_eq!(report.commands.succeeded, 49_997);
    // Nothing is lost or added but by splitting.
    let bytes = |opcode: NvmOpcode| {
        commands()
            .filter(|(command, _)| command.opcode == opcode.0)
            .filter_map(|(command, _)| command.lba_range())
            .map(|(_, blocks)| u64::from(blocks) * 512)
            .sum::<u64>()
    };
    assert_eq!(report.read_bytes, bytes(NvmOpcode::READ));
    assert_eq!(report.written_bytes, bytes(NvmOpcode::WRITE));
    let small = |it: &Seen| it.opcode != NvmOpcode::READ || it.cdw10_15[2] & 0xffff < 2048;
    assert!(replayed.seen.iter().all(small), "at most 1 MiB each");

    // At the recorded pace, the minute passes in virtual time, exactly.
    options.pace = Pace::Recorded;
    let replayed = replay(&device, &header, &trace, options).unwrap();
    let report = &replayed.report;
    assert!(report.is_success(), "{report}");
    let whole = |it: &Seen| it.opcode != NvmOpcode::READ;
    let only =
        |commands: Vec<Seen>| by_queue(&untimed(commands.into_iter().filter(whole).collect()));
    assert_eq!(only(replayed.seen.clone()), only(seen(&trace)));
    assert_eq!(report.pacing.unwrap().p99_ns, 0);
    let (recorded_ns, replayed_ns) = (report.recorded_ns, report.replayed_ns);
    assert!(replayed_ns >= recorded_ns && replayed_ns - recorded_ns < 1_000_000);
}
