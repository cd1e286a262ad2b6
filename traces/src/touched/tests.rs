use nvme::{NamespaceId, QueueId, Sqe, Status};

use super::*;
use crate::Completion;

/// The I/O command `opcode` at LBA 2^33, with `cdw12` and `cdw13`.
fn command(opcode: NvmOpcode, cdw12: u32, cdw13: u32) -> CommandRecord {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
    sqe.set_slba(Lba(1 << 33));
    sqe.cdw12.set(cdw12);
    sqe.cdw13.set(cdw13);
    CommandRecord::fetched(0, 0, QueueId(1), &sqe)
}

fn known(command: &CommandRecord, ranges: &[DsmRange]) -> Vec<(u64, u64)> {
    let touched = command.touched(ranges);
    touched
        .extents()
        .map(|(lba, blocks)| (lba.0, blocks))
        .collect()
}

#[test]
fn each_command_touches_what_its_record_names() {
    let at = 1 << 33;
    for (opcode, extents, anywhere) in [
        (NvmOpcode::READ, vec![(at, 8)], false),
        (NvmOpcode::WRITE_ZEROES, vec![(at, 8)], false),
        (NvmOpcode::COPY, vec![(at, 1)], true),
        (NvmOpcode::ZONE_MANAGEMENT_SEND, vec![(at, 1)], false),
        (NvmOpcode::ZONE_MANAGEMENT_RECEIVE, vec![(at, 1)], false),
        (NvmOpcode::ZONE_APPEND, vec![(at, 8)], false),
        (NvmOpcode::FLUSH, vec![], false),
        (NvmOpcode::DATASET_MANAGEMENT, vec![], false),
        (NvmOpcode::RESERVATION_ACQUIRE, vec![], false),
    ] {
        let command = command(opcode, 7, 0);
        assert_eq!(known(&command, &[]), extents, "{opcode}");
        assert_eq!(command.touched(&[]).may_be_anywhere(), anywhere, "{opcode}");
        let own = (!extents.is_empty()).then_some(Lba(at));
        assert_eq!(command.slba(), own, "{opcode}");
        let admin = CommandRecord {
            queue: QueueId(0),
            ..command
        };
        assert_eq!(known(&admin, &[DsmRange::new(Lba(1), 1)]), [], "{opcode}");
        assert_eq!(admin.slba(), None, "{opcode}");
    }
}

#[test]
fn ranges_are_touched_each_by_itself() {
    let ranges = [DsmRange::new(Lba(5), 3), DsmRange::new(Lba(100), 0)];
    let discard = command(NvmOpcode::DATASET_MANAGEMENT, 0, 0);
    assert_eq!(known(&discard, &ranges), [(5, 3), (100, 0)]);
    let touched = discard.touched(&ranges);
    assert!(touched.meets(&(7..=99)) && touched.meets(&(0..=5)));
    assert!(!touched.meets(&(8..=200)) && !touched.meets(&(0..=4)));
    // A Copy whose sources are there writes as many blocks as it reads.
    let copy = command(NvmOpcode::COPY, 0, 0);
    assert_eq!(known(&copy, &ranges), [(1 << 33, 3), (5, 3), (100, 0)]);
    assert!(!copy.touched(&ranges).may_be_anywhere());
}

#[test]
fn all_zones_may_be_anywhere() {
    let all = ZoneSendCdw13::new().with_select_all(true).into_bits();
    let reset = command(NvmOpcode::ZONE_MANAGEMENT_SEND, 0, all);
    assert_eq!(known(&reset, &[]), []);
    assert!(reset.touched(&[]).may_be_anywhere());
    assert_eq!(reset.slba(), None);
    // Of Zone Management Receive, the same bit says something else.
    let report = command(NvmOpcode::ZONE_MANAGEMENT_RECEIVE, 0, all);
    assert!(!report.touched(&[]).may_be_anywhere());
}

#[test]
fn a_zone_append_touches_what_it_was_given() {
    let mut append = command(NvmOpcode::ZONE_APPEND, 15, 0);
    append.cdw10_15[0] = 0xffff_fff0;
    let zone = (1 << 33) + 0xffff_fff0;
    let completion = |status| Completion {
        complete_ns: 1,
        status,
        result: 0x10,
    };
    append.completion = Some(completion(Status::SUCCESS));
    // Over the end of the lower dword.
    assert_eq!(known(&append, &[]), [(zone + 0x20, 16)]);
    assert_eq!(append.within_zone(), Some(0x20));
    let mut moved = append;
    moved.move_to(Lba(0x1000), Some(0x20));
    assert_eq!(known(&moved, &[]), [(0x1020, 16)]);
    append.completion = Some(completion(Status::INVALID_FIELD));
    assert_eq!(known(&append, &[]), [(zone, 16)]);
    append.completion = None;
    assert_eq!(known(&append, &[]), [(zone, 16)]);
    assert_eq!(append.within_zone(), None);
}
