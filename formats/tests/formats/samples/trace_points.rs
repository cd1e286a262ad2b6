//! Linux trace points, from the kernel's formats.

use std::fs;

use formats::{ImportOptions, ImportSummary};
use traces::{CommandRecord, Reader, Record};

use crate::common::import;

/// ftrace: commands on two queues that complete in another order, a discard, a
/// flush, an admin command, and one that never completes.
pub(crate) const FTRACE: &str = "\
# tracer: nop
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
             fio-812     [001] d..1.    88.100001: nvme_setup_cmd: nvme0: disk=nvme0n1, qid=2, cmdid=25169, nsid=1, flags=0x0, meta=0x0, cmd=(nvme_cmd_write slba=498455480, len=7, ctrl=0x4000, dsmgmt=7, reftag=9)
             fio-812     [001] d..1.    88.100002: block_rq_issue: 259,0 WFS 4096 () 498455480 + 8 none,0,0 [fio]
             fio-813     [000] d..1.    88.100003: nvme_setup_cmd: nvme0: disk=nvme0n1, qid=1, cmdid=12, nsid=1, flags=0x40, meta=0x0, cmd=(nvme_cmd_read slba=8589934592, len=255, ctrl=0x0, dsmgmt=0, reftag=0)
CPU:1 [LOST 123 EVENTS]
          <idle>-0       [000] d.h1.    88.100100: nvme_sq: nvme0: disk=nvme0n1, qid=1, head=7, tail=8
          <idle>-0       [000] d.h1.    88.100103: nvme_complete_rq: nvme0: disk=nvme0n1, qid=1, cmdid=12, res=0x0, retries=0, flags=0x0, status=0x4281
          <idle>-0       [001] d.h1.    88.100201: nvme_complete_rq: nvme0: disk=nvme0n1, qid=2, cmdid=25169, res=0x5, retries=0, flags=0x0, status=0x0
          <idle>-0       [001] d.h1.    88.100201: nvme_complete_rq: nvme0: disk=nvme0n1, qid=2, cmdid=77, res=0x0, retries=0, flags=0x0, status=0x0
   kworker/0:1-9         [000] .....    88.200000: nvme_setup_cmd: nvme0: disk=nvme0n1, qid=1, cmdid=13, nsid=1, flags=0x0, meta=0x0, cmd=(nvme_cmd_dsm nr=1, attributes=4)
   kworker/0:1-9         [000] .....    88.200001: nvme_setup_cmd: nvme0: disk=nvme0n1, qid=1, cmdid=14, nsid=1, flags=0x0, meta=0x0, cmd=(nvme_cmd_flush cdw10=00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00)
             cli-814     [000] .....    88.300000: nvme_setup_cmd: nvme0: qid=0, cmdid=4098, nsid=0, flags=0x0, meta=0x0, cmd=(nvme_admin_get_log_page cdw10=02 00 7f 00 01 02 03 04 05 00 00 00 06 00 00 00 00 00 00 00 07 00 00 80)
             cli-814     [000] .....    88.300009: nvme_complete_rq: nvme0: qid=0, cmdid=4098, res=0x0, retries=0, flags=0x0, status=0x0
   kworker/0:1-9         [000] .....    88.300010: nvme_complete_rq: nvme0: disk=nvme0n1, qid=1, cmdid=13, res=0x0, retries=0, flags=0x0, status=0x0
";

/// Block events only, of ftrace.
pub(crate) const BLOCK: &str = "\
     mkfs.ext4-99      [000] .....     7.000001: block_rq_issue: 8,0 FF 0 () 18446744073709551615 + 0 [kworker/0:1H]
     mkfs.ext4-99      [000] .....     7.000002: block_rq_issue: 259,0 WFS 4096 () 64 + 8 none,0,0 [mkfs.ext4]
     mkfs.ext4-99      [000] .....     7.000003: block_rq_issue: 259,0 R 4096 () 64 + 8 none,0,0 [mkfs.ext4]
     mkfs.ext4-99      [000] .....     7.000004: block_rq_issue: 259,0 N 0 () 0 + 0 none,0,0 [mkfs.ext4]
     mkfs.ext4-99      [000] .....     7.000005: block_rq_requeue: 259,0 R () 64 + 8 none,0,0 [0]
          <idle>-0     [000] d.h..     7.000006: block_rq_complete: 259,0 WFS () 64 + 8 none,0,0 [0]
     mkfs.ext4-99      [000] .....     7.000007: block_rq_issue: 259,0 R 4096 () 64 + 8 none,0,0 [mkfs.ext4]
          <idle>-0     [000] d.h..     7.000010: block_rq_complete: 259,0 R () 64 + 8 none,0,0 [-5]
          <idle>-0     [000] d.h..     7.000011: block_rq_complete: 8,0 FF () 18446744073709551615 + 0 [0]
          <idle>-0     [000] .....     7.000012: block_rq_issue: 259,0 DS 8192 () 128 + 16 [fstrim [x]]
";

fn read(text: &str) -> (Vec<CommandRecord>, ImportSummary, Reader) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.txt");
    fs::write(&path, text).unwrap();
    let input = formats::Input::new(vec![path.clone()]);
    let format = formats::detect(&input).unwrap();
    assert_eq!(format.name, "trace-points");
    let (reader, summary) = import(&path, format, &ImportOptions::default()).unwrap();
    let commands = reader.records().map(|record| match record.unwrap() {
        Record::Command {
            command, ranges, ..
        } => {
            let opcode = command.nvm_opcode();
            assert!(ranges.is_empty() || opcode == Some(nvme::NvmOpcode::DATASET_MANAGEMENT));
            command
        }
        other => panic!("{other:?}"),
    });
    (commands.collect(), summary, reader)
}

/// Queue, identifier, opcode, status, latency.
type End = (u16, u16, u8, Option<u16>, Option<u64>);

fn ends(commands: &[CommandRecord]) -> Vec<End> {
    let ends = commands.iter().map(|it| {
        let status = it.completion.map(|it| it.status.field());
        (it.queue.0, it.cid.0, it.opcode, status, it.latency_ns())
    });
    ends.collect()
}

#[test]
fn commands_are_whole_and_paired_with_their_completions() {
    let (commands, summary, reader) = read(FTRACE);
    assert_eq!(
        ends(&commands),
        [
            (2, 25_169, 1, Some(0), Some(200_000)),
            (1, 12, 2, Some(0x4281), Some(100_000)),
            (1, 13, 9, Some(0), Some(100_010_000)),
            (1, 14, 0, None, None),
            (0, 4098, 2, Some(0), Some(9_000)),
        ]
    );
    let [write, read, discard, _, log] = commands.as_slice() else {
        panic!("{commands:?}");
    };
    assert!(write.fua());
    assert_eq!(
        write.cdw10_15,
        [498_455_480, 0, 0x4000_0007, 7, 9, 0],
        "slba, length and control, dsmgmt, reftag"
    );
    assert_eq!(write.completion.unwrap().result, 5);
    assert_eq!(read.lba_range(), Some((nvme::Lba(1 << 33), 256)));
    assert_eq!(read.flags, 0x40);
    assert_eq!(discard.cdw10_15[..2], [1, 4]);
    assert_eq!(
        log.cdw10_15,
        [0x007f_0002, 0x0403_0201, 5, 6, 0, 0x8000_0007]
    );
    assert_eq!(summary.devices, ["nvme0n1"]);
    assert_eq!(reader.header().clock.resolution_ns, 1_000);
    let notes = summary.notes;
    for (what, count) in [
        ("events were lost by the tracer", 123),
        ("block events were left out, for there are NVMe events", 1),
        ("commands have no completion in the trace", 1),
        (
            "completions of commands that were submitted before the trace were left out",
            1,
        ),
        (
            "discards have no ranges, for the kernel does not print them",
            1,
        ),
        ("lines of other events were left out", 1),
    ] {
        assert_eq!(notes.get(what), count, "{what}: {notes}");
    }
    assert_eq!(notes.iter().count(), 6, "{notes}");
}

#[test]
fn what_tools_and_kernels_print_differently_is_the_same() {
    let perf = "\
             fio   812 [001]    88.100001234:       nvme:nvme_setup_cmd: nvme0: disk=nvme0n1, qid=2, cmdid=4097, nsid=1, flags=0x0, meta=0x0, cmd=(nvme_cmd_read slba=8, len=7, ctrl=0x0, dsmgmt=0, reftag=0)
            ffffffff8180 nvme_queue_rq+0x1 ([nvme])
         swapper     0 [001]    88.100002234:     nvme:nvme_complete_rq: nvme0: disk=nvme0n1, qid=2, cmdid=1, res=0, retries=0, flags=0x0, status=0
";
    // libtraceevent has no function that prints commands, so that perf and
    // trace-cmd print the fields.
    let fields = "\
cpus=2
             fio-812   [001]    88.100001234: nvme_setup_cmd:       [FAILED TO PARSE] disk=nvme0n1 ctrl_id=0 qid=2 opcode=2 flags=0 fctype=0 cid=4097 nsid=1 metadata=0 cdw10=ARRAY[08, 00, 00, 00, 00, 00, 00, 00, 07, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00]
          <idle>-0     [001]    88.100002234: nvme_complete_rq:     [FAILED TO PARSE] disk=nvme0n1 ctrl_id=0 qid=2 cid=4097 result=0x0 retries=0 flags=0 status=0
";
    // Linux 4.16, and an opcode by its number.
    let old = "\
             fio-812   [001]    88.100001234: nvme_setup_nvm_cmd: qid=2, nsid=1, cmdid=4097, flags=0x0, meta=0x0, cmd=(0x2 slba=8, len=7, ctrl=0x0, dsmgmt=0, reftag=0)
          <idle>-0     [001]    88.100002234: nvme_complete_rq: cmdid=4097, qid=2, res=0, retries=0, flags=0x0, status=0
";
    for text in [perf, fields, old] {
        let (commands, summary, reader) = read(text);
        assert_eq!(
            ends(&commands),
            [(2, 4097, 2, Some(0), Some(1_000))],
            "{text}"
        );
        assert_eq!(commands[0].cdw10_15, [8, 0, 7, 0, 0, 0], "{text}");
        assert_eq!(reader.header().clock.resolution_ns, 1);
        assert!(summary.notes.iter().count() <= 1, "{}", summary.notes);
    }
}

#[test]
fn controllers_have_namespaces_of_their_own() {
    let line = |at: u32, controller: u8, cid: u16| {
        format!(
            "  x-1 [000] .....  1.{at:06}: nvme_setup_cmd: nvme{controller}: disk=nvme{controller}n1, qid=1, \
             cmdid={cid}, nsid=1, flags=0x0, meta=0x0, cmd=(nvme_cmd_read slba=8, len=7, ctrl=0x0, dsmgmt=0, reftag=0)\n"
        )
    };
    let text = line(1, 1, 5) + &line(2, 0, 5) + &line(3, 1, 6);
    let (commands, summary, _) = read(&text);
    let namespaces: Vec<u32> = commands.iter().map(|it| it.nsid.0).collect();
    assert_eq!(namespaces, [1, 2, 1]);
    assert_eq!(summary.devices, ["nvme1n1", "nvme0n1"]);
}

#[test]
fn block_requests_have_their_latency_and_flags() {
    let (commands, summary, _) = read(BLOCK);
    let found: Vec<_> = commands
        .iter()
        .map(|it| {
            let failed = it.completion.map(|it| !it.status.is_success());
            (it.nsid.0, it.opcode, it.fua(), it.latency_ns(), failed)
        })
        .collect();
    assert_eq!(
        found,
        [
            (1, 0, false, Some(10_000), Some(false)),
            (2, 1, true, Some(4_000), Some(false)),
            (2, 2, false, Some(3_000), Some(true)),
            (2, 9, false, None, None),
        ]
    );
    assert_eq!(summary.devices, ["8,0", "259,0"]);
    assert_eq!(
        commands[1].lba_range(),
        Some((nvme::Lba(64), 8)),
        "sectors are of 512 bytes"
    );
    assert_eq!(
        summary
            .notes
            .get("requests that the device could not take at once count from when it did"),
        1
    );
}

#[test]
fn a_clock_of_ticks_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.txt");
    fs::write(&path, FTRACE.replace("88.", "88")).unwrap();
    let format = formats::find("trace-points").unwrap();
    let error = import(&path, format, &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("trace_clock mono"), "{error}");
}
