//! Records of every shape, for the tests of this crate.

use nvme::{CommandId, DsmRange, Lba, NamespaceId, QueueId, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use traces::{
    CommandRecord, Completion, Effort, Event, EventRecord, Gap, Header, Reader, Record, Writer,
    WriterOptions,
};

/// Any command at all.
pub(crate) fn any_command() -> impl Strategy<Value = CommandRecord> {
    let completion = proptest::option::of((any::<u64>(), 0_u16..=0x7fff, any::<u32>()));
    let ids = (any::<u16>(), any::<u16>(), any::<u32>());
    let words = (any::<[u32; 2]>(), any::<[u32; 6]>());
    let sequence = prop_oneof![0_u64..100, any::<u64>()];
    (
        sequence,
        any::<u64>(),
        completion,
        ids,
        any::<[u8; 2]>(),
        words,
    )
        .prop_map(
            |(sequence, submit_ns, completion, ids, bytes, words)| CommandRecord {
                sequence,
                submit_ns,
                completion: completion.map(|(complete_ns, status, result)| Completion {
                    complete_ns,
                    status: Status::from_field(status),
                    result,
                }),
                queue: QueueId(ids.0),
                cid: CommandId(ids.1),
                opcode: bytes[0],
                flags: bytes[1],
                nsid: NamespaceId(ids.2),
                cdw2_3: words.0,
                cdw10_15: words.1,
            },
        )
}

/// A command as guests send them: few queues, small numbers, mostly reads and
/// writes, nearly in order.
pub(crate) fn plausible_command() -> impl Strategy<Value = CommandRecord> {
    let opcode = prop_oneof![Just(2_u8), Just(1), Just(0), Just(8), Just(9)];
    let times = (0_u64..1_000_000_000, 0_u64..100_000);
    (
        0_u64..200,
        times,
        opcode,
        (0_u16..4, 0_u16..64),
        0_u32..100_000,
        0_u32..256,
    )
        .prop_map(|(sequence, times, opcode, ids, lba, nlb)| CommandRecord {
            sequence,
            submit_ns: times.0,
            completion: Some(Completion {
                complete_ns: times.0 + times.1,
                status: Status::SUCCESS,
                result: 0,
            }),
            queue: QueueId(ids.0),
            cid: CommandId(ids.1),
            opcode,
            flags: 0,
            nsid: NamespaceId(1),
            cdw2_3: [0; 2],
            cdw10_15: [lba, 0, nlb, 0, 0, 0],
        })
}

fn any_range() -> impl Strategy<Value = DsmRange> {
    (any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(context, blocks, lba)| {
        let mut range = DsmRange::new(Lba(lba), blocks);
        range.context.set(context);
        range
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Connect),
        Just(Event::Disconnect),
        Just(Event::Enable),
        Just(Event::Reset),
        Just(Event::FunctionReset),
        Just(Event::ShutdownNormal),
        Just(Event::ShutdownAbrupt),
        Just(Event::FatalStatus),
    ]
}

/// Any record at all.
pub(crate) fn any_record() -> impl Strategy<Value = Record> {
    let ranges = prop_oneof![9 => Just(Vec::new()), 1 => vec(any_range(), 1..=256)];
    let command = prop_oneof![plausible_command(), any_command()];
    let sequence = prop_oneof![0_u64..200, any::<u64>()];
    prop_oneof![
        20 => (command, ranges).prop_map(|(command, ranges)| Record::Command { command, ranges, payload: None }),
        1 => (any::<u64>(), sequence, any_event()).prop_map(|(at_ns, sequence, event)| {
            Record::Event(EventRecord { at_ns, sequence, event })
        }),
        1 => (any::<u64>(), any::<u64>())
            .prop_map(|(at_ns, lost)| Record::Gap(Gap { at_ns, lost })),
    ]
}

/// Any number of records, up to a few hundred.
pub(crate) fn any_records() -> impl Strategy<Value = Vec<Record>> {
    let plausible = plausible_command().prop_map(|command| Record::Command {
        command,
        ranges: Vec::new(),
        payload: None,
    });
    prop_oneof![
        vec(any_record(), 0..8),
        vec(any_record(), 0..400),
        vec(plausible, 0..400),
    ]
}

/// A trace with these records.
pub(crate) fn written(records: &[Record], options: WriterOptions) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &Header::default(), options).unwrap();
    for record in records {
        writer.record(record).unwrap();
    }
    writer.finish().unwrap().0
}

/// All records of a trace that must be whole.
pub(crate) fn read(bytes: Vec<u8>) -> Vec<Record> {
    let reader = Reader::from_bytes(bytes).unwrap();
    assert!(!reader.is_recovered());
    reader.records().map(Result::unwrap).collect()
}

/// `records` in the order that a reader promises.
pub(crate) fn in_submission_order(records: &[Record]) -> Vec<Record> {
    let mut next = 0;
    let mut keyed: Vec<((u64, bool), Record)> = Vec::new();
    for record in records {
        let key = match record {
            Record::Command { command, .. } => {
                next = next.max(command.sequence.saturating_add(1));
                (command.sequence, true)
            }
            Record::Event(event) => {
                next = next.max(event.sequence);
                (event.sequence, false)
            }
            Record::Gap(_) => (next, false),
        };
        keyed.push((key, record.clone()));
    }
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, record)| record).collect()
}

/// Both efforts.
pub(crate) fn any_effort() -> impl Strategy<Value = Effort> {
    prop_oneof![Just(Effort::Fast), Just(Effort::Packed)]
}
