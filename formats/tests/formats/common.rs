//! Traces made, exported and imported.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use formats::{
    AssemblerOptions, Format, FormatError, ImportOptions, ImportSummary, Input, Io, Item, Operation,
};
use proptest::collection::vec;
use proptest::prelude::*;
use traces::{Header, NamespaceInfo, Reader, Start, Writer, WriterOptions};

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
    let input = Input::new(vec![path.to_owned()]);
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
