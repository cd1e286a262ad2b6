//! Marks stay where they are among commands and each other.

use super::*;
use crate::{Event, EventRecord, Gap, pack};

/// Gaps and events between commands some of whose numbers are missing.
fn sprinkled() -> impl Strategy<Value = Vec<Record>> {
    let kind = (0..6_u8, 0..3_u64);
    vec(kind, 1..60).prop_map(|kinds| {
        let (mut next, mut at_ns) = (0, 0);
        let of = |(kind, skipped): (u8, u64)| {
            at_ns += 10;
            match kind {
                0 => {
                    next += skipped;
                    Record::Gap(Gap {
                        at_ns,
                        lost: skipped + 1,
                    })
                }
                1 => Record::Event(EventRecord {
                    at_ns,
                    sequence: next,
                    event: Event::Reset,
                }),
                _ => {
                    next += 1 + u64::from(kind == 2) * skipped;
                    record(next - 1, at_ns, (0, 2, at_ns, 8, 1))
                }
            }
        };
        kinds.into_iter().map(of).collect()
    })
}

fn trace_of(records: &[Record]) -> Reader {
    let options = WriterOptions::default().block_commands(4);
    let mut writer = Writer::new(Vec::new(), &header(), options).unwrap();
    for record in records {
        writer.record(record).unwrap();
    }
    Reader::from_bytes(writer.finish().unwrap().0).unwrap()
}

fn times(records: &[Record]) -> Vec<u64> {
    records.iter().map(Record::at_ns).collect()
}

proptest! {
    #[test]
    fn marks_keep_their_place(records in sprinkled(), from in 0..600_u64) {
        let whole = trace_of(&records);
        prop_assert_eq!(times(&all(&whole)), times(&records));
        let late: Vec<Record> =
            records.iter().filter(|it| it.at_ns() >= from).cloned().collect();
        let mut cut = Cut::default();
        cut.from_ns = Some(from);
        prop_assert_eq!(times(&all(&edited(&whole, &mut cut))), times(&late));
        // What comes after a mark is known before the mark is written.
        let packed = trace_of(&late);
        prop_assert_eq!(times(&all(&packed)), times(&late));
        let writer = Writer::new(Vec::new(), &header(), WriterOptions::default()).unwrap();
        let (bytes, _) = pack(&packed, writer, |_| ()).unwrap();
        prop_assert_eq!(all(&Reader::from_bytes(bytes).unwrap()), late);
    }
}

#[test]
fn a_cut_by_address_keeps_marks() {
    let mut records = vec![Record::Gap(Gap { at_ns: 1, lost: 3 })];
    records.extend((0..20).map(|at| record(at, 10 + at, (0, 2, 1000, 8, 1))));
    records.push(Record::Event(EventRecord {
        at_ns: 40,
        sequence: 20,
        event: Event::Reset,
    }));
    let whole = trace_of(&records);
    let mut cut = Cut::default();
    cut.lba = Some(0..=10);
    let cut_records: Vec<Record> = cut.records(&whole).map(Result::unwrap).collect();
    assert!(cut_records.len() < records.len());
    let mut out = Vec::new();
    for record in cut_records {
        cut.edit(record, &mut out);
    }
    assert_eq!(times(&out), [1, 40]);
}
