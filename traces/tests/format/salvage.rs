//! What is whole in a damaged file comes back, all of it and nothing else.

use std::ops::Range;

use nvme::{NamespaceId, QueueId, Sqe, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use traces::{
    CommandRecord, Completion, Effort, End, Gap, Header, Reader, Record, Writer, WriterOptions,
    pack,
};

use crate::common::{any_effort, any_records, read, written};

/// Something that happens to a file; places are taken modulo its length.
#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, u8),
    Truncate(usize),
    Delete(usize, usize),
    Zero(usize, usize),
    Insert(usize, Vec<u8>),
    SwapBlocks(usize, usize),
    Repeat(usize),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let at = any::<usize>;
    prop_oneof![
        5 => (at(), 1..=u8::MAX).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => at().prop_map(Damage::Truncate),
        2 => (at(), 1..600_usize).prop_map(|(at, len)| Damage::Delete(at, len)),
        1 => (at(), 1..600_usize).prop_map(|(at, len)| Damage::Zero(at, len)),
        1 => (at(), vec(any::<u8>(), 1..100)).prop_map(|(at, it)| Damage::Insert(at, it)),
        2 => (at(), at()).prop_map(|(one, other)| Damage::SwapBlocks(one, other)),
        1 => at().prop_map(Damage::Repeat),
    ]
}

/// Where the blocks of a whole trace are.
fn blocks(bytes: &[u8]) -> Vec<Range<usize>> {
    let reader = Reader::from_bytes(bytes.to_vec()).unwrap();
    let place = |at: u64| usize::try_from(at).unwrap();
    let blocks = reader.index().iter();
    blocks
        .map(|it| place(it.offset())..place(it.offset() + it.stored_bytes()))
        .collect()
}

fn damaged(bytes: &mut Vec<u8>, damage: &Damage, blocks: &[Range<usize>]) {
    let len = bytes.len().max(1);
    let range = |at: usize, count: usize| at % len..(at % len + count).min(bytes.len());
    match damage {
        Damage::Flip(at, bits) => {
            if let Some(byte) = bytes.get_mut(at % len) {
                *byte ^= bits;
            }
        }
        Damage::Truncate(at) => bytes.truncate(at % len),
        Damage::Delete(at, count) => drop(bytes.drain(range(*at, *count))),
        Damage::Zero(at, count) => {
            let range = range(*at, *count);
            bytes[range].fill(0);
        }
        Damage::Insert(at, more) => {
            let at = (at % len).min(bytes.len());
            bytes.splice(at..at, more.iter().copied());
        }
        // Of the file as it was: makes sense as the first damage only.
        Damage::SwapBlocks(one, other) => {
            if blocks.is_empty() || bytes.len() < blocks.last().unwrap().end {
                return;
            }
            let (one, other) = (one % blocks.len(), other % blocks.len());
            let (one, other) = (&blocks[one.min(other)], &blocks[one.max(other)]);
            if one != other {
                let whole = bytes.clone();
                let parts = [
                    &whole[..one.start],
                    &whole[other.clone()],
                    &whole[one.end..other.start],
                    &whole[one.clone()],
                    &whole[other.end..],
                ];
                *bytes = parts.concat();
            }
        }
        Damage::Repeat(at) => {
            if let Some(block) = blocks.get(at % blocks.len().max(1))
                && block.end <= bytes.len()
            {
                let block = bytes[block.clone()].to_vec();
                let at = bytes.len();
                bytes.splice(at..at, block);
            }
        }
    }
}

fn commands(reader: &Reader) -> Vec<Record> {
    let records = reader.records().map(Result::unwrap);
    records
        .filter(|it| matches!(it, Record::Command { .. }))
        .collect()
}

fn holds(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|it| it == part)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn all_that_is_whole_comes_back_and_nothing_else(
        records in any_records(),
        block_commands in 1_u32..60,
        effort in any_effort(),
        damages in vec(any_damage(), 0..6),
    ) {
        let options = WriterOptions::default().effort(effort).block_commands(block_commands);
        let whole = written(&records, options);
        let places = blocks(&whole);
        let original = Reader::from_bytes(whole.clone()).unwrap();
        let mut bytes = whole.clone();
        for damage in &damages {
            damaged(&mut bytes, damage, &places);
        }
        let untouched: Vec<usize> = (0..places.len())
            .filter(|at| holds(&bytes, &whole[places[*at].clone()]).is_some())
            .collect();
        let reader = match Reader::salvage_bytes(bytes.clone()) {
            Ok(reader) => reader,
            Err(error) => {
                prop_assert!(untouched.is_empty(), "{}", error);
                return Ok(());
            }
        };
        let report = reader.salvaged().unwrap();
        let found = commands(&reader);
        let mut good = commands(&original);
        for record in &found {
            let at = good.iter().position(|it| it == record);
            prop_assert!(at.is_some(), "made up: {:?}", record);
            good.swap_remove(at.unwrap());
        }
        for at in untouched {
            for command in original.block(at).unwrap().commands() {
                let there = found.iter().any(|it| {
                    matches!(it, Record::Command { command: it, .. } if it == command)
                });
                prop_assert!(there, "block {at} is missing");
            }
            // A whole block is in no hole.
            let part = &whole[places[at].clone()];
            let start = holds(&bytes, part).unwrap() as u64;
            let end = start + part.len() as u64;
            for hole in &report.holes {
                prop_assert!(hole.offset + hole.bytes <= start || end <= hole.offset);
            }
        }
        if bytes == whole {
            prop_assert_eq!(&report.holes, &[]);
            prop_assert!(report.has_header && report.has_index);
        } else {
            // Without a hole all blocks are there, or, in a file that was cut between
            // two, all up to its end.
            let ends_at = reader.index().iter().map(|it| it.offset() + it.stored_bytes()).max();
            prop_assert!(
                !report.holes.is_empty()
                    || reader.index().len() == places.len()
                    || (!report.has_index && ends_at.is_none_or(|at| at == bytes.len() as u64))
            );
        }
        let counted = reader.totals().commands;
        prop_assert_eq!(counted, found.len() as u64);
        // What is written of it is whole.
        let writer = Writer::new(Vec::new(), reader.header(), options).unwrap();
        let (kept, _) = pack(&reader, writer, |_| ()).unwrap();
        let all: Vec<Record> = reader.records().map(Result::unwrap).collect();
        prop_assert_eq!(read(kept), all);
    }
}

const A_BLOCK: u64 = 100;
const BLOCKS: u64 = 6;

fn command(sequence: u64) -> CommandRecord {
    let sqe = Sqe::new(2, NamespaceId(1));
    let mut command = CommandRecord::fetched(sequence, 1_000 + sequence * 10, QueueId(1), &sqe);
    command.completion = Some(Completion {
        complete_ns: command.submit_ns + 500,
        status: Status::SUCCESS,
        result: 0,
    });
    command
}

/// Six blocks of 100 commands; neighbours across each border are swapped, as
/// commands complete in another order.
fn steady() -> Vec<u8> {
    let mut numbers: Vec<u64> = (0..A_BLOCK * BLOCKS).collect();
    for border in 1..BLOCKS {
        let at = usize::try_from(border * A_BLOCK).unwrap();
        numbers.swap(at - 1, at);
    }
    let options = WriterOptions::default().block_commands(100);
    let mut writer = Writer::new(Vec::new(), &Header::default(), options).unwrap();
    for sequence in numbers {
        writer.command(&command(sequence), &[]).unwrap();
    }
    writer.finish().unwrap().0
}

/// The sequence numbers and the gaps of a trace, in order.
fn outline(reader: &Reader) -> Vec<Result<u64, Gap>> {
    let of = |record: Result<Record, _>| match record.unwrap() {
        Record::Command { command, .. } => Ok(command.sequence),
        Record::Gap(gap) => Err(gap),
        Record::Event(event) => panic!("{event:?}"),
    };
    reader.records().map(of).collect()
}

/// What [`outline`] gives where the third block was lost, but for the gap's
/// time.
fn without_the_third(at_ns: u64) -> Vec<Result<u64, Gap>> {
    let mut expected: Vec<Result<u64, Gap>> = (0..199).map(Ok).collect();
    let gap = Gap {
        at_ns,
        lost: A_BLOCK,
    };
    expected.extend([Err(gap), Ok(200)]);
    expected.extend([Ok(299)]);
    expected.extend((301..A_BLOCK * BLOCKS).map(Ok));
    expected
}

#[test]
fn a_block_that_is_damaged_is_told_of_by_its_header() {
    let mut bytes = steady();
    let block = blocks(&bytes)[2].clone();
    bytes[block.end - 1] ^= 1;
    // With the index, and without.
    for bytes in [bytes.clone(), bytes[..bytes.len() - 20].to_vec()] {
        let reader = Reader::salvage_bytes(bytes).unwrap();
        let report = reader.salvaged().unwrap();
        let hole = &report.holes[0];
        assert_eq!(hole.offset, block.start as u64);
        assert_eq!(hole.bytes, block.len() as u64);
        assert_eq!(hole.commands, Some(A_BLOCK));
        assert!(hole.problem.contains("checksum"), "{hole}");
        assert_eq!(report.lost_commands(), A_BLOCK);
        assert_eq!(report.blocks, BLOCKS - 1);
        assert_eq!(reader.totals().lost, A_BLOCK);
        // Where the first of them, 199, was submitted.
        assert_eq!(outline(&reader), without_the_third(1_000 + 199 * 10));
    }
}

#[test]
fn a_block_without_a_header_is_counted_by_what_is_missing() {
    let mut bytes = steady();
    let places = blocks(&bytes);
    let block = places[2].clone();
    bytes[block.start + 50] ^= 1;
    bytes.truncate(places[5].end);
    let reader = Reader::salvage_bytes(bytes).unwrap();
    let report = reader.salvaged().unwrap();
    assert_eq!(report.holes.len(), 1);
    assert_eq!(report.holes[0].offset, block.start as u64);
    assert_eq!(report.holes[0].bytes, block.len() as u64);
    assert_eq!(report.holes[0].commands, Some(A_BLOCK));
    assert_eq!(reader.totals().end, End::Cut);
    // The time of the command before, 198.
    assert_eq!(outline(&reader), without_the_third(1_000 + 198 * 10));
}

#[test]
fn a_block_without_a_header_is_read_by_the_index() {
    let whole = steady();
    let places = blocks(&whole);
    let all: Vec<Result<u64, Gap>> = (0..A_BLOCK * BLOCKS).map(Ok).collect();
    let mut bytes = whole.clone();
    for block in [&places[0], &places[2], &places[5]] {
        bytes[block.start..block.start + 88].fill(0xff);
    }
    let reader = Reader::salvage_bytes(bytes.clone()).unwrap();
    assert_eq!(outline(&reader), all);
    assert_eq!(reader.salvaged().unwrap().holes, []);
    assert_eq!(reader.totals().end, End::Clean);
    // A damaged index has whole copies of headers all the same.
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    let reader = Reader::salvage_bytes(bytes.clone()).unwrap();
    assert_eq!(outline(&reader), all);
    let report = reader.salvaged().unwrap();
    assert_eq!(report.holes.len(), 1);
    assert_eq!(report.holes[0].problem, "the index is damaged");
    assert_eq!(report.holes[0].commands, Some(0));
    // And where something was cut out before, or put in.
    let mut cut = bytes;
    cut[last] ^= 1;
    let cut = [&cut[..places[1].start], &cut[places[1].end..]].concat();
    let reader = Reader::salvage_bytes(cut).unwrap();
    let report = reader.salvaged().unwrap();
    assert_eq!(report.lost_commands(), A_BLOCK);
    assert_eq!(reader.totals().commands, A_BLOCK * (BLOCKS - 1));
}

#[test]
fn a_block_that_was_cut_out_is_told_of_by_the_index() {
    let whole = steady();
    let block = blocks(&whole)[2].clone();
    let bytes = [&whole[..block.start], &whole[block.end..]].concat();
    let reader = Reader::salvage_bytes(bytes).unwrap();
    let report = reader.salvaged().unwrap();
    assert_eq!(report.holes.len(), 1, "{report}");
    let hole = &report.holes[0];
    assert_eq!((hole.offset, hole.bytes), (block.start as u64, 0));
    assert_eq!(hole.commands, Some(A_BLOCK));
    assert_eq!(outline(&reader), without_the_third(1_000 + 199 * 10));
}

#[test]
fn swapped_blocks_are_all_there() {
    let whole = steady();
    let places = blocks(&whole);
    let mut bytes = whole.clone();
    damaged(&mut bytes, &Damage::SwapBlocks(1, 4), &places);
    assert!(bytes != whole);
    let reader = Reader::salvage_bytes(bytes).unwrap();
    assert_eq!(reader.salvaged().unwrap().holes, []);
    let all: Vec<Result<u64, Gap>> = (0..A_BLOCK * BLOCKS).map(Ok).collect();
    assert_eq!(outline(&reader), all);
}

#[test]
fn the_end_of_a_file_says_what_it_can() {
    let whole = steady();
    let last = blocks(&whole)[5].clone();
    let salvaged = |len: usize| {
        let reader = Reader::salvage_bytes(whole[..len].to_vec()).unwrap();
        reader.salvaged().unwrap().clone()
    };
    // In the last block: by its header.
    let report = salvaged(last.end - 1);
    assert_eq!(report.holes[0].bytes, last.len() as u64 - 1);
    assert_eq!(report.holes[0].commands, Some(A_BLOCK));
    assert!(report.holes[0].problem.contains("ends in the middle"));
    // In its header: nothing tells.
    let report = salvaged(last.start + 40);
    assert_eq!(report.holes[0].bytes, 40);
    assert_eq!(report.holes[0].commands, None);
    let told = report.to_string();
    assert!(told.contains("at least 0 commands"), "{told}");
    // Between two blocks: nothing is wrong, but for what is not there.
    let report = salvaged(last.start);
    assert_eq!(report.holes, []);
    assert!(!report.has_index);
    let told = report.to_string();
    assert!(
        told.contains("nothing is damaged, but the end is missing"),
        "{told}"
    );
    let told = salvaged(whole.len()).to_string();
    assert!(told.ends_with("nothing is damaged"), "{told}");
}

#[test]
fn a_file_without_a_header_keeps_its_commands() {
    let mut bytes = steady();
    let first = blocks(&bytes)[0].start;
    bytes[0] = 0;
    Reader::from_bytes(bytes.clone()).unwrap_err();
    let reader = Reader::salvage_bytes(bytes.clone()).unwrap();
    let report = reader.salvaged().unwrap();
    assert!(!report.has_header && report.has_index);
    assert_eq!(report.holes.len(), 1);
    assert_eq!(
        (report.holes[0].offset, report.holes[0].bytes),
        (0, first as u64)
    );
    assert_eq!(report.holes[0].commands, Some(0));
    assert_eq!(outline(&reader).len() as u64, A_BLOCK * BLOCKS);
    // Another version is damage, but where the checksum says that it is right.
    bytes[0] = 0x89;
    bytes[8] = 2;
    assert!(
        !Reader::salvage_bytes(bytes.clone())
            .unwrap()
            .salvaged()
            .unwrap()
            .has_header
    );
    let crc = crc32fast::hash(&bytes[..first - 4]);
    bytes[first - 4..first].copy_from_slice(&crc.to_le_bytes());
    let error = Reader::salvage_bytes(bytes).unwrap_err().to_string();
    assert!(error.contains("update vssd"), "{error}");
    Reader::salvage_bytes(vec![0; 5000]).unwrap_err();
}

#[test]
fn what_the_recording_lost_is_not_counted_again() {
    let options = WriterOptions::default().block_commands(100);
    let mut writer = Writer::new(Vec::new(), &Header::default(), options).unwrap();
    for sequence in 0..300 {
        // The recording lost 150 to 159 in the second block.
        if sequence == 160 {
            let gap = Gap {
                at_ns: 2_500,
                lost: 10,
            };
            writer.gap(&gap).unwrap();
        }
        if !(150..160).contains(&sequence) {
            writer.command(&command(sequence), &[]).unwrap();
        }
    }
    let bytes = writer.finish().unwrap().0;
    let places = blocks(&bytes);
    let salvaged = |damaged: usize| {
        let mut bytes = bytes[..places[2].end].to_vec();
        bytes[places[damaged].start] ^= 1;
        let reader = Reader::salvage_bytes(bytes).unwrap();
        reader.salvaged().unwrap().holes[0].commands
    };
    assert_eq!(salvaged(0), Some(100));
    // Its own ten are as lost as the others.
    assert_eq!(salvaged(1), Some(110));
}

#[test]
fn false_blocks_do_not_take_for_ever() {
    // A megabyte of headers, each of which claims sixteen.
    let whole = written(&[], WriterOptions::default().effort(Effort::Fast));
    let index = u64::from_le_bytes(*whole.last_chunk().unwrap());
    let mut bytes = whole[..usize::try_from(index).unwrap()].to_vec();
    let mut header = [0_u8; 88];
    header[..4].copy_from_slice(b"VTRB");
    header[4..8].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    for number in 0..12_000_u32 {
        header[8..12].copy_from_slice(&number.to_le_bytes());
        let crc = crc32fast::hash(&header[..84]);
        header[84..].copy_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&header);
    }
    bytes.resize(bytes.len() + (1 << 20), 0);
    let reader = Reader::salvage_bytes(bytes).unwrap();
    assert_eq!(reader.totals().commands, 0);
}
