//! What commands wrote, through the recorder's ring.

use std::time::Duration;

use nvme::{Lba, NamespaceId, QueueId, Sqe};
use recorder::{OnFull, Recorder, RecorderError, RecorderOptions, RingTap};
use traces::{CommandRecord, Header, PayloadInfo, PayloadKind, PayloadPlace, Reader, Record, Tap};

use crate::common::Disk;

pub(crate) fn header() -> Header {
    Header {
        payload: Some(PayloadInfo::of(PayloadKind::Data)),
        ..Header::default()
    }
}

/// Data that depends on the command, its block and the byte.
fn data(sequence: u64, blocks: u64) -> Vec<u8> {
    let byte = |at: u64| (sequence * 7 + at / 512 + at % 251).to_le_bytes()[0];
    (0..blocks * 512).map(byte).collect()
}

fn blocks(sequence: u64) -> u64 {
    // Some are longer than a piece, all together than the ring.
    match sequence % 50 {
        7 => 4_000,
        other => 1 + other,
    }
}

/// Writes to the tap as a device does: the data first, in what parts the tap
/// asks for.
pub(crate) fn write(tap: &mut RingTap, sequence: u64) {
    let written = data(sequence, blocks(sequence));
    let mut rest = written.as_slice();
    let place = PayloadPlace {
        sequence,
        submit_ns: sequence,
        block_bytes: 512,
        first_block: 0,
    };
    tap.payload(&place, written.len(), &mut |to| {
        let (now, later) = rest.split_at(to.len());
        to.copy_from_slice(now);
        rest = later;
    });
    let mut sqe = Sqe::new(1, NamespaceId(1));
    sqe.set_slba(Lba(sequence));
    sqe.cdw12.set(u32::try_from(blocks(sequence) - 1).unwrap());
    tap.command(
        &CommandRecord::fetched(sequence, sequence, QueueId(1), &sqe),
        &[],
    );
}

/// How many commands have their data, which must be the right ones, and how many
/// have none.
pub(crate) fn count(disk: &Disk) -> (u64, u64) {
    let reader = Reader::from_bytes(disk.contents()).unwrap();
    let (mut paid, mut unpaid) = (0, 0);
    for record in reader.records().with_payload() {
        let Record::Command {
            command, payload, ..
        } = record.unwrap()
        else {
            continue;
        };
        match payload {
            Some(payload) => {
                let expected = data(command.sequence, blocks(command.sequence));
                assert!(payload.data() == Some(&expected), "{command:?}");
                paid += 1;
            }
            None => unpaid += 1,
        }
    }
    assert_eq!(reader.totals().payload.commands, paid);
    (paid, unpaid)
}

#[test]
fn a_slow_writer_makes_the_tap_wait_and_loses_nothing() {
    let mut disk = Disk::new();
    disk.delay = Duration::from_millis(5);
    // The smallest ring there is.
    let options = RecorderOptions::default().payload_bytes(0);
    let (handle, mut tap) = Recorder::start_on(disk.clone(), "disk", &header(), options).unwrap();
    for sequence in 0..200 {
        write(&mut tap, sequence);
    }
    drop(tap);
    let summary = handle.stop().unwrap();
    assert_eq!(summary.totals.payload.lost, 0);
    assert_eq!(count(&disk), (200, 0));
}

#[test]
fn what_is_dropped_is_counted() {
    let mut disk = Disk::new();
    disk.delay = Duration::from_millis(20);
    let options = RecorderOptions::default()
        .payload_bytes(0)
        .on_full(OnFull::Drop);
    let (handle, mut tap) = Recorder::start_on(disk.clone(), "disk", &header(), options).unwrap();
    for sequence in 0..400 {
        write(&mut tap, sequence);
    }
    drop(tap);
    let summary = handle.stop().unwrap();
    let (paid, unpaid) = count(&disk);
    // Longer than the ring: these have no room at any time.
    assert!(unpaid >= 8, "{unpaid}");
    assert!(paid > 0);
    assert_eq!(paid + unpaid, 400);
    assert_eq!(summary.totals.payload.lost, unpaid);
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_tap() {
    let mut disk = Disk::new();
    disk.capacity = 100_000;
    let options = RecorderOptions::default().payload_bytes(0);
    let (handle, mut tap) = Recorder::start_on(disk.clone(), "disk", &header(), options).unwrap();
    let mut random = 1_u64;
    for sequence in 0..2_000 {
        // Noise: it does not compress away.
        let place = PayloadPlace {
            sequence,
            submit_ns: 0,
            block_bytes: 4096,
            first_block: 0,
        };
        tap.payload(&place, 4096, &mut |to| {
            for byte in to {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                *byte = random.to_le_bytes()[5];
            }
        });
        tap.command(
            &CommandRecord::fetched(sequence, 0, QueueId(1), &Sqe::new(1, NamespaceId(1))),
            &[],
        );
    }
    assert!(!tap.wants_payload());
    match handle.stop() {
        Err(RecorderError::Ended { reason, .. }) => assert!(!reason.is_empty()),
        other => panic!("{other:?}"),
    }
    let reader = Reader::from_bytes(disk.contents()).unwrap();
    for record in reader.records().with_payload() {
        record.unwrap();
    }
}
