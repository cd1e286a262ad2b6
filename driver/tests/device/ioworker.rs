//! The load generator, in virtual time: it does what it is asked, exactly or
//! with the chances that it is asked for, and refuses what cannot be.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use driver::ioworker::{
    IoSize, Iops, Ioworker, IoworkerOptions, IoworkerReport, LoggedCommand, Op, Size, Skew,
};
use driver::transport::Transport as _;
use nvme::Lba;
use traces::Clock as _;

use crate::in_process::bring_up;

/// Works in virtual time: `ns` pass with each step.
fn work(options: IoworkerOptions, ns: u64) -> IoworkerReport {
    let (mut controller, clock) = bring_up();
    let mut worker = Ioworker::create(&mut controller, options).unwrap();
    while worker.step(&clock).unwrap() {
        controller.transport_mut().relax();
        clock.advance(ns);
    }
    worker.finish().1
}

fn parse(text: &str) -> IoworkerOptions {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What the commands of this job are.
fn commands(text: &str) -> Vec<LoggedCommand> {
    let mut options = parse(text);
    options.cmdlog = u16::MAX;
    if options.passes.is_none() {
        options.io_count = options.io_count.or(Some(50_000));
    }
    let report = work(options, 0);
    let mut commands = report.last_commands;
    assert_eq!(
        commands.len() as u64,
        report.reads.commands
            + report.writes.commands
            + report
                .others
                .values()
                .map(|tally| tally.commands)
                .sum::<u64>()
    );
    commands.sort_by_key(|command| command.submit_ns);
    commands
}

/// Asserts that counts follow chances: a chi-squared value this far beyond its
/// mean comes by chance in far fewer than one of a thousand runs.
fn assert_follows(counts: &[u64], chances: &[f64]) {
    let total: u64 = counts.iter().sum();
    let sum: f64 = chances.iter().sum();
    let (mut chi, mut freedom) = (0.0, -1.0);
    for (count, chance) in counts.iter().zip(chances) {
        if *chance == 0.0 {
            assert_eq!(*count, 0, "of what has no chance");
            continue;
        }
        let expected = total as f64 * chance / sum;
        chi += (*count as f64 - expected).powi(2) / expected;
        freedom += 1.0;
    }
    let limit = freedom + 4.0 * f64::sqrt(2.0 * freedom) + 4.0;
    assert!(
        chi < limit,
        "chi squared is {chi}, not below {limit}: {counts:?}"
    );
}

fn count_by<K: Ord>(
    commands: &[LoggedCommand],
    key: impl Fn(&LoggedCommand) -> K,
) -> BTreeMap<K, u64> {
    let mut counts = BTreeMap::new();
    for command in commands {
        *counts.entry(key(command)).or_insert(0) += 1;
    }
    counts
}

#[test]
fn the_asked_rate_is_held_over_ten_seconds() {
    for rate in [1.0, 777.0, 12_345.0] {
        let report = work(
            IoworkerOptions {
                iops: Some(Iops::Fixed(rate)),
                time: Some(Duration::from_secs(10)),
                ..IoworkerOptions::default()
            },
            9_300,
        );
        let done = report.reads.commands as f64;
        // The first goes out at once, the last may be just before the end.
        assert!(
            (done - 10.0 * rate).abs() <= f64::max(1.0, 0.01 * rate),
            "{done} at {rate}"
        );
        assert_eq!(report.seconds.len(), 10);
        for second in &report.seconds {
            assert!(
                (second.reads as f64 - rate).abs() <= 1.0 + 0.001 * rate,
                "{second:?}"
            );
        }
    }
}

#[test]
fn a_ramp_rises_second_by_second() {
    let options = parse("iops = [[0, 0], [10, 1000]]\ntime = 10");
    let report = work(options, 9_300);
    for (index, second) in report.seconds.iter().enumerate() {
        let expected = 100 * index as u64 + 50;
        assert!(second.reads.abs_diff(expected) <= 2, "{index}: {second:?}");
    }
    assert!(report.commands().abs_diff(5000) <= 5);
}

#[test]
fn sizes_are_as_likely_as_they_are_weighted() {
    let job = "io_size = { 512B = 4, 4KiB = 67, 8KiB = 10, 64KiB = 19 }\nqdepth = 8";
    let counts = count_by(&commands(job), |command| command.blocks);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [1, 8, 16, 128]);
    let counts: Vec<u64> = counts.into_values().collect();
    assert_follows(&counts, &[4.0, 67.0, 10.0, 19.0]);

    let counts = count_by(&commands("io_size = \"3..12\""), |command| command.blocks);
    assert_eq!(counts.len(), 10);
    assert_follows(&counts.into_values().collect::<Vec<_>>(), &[1.0; 10]);

    let counts = count_by(&commands("io_size = [1, \"4KiB\"]"), |command| {
        command.blocks
    });
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [1, 8]);
    assert_follows(&counts.into_values().collect::<Vec<_>>(), &[1.0; 2]);
}

#[test]
fn kinds_are_as_likely_as_they_are_asked_for() {
    let job = "op_percentage = { read = 30, write = 25, write_zeroes = 10, flush = 5, dsm = 10, verify = 20 }";
    let counts = count_by(&commands(job), |command| command.op);
    let kinds = [
        Op::Read,
        Op::Write,
        Op::WriteZeroes,
        Op::Flush,
        Op::Trim,
        Op::Verify,
    ];
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), kinds);
    let counts: Vec<u64> = counts.into_values().collect();
    assert_follows(&counts, &[30.0, 25.0, 10.0, 5.0, 10.0, 20.0]);
}

#[test]
fn addresses_follow_the_distribution() {
    // Half of all in the first 5 %, 30 % in the next 15 %, the rest behind.
    let parts: Vec<u32> = (0..100)
        .map(|part| match part {
            0..5 => 1000,
            5..20 => 200,
            _ => 25,
        })
        .collect();
    let job = format!("region = \"1000..21000\"\nio_size = 1\ndistribution = {parts:?}");
    let commands = commands(&job);
    let counts = count_by(&commands, |command| (command.lba.0 - 1000) / 200);
    let chances: Vec<f64> = parts.iter().map(|part| f64::from(*part)).collect();
    assert_eq!(counts.len(), 100);
    assert_follows(&counts.into_values().collect::<Vec<_>>(), &chances);
}

#[test]
fn even_addresses_are_even_and_aligned_and_inside() {
    let commands = commands("region = \"5..1605\"\nio_size = [1, 8]\nlba_align = \"4KiB\"");
    for command in &commands {
        assert!(command.lba.0.is_multiple_of(8) && command.lba.0 >= 8);
        assert!(command.lba.0 + u64::from(command.blocks) <= 1605);
    }
    let counts = count_by(&commands, |command| command.lba);
    // Place 1600 has room for one block only.
    let mut chances = vec![2.0; 199];
    chances.push(1.0);
    assert_eq!(counts.len(), 200);
    // Commands of 8 blocks have 199 places, those of one have 200.
    for (index, chance) in chances.iter_mut().enumerate() {
        *chance = if index == 199 {
            1.0 / 200.0
        } else {
            1.0 / 200.0 + 1.0 / 199.0
        };
    }
    assert_follows(&counts.into_values().collect::<Vec<_>>(), &chances);
}

#[test]
fn skewed_addresses_are_skewed_as_asked() {
    let zipf = commands("region = \"0..40\"\nio_size = 1\nskew = { zipf = 1.2 }");
    let counts = count_by(&zipf, |command| command.lba);
    let chances: Vec<f64> = (1..=40).map(|rank| f64::from(rank).powf(-1.2)).collect();
    assert_follows(&counts.into_values().collect::<Vec<_>>(), &chances);

    let pareto = commands("region = \"0..10000\"\nio_size = 1\nskew = { pareto = 0.2 }");
    let near = pareto.iter().filter(|command| command.lba.0 < 2000).count() as u64;
    assert_follows(&[near, pareto.len() as u64 - near], &[80.0, 20.0]);
}

#[test]
fn sequential_work_steps_wraps_and_is_cut_off_at_the_end() {
    let places = |job: &str| -> Vec<(u64, u32)> {
        let commands = commands(&format!("qdepth = 1\nlba_random = 0\n{job}"));
        commands
            .iter()
            .map(|command| (command.lba.0, command.blocks))
            .collect()
    };
    let job = "region = \"10..30\"\nio_size = 8\nio_count = 5";
    assert_eq!(places(job), [(10, 8), (18, 8), (26, 4), (10, 8), (18, 8)]);
    let job = "region = \"10..30\"\nio_size = 8\npasses = 2";
    assert_eq!(
        places(job),
        [(10, 8), (18, 8), (26, 4), (10, 8), (18, 8), (26, 4)]
    );
    let job = "region = \"10..30\"\nio_size = 2\nlba_step = 7\nlba_start = 12\nio_count = 5";
    assert_eq!(places(job), [(12, 2), (19, 2), (26, 2), (10, 2), (17, 2)]);
    let job = "region = \"10..30\"\nio_size = 2\nlba_step = -7\nlba_start = 20\nio_count = 4";
    assert_eq!(places(job), [(20, 2), (13, 2), (28, 2), (21, 2)]);
}

#[test]
fn half_random_work_is_half_sequential() {
    let commands = commands("lba_random = 50\nqdepth = 1\nio_size = 1");
    let follows = commands
        .windows(2)
        .filter(|pair| pair[1].lba.0 == pair[0].lba.0 + 1)
        .count();
    let others = commands.len() - 1 - follows;
    assert_follows(&[follows as u64, others as u64], &[0.5, 0.5]);
}

#[test]
fn a_sequence_is_issued_as_it_stands() {
    let job = r#"
        io_sequence = [
            [0, "write", 1, 5, 8],
            [1000, "read", 1, 0, 16],
            [1000, "flush", 1, 0, 1],
            [250000, "write_zeroes", 1, 100, 1],
        ]
        cmdlog = 8
    "#;
    let report = work(parse(job), 100);
    let mut commands = report.last_commands;
    commands.sort_by_key(|command| (command.submit_ns, command.op));
    let seen: Vec<_> = commands.iter().map(|c| (c.op, c.lba, c.blocks)).collect();
    let expected = [
        (Op::Write, Lba(5), 8),
        (Op::Read, Lba(0), 16),
        (Op::Flush, Lba(0), 1),
        (Op::WriteZeroes, Lba(100), 1),
    ];
    assert_eq!(seen, expected);
    for (command, at_us) in commands.iter().zip([0, 1000, 1000, 250_000]) {
        let late_ns = command.submit_ns - at_us * 1000;
        assert!(late_ns < 2000, "{command:?}");
    }
}

/// Writes 2 MiB with the pattern, and reads it.
fn written(pattern: &str) -> Vec<u8> {
    use driver::{Command, QueueOptions};
    let (mut controller, clock) = bring_up();
    let job = format!(
        "lba_random = 0\nread_percentage = 0\nio_size = \"64KiB\"\nregion = \"0..2MiB\"\npasses = 1\n{pattern}"
    );
    let mut worker = Ioworker::create(&mut controller, parse(&job)).unwrap();
    while worker.step(&clock).unwrap() {
        controller.transport_mut().relax();
    }
    let nsid = controller.info().namespaces[0].nsid;
    let mut pair = controller
        .create_queue_pair(QueueOptions::default())
        .unwrap();
    let buffer = controller.allocate_dma(64 << 10).unwrap();
    let mut all = vec![0; 2 << 20];
    for (index, part) in all.chunks_mut(64 << 10).enumerate() {
        let blocks = nvme::ZeroBased(127);
        let slice = buffer.slice(0, 64 << 10).unwrap();
        let read = Command::read(nsid, Lba(index as u64 * 128), blocks, slice);
        pair.submit(read, 0, clock.now_ns()).unwrap();
        while pair.in_flight() > 0 {
            pair.poll(&clock, 1, |done| assert!(done.status.is_success()))
                .unwrap();
            controller.transport_mut().relax();
        }
        buffer.read_at(0, part).unwrap();
    }
    all
}

/// To how much of its size the data of one command is compressed.
fn compressed(data: &[u8]) -> f64 {
    let data = &data[..64 << 10];
    let level = flate2::Compression::best();
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap().len() as f64 / data.len() as f64
}

#[test]
fn written_data_has_the_pattern_and_compresses_as_asked() {
    assert!(
        written("ptype = 0\npvalue = 0")
            .iter()
            .all(|byte| *byte == 0)
    );
    assert!(
        written("ptype = 0\npvalue = 1")
            .iter()
            .all(|byte| *byte == 0xff)
    );
    assert!(
        written("ptype = 8\npvalue = 0xa5")
            .iter()
            .all(|byte| *byte == 0xa5)
    );
    let words = written("ptype = 32\npvalue = 0x11223344");
    assert!(
        words
            .chunks(4)
            .all(|word| word == 0x1122_3344_u32.to_le_bytes())
    );
    for share in [0, 25, 50, 75, 100] {
        let ratio = compressed(&written(&format!("ptype = 0xbeef\npvalue = {share}")));
        let expected = f64::from(share) / 100.0;
        assert!((ratio - expected).abs() < 0.05, "{ratio} for {share} %");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of refusals")]
fn each_contradiction_names_its_field() {
    let (mut controller, _clock) = bring_up();
    let parts = vec![100; 100];
    for (job, field) in [
        ("", "time"),
        (
            "io_count = 1\nread_percentage = 50\nop_percentage = { read = 100 }",
            "read_percentage",
        ),
        ("io_count = 1\nread_percentage = 101", "read_percentage"),
        (
            "io_count = 1\nop_percentage = { read = 99 }",
            "op_percentage",
        ),
        (
            "io_count = 1\nop_percentage = { write_uncorrectable = 50, read = 51 }",
            "op_percentage",
        ),
        ("io_count = 1\nlba_random = 101", "lba_random"),
        ("io_count = 1\nlba_step = 8", "lba_step"),
        ("io_count = 1\nlba_random = 0\nlba_align = 8", "lba_align"),
        (
            "io_count = 1\nregion = \"1..\"\nlba_align = 1000000000",
            "region",
        ),
        ("io_count = 1\nlba_align = \"100B\"", "lba_align"),
        (
            "io_count = 1\nlba_random = 0\nskew = { zipf = 1.0 }",
            "skew",
        ),
        ("io_count = 1\nskew = { zipf = 0.0 }", "skew"),
        ("io_count = 1\nskew = { pareto = 1.0 }", "skew"),
        ("io_count = 1\ndistribution = [10000]", "distribution"),
        ("io_count = 1\nregion = \"8..8\"", "region"),
        ("io_count = 1\nregion = \"0..7\"", "region"),
        ("io_count = 1\nregion = \"100B..\"", "region"),
        (
            "io_count = 1\nlba_start = 8\nregion = \"10..100\"",
            "lba_start",
        ),
        ("io_count = 1\nio_size = \"100B\"", "io_size"),
        ("io_count = 1\nio_size = 0", "io_size"),
        ("io_count = 1\nio_size = 65537", "io_size"),
        ("io_count = 1\nio_size = 65536", "region"),
        ("io_count = 1\nio_size = \"9..8\"", "io_size"),
        ("io_count = 1\nio_size = []", "io_size"),
        ("io_count = 1\nio_size = { 8 = 0 }", "io_size"),
        ("io_count = 1\nio_size = \"2MiB\"", "io_size"),
        ("io_count = 1\nqdepth = 0", "qdepth"),
        ("io_count = 1\nqdepth = 65535", "qdepth"),
        ("io_count = 1\nqprio = 4", "qprio"),
        ("io_count = 1\nnsid = 9", "nsid"),
        ("io_count = 1\niops = 0", "iops"),
        ("io_count = 1\niops = [[1, 5], [1, 6]]", "iops"),
        ("io_count = 1\nptype = 7", "ptype"),
        ("io_count = 1\npvalue = 101", "pvalue"),
        ("io_count = 1\nptype = 8\npvalue = 256", "pvalue"),
        ("passes = 1", "passes"),
        ("passes = 1\nio_count = 1\nlba_random = 0", "io_count"),
        (
            "io_count = 1\nverify = true\nop_percentage = { compare = 50, read = 50 }",
            "verify",
        ),
        ("io_sequence = [[0, \"read\", 1, 0, 1]]\niops = 5", "iops"),
        ("io_sequence = [[0, \"read\", 1, 0, 0]]", "io_sequence"),
        ("io_sequence = [[0, \"read\", 2, 0, 1]]", "io_sequence"),
        (
            "io_sequence = [[5, \"read\", 1, 0, 1], [0, \"read\", 1, 0, 1]]",
            "io_sequence",
        ),
        (
            "io_sequence = [[0, \"read\", 1, 99999999, 1]]",
            "io_sequence",
        ),
    ] {
        let Err(error) = Ioworker::create(&mut controller, parse(job)) else {
            panic!("{job} is not refused");
        };
        let error = error.to_string();
        assert!(
            error.starts_with(&format!("{field}: ")),
            "{job}\n-> {error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
    let both = IoworkerOptions {
        io_count: Some(1),
        distribution: parts,
        skew: Some(Skew::Zipf(1.0)),
        ..IoworkerOptions::default()
    };
    let error = Ioworker::create(&mut controller, both)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("skew: "), "{error}");
    for (job, word) in [
        ("io_sice = 8", "io_sice"),
        ("op_percentage = { wright = 100 }", "wright"),
        ("io_size = \"4 parsecs\"", "io_size"),
        ("time = \"soon\"", "soon"),
    ] {
        let error = toml::from_str::<IoworkerOptions>(job)
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn failed_commands_are_counted_by_status() {
    // Nobody wrote what is compared.
    let job = "op_percentage = { compare = 100 }\nio_count = 20\ncmdlog = 4";
    let report = work(parse(job), 0);
    assert_eq!(
        (report.errors(), report.others[&Op::Compare].bytes),
        (20, 0)
    );
    let statuses: Vec<_> = report
        .statuses
        .iter()
        .map(|(status, count)| (status.code(), *count))
        .collect();
    assert_eq!(statuses, [(nvme::Status::COMPARE_FAILURE.code(), 20)]);
    assert_eq!(report.last_commands.len(), 4);
}

#[test]
fn the_report_is_json_that_adds_up() {
    let options = IoworkerOptions {
        io_size: IoSize::One(Size::Bytes(8192)),
        read_percentage: Some(50),
        iops: Some(Iops::Fixed(1000.0)),
        time: Some(Duration::from_secs(3)),
        cmdlog: 5,
        ..IoworkerOptions::default()
    };
    let report = work(options, 9_300);
    let json = serde_json::to_value(&report).unwrap();
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let (reads, writes) = (&json["ops"]["read"], &json["ops"]["write"]);
    let commands = number(&json["commands"]);
    assert_eq!(
        number(&reads["commands"]) + number(&writes["commands"]),
        commands
    );
    assert_eq!(number(&reads["bytes"]), number(&reads["commands"]) * 8192);
    let seconds = json["seconds"].as_array().unwrap();
    let sum: u64 = seconds
        .iter()
        .map(|s| number(&s["reads"]) + number(&s["writes"]))
        .sum();
    assert_eq!(sum, commands);
    let bytes: u64 = seconds.iter().map(|s| number(&s["bytes"])).sum();
    assert_eq!(bytes, commands * 8192);
    let latency = &json["latency_ns"];
    let p50 = number(&latency["percentiles"]["50"]);
    assert!(number(&latency["min"]) <= p50 && p50 <= number(&latency["percentiles"]["99.9"]));
    assert!(number(&latency["percentiles"]["99.9"]) <= number(&latency["max"]) + 100);
    assert_eq!(json["last_commands"].as_array().unwrap().len(), 5);
    assert_eq!(json["errors"], 0);
    assert!(json["ops"].get("trim").is_none());
}
