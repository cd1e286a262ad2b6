use driver::NamespaceInfo;
use nvme::{CommandId, QueueId};
use traces::Completion;

use super::*;
use crate::Mapping;

fn planner(oncs: u16, transfer_bytes_max: usize) -> Planner {
    let target = NamespaceInfo {
        nsid: NamespaceId(3),
        blocks: 1 << 20,
        block_bytes: 512,
        metadata_bytes: 0,
    };
    let map = AddressMap::new(Mapping::Identity, 512, 1 << 29, target);
    let info = ControllerInfo {
        oncs,
        ..ControllerInfo::default()
    };
    Planner::new(
        BTreeMap::from([(NamespaceId(1), map)]),
        &info,
        transfer_bytes_max,
    )
}

const ALL: u16 = u16::MAX;

fn command(opcode: NvmOpcode, lba: u32, blocks: u16) -> CommandRecord {
    CommandRecord {
        sequence: 0,
        submit_ns: 100,
        completion: Some(Completion {
            complete_ns: 150,
            status: Status::SUCCESS,
            result: 0,
        }),
        queue: QueueId(1),
        cid: CommandId(9),
        opcode: opcode.0,
        flags: 0,
        nsid: NamespaceId(1),
        cdw2_3: [0; 2],
        cdw10_15: [lba, 0, u32::from(blocks - 1), 0, 0, 0],
    }
}

/// Every piece's opcode, namespace, address, blocks and bytes of data.
fn pieces(mut plan: Plan) -> Vec<(NvmOpcode, u64, u32, Option<usize>)> {
    let mut pieces = Vec::new();
    let announced = plan.pieces();
    while let Some(piece) = plan.next_piece() {
        let (sqe, bytes) = match piece {
            Piece::Bare(sqe) => (sqe, None),
            Piece::Moving { sqe, bytes, .. } => (sqe, Some(bytes)),
            Piece::Ranges { sqe, ranges } => (sqe, Some(size_of_val(ranges))),
        };
        assert_eq!(sqe.nsid(), NamespaceId(3));
        let blocks = ReadWriteCdw12::from_bits(sqe.cdw12.get()).blocks();
        pieces.push((NvmOpcode(sqe.opcode), sqe.slba().0, blocks, bytes));
    }
    assert_eq!(pieces.len() as u64, announced);
    assert_eq!(plan.pieces(), 0);
    pieces
}

#[test]
fn data_is_split_at_the_limit_and_what_moves_none_is_not() {
    let planner = planner(ALL, 4096);
    let plan = |opcode| planner.plan(&command(opcode, 5, 20), &[]).unwrap();
    let read = NvmOpcode::READ;
    assert_eq!(
        pieces(plan(read)),
        [
            (read, 5, 8, Some(4096)),
            (read, 13, 8, Some(4096)),
            (read, 21, 4, Some(2048)),
        ]
    );
    for opcode in [NvmOpcode::WRITE_ZEROES, NvmOpcode::VERIFY] {
        assert_eq!(pieces(plan(opcode)), [(opcode, 5, 20, None)]);
    }
    assert_eq!(plan(read).bytes(), 20 * 512);
    assert_eq!(plan(read).recorded_latency_ns, Some(50));
}

#[test]
fn flags_that_mean_the_same_everywhere_are_kept_and_others_dropped() {
    let planner = planner(ALL, 1 << 20);
    let sent = |opcode, cdw12: ReadWriteCdw12| {
        let mut command = command(opcode, 0, 1);
        command.cdw10_15[2] = cdw12.into_bits();
        command.cdw10_15[3] = 0xffff_ffff;
        let mut plan = planner.plan(&command, &[]).unwrap();
        let (Some(Piece::Bare(sqe)) | Some(Piece::Moving { sqe, .. })) = plan.next_piece() else {
            panic!("no piece");
        };
        (ReadWriteCdw12::from_bits(sqe.cdw12.get()), sqe.cdw13.get())
    };
    let kept = ReadWriteCdw12::new()
        .with_nlb(7)
        .with_fua(true)
        .with_limited_retry(true);
    let all = kept
        .with_deac(true)
        .with_prinfo(0xf)
        .with_dtype(1)
        .with_stc(true);
    assert_eq!(sent(NvmOpcode::WRITE, all), (kept, 0xff));
    assert_eq!(sent(NvmOpcode::COMPARE, all), (kept, 0xff));
    assert_eq!(
        sent(NvmOpcode::WRITE_ZEROES, all),
        (kept.with_deac(true), 0)
    );
}

#[test]
fn what_the_target_lacks_is_left_out() {
    let planner = planner(0, 1 << 20);
    let plan = |opcode| planner.plan(&command(opcode, 0, 1), &[]).map(drop);
    assert_eq!(plan(NvmOpcode::WRITE), Ok(()));
    for opcode in [
        NvmOpcode::WRITE_ZEROES,
        NvmOpcode::VERIFY,
        NvmOpcode::DATASET_MANAGEMENT,
    ] {
        assert_eq!(plan(opcode), Err(SkipReason::NotOnTarget), "{opcode}");
    }
    for opcode in [
        NvmOpcode::COPY,
        NvmOpcode::WRITE_UNCORRECTABLE,
        NvmOpcode(0xff),
    ] {
        assert_eq!(plan(opcode), Err(SkipReason::NotReplayable), "{opcode}");
    }
}

#[test]
fn ranges_keep_their_attributes() {
    let planner = planner(ALL, 1 << 20);
    let mut discard = command(NvmOpcode::DATASET_MANAGEMENT, 0, 1);
    discard.cdw10_15[1] = 0xffff_fffc;
    let mut range = DsmRange::new(Lba(7), 9);
    range.context.set(0x123);
    let mut plan = planner.plan(&discard, &[range]).unwrap();
    assert!(plan.has_ranges());
    let Some(Piece::Ranges { sqe, ranges }) = plan.next_piece() else {
        panic!("no ranges");
    };
    assert_eq!(ranges, [range]);
    assert_eq!((sqe.cdw10.get(), sqe.cdw11.get()), (0, 0b100));
}

#[test]
fn a_flush_of_all_namespaces_flushes_the_target() {
    let planner = planner(0, 1 << 20);
    let mut flush = command(NvmOpcode::FLUSH, 0, 1);
    flush.nsid = nvme::NSID_ALL;
    flush.cdw10_15 = [0; 6];
    assert_eq!(
        pieces(planner.plan(&flush, &[]).unwrap()),
        [(NvmOpcode::FLUSH, 0, 1, None)]
    );
    flush.nsid = NamespaceId(2);
    assert_eq!(
        planner.plan(&flush, &[]).map(drop),
        Err(SkipReason::NoNamespace)
    );
}
