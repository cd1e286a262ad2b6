//! Requests that are too long for a format's lengths of 32 bits.

use formats::{ImportOptions, Io, Operation};
use traces::Record;

use crate::common::{export, import, trace};

const GIB: u64 = 1 << 30;

#[test]
fn discards_of_4_gib_and_more_are_split_and_not_dropped() {
    let mut discard = Io::new(1_000_000, Operation::Discard, 4096, 9 * GIB + 512);
    discard.more = vec![formats::ByteRange {
        offset_bytes: 100 * GIB,
        length_bytes: 4 * GIB,
    }];
    discard.latency_ns = Some(5_000_000);
    let mut short = Io::new(2_000_000, Operation::Discard, 0, 4 * GIB - 512);
    short.latency_ns = Some(1_000_000);
    let original = trace(&[discard, short]);
    let directory = tempfile::tempdir().unwrap();
    for (name, latency) in [
        ("fio", false),
        ("fio2", false),
        ("blktrace", true),
        ("vscsi", true),
    ] {
        let format = formats::find(name).unwrap();
        let path = directory.path().join(name);
        let notes = export(&original, format, &path);
        let split = "requests of 4 GiB and more were split, as the format has no longer ones";
        assert_eq!(notes.get(split), 2, "{name}: {notes}");
        let (back, _) = import(&path, format, &ImportOptions::default()).unwrap();
        let mut ranges = Vec::new();
        for record in back.records() {
            let Record::Command {
                command,
                ranges: of,
                ..
            } = record.unwrap()
            else {
                panic!("{name}");
            };
            let of = of.iter().map(|it| (it.lba().0, u64::from(it.blocks.get())));
            ranges.extend(of);
            let took = if command.submit_ns == 0 { 5 } else { 1 };
            let took = latency.then_some(took * 1_000_000);
            assert_eq!(command.latency_ns(), took, "{name}");
        }
        // The same blocks, without a hole or a block twice.
        ranges.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (lba, blocks) in ranges
            .into_iter()
            .filter(|it| *it != (0, (4 * GIB - 512) / 512))
        {
            match joined.last_mut() {
                Some(last) if last.0 + last.1 == lba => last.1 += blocks,
                _ => joined.push((lba, blocks)),
            }
        }
        let expected = [(8, 9 * GIB / 512 + 1), (100 * GIB / 512, 4 * GIB / 512)];
        assert_eq!(joined, expected, "{name}");
    }
}
