//! What a user sees of a picture: its file, its size, its colours.

use std::io::Cursor;

use nvme::{CommandId, DsmRange, Lba, NamespaceId, NvmOpcode, QueueId, Status};
use proptest::prelude::*;

use super::*;
use crate::{CommandRecord, Completion, Event, EventRecord, Gap};

/// A decoded picture.
struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

fn decode(png: &[u8]) -> Picture {
    let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgb);
    Picture {
        width: info.width as usize,
        height: info.height as usize,
        pixels: bytes
            .chunks(3)
            .map(|rgb| [rgb[0], rgb[1], rgb[2]])
            .collect(),
    }
}

impl Picture {
    /// The middle of the pixels of `operation`'s colour on the map, as parts of
    /// the picture's width and height; none where there are none.
    fn middle_on_map(&self, operation: Operation) -> Option<(f64, f64)> {
        let colour = operation.colour();
        // Below the legend, and above the other panels.
        let map = self.height / 10..self.height / 2;
        let (mut x, mut y, mut count) = (0, 0, 0);
        for row in map {
            for column in 0..self.width {
                let [r, g, b] = self.pixels[row * self.width + column];
                let far = r
                    .abs_diff(colour.0)
                    .max(g.abs_diff(colour.1))
                    .max(b.abs_diff(colour.2));
                if far < 30 {
                    x += column;
                    y += row;
                    count += 1;
                }
            }
        }
        let part = |sum: usize, of: usize| sum as f64 / f64::from(count) / of as f64;
        (count > 0).then(|| (part(x, self.width), part(y, self.height)))
    }
}

fn command(at_ms: u64, opcode: NvmOpcode, lba: u64, blocks: u32) -> CommandRecord {
    let mut cdw10_15 = [0; 6];
    if opcode == NvmOpcode::DATASET_MANAGEMENT {
        cdw10_15[1] = 1 << 2;
    } else if opcode.has_lba_range() {
        cdw10_15[0] = (lba & 0xffff_ffff) as u32;
        cdw10_15[1] = (lba >> 32) as u32;
        cdw10_15[2] = blocks - 1;
    }
    let submit_ns = 1_000_000_000 + at_ms * 1_000_000;
    CommandRecord {
        sequence: at_ms,
        submit_ns,
        completion: Some(Completion {
            complete_ns: submit_ns + 80_000,
            status: Status::SUCCESS,
            result: 0,
        }),
        queue: QueueId(1),
        cid: CommandId(0),
        opcode: opcode.0,
        flags: 0,
        nsid: NamespaceId(1),
        cdw2_3: [0; 2],
        cdw10_15,
    }
}

fn record(at_ms: u64, opcode: NvmOpcode, lba: u64, blocks: u32) -> Record {
    let ranges = if opcode == NvmOpcode::DATASET_MANAGEMENT {
        vec![DsmRange::new(Lba(lba), blocks)]
    } else {
        Vec::new()
    };
    Record::Command {
        command: command(at_ms, opcode, lba, blocks),
        ranges,
        payload: None,
    }
}

/// Reads all over a disk of 1,000,000 blocks, for one second.
fn reads() -> Vec<Record> {
    (0..=100)
        .map(|n| record(n * 10, NvmOpcode::READ, n * 37 % 101 * 9_990, 8))
        .collect()
}

fn options() -> PlotOptions {
    PlotOptions {
        width: 800,
        height: 700,
        title: "test.vtr".to_owned(),
        device: "a drive".to_owned(),
        capacity_bytes: Some(512 * 1_000_000),
        ..PlotOptions::default()
    }
}

fn timeline(records: &[Record], options: &PlotOptions) -> Picture {
    let mut timeline = Timeline::new(options, &Bounds::of(records)).unwrap();
    for record in records {
        timeline.add(record);
    }
    decode(&timeline.encode().unwrap())
}

#[test]
fn the_file_is_a_png_of_the_size_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let records = reads();
    for (width, height) in [(800, 700), (1600, 1200), (641, 1003)] {
        let path = folder.path().join("trace.png");
        let options = PlotOptions {
            width,
            height,
            ..options()
        };
        draw_trace(|| &records, &options, &path).unwrap();
        let picture = decode(&std::fs::read(&path).unwrap());
        assert_eq!(picture.width, width as usize);
        assert_eq!(picture.height, height as usize);
        draw_comparison(|| &records, || &records, [1, -1], &options, &path).unwrap();
        let picture = decode(&std::fs::read(&path).unwrap());
        assert_eq!(picture.pixels.len(), width as usize * height as usize);
    }
}

#[test]
fn commands_are_marked_in_their_colour_where_they_went() {
    let mut records = reads();
    records.push(record(250, NvmOpcode::WRITE, 900_000, 40_000));
    records.push(record(750, NvmOpcode::DATASET_MANAGEMENT, 50_000, 50_000));
    let picture = timeline(&records, &options());
    let (write_x, write_y) = picture.middle_on_map(Operation::Write).unwrap();
    let (discard_x, discard_y) = picture.middle_on_map(Operation::Discard).unwrap();
    // A tenth of the width is taken by labels.
    assert!((write_x - 0.32).abs() < 0.04, "{write_x}");
    assert!((discard_x - 0.76).abs() < 0.04, "{discard_x}");
    assert!(write_y < discard_y - 0.15, "{write_y} {discard_y}");
    assert!(picture.middle_on_map(Operation::Read).is_some());
    assert_eq!(picture.middle_on_map(Operation::WriteZeroes), None);
}

#[test]
fn the_order_of_records_does_not_matter() {
    let mut records = reads();
    records.push(record(300, NvmOpcode::WRITE, 5_000, 256));
    let forward = timeline(&records, &options());
    records.reverse();
    assert!(timeline(&records, &options()).pixels == forward.pixels);
}

#[test]
fn the_whole_device_is_shown_where_asked_for() {
    let records = vec![
        record(0, NvmOpcode::WRITE, 900_000, 8),
        record(10, NvmOpcode::WRITE, 900_100, 8),
    ];
    let zoomed = timeline(&records, &options());
    let whole = timeline(
        &records,
        &PlotOptions {
            whole_device: true,
            ..options()
        },
    );
    let y = |picture: &Picture| picture.middle_on_map(Operation::Write).unwrap().1;
    assert!(y(&whole) < y(&zoomed) - 0.05);
}

#[test]
fn odd_traces_make_pictures_too() {
    let event = |event| {
        Record::Event(EventRecord {
            at_ns: 5,
            sequence: 0,
            event,
        })
    };
    let incomplete = Record::Command {
        command: CommandRecord {
            completion: None,
            ..command(0, NvmOpcode::READ, 0, 8)
        },
        ranges: Vec::new(),
        payload: None,
    };
    let admin = Record::Command {
        command: CommandRecord {
            queue: QueueId(0),
            ..command(0, NvmOpcode::READ, 0, 8)
        },
        ranges: Vec::new(),
        payload: None,
    };
    let no_ranges = Record::Command {
        command: command(0, NvmOpcode::DATASET_MANAGEMENT, 0, 8),
        ranges: Vec::new(),
        payload: None,
    };
    let gap = Record::Gap(Gap {
        at_ns: 7,
        lost: u64::MAX,
    });
    let traces = [
        vec![],
        vec![event(Event::Reset)],
        vec![gap.clone(), gap],
        vec![admin],
        vec![no_ranges],
        vec![incomplete.clone()],
        vec![record(0, NvmOpcode::FLUSH, 0, 1)],
        vec![record(0, NvmOpcode::WRITE, 7, 1)],
        vec![record(0, NvmOpcode::WRITE, 7, 1), incomplete],
        vec![record(9, NvmOpcode::READ, 7, 65_536); 1000],
    ];
    for records in traces {
        assert_eq!(timeline(&records, &options()).width, 800);
        let mut comparison =
            Comparison::new(&options(), &Bounds::of(&records), &Bounds::new()).unwrap();
        for record in &records {
            comparison.add_recorded(record);
        }
        assert_eq!(decode(&comparison.encode().unwrap()).width, 800);
    }
}

#[test]
fn records_beyond_the_bounds_are_drawn_at_the_edge() {
    let mut timeline = Timeline::new(&options(), &Bounds::of(&reads())).unwrap();
    timeline.add(&record(500, NvmOpcode::WRITE, u64::MAX, 65_536));
    timeline.add(&record(100_000, NvmOpcode::WRITE, 0, 8));
    let picture = decode(&timeline.encode().unwrap());
    assert!(picture.middle_on_map(Operation::Write).is_some());
}

#[test]
fn sizes_out_of_range_are_refused() {
    for (width, height) in [(0, 700), (800, 10), (8193, 8000), (800, u32::MAX)] {
        let options = PlotOptions {
            width,
            height,
            ..options()
        };
        let error = Timeline::new(&options, &Bounds::new()).unwrap_err();
        assert!(
            error.to_string().contains("640x600 to 8192x8192"),
            "{error}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/trace.png");
    let error = draw_trace(reads, &options(), &path).unwrap_err();
    assert!(error.to_string().contains("missing/trace.png"), "{error}");
}

fn any_record() -> impl Strategy<Value = Record> {
    let completion = prop::option::of((any::<u64>(), 0..=0x7fff_u16));
    let opcode = prop_oneof![Just(0_u8), Just(1), Just(2), Just(8), Just(9), any::<u8>()];
    let ranges = prop::collection::vec((any::<u64>(), any::<u32>()), 0..4);
    let parts = (
        any::<u64>(),
        completion,
        0..3_u16,
        opcode,
        any::<[u32; 6]>(),
        ranges,
    );
    let commands = parts.prop_map(|(submit_ns, completion, queue, opcode, dwords, ranges)| {
        let command = CommandRecord {
            submit_ns,
            completion: completion.map(|(complete_ns, status)| Completion {
                complete_ns,
                status: Status::from_field(status),
                result: 0,
            }),
            queue: QueueId(queue),
            opcode,
            cdw10_15: dwords,
            ..command(0, NvmOpcode::READ, 0, 1)
        };
        let ranges = ranges
            .into_iter()
            .map(|(lba, blocks)| DsmRange::new(Lba(lba), blocks));
        Record::Command {
            command,
            ranges: ranges.collect(),
            payload: None,
        }
    });
    let events = any::<u64>().prop_map(|at_ns| {
        Record::Event(EventRecord {
            at_ns,
            sequence: 0,
            event: Event::FatalStatus,
        })
    });
    let gaps = any::<(u64, u64)>().prop_map(|(at_ns, lost)| Record::Gap(Gap { at_ns, lost }));
    prop_oneof![8 => commands, 1 => events, 1 => gaps]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn nothing_in_a_trace_makes_it_panic(
        records in prop::collection::vec(any_record(), 0..60),
        errors in prop::collection::vec(any::<i64>(), 0..20),
        block_bytes in prop_oneof![Just(512_u32), any::<u32>()],
        capacity_bytes in any::<Option<u64>>(),
        title in ".{0,40}",
    ) {
        let options = PlotOptions {
            width: 640,
            height: 600,
            block_bytes,
            capacity_bytes,
            title,
            ..options()
        };
        let split = records.len() / 2;
        let (recorded, replayed) = records.split_at(split);
        prop_assert_eq!(timeline(&records, &options).width, 640);
        let bounds = (Bounds::of(recorded), Bounds::of(replayed));
        let mut comparison = Comparison::new(&options, &bounds.0, &bounds.1).unwrap();
        recorded.iter().for_each(|record| comparison.add_recorded(record));
        replayed.iter().for_each(|record| comparison.add_replayed(record));
        errors.iter().for_each(|&error| comparison.add_pacing_error(error));
        prop_assert_eq!(decode(&comparison.encode().unwrap()).width, 640);
    }
}
