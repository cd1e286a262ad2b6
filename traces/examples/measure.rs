//! What the format costs: nanoseconds and bytes a command, recording and
//! packed, and how fast it reads.
//!
//! ```text
//! cargo run --release -p traces --example measure [FILE ...]
//! ```
//!
//! A FILE is a `.vtr` trace, or text with a command a line: microsecond,
//! operation (read, write, trims, flush, write_zeroes), LBA, blocks, queue.
//! Times are of the processor, so that others on the machine count little.
//! A synthetic stream of random 4 KiB reads is measured first.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use nvme::{CommandId, NamespaceId, QueueId, Status};
use traces::{CommandRecord, Completion, Effort, Header, Reader, Record, Writer, WriterOptions};

fn main() -> Result<(), Box<dyn Error>> {
    report("random 4 KiB reads, depth 32", &random_reads(1_000_000))?;
    for path in std::env::args().skip(1) {
        let records = if path.ends_with(".vtr") {
            Reader::open(&path)?.records().collect::<Result<_, _>>()?
        } else {
            from_text(&std::fs::read_to_string(&path)?)?
        };
        report(&path, &records)?;
    }
    Ok(())
}

/// What this thread has used of a processor so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "results")]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn report(name: &str, records: &[Record]) -> Result<(), Box<dyn Error>> {
    println!("{name}: {} records", records.len());
    let count = records.len() as f64;
    for effort in [Effort::Fast, Effort::Packed] {
        let options = WriterOptions::default().effort(effort);
        let mut best = f64::INFINITY;
        let mut bytes = Vec::new();
        let rounds = if effort == Effort::Fast { 5 } else { 1 };
        for _ in 0..rounds {
            let sink = Vec::with_capacity(records.len() * 40 + 4_096);
            let mut writer = Writer::new(sink, &Header::default(), options)?;
            let start = cpu_time();
            for record in records {
                writer.record(record)?;
            }
            bytes = writer.finish()?.0;
            best = best.min((cpu_time() - start).as_nanos() as f64 / count);
        }
        let len = bytes.len() as f64;
        println!(
            "  {effort:?}: {:.2} bytes, {best:.1} ns to write a command",
            len / count
        );
        let reader = Reader::from_bytes(bytes)?;
        let start = cpu_time();
        let mut commands = 0;
        for block in reader.blocks() {
            commands += black_box(block?).commands().len();
        }
        let blocks = commands as f64 / (cpu_time() - start).as_secs_f64() / 1e6;
        let start = cpu_time();
        for record in reader.records() {
            black_box(record?);
        }
        let merged = count / (cpu_time() - start).as_secs_f64() / 1e6;
        println!("    read: {blocks:.1} M/s by block, {merged:.1} M/s in submission order");
    }
    Ok(())
}

/// Commands as a Linux guest would give them identifiers: the lowest free tag,
/// and a counter of the tag's uses in the upper four bits.
#[derive(Default)]
struct Tags {
    busy_until: Vec<u64>,
    uses: Vec<u16>,
}

impl Tags {
    fn take(&mut self, submit_ns: u64, complete_ns: u64) -> CommandId {
        let free = self.busy_until.iter().position(|until| *until < submit_ns);
        let tag = free.unwrap_or(self.busy_until.len());
        if free.is_none() {
            self.busy_until.push(0);
            self.uses.push(0);
        }
        self.busy_until[tag] = complete_ns;
        self.uses[tag] = (self.uses[tag] + 1) & 0xf;
        CommandId(self.uses[tag] << 12 | u16::try_from(tag & 0xfff).unwrap_or(0))
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A latency of `base_ns` with a tail: twice as long with half the chance.
    fn latency_ns(&mut self, base_ns: u64) -> u64 {
        let doublings = self.next().trailing_zeros() / 2;
        base_ns + self.next() % (base_ns << doublings.min(8))
    }
}

fn record(
    sequence: u64,
    times: (u64, u64),
    ids: (u16, CommandId),
    opcode: u8,
    lba: u64,
    blocks: u32,
) -> Record {
    let [a, b, c, d, e, f, g, h] = lba.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    let high = u32::from_le_bytes([e, f, g, h]);
    let nlb = blocks.saturating_sub(1) & 0xffff;
    Record::Command {
        command: CommandRecord {
            sequence,
            submit_ns: times.0,
            completion: Some(Completion {
                complete_ns: times.1,
                status: Status::SUCCESS,
                result: 0,
            }),
            queue: QueueId(ids.0),
            cid: ids.1,
            opcode,
            flags: 0,
            nsid: NamespaceId(1),
            cdw2_3: [0; 2],
            cdw10_15: [low, high, nlb, 0, 0, 0],
        },
        ranges: Vec::new(),
        payload: None,
    }
}

fn random_reads(count: u64) -> Vec<Record> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut tags = Tags::default();
    let mut now = 0;
    let mut records: Vec<(u64, Record)> = (0..count)
        .map(|sequence| {
            now += 900 + random.next() % 1_000;
            let complete = now + random.latency_ns(20_000);
            let cid = tags.take(now, complete);
            let lba = random.next() % (1 << 25) / 8 * 8;
            (
                complete,
                record(sequence, (now, complete), (1, cid), 2, lba, 8),
            )
        })
        .collect();
    records.sort_by_key(|(complete, _)| *complete);
    records.into_iter().map(|(_, record)| record).collect()
}

fn from_text(text: &str) -> Result<Vec<Record>, Box<dyn Error>> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut tags: Vec<Tags> = Vec::new();
    let mut lines: Vec<(u64, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        lines.push((fields.first().ok_or("an empty line")?.parse()?, fields));
    }
    lines.sort_by_key(|(us, _)| *us);
    let mut records = Vec::new();
    let mut last = 0;
    for (sequence, (us, fields)) in (0..).zip(lines) {
        let [_, operation, lba, blocks, queue] = fields[..] else {
            return Err("a line needs five fields".into());
        };
        let (opcode, base_ns) = match operation {
            "read" => (2, 12_000),
            "write" => (1, 18_000),
            "write_zeroes" => (8, 9_000),
            "trims" => (9, 30_000),
            _ => (0, 50_000),
        };
        let queue: u16 = queue.parse()?;
        tags.resize_with(tags.len().max(usize::from(queue) + 1), Tags::default);
        let now = (us * 1_000 + random.next() % 1_000).max(last + 200);
        last = now;
        let complete = now + random.latency_ns(base_ns);
        let cid = tags[usize::from(queue)].take(now, complete);
        let times = (now, complete);
        let record = record(
            sequence,
            times,
            (queue, cid),
            opcode,
            lba.parse()?,
            blocks.parse()?,
        );
        records.push((complete, record));
    }
    records.sort_by_key(|(complete, _)| *complete);
    Ok(records.into_iter().map(|(_, record)| record).collect())
}
