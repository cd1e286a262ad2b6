//! How small a trace gets, and how fast it is written and read, beside other
//! ways to keep the same.

mod columns;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use formats::{AssemblerOptions, ImportOptions, Input};
use nvme::{CommandId, Lba, NamespaceId, NvmOpcode, QueueId, ReadWriteCdw12, Sqe, Status};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use traces::{
    CommandRecord, Completion, Effort, Header, NamespaceInfo, Reader, Record, Writer, WriterOptions,
};

use crate::{CodecArguments, median, windows_boot};

/// One way to keep one trace.
#[derive(Clone, Debug, Serialize)]
struct Row {
    trace: String,
    kept_as: String,
    /// What of a command it holds.
    holds: &'static str,
    bytes_a_command: f64,
    /// Millions of commands a second on one core, of processor time.
    write_m_per_s: Option<f64>,
    read_m_per_s: Option<f64>,
}

pub(crate) fn run(arguments: &CodecArguments) -> Result<()> {
    let mut traces = Vec::new();
    match windows_boot() {
        Some(path) => traces.push(("win10_boot".to_owned(), converted(&path)?)),
        None => println!("win10_boot is left out: there is no win10_boot.trace.png here\n"),
    }
    for path in &arguments.traces {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        traces.push((name.into_owned(), Reader::open(path)?));
    }
    let oltp = format!("OLTP-like, {} M", arguments.millions);
    traces.push((oltp, synthetic(arguments.millions * 1_000_000)?));

    println!(
        "{:<16} {:<26} {:<22} {:>9} {:>9} {:>9}",
        "TRACE", "KEPT AS", "HOLDS", "BYTES/CMD", "WRITE M/s", "READ M/s"
    );
    let mut rows = Vec::new();
    for (name, reader) in &traces {
        for row in measure(name, reader, arguments.runs)? {
            let text = |value: Option<f64>| value.map_or("-".to_owned(), |it| format!("{it:.1}"));
            println!(
                "{:<16} {:<26} {:<22} {:>9.2} {:>9} {:>9}",
                row.trace,
                row.kept_as,
                row.holds,
                row.bytes_a_command,
                text(row.write_m_per_s),
                text(row.read_m_per_s)
            );
            rows.push(row);
        }
    }
    println!("\n* the first {} M commands of it", PART / 1_000_000);
    if let Some(path) = &arguments.json {
        let all = serde_json::json!({ "benchmark": "codec", "rows": rows });
        fs::write(path, format!("{all:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure(name: &str, reader: &Reader, runs: usize) -> Result<Vec<Row>> {
    const WHOLE: &str = "all of a command";
    const FIVE: &str = "five columns, in us";
    let records = reader.records().collect::<Result<Vec<Record>, _>>()?;
    let row = |kept_as: &str, holds, bytes_a_command, [write, read]: [Option<f64>; 2]| Row {
        trace: name.to_owned(),
        kept_as: kept_as.to_owned(),
        holds,
        bytes_a_command,
        write_m_per_s: write,
        read_m_per_s: read,
    };
    let whole = |bytes| per(bytes, records.len());
    let mut rows = Vec::new();
    for (effort, kept_as) in [
        (Effort::Fast, ".vtr, as recorded"),
        (Effort::Packed, ".vtr, packed"),
    ] {
        let (bytes, speeds) = ours(&records, reader.header(), effort, runs)?;
        rows.push(row(kept_as, WHOLE, whole(bytes), speeds));
    }
    let five = five_columns(&records);
    let (bytes, speeds) = ours(&five, reader.header(), Effort::Packed, runs)?;
    rows.push(row(".vtr, packed", FIVE, whole(bytes), speeds));

    // The others take minutes for what takes us seconds: they get a part.
    let part = head(&records, reader.header())?;
    let mark = if records.len() > PART { " *" } else { "" };
    let records = records.get(..PART).unwrap_or(&records);
    let row = |kept_as: &str, holds, bytes, speeds| {
        let kept_as = format!("{kept_as}{mark}");
        row(&kept_as, holds, per(bytes, records.len()), speeds)
    };
    let (bytes, speeds) = theirs(&part, "parquet", runs)?;
    rows.push(row("Parquet, zstd", WHOLE, bytes.len(), speeds));
    let columns = columns::of(records);
    let (bytes, speeds) = columns.pcodec(runs)?;
    rows.push(row("pcodec, level 12", FIVE, bytes, speeds));
    rows.push(row("text, deflate -9", FIVE, columns.zipped()?, [None; 2]));
    for (format, holds) in [("fio", "no queue, in us"), ("blktrace", "no queue")] {
        let (bytes, _) = theirs(&part, format, 1)?;
        let small = zstd::bulk::compress(&bytes, 19).context("zstd does not compress")?;
        let kept_as = format!("{format}, zstd -19");
        rows.push(row(&kept_as, holds, small.len(), [None; 2]));
    }
    Ok(rows)
}

/// The most commands that others' ways are measured with.
const PART: usize = 1_000_000;

/// The first [`PART`] records as a trace.
fn head(records: &[Record], header: &Header) -> Result<Reader> {
    let mut writer = Writer::new(Vec::new(), header, WriterOptions::default())?;
    for record in records.iter().take(PART) {
        writer.record(record)?;
    }
    Ok(Reader::from_bytes(writer.finish()?.0)?)
}

/// Length, and how fast it is written and read.
fn ours(
    records: &[Record],
    header: &Header,
    effort: Effort,
    runs: usize,
) -> Result<(usize, [Option<f64>; 2])> {
    let options = WriterOptions::default().effort(effort);
    let (mut writes, mut reads, mut len) = (Vec::new(), Vec::new(), 0);
    for _ in 0..runs {
        let sink = Vec::with_capacity(records.len() * 40 + 4_096);
        let start = processor_time();
        let mut writer = Writer::new(sink, header, options)?;
        for record in records {
            writer.record(record)?;
        }
        let (bytes, _) = writer.finish()?;
        writes.push(rate(records.len(), start));
        len = bytes.len();
        let reader = Reader::from_bytes(bytes)?;
        let start = processor_time();
        for block in reader.blocks() {
            black_box(block?.commands().len());
        }
        reads.push(rate(records.len(), start));
    }
    Ok((len, [Some(median(writes)), Some(median(reads))]))
}

/// What a foreign format makes of it, and how fast it is written and read.
fn theirs(reader: &Reader, format: &str, runs: usize) -> Result<(Vec<u8>, [Option<f64>; 2])> {
    let format = formats::find(format)?;
    let directory = tempfile::tempdir_in("/dev/shm").context("cannot make a directory")?;
    let path = directory.path().join("trace");
    let commands = usize::try_from(reader.totals().commands)?;
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let sink: Box<dyn Write + Send> = Box::new(File::create(&path)?);
        let start = processor_time();
        formats::export(reader, format, sink, |_| ())?;
        writes.push(rate(commands, start));
        let start = processor_time();
        let mut import = format.open(&Input::new(vec![path.clone()]), &ImportOptions::default())?;
        while let Some(item) = import.next()? {
            black_box(item);
        }
        reads.push(rate(commands, start));
    }
    Ok((
        fs::read(&path)?,
        [Some(median(writes)), Some(median(reads))],
    ))
}

/// `records` with time in microseconds, opcode, LBA, length and queue, and no
/// more.
fn five_columns(records: &[Record]) -> Vec<Record> {
    let mut five = records.to_vec();
    for record in &mut five {
        if let Record::Command { command, .. } = record {
            command.submit_ns -= command.submit_ns % 1_000;
            command.completion = None;
            command.cid = CommandId(0);
            command.cdw2_3 = [0; 2];
            command.cdw10_15[2] &= 0xffff;
            command.cdw10_15[3..].fill(0);
            command.flags = 0;
        }
    }
    five
}

fn converted(path: &Path) -> Result<Reader> {
    let input = Input::new(vec![path.to_owned()]);
    let mut import = formats::detect(&input)?.open(&input, &ImportOptions::default())?;
    let (bytes, _) = formats::import(
        &mut *import,
        Vec::new(),
        Header::default(),
        AssemblerOptions::default(),
        WriterOptions::default(),
        |_| (),
    )?;
    Ok(Reader::from_bytes(bytes)?)
}

/// What a database does to a drive: reads of 8 KiB, skewed, by many; writes of
/// the same pages later; a log that is written in order and flushed.
fn synthetic(commands: u64) -> Result<Reader> {
    const PAGES: u64 = 8 << 20;
    const LOG: u64 = PAGES * 16;
    let mut rng = fastrand::Rng::with_seed(1);
    let header = Header {
        namespaces: vec![NamespaceInfo {
            id: 1,
            blocks: LOG + (64 << 21),
            block_bytes: 512,
        }],
        io_queues: 8,
        ..Header::default()
    };
    let mut writer = Writer::new(Vec::new(), &header, WriterOptions::default())?;
    let (mut at_ns, mut log) = (0_u64, 0_u64);
    let mut cids = [0_u16; 9];
    for sequence in 0..commands {
        // Bursts of a few, then a pause.
        at_ns += if rng.u8(..) < 200 {
            rng.u64(300..4_000)
        } else {
            rng.u64(4_000..60_000)
        };
        let queue = rng.u16(1..=8);
        // Low pages are hot.
        let (warm, hot) = (rng.u64(1..=PAGES), rng.u64(1..=PAGES));
        let page = rng.u64(0..warm.min(hot));
        let (opcode, lba, blocks, took_ns) = match rng.u8(0..100) {
            0..68 => (NvmOpcode::READ, page * 16, 16, rng.u64(60_000..140_000)),
            68..88 => (NvmOpcode::WRITE, page * 16, 16, rng.u64(12_000..30_000)),
            88..97 => {
                let blocks = rng.u64(1..=16);
                log = (log + blocks) % (32 << 21);
                (NvmOpcode::WRITE, LOG + log, blocks, rng.u64(12_000..20_000))
            }
            _ => (NvmOpcode::FLUSH, 0, 0, rng.u64(200_000..900_000)),
        };
        let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
        if blocks > 0 {
            sqe.set_slba(Lba(lba));
            let nlb = u16::try_from(blocks - 1)?;
            sqe.cdw12
                .set(ReadWriteCdw12::new().with_nlb(nlb).into_bits());
        }
        let mut command = CommandRecord::fetched(sequence, at_ns, QueueId(queue), &sqe);
        if let Some(cid) = cids.get_mut(usize::from(queue)) {
            command.cid = CommandId(*cid % 1024);
            *cid = cid.wrapping_add(1);
        }
        command.completion = Some(Completion {
            complete_ns: at_ns + took_ns,
            status: Status::SUCCESS,
            result: 0,
        });
        writer.command(&command, &[])?;
    }
    Ok(Reader::from_bytes(writer.finish()?.0)?)
}

/// What this thread has used of a processor so far.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn rate(commands: usize, start: Duration) -> f64 {
    commands as f64 / (processor_time() - start).as_secs_f64() / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn per(bytes: usize, commands: usize) -> f64 {
    bytes as f64 / commands.max(1) as f64
}
