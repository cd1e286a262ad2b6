//! Traces made, exported and imported.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use formats::{
    AssemblerOptions, Format, FormatError, ImportOptions, ImportSummary, Input, Io, Item, Operation,
};
use nvme::{CommandId, DsmRange, Lba, NamespaceId, NvmOpcode, QueueId, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use traces::{
    CommandRecord, Completion, Event, EventRecord, Gap, Header, NamespaceInfo, Reader, Record,
    Start, Writer, WriterOptions,
};

/// When the made traces start: 2026-01-01.
pub(crate) const UNIX_NS: u64 = 1_767_225_600_000_000_000;
/// Bytes a block.
pub(crate) const BLOCK: u64 = 512;

/// Requests as a device meets them, aligned to blocks, in the order of time.
pub(crate) fn requests(max: usize) -> impl Strategy<Value = Vec<Io>> {
    vec(request(), 1..max).prop_map(|mut ios| {
        // A device number appears in the order of numbers, as importers count.
        let mut now = 0;
        let mut seen = Vec::new();
        for io in &mut ios {
            now += io.submit_ns;
            io.submit_ns = now;
            if !seen.contains(&io.device) {
                seen.push(io.device);
            }
            let index = seen.iter().position(|it| *it == io.device).unwrap();
            io.device = u32::try_from(index).unwrap();
        }
        ios
    })
}

fn request() -> impl Strategy<Value = Io> {
    let gap = prop_oneof![Just(0), 1_u64..1_000, 1_u64..5_000_000_000];
    let latency = 1_u64..20_000_000_000;
    let operation = prop_oneof![
        4 => Just(Operation::Read),
        4 => Just(Operation::Write),
        1 => Just(Operation::Flush),
        1 => Just(Operation::Discard),
        1 => Just(Operation::WriteZeroes),
    ];
    let place = (0_u64..1 << 31, 1_u64..2_048);
    let rest = (1_u16..5, 0_u32..3, any::<bool>(), any::<bool>());
    (gap, latency, operation, place, rest).prop_map(
        |(gap, latency, operation, (lba, blocks), (queue, device, fua, failed))| {
            let mut io = Io::new(gap, operation, lba * BLOCK, blocks * BLOCK);
            if operation == Operation::Flush {
                (io.offset_bytes, io.length_bytes) = (0, 0);
            }
            // Which of several flushes in flight has completed, nobody can say.
            let flushes = operation == Operation::Flush;
            io.latency_ns = Some(if flushes { 50_000 } else { latency });
            io.queue = queue;
            io.device = device;
            io.failed = failed;
            io.fua = fua && matches!(operation, Operation::Write | Operation::WriteZeroes);
            io
        },
    )
}

/// A trace of `ios`.
pub(crate) fn trace(ios: &[Io]) -> Reader {
    let mut assembler = formats::Assembler::new(AssemblerOptions::default());
    for io in ios {
        assembler.push(Item::Io(io.clone()));
    }
    let namespaces = (1..=3).map(|id| NamespaceInfo {
        id,
        blocks: 1 << 33,
        block_bytes: 512,
    });
    let header = Header {
        namespaces: namespaces.collect(),
        start: Start {
            unix_ns: UNIX_NS,
            clock_ns: 0,
        },
        ..Header::default()
    };
    let mut writer = Writer::new(Vec::new(), &header, WriterOptions::default()).unwrap();
    while let Some(it) = assembler.pop(true) {
        writer.command(&it.command, &it.ranges).unwrap();
    }
    Reader::from_bytes(writer.finish().unwrap().0).unwrap()
}

/// A trace of anything that a device may be told, with events and gaps.
pub(crate) fn whole() -> impl Strategy<Value = Reader> {
    let record = prop_oneof![
        8 => command().prop_map(|(command, ranges)| Record::Command { command, ranges, payload: None }),
        1 => (any::<u32>(), event()).prop_map(|(at_ns, event)| {
            Record::Event(EventRecord { at_ns: at_ns.into(), sequence: 0, event })
        }),
        1 => (any::<u32>(), 1..u64::MAX).prop_map(|(at_ns, lost)| {
            Record::Gap(Gap { at_ns: at_ns.into(), lost })
        }),
    ];
    (vec(record, 0..80), any::<u64>(), "[a-z\"\\\\é]{0,9}").prop_map(|(records, unix_ns, label)| {
        let header = Header {
            start: Start {
                unix_ns,
                clock_ns: 17,
            },
            labels: [("label".to_owned(), label)].into(),
            io_queues: 5,
            ..Header::default()
        };
        let mut writer = Writer::new(Vec::new(), &header, WriterOptions::default()).unwrap();
        let mut next = 0;
        for mut record in records {
            match &mut record {
                Record::Command { command, .. } => {
                    // Some numbers are missing, as after a gap.
                    next += 1 + u64::from(command.cid.0 % 2);
                    command.sequence = next;
                }
                Record::Event(event) => event.sequence = next + 1,
                Record::Gap(_) => {}
            }
            writer.record(&record).unwrap();
        }
        Reader::from_bytes(writer.finish().unwrap().0).unwrap()
    })
}

fn event() -> impl Strategy<Value = Event> {
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

/// Any command, with ranges where it takes such.
fn command() -> impl Strategy<Value = (CommandRecord, Vec<DsmRange>)> {
    let range = (any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(context, blocks, slba)| {
        let mut range = DsmRange::new(Lba(slba), blocks);
        range.context.set(context);
        range
    });
    let completion = (0_u64..1 << 40, 0_u16..0x8000, any::<u32>());
    (
        (0_u64..1 << 62, proptest::option::of(completion)),
        (0_u16..4, any::<u16>(), 0_u8..12, any::<u8>(), any::<u32>()),
        (any::<[u32; 2]>(), any::<[u32; 6]>()),
        vec(range, 1..9),
    )
        .prop_map(|(times, place, dwords, ranges)| {
            let (submit_ns, completion) = times;
            let (queue, cid, opcode, flags, nsid) = place;
            let completion = completion.map(|(latency_ns, status, result)| Completion {
                complete_ns: submit_ns + latency_ns,
                status: Status::from_field(status),
                result,
            });
            let command = CommandRecord {
                sequence: 0,
                submit_ns,
                completion,
                queue: QueueId(queue),
                cid: CommandId(cid),
                opcode,
                flags,
                nsid: NamespaceId(nsid),
                cdw2_3: dwords.0,
                cdw10_15: dwords.1,
            };
            let takes = command.nvm_opcode() == Some(NvmOpcode::DATASET_MANAGEMENT);
            (command, if takes { ranges } else { Vec::new() })
        })
}

/// Exports `reader` to the file `path`.
pub(crate) fn export(reader: &Reader, format: &Format, path: &Path) -> formats::Notes {
    let sink: Box<dyn Write + Send> = Box::new(File::create(path).unwrap());
    formats::export(reader, format, sink, |_| ()).unwrap()
}

/// Imports the file `path`.
pub(crate) fn import(
    path: &Path,
    format: &Format,
    options: &ImportOptions,
) -> Result<(Reader, ImportSummary), FormatError> {
    import_all(vec![path.to_owned()], format, options)
}

/// Imports the files `paths`, which are one trace.
pub(crate) fn import_all(
    paths: Vec<PathBuf>,
    format: &Format,
    options: &ImportOptions,
) -> Result<(Reader, ImportSummary), FormatError> {
    let input = Input::new(paths);
    let mut opened = format.open(&input, options)?;
    let (bytes, summary) = formats::import(
        &mut *opened,
        Vec::new(),
        Header::default(),
        AssemblerOptions::default(),
        WriterOptions::default(),
        |_| (),
    )?;
    Ok((Reader::from_bytes(bytes).unwrap(), summary))
}
