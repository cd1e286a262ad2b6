//! Where a cut begins and ends, and what a move does at the edges.

use super::*;
use crate::{End, Event, EventRecord, Gap};

/// A read of 8 blocks at each time, of a queue and a namespace.
fn reads(of: &[(u64, u16, u32)]) -> Vec<Record> {
    let read = |(sequence, (at_ns, queue, namespace)): (u64, &(u64, u16, u32))| {
        let mut sqe = Sqe::new(2, NamespaceId(*namespace));
        sqe.cdw12.set(7);
        let command = CommandRecord::fetched(sequence, *at_ns, QueueId(*queue), &sqe);
        Record::Command {
            command,
            ranges: Vec::new(),
            payload: None,
        }
    };
    (0..).zip(of).map(read).collect()
}

fn trace_of(records: &[Record], block_commands: u32) -> Reader {
    let options = WriterOptions::default().block_commands(block_commands);
    let mut writer = Writer::new(Vec::new(), &header(), options).unwrap();
    for record in records {
        writer.record(record).unwrap();
    }
    Reader::from_bytes(
        writer
            .finish_as(End::Stopped("it did".to_owned()))
            .unwrap()
            .0,
    )
    .unwrap()
}

/// The times of what `cut` keeps, read as it says, whatever is in a block.
fn kept(records: &[Record], cut: Cut) -> Vec<u64> {
    let apart = kept_of(&trace_of(records, 1), cut.clone());
    assert_eq!(kept_of(&trace_of(records, 100), cut), apart);
    apart
}

fn kept_of(reader: &Reader, mut cut: Cut) -> Vec<u64> {
    let wanted = cut.clone();
    let writer = Writer::new(Vec::new(), &header(), WriterOptions::default()).unwrap();
    let (bytes, totals) =
        rewrite(reader, wanted.records(reader), &mut cut, writer, |_| ()).unwrap();
    assert_eq!(totals.end, reader.totals().end);
    let kept = all(&Reader::from_bytes(bytes).unwrap());
    kept.iter().map(Record::at_ns).collect()
}

fn cut(change: impl FnOnce(&mut Cut)) -> Cut {
    let mut cut = Cut::default();
    change(&mut cut);
    cut
}

fn event(at_ns: u64, sequence: u64) -> Record {
    Record::Event(EventRecord {
        at_ns,
        sequence,
        event: Event::Reset,
    })
}

#[test]
fn a_cut_has_its_first_nanosecond_and_not_its_last() {
    let mut records = reads(&[(10, 1, 1), (20, 1, 1), (30, 1, 1), (40, 1, 1)]);
    let between = |from: u64, to: u64| {
        cut(|cut| {
            cut.from_ns = Some(from);
            cut.to_ns = Some(to);
        })
    };
    assert_eq!(kept(&records, between(20, 40)), [20, 30]);
    assert_eq!(kept(&records, between(21, 41)), [30, 40]);
    records.insert(1, event(15, 1));
    records.insert(3, Record::Gap(Gap { at_ns: 25, lost: 1 }));
    assert_eq!(kept(&records, between(15, 25)), [15, 20]);
    assert_eq!(kept(&records, between(16, 26)), [20, 25]);
}

#[test]
fn marks_go_with_the_commands_that_are_skipped() {
    let mut records = reads(&[(10, 1, 1), (20, 1, 1), (30, 1, 1)]);
    records.insert(0, event(5, 0));
    records.insert(2, event(15, 1));
    let skip = |skip: u64| cut(|cut| cut.skip = skip);
    assert_eq!(kept(&records, skip(0)), [5, 10, 15, 20, 30]);
    assert_eq!(kept(&records, skip(1)), [15, 20, 30]);
    assert_eq!(kept(&records, skip(2)), [30]);
    assert_eq!(kept(&records, cut(|cut| cut.first = Some(0))), [0; 0]);
    assert_eq!(
        kept(&records, cut(|cut| cut.first = Some(2))),
        [5, 10, 15, 20]
    );
}

#[test]
fn a_cut_keeps_what_meets_every_condition() {
    let records = reads(&[(10, 1, 1), (20, 2, 1), (30, 1, 2), (40, 0, 1), (50, 2, 2)]);
    let queue = cut(|cut| cut.queues = vec![QueueId(2), QueueId(0)]);
    assert_eq!(kept(&records, queue.clone()), [20, 40, 50]);
    let namespace = cut(|cut| cut.namespaces = vec![NamespaceId(2)]);
    assert_eq!(kept(&records, namespace), [30, 50]);
    let mut both = queue;
    both.namespaces = vec![NamespaceId(2)];
    assert_eq!(kept(&records, both), [50]);
    let io = cut(|cut| cut.io_only = true);
    assert_eq!(kept(&records, io), [10, 20, 30, 50]);
}

/// First block and number of blocks of a read that `remap` makes.
fn moved(lba: u64, blocks: u32, remap: &mut Remap) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    remap.edit(record(0, 0, (0, 2, lba, blocks, 1)), &mut out);
    out.iter().filter_map(touched).collect()
}

#[test]
fn what_goes_around_the_end_stays_on_the_device() {
    let mut remap = Remap::of(&header());
    remap.address = Address::Wrap(100);
    assert_eq!(moved(99, 1, &mut remap), [(99, 1)]);
    assert_eq!(moved(199, 8, &mut remap), [(92, 8)]);
    assert_eq!(moved(250, 8, &mut remap), [(50, 8)]);
    assert_eq!(moved(250, 500, &mut remap), [(0, 100)]);
    let mut header = header();
    remap.header(&mut header);
    assert_eq!(header.namespaces[0].blocks, 100);
    remap.address = Address::Wrap(0);
    assert_eq!(moved(250, 8, &mut remap), [(0, 1)]);
    remap.address = Address::Down(240);
    assert_eq!(moved(250, 8, &mut remap), [(10, 8)]);
    assert_eq!(moved(230, 8, &mut remap), [(0, 8)]);
}

#[test]
fn what_is_too_long_for_one_command_becomes_several() {
    let mut remap = Remap::of(&Header {
        namespaces: vec![NamespaceInfo {
            id: 1,
            blocks: 1 << 20,
            block_bytes: 4096,
        }],
        ..header()
    });
    remap.block_bytes = Some(512);
    let parts = [(80, 65_536), (65_616, 65_536), (131_152, 8)];
    assert_eq!(moved(10, 16_385, &mut remap), parts);
    assert_eq!((remap.split, remap.widened), (1, 0));
}

#[test]
fn ranges_are_widened_and_told_of_once_a_command() {
    let mut remap = Remap::of(&header());
    remap.block_bytes = Some(4096);
    let discard = |ranges: Vec<DsmRange>, remap: &mut Remap| {
        let sqe = Sqe::new(9, NamespaceId(1));
        let command = CommandRecord::fetched(0, 0, QueueId(1), &sqe);
        let mut out = Vec::new();
        remap.edit(
            Record::Command {
                command,
                ranges,
                payload: None,
            },
            &mut out,
        );
        match out.pop() {
            Some(Record::Command { ranges, .. }) => ranges,
            other => panic!("{other:?}"),
        }
    };
    let even = discard(vec![DsmRange::new(Lba(8), 16)], &mut remap);
    assert_eq!(even, [DsmRange::new(Lba(1), 2)]);
    assert_eq!(remap.widened, 0);
    let odd = [DsmRange::new(Lba(7), 2), DsmRange::new(Lba(8), 9)];
    let odd = discard(odd.to_vec(), &mut remap);
    assert_eq!(odd, [DsmRange::new(Lba(0), 2), DsmRange::new(Lba(1), 2)]);
    assert_eq!(remap.widened, 1);
}

#[test]
fn folded_queues_start_again_from_one() {
    let mut remap = Remap::of(&header());
    remap.fold_queues = Some(2);
    let mut queues = Vec::new();
    for queue in 0..6 {
        remap.edit(reads(&[(0, queue, 1)]).remove(0), &mut queues);
    }
    let queues: Vec<u16> = queues.iter().map(|it| command(it).queue.0).collect();
    assert_eq!(queues, [0, 1, 2, 1, 2, 1]);
    let mut header = header();
    remap.header(&mut header);
    assert_eq!(header.io_queues, 2);
}
