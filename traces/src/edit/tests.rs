//! What edits promise, on traces made at random.

use std::collections::BTreeSet;

use nvme::{
    CommandId, DsmRange, Lba, NamespaceId, NvmOpcode, QueueId, ReadWriteCdw12, Sqe, Status,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Address, Anonymize, Cut, Edit, Extents, MergeOptions, Remap, Scale, merge, rewrite};
use crate::{
    CommandRecord, Completion, Header, NamespaceInfo, Reader, Record, Start, Writer, WriterOptions,
};

mod bounds;
mod commands;
mod headers;
mod marks;

const BLOCKS: u64 = 1 << 22;

fn header() -> Header {
    Header {
        namespaces: vec![NamespaceInfo {
            id: 1,
            blocks: BLOCKS,
            block_bytes: 512,
        }],
        io_queues: 4,
        start: Start {
            unix_ns: 1_700_000_000_000_000_000,
            clock_ns: 0,
        },
        ..Header::default()
    }
}

/// Gap before it, opcode, first block, blocks, queue.
type Drawn = (u64, u8, u64, u32, u16);

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let opcode = prop_oneof![Just(0x01_u8), Just(0x02), Just(0x00), Just(0x09)];
    let command = (
        0..1_000_000_u64,
        opcode,
        0..BLOCKS - 5000,
        1..5000_u32,
        1..5_u16,
    );
    vec(command, 1..200)
}

fn record(sequence: u64, at_ns: u64, (_, opcode, lba, blocks, queue): Drawn) -> Record {
    let mut sqe = Sqe::new(opcode, NamespaceId(1));
    let mut ranges = Vec::new();
    if NvmOpcode(opcode).has_lba_range() {
        sqe.set_slba(Lba(lba));
        let nlb = u16::try_from(blocks - 1).unwrap();
        sqe.cdw12
            .set(ReadWriteCdw12::new().with_nlb(nlb).into_bits());
    }
    if NvmOpcode(opcode) == NvmOpcode::DATASET_MANAGEMENT {
        ranges.push(DsmRange::new(Lba(lba), blocks));
    }
    let mut command = CommandRecord::fetched(sequence, at_ns, QueueId(queue), &sqe);
    command.cid = CommandId(u16::try_from(sequence).unwrap());
    command.completion = Some(Completion {
        complete_ns: at_ns + u64::from(blocks),
        status: Status::SUCCESS,
        result: 0,
    });
    Record::Command {
        command,
        ranges,
        payload: None,
    }
}

/// A trace of blocks of eight commands.
fn trace(drawn: &[Drawn]) -> Reader {
    let options = WriterOptions::default().block_commands(8);
    let mut writer = Writer::new(Vec::new(), &header(), options).unwrap();
    let mut at_ns = 0;
    for (sequence, command) in (0..).zip(drawn) {
        at_ns += command.0;
        writer.record(&record(sequence, at_ns, *command)).unwrap();
    }
    Reader::from_bytes(writer.finish().unwrap().0).unwrap()
}

fn all(reader: &Reader) -> Vec<Record> {
    reader.records().map(Result::unwrap).collect()
}

fn edited(reader: &Reader, edit: &mut dyn Edit) -> Reader {
    let mut header = reader.header().clone();
    edit.header(&mut header);
    let writer = Writer::new(Vec::new(), &header, WriterOptions::default()).unwrap();
    let (bytes, _) = rewrite(reader, reader.records(), edit, writer, |_| ()).unwrap();
    Reader::from_bytes(bytes).unwrap()
}

fn command(record: &Record) -> &CommandRecord {
    match record {
        Record::Command { command, .. } => command,
        other => panic!("{other:?}"),
    }
}

/// The blocks that a record touches: first and number.
fn touched(record: &Record) -> Option<(u64, u64)> {
    let Record::Command {
        command, ranges, ..
    } = record
    else {
        return None;
    };
    let range = ranges
        .first()
        .map(|range| (range.lba().0, range.blocks.get()));
    let own = command.lba_range().map(|(lba, blocks)| (lba.0, blocks));
    own.or(range).map(|(lba, blocks)| (lba, blocks.into()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn parts_that_are_cut_merge_into_the_whole(drawn in drawn(), at in 0..200_000_000_u64) {
        let whole = trace(&drawn);
        let mut early = Cut::default();
        early.to_ns = Some(at);
        let mut late = Cut::default();
        late.from_ns = Some(at);
        let parts = [edited(&whole, &mut early), edited(&whole, &mut late)];
        let options = MergeOptions {
            same_queues: true,
            ..MergeOptions::default()
        };
        let writer = |header: &Header| Writer::new(Vec::new(), header, WriterOptions::default());
        let (bytes, _) = merge(&parts, options, writer, |_| ()).unwrap();
        prop_assert_eq!(all(&Reader::from_bytes(bytes).unwrap()), all(&whole));
    }

    #[test]
    fn blocks_that_are_not_wanted_are_not_missed(
        drawn in drawn(),
        from in 0..200_000_000_u64,
        lba in 0..BLOCKS,
    ) {
        let whole = trace(&drawn);
        let mut cut = Cut::default();
        cut.from_ns = Some(from);
        cut.lba = Some(lba..=lba + BLOCKS / 4);
        let wanted = cut.clone();
        let kept = |records: Vec<Record>| {
            let mut cut = wanted.clone();
            let mut out = Vec::new();
            for record in records {
                cut.edit(record, &mut out);
            }
            out
        };
        let skipping = wanted.records(&whole).map(Result::unwrap).collect();
        let found = kept(skipping);
        prop_assert_eq!(&found, &kept(all(&whole)));
        let naive = all(&whole).into_iter().filter(|record| {
            record.at_ns() >= from
                && touched(record).is_some_and(|(first, blocks)| {
                    first <= lba + BLOCKS / 4 && first + blocks > lba
                })
        });
        prop_assert_eq!(found, naive.collect::<Vec<_>>());
    }

    #[test]
    fn a_move_up_and_down_again_changes_nothing(drawn in drawn(), by in 0..1_u64 << 40) {
        let whole = trace(&drawn);
        let mut up = Remap::of(whole.header());
        up.address = Address::Up(by);
        up.queues = [(1, 7)].into();
        let there = edited(&whole, &mut up);
        prop_assert_eq!(there.header().namespaces[0].blocks, BLOCKS + by);
        let mut down = Remap::of(there.header());
        down.address = Address::Down(by);
        down.queues = [(7, 1)].into();
        prop_assert_eq!(all(&edited(&there, &mut down)), all(&whole));
    }

    #[test]
    fn compact_keeps_who_shares_blocks_with_whom(drawn in drawn()) {
        let whole = trace(&drawn);
        let mut remap = Remap::of(whole.header());
        remap.address = Address::Compact(Extents::scan(&whole, |_| ()).unwrap());
        let small = edited(&whole, &mut remap);
        let size = small.header().namespaces[0].blocks;
        let of = |reader: &Reader| all(reader).iter().filter_map(touched).collect::<Vec<_>>();
        let (before, after) = (of(&whole), of(&small));
        prop_assert_eq!(before.len(), after.len());
        let granules: BTreeSet<u64> = before
            .iter()
            .flat_map(|(lba, blocks)| lba >> 11..=(lba + blocks - 1) >> 11)
            .collect();
        prop_assert_eq!(size, granules.len() as u64 * 2048);
        for (one, moved_one) in before.iter().zip(&after) {
            prop_assert_eq!(one.1, moved_one.1);
            prop_assert!(moved_one.0 + moved_one.1 <= size);
            for (two, moved_two) in before.iter().zip(&after) {
                let meet = |a: &(u64, u64), b: &(u64, u64)| a.0 < b.0 + b.1 && b.0 < a.0 + a.1;
                prop_assert_eq!(meet(one, two), meet(moved_one, moved_two));
            }
        }
    }

    #[test]
    fn larger_blocks_cover_what_smaller_ones_did(drawn in drawn()) {
        let whole = trace(&drawn);
        let mut remap = Remap::of(whole.header());
        remap.block_bytes = Some(4096);
        let large = edited(&whole, &mut remap);
        for (before, after) in all(&whole).iter().zip(&all(&large)) {
            let (Some((lba, blocks)), Some((large, count))) = (touched(before), touched(after))
            else {
                continue;
            };
            prop_assert_eq!(large, lba / 8);
            prop_assert_eq!(large + count, (lba + blocks).div_ceil(8));
        }
        // And back: what was aligned comes back as it was.
        let mut back = Remap::of(large.header());
        back.block_bytes = Some(512);
        let back = edited(&large, &mut back);
        for (before, after) in all(&large).iter().zip(&all(&back)) {
            if let (Some((lba, blocks)), Some(small)) = (touched(before), touched(after)) {
                prop_assert_eq!(small, (lba * 8, blocks * 8));
            }
        }
    }

    #[test]
    fn anonymous_traces_keep_their_shape(drawn in drawn(), seed: u64) {
        let whole = trace(&drawn);
        let anonymous = |seed| {
            let mut edit = Anonymize::new(whole.header(), seed, 2048);
            edited(&whole, &mut edit)
        };
        let hidden = anonymous(seed);
        prop_assert_eq!(all(&hidden), all(&anonymous(seed)));
        prop_assert_eq!(hidden.header().start.unix_ns, 0);
        for (before, after) in all(&whole).iter().zip(&all(&hidden)) {
            prop_assert_eq!(before.at_ns(), after.at_ns());
            prop_assert_eq!(command(before).latency_ns(), command(after).latency_ns());
            if let (Some((lba, blocks)), Some((place, same))) = (touched(before), touched(after)) {
                prop_assert_eq!(blocks, same);
                prop_assert!(place + blocks <= BLOCKS);
                // Within an extent, all moves together.
                prop_assert!(place % 2048 == lba % 2048 || place + blocks == BLOCKS);
            }
        }
    }

    #[test]
    fn extents_are_permuted(count in 1..3000_u64, seed: u64) {
        let places: BTreeSet<u64> =
            (0..count).map(|index| super::anonymize::permute(index, count, seed)).collect();
        prop_assert_eq!(places.len() as u64, count);
        prop_assert!(places.iter().all(|place| *place < count));
    }
}

#[test]
fn a_faster_trace_keeps_its_latencies() {
    let whole = trace(&[
        (0, 2, 8, 100, 1),
        (3_000, 2, 1003, 7, 1),
        (1_000, 1, 16, 8, 2),
    ]);
    let mut scale = Scale {
        speed: "2x".parse().unwrap(),
        lba: "0.5".parse().unwrap(),
        origin_ns: 0,
    };
    let fast = edited(&whole, &mut scale);
    let times: Vec<u64> = all(&fast).iter().map(Record::at_ns).collect();
    assert_eq!(times, [0, 1_500, 2_000]);
    let latencies: Vec<_> = all(&fast)
        .iter()
        .map(|it| command(it).latency_ns())
        .collect();
    assert_eq!(latencies, [Some(100), Some(7), Some(8)]);
    let places: Vec<_> = all(&fast).iter().filter_map(touched).collect();
    // 4 is not aligned to 8 blocks as 8 was.
    assert_eq!(places, [(0, 100), (501, 7), (8, 8)]);
    assert_eq!(fast.header().namespaces[0].blocks, BLOCKS / 2);
    for wrong in ["", "x", "0", "-1", "1e3", "1.1234567", "2xx"] {
        assert!(wrong.parse::<super::Factor>().is_err(), "{wrong}");
    }
    assert_eq!(
        "0.50x".parse::<super::Factor>().unwrap().to_string(),
        "0.5x"
    );
}

#[test]
fn merged_queues_are_told_apart() {
    let one = trace(&[(0, 2, 8, 1, 1), (500, 2, 8, 1, 3)]);
    let two = trace(&[(100, 1, 8, 1, 1)]);
    let writer = |header: &Header| Writer::new(Vec::new(), header, WriterOptions::default());
    let (bytes, totals) = merge(&[one, two], MergeOptions::default(), writer, |_| ()).unwrap();
    assert_eq!(totals.commands, 3);
    let merged = Reader::from_bytes(bytes).unwrap();
    let seen: Vec<_> = all(&merged)
        .iter()
        .map(|it| (it.at_ns(), command(it).queue.0, command(it).sequence))
        .collect();
    assert_eq!(seen, [(0, 1, 0), (100, 2, 1), (500, 3, 2)]);
    assert_eq!(merged.header().io_queues, 8);
}

#[test]
fn a_cut_counts_what_it_lets_through() {
    let drawn: Vec<Drawn> = (0..100)
        .map(|lba| (10, 2 - u8::from(lba % 2 == 0), lba * 8, 8, 1))
        .collect();
    let whole = trace(&drawn);
    let mut cut = Cut::default();
    cut.opcodes = vec![NvmOpcode::READ];
    cut.skip = 3;
    cut.first = Some(2);
    let few = edited(&whole, &mut cut);
    let places: Vec<_> = all(&few).iter().filter_map(touched).collect();
    assert_eq!(places, [(56, 8), (72, 8)]);
    assert_eq!(few.totals().commands, 2);
}

#[test]
fn no_address_is_left_in_an_anonymous_trace() {
    const ADDRESS: u32 = 0xabc_d123;
    let options = WriterOptions::default();
    let mut writer = Writer::new(Vec::new(), &header(), options).unwrap();
    for (sequence, (queue, opcode)) in (0..).zip([
        (1, 0x02),
        (1, 0x01),
        (1, 0x19),
        (1, 0x7d),
        (1, 0x85),
        (0, 0x09),
        (0, 0xc1),
    ]) {
        let mut command = CommandRecord::fetched(
            sequence,
            5,
            QueueId(queue),
            &Sqe::new(opcode, NamespaceId(1)),
        );
        command.cdw2_3 = [ADDRESS; 2];
        command.cdw10_15 = [ADDRESS, 0, 7, 0, ADDRESS, ADDRESS];
        command.completion = Some(Completion {
            complete_ns: 6,
            status: Status::SUCCESS,
            result: 0,
        });
        writer
            .record(&Record::Command {
                command,
                ranges: Vec::new(),
                payload: None,
            })
            .unwrap();
    }
    let whole = Reader::from_bytes(writer.finish().unwrap().0).unwrap();
    let mut header = whole.header().clone();
    header.namespaces[0].blocks = 1 << 40;
    let hidden = edited(&whole, &mut Anonymize::new(&header, 3, 2048));
    for record in &all(&hidden) {
        let it = command(record);
        assert!(
            !it.cdw2_3.contains(&ADDRESS) && !it.cdw10_15.contains(&ADDRESS),
            "{it:?}"
        );
    }
}
