use nvme::NamespaceId;
use traces::CommandRecord;

use super::super::text::{count, size, time};
use super::*;
use crate::books::{Books, Outcome};
use crate::report::{CommandCounts, Pacing, QueueReport, Stalls};
use crate::{Mapping, SkipReason, TraceFacts};

const TIMER: crate::TimerJitter = crate::TimerJitter {
    p50_ns: 60,
    p99_ns: 900,
    max_ns: 4_000,
};

fn report() -> Report {
    let mut books = Books::new(&TraceFacts::default());
    let outcome = Outcome {
        opcode: nvme::NvmOpcode::READ.0,
        recorded_latency_ns: Some(100_000),
        recorded_status: None,
        latency_ns: 12_345,
        bytes: 4096,
        status: nvme::Status::SUCCESS,
        lost: false,
    };
    for _ in 0..1_234 {
        books.finish(&outcome);
    }
    books.finish(&Outcome {
        opcode: nvme::NvmOpcode::WRITE.0,
        recorded_latency_ns: None,
        status: nvme::Status::WRITE_FAULT,
        ..outcome
    });
    let sqe = nvme::Sqe::new(0x06, NamespaceId(0));
    let admin = CommandRecord::fetched(0, 0, nvme::QueueId::ADMIN, &sqe);
    books.skip(&admin, SkipReason::Admin);
    Report {
        end: End::Complete,
        pace: "2x".to_owned(),
        iops_max: None,
        mapping: Mapping::Identity,
        commands: CommandCounts {
            recorded: 1_236,
            ..books.commands
        },
        sent: 1_235,
        opcodes: books.opcodes(),
        errors: books.errors(),
        skipped: books.skipped(),
        pacing: Some(Pacing {
            p50_ns: 80,
            p99_ns: 1_500,
            p999_ns: 20_000,
            max_ns: 3_000_000,
        }),
        stalls: Some(Stalls {
            count: 3,
            total_ns: 4_000_000_000,
        }),
        depth: crate::DepthReport {
            recorded_mean: Some(2.5),
            recorded_max: Some(17),
            mean: 1.25,
            max: 32,
        },
        drift_ns: Some(-1_500_000),
        timer: Some(TIMER),
        verified: None,
        series: crate::Series::default(),
        resume_at: None,
        queues: vec![QueueReport {
            queue: 1,
            recorded: vec![1, 3],
            depth: 32,
            commands: 1_235,
        }],
        recorded_ns: 62_100_000_000,
        replayed_ns: 31_050_000_000,
        read_bytes: 5_054_464,
        written_bytes: 4096,
        notes: vec!["Something to know.".to_owned()],
    }
}

#[test]
fn the_report_reads_as_a_table() {
    let text = report().to_string();
    let expected = "\
Replayed, with failures.

  commands in the trace     1,236
  replayed                  1,234
  failed                        1
  skipped                       1
  commands sent             1,235
  read                   4.82 MiB
  written                4.00 KiB
  pace                         2x
  time when recorded       62.1 s
  time of the replay       31.0 s
  commands a second            39
  queue 1: 1,235 commands of recorded queues 1, 3; depth 32

Latency
                   commands     bytes      p50      p90      p99    p99.9      max
  Read   recorded     1,234  4.82 MiB   100 us   100 us   100 us   100 us   100 us
         replayed                      12.3 us  12.3 us  12.3 us  12.3 us  12.3 us
  Write  recorded         1  4.00 KiB        -        -        -        -        -
         replayed                      12.3 us  12.3 us  12.3 us  12.3 us  12.3 us

Length: 1.50 ms shorter than the trace at this pace
In flight: recorded mean 2.50, max 17; replayed mean 1.25, max 32
Behind schedule: p50 80 ns, p99 1.50 us, p99.9 20.0 us, max 3.00 ms
The machine's own timer: p50 60 ns, p99 900 ns, max 4.00 us late
Full queues: 3 times, 4.00 s in all

Failed
  Write  1  Write Fault (280h)

Skipped
  Identify  1  admin commands are not replayed

Something to know.";
    assert_eq!(text, expected, "{text}");
}

#[test]
fn units_are_those_that_people_read() {
    let times = [0, 999, 1_000, 12_345, 123_456, 1_999_999, 62_100_000_000];
    let read = times.map(time);
    assert_eq!(
        read,
        [
            "0 ns", "999 ns", "1.00 us", "12.3 us", "123 us", "1.99 ms", "62.1 s"
        ]
    );
    let sizes = [0, 1023, 1024, 5 << 30, 3 << 40].map(size);
    assert_eq!(sizes, ["0 B", "1023 B", "1.00 KiB", "5.00 GiB", "3.00 TiB"]);
    assert_eq!(
        [0, 999, 1_000, 50_129].map(count),
        ["0", "999", "1,000", "50,129"]
    );
}

#[test]
fn json_has_the_same_numbers() {
    let json = serde_json::to_value(report()).unwrap();
    assert_eq!(json["end"], "complete");
    assert_eq!(json["mapping"], "identity");
    assert_eq!(json["commands"]["succeeded"], 1_234);
    assert_eq!(json["pacing"]["p99_ns"], 1_500);
    assert_eq!(json["opcodes"][0]["name"], "Read");
    assert_eq!(json["errors"][0]["code"], 0x280);
    assert_eq!(json["skipped"][0]["reason"], "admin");
    let failed = Report {
        end: End::Failed("why".to_owned()),
        ..report()
    };
    assert_eq!(
        serde_json::to_value(&failed).unwrap()["end"]["failed"],
        "why"
    );
    assert!(failed.to_string().contains("why"));
}
