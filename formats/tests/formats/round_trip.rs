//! Out and in again: what a format can hold comes back.

use formats::{Carries, FORMATS, Format, ImportOptions, Input, Io, Operation};
use proptest::prelude::*;
use traces::{CommandRecord, Reader, Record};

use crate::common::{BLOCK, export, import, requests, trace, whole};

/// The formats that hold all of a trace: whole commands, events, gaps and what
/// it says of itself.
const WHOLE: &[&str] = &["parquet", "csv"];

/// A request, as far as a format holds it: time, latency, operation, offset,
/// length, queue, device, force unit access, failure.
type Held = (u64, Option<u64>, Operation, u64, u64, u16, u32, bool, bool);

/// `ios` without the discards that vTracer's lines cannot tell from the one
/// before.
fn joined(ios: &[Io]) -> Vec<Io> {
    let mut last = std::collections::HashMap::new();
    let mut kept = Vec::new();
    let start_ns = ios.first().map_or(0, |io| io.submit_ns);
    for io in ios {
        let at = (io.operation, (io.submit_ns - start_ns) / 1_000);
        if last.insert(io.queue, at) != Some(at) || io.operation != Operation::Discard {
            kept.push(io.clone());
        }
    }
    kept
}

/// What `carries` leaves of `ios`.
fn expected(ios: &[Io], carries: &Carries) -> Vec<Held> {
    let kept = ios
        .iter()
        .filter(|io| carries.operations.contains(&io.operation));
    let floor = |ns: u64| ns / carries.resolution_ns * carries.resolution_ns;
    let mut devices = Vec::new();
    let mut held = Vec::new();
    let mut origin_ns = None;
    for io in kept {
        if !devices.contains(&io.device) {
            devices.push(io.device);
        }
        let device = devices.iter().position(|it| *it == io.device).unwrap();
        // The trace starts at the first of all requests; so does its copy, at
        // the first of those that are left.
        let start_ns = ios.first().map_or(0, |io| io.submit_ns);
        let at_ns = floor(io.submit_ns - start_ns);
        let origin_ns = *origin_ns.get_or_insert(at_ns);
        held.push((
            at_ns - origin_ns,
            io.latency_ns.filter(|_| carries.latency).map(floor),
            io.operation,
            io.offset_bytes,
            io.length_bytes,
            if carries.queue { io.queue } else { 1 },
            if carries.device {
                u32::try_from(device).unwrap() + 1
            } else {
                1
            },
            carries.fua && io.fua,
            carries.status && io.failed,
        ));
    }
    held.sort_unstable();
    held
}

fn found(reader: &Reader) -> Vec<Held> {
    let mut held: Vec<Held> = reader
        .records()
        .map(|record| match record.unwrap() {
            Record::Command {
                command, ranges, ..
            } => {
                let (lba, blocks) = match ranges.first() {
                    Some(range) => (range.lba().0, range.blocks.get().into()),
                    None => command
                        .lba_range()
                        .map_or((0, 0), |(lba, blocks)| (lba.0, u64::from(blocks))),
                };
                held_of(&command, lba, blocks)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    held.sort_unstable();
    held
}

fn held_of(command: &CommandRecord, lba: u64, blocks: u64) -> Held {
    let latency_ns = command.latency_ns();
    (
        command.submit_ns,
        latency_ns,
        Operation::of(command.nvm_opcode().unwrap()).unwrap(),
        lba * BLOCK,
        blocks * BLOCK,
        command.queue.0,
        command.nsid.0,
        command.fua(),
        command
            .completion
            .is_some_and(|completion| !completion.status.is_success()),
    )
}

fn both_ways() -> impl Iterator<Item = &'static Format> {
    FORMATS
        .iter()
        .filter(|format| format.is_read() && format.is_written())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_a_format_can_hold_comes_back(ios in requests(60)) {
        let directory = tempfile::tempdir().unwrap();
        let reader = trace(&ios);
        for format in both_ways() {
            let extension = format.extensions.first().unwrap();
            let path = directory.path().join(format!("{}.{extension}", format.name));
            export(&reader, format, &path);
            let expected = if format.name == "vtracer" {
                expected(&joined(&ios), &format.carries)
            } else {
                expected(&ios, &format.carries)
            };
            let (back, _) = import(&path, format, &ImportOptions::default()).unwrap();
            prop_assert_eq!(found(&back), expected, "{}", format.name);
        }
    }

    #[test]
    fn a_format_is_recognised_by_its_content(ios in requests(20)) {
        let directory = tempfile::tempdir().unwrap();
        let reader = trace(&ios);
        for format in both_ways() {
            if !ios.iter().any(|io| format.carries.operations.contains(&io.operation)) {
                continue;
            }
            let path = directory.path().join("without.a.hint");
            export(&reader, format, &path);
            if ["fio2", "mqsim"].contains(&format.name) {
                // The same format as another, or one without a mark.
                continue;
            }
            let detected = formats::detect(&Input::new(vec![path])).unwrap();
            prop_assert_eq!(detected.name, format.name);
        }
    }

    #[test]
    fn a_whole_trace_comes_back_as_it_was(reader in whole()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("whole");
        for name in WHOLE {
            let format = formats::find(name).unwrap();
            let notes = export(&reader, format, &path);
            prop_assert!(notes.is_empty(), "{name}: {notes}");
            let (back, summary) = import(&path, format, &ImportOptions::default()).unwrap();
            prop_assert!(summary.notes.is_empty(), "{name}: {}", summary.notes);
            prop_assert_eq!(back.header(), reader.header(), "{}", name);
            let records = |reader: &Reader| -> Vec<Record> {
                reader.records().map(Result::unwrap).collect()
            };
            prop_assert_eq!(records(&back), records(&reader), "{}", name);
        }
    }
}
