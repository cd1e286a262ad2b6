//! What a guest writes, recorded and replayed: from its memory to a file, and
//! from there to another device.

use driver::{Command, QueueOptions};
use nvme::{Lba, NamespaceId, NvmOpcode, ZeroBased};
use recorder::{Recorder, RecorderOptions};
use replayer::{DataSource, Filter, Order, Playlist, Replay, TraceFacts};
use traces::{Clock as _, Digester, Payload, PayloadInfo, PayloadKind, Reader, Record, Totals};
use vssd_tests::sim::replay::{options, replay};
use vssd_tests::sim::trace::{Io, records};
use vssd_tests::sim::{Device, DeviceOptions};

fn device(block_bytes: u32) -> Device {
    let mut options = DeviceOptions {
        bytes: 16 << 20,
        latency_ns: 1_000..=30_000,
        ..DeviceOptions::default()
    };
    options.config.block_bytes = block_bytes;
    Device::new(options).unwrap()
}

/// All of the device, as it has it.
fn image(device: &Device, block_bytes: usize) -> Vec<u8> {
    const CHUNK: usize = 256 << 10;
    let mut controller = device.bring_up().unwrap();
    let buffer = controller.allocate_dma(CHUNK).unwrap();
    let mut pair = controller
        .create_queue_pair(QueueOptions::default())
        .unwrap();
    let clock = device.clock();
    let mut image = Vec::new();
    for at in (0..16 << 20).step_by(CHUNK) {
        let data = buffer.slice(0, CHUNK).unwrap();
        let blocks = u16::try_from(CHUNK / block_bytes - 1).unwrap();
        let lba = Lba((at / block_bytes) as u64);
        let read = Command::read(NamespaceId(1), lba, ZeroBased(blocks), data);
        pair.submit(read, 0, clock.now_ns()).unwrap();
        pair.ring();
        let mut status = None;
        while status.is_none() {
            clock.advance(1_000);
            pair.poll(&clock, 1, |done| status = Some(done.status))
                .unwrap();
        }
        assert!(status.unwrap().is_success());
        let mut bytes = vec![0; CHUNK];
        buffer.read_at(0, &mut bytes).unwrap();
        image.extend(bytes);
    }
    image
}

/// Writes of many lengths, some over others, and what else changes data. The
/// replayer makes their data: duplicates, noise and what packs.
fn workload(block_bytes: u32) -> Vec<Record> {
    let blocks = |kib: u32| (kib << 10) / block_bytes;
    let mut commands = Vec::new();
    for index in 0..120_u64 {
        let kib = [4, 8, 4, 64, 12, 256, 4][usize::try_from(index % 7).unwrap()];
        let lba = index * 977 % 3_000 * u64::from(blocks(4));
        commands.push(Io::blocks(NvmOpcode::WRITE, lba, blocks(kib)));
    }
    commands.insert(60, Io::blocks(NvmOpcode::WRITE_ZEROES, 50, 40));
    let placed = (0..).zip(commands).map(|(index, io)| {
        // One after the other: what lies over what is not chance.
        io.at(1 + u16::try_from(index % 3).unwrap(), index * 1_000_000)
    });
    records(&placed.collect::<Vec<_>>())
}

/// Has `device` recorded while the workload runs on it. The trace.
fn recorded(device: &Device, kind: PayloadKind, block_bytes: u32) -> (Reader, Totals) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("day.vtr");
    let mut header = device.header();
    header.payload = Some(PayloadInfo::of(kind));
    let (handle, tap) = Recorder::start(&path, &header, RecorderOptions::default()).unwrap();
    device.record(Some(tap));
    let mut options = options();
    options.dedup = Some(40);
    options.compressibility = 50;
    let replayed = replay(device, &device.header(), &workload(block_bytes), options).unwrap();
    assert!(replayed.report.is_success(), "{}", replayed.report);
    device.record(None);
    let totals = handle.stop().unwrap().totals;
    (Reader::open(&path).unwrap(), totals)
}

/// What each write of the trace wrote.
fn payloads(reader: &Reader) -> Vec<(u64, Payload)> {
    let records = reader.records().with_payload();
    let writes = records.filter_map(|record| match record.unwrap() {
        Record::Command {
            command,
            payload: Some(payload),
            ..
        } => Some((command.lba_range().unwrap().0.0, *payload)),
        _ => None,
    });
    writes.collect()
}

/// Replays the trace with what it has of data to `target`.
fn replayed(reader: Reader, target: &Device) -> String {
    let readers = [reader];
    let list = Playlist::new(&readers, Order::InTurn, Filter::default()).unwrap();
    let list = list.with_payload();
    let facts = TraceFacts::scan(list.header(), list.once()).unwrap();
    let mut controller = target.bring_up().unwrap();
    let records = list.play(Some(1), replayer::Position::default());
    let replay = Replay::new(&facts, options());
    let report = replay
        .run(&mut controller, &target.clock(), records)
        .unwrap();
    controller.shutdown().unwrap();
    assert!(report.is_success(), "{report}");
    report.to_string()
}

#[test]
fn recorded_data_is_what_was_written_and_makes_the_same_image_elsewhere() {
    for block_bytes in [512_u32, 4096] {
        let source = device(block_bytes);
        let (reader, totals) = recorded(&source, PayloadKind::Data, block_bytes);
        assert_eq!(totals.payload.commands, 120);
        let bytes = block_bytes as usize;
        let original = image(&source, bytes);
        // The trace alone, written over nothing in its order, is the image.
        let mut built = vec![0; original.len()];
        let mut records = 0;
        for record in reader.records().with_payload() {
            let Record::Command {
                command, payload, ..
            } = record.unwrap()
            else {
                continue;
            };
            let Some((lba, blocks)) = command.lba_range() else {
                continue;
            };
            let at = usize::try_from(lba.0).unwrap() * bytes;
            let end = at + blocks as usize * bytes;
            match command.nvm_opcode() {
                Some(NvmOpcode::WRITE) => {
                    built[at..end].copy_from_slice(payload.unwrap().data().unwrap());
                    records += 1;
                }
                Some(NvmOpcode::WRITE_ZEROES) => built[at..end].fill(0),
                _ => {}
            }
        }
        assert_eq!(records, 120);
        assert!(built == original, "blocks of {block_bytes}");
        assert!(original.iter().any(|byte| *byte != 0));
        let target = device(block_bytes);
        let report = replayed(reader, &target);
        assert!(
            report.contains("Writes carried what was recorded"),
            "{report}"
        );
        assert!(image(&target, bytes) == original, "blocks of {block_bytes}");
    }
}

#[test]
fn hashes_are_those_of_what_was_written_and_replay_with_the_same_duplicates() {
    let source = device(512);
    let (reader, _) = recorded(&source, PayloadKind::Hash, 512);
    // The same seed on a device of the same kind writes the same.
    let twin = device(512);
    let (data, _) = recorded(&twin, PayloadKind::Data, 512);
    let mut digester = Digester::default();
    let (hashes, data) = (payloads(&reader), payloads(&data));
    assert_eq!(hashes.len(), 120);
    for ((lba, hashes), (other, data)) in hashes.iter().zip(&data) {
        assert_eq!(lba, other);
        assert_eq!(hashes.data(), None);
        assert_eq!(hashes.digests(&mut digester), data.digests(&mut digester));
    }
    let before = traces::stats::Stats::of(&reader, |_| {}).unwrap();
    let before = before.content.unwrap();
    assert!((0.3..0.5).contains(&before.duplicate_share), "{before:?}");
    // Replayed to another device, which is recorded too.
    let target = device(512);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("again.vtr");
    let mut header = target.header();
    header.payload = Some(PayloadInfo::of(PayloadKind::Hash));
    let (handle, tap) = Recorder::start(&path, &header, RecorderOptions::default()).unwrap();
    target.record(Some(tap));
    replayed(reader, &target);
    target.record(None);
    handle.stop().unwrap();
    let again = Reader::open(&path).unwrap();
    let after = traces::stats::Stats::of(&again, |_| {}).unwrap();
    let after = after.content.unwrap();
    assert_eq!(after.blocks, before.blocks);
    assert_eq!(after.zero_blocks, before.zero_blocks);
    // Equal blocks are equal again, and no others are.
    assert!((after.duplicate_share - before.duplicate_share).abs() < 1e-9);
    assert!(
        (after.packed_share - before.packed_share).abs() < 0.08,
        "{after:?}"
    );
}

#[test]
fn a_pattern_is_written_where_that_is_asked_for() {
    let source = device(512);
    let (reader, _) = recorded(&source, PayloadKind::Data, 512);
    let readers = [reader];
    let list = Playlist::new(&readers, Order::InTurn, Filter::default()).unwrap();
    let facts = TraceFacts::scan(list.header(), list.once()).unwrap();
    let target = device(512);
    let mut controller = target.bring_up().unwrap();
    let mut options = options();
    options.data = DataSource::Pattern;
    let records = list.with_payload();
    let records = records.play(Some(1), replayer::Position::default());
    let report = Replay::new(&facts, options)
        .run(&mut controller, &target.clock(), records)
        .unwrap();
    controller.shutdown().unwrap();
    drop(controller);
    assert!(report.is_success(), "{report}");
    assert!(image(&target, 512) != image(&source, 512));
}
