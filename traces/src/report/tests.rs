//! The page against naive computations, and against what hostile names do.

use nvme::{CommandId, Lba, NamespaceId, QueueId, ReadWriteCdw12, Sqe, Status};
use proptest::collection::vec;
use proptest::prelude::*;

use super::gather::Gathered;
use super::{BINS, POINTS_MAX, page};
use crate::{
    CommandRecord, Completion, DeviceIdentity, Event, EventRecord, Header, Reader, Writer,
    WriterOptions,
};

/// Gap before it, opcode, first block, blocks, how long it took.
type Drawn = (u64, u8, u64, u16, Option<u64>);

fn trace(header: &Header, drawn: impl IntoIterator<Item = Drawn>) -> Reader {
    let mut writer = Writer::new(Vec::new(), header, WriterOptions::default()).unwrap();
    let mut at_ns = 1_000_000;
    for (sequence, (gap, opcode, lba, blocks, took)) in (0..).zip(drawn) {
        at_ns += gap;
        let mut sqe = Sqe::new(opcode, NamespaceId(1));
        sqe.set_slba(Lba(lba));
        let cdw12 = ReadWriteCdw12::new().with_nlb(blocks);
        sqe.cdw12.set(cdw12.into_bits());
        let mut command = CommandRecord::fetched(sequence, at_ns, QueueId(1), &sqe);
        command.cid = CommandId(1);
        command.completion = took.map(|took| Completion {
            complete_ns: at_ns + took,
            status: Status::SUCCESS,
            result: 0,
        });
        writer.command(&command, &[]).unwrap();
    }
    Reader::from_bytes(writer.finish().unwrap().0).unwrap()
}

fn gathered(reader: &Reader) -> Gathered {
    Gathered::of(reader, &reader.summary().unwrap(), |_| ()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_is_lost_between_bins(
        drawn in vec((0..50_000_000_u64, 1..3_u8, 0..1_u64 << 40, any::<u16>(), 1..1_u64 << 34), 1..200),
    ) {
        let commands: Vec<Drawn> =
            drawn.iter().map(|(gap, op, lba, blocks, took)| (*gap, *op, *lba, *blocks, Some(*took))).collect();
        let reader = trace(&Header::default(), commands);
        let found = gathered(&reader);
        let count = |kind: usize| found.commands.iter().map(|it| u64::from(it[kind])).sum::<u64>();
        let of = |opcode: u8| drawn.iter().filter(|it| it.1 == opcode).count() as u64;
        prop_assert_eq!((count(0), count(1)), (of(2), of(1)));
        prop_assert_eq!(found.points.at.len(), drawn.len());
        prop_assert_eq!(found.sizes.values().sum::<u64>(), drawn.len() as u64);
        // In flight at a submission, itself included.
        let mut at = 0;
        let spans: Vec<(u64, u64)> =
            drawn.iter().map(|it| { at += it.0; (at, at + it.4) }).collect();
        let deepest = spans
            .iter()
            .enumerate()
            .map(|(index, (from, _))| spans[..=index].iter().filter(|it| it.1 > *from).count())
            .max()
            .unwrap();
        prop_assert_eq!(*found.depth.iter().max().unwrap() as usize, deepest);
    }

    #[test]
    fn percentiles_are_within_a_bucket(latencies in vec(4..1_u64 << 40, 1..60)) {
        // All in one bin.
        let reader = trace(&Header::default(), latencies.iter().map(|it| (0, 2, 0, 7, Some(*it))));
        let found = gathered(&reader);
        let mut sorted = latencies.clone();
        sorted.sort_unstable();
        for (share, percent) in [(0.5, 50), (0.99, 99)] {
            let rank = (sorted.len() * percent).div_ceil(100);
            let (exact, estimate) = (sorted[rank - 1] as f64, found.percentile(0, share).unwrap());
            prop_assert!((estimate / exact - 1.0).abs() < 0.13, "{estimate} {exact}");
        }
    }
}

#[test]
fn a_page_needs_nothing_else_and_keeps_names_from_being_more_than_text() {
    let hostile = "</script><script src=//x>\"'&".to_owned();
    let header = Header {
        device: DeviceIdentity {
            model: hostile.clone(),
            serial: hostile.clone(),
            ..DeviceIdentity::default()
        },
        labels: [(hostile.clone(), hostile.clone())].into(),
        ..Header::default()
    };
    let reader = trace(&header, [(0, 2, 8, 7, Some(5)), (9, 1, 16, 7, None)]);
    let text = page(&reader, &hostile, |_| ()).unwrap();
    assert!(!text.contains("<script src"), "a name became an element");
    assert_eq!(text.matches("</script>").count(), 2);
    for outside in ["http:", "https:", "src=", "url(", "@import", "href="] {
        let mut found = text.match_indices(outside);
        // The hostile name itself, as text.
        assert!(
            found.all(|(at, _)| text[..at].ends_with("&lt;script ")),
            "{outside}"
        );
    }
}

#[test]
fn a_trace_without_completions_or_commands_says_so() {
    let reader = trace(&Header::default(), [(0, 2, 8, 7, None)]);
    let text = page(&reader, "t", |_| ()).unwrap();
    assert!(text.contains("nothing is known of latency") && !text.contains("id=\"latency\""));
    let mut writer = Writer::new(Vec::new(), &Header::default(), WriterOptions::default()).unwrap();
    writer
        .event(&EventRecord {
            at_ns: 5,
            sequence: 0,
            event: Event::Reset,
        })
        .unwrap();
    let empty = Reader::from_bytes(writer.finish().unwrap().0).unwrap();
    let text = page(&empty, "t", |_| ()).unwrap();
    assert!(text.contains("The trace has no commands.") && !text.contains("<canvas"));
}

#[test]
fn the_page_of_a_long_trace_is_of_a_few_mebibytes() {
    let count = POINTS_MAX * 2 + 5;
    let drawn = (0..count).map(|number| (1_000, 2, number * 8 % (1 << 38), 7, Some(80_000)));
    let reader = trace(&Header::default(), drawn);
    let found = gathered(&reader);
    assert_eq!(found.stride, 3);
    assert!(found.points.at.len() as u64 <= POINTS_MAX);
    assert_eq!(found.commands.len(), BINS);
    let text = page(&reader, "long", |_| ()).unwrap();
    assert!(text.len() < 6 << 20, "{} bytes", text.len());
    assert!(text.contains("One command in 3 is drawn."));
}

#[test]
fn times_are_since_the_start_and_bytes_those_that_are_moved() {
    let header = Header::default();
    let mut writer = Writer::new(Vec::new(), &header, WriterOptions::default()).unwrap();
    let at_ns = 7_000_000;
    let command = |sequence: u64, opcode: u8, took: Option<(u64, Status)>| {
        let mut sqe = Sqe::new(opcode, NamespaceId(1));
        sqe.set_slba(Lba(8));
        sqe.cdw12.set(7);
        if opcode == 9 {
            // Deallocate.
            sqe.cdw11.set(4);
        }
        let mut command = CommandRecord::fetched(sequence, at_ns, QueueId(1), &sqe);
        command.completion = took.map(|(took, status)| Completion {
            complete_ns: at_ns + took,
            status,
            result: 0,
        });
        command
    };
    let good = Status::SUCCESS;
    let ranges = [
        nvme::DsmRange::new(Lba(8), 2),
        nvme::DsmRange::new(Lba(64), 3),
    ];
    for (command, ranges) in [
        (command(0, 2, Some((500, good))), &[][..]),
        (command(1, 2, Some((100, Status::INTERNAL_ERROR))), &[]),
        (command(2, 2, None), &[]),
        (command(3, 9, Some((1, good))), &ranges),
        // What a Copy moves is not known, nor where from.
        (command(4, 0x19, Some((1, good))), &[]),
    ] {
        writer.command(&command, ranges).unwrap();
    }
    let event = EventRecord {
        at_ns: at_ns + 30,
        sequence: 5,
        event: Event::Reset,
    };
    writer.event(&event).unwrap();
    let gap = crate::Gap {
        at_ns: at_ns + 40,
        lost: 1,
    };
    writer.gap(&gap).unwrap();
    let reader = Reader::from_bytes(writer.finish().unwrap().0).unwrap();
    let found = gathered(&reader);
    assert_eq!(found.bytes[0], [3.0 * 4096.0, 0.0, 5.0 * 512.0, 0.0]);
    assert_eq!(found.latency_max[0], 500);
    assert_eq!(found.statuses.values().sum::<u64>(), 1);
    let marks: Vec<u64> = found.marks.iter().map(|it| it.0).collect();
    assert_eq!(marks, [30, 40]);
    assert!(found.points.at.iter().all(|it| *it == 0.0));
    assert_eq!(found.points.latency, [500.0, 100.0, -1.0, 1.0, 1.0]);
    let text = page(&reader, "t", |_| ()).unwrap();
    assert!(text.contains("<dt>Lost</dt><dd class=\"bad\">1 command</dd>"));
    assert!(
        text.contains("<td>Read</td><td>3</td><td>1</td><td>12 KiB</td>"),
        "{text}"
    );
}

#[test]
fn a_page_has_no_number_that_is_none() {
    let at_once = (0..50).map(|lba| (0, 2, lba, 7, Some(0)));
    for reader in [
        trace(&Header::default(), []),
        trace(&Header::default(), [(0, 2, u64::MAX, u16::MAX, Some(0))]),
        trace(&Header::default(), [(u64::MAX >> 1, 1, 0, 0, None)]),
        trace(&Header::default(), at_once),
    ] {
        let text = page(&reader, "t", |_| ()).unwrap();
        let (_, data) = text.split_once("id=\"data\">").unwrap();
        let (data, _) = data.split_once("</script>").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert!(data["binNs"].as_u64().unwrap() > 0);
        let (tables, _) = text.split_once("<script").unwrap();
        let (_, tables) = tables.split_once("</style>").unwrap();
        assert!(
            !tables.contains("NaN") && !tables.contains("inf"),
            "{tables}"
        );
    }
}
