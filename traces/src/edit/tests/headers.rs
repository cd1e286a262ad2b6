//! What becomes of headers, and of times and namespaces with them.

use super::*;
use crate::{DeviceIdentity, Event, EventRecord, Gap};

/// A trace that started at a time of day, with these namespaces: a read of each
/// at `clock_ns` and on, an event and a gap.
fn part(start: Start, namespaces: &[(u32, u64)]) -> Reader {
    let header = Header {
        start,
        namespaces: namespaces
            .iter()
            .map(|(id, blocks)| NamespaceInfo {
                id: *id,
                blocks: *blocks,
                block_bytes: 512,
            })
            .collect(),
        io_queues: if start.unix_ns == 5_000 { 4 } else { 3 },
        ..Header::default()
    };
    let mut writer = Writer::new(Vec::new(), &header, WriterOptions::default()).unwrap();
    let at = |ns: u64| start.clock_ns + ns;
    for (sequence, (id, _)) in (0..).zip(namespaces) {
        let sqe = Sqe::new(2, NamespaceId(*id));
        let mut command = CommandRecord::fetched(sequence, at(10 * sequence), QueueId(1), &sqe);
        command.completion = Some(Completion {
            complete_ns: at(10 * sequence + 4),
            status: Status::SUCCESS,
            result: 0,
        });
        writer.command(&command, &[]).unwrap();
    }
    writer
        .event(&EventRecord {
            at_ns: at(500),
            sequence: 9,
            event: Event::Reset,
        })
        .unwrap();
    let gap = Gap {
        at_ns: at(600),
        lost: 1,
    };
    writer.gap(&gap).unwrap();
    Reader::from_bytes(writer.finish().unwrap().0).unwrap()
}

fn merged(parts: &[Reader], options: MergeOptions) -> Reader {
    let writer = |header: &Header| Writer::new(Vec::new(), header, WriterOptions::default());
    let (bytes, _) = merge(parts, options, writer, |_| ()).unwrap();
    Reader::from_bytes(bytes).unwrap()
}

fn times(reader: &Reader) -> Vec<u64> {
    all(reader).iter().map(Record::at_ns).collect()
}

#[test]
fn merged_traces_are_laid_over_each_other_by_the_time_of_day() {
    let start = |unix_ns, clock_ns| Start { unix_ns, clock_ns };
    let parts = [
        part(start(5_000, 70), &[(1, 100)]),
        part(start(4_900, 9_000), &[(1, 300)]),
    ];
    let by_day = merged(&parts, MergeOptions::default());
    assert_eq!(times(&by_day), [0, 100, 500, 600, 600, 700]);
    assert_eq!(by_day.header().start, start(4_900, 0));
    assert_eq!(by_day.header().namespaces[0].blocks, 300);
    assert_eq!(by_day.header().io_queues, 7);
    let records = all(&by_day);
    for at in [0, 1] {
        assert_eq!(command(&records[at]).latency_ns(), Some(4));
    }
    let options = MergeOptions {
        from_starts: true,
        same_queues: true,
        ..MergeOptions::default()
    };
    let from_starts = merged(&parts, options);
    assert_eq!(times(&from_starts), [0, 0, 500, 500, 600, 600]);
    assert_eq!(from_starts.header().io_queues, 4);
    // One that does not know its day: all from their starts.
    let parts = [
        part(start(5_000, 0), &[(1, 100)]),
        part(start(0, 0), &[(1, 100)]),
    ];
    let unknown = merged(&parts, MergeOptions::default());
    assert_eq!(times(&unknown), [0, 0, 500, 500, 600, 600]);
    // Of equal times, the trace named first is first.
    assert_eq!(command(&all(&unknown)[0]).queue, QueueId(1));
}

#[test]
fn namespaces_that_are_kept_apart_are_numbered_on() {
    let start = Start::default();
    let parts = [
        part(start, &[(1, 100), (4, 50)]),
        part(start, &[(1, 300), (2, 10)]),
    ];
    let seen = |reader: &Reader| -> Vec<(u32, u64)> {
        let namespaces = reader.header().namespaces.iter();
        namespaces.map(|it| (it.id, it.blocks)).collect()
    };
    let of = |reader: &Reader| -> BTreeSet<u32> {
        let commands = all(reader).into_iter().filter_map(|it| match it {
            Record::Command { command, .. } => Some(command.nsid.0),
            _ => None,
        });
        commands.collect()
    };
    let one = merged(&parts, MergeOptions::default());
    assert_eq!(seen(&one), [(1, 300), (4, 50), (2, 10)]);
    assert_eq!(of(&one), [1, 2, 4].into());
    let options = MergeOptions {
        namespaces_apart: true,
        ..MergeOptions::default()
    };
    let apart = merged(&parts, options);
    assert_eq!(seen(&apart).len(), 4);
    assert_eq!(of(&apart).len(), 4);
    // The first trace's own come first.
    assert_eq!(seen(&apart)[0].1, 100);
    let ids: BTreeSet<u32> = seen(&apart).iter().map(|it| it.0).collect();
    assert_eq!(ids, of(&apart));
}

#[test]
fn renumbered_namespaces_are_renumbered_in_the_header() {
    let whole = part(Start::default(), &[(1, 100), (4, 50)]);
    let mut remap = Remap::of(whole.header());
    remap.namespaces = [(1, 9)].into();
    let moved = edited(&whole, &mut remap);
    let ids: Vec<u32> = moved.header().namespaces.iter().map(|it| it.id).collect();
    assert_eq!(ids, [4, 9]);
    assert_eq!(command(&all(&moved)[0]).nsid, NamespaceId(9));
    assert_eq!(command(&all(&moved)[1]).nsid, NamespaceId(4));
}

#[test]
fn marks_are_scaled_with_commands() {
    let start = Start {
        unix_ns: 0,
        clock_ns: 1_000,
    };
    let whole = part(start, &[(1, 1), (2, 100)]);
    let mut scale = Scale {
        speed: "2".parse().unwrap(),
        lba: "0.5".parse().unwrap(),
        origin_ns: 1_000,
    };
    let fast = edited(&whole, &mut scale);
    assert_eq!(times(&fast), [1_000, 1_005, 1_250, 1_300]);
    // A namespace has a block at least.
    let blocks: Vec<u64> = fast
        .header()
        .namespaces
        .iter()
        .map(|it| it.blocks)
        .collect();
    assert_eq!(blocks, [1, 50]);
}

#[test]
fn an_anonymous_trace_does_not_tell_whose_it_is() {
    let header = Header {
        device: DeviceIdentity {
            serial: "S1".to_owned(),
            ..DeviceIdentity::default()
        },
        labels: [("who".to_owned(), "me".to_owned())].into(),
        tool: "mine".to_owned(),
        extra: [("more".to_owned(), serde_json::json!("me"))].into(),
        ..header()
    };
    let mut edit = Anonymize::new(&header, 1, 2048);
    let mut hidden = header.clone();
    edit.header(&mut hidden);
    let expected = Header {
        namespaces: header.namespaces,
        io_queues: header.io_queues,
        ..Header::default()
    };
    assert_eq!(hidden, expected);
    // Results of admin commands and of a vendor's may be anything.
    for (queue, opcode, kept) in [(0, 6, 0), (1, 0xc5, 0), (1, 2, 77)] {
        let sqe = Sqe::new(opcode, NamespaceId(1));
        let mut command = CommandRecord::fetched(0, 0, QueueId(queue), &sqe);
        command.completion = Some(Completion {
            complete_ns: 1,
            status: Status::SUCCESS,
            result: 77,
        });
        let mut out = Vec::new();
        let ranges = Vec::new();
        edit.edit(
            Record::Command {
                command,
                ranges,
                payload: None,
            },
            &mut out,
        );
        let result = super::command(&out[0]).completion.unwrap().result;
        assert_eq!(result, kept, "{opcode:#x}");
    }
}
