//! Lines as people read them.

use nvme::{AdminOpcode, CommandId, DsmRange, Lba, NamespaceId, NvmOpcode, QueueId, Status};

use super::{heading, line};
use crate::{CommandRecord, Completion, Event, EventRecord, Gap, Record};

fn command(queue: u16, opcode: u8, cdw10_15: [u32; 6]) -> CommandRecord {
    CommandRecord {
        sequence: 0,
        submit_ns: 1_000_123_456,
        completion: Some(Completion {
            complete_ns: 1_000_143_556,
            status: Status::SUCCESS,
            result: 0x0003_0003,
        }),
        queue: QueueId(queue),
        cid: CommandId(17),
        opcode,
        flags: 0,
        nsid: NamespaceId(1),
        cdw2_3: [0; 2],
        cdw10_15,
    }
}

fn show(command: CommandRecord, ranges: Vec<DsmRange>) -> String {
    line(
        &Record::Command {
            command,
            ranges,
            payload: None,
        },
        1_000_000_000,
    )
}

/// The words of a line, columns or not.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn a_read_and_a_write_stand_in_columns_under_the_heading() {
    let read = show(
        command(1, NvmOpcode::READ.0, [0x20_0000, 0, 7, 0, 0, 0]),
        vec![],
    );
    let expected = [
        "0.000123456",
        "1",
        "17",
        "Read",
        "1",
        "2097152",
        "8",
        "20.1us",
        "ok",
    ];
    assert_eq!(words(&read), expected);
    let write = command(
        12,
        NvmOpcode::WRITE.0,
        [u32::MAX, 0, 1 << 30 | 0xffff, 0, 0, 0],
    );
    let write = show(write, vec![]);
    assert!(write.contains("65536  FUA "), "{write}");
    for (column, at_end) in [
        ("time", true),
        ("LBA", true),
        ("blocks", true),
        ("status", false),
    ] {
        let at = heading().find(column).unwrap();
        let edge = if at_end { at + column.len() } else { at };
        for line in [&read, &write] {
            let (before, after) = line.split_at(edge);
            let (inside, outside) = if at_end {
                (before, after)
            } else {
                (after, before)
            };
            let inside = if at_end {
                inside.chars().last()
            } else {
                inside.chars().next()
            };
            let outside = if at_end {
                outside.chars().next()
            } else {
                outside.chars().last()
            };
            assert_ne!(inside, Some(' '), "{column}: {line}");
            assert_eq!(outside, Some(' '), "{column}: {line}");
        }
    }
}

#[test]
fn admin_commands_are_told_by_their_fields() {
    for (opcode, dwords, expected) in [
        (
            AdminOpcode::IDENTIFY,
            [1, 0, 0, 0, 0, 0],
            "CNS 01h, controller",
        ),
        (
            AdminOpcode::CREATE_SQ,
            [1023 << 16 | 3, 3 << 16 | 1, 0, 0, 0, 0],
            "SQ 3 on CQ 3, 1024 entries",
        ),
        (
            AdminOpcode::CREATE_CQ,
            [1023 << 16 | 3, 2 << 16 | 3, 0, 0, 0, 0],
            "CQ 3, 1024 entries, vector 2",
        ),
        (
            AdminOpcode::SET_FEATURES,
            [7, 0x000f_000f, 0, 0, 0, 0],
            "Number of Queues 16 SQ 16 CQ, got 4 SQ 4 CQ",
        ),
        (
            AdminOpcode::GET_LOG_PAGE,
            [0x007f_0002, 0, 0, 0, 0, 0],
            "SMART / Health Information, 512 bytes",
        ),
        (
            AdminOpcode::ABORT,
            [5 << 16 | 2, 0, 0, 0, 0, 0],
            "cid 5 of SQ 2",
        ),
        (
            AdminOpcode(0xc1),
            [0xab, 0, 0, 0, 0, 1],
            "cdw10=0xab cdw15=0x1",
        ),
    ] {
        let line = show(command(0, opcode.0, dwords), vec![]);
        assert!(line.ends_with(expected), "{line}");
    }
}

#[test]
fn ranges_and_failures_and_what_is_not_a_command_are_told() {
    let ranges = (0..6).map(|n| DsmRange::new(Lba(n * 100), 8)).collect();
    let trim = show(
        command(1, NvmOpcode::DATASET_MANAGEMENT.0, [5, 4, 0, 0, 0, 0]),
        ranges,
    );
    assert!(
        trim.ends_with("deallocate 0+8, 100+8, 200+8, 300+8, and 2 more ranges"),
        "{trim}"
    );
    let mut failed = command(1, NvmOpcode::READ.0, [0; 6]);
    failed.completion = Some(Completion {
        complete_ns: failed.submit_ns,
        status: Status::LBA_OUT_OF_RANGE,
        result: 0,
    });
    assert!(show(failed, vec![]).contains("LBA Out of Range"));
    failed.completion = None;
    assert!(show(failed, vec![]).ends_with("never completed"));
    let event = EventRecord {
        at_ns: 0,
        sequence: 0,
        event: Event::Enable,
    };
    assert!(
        line(&Record::Event(event), 5)
            .trim_start()
            .starts_with("-0.000000005")
    );
    let gap = Gap { at_ns: 5, lost: 12 };
    assert!(line(&Record::Gap(gap), 5).contains("12 commands were lost"));
}
