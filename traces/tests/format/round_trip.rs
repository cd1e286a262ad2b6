//! What is written is what is read.

use crate::common::{any_effort, any_records, in_submission_order, read, written};
use nvme::{CommandId, NamespaceId, QueueId, Status};
use proptest::prelude::*;
use traces::{
    CommandRecord, Completion, Effort, Header, Reader, Record, Resolution, Writer, WriterOptions,
};

proptest! {
    #[test]
    fn every_field_of_every_record_survives(
        records in any_records(),
        block_commands in 1_u32..300,
        effort in any_effort(),
    ) {
        let options = WriterOptions::default().effort(effort).block_commands(block_commands);
        let read = read(written(&records, options));
        prop_assert_eq!(read, in_submission_order(&records));
    }

    #[test]
    fn the_totals_count_what_was_written(records in any_records(), block_commands in 1_u32..300) {
        let options = WriterOptions::default().block_commands(block_commands);
        let reader = Reader::from_bytes(written(&records, options)).unwrap();
        let commands = records.iter().filter(|r| matches!(r, Record::Command { .. })).count();
        let totals = reader.totals();
        prop_assert_eq!(totals.commands, commands as u64);
        let by_opcode: u64 = totals.opcodes.iter().map(|count| count.commands).sum();
        prop_assert_eq!(by_opcode, commands as u64);
        let lost = records.iter().map(|r| match r { Record::Gap(gap) => gap.lost, _ => 0 });
        prop_assert_eq!(totals.lost, lost.fold(0, u64::saturating_add));
        prop_assert_eq!(reader.summary().unwrap().commands, commands as u64);
    }
}

/// `record` with times that are multiples of `resolution`.
fn floored(record: &Record, resolution: Resolution) -> Record {
    let floor = |ns: u64| ns / resolution.ns() * resolution.ns();
    let mut record = record.clone();
    match &mut record {
        Record::Command { command, .. } => {
            command.submit_ns = floor(command.submit_ns);
            if let Some(completion) = &mut command.completion {
                completion.complete_ns = floor(completion.complete_ns);
            }
        }
        Record::Event(event) => event.at_ns = floor(event.at_ns),
        Record::Gap(gap) => gap.at_ns = floor(gap.at_ns),
    }
    record
}

fn any_resolution() -> impl Strategy<Value = Resolution> {
    prop_oneof![
        Just(Resolution::Nanosecond),
        Just(Resolution::HundredNanoseconds),
        Just(Resolution::Microsecond),
    ]
}

proptest! {
    #[test]
    fn a_resolution_cuts_times_and_nothing_else(
        mut records in any_records(),
        rising in any::<bool>(),
        block_commands in 1_u32..300,
        effort in any_effort(),
        resolution in any_resolution(),
    ) {
        if rising {
            let commands = records.iter_mut().filter_map(|record| match record {
                Record::Command { command, .. } => Some(command),
                _ => None,
            });
            for command in commands {
                // In the order of sequence, and most end after they start.
                command.submit_ns = command.sequence.saturating_mul(1_234);
                if let Some(completion) = &mut command.completion {
                    let latency = completion.complete_ns % 1_000_000;
                    completion.complete_ns = command.submit_ns.saturating_add(latency).saturating_sub(999);
                }
            }
        }
        let options = WriterOptions::default()
            .effort(effort)
            .block_commands(block_commands)
            .resolution(resolution);
        let bytes = written(&records, options);
        let reader = Reader::from_bytes(bytes.clone()).unwrap();
        prop_assert_eq!(reader.header().clock.resolution_ns, resolution.ns());
        let wanted: Vec<Record> = in_submission_order(&records)
            .iter()
            .map(|record| floored(record, resolution))
            .collect();
        prop_assert_eq!(read(bytes), wanted);
    }
}

#[test]
fn a_coarse_recording_is_smaller() {
    let records: Vec<Record> = (0..10_000_u64)
        .map(|sequence| {
            let mut command = steady(sequence);
            command.submit_ns += sequence * 7_919 % 1_301;
            Record::Command {
                command,
                ranges: Vec::new(),
                payload: None,
            }
        })
        .collect();
    let len = |resolution| {
        let options = WriterOptions::default().resolution(resolution);
        written(&records, options).len()
    };
    let [fine, ticks, coarse] = [
        Resolution::Nanosecond,
        Resolution::HundredNanoseconds,
        Resolution::Microsecond,
    ]
    .map(len);
    // Six bits and three of each of two times, and a little beside.
    assert!(fine - ticks > 10_000 * 11 / 8, "{fine}, {ticks}");
    assert!(ticks - coarse > 10_000 * 5 / 8, "{ticks}, {coarse}");
}

/// The command with this sequence number, in a steady stream of reads.
fn steady(sequence: u64) -> CommandRecord {
    let small = |value: u64| u16::try_from(value).unwrap();
    CommandRecord {
        sequence,
        submit_ns: 1_000_000 + sequence * 1_400,
        completion: Some(Completion {
            complete_ns: 1_000_000 + sequence * 1_400 + 20_000 + sequence % 7 * 100,
            status: Status::SUCCESS,
            result: 0,
        }),
        queue: QueueId(small(1 + sequence % 2)),
        cid: CommandId(small(sequence % 32)),
        opcode: 2,
        flags: 0,
        nsid: NamespaceId(1),
        cdw2_3: [0; 2],
        cdw10_15: [u32::try_from(sequence * 8).unwrap(), 0, 7, 0, 0, 0],
    }
}

#[test]
fn a_command_that_outlives_many_blocks_is_read_in_its_place() {
    let mut writer = Writer::new(
        Vec::new(),
        &Header::default(),
        WriterOptions::default().block_commands(100),
    )
    .unwrap();
    for sequence in (0..10_000).filter(|sequence| sequence % 1_000 != 17) {
        writer.command(&steady(sequence), &[]).unwrap();
    }
    for sequence in (0..10).map(|n| n * 1_000 + 17) {
        writer.command(&steady(sequence), &[]).unwrap();
    }
    let (bytes, _) = writer.finish().unwrap();
    let reader = Reader::from_bytes(bytes).unwrap();
    for (sequence, record) in (0..10_000).zip(reader.records()) {
        let expected = Record::Command {
            command: steady(sequence),
            ranges: Vec::new(),
            payload: None,
        };
        assert_eq!(record.unwrap(), expected);
    }
    assert_eq!(reader.records().count(), 10_000);
}

#[test]
fn reading_can_start_at_any_time() {
    let records: Vec<Record> = (0..1_000)
        .map(|sequence| Record::Command {
            command: steady(sequence),
            ranges: Vec::new(),
            payload: None,
        })
        .collect();
    let bytes = written(&records, WriterOptions::default().block_commands(100));
    let reader = Reader::from_bytes(bytes).unwrap();
    let since = steady(555).submit_ns;
    let read: Vec<Record> = reader.records_since(since).map(Result::unwrap).collect();
    assert!(read == records[555..]);
    assert_eq!(reader.records_since(u64::MAX).count(), 0);
}

#[test]
fn the_header_survives_and_so_do_keys_of_later_versions() {
    let json = r#"{"device":{"serial":"S1","model":"M","firmware":"1.0","pci":{"vendor":6966,"device":16,"subsystem_vendor":6900,"subsystem":4352}},
        "namespaces":[{"id":1,"blocks":18446744073709551615,"block_bytes":4096}],"io_queues":4,"mdts_bytes":131072,
        "clock":{"kind":"virtual","resolution_ns":100},"start":{"unix_ns":1700000000000000000,"clock_ns":5},
        "tool":"vssd 9","labels":{"guest":"Windows 11"},"moon_phase":{"full":true}}"#;
    let header: Header = serde_json::from_str(json).unwrap();
    assert!(header.extra.contains_key("moon_phase"));
    let writer = Writer::new(Vec::new(), &header, WriterOptions::default()).unwrap();
    let (bytes, _) = writer.finish().unwrap();
    assert_eq!(Reader::from_bytes(bytes).unwrap().header(), &header);
}

#[test]
fn a_file_is_never_overwritten_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.vtr");
    let header = Header::default();
    let options = WriterOptions::default();
    Writer::create(&path, &header, options)
        .unwrap()
        .finish()
        .unwrap();
    let error = Writer::create(&path, &header, options).unwrap_err();
    assert!(
        matches!(error, traces::TraceError::Exists { .. }),
        "{error}"
    );
    Writer::create(&path, &header, options.overwrite(true)).unwrap();
    // Not finished: opens by recovery, and is empty.
    let reader = Reader::open(&path).unwrap();
    assert!(reader.is_recovered());
    assert_eq!(reader.records().count(), 0);
}

#[test]
fn a_steady_stream_costs_few_bytes_while_recording() {
    let records: Vec<Record> = (0..50_000)
        .map(|sequence| Record::Command {
            command: steady(sequence),
            ranges: Vec::new(),
            payload: None,
        })
        .collect();
    let bytes = written(&records, WriterOptions::default().effort(Effort::Fast));
    assert!(bytes.len() < 50_000 * 4, "{} bytes", bytes.len());
}
