//! Files of this version stay readable: by later versions of this crate, and
//! by a reader that knows FORMAT.md alone.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nvme::{CommandId, DsmRange, Lba, NamespaceId, QueueId, Status};
use serde_json::{Value, json};
use traces::{
    ClockInfo, CommandRecord, Completion, DeviceIdentity, Effort, Event, EventRecord, Gap, Header,
    NamespaceInfo, PciIdentity, Reader, Record, Start, Writer, WriterOptions,
};

fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn header() -> Header {
    Header {
        device: DeviceIdentity {
            serial: "VSSD-0001".to_owned(),
            model: "vssd sample".to_owned(),
            firmware: "1.0".to_owned(),
            pci: Some(PciIdentity {
                vendor: 0x1b36,
                device: 0x10,
                subsystem_vendor: 0x1af4,
                subsystem: 0x1100,
            }),
        },
        namespaces: vec![NamespaceInfo {
            id: 1,
            blocks: 1 << 24,
            block_bytes: 512,
        }],
        io_queues: 4,
        mdts_bytes: Some(1 << 20),
        clock: ClockInfo::default(),
        start: Start {
            unix_ns: 1_760_000_000_000_000_000,
            clock_ns: 5_000,
        },
        tool: "vssd sample maker 1".to_owned(),
        labels: [("guest".to_owned(), "none".to_owned())].into(),
        ..Header::default()
    }
}

/// A sequence of numbers that is the same everywhere.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn small<T: TryFrom<u64>>(value: u64) -> T {
    T::try_from(value).ok().unwrap()
}

/// The command with this number; every kind of command and of field occurs.
fn command(sequence: u64, random: &mut Lcg, next_lba: &mut [u64; 5]) -> Record {
    let submit_ns = 1_000_000 + sequence * 20_000 + random.below(15_000);
    let queue: usize = small(random.below(4) + 1);
    let sequential = random.below(3) > 0;
    let lba = if sequential {
        next_lba[queue]
    } else {
        random.below(1 << 21) * 8
    };
    let blocks = (random.below(4) + 1) * 8;
    next_lba[queue] = lba + blocks;
    let [a, b, c, d, e, f, g, h] = lba.to_le_bytes();
    let (low, high) = (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    );
    let nlb: u32 = small(blocks - 1);
    let mut command = CommandRecord {
        sequence: sequence + sequence / 400,
        submit_ns,
        completion: (!sequence.is_multiple_of(97)).then(|| Completion {
            complete_ns: submit_ns + 8_000 + random.below(30_000),
            status: Status::SUCCESS,
            result: 0,
        }),
        queue: QueueId(small(queue as u64)),
        cid: CommandId(small(((sequence / 32 % 16) << 12) | (sequence % 32))),
        opcode: [2, 2, 2, 1, 1, 0, 8, 9][usize::try_from(random.below(8)).unwrap()],
        flags: 0,
        nsid: NamespaceId(1),
        cdw2_3: [0; 2],
        cdw10_15: [low, high, nlb, 0, 0, 0],
    };
    let mut ranges = Vec::new();
    match command.opcode {
        1 if sequence.is_multiple_of(5) => command.cdw10_15[2] |= 1 << 30,
        0 => command.cdw10_15 = [0; 6],
        9 => {
            let count = random.below(3) + 1;
            let range = |n| DsmRange::new(Lba(lba + n * 4_096), small(blocks * 16));
            ranges = (0..count).map(range).collect();
            command.cdw10_15 = [small(count - 1), 4, 0, 0, 0, 0];
        }
        _ => {}
    }
    if sequence.is_multiple_of(61) {
        command.queue = QueueId(0);
        command.opcode = [6, 9, 10, 2, 0xc0][usize::try_from(random.below(5)).unwrap()];
        command.cdw10_15 = [small(random.below(256)), 1, 2, 3, 4, 5];
        command.cdw2_3 = [0xfeed_f00d, u32::MAX];
        command.flags = 0x40;
        ranges.clear();
        if let Some(completion) = &mut command.completion {
            completion.status = Status::INVALID_FIELD.dnr();
            completion.result = 0x00ff_00ff;
        }
    }
    Record::Command {
        command,
        ranges,
        payload: None,
    }
}

/// What stands in the larger samples, in submission order.
fn records() -> Vec<Record> {
    let (mut random, mut next_lba) = (Lcg(1), [0; 5]);
    let mut records = Vec::new();
    let event = |at_ns, sequence, event| {
        Record::Event(EventRecord {
            at_ns,
            sequence,
            event,
        })
    };
    for (sequence, happened) in (0..).zip([Event::Connect, Event::Enable]) {
        records.push(event(900_000 + sequence, 0, happened));
    }
    for sequence in 0..900 {
        if sequence == 500 {
            records.push(event(sequence * 20_000, 501, Event::Reset));
        }
        if sequence == 650 {
            records.push(Record::Gap(Gap {
                at_ns: sequence * 20_000,
                lost: 1,
            }));
        }
        records.push(command(sequence, &mut random, &mut next_lba));
    }
    records.push(event(30_000_000, u64::MAX, Event::Disconnect));
    records
}

/// The two records of the example that FORMAT.md works through.
fn tiny_records() -> Vec<Record> {
    let sqe = nvme::Sqe::new(2, NamespaceId(1));
    let mut command = CommandRecord::fetched(0, 1_000, QueueId(1), &sqe);
    command.cid = CommandId(7);
    command.cdw10_15 = [2_048, 0, 7, 0, 0, 0];
    command.completion = Some(Completion {
        complete_ns: 21_000,
        status: Status::SUCCESS,
        result: 0,
    });
    let mut write = CommandRecord {
        sequence: 1,
        submit_ns: 1_500,
        opcode: 1,
        ..command
    };
    write.cid = CommandId(8);
    write.cdw10_15[0] = 4_096;
    let enable = EventRecord {
        at_ns: 500,
        sequence: 0,
        event: Event::Enable,
    };
    vec![
        Record::Event(enable),
        Record::Command {
            command,
            ranges: Vec::new(),
            payload: None,
        },
        Record::Command {
            command: write,
            ranges: Vec::new(),
            payload: None,
        },
    ]
}

const SAMPLES: [(&str, Effort); 3] = [
    ("tiny", Effort::Fast),
    ("fast", Effort::Fast),
    ("packed", Effort::Packed),
];

fn sample(name: &str, effort: Effort) -> Vec<u8> {
    let (header, mut records) = match name {
        "tiny" => (
            Header {
                tool: "t".to_owned(),
                ..Header::default()
            },
            tiny_records(),
        ),
        _ => (header(), records()),
    };
    if name == "fast" {
        // As a recording is: in the order of completion, more or less.
        records[2..].chunks_mut(7).for_each(<[Record]>::reverse);
    }
    let options = WriterOptions::default().effort(effort).block_commands(600);
    let mut writer = Writer::new(Vec::new(), &header, options).unwrap();
    for record in &records {
        writer.record(record).unwrap();
    }
    writer.finish().unwrap().0
}

/// Makes the samples anew: only for a new version of the format, with the old
/// ones kept beside.
#[test]
#[ignore = "writes into samples/"]
fn make_the_samples() {
    for (name, effort) in SAMPLES {
        let path = in_crate(&format!("samples/v1.0/{name}.vtr"));
        assert!(
            !path.exists(),
            "{} is there: remove it first",
            path.display()
        );
        std::fs::write(path, sample(name, effort)).unwrap();
    }
}

fn read(name: &str) -> (Reader, Vec<Record>) {
    let reader = Reader::open(in_crate(&format!("samples/v1.0/{name}.vtr"))).unwrap();
    assert!(!reader.is_recovered());
    let records = reader.records().map(Result::unwrap).collect();
    (reader, records)
}

#[test]
fn the_samples_decode_to_what_they_were_made_of() {
    let (tiny, tiny_read) = read("tiny");
    assert_eq!(tiny_read, tiny_records());
    assert_eq!(tiny.header().tool, "t");
    let (packed, packed_read) = read("packed");
    assert!(packed_read == records());
    assert_eq!(packed.header(), &header());
    // A gap stands where the writer was told of it, here among commands that
    // came in another order.
    let commands = |records: &[Record]| -> Vec<Record> {
        let is_gap = |record: &&Record| matches!(record, Record::Gap(_));
        records
            .iter()
            .filter(|record| !is_gap(record))
            .cloned()
            .collect()
    };
    let (fast, fast_read) = read("fast");
    assert!(commands(&fast_read) == commands(&records()));
    assert_eq!(fast.totals().lost, 1);
}

/// A record as the independent reader prints it.
fn to_json(record: &Record) -> Value {
    match record {
        Record::Command {
            command, ranges, ..
        } => json!({
            "command": {
                "sequence": command.sequence,
                "submit_ns": command.submit_ns,
                "completion": command.completion.map(|completion| json!({
                    "complete_ns": completion.complete_ns,
                    "status": completion.status.field(),
                    "result": completion.result,
                })),
                "queue": command.queue.0,
                "cid": command.cid.0,
                "opcode": command.opcode,
                "flags": command.flags,
                "nsid": command.nsid.0,
                "cdw2_3": command.cdw2_3,
                "cdw10_15": command.cdw10_15,
                "ranges": ranges
                    .iter()
                    .map(|r| json!([r.context.get(), r.blocks.get(), r.slba.get()]))
                    .collect::<Vec<_>>(),
            }
        }),
        Record::Event(event) => json!({"event": {
            "at_ns": event.at_ns,
            "sequence": event.sequence,
            "code": match event.event {
                Event::Connect => 1,
                Event::Disconnect => 2,
                Event::Enable => 3,
                Event::Reset => 4,
                _ => 0,
            },
        }}),
        Record::Gap(gap) => json!({"gap": {"at_ns": gap.at_ns, "lost": gap.lost}}),
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
fn a_reader_made_from_the_specification_alone_agrees() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3 here");
        return;
    }
    for (name, _) in SAMPLES {
        let output = Command::new("python3")
            .arg(in_crate("tests/read_vtr.py"))
            .arg(in_crate(&format!("samples/v1.0/{name}.vtr")))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let (reader, records) = read(name);
        let header = lines.next().unwrap();
        assert_eq!(
            header["header"],
            serde_json::to_value(reader.header()).unwrap()
        );
        assert_eq!(
            header["totals"],
            serde_json::to_value(reader.totals()).unwrap()
        );
        for record in &records {
            assert_eq!(lines.next(), Some(to_json(record)), "{name}");
        }
        assert_eq!(lines.next(), None);
    }
}

/// The bytes as FORMAT.md prints them: sixteen a line.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let _ = write!(text, "{:04x} ", line * 16);
        for byte in chunk {
            let _ = write!(text, " {byte:02x}");
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_worked_example_of_the_specification_is_the_sample() {
    let specification = std::fs::read_to_string(in_crate("FORMAT.md")).unwrap();
    let bytes = std::fs::read(in_crate("samples/v1.0/tiny.vtr")).unwrap();
    let hex = hex(&bytes);
    assert!(specification.contains(&hex), "FORMAT.md lacks this:\n{hex}");
}
