//! QEMU's log, from its definitions of trace events.

use std::fs;

use formats::{ImportOptions, ImportSummary};
use traces::{CommandRecord, Reader, Record};

use crate::common::import;

/// A read, a write and a discard that complete in another order, and a request
/// for events that never does.
pub(crate) const LOG: &str = "\
pci_nvme_mmio_start_success setting controller enable bit succeeded
pci_nvme_admin_cmd cid 9 sqid 0 opc 0xc opname 'NVME_ADM_CMD_ASYNC_EV_REQ'
pci_nvme_aer cid 9
pci_nvme_admin_cmd cid 11 sqid 0 opc 0x5 opname 'NVME_ADM_CMD_CREATE_CQ'
pci_nvme_create_cq create completion queue, addr=0x2000, cqid=1, vector=1, qsize=63, qflags=3, ien=1
pci_nvme_enqueue_req_completion cid 11 cqid 0 dw0 0x0 dw1 0x0 status 0x0
pci_nvme_admin_cmd cid 10 sqid 0 opc 0x1 opname 'NVME_ADM_CMD_CREATE_SQ'
pci_nvme_create_sq create submission queue, addr=0x1000, sqid=2, cqid=1, qsize=63, qflags=1
pci_nvme_enqueue_req_completion cid 10 cqid 0 dw0 0x0 dw1 0x0 status 0x0
pci_nvme_io_cmd cid 4428 nsid 0x1 sqid 1 opc 0x2 opname 'NVME_NVM_CMD_READ'
pci_nvme_read cid 4428 nsid 1 nlb 32 count 16384 lba 0x100001324
pci_nvme_io_cmd cid 7 nsid 0x1 sqid 2 opc 0x9 opname 'NVME_NVM_CMD_DSM'
pci_nvme_dsm nr 2 attr 0x4
pci_nvme_io_cmd cid 8 nsid 0x1 sqid 1 opc 0x1 opname 'NVME_NVM_CMD_WRITE'
pci_nvme_write cid 8 opname 'NVME_NVM_CMD_WRITE' nsid 1 nlb 1 count 512 lba 0x8
pci_nvme_dsm_deallocate slba 64 nlb 8
pci_nvme_rw_cb cid 8 blk 'd'
pci_nvme_enqueue_req_completion cid 8 cqid 1 dw0 0x0 dw1 0x0 status 0x4281
qemu-system-x86_64: warning: something else
pci_nvme_dsm_deallocate slba 128 nlb 4096
pci_nvme_enqueue_req_completion cid 7 cqid 1 dw0 0x0 dw1 0x0 status 0x0
pci_nvme_enqueue_req_completion cid 4428 cqid 1 dw0 0x3 dw1 0x0 status 0x0
";

/// A command, and the first block and the number of blocks of its ranges.
type Ranged = (CommandRecord, Vec<(u64, u32)>);

fn read(text: &str) -> (Vec<Ranged>, ImportSummary, Reader) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("qemu.log");
    fs::write(&path, text).unwrap();
    let input = formats::Input::new(vec![path.clone()]);
    let format = formats::detect(&input).unwrap();
    assert_eq!(format.name, "qemu");
    let (reader, summary) = import(&path, format, &ImportOptions::default()).unwrap();
    let commands = reader.records().map(|record| match record.unwrap() {
        Record::Command {
            command, ranges, ..
        } => {
            let ranges = ranges.iter().map(|it| (it.slba.get(), it.blocks.get()));
            (command, ranges.collect())
        }
        other => panic!("{other:?}"),
    });
    (commands.collect(), summary, reader)
}

fn check(commands: &[Ranged]) {
    let ends: Vec<_> = commands
        .iter()
        .map(|(it, _)| {
            let status = it.completion.map(|it| it.status.field());
            (it.queue.0, it.cid.0, it.opcode, status)
        })
        .collect();
    assert_eq!(
        ends,
        [
            (0, 9, 0xc, None),
            (0, 11, 5, Some(0)),
            (0, 10, 1, Some(0)),
            (1, 4428, 2, Some(0)),
            (2, 7, 9, Some(0)),
            (1, 8, 1, Some(0x4281)),
        ]
    );
    let [_, completing, create, read, discard, write] = commands else {
        panic!("{commands:?}");
    };
    assert_eq!(completing.0.cdw10_15[..2], [63 << 16 | 1, 1 << 16 | 3]);
    assert_eq!(create.0.cdw10_15[..2], [63 << 16 | 2, 1 << 16 | 1]);
    assert_eq!(
        read.0.lba_range(),
        Some((nvme::Lba(0x1_0000_1324), 32)),
        "the number of blocks counts from one"
    );
    assert_eq!(read.0.completion.unwrap().result, 3);
    assert_eq!(write.0.lba_range(), Some((nvme::Lba(8), 1)));
    assert_eq!(discard.0.cdw10_15[..2], [1, 4]);
    assert_eq!(discard.1, [(64, 8), (128, 4096)]);
}

#[test]
fn without_times_there_are_none_and_the_order_is_kept() {
    let (commands, summary, reader) = read(LOG);
    check(&commands);
    assert!(commands.iter().all(|(it, _)| {
        it.submit_ns == 0
            && it
                .completion
                .is_none_or(|completion| completion.complete_ns == 0)
    }));
    assert_eq!(reader.header().start.unix_ns, 0);
    let notes = &summary.notes;
    for (what, count) in [
        (
            "commands have no time, for the log has none: all are at 0, in their order",
            6,
        ),
        ("commands have no completion in the trace", 1),
        (
            "writes may have lost force unit access, which the log does not have",
            1,
        ),
        ("lines of other events were left out", 1),
    ] {
        assert_eq!(notes.get(what), count, "{what}: {notes}");
    }
}

#[test]
fn time_stamps_are_times_of_day() {
    let old = |at: u32| format!("4711@1767225600.{at:06}:");
    stamped(&old);
    let new = |at: u32| format!("2026-01-01T00:00:00.{at:06}Z ");
    stamped(&new);
}

fn stamped(stamp: &dyn Fn(u32) -> String) {
    let lines = LOG.lines().zip(0..);
    let stamped: String = lines
        .map(|(line, at)| format!("{}{line}\n", stamp(at)))
        .collect();
    let (commands, _, reader) = read(&stamped);
    check(&commands);
    // Line 1 is the first that is a command, and the trace's start.
    assert_eq!(reader.header().start.unix_ns, 1_767_225_600_000_001_000);
    assert_eq!(reader.header().clock.resolution_ns, 1_000);
    assert_eq!(commands[3].0.submit_ns, 8_000);
    assert_eq!(commands[3].0.latency_ns(), Some(12_000));
}

#[test]
fn an_identifier_that_is_used_again_tells_of_a_lost_completion() {
    // Two queues complete on one, which does not say whose a completion is.
    let log = "\
1@1.000000:pci_nvme_admin_cmd cid 10 sqid 0 opc 0x1 opname 'NVME_ADM_CMD_CREATE_SQ'
1@1.000001:pci_nvme_create_sq create submission queue, addr=0x1000, sqid=2, cqid=1, qsize=63, qflags=1
1@1.000002:pci_nvme_enqueue_req_completion cid 10 cqid 0 dw0 0x0 dw1 0x0 status 0x0
1@1.000010:pci_nvme_io_cmd cid 5 nsid 0x1 sqid 1 opc 0x0 opname 'NVME_NVM_CMD_FLUSH'
1@1.000020:pci_nvme_io_cmd cid 5 nsid 0x1 sqid 2 opc 0x0 opname 'NVME_NVM_CMD_FLUSH'
1@1.000030:pci_nvme_io_cmd cid 5 nsid 0x1 sqid 2 opc 0x0 opname 'NVME_NVM_CMD_FLUSH'
1@1.000040:pci_nvme_enqueue_req_completion cid 5 cqid 1 dw0 0x0 dw1 0x0 status 0x0
1@1.000050:pci_nvme_enqueue_req_completion cid 5 cqid 1 dw0 0x0 dw1 0x0 status 0x0
";
    let (commands, summary, _) = read(log);
    let ends: Vec<_> = commands
        .iter()
        .map(|(it, _)| (it.queue.0, it.latency_ns()))
        .collect();
    assert_eq!(
        ends,
        [
            (0, Some(2_000)),
            (1, Some(30_000)),
            (2, None),
            (2, Some(20_000))
        ]
    );
    let open = "commands have no completion in the trace";
    assert_eq!(summary.notes.get(open), 1);
}
