//! What commands wrote, in the file: what went in comes out beside its command,
//! whatever else happens to the file.

use std::path::Path;
use std::process::Command;

use nvme::{Lba, NamespaceId, QueueId, Sqe};
use proptest::collection::vec;
use proptest::prelude::*;
use traces::edit::{self, Cut, MergeOptions, Remap};
use traces::{
    BlockDigest, CommandRecord, Digester, Effort, Header, NamespaceInfo, Payload, PayloadInfo,
    PayloadKind, PayloadPlace, Reader, Record, TraceError, Writer, WriterOptions,
};

/// A write of so many blocks of 512 bytes, and its data: zeroes, a block that
/// others write too, text, and noise.
fn write(sequence: u64, blocks: u16, kinds: &[u8]) -> (CommandRecord, Vec<u8>) {
    let mut sqe = Sqe::new(1, NamespaceId(1));
    sqe.set_slba(Lba(sequence * 100));
    sqe.cdw12.set(u32::from(blocks - 1));
    let mut data = Vec::new();
    let mut random = fastrand_like(sequence);
    for at in 0..usize::from(blocks) {
        match kinds.get(at % kinds.len().max(1)).copied().unwrap_or(0) % 4 {
            0 => data.extend([0; 512]),
            1 => data.extend([0x5a; 512]),
            2 => data.extend((0..512).map(|it| b"the quick brown fox "[it % 20])),
            _ => data.extend((0..512).map(|_| random())),
        }
    }
    let at_ns = 1_000 + sequence * 10;
    (
        CommandRecord::fetched(sequence, at_ns, QueueId(1), &sqe),
        data,
    )
}

/// Bytes without a pattern.
fn fastrand_like(seed: u64) -> impl FnMut() -> u8 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    }
}

fn header(kind: Option<PayloadKind>) -> Header {
    Header {
        payload: kind.map(PayloadInfo::of),
        namespaces: vec![NamespaceInfo {
            id: 1,
            blocks: 1 << 20,
            block_bytes: 512,
        }],
        ..Header::default()
    }
}

fn digests(data: &[u8]) -> Vec<BlockDigest> {
    let mut digester = Digester::default();
    data.chunks(512).map(|it| digester.digest(it)).collect()
}

fn expected(kind: PayloadKind, data: &[u8]) -> Payload {
    match kind {
        PayloadKind::Data => Payload::of_data(512, data.to_vec()).unwrap(),
        _ => Payload::of_hashes(512, digests(data)),
    }
}

/// As a recording writes it: the data before, in parts, the commands later, and
/// in the order of completion, which is another one.
fn trace(
    kind: PayloadKind,
    writes: &[(CommandRecord, Vec<u8>)],
    options: WriterOptions,
) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header(Some(kind)), options).unwrap();
    for (command, data) in writes {
        let mut first_block = 0;
        for part in data.chunks(7 * 512) {
            let place = PayloadPlace {
                sequence: command.sequence,
                submit_ns: command.submit_ns,
                block_bytes: 512,
                first_block,
            };
            writer.payload(place, part).unwrap();
            first_block += u32::try_from(part.len() / 512).unwrap();
        }
    }
    for chunk in writes.chunks(3) {
        for (command, _) in chunk.iter().rev() {
            writer.command(command, &[]).unwrap();
        }
    }
    writer.finish().unwrap().0
}

fn some(count: u64) -> Vec<(CommandRecord, Vec<u8>)> {
    (0..count)
        .map(|it| write(it, u16::try_from(1 + it % 9).unwrap(), &it.to_le_bytes()))
        .collect()
}

/// Large writes of noise: about a MiB of payload is a block.
fn large(count: u64) -> Vec<(CommandRecord, Vec<u8>)> {
    (0..count).map(|it| write(it, 1024, &[3])).collect()
}

fn paid(reader: &Reader) -> Vec<(CommandRecord, Option<Payload>)> {
    reader
        .records()
        .with_payload()
        .map(|record| match record.unwrap() {
            Record::Command {
                command, payload, ..
            } => (command, payload.map(|it| *it)),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn assert_paid(reader: &Reader, kind: PayloadKind, writes: &[(CommandRecord, Vec<u8>)]) {
    let found = paid(reader);
    assert_eq!(found.len(), writes.len());
    for ((command, payload), (written, data)) in found.iter().zip(writes) {
        assert_eq!(command, written);
        assert!(
            payload.as_ref() == Some(&expected(kind, data)),
            "{command:?}"
        );
    }
}

const KINDS: [PayloadKind; 2] = [PayloadKind::Hash, PayloadKind::Data];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_was_written_comes_back_beside_its_command(
        shapes in vec((1_u16..300, any::<[u8; 5]>()), 1..30),
        block_commands in 1_u32..20,
        packed in any::<bool>(),
        is_data in any::<bool>(),
    ) {
        let kind = KINDS[usize::from(is_data)];
        let writes: Vec<_> = (0..)
            .zip(&shapes)
            .map(|(at, (blocks, kinds))| write(at, *blocks, kinds))
            .collect();
        let effort = if packed { Effort::Packed } else { Effort::Fast };
        let options = WriterOptions::default().block_commands(block_commands).effort(effort);
        let bytes = trace(kind, &writes, options);
        let reader = Reader::from_bytes(bytes.clone()).unwrap();
        prop_assert_eq!(reader.version(), (1, 1));
        assert_paid(&reader, kind, &writes);
        let totals = reader.totals().payload;
        let written: usize = writes.iter().map(|(_, data)| data.len()).sum();
        prop_assert_eq!(totals.commands, writes.len() as u64);
        prop_assert_eq!(totals.bytes, written as u64);
        // Without an index, the blocks tell the same.
        let cut = Reader::from_bytes(bytes[..bytes.len() - 1].to_vec()).unwrap();
        prop_assert!(cut.is_recovered());
        prop_assert_eq!(cut.totals().payload, totals);
        assert_paid(&cut, kind, &writes);
        // Packing keeps it.
        let writer = Writer::new(Vec::new(), reader.header(), options).unwrap();
        let (again, _) = traces::pack(&reader, writer, |_| {}).unwrap();
        assert_paid(&Reader::from_bytes(again).unwrap(), kind, &writes);
    }
}

#[test]
fn one_that_does_not_ask_gets_none_and_reads_none() {
    let writes = large(4);
    let mut bytes = trace(PayloadKind::Data, &writes, WriterOptions::default());
    let reader = Reader::from_bytes(bytes.clone()).unwrap();
    let payload = reader.index().iter().filter(|it| it.is_payload());
    let places: Vec<u64> = payload.map(traces::BlockInfo::offset).collect();
    assert!(places.len() >= 2, "{places:?}");
    // Destroyed, so that to read them would be seen.
    for place in places {
        bytes[usize::try_from(place).unwrap() + 200] ^= 1;
    }
    let reader = Reader::from_bytes(bytes).unwrap();
    let records: Vec<Record> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 4);
    assert!(
        records
            .iter()
            .all(|it| matches!(it, Record::Command { payload: None, .. }))
    );
    assert_eq!(reader.summary().unwrap().commands, 4);
}

#[test]
fn a_trace_without_payload_is_one_of_version_1_0() {
    let writer = Writer::new(Vec::new(), &header(None), WriterOptions::default()).unwrap();
    let (bytes, _) = writer.finish().unwrap();
    assert_eq!(bytes[8..12], [1, 0, 0, 0]);
}

#[test]
fn blocks_are_told_apart_zeroes_are_known_and_packing_is_measured() {
    let mut digester = Digester::default();
    let zero = digester.digest(&[0; 4096]);
    assert!(zero.is_zero());
    // XXH3's own test of three bytes: the hash is the real one.
    assert_eq!(digester.digest(b"abc").hash, 0x78af_5f94_892f_3950);
    let mut random = fastrand_like(7);
    let noise: Vec<u8> = (0..4096).map(|_| random()).collect();
    let one = digester.digest(&noise);
    assert_eq!(one.packed, 16);
    let mut other = noise.clone();
    other[4095] ^= 1;
    assert_ne!(digester.digest(&other).hash, one.hash);
    let mut half = noise;
    half[2048..].fill(0);
    let half = digester.digest(&half);
    assert!((8..=9).contains(&half.packed), "{half:?}");
    let mut last = [0; 4096];
    last[4095] = 1;
    assert!(!digester.digest(&last).is_zero());
}

/// The places of the blocks of payload.
fn payload_blocks(bytes: &[u8]) -> Vec<(usize, usize)> {
    let reader = Reader::from_bytes(bytes.to_vec()).unwrap();
    let blocks = reader.index().iter().filter(|it| it.is_payload());
    let place = |it: &traces::BlockInfo| {
        let start = usize::try_from(it.offset()).unwrap();
        (start, usize::try_from(it.stored_bytes()).unwrap())
    };
    blocks.map(place).collect()
}

#[test]
fn a_byte_that_changed_is_found_and_salvage_keeps_all_else() {
    let writes = large(8);
    let whole = trace(PayloadKind::Data, &writes, WriterOptions::default());
    let blocks = payload_blocks(&whole);
    assert!(blocks.len() >= 3, "{blocks:?}");
    let (start, len) = blocks[1];
    for at in [88, len / 2, len - 1] {
        let mut bytes = whole.clone();
        bytes[start + at] ^= 0x10;
        let reader = Reader::from_bytes(bytes.clone()).unwrap();
        let error = reader
            .records()
            .with_payload()
            .find_map(Result::err)
            .unwrap();
        match error {
            TraceError::Damaged { offset, .. } => assert_eq!(offset, start as u64),
            other => panic!("{other}"),
        }
        let reader = Reader::salvage_bytes(bytes).unwrap();
        let salvage = reader.salvaged().unwrap();
        assert_eq!(salvage.lost_commands(), 0, "{salvage}");
        assert!(
            salvage.to_string().contains("payload of commands"),
            "{salvage}"
        );
        let found = paid(&reader);
        let commands: Vec<_> = found.iter().map(|it| it.0).collect();
        assert_eq!(commands, writes.iter().map(|it| it.0).collect::<Vec<_>>());
        let without = found.iter().filter(|it| it.1.is_none()).count();
        assert!((1..=4).contains(&without), "{without}");
        for ((_, payload), (_, data)) in found.iter().zip(&writes) {
            if let Some(payload) = payload {
                assert!(payload.data() == Some(data));
            }
        }
    }
}

/// `edit` done to `reader`.
fn edited(reader: &Reader, edit: &mut dyn edit::Edit) -> Reader {
    let mut header = reader.header().clone();
    edit.header(&mut header);
    let writer = Writer::new(Vec::new(), &header, WriterOptions::default()).unwrap();
    let records = reader.records().with_payload();
    let (bytes, _) = edit::rewrite(reader, records, edit, writer, |_| {}).unwrap();
    Reader::from_bytes(bytes).unwrap()
}

#[test]
fn cut_and_merged_traces_keep_what_belongs_together() {
    for kind in KINDS {
        let writes = some(60);
        let reader = Reader::from_bytes(trace(kind, &writes, WriterOptions::default())).unwrap();
        let mut cut = Cut::default();
        cut.skip = 20;
        cut.first = Some(30);
        let part = edited(&reader, &mut cut);
        let found = paid(&part);
        assert_eq!(found.len(), 30);
        for (at, (command, payload)) in (0_u64..).zip(&found) {
            let (_, data) = &writes[usize::try_from(at).unwrap() + 20];
            assert_eq!(command.sequence, at);
            assert!(payload.as_ref() == Some(&expected(kind, data)));
        }
        let make = |header: &Header| Writer::new(Vec::new(), header, WriterOptions::default());
        let parts = [reader, part];
        let (both, _) = edit::merge(&parts, MergeOptions::default(), make, |_| {}).unwrap();
        let both = Reader::from_bytes(both).unwrap();
        let found = paid(&both);
        assert_eq!(found.len(), 90);
        for (command, payload) in &found {
            // Which write it was, by its address.
            let at = usize::try_from(command.lba_range().unwrap().0.0 / 100).unwrap();
            assert!(payload.as_ref() == Some(&expected(kind, &writes[at].1)));
        }
    }
}

#[test]
fn data_moves_to_blocks_of_another_size_and_hashes_that_do_not_are_counted() {
    let (mut command, data) = write(0, 16, &[2, 3, 1]);
    command.set_lba(Lba(64));
    for (kind, dropped) in [(PayloadKind::Data, 0), (PayloadKind::Hash, 1)] {
        let writes = [(command, data.clone())];
        let reader = Reader::from_bytes(trace(kind, &writes, WriterOptions::default())).unwrap();
        let mut remap = Remap::of(reader.header());
        remap.block_bytes = Some(4096);
        let found = paid(&edited(&reader, &mut remap));
        assert_eq!(remap.dropped, dropped);
        let payload = found[0].1.as_ref();
        assert_eq!(payload.is_some(), dropped == 0);
        if let Some(payload) = payload {
            assert_eq!((payload.blocks(), payload.block_bytes()), (2, 4096));
            assert!(payload.data() == Some(&data));
        }
    }
}

#[test]
fn an_anonymous_trace_has_no_payload() {
    let reader = trace(PayloadKind::Data, &some(20), WriterOptions::default());
    let reader = Reader::from_bytes(reader).unwrap();
    let mut edit = edit::Anonymize::new(reader.header(), 1, 8);
    let anonymous = edited(&reader, &mut edit);
    assert!(!anonymous.has_payload() && anonymous.header().payload.is_none());
    assert!(paid(&anonymous).iter().all(|it| it.1.is_none()));
}

#[test]
fn a_loss_is_counted() {
    let info = header(Some(PayloadKind::Data));
    let mut writer = Writer::new(Vec::new(), &info, WriterOptions::default()).unwrap();
    let (command, _) = write(3, 1, &[3]);
    let place = PayloadPlace {
        sequence: 3,
        submit_ns: 5,
        block_bytes: 512,
        first_block: 0,
    };
    writer.payload_lost(place, 17).unwrap();
    writer.command(&command, &[]).unwrap();
    let (bytes, _) = writer.finish().unwrap();
    let reader = Reader::from_bytes(bytes).unwrap();
    assert_eq!(reader.totals().payload.lost, 17);
    assert_eq!(paid(&reader), [(command, None)]);
}

#[test]
fn payload_that_is_not_whole_is_none() {
    let (command, data) = write(0, 8, &[3]);
    let info = header(Some(PayloadKind::Data));
    for (first_block, blocks) in [(0, 7), (1, 7)] {
        let mut writer = Writer::new(Vec::new(), &info, WriterOptions::default()).unwrap();
        let place = PayloadPlace {
            sequence: 0,
            submit_ns: 5,
            block_bytes: 512,
            first_block,
        };
        writer.payload(place, &data[..blocks * 512]).unwrap();
        writer.command(&command, &[]).unwrap();
        let (bytes, _) = writer.finish().unwrap();
        assert_eq!(paid(&Reader::from_bytes(bytes).unwrap()), [(command, None)]);
    }
}

/// The samples of version 1.1.
const SAMPLES: [(&str, PayloadKind); 2] =
    [("hash", PayloadKind::Hash), ("data", PayloadKind::Data)];

fn sample_path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("samples/v1.1/{name}.vtr"))
}

#[test]
#[ignore = "writes into samples/"]
fn make_the_samples_of_payload() {
    for (name, kind) in SAMPLES {
        let path = sample_path(name);
        assert!(
            !path.exists(),
            "{} is there: remove it first",
            path.display()
        );
        std::fs::write(path, trace(kind, &some(40), WriterOptions::default())).unwrap();
    }
}

#[test]
fn the_samples_of_payload_decode_to_what_they_were_made_of() {
    for (name, kind) in SAMPLES {
        let reader = Reader::open(sample_path(name)).unwrap();
        assert!(!reader.is_recovered());
        assert_paid(&reader, kind, &some(40));
    }
}

/// `read_vtr.py` was made from version 1.0 of the specification, which has no
/// payload.
#[test]
#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
fn a_reader_of_version_1_0_reads_all_but_payload() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3 here");
        return;
    }
    for (name, _) in SAMPLES {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_vtr.py");
        let mut python = Command::new("python3");
        let output = python.arg(script).arg(sample_path(name)).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        let sequences: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter_map(|line| line["command"]["sequence"].as_u64())
            .collect();
        assert_eq!(sequences, (0..40).collect::<Vec<u64>>());
    }
}

#[test]
fn damage_of_any_byte_is_an_error_or_is_repaired_never_other_data() {
    let writes = some(12);
    let whole = trace(PayloadKind::Data, &writes, WriterOptions::default());
    let (start, len) = payload_blocks(&whole)[0];
    for at in start..start + len {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        let Ok(reader) = Reader::from_bytes(bytes) else {
            continue;
        };
        for record in reader.records().with_payload() {
            let Ok(Record::Command {
                command,
                payload: Some(payload),
                ..
            }) = record
            else {
                continue;
            };
            let (_, data) = &writes[usize::try_from(command.sequence).unwrap()];
            assert!(payload.data() == Some(data), "byte {at}");
        }
    }
}

/// What is in a block of payload that a hostile writer made, with checksums that
/// are right.
#[test]
fn hostile_payload_is_an_error_with_its_place() {
    // Noise, which is not packed, so that every field is in reach.
    let writes = [write(0, 8, &[3]), write(1, 5, &[3])];
    let whole = trace(PayloadKind::Hash, &writes, WriterOptions::default());
    let (start, len) = payload_blocks(&whole)[0];
    let payload = &whole[start + 88..start + len];
    let mut tried = 0;
    for at in 0..payload.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut payload = payload.to_vec();
            payload[at] ^= change;
            let mut block = whole[start..start + 88].to_vec();
            block[8..12].copy_from_slice(&crc32fast::hash(&payload).to_le_bytes());
            let crc = crc32fast::hash(&block[..84]);
            block[84..].copy_from_slice(&crc.to_le_bytes());
            block.extend(payload);
            // Without an index: the block is found by its own header.
            let mut bytes = whole[..start].to_vec();
            bytes.extend(block);
            bytes.extend(&whole[start + len..]);
            let Ok(reader) = Reader::from_bytes(bytes) else {
                continue;
            };
            for record in reader.records().with_payload() {
                if let Err(error) = record {
                    assert!(
                        error.to_string().contains(&format!("byte {start}")),
                        "{error}"
                    );
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 100, "{tried}");
}
