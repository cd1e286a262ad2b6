//! Commands other than reads and writes.

use nvme::{AbortCdw10, AdminOpcode, CancelCdw10, CreateQueueCdw10, CreateSqCdw11, ZoneSendCdw13};

use super::*;

/// A trace of these commands, one a block, each of its opcode and queue, with
/// command dwords 10 to 13, successful with the result `result`.
fn of(commands: &[(u16, u8, [u32; 4], u32)]) -> Reader {
    let options = WriterOptions::default().block_commands(1);
    let mut writer = Writer::new(Vec::new(), &header(), options).unwrap();
    for (sequence, (queue, opcode, dwords, result)) in (0..).zip(commands) {
        let sqe = Sqe::new(*opcode, NamespaceId(1));
        let mut command = CommandRecord::fetched(sequence, sequence, QueueId(*queue), &sqe);
        command.cdw10_15[..4].copy_from_slice(dwords);
        command.completion = Some(Completion {
            complete_ns: sequence,
            status: Status::SUCCESS,
            result: *result,
        });
        writer.command(&command, &[]).unwrap();
    }
    Reader::from_bytes(writer.finish().unwrap().0).unwrap()
}

fn cut(reader: &Reader, lba: std::ops::RangeInclusive<u64>) -> (Vec<u64>, u64) {
    let mut cut = Cut::default();
    cut.lba = Some(lba);
    let mut out = Vec::new();
    for record in cut.clone().records(reader) {
        cut.edit(record.unwrap(), &mut out);
    }
    (out.iter().map(Record::at_ns).collect(), cut.unsure)
}

const ALL: u32 = ZoneSendCdw13::new().with_select_all(true).into_bits();

#[test]
fn a_cut_by_address_knows_copies_and_zones() {
    let trace = of(&[
        (1, NvmOpcode::COPY.0, [100, 0, 0, 0], 0),
        (1, NvmOpcode::COPY.0, [5000, 0, 0, 0], 0),
        (1, NvmOpcode::ZONE_MANAGEMENT_SEND.0, [100, 0, 0, 4], 0),
        (1, NvmOpcode::ZONE_MANAGEMENT_SEND.0, [5000, 0, 0, 4], 0),
        (
            1,
            NvmOpcode::ZONE_MANAGEMENT_SEND.0,
            [5000, 0, 0, 4 | ALL],
            0,
        ),
        (1, NvmOpcode::ZONE_MANAGEMENT_RECEIVE.0, [5000, 0, 0, 0], 0),
        (1, NvmOpcode::ZONE_APPEND.0, [64, 0, 7, 0], 96),
        (1, NvmOpcode::ZONE_APPEND.0, [64, 0, 7, 0], 104),
        (1, NvmOpcode::READ.0, [100, 0, 0, 0], 0),
        (1, NvmOpcode::READ.0, [5000, 0, 0, 0], 0),
        (1, NvmOpcode::FLUSH.0, [0; 4], 0),
    ]);
    assert_eq!(cut(&trace, 100..=103), (vec![0, 1, 2, 4, 6, 8], 2));
    assert_eq!(cut(&trace, 104..=104), (vec![0, 1, 4, 7], 3));
    // Without any of these, blocks are passed over by their spans.
    let plain = of(&[(1, 2, [100, 0, 0, 0], 0), (1, 2, [5000, 0, 0, 0], 0)]);
    let mut cut = Cut::default();
    cut.lba = Some(100..=100);
    assert_eq!(cut.records(&plain).count(), 1);
}

#[test]
fn copies_and_zones_move_with_the_rest() {
    let trace = of(&[
        (1, NvmOpcode::COPY.0, [4096, 0, 3, 0], 0),
        (1, NvmOpcode::ZONE_MANAGEMENT_SEND.0, [4096, 0, 0, 4], 0),
        (
            1,
            NvmOpcode::ZONE_MANAGEMENT_SEND.0,
            [4096, 0, 0, 4 | ALL],
            0,
        ),
        (1, NvmOpcode::ZONE_APPEND.0, [4096, 0, 7, 0], 4104),
        (1, NvmOpcode::WRITE.0, [4104, 0, 7, 0], 0),
    ]);
    let seen = |reader: &Reader| -> Vec<_> {
        let of = |record: &Record| {
            let it = command(record);
            (
                it.cdw10_15[0],
                it.cdw10_15[2],
                it.completion.unwrap().result,
            )
        };
        all(reader).iter().map(of).collect()
    };
    let mut up = Remap::of(trace.header());
    up.address = Address::Up(1000);
    assert_eq!(
        seen(&edited(&trace, &mut up)),
        [
            (5096, 3, 0),
            (5096, 0, 0),
            (4096, 0, 0),
            (5096, 7, 5104),
            (5104, 7, 0)
        ]
    );
    let mut large = Remap::of(trace.header());
    large.block_bytes = Some(4096);
    assert_eq!(
        seen(&edited(&trace, &mut large)),
        [
            (512, 3, 0),
            (512, 0, 0),
            (4096, 0, 0),
            (512, 0, 513),
            (513, 0, 0)
        ]
    );
    let mut compact = Remap::of(trace.header());
    compact.address = Address::Compact(Extents::scan(&trace, |_| ()).unwrap());
    assert_eq!(
        seen(&edited(&trace, &mut compact)),
        [(0, 3, 0), (0, 0, 0), (4096, 0, 0), (0, 7, 8), (8, 7, 0)]
    );
    let mut scale = Scale {
        speed: super::super::Factor::ONE,
        lba: "2".parse().unwrap(),
        origin_ns: 0,
    };
    assert_eq!(
        seen(&edited(&trace, &mut scale)),
        [
            (8192, 3, 0),
            (8192, 0, 0),
            (4096, 0, 0),
            (8192, 7, 8200),
            (8208, 7, 0)
        ]
    );
}

/// Queues as a driver makes and unmakes them.
fn life_of_a_queue(queue: u16) -> Reader {
    let create = CreateQueueCdw10::new().with_qid(queue).with_qsize(31);
    let create = create.into_bits();
    let sq = CreateSqCdw11::new().with_pc(true).with_cqid(queue);
    let abort = AbortCdw10::new().with_sqid(queue).with_cid(77);
    let admin = AbortCdw10::new().with_cid(78).into_bits();
    let cancel = CancelCdw10::new().with_sqid(queue).with_cid(79);
    of(&[
        (0, AdminOpcode::CREATE_CQ.0, [create, 3 << 16 | 3, 0, 0], 0),
        (
            0,
            AdminOpcode::CREATE_SQ.0,
            [create, sq.into_bits(), 0, 0],
            0,
        ),
        (queue, 2, [8, 0, 7, 0], 0),
        (queue, NvmOpcode::CANCEL.0, [cancel.into_bits(), 0, 0, 0], 0),
        (0, AdminOpcode::ABORT.0, [abort.into_bits(), 0, 0, 0], 0),
        (0, AdminOpcode::ABORT.0, [admin, 0, 0, 0], 0),
        (0, AdminOpcode::DELETE_SQ.0, [queue.into(), 0, 0, 0], 0),
        (0, AdminOpcode::DELETE_CQ.0, [queue.into(), 0, 0, 0], 0),
        (0, AdminOpcode::GET_LOG_PAGE.0, [queue.into(), 0, 0, 0], 0),
    ])
}

#[test]
fn merged_queues_are_told_apart_where_they_are_made_and_unmade_too() {
    let parts = [life_of_a_queue(1), life_of_a_queue(1)];
    let writer = |header: &Header| Writer::new(Vec::new(), header, WriterOptions::default());
    let (bytes, _) = merge(&parts, MergeOptions::default(), writer, |_| ()).unwrap();
    let merged = all(&Reader::from_bytes(bytes).unwrap());
    let expected = [1, 2].map(|queue| all(&life_of_a_queue(queue)));
    for (at, pair) in merged.chunks(2).enumerate() {
        for (found, expected) in pair.iter().zip(&expected) {
            let (found, expected) = (command(found), command(&expected[at]));
            // A log page is no queue.
            if !expected.is_admin() || expected.opcode != AdminOpcode::GET_LOG_PAGE.0 {
                assert_eq!(found.cdw10_15, expected.cdw10_15, "{found:?}");
            } else {
                assert_eq!(found.cdw10_15[0], 1);
            }
            assert_eq!(found.queue, expected.queue);
        }
    }
    let options = MergeOptions {
        same_queues: true,
        ..MergeOptions::default()
    };
    let (bytes, _) = merge(&parts, options, writer, |_| ()).unwrap();
    for (at, pair) in all(&Reader::from_bytes(bytes).unwrap())
        .chunks(2)
        .enumerate()
    {
        for found in pair {
            assert_eq!(
                command(found).cdw10_15,
                command(&all(&parts[0])[at]).cdw10_15
            );
        }
    }
}

#[test]
fn renumbered_queues_are_renumbered_where_they_are_made_and_unmade_too() {
    let mut remap = Remap::of(&header());
    remap.queues = [(1, 3)].into();
    let found = all(&edited(&life_of_a_queue(1), &mut remap));
    let mut expected = all(&life_of_a_queue(3));
    let last = found.len() - 1;
    expected[last] = all(&life_of_a_queue(1))[last].clone();
    assert_eq!(found, expected);
}
